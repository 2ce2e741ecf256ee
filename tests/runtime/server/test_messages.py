"""Anthropic's Messages API at the gateway: streams, whole answers, keep-alive and errors, as its clients read them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from rawclient import receipt
from rawconnection import Reply, ask, connected, request

from infron.runtime.ledger.administration import create_key
from infron.testing import (
    DONE,
    FINISH,
    ROLE,
    USAGE,
    Answer,
    Pause,
    ScriptedProvider,
    Wait,
    delta,
    frame,
    gateway,
    speak,
    text,
)

PATHS = ["/v1/messages", "/api/v1/messages"]
HELLO = [ROLE, text("Hel"), text("lo"), FINISH, USAGE, DONE]
OFTEN = {"first_seconds": 0.1, "every_seconds": 0.1}


def message(*headers: str, path: str = PATHS[0], **fields: Any) -> bytes:
    said = {"model": "mock/any", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], **fields}
    return request("POST", path, "Content-Type: application/json", *headers, body=json.dumps(said).encode())


def events(reply: Reply) -> list[tuple[str, dict[str, Any]]]:
    """(name, data) of each server-sent event; every one has both."""
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    found = []
    for block in reply.body.decode().removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    assert all(data["type"] == name for name, data in found)
    return found


def error_of(reply: Reply) -> tuple[int, str]:
    assert reply.headers["content-type"] == "application/json"
    id = reply.headers.get("request-id")
    assert reply.headers.get("x-generation-id") == id
    assert reply.json.get("request_id") == id
    assert reply.json.keys() - {"request_id"} == {"type", "error"}
    assert reply.json["type"] == "error"
    assert reply.json["error"]["message"].endswith(".")
    return reply.status, reply.json["error"]["type"]


@pytest.mark.parametrize("path", PATHS)
async def test_messages_stream_has_the_events_of_the_api(path: str) -> None:
    async with ScriptedProvider(HELLO) as provider, gateway(providers={"mock": provider.definition()}) as running:
        reply = await ask(running.port, message(path=path, stream=True))
    found = events(reply)
    assert [name for name, _ in found] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    start, end = found[0][1]["message"], found[-2][1]
    assert (start["id"], start["model"], start["role"]) == (reply.headers["x-generation-id"], "mock/any", "assistant")
    assert "".join(data["delta"]["text"] for name, data in found if name == "content_block_delta") == "Hello"
    assert end["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert (end["usage"]["input_tokens"], end["usage"]["output_tokens"]) == (7, 3)


@pytest.mark.parametrize("path", PATHS)
async def test_messages_whole_answer_is_one_message(path: str) -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
    script = [ROLE, text("So:"), delta(tool_calls=[call]), delta("tool_calls"), USAGE, DONE]
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        reply = await ask(running.port, message(path=path))
        asked = provider.calls[0].json
    assert reply.status == 200
    assert reply.json["type"] == "message"
    assert reply.json["id"] == reply.headers["x-generation-id"]
    assert reply.json["content"] == [
        {"type": "text", "text": "So:"},
        {"type": "tool_use", "id": "call_1", "name": "add", "input": {"a": 1}},
    ]
    assert reply.json["stop_reason"] == "tool_use"
    assert (reply.json["usage"]["input_tokens"], reply.json["usage"]["output_tokens"]) == (7, 3)
    assert asked["messages"] == [{"role": "user", "content": "Hi"}]
    assert asked["max_tokens"] == 9


async def test_messages_stream_is_kept_alive_by_pings() -> None:
    script = [ROLE, Pause(0.35), *HELLO]
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition()}, keepalive=OFTEN) as running,
    ):
        names = [name for name, _ in events(await ask(running.port, message(stream=True)))]
    assert names[0] == "ping"
    assert names.count("message_start") == 1
    assert names[-1] == "message_stop"


async def test_messages_stream_that_fails_ends_with_an_error_event() -> None:
    broken = frame(error={"message": "Too many of you.", "code": 429})
    begun = asyncio.Event()
    script = [ROLE, text("Hel"), Wait(begun), broken]
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
        connected(running.port) as connection,
    ):
        connection.send(message(stream=True))
        reply = await connection.head()
        begun.set()
        body = b""
        while chunk := await connection.chunk():
            body += chunk
        found = events(reply._replace(body=body))
    name, data = found[-1]
    assert name == "error"
    assert data["error"] == {"type": "rate_limit_error", "message": "Too many of you."}


async def test_messages_errors_have_the_form_of_the_api_whatever_they_are() -> None:
    refusal = Answer(429, (("content-type", "application/json"),), b'{"error":{"message":"Slow down."}}')
    async with ScriptedProvider([refusal]) as provider, gateway(providers={"mock": provider.definition()}) as running:
        port, path = running.port, PATHS[0]
        assert error_of(await ask(port, message())) == (429, "rate_limit_error")
        assert error_of(await ask(port, message(max_tokens=None))) == (400, "invalid_request_error")
        assert error_of(await ask(port, message(model="nobody/has-this"))) == (404, "not_found_error")
        assert error_of(await ask(port, message(messages=[{"role": "owl"}]))) == (400, "invalid_request_error")
        # before the body was looked at
        json_only = "Content-Type: application/json"
        for method, path, headers, expected in (
            ("GET", PATHS[0], [json_only], (405, "invalid_request_error")),
            ("POST", PATHS[1], ["Content-Type: text/plain"], (415, "invalid_request_error")),
            ("POST", PATHS[0], [json_only, "Content-Length: 999999999999"], (413, "request_too_large")),
            ("POST", f"{PATHS[0]}/none", [json_only], (404, "not_found_error")),
        ):
            assert error_of(await ask(port, request(method, path, *headers))) == expected
        async with connected(port) as connection:
            connection.send(request("POST", PATHS[0], json_only, "Content-Length: 5", "Transfer-Encoding: odd"))
            assert (await connection.reply()).status == 400
        # a chat path, and any other, keep OpenAI's form
        other = await ask(port, request("POST", "/v1/chat/completions", "Content-Type: text/plain", body=b"{}"))
        assert other.error_type == "unsupported_media_type"
        assert (await ask(port, request("GET", "/v1/nothing"))).error_type == "not_found"


@pytest.mark.parametrize("shown", ["x-api-key: {}", "Authorization: Bearer {}"])
async def test_messages_take_a_key_in_either_header(shown: str, tmp_path) -> None:
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    _, secret = create_key(url, "first")
    async with (
        ScriptedProvider(HELLO) as provider,
        gateway(providers={"mock": provider.definition()}, ledger={"url": url}) as running,
    ):
        assert (await ask(running.port, message(shown.format(secret)))).status == 200
        assert error_of(await ask(running.port, message(shown.format("sk-x")))) == (401, "authentication_error")


@pytest.mark.parametrize("stream", [True, False])
async def test_messages_error_for_a_prompt_too_long_says_so_in_the_words_of_the_api(stream: bool) -> None:
    # Clients of this API know it by these words alone; another host's were passed on, and nobody compacted.
    said = {"error": {"message": "This model's maximum context length is 4096 tokens.", "code": 400}}
    script = [Answer(400, (("content-type", "application/json"),), json.dumps(said).encode())]
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        reply = await ask(running.port, message(stream=stream))
    assert error_of(reply) == (400, "invalid_request_error")
    assert reply.json["error"]["message"] == "prompt is too long: This model's maximum context length is 4096 tokens."


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


SEARCHED = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"encrypted_content": "Eo"}]}
HOST = [
    event("message_start", message={"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x",
                                    "content": [], "usage": {"input_tokens": 9, "output_tokens": 1}}),
    event("content_block_start", index=0, content_block=SEARCHED),
    event("content_block_stop", index=0),
    event("content_block_start", index=1, content_block={"type": "text", "text": ""}),
    event("ping"),
    event("content_block_delta", index=1, delta={"type": "text_delta", "text": "Hello"}),
    event("content_block_stop", index=1),
    event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 5}),
    event("message_stop"),
]  # fmt: skip
# What an agent sends back in the middle of its work: signed thinking between its calls, tools that ran at Anthropic.
SAID: dict[str, Any] = {
    "model": "mock/claude-x",
    "max_tokens": 50,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "a", "signature": "s1"},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"b": 1.50, "a": []}},
            {"type": "redacted_thinking", "data": "EmwK"},
            {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}},
            SEARCHED,
            {"type": "thinking", "thinking": "b", "signature": "s2"},
            {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": "1"},
            {"type": "tool_result", "tool_use_id": "t2", "is_error": True},
        ]},
    ],
    "thinking": {"type": "adaptive", "display": "summarized"},
    "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
    "x_new": {"y": 0.10},
}  # fmt: skip


@pytest.mark.parametrize("stream", [True, False])
async def test_messages_between_two_ends_of_the_api_go_on_as_they_are(stream: bool) -> None:
    # The thinking came out in another order, and the blocks of Anthropic's own tools were gone.
    voice = speak("anthropic")
    async with (
        ScriptedProvider(HOST) as provider,
        gateway(providers={"mock": provider.definition(**voice.definition)}) as running,
    ):
        asked = message("anthropic-beta: context-management-2025-06-27", **SAID, stream=stream)
        reply = await ask(running.port, asked)
        call = provider.calls[0]
        found = await receipt(running.port, reply.headers["x-generation-id"])
    given, sent = (msgspec.json.decode(body, type=dict[str, Raw]) for body in (asked.split(b"\r\n\r\n")[1], call.body))
    assert (bytes(sent.pop("model")), bytes(sent.pop("stream"))) == (b'"claude-x"', b"true")
    assert sent == {name: raw for name, raw in given.items() if name not in ("model", "stream")}  # byte for byte
    assert list(sent) == [name for name in given if name in sent]
    assert call.headers["anthropic-beta"] == "context-management-2025-06-27"
    if stream:
        names = [name for name, _ in events(reply)]
        assert names == [step.decode().split("\n")[0].removeprefix("event: ") for step in HOST if b"ping" not in step]
        assert events(reply)[1][1]["content_block"] == SEARCHED
    else:
        assert reply.json["content"] == [SEARCHED, {"type": "text", "text": "Hello"}]
        assert reply.json["usage"] == {"input_tokens": 9, "output_tokens": 5}
    assert (found["tokens_prompt"], found["tokens_completion"], found["dropped_parameters"]) == (9, 5, [])


async def test_messages_to_a_provider_of_another_api_name_what_stays_out() -> None:
    async with ScriptedProvider(HELLO) as provider, gateway(providers={"mock": provider.definition()}) as running:
        reply = await ask(running.port, message(**SAID))
        found = await receipt(running.port, reply.headers["x-generation-id"])
    assert found["dropped_parameters"] == [
        "context_management",
        "messages.server_tool_use",
        "messages.thinking",
        "messages.web_search_tool_result",
    ]
