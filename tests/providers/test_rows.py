"""Every provider that ships, played by a host on loopback that keeps to what its row says, behind a real gateway."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from shapes import SHAPES, Shape, plain

from infron import catalog
from infron.catalog import Provider
from infron.policy.exchange import Phase
from infron.testing import (
    DONE,
    ROLE,
    Answer,
    Call,
    RunningGateway,
    ScriptedProvider,
    Step,
    Wait,
    delta,
    frame,
    gateway,
    text,
)

ROWS = catalog.load({}, {}, {}).providers
OPEN = [row.id for row in ROWS.values() if row.status != "closed"]
CLOSED = [row.id for row in ROWS.values() if row.status == "closed"]
TRYING = [id for id in OPEN if ROWS[id].usage == "try"]
KEY = "test-key-of-the-operator"

REQUEST: dict[str, Any] = {
    "messages": [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "name": "Ann",
            "cache_control": {"type": "ephemeral"},
            "content": [{"type": "text", "text": "What is"}, {"type": "text", "text": "the weather?"}],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_01234567", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "call_01234567", "content": "rain"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": {"type": "object"}}}],
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_completion_tokens": 64,
    "seed": 7,
    "top_p": 0.5,
    "logprobs": True,
    "top_logprobs": 2,
    "x_vendor": {"a": 1},
    "session_id": "s",
    "provider": {"allow_fallbacks": False},
}


def shape_of(row: Provider) -> Shape:
    return SHAPES.get(row.id) or plain(row.usage)


# ---- a host on loopback in the place of the row's own


def path_of(row: Provider) -> str:
    return urlsplit(re.sub(r"\{\w+\}", "acme", row.base_url or "")).path.rstrip("/")


def table(row: Provider, host: ScriptedProvider) -> dict[str, dict[str, Any]]:
    """`[providers]` that sends this row's requests to the host, by a name of its own where the row has a process."""
    over = {"base_url": f"http://127.0.0.1:{host.port}{path_of(row)}", "api_key": KEY}
    if row.id != "local":
        return {row.id: over}
    fields = {name: value for name, value in msgspec.to_builtins(row).items() if value is not None and name != "id"}
    return {"local-copy": {**fields, **over}}


def model_of(row: Provider) -> str:
    return f"{'local-copy' if row.id == 'local' else row.id}/own/id:1"


def assert_as_the_row_says(row: Provider, call: Call) -> None:
    """The request is in the names that the provider takes, and carries our key where it wants it."""
    quirks, body = row.quirks, call.json
    assert (call.method, call.path) == ("POST", path_of(row) + row.chat_path)
    assert call.headers[row.auth.header.lower()] == f"{row.auth.scheme} {KEY}".strip()
    assert (body["model"], body["stream"]) == ("own/id:1", True)
    assert not body.keys() & {"provider", "session_id", *quirks.drop}
    if row.usage in ("ask", "try"):
        assert body["stream_options"] == {"include_usage": True, **quirks.stream_options}
    else:
        assert "stream_options" not in body
    assert body[quirks.max_tokens or "max_completion_tokens"] == 64
    assert len(body.keys() & {"max_tokens", "max_completion_tokens"}) == 1
    for old, new in quirks.rename.items():
        assert old not in body
        assert body[new] == REQUEST[old]
    for name, value in quirks.defaults.items():
        assert name in body
        assert body[name] == value or name == quirks.max_tokens
    if quirks.only:
        assert body.keys() <= set(quirks.only)
    else:
        assert body["x_vendor"] == {"a": 1}
    if quirks.integer_logprobs:
        assert body["logprobs"] == 2
        assert "top_logprobs" not in body
    assert not body["tools"][0]["function"].keys() & set(quirks.strip_tool)
    assert_messages_as_the_row_says(row, body["messages"])


