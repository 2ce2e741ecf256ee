"""Endpoints that start no exchange: bodies that come in, answers in pieces, clients that leave or take nothing."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import pytest_asyncio
from rawconnection import ask, connected, request
from starlette.responses import StreamingResponse

from infron.errors import NotFound
from infron.runtime.ledger.administration import create_key
from infron.runtime.server import endpoints as served
from infron.runtime.server.api.endpoint import Endpoint, json_response
from infron.testing import gateway

JSON = "Content-Type: application/json"
PIECE = b"x" * 100_000


class Seen:
    """What became of a stream."""

    def __init__(self) -> None:
        self.pieces = 0
        self.gate = asyncio.Event()
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()


@pytest.fixture
def seen():
    return Seen()


def endpoints_of(seen: Seen) -> list[Endpoint]:
    async def echo(request, key):
        return json_response({"key": key and key.name, "body": (await request.body()).decode()})

    async def named(request, key):
        return json_response(dict(request.path_params))

    async def unknown(request, key):
        raise NotFound("There is no such thing.")

    def streamed(pieces):
        async def answer(request, key):
            return StreamingResponse(pieces(), media_type="text/plain")

        return answer

    async def counted():
        for number in range(3):
            yield f"{number};"

    async def endless():
        try:
            while True:
                seen.pieces += 1
                yield PIECE
        finally:
            seen.ended.set()

    async def waiting():
        try:
            yield b"begun"
            seen.begun.set()
            await seen.gate.wait()
            yield b"over"
        finally:
            seen.ended.set()

    async def broken():
        yield b"begun"
        raise ZeroDivisionError("secret words")

    return [
        Endpoint("/echo", echo, method="POST", takes_body=True),
        Endpoint("/named/{id}/{rest:path}", named),
        Endpoint("/unknown", unknown),
        Endpoint("/counted", streamed(counted)),
        Endpoint("/endless", streamed(endless)),
        Endpoint("/waiting", streamed(waiting)),
        Endpoint("/broken", streamed(broken)),
    ]


@pytest_asyncio.fixture
async def running(monkeypatch, seen):
    shipped = served.endpoints
    monkeypatch.setattr(served, "endpoints", lambda context: [*shipped(context), *endpoints_of(seen)])
    async with gateway(limits={"max_body_bytes": 100_000}) as running:
        yield running


async def test_endpoint_is_given_the_body_of_its_request(running):
    body = b'{"a": "' + b"b" * 50_000 + b'"}'
    async with connected(running.port) as connection:
        connection.send(request("POST", "/v1/echo", JSON, body=body)[:-100])
        connection.send(body[-100:], request("GET", "/healthz"))
        assert (await connection.reply()).json == {"key": None, "body": body.decode()}
        assert (await connection.reply()).json == {"status": "ok"}
    reply = await ask(running.port, request("POST", "/api/v1/echo", JSON, "Content-Length: 100001"))
    assert (reply.status, reply.error_type) == (413, "payload_too_large")


async def test_endpoint_with_a_body_is_asked_by_who_may_and_in_json_alone(running):
    asks = request("POST", "/v1/echo", JSON, "Expect: 100-continue", "Content-Length: 2")
    async with connected(running.port) as connection:
        connection.send(asks)
        assert (await connection.head()).status == 100
        connection.send(b"{}")
        assert (await connection.reply()).json["body"] == "{}"
    assert (await ask(running.port, request("POST", "/v1/echo", "Content-Type: text/plain", body=b"{}"))).status == 415
    assert (await ask(running.port, request("POST", "/v1/echo", JSON, body=b"{}", host="evil.example"))).status == 403
    await asyncio.to_thread(create_key, running.context.config.ledger_url(), "first")
    async with asyncio.timeout(30):
        while not running.context.ledger.keys.required:
            await asyncio.sleep(0.01)
    assert (await ask(running.port, asks)).status == 401  # before the body is there


async def test_endpoint_knows_what_its_path_says(running):
    assert (await ask(running.port, request("GET", "/v1/named/a/b/c"))).json == {"id": "a", "rest": "b/c"}
    reply = await ask(running.port, request("GET", "/v1/unknown"))
    assert (reply.status, reply.error["message"]) == (404, "There is no such thing.")
    reply = await ask(running.port, request("GET", "/v1/echo"))
    assert (reply.status, reply.headers["allow"]) == (405, "POST")


async def test_endpoint_streams_in_chunks_and_the_connection_goes_on(running):
    async with connected(running.port) as connection:
        connection.send(request("GET", "/v1/counted"), request("HEAD", "/v1/counted"), request())
        reply = await connection.reply()
        assert (reply.headers["transfer-encoding"], reply.body) == ("chunked", b"0;1;2;")
        assert "content-length" not in reply.headers
        assert (await connection.reply(bodiless=True)).headers["content-type"] == "text/plain; charset=utf-8"
        assert (await connection.reply()).json == {"status": "ok"}
    async with connected(running.port) as connection:
        connection.send(request("GET", "/v1/counted", version="1.0"))
        assert (await connection.reply()).body == b"0;1;2;"


async def test_endpoint_stream_waits_while_its_client_takes_nothing(running, seen):
    """An export that is written as fast as it can be read would be held in memory as a whole."""
    async with connected(running.port, buffer=4_096) as connection:
        connection.writer.transport.pause_reading()
        connection.send(request("GET", "/v1/endless"))
        async with asyncio.timeout(30):
            before = -1
            while seen.pieces != before:
                before = seen.pieces
                await asyncio.sleep(0.2)
        assert seen.pieces < 200
        connection.writer.transport.resume_reading()
        async with asyncio.timeout(30):
            while seen.pieces < before + 50:
                await connection.reader.read(1 << 20)
    await asyncio.wait_for(seen.ended.wait(), 30)


@pytest.mark.parametrize("half", [False, True])
async def test_endpoint_stream_ends_when_its_client_leaves(running, seen, half):
    """A live view that has nothing to say would never notice."""
    async with connected(running.port) as connection:
        connection.send(request("GET", "/v1/waiting"))
        await connection.head()
        await seen.begun.wait()
        connection.writer.write_eof() if half else connection.writer.close()
        await asyncio.wait_for(seen.ended.wait(), 30)


async def test_endpoint_stream_is_flushed_piece_by_piece(running, seen):
    async with connected(running.port) as connection:
        connection.send(request("GET", "/v1/waiting"))
        await connection.head()
        assert await connection.chunk() == b"begun"
        seen.gate.set()
        assert await connection.chunk() == b"over"
        assert await connection.chunk() == b""


async def test_endpoint_stream_that_breaks_is_cut_and_not_ended(running, caplog):
    async with connected(running.port) as connection:
        connection.send(request("GET", "/v1/broken"), request())
        await connection.head()
        rest = b""
        with contextlib.suppress(ConnectionError):
            rest = await connection.ended()
        assert not rest.endswith(b"0\r\n\r\n")
        assert b"ok" not in rest
    assert [record.message for record in caplog.records] == ["a bug while answering /v1/broken"]


async def test_endpoint_stream_does_not_hold_up_the_end_of_the_gateway(monkeypatch, seen):
    shipped = served.endpoints
    monkeypatch.setattr(served, "endpoints", lambda context: [*shipped(context), *endpoints_of(seen)])
    async with contextlib.AsyncExitStack() as stack:
        running = await stack.enter_async_context(gateway())
        async with connected(running.port) as connection:
            connection.send(request("GET", "/v1/waiting"))
            await connection.head()
            await seen.begun.wait()
            async with asyncio.timeout(30):
                await stack.aclose()
            assert seen.ended.is_set()
