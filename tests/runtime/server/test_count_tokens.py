"""`POST /v1/messages/count_tokens`, and what of a Messages request stands beside its messages: headers, threads."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from rawclient import receipt, send, within
from rawconnection import Reply, ask, request

from infron.testing import CUT, Answer, Call, Script, ScriptedProvider, Wait, gateway, speak
from infron.testing.scripts import json_answer

PATHS = ["/v1/messages/count_tokens", "/api/v1/messages/count_tokens"]
BILLING = "x-anthropic-billing-header: cc_version=2.1.197.abc; cc_entrypoint=cli;"
VERSION = "2026-10-21"


def question(*headers: str, path: str = PATHS[0], **fields: Any) -> bytes:
    said = {"model": "mock/claude-opus-4-8", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return request("POST", path, "Content-Type: application/json", *headers, body=json.dumps(said).encode())


def host(script: Any) -> ScriptedProvider:
    return ScriptedProvider(script)


def of_messages(provider: ScriptedProvider, **fields: Any) -> dict[str, Any]:
    return {"mock": provider.definition(**{**speak("anthropic").definition, **fields})}


@pytest.mark.parametrize("path", PATHS)
async def test_count_of_a_host_of_the_messages_api_is_its_own(path: str) -> None:
    counted = b'{"input_tokens": 2095, "context_management": {"original_input_tokens": 2095}}'
    script = [Answer(200, (("content-type", "application/json"),), counted)]
    tools = [{"name": "add", "input_schema": {"type": "object"}}]
    more = {"tools": tools, "thinking": {"type": "adaptive"}, "system": [{"type": "text", "text": BILLING}], "x_new": 1}
    async with host(script) as provider, gateway(providers=of_messages(provider)) as running:
        headers = (f"anthropic-version: {VERSION}", "anthropic-beta: token-counting-2024-11-01,context-1m-2025-08-07")
        reply = await ask(running.port, question(*headers, path=path, max_tokens=9, temperature=1, stream=True, **more))
        call = provider.calls[0]
        assert len(running.context.registry) == 0
    assert (reply.status, reply.body) == (200, counted)
    assert "x-infron-estimated" not in reply.headers
    assert call.path == "/v1/messages/count_tokens"
    assert call.json == {"model": "claude-opus-4-8", "messages": [{"role": "user", "content": "Hi"}], **more}
    assert call.headers["anthropic-version"] == VERSION
    assert call.headers["anthropic-beta"] == "token-counting-2024-11-01,context-1m-2025-08-07"
    assert call.headers["x-api-key"] == "provider-key"


async def test_count_follows_the_path_of_the_definition() -> None:
    script = [json_answer(200, {"input_tokens": 5})]
    async with host(script) as provider, gateway(providers=of_messages(provider, chat_path="/claude/say")) as running:
        reply = await ask(running.port, question())
        assert provider.calls[0].path == "/v1/claude/say/count_tokens"
    assert reply.json == {"input_tokens": 5}


async def test_count_is_ours_where_the_provider_speaks_another_api() -> None:
    async with host([CUT]) as provider, gateway(providers={"mock": provider.definition()}) as running:
        few = await ask(running.port, question(max_tokens=9))
        many = await ask(running.port, question(system="Be brief. " * 50))
        assert provider.calls == []
    assert (few.status, few.headers["x-infron-estimated"]) == (200, "true")
    assert list(few.json) == ["input_tokens"]
    assert 0 < few.json["input_tokens"] < 20 < many.json["input_tokens"]


@pytest.mark.parametrize(
    "script",
    [
        [json_answer(404, {"error": "no such path"})],
        [json_answer(529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})],
        [json_answer(401, {"type": "error", "error": {"type": "authentication_error", "message": "invalid"}})],
        [Answer(200, (("content-type", "text/html"),), b"<html>")],
        [CUT],
    ],
    ids=["no such path", "overloaded", "bad key", "not a count", "cut"],
)
async def test_count_is_ours_where_a_host_of_the_messages_api_gives_none(script: Script) -> None:
    async with host(script) as provider, gateway(providers=of_messages(provider)) as running:
        reply = await ask(running.port, question())
    assert (reply.status, reply.headers["x-infron-estimated"]) == (200, "true")
    assert 0 < reply.json["input_tokens"] < 20


async def test_count_that_a_host_refuses_is_refused_in_the_form_of_the_api() -> None:
    problem = {"type": "error", "error": {"type": "invalid_request_error", "message": "messages: at least one."}}
    limited = {"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down."}}
    scripts = [[json_answer(400, problem)], [json_answer(429, limited, ("retry-after", "7"))]]
    async with host(lambda call: scripts.pop(0)) as provider, gateway(providers=of_messages(provider)) as running:
        refused, slowed = [await ask(running.port, question()) for _ in range(2)]
    assert (refused.status, refused.json) == (400, problem)
    assert (slowed.status, slowed.json, slowed.headers["retry-after"]) == (429, limited, "7")


@pytest.mark.parametrize(
    ("fields", "status", "kind"),
    [
        ({"messages": None}, 400, "invalid_request_error"),
        ({"messages": "Hi"}, 400, "invalid_request_error"),
        ({"model": "nobody/nothing"}, 404, "not_found_error"),
        ({"model": "x" * 600}, 400, "invalid_request_error"),
    ],
)
async def test_count_that_cannot_be_made_says_why(fields: dict[str, Any], status: int, kind: str) -> None:
    async with host([CUT]) as provider, gateway(providers=of_messages(provider)) as running:
        reply = await ask(running.port, question(**fields))
    assert (reply.status, reply.json["type"], reply.json["error"]["type"]) == (status, "error", kind)


async def test_count_of_twelve_large_requests_at_once() -> None:
    # Claude Code's `/context` asks so: of every one of its tools, with 100 kB each.
    here: list[Call] = []
    all_here = asyncio.Event()

    def script(call: Call) -> Script:
        here.append(call)
        if len(here) == 12:
            all_here.set()
        return [Wait(all_here), json_answer(200, {"input_tokens": len(call.json["messages"][0]["content"])})]

    async with host(script) as provider, gateway(providers=of_messages(provider)) as running:
        asked = [
            ask(running.port, question(messages=[{"role": "user", "content": "a" * (100_000 + place)}]))
            for place in range(12)
        ]
        replies: list[Reply] = await within(asyncio.gather(*asked), 15)
    assert sorted(reply.json["input_tokens"] for reply in replies) == list(range(100_000, 100_012))


async def test_count_nobody_waits_for_is_not_waited_for_at_the_provider() -> None:
    never = asyncio.Event()
    async with host([Wait(never)]) as provider, gateway(providers=of_messages(provider)) as running:
        body = question().partition(b"\r\n\r\n")[2]
        client = await send(running.port, "POST", PATHS[0], body, "content-type: application/json")
        call = await within(provider.called())
        client.reset()
        await within(call.closed.wait())


# ---- what else goes for messages too

SAID = {"max_tokens": 9, "stream": True}


def claude(*texts: str) -> Any:
    voice = speak("anthropic")
    return voice.plays(voice.answer(*texts))


@pytest.mark.parametrize("path", [*PATHS, "/v1/messages", "/api/v1/messages"])
@pytest.mark.parametrize("thread", [{"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}])
async def test_messages_of_a_thread_are_refused_so_that_libraries_send_them_whole(path: str, thread: Any) -> None:
    # Ignored, all that was said before was lost without a word.
    async with host(claude("Hello")) as provider, gateway(providers=of_messages(provider)) as running:
        reply = await ask(running.port, question(path=path, thread=thread, **SAID))
        assert provider.calls == []
    error = reply.json["error"]
    assert (reply.status, reply.json["type"], error["type"]) == (400, "error", "invalid_request_error")
    assert error["details"] == {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}


async def test_messages_without_a_thread_may_say_so() -> None:
    async with host(claude("Hello")) as provider, gateway(providers=of_messages(provider)) as running:
        reply = await ask(running.port, question(path="/v1/messages", thread=None, max_tokens=9))
        assert "thread" not in provider.calls[0].json
    assert reply.json["content"] == [{"type": "text", "text": "Hello"}]


@pytest.mark.parametrize(
    ("given", "sent"), [(VERSION, VERSION), ("2023-06-01", "2023-06-01"), ("", "2023-06-01"), ("new", "2023-06-01")]
)
async def test_messages_reach_anthropic_with_the_version_of_their_client(given: str, sent: str) -> None:
    headers = [f"anthropic-version: {given}"] if given else []
    async with host(claude("Hello")) as provider, gateway(providers=of_messages(provider)) as running:
        await ask(running.port, question(*headers, path="/v1/messages", **SAID, anthropic_version="bedrock-2023-05-31"))
        call = provider.calls[0]
    assert call.headers["anthropic-version"] == sent
    assert call.json.keys() == {"model", "messages", "max_tokens", "stream"}


async def test_messages_of_another_api_reach_anthropic_with_the_version_of_the_definition() -> None:
    body = json.dumps({"model": "mock/claude-opus-4-8", "messages": [{"role": "user", "content": "Hi"}]}).encode()
    headers = ("Content-Type: application/json", f"anthropic-version: {VERSION}")
    async with host(claude("Hello")) as provider, gateway(providers=of_messages(provider)) as running:
        await ask(running.port, request("POST", "/v1/chat/completions", *headers, body=body))
        assert provider.calls[0].headers["anthropic-version"] == "2023-06-01"


@pytest.mark.parametrize("stream", [False, True])
async def test_messages_answer_names_itself_as_libraries_look_for_it(stream: bool) -> None:
    async with host(claude("Hello")) as provider, gateway(providers=of_messages(provider)) as running:
        said = {"max_tokens": 9, "stream": stream}
        reply = await ask(running.port, question("x-claude-code-session-id: s-77", path="/v1/messages", **said))
        found = await receipt(running.port, reply.headers["request-id"])
    assert reply.headers["request-id"] == reply.headers["x-generation-id"] == found["id"]
    assert found["session_id"] == "s-77"


@pytest.mark.parametrize("name", ["x" * 513, "a\tb"])
async def test_messages_with_a_session_that_is_no_name_are_answered_without(name: str) -> None:
    async with host(claude("Hello")) as provider, gateway(providers=of_messages(provider)) as running:
        asked = question(f"x-claude-code-session-id: {name}", path="/v1/messages", max_tokens=9)
        reply = await ask(running.port, asked)
        assert (await receipt(running.port, reply.headers["request-id"]))["session_id"] is None


@pytest.mark.parametrize(
    "system",
    [
        [{"type": "text", "text": BILLING}, {"type": "text", "text": "Be brief."}],
        [{"type": "text", "text": f"{BILLING}\nBe brief."}],
        f"{BILLING}\n\nBe brief.",
    ],
)
async def test_messages_lose_the_billing_line_on_the_way_to_others(system: Any) -> None:
    # It differs in each version and session: no cache of a prompt found anything behind it.
    voice = speak("openai-chat")
    async with (
        host(voice.plays(voice.answer("Hello"))) as others,
        host(claude("Hello")) as its_maker,
        gateway(providers={"mock": others.definition(), "own": of_messages(its_maker)["mock"]}) as running,
    ):
        reply = await ask(running.port, question(path="/v1/messages", system=system, max_tokens=9))
        found = await receipt(running.port, reply.headers["request-id"])
        await ask(running.port, question(path="/v1/messages", model="own/claude-x", system=system, max_tokens=9))
        told, kept = others.calls[0].json, its_maker.calls[0].json
    (first, second) = told["messages"]
    assert (first["role"], second) == ("system", {"role": "user", "content": "Hi"})
    assert "Be brief." in json.dumps(first)
    assert "billing" not in json.dumps(told)
    assert found["dropped_parameters"] == ["system.billing_header"]
    assert kept["system"] == system


async def test_messages_with_nothing_but_the_billing_line_have_no_system() -> None:
    voice = speak("openai-chat")
    async with (
        host(voice.plays(voice.answer("Hello"))) as others,
        gateway(providers={"mock": others.definition()}) as running,
    ):
        await ask(running.port, question(path="/v1/messages", system=BILLING, max_tokens=9))
        assert others.calls[0].json["messages"] == [{"role": "user", "content": "Hi"}]