def assert_messages_as_the_row_says(row: Provider, messages: list[dict[str, Any]]) -> None:
    quirks = row.quirks
    assert [message["role"] for message in messages] == [
        quirks.roles.get(role, role) for role in ("developer", "user", "assistant", "tool")
    ]
    for message in messages:
        assert not message.keys() & set(quirks.strip_message)
    if quirks.plain_content:
        assert [message["content"] for message in messages] == ["Be brief.", "What is\nthe weather?", "", "rain"]
    else:
        assert messages[1]["content"] == REQUEST["messages"][1]["content"]
    id = messages[2]["tool_calls"][0]["id"]
    assert messages[3]["tool_call_id"] == id
    assert re.fullmatch(f"[A-Za-z0-9]{{{quirks.tool_id_length}}}" if quirks.tool_id_length else "call_01234567", id)


# ---- a client


async def send(
    port: int, method: str, path: str, body: bytes = b""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A request whose answer ends where the connection does."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"{method} {path} HTTP/1.0\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    return reader, writer


async def head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
    pairs = (line.split(": ", 1) for line in lines)
    return int(first.split(" ")[1]), {name.lower(): value for name, value in pairs}


async def fetched(port: int, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    reader, writer = await send(port, method, path, body)
    status, headers = await head(reader)
    rest = await reader.read()
    writer.close()
    return status, headers, rest


async def asked(running: RunningGateway, row: Provider) -> tuple[int, dict[str, str], bytes]:
    body = json.dumps({"model": model_of(row), **REQUEST}).encode()
    return await fetched(running.port, "POST", "/v1/chat/completions", body)


async def left(running: RunningGateway, row: Provider) -> str:
    """Ask, leave at the first text, and give the exchange's id."""
    body = json.dumps({"model": model_of(row), **REQUEST}).encode()
    reader, writer = await send(running.port, "POST", "/v1/chat/completions", body)
    _, headers = await head(reader)
    await reader.readuntil(b"Hel")
    writer.close()
    return headers["x-generation-id"]


async def receipt(running: RunningGateway, id: str) -> dict[str, Any]:
    await running.relay.idle.wait()
    status, _, body = await fetched(running.port, "GET", f"/v1/generation?id={id}")
    assert status == 200
    found: dict[str, Any] = json.loads(body)["data"]
    return found


async def entries(running: RunningGateway) -> dict[str, int | None]:
    """All entries: id -> what the provider bills, picodollars."""
    await running.relay.ledger.spend(None)  # what was queued before is written then
    with closing(sqlite3.connect(running.relay.config.ledger_url().removeprefix("sqlite:///"))) as connection:
        return dict(connection.execute("SELECT id, cost FROM entries ORDER BY created_ms"))


async def true(condition: Callable[[], Any]) -> None:
    """Wait until it holds: for what has no event of its own."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


def draining(running: RunningGateway) -> bool:
    return any(exchange.state.phase is Phase.DRAINING for exchange in running.relay.active)


def frames(body: bytes) -> list[Any]:
    blocks = [block for block in body.decode().split("\n\n") if block and not block.startswith(":")]
    assert blocks.pop() == "data: [DONE]"
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def words(found: list[Any]) -> str:
    return "".join(choice["delta"].get("content") or "" for frame in found for choice in frame["choices"])


def assert_billed(found: dict[str, Any], shape: Shape) -> None:
    assert (found["tokens_prompt"], found["tokens_completion"]) == (shape.prompt, shape.completion)
    assert (found["native_tokens_cached"], found["native_tokens_reasoning"]) == (shape.cached, shape.reasoning)
    assert found["estimated"] is False
    assert found["finish_reason"] == shape.finish


# ---- the tests


@pytest.mark.parametrize("id", OPEN)
async def test_a_stream_is_billed_once_and_hanging_up_does_what_the_row_says(id: str) -> None:
    row, go = ROWS[id], asyncio.Event()
    shape = shape_of(row)

    def script(call: Call) -> list[Step]:
        return [*shape.first, *([Wait(go)] if len(host.calls) > 1 else []), *shape.rest]

    async with ScriptedProvider(script) as host, gateway(providers=table(row, host)) as running:
        await assert_streamed(running, row, shape)
        assert_as_the_row_says(row, host.calls[0])
        assert len(await entries(running)) == 1
        exchange = await left(running, row)
        first, call = host.calls
        assert call.body == first.body
        if row.on_disconnect == "cancel":
            await assert_cancelled(running, call, exchange)
        else:
            await assert_drained(running, call, exchange, shape, go)
        assert len(await entries(running)) == 2
        counts = running.relay.ledger.counts
        assert (counts.settled, counts.duplicates) == (2, 0)


async def assert_streamed(running: RunningGateway, row: Provider, shape: Shape) -> None:
    status, headers, body = await asked(running, row)
    assert status == 200, body
    *chunks, last = frames(body)
    assert words(chunks) == "Hello"
    assert all("usage" not in chunk and "error" not in chunk for chunk in chunks)
    assert last["choices"] == []
    shown = last["usage"]
    assert (shown["prompt_tokens"], shown["completion_tokens"]) == (shape.prompt, shape.completion)
    found = await receipt(running, headers["x-generation-id"])
    assert found["outcome"] == "completed"
    assert_billed(found, shape)
    if shape.cost is not None:
        assert list((await entries(running)).values()) == [shape.cost]


async def assert_cancelled(running: RunningGateway, call: Call, exchange: str) -> None:
    async with asyncio.timeout(2):
        await call.closed.wait()
    found = await receipt(running, exchange)
    assert (found["outcome"], found["cancelled"], found["estimated"]) == ("cancelled", True, True)
    assert found["tokens_prompt"] > 0
    assert found["tokens_completion"] > 0
    assert found["upstream_closed_ms"] >= 0


async def assert_drained(running: RunningGateway, call: Call, exchange: str, shape: Shape, go: asyncio.Event) -> None:
    await true(lambda: draining(running))
    assert not call.closed.is_set()
    go.set()
    found = await receipt(running, exchange)
    assert call.sent >= sum(len(step) for step in shape.rest if isinstance(step, bytes) and step != DONE)
    assert found["outcome"] == "drained"
    assert_billed(found, shape)


@pytest.mark.parametrize("id", TRYING)
async def test_a_host_that_refuses_to_be_asked_for_usage_is_asked_without(id: str) -> None:
    row = ROWS[id]
    refusal = json.dumps(
        {"error": {"message": "Unknown field: stream_options", "type": "invalid_request_error"}}
    ).encode()

    def script(call: Call) -> list[Step]:
        if "stream_options" in call.json:
            return [Answer(400, (("content-type", "application/json"),), refusal)]
        return [ROLE, text("Hello"), delta("stop"), DONE]

    async with ScriptedProvider(script) as host, gateway(providers=table(row, host)) as running:
        _, headers, body = await asked(running, row)
        assert words(frames(body)) == "Hello"
        assert ["stream_options" in call.json for call in host.calls] == [True, False]
        found = await receipt(running, headers["x-generation-id"])
        assert (found["outcome"], found["estimated"]) == ("completed", True)
        assert found["tokens_completion"] > 0
        assert len(await entries(running)) == 1
        await asked(running, row)
        assert ["stream_options" in call.json for call in host.calls] == [True, False, False]  # not asked again


async def test_a_service_that_is_gone_says_so() -> None:
    assert CLOSED
    async with gateway(providers={id: {"api_key": KEY} for id in CLOSED}) as running:
        for row in (ROWS[id] for id in CLOSED):
            status, _, body = await asked(running, row)
            error = json.loads(body)["error"]
            assert (status, error["code"], error["type"]) == (404, 404, "provider_closed")
            for words in (row.name, row.since, row.successor):
                assert words in error["message"]
        assert await entries(running) == {}


def test_every_shape_is_that_of_a_row_that_serves() -> None:
    assert SHAPES.keys() <= set(OPEN)


@pytest.mark.parametrize("streamed", [True, False])
async def test_our_key_does_not_reach_the_client_through_a_provider_that_repeats_it(streamed: bool) -> None:
    row = ROWS["openai"]

    def script(call: Call) -> list[Step]:
        error = {"message": f"Quota spent for {call.headers['authorization']}", "code": KEY}
        if streamed:
            return [ROLE, text("Hel"), frame(error=error)]
        return [Answer(400, (("content-type", "application/json"),), json.dumps({"error": error}).encode())]

    async with ScriptedProvider(script) as host, gateway(providers=table(row, host)) as running:
        _, _, body = await asked(running, row)
        assert b"Quota spent" in body
        assert KEY.encode() not in body
