"""Every provider that ships, played by a host on loopback that keeps to what its row says, behind a real gateway."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import msgspec
import pytest
from hosts import HOSTS, KEY, provider_model
from shapes import COUNTS, SHAPES, Shape, choice, shape_of

from infron.catalog.definitions import Provider
from infron.catalog.endpoint import endpoint
from infron.catalog.load import load_catalog
from infron.policy.lifecycle import Phase
from infron.testing import (
    DONE,
    ROLE,
    Answer,
    Call,
    RunningGateway,
    Script,
    ScriptedProvider,
    Step,
    Wait,
    delta,
    frame,
    gateway,
    text,
)
from infron.testing.scripts import Playable
from infron.wires import PROVIDER_WIRES

ROWS = load_catalog({}, {}, {}, wires=PROVIDER_WIRES).providers
OPEN = [row.id for row in ROWS.values() if row.status != "closed"]
CLOSED = [row.id for row in ROWS.values() if row.status == "closed"]
TRYING = [id for id in OPEN if ROWS[id].usage == "try"]
PRICE = {"prompt": "1", "completion": "2"}  # USD per million tokens

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


# ---- a host on loopback in the place of the row's own


def filled(template: str) -> str:
    """The variables of an account filled in; `{model}` stays."""
    return re.sub(r"\{(?!model\})\w+\}", "acme", template)


def table(row: Provider, host: ScriptedProvider) -> dict[str, dict[str, Any]]:
    """`[providers]` that sends this row's requests to the host, by a name of its own where the row has a process."""
    path = urlsplit(filled(row.base_url or "")).path.rstrip("/")
    over = {
        "base_url": f"http://127.0.0.1:{host.port}{path}",
        "chat_path": filled(row.chat_path),
        "api_key": KEY,
        "prices": {"*": PRICE},
    }
    if not row.bundled:
        return {row.id: over}
    own = ("id", "bundled")
    fields = {name: value for name, value in msgspec.to_builtins(row).items() if value is not None and name not in own}
    return {"local-copy": {**fields, **over}}


def model_of(row: Provider) -> str:
    return f"{'local-copy' if row.bundled else row.id}/{provider_model(row.wire)}"


def request_of(row: Provider) -> dict[str, Any]:
    if row.id not in HOSTS:
        return REQUEST
    host = HOSTS[row.id]
    asked = {name: value for name, value in REQUEST.items() if name not in host.leaves_out}
    return asked if host.tool_turns else {**asked, "messages": REQUEST["messages"][:2]}


def assert_as_the_row_says(row: Provider, call: Call) -> None:
    """The request is in the names that the provider takes, and carries our key where it wants it."""
    quirks, body = row.quirks.request, call.json
    assert body["stream"] is True
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
    assert all(not tool["function"].keys() & set(quirks.strip_tool) for tool in body.get("tools", []))
    assert_messages_as_the_row_says(row, body["messages"])


def assert_messages_as_the_row_says(row: Provider, messages: list[dict[str, Any]]) -> None:
    quirks = row.quirks.message
    assert [message["role"] for message in messages] == [
        quirks.roles.get(role, role) for role in ("developer", "user", "assistant", "tool")
    ]
    for message in messages:
        assert not message.keys() & set(quirks.strip)
        known = quirks.only.get(message["role"])
        assert known is None or message.keys() <= set(known)
    if quirks.plain_content:
        assert [message["content"] for message in messages] == ["Be brief.", "What is\nthe weather?", "", "rain"]
    else:
        parts = REQUEST["messages"][1]["content"]
        assert [part["text"] for part in messages[1]["content"]] == [part["text"] for part in parts]
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
    body = json.dumps({"model": model_of(row), **request_of(row)}).encode()
    return await fetched(running.port, "POST", "/v1/chat/completions", body)


async def left(running: RunningGateway, row: Provider) -> str:
    """Ask, leave at the first text, and give the exchange's id."""
    body = json.dumps({"model": model_of(row), **request_of(row)}).encode()
    reader, writer = await send(running.port, "POST", "/v1/chat/completions", body)
    _, headers = await head(reader)
    await reader.readuntil(b"Hel")
    writer.close()
    return headers["x-generation-id"]


async def receipt(running: RunningGateway, id: str) -> dict[str, Any]:
    await running.context.registry.idle.wait()
    status, _, body = await fetched(running.port, "GET", f"/v1/generation?id={id}")
    assert status == 200
    found: dict[str, Any] = json.loads(body)["data"]
    return found


class Kept(NamedTuple):
    """What the ledger keeps of an exchange: money in picodollars, `cost` what the provider bills us."""

    outcome: str
    prompt: int
    completion: int
    cost: int | None
    charge: int | None


async def entries(running: RunningGateway) -> dict[str, Kept]:
    """All entries by id, the eldest first."""
    await running.context.ledger.spend(None)  # what was queued before is written then
    columns = ", ".join(Kept._fields)
    with closing(sqlite3.connect(running.context.config.ledger_url().removeprefix("sqlite:///"))) as connection:
        rows = connection.execute(f"SELECT id, {columns} FROM entries ORDER BY created_ms").fetchall()
    return {row[0]: Kept(*row[1:]) for row in rows}


