"""What a provider can do wrong, and what the client is told: never nothing, and never a made-up end."""

from __future__ import annotations

import asyncio
import json

import pytest
from rawclient import COMMENT, Client, ask, failed_attempts, gateway, settled

from infron.catalog.definitions import Provider
from infron.request import Outgoing, Request
from infron.runtime.exchange import delivery
from infron.testing import (
    CUT,
    DONE,
    FINISH,
    RESET,
    ROLE,
    USAGE,
    Answer,
    Call,
    Pause,
    Raw,
    Script,
    ScriptedProvider,
    Wait,
    delta,
    text,
)
from infron.wires.openai import chat as openai_chat

NEVER = asyncio.Event
HELLO = text("Hello")
JSON = (("content-type", "application/json"),)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def assert_error_frame(client: Client, status: int = 502) -> dict:
    """The stream ends with an error frame and [DONE]; nothing else is in that frame."""
    *_, last, done = client.frames()
    assert done == "[DONE]"
    error = last["error"]
    assert set(last) == {"id", "object", "created", "model", "error"}
    assert (last["id"], last["object"], last["model"]) == (client.id, "chat.completion.chunk", "mock/any")
    assert error["code"].__class__ is str
    assert error["metadata"]["status"] == status
    assert error["message"]
    assert error["metadata"]["provider"] == "mock"
    assert error["metadata"]["error_type"]
    assert b'"usage"' not in client.received
    return error


def finish_reasons(client: Client) -> list[str]:
    choices = [choice for one in client.frames()[:-2] for choice in one["choices"]]
    return [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


SEEN = Wait(asyncio.Event())  # stands for: the client has what was sent so far
CUT_OFF: dict[str, Script] = {
    "the body ends": [ROLE, HELLO, SEEN],
    "[DONE] without a finish reason": [ROLE, HELLO, SEEN, DONE],
    "the connection is closed": [ROLE, HELLO, SEEN, CUT],
    "the connection is reset": [ROLE, HELLO, SEEN, RESET],
    "a chunk of the transfer is cut": [Raw(STREAM_HEAD + chunk(HELLO) + b"40\r\ndata: {"), SEEN, CUT],
    "the chunking is wrong": [Raw(STREAM_HEAD + chunk(HELLO)), SEEN, Raw(b"zz\r\n")],
    "a frame is cut": [ROLE, HELLO, SEEN, b'data: {"choices":[{"index":0,"delta":{"content":"wor'],
    "a frame is not JSON": [ROLE, HELLO, SEEN, b"data: {'choices': []}\n\n", FINISH, DONE],
    "a frame is no object": [ROLE, HELLO, SEEN, b"data: [1, 2]\n\n", FINISH, DONE],
    "a frame is too large": [ROLE, HELLO, SEEN, b"data: " + b"x" * 5000, b"x" * 5000, FINISH, DONE],
    "one of two choices goes on": [HELLO, delta(index=1, content=""), SEEN, delta("stop"), DONE],
}


@pytest.mark.parametrize("script", CUT_OFF.values(), ids=CUT_OFF)
async def test_an_answer_that_is_cut_off_ends_with_an_error_frame(script: Script) -> None:
    seen = asyncio.Event()
    script = [Wait(seen) if step is SEEN else step for step in script]
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition()}, limits={"max_frame_bytes": 4096}) as running,
    ):
        client = await (await ask(running.port, stream_options={"include_usage": True})).head()
        await client.until(b"Hello")
        seen.set()
        await client.rest()
        found = await settled(running, client.id)
    assert client.status == 200
    assert client.words() == "Hello"
    assert_error_frame(client)
    assert finish_reasons(client) == (["stop"] if script[0] == HELLO else [])
    assert (found["outcome"], found["total_cost"]) == ("failed", 0)
    assert found["error"]["type"] == "provider_unavailable"
    assert failed_attempts(found) == ["mock: provider_unavailable (502)"]


EARLY: dict[str, tuple[Script, int]] = {
    "the body ends": ([Answer()], 502),
    "[DONE] alone": ([DONE], 502),
    "only a role": ([ROLE], 502),
    "the connection is closed": ([CUT], 502),
    "the connection is reset": ([Pause(0.05), RESET], 502),
    "garbage": ([b"data: <html>\n\n"], 502),
    "no HTTP": ([Raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")], 502),
    "an empty JSON answer": ([Answer(200, JSON, b"{}")], 502),
    "a web page": ([Answer(200, (("content-type", "text/html"),), b"<html>Please log in</html>")], 502),
    "a redirect": ([Answer(302, (("location", "http://127.0.0.1:1/"),), b"")], 502),
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("script", "status"), EARLY.values(), ids=EARLY)
async def test_a_failure_before_any_content_is_a_json_error(script: Script, status: int, stream: bool) -> None:
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        client = await (await ask(running.port, stream=stream)).head()
        error = await client.error()
        found = await settled(running, client.id)
    assert client.status == status
    assert client.headers["content-type"] == "application/json"
    assert (error["metadata"]["status"], error["metadata"]["provider"]) == (status, "mock")
    assert (found["outcome"], found["total_cost"]) == ("failed", 0)


@pytest.mark.parametrize("end", [CUT, RESET])
async def test_an_answer_that_is_finished_is_complete_however_the_connection_ends(end: Script) -> None:
    script = [ROLE, HELLO, FINISH, USAGE, Pause(0.05), end]
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        client = await (await ask(running.port)).head()
        await client.rest()
        found = await settled(running, client.id)
    assert (client.words(), client.frames()[-1]) == ("Hello", "[DONE]")
    assert not any("error" in one for one in client.frames()[:-1])
    assert (found["outcome"], found["finish_reason"], found["tokens_completion"]) == ("completed", "stop", 3)


async def test_nothing_that_a_provider_sends_after_done_is_passed_on() -> None:
    script = [HELLO, FINISH, DONE, text(" and more"), Wait(NEVER())]
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        client = await (await ask(running.port)).head()
        await client.rest()
    assert (client.words(), client.frames()[-1]) == ("Hello", "[DONE]")


async def test_a_whole_answer_that_is_too_large_to_hold_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "MAX_ACCUMULATED_BYTES", 10_000)
    script = [*[text("x" * 1_000)] * 20, FINISH, DONE]
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        client = await (await ask(running.port, stream=False)).head()
        assert "too large" in (await client.error())["message"]
        found = await settled(running, client.id)
    assert (client.status, found["outcome"]) == (502, "failed")


@pytest.mark.parametrize(("on_disconnect", "known"), [("cancel", True), ("drain", False)])
@pytest.mark.parametrize("last", [text("x" * 10_000), b"data: {nonsense\n\n"])
async def test_the_bill_of_a_provider_whose_answer_we_ended_is_unknown_where_it_goes_on(
    on_disconnect: str, known: bool, last: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was recorded as what had come by then."""
    monkeypatch.setattr(delivery, "MAX_ACCUMULATED_BYTES", 10_000)
    prices = {"any": {"prompt": "1", "completion": "10"}}
    script = [ROLE, text("Hello"), last, Wait(asyncio.Event())]
    async with ScriptedProvider(script) as provider:
        row = provider.definition(on_disconnect=on_disconnect, prices=prices)
        async with gateway(providers={"mock": row}) as running:
            client = await (await ask(running.port, stream=False)).head()
            found = await settled(running, client.id)
    assert (found["outcome"], found["total_cost"]) == ("failed", 0)
    assert (found["provider_cost"] is not None) is known


# ---- errors that the provider tells


@pytest.mark.parametrize("status", [400, 404, 422, 429, 500, 503, 529])
async def test_a_providers_error_keeps_its_status_message_and_retry_after(status: int) -> None:
    body = json.dumps({"error": {"message": "Something is off", "code": "odd"}}).encode()
    script = [Answer(status, (*JSON, ("retry-after", "12")), body)]
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        client = await (await ask(running.port)).head()
        error = await client.error()
        found = await settled(running, client.id)
    assert client.status == error["metadata"]["status"] == status
    assert error["message"] == "Something is off"
    assert client.headers["retry-after"] == "12"
    assert error["metadata"]["provider"] == "mock"
    assert (found["outcome"], found["total_cost"]) == ("failed", 0)
    assert "Something is off" not in json.dumps(found)


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_refusal_of_our_own_key_is_the_operators_affair(status: int) -> None:
    body = json.dumps({"error": {"message": "Incorrect API key provided: provider-key"}}).encode()
    async with (
        ScriptedProvider([Answer(status, JSON, body)]) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
    ):
        client = await (await ask(running.port)).head()
        error = await client.error()
        await settled(running, client.id)
    assert (client.status, error["metadata"]["status"]) == (502, 502)
    assert client.headers["x-should-retry"] == "false"
    assert error["metadata"]["error_type"] == "provider_configuration"
    assert b"Incorrect" not in client.received
    assert b"provider-key" not in client.received


async def test_a_moderated_request_stays_a_403() -> None:
    body = json.dumps({"error": {"message": "Your input was flagged by moderation"}}).encode()
    async with (
        ScriptedProvider([Answer(403, JSON, body)]) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
    ):
        client = await (await ask(running.port)).head()
        error = await client.error()
    assert (client.status, error["metadata"]["status"]) == (403, 403)
    assert "flagged" in error["message"]


async def test_our_key_is_taken_out_of_what_a_provider_says() -> None:
    body = json.dumps({"error": {"message": "no quota for provider-key left"}}).encode()
    async with (
        ScriptedProvider([Answer(429, JSON, body)]) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
    ):
        client = await (await ask(running.port)).head()
        assert (await client.error())["message"] == "no quota for [key] left"


async def test_an_error_with_status_200_gets_the_status_that_it_names() -> None:
    body = json.dumps({"error": {"message": "slow down", "code": 429}}).encode()
    async with (
        ScriptedProvider([Answer(200, JSON, body)]) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
    ):
        client = await (await ask(running.port)).head()
        assert ((await client.error())["message"], client.status) == ("slow down", 429)


async def test_an_error_inside_the_stream_before_content_gets_its_status() -> None:
    script = [ROLE, b'data: {"error":{"message":"overloaded","code":503}}\n\n', DONE]
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        client = await (await ask(running.port)).head()
        assert ((await client.error())["message"], client.status) == ("overloaded", 503)


@pytest.mark.parametrize("together", [True, False])
async def test_an_error_inside_the_stream_after_content_is_told_after_that_content(together: bool) -> None:
    error = b'data: {"error":{"message":"overloaded","code":503},"choices":[]}\n\n'
    script: Script = [HELLO + error, DONE] if together else [HELLO, Pause(0.1), error, DONE]
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        client = await (await ask(running.port)).head()
        await client.rest()
        found = await settled(running, client.id)
    if client.status == 200:
        assert client.words() == "Hello"
        assert assert_error_frame(client, 503)["message"] == "overloaded"
    else:  # both came before the ledger had its row, so the head was still held back
        assert together
        assert client.status == 503
    assert found["outcome"] == "failed"


async def test_after_comments_retry_after_is_told_in_the_error_frame() -> None:
    script = [Pause(0.3), Answer(429, (*JSON, ("retry-after", "12")), b'{"error":{"message":"slow down"}}')]
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition()}, keepalive={"first_seconds": 0.05}) as running,
    ):
        client = await (await ask(running.port)).head()
        body = await client.rest()
    assert body.startswith(COMMENT)
    error = assert_error_frame(client, 429)
    assert (error["message"], error["metadata"]["retry_after"]) == ("slow down", 12)


# ---- failing over


MODELS = {"a/b": {"name": "B", "served_by": [{"provider": "first", "id": "one"}, {"provider": "second", "id": "two"}]}}
SECOND = [text("from the second"), FINISH, USAGE, DONE]
SAFE: dict[str, Script] = {
    "429": [Answer(429, JSON, b"{}")],
    "500": [Answer(500, JSON, b"{}")],
    "401": [Answer(401, JSON, b"{}")],
    "a close": [CUT],
    "a role and an end": [ROLE, DONE],
    "an error in the stream": [ROLE, b'data: {"error":{"message":"overloaded","code":503}}\n\n'],
    "no first token": [ROLE, Wait(NEVER())],
}


def two(first: ScriptedProvider, second: ScriptedProvider, **more: dict) -> dict:
    return {"providers": {"first": first.definition(), "second": second.definition()}, "models": MODELS, **more}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("script", SAFE.values(), ids=SAFE)
async def test_before_content_the_next_provider_takes_over(script: Script, stream: bool) -> None:
    async with (
        ScriptedProvider(script) as first,
        ScriptedProvider(SECOND) as second,
        gateway(**two(first, second, timeouts={"first_token_seconds": 0.2})) as running,
    ):
        client = await (await ask(running.port, model="a/b", stream=stream)).head()
        await client.rest()
        found = await settled(running, client.id)
        assert (first.calls[0].json["model"], second.calls[0].json["model"]) == ("one", "two")
    assert client.status == 200
    assert b"from the second" in client.received
    assert b'"error"' not in client.received
    assert (found["outcome"], found["provider_name"], found["provider_model"]) == ("completed", "second", "two")
    assert len(found["attempts"]) == 1
    assert found["attempts"][0]["provider"] == "first"
    assert found["error"] is None


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
async def test_streams_begin_anew_with_the_next_provider(path: str) -> None:
    """What the first one said was no content, so it was dropped, and the beginning of the stream with it."""
    source = {"type": "url_citation", "url_citation": {"url": "https://example.org", "title": "Example"}}
    async with (
        ScriptedProvider([delta(annotations=[source]), CUT]) as first,
        ScriptedProvider(SECOND) as second,
        gateway(**two(first, second)) as running,
    ):
        client = await (await ask(running.port, path=path, model="a/b", max_tokens=9)).head()
        body = await client.rest()
    assert body.count(b'"role":"assistant"') == 1
    assert b"from the second" in body
    assert path != "/v1/messages" or body.startswith(b"event: message_start")


async def test_the_next_provider_takes_over_after_comments_too() -> None:
    async with (
        ScriptedProvider([Pause(0.3), CUT]) as first,
        ScriptedProvider([Pause(0.3), *SECOND]) as second,
        gateway(**two(first, second, keepalive={"first_seconds": 0.05, "every_seconds": 0.1})) as running,
    ):
        client = await (await ask(running.port, model="a/b")).head()
        body = await client.rest()
        found = await settled(running, client.id)
    assert body.startswith(COMMENT)
    assert client.words() == "from the second"
    assert found["provider_name"] == "second"


async def test_a_bug_in_the_next_providers_wire_ends_the_exchange_and_settles_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encode = openai_chat.encode_request

    def broken(request: Request, provider: Provider, provider_model: str, ask_usage: bool) -> Outgoing:
        if provider.id == "second":
            raise ValueError("a bug")
        return encode(request, provider, provider_model, ask_usage)

    monkeypatch.setattr(openai_chat, "encode_request", broken)
    async with (
        ScriptedProvider([CUT]) as first,
        ScriptedProvider(SECOND) as second,
        gateway(**two(first, second)) as running,
    ):
        client = await (await ask(running.port, model="a/b")).head()
        assert client.status == 500
        assert (await client.error())["metadata"]["error_type"] == "server"
        found = await settled(running, client.id)
    assert found["outcome"] == "failed"
    assert not second.calls


async def test_frames_without_content_of_a_failed_attempt_are_dropped() -> None:
    script = [delta(role="assistant", content="", prompt_filter_results=["mine"]), CUT]
    async with (
        ScriptedProvider(script) as first,
        ScriptedProvider(SECOND) as second,
        gateway(**two(first, second)) as running,
    ):
        client = await (await ask(running.port, model="a/b")).head()
        assert b"mine" not in await client.rest()
        assert client.words() == "from the second"


async def test_after_content_no_other_provider_is_tried() -> None:
    async with (
        ScriptedProvider([HELLO, Pause(0.1), CUT]) as first,
        ScriptedProvider(SECOND) as second,
        gateway(**two(first, second)) as running,
    ):
        client = await (await ask(running.port, model="a/b")).head()
        await client.rest()
        found = await settled(running, client.id)
        assert second.calls == []
    assert client.words() == "Hello"
    assert client.frames()[-2]["error"]["metadata"]["provider"] == "first"
    assert (found["outcome"], found["provider_name"]) == ("failed", "first")


async def test_a_stall_after_content_is_timed_out_though_a_candidate_is_left() -> None:
    async with (
        ScriptedProvider([HELLO, Wait(NEVER())]) as first,
        ScriptedProvider(SECOND) as second,
        gateway(**two(first, second, timeouts={"stall_seconds": 0.1})) as running,
    ):
        client = await (await ask(running.port, model="a/b")).head()
        await client.rest()
        found = await settled(running, client.id)
        assert second.calls == []
    assert (found["outcome"], found["provider_name"]) == ("timed_out", "first")


async def test_a_request_that_is_at_fault_itself_is_not_tried_again() -> None:
    async with (
        ScriptedProvider([Answer(400, JSON, b'{"error":{"message":"bad tools"}}')]) as first,
        ScriptedProvider(SECOND) as second,
        gateway(**two(first, second)) as running,
    ):
        client = await (await ask(running.port, model="a/b")).head()
        assert ((await client.error())["message"], client.status) == ("bad tools", 400)
        assert second.calls == []


async def test_when_all_fail_the_last_error_is_told_and_every_attempt_is_in_the_receipt() -> None:
    async with (
        ScriptedProvider([Answer(429, JSON, b"{}")]) as first,
        ScriptedProvider([Answer(503, JSON, b'{"error":{"message":"asleep"}}')]) as second,
        gateway(**two(first, second)) as running,
    ):
        client = await (await ask(running.port, model="a/b")).head()
        error = await client.error()
        found = await settled(running, client.id)
    assert (client.status, error["message"], error["metadata"]["provider"]) == (503, "asleep", "second")
    assert failed_attempts(found) == ["first: rate_limit_exceeded (429)", "second: provider_overloaded (503)"]
    assert found["outcome"] == "failed"


async def test_a_client_that_leaves_after_a_failover_is_billed_for_the_second_attempt_only() -> None:
    async with (
        ScriptedProvider([CUT]) as first,
        ScriptedProvider([HELLO, Wait(NEVER())]) as second,
        gateway(**two(first, second)) as running,
    ):
        client = await (await ask(running.port, model="a/b")).head()
        await client.until(b"Hello")
        client.close()
        found = await settled(running, client.id)
    assert (found["outcome"], found["provider_name"]) == ("cancelled", "second")
    assert found["error"] is None
    assert len(found["attempts"]) == 1


async def test_a_provider_that_refuses_stream_options_is_asked_again_without_and_never_with_them_again() -> None:
    def script(call: Call) -> Script:
        if "stream_options" in call.json:
            return [Answer(400, JSON, b'{"error":{"message":"unknown field stream_options"}}')]
        return [HELLO, FINISH, DONE]

    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition(usage="try")}) as running,
    ):
        for _ in range(2):
            client = await (await ask(running.port)).head()
            await client.rest()
            assert client.words() == "Hello"
        assert ["stream_options" in call.json for call in provider.calls] == [True, False, False]