def priced(prompt: int, completion: int) -> int:
    return prompt * 10**6 + completion * 2 * 10**6


async def true(condition: Callable[[], Any]) -> None:
    """Wait until it holds: for what has no event of its own."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.002)


def draining(running: RunningGateway) -> bool:
    return any(exchange.state.phase is Phase.DRAINING for exchange in running.context.registry.running())


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


def assert_charged(kept: Kept, outcome: str, shape: Shape) -> None:
    """The whole answer is charged, and costs what the provider says, or the same."""
    charge = priced(shape.prompt, shape.completion)
    assert kept == Kept(outcome, shape.prompt, shape.completion, shape.cost or charge, charge)


# ---- the tests


class Simulated:
    """A row's host: it refuses what the provider would, and answers in its shape; the second answer waits for `go`."""

    def __init__(self, row: Provider) -> None:
        self.shape = shape_of(row.id, row.wire, row.usage)
        self.go = asyncio.Event()
        self.calls: list[Call] = []
        self.asked: list[Call] = []  # those that began an answer
        self._host = HOSTS.get(row.id)
        self._wire = row.wire
        self._playing: Playable = []

    def __call__(self, call: Call) -> Script:
        self.calls.append(call)
        begins = self._wire != "replicate" or call.path.endswith("/predictions")
        if begins:
            self.asked.append(call)
            if self._host is not None and (refusal := self._host.refusal(call)):
                return [refusal]
            waiting = [Wait(self.go)] if len(self.asked) > 1 else []
            self._playing = self.shape.plays([*self.shape.first, *waiting, *self.shape.rest])
        return self._playing(call) if callable(self._playing) else self._playing


@pytest.mark.parametrize("id", OPEN)
async def test_a_stream_is_billed_once_and_hanging_up_does_what_the_row_says(id: str) -> None:
    row, host = ROWS[id], Simulated(ROWS[id])
    async with ScriptedProvider(host) as provider, gateway(providers=table(row, provider)) as running:
        await assert_streamed(running, row, host.shape)
        if row.wire == "openai-chat":
            assert_as_the_row_says(row, host.asked[0])
        assert len(await entries(running)) == 1
        exchange = await left(running, row)
        first, asked = host.asked
        assert asked.body == first.body
        call = provider.calls[-1]
        await HANG_UPS[row.on_disconnect](running, host, call, exchange)
        assert len(await entries(running)) == 2
        counts = running.context.ledger.counts
        assert (counts.settled, counts.duplicates) == (2, 0)


async def assert_streamed(running: RunningGateway, row: Provider, shape: Shape) -> None:
    status, headers, body = await asked(running, row)
    assert status == 200, body
    *chunks, last = frames(body)
    assert words(chunks) == "Hello"
    assert all("usage" not in chunk and "error" not in chunk for chunk in chunks)
    assert {chunk["object"] for chunk in chunks} - {""} == {"chat.completion.chunk"}
    assert last["choices"] == []
    shown = last["usage"]
    assert (shown["prompt_tokens"], shown["completion_tokens"]) == (shape.prompt, shape.completion)
    found = await receipt(running, headers["x-generation-id"])
    assert found["outcome"] == "completed"
    assert_billed(found, shape)
    (kept,) = (await entries(running)).values()
    assert_charged(kept, "completed", shape)


async def assert_cancelled(running: RunningGateway, host: Simulated, call: Call, exchange: str) -> None:
    async with asyncio.timeout(30):
        await call.closed.wait()
    found = await receipt(running, exchange)
    assert (found["outcome"], found["cancelled"], found["estimated"]) == ("cancelled", True, True)
    assert 0 <= found["upstream_closed_ms"] < 2000
    kept = (await entries(running))[exchange]
    assert (kept.prompt, kept.completion) == (found["tokens_prompt"], found["tokens_completion"])
    assert kept.prompt > 0
    assert 0 < kept.completion <= host.shape.completion
    assert kept.charge == priced(kept.prompt, kept.completion)


async def assert_drained(running: RunningGateway, host: Simulated, call: Call, exchange: str) -> None:
    await true(lambda: draining(running))
    assert not call.closed.is_set()
    host.go.set()
    found = await receipt(running, exchange)
    assert call.sent >= sum(len(step) for step in host.shape.rest if isinstance(step, bytes) and step != DONE)
    assert found["outcome"] == "drained"
    assert_billed(found, host.shape)
    assert_charged((await entries(running))[exchange], "drained", host.shape)


async def assert_called(running: RunningGateway, host: Simulated, call: Call, exchange: str) -> None:
    """The provider is told to stop, and the connection closed."""
    await assert_cancelled(running, host, call, exchange)
    assert ("POST", call.path.replace("/stream", "/cancel")) in [(told.method, told.path) for told in host.calls]


HANG_UPS = {"cancel": assert_cancelled, "drain": assert_drained, "call": assert_called}


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
            assert (status, error["metadata"]["status"], error["code"]) == (404, 404, "provider_closed")
            for words in (row.name, row.since, row.successor):
                assert words in error["message"]
        assert await entries(running) == {}


def test_every_shape_is_that_of_a_row_that_serves() -> None:
    assert SHAPES.keys() <= set(OPEN)


@pytest.mark.parametrize("id", HOSTS)
def test_a_key_in_its_usual_place_leads_to_the_providers_own_host(id: str) -> None:
    row, host = ROWS[id], HOSTS[id]
    environ = {names[0]: "acme" for names in row.variables.values()} | {host.env: KEY}
    found = endpoint(row, environ)
    assert not isinstance(found, str), found
    if row.wire != "cloudflare":  # the slashes of the model stay there, which the wire sees to
        model = quote(provider_model(row.wire), safe="/" if row.wire == "replicate" else "")
        assert found.chat_url.replace("{model}", model) == host.url
    sent = {name.lower(): value for name, value in found.headers.items()}
    assert sent[host.header] == f"{host.scheme} {KEY}".strip()
    assert dict(host.headers).items() <= sent.items()


def test_every_row_that_serves_has_a_host_to_be_played_by() -> None:
    assert set(OPEN) - {"local"} == HOSTS.keys()


@pytest.mark.parametrize("id", sorted(HOSTS.keys() - {"openai", "azure", "azure-classic", "openrouter"}))
def test_a_host_refuses_what_a_caller_of_openai_may_send(id: str) -> None:
    host = HOSTS[id]
    headers = {"content-type": "application/json", host.header: f"{host.scheme} {KEY}".strip(), **dict(host.headers)}
    body = {**REQUEST, **({"model": "own/id:1"} if host.model else {})}
    refusal = host.refusal(Call("POST", host.target, headers, json.dumps(body).encode()))
    assert refusal is not None
    assert 400 <= refusal.status < 500


async def test_an_entra_token_goes_to_azure_where_the_settings_say_so() -> None:
    row, host = ROWS["azure"], Simulated(ROWS["azure"])
    host._host = HOSTS["azure"]._replace(header="authorization", scheme="Bearer")
    async with ScriptedProvider(host) as provider:
        over = table(row, provider)
        over["azure"]["auth"] = {"header": "Authorization", "scheme": "Bearer", "env": ["AZURE_OPENAI_AD_TOKEN"]}
        async with gateway(providers=over) as running:
            status, _, body = await asked(running, row)
            assert status == 200, body
            assert "api-key" not in host.asked[0].headers


async def test_whole_tool_calls_without_an_index_reach_the_client_with_one() -> None:
    calls = [{"id": id, "function": {"name": "f", "arguments": {"x": 1}}} for id in ("aaaaaaaaa", "bbbbbbbbb")]
    said = frame(choices=[choice("tool_calls", delta={"content": "", "tool_calls": calls})], usage=COUNTS)
    async with ScriptedProvider([ROLE, said, DONE]) as provider:
        row = ROWS["mistral"]
        async with gateway(providers=table(row, provider)) as running:
            _, _, body = await asked(running, row)
    (found,) = [delta for each in frames(body) for delta in tool_calls(each)]
    assert [(call["index"], call["id"], call["type"]) for call in found] == [
        (0, "aaaaaaaaa", "function"),
        (1, "bbbbbbbbb", "function"),
    ]
    assert {call["function"]["arguments"] for call in found} == {'{"x":1}'}


def tool_calls(found: dict[str, Any]) -> list[Any]:
    return [choice["delta"]["tool_calls"] for choice in found["choices"] if choice["delta"].get("tool_calls")]


# Each: the row -> what is asked beside the messages, which the provider answers as a whole only.
WHOLE: list[tuple[str, dict[str, Any]]] = [
    ("ai21", {"tools": REQUEST["tools"]}),
    ("groq", {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}}),
]


@pytest.mark.parametrize(("id", "fields"), WHOLE)
async def test_what_a_provider_does_not_stream_is_asked_for_as_a_whole_and_streamed_to_the_client(
    id: str, fields: dict[str, Any]
) -> None:
    row = ROWS[id]
    message = {"role": "assistant", "content": "Hello"}
    answer = {"id": "x", "object": "chat.completion", "choices": [choice("stop", message=message)], "usage": COUNTS}

    def script(call: Call) -> Script:
        if refusal := HOSTS[id].refusal(call):
            return [refusal]
        return [Answer(200, (("content-type", "application/json"),), json.dumps(answer).encode())]

    async with ScriptedProvider(script) as provider, gateway(providers=table(row, provider)) as running:
        request = {"model": model_of(row), "messages": [{"role": "user", "content": "Hi"}], "stream": True, **fields}
        status, headers, body = await fetched(
            running.port, "POST", "/v1/chat/completions", json.dumps(request).encode()
        )
        assert status == 200, body
        assert words(frames(body)) == "Hello"
        assert provider.calls[0].json["stream"] is False
        assert "stream_options" not in provider.calls[0].json
        found = await receipt(running, headers["x-generation-id"])
        assert (found["outcome"], found["tokens_completion"], found["estimated"]) == ("completed", 5, False)


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
