"""What clients send ahead of its turn, or though it was refused: it costs its bytes, and no other client's time."""

from __future__ import annotations

import asyncio
import gc
import time

import pytest
import pytest_asyncio
from rawconnection import CHAT, Connection, ask, chat, connected, request

from infron.runtime.ledger.administration import create_key
from infron.runtime.server import clock
from infron.runtime.server import connection as server
from infron.runtime.server.request import HttpRequest
from infron.testing import DONE, FINISH, ROLE, ScriptedProvider, gateway, text

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = "Content-Type: application/json"
HELLO = [ROLE, text("Hello"), FINISH, DONE]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(playing):
    async with gateway(providers={"mock": playing.definition()}) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keyed(playing, tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('keyed') / 'infron.db'}"
    create_key(url, "first")
    async with gateway(providers={"mock": playing.definition()}, ledger={"url": url}) as running:
        yield running


async def test_pipeline_of_two_goes_on_for_ever(running):
    """The bytes of requests that were answered long ago counted too: after 64 kB in all the connection was reset."""
    one = chat(messages=[{"role": "user", "content": "x" * 800}])
    async with connected(running.port) as connection:
        connection.send(one, one)
        for _ in range(150):
            reply = await connection.reply()
            assert reply.body.endswith(b"data: [DONE]\n\n")
            connection.send(one)


def _protocol() -> server.GatewayProtocol:
    """The server's end of the one connection that there is."""
    (found,) = [
        found
        for found in gc.get_objects()
        if isinstance(found, server.GatewayProtocol) and found in found.server.connections
    ]
    return found


async def _refused(connection: Connection, count: int) -> None:
    """So many refusals are read."""
    line, tail, answered = b"HTTP/1.1 401", b"", 0
    async with asyncio.timeout(30):
        while answered < count:
            tail += await connection.reader.read(65_536)
            answered += tail.count(line)
            tail = tail[max(tail.rfind(line) + 1, len(tail) - len(line)) :]


SHORT = b"GET /v1/key HTTP/1.1\r\nhost:a\r\n\r\n"  # refused without a key


async def test_pipeline_is_kept_as_bytes(keyed):
    """Each request was an object at once: twenty times its size, for anybody without a key."""
    count = 10_000
    async with connected(keyed.port, buffer=4_096) as connection:
        connection.writer.transport.pause_reading()
        connection.send(SHORT * count)
        protocol = _protocol()
        async with asyncio.timeout(30):
            while not protocol.write_paused:
                await asyncio.sleep(0.01)
        assert sum(isinstance(found, HttpRequest) for found in gc.get_objects()) < 200
        connection.writer.transport.resume_reading()
        await _refused(connection, count)


@pytest.fixture
def no_collector():
    """The pauses of the collector are none of the gateway's."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_pipeline_of_refusals_leaves_time_for_others(keyed, no_collector):
    """All that came in one read was answered in one go: 25 ms and more in which nobody else was served."""
    refused = SHORT * 7_500

    async def longest_turn() -> float:
        longest, before = 0.0, time.thread_time()
        while not over.is_set():
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, before = max(longest, now - before), now
        return longest

    over = asyncio.Event()
    async with connected(keyed.port) as connection:
        looking = asyncio.create_task(longest_turn())
        connection.send(refused)
        await _refused(connection, 7_500)
        over.set()
        assert await looking < 0.02


@pytest.mark.parametrize("cut", [1, 100, 2_047, 2_048, 2_049, 5_000])
async def test_pipeline_cut_anywhere_is_answered_in_order(running, cut):
    large = chat(messages=[{"role": "user", "content": "x" * 5_000}])
    raw = b"".join((request(), large, request("GET", "/nowhere"), large, request("GET", "/v1/models"), request()))
    async with connected(running.port) as connection:
        for start in range(0, len(raw), cut) if cut > 1 else range(0, len(raw), 7):
            connection.send(raw[start : start + (cut if cut > 1 else 7)])
            await connection.writer.drain()
        statuses = [(await connection.reply()).status for _ in range(6)]
        assert statuses == [200, 200, 404, 200, 200, 200]


async def test_pipeline_of_a_client_that_closes_its_half_is_answered_to_its_end(running):
    async with connected(running.port) as connection:
        connection.send(request() * 300)
        connection.writer.write_eof()
        for _ in range(300):
            assert (await connection.reply()).status == 200
        assert await connection.ended() == b""


async def test_pipeline_that_ends_in_half_a_request_is_closed_with_its_client_half(running):
    async with connected(running.port) as connection:
        connection.send(request(), request()[:-5])
        connection.writer.write_eof()
        assert (await connection.reply()).status == 200
        assert await connection.ended(1) == b""


# ---- what is refused


@pytest.mark.parametrize("head", [b"GET /healthz HTTP/1.1\r\nX: ", b"NONSENSE\r\n"])
async def test_refused_head_is_read_on_for_a_megabyte_only(running, head):
    """A header of 64 MB was read to its end, politely."""
    sent, part = 0, b"x" * 65_536
    async with connected(running.port) as connection:
        connection.send(head)
        with pytest.raises(ConnectionError):  # noqa: PT012
            async with asyncio.timeout(30):
                while True:
                    connection.send(part)
                    await connection.writer.drain()
                    sent += len(part)
    assert sent < 16 << 20  # what the sockets of both sides hold included


async def test_refused_body_is_read_on_for_a_bounded_amount_only(running, monkeypatch):
    monkeypatch.setattr(server, "LINGER_BODY_BYTES", 0)
    sent, part, limit = 0, b"x" * 65_536, running.context.config.limits.max_body_bytes
    async with connected(running.port) as connection:
        connection.send(request("POST", CHAT, JSON, f"Content-Length: {10 * limit}"))
        with pytest.raises(ConnectionError):  # noqa: PT012
            async with asyncio.timeout(30):
                while sent < 4 * limit:
                    connection.send(part)
                    await connection.writer.drain()
                    sent += len(part)
    assert sent >= 2 * limit - (1 << 20)


async def test_fields_of_an_unfinished_head_are_counted_as_they_come(running):
    """Each was kept until the head's end: 64 kB of them as 1.8 MB, for half a minute."""
    async with connected(running.port) as connection:
        connection.send(b"GET /healthz HTTP/1.1\r\n", b"a:\r\n" * 300)
        assert (await connection.reply()).status == 431
        assert await connection.ended() == b""


async def test_fields_of_a_trailer_are_counted_too(running):
    async with connected(running.port) as connection:
        connection.send(request("POST", CHAT, JSON, "Transfer-Encoding: chunked"), b"2\r\n{}\r\n0\r\n", b"a:\r\n" * 300)
        assert (await connection.reply()).status == 431


# ---- readers that are slow, or gone


@pytest.mark.parametrize("line", ["Connection: close", "X-Keep: alive"])
async def test_reader_that_is_slow_and_steady_gets_everything(monkeypatch, line):
    """It was cut off a minute after the answer's end, however steadily it read: here after 2 s of the 4 it takes."""
    monkeypatch.setattr(clock, "KEEP_ALIVE_SECONDS", 2.0)
    size = 6_000_000
    async with (
        ScriptedProvider([ROLE, text("x" * size), FINISH, DONE]) as provider,
        gateway(providers={"mock": provider.definition()}, timeouts={"client_stall_seconds": 2.0}) as running,
        connected(running.port, buffer=16_384) as connection,
    ):
        connection.send(chat(line, stream=False))
        head = await connection.head()
        length, got = int(head.headers["content-length"]), 0
        connection.reader._limit = 16_384  # type: ignore[attr-defined]
        while got < length:
            data = await asyncio.wait_for(connection.reader.read(60_000), 5)
            assert data, f"cut off after {got:,} of {length:,} bytes"
            got += len(data)
            await asyncio.sleep(0.02)


async def test_reader_that_takes_nothing_is_closed_though_a_refusal_waits_behind():
    """The request behind, which could not be parsed, took the clock away from the answer that nobody read."""
    async with (
        ScriptedProvider([ROLE, text("x" * 12_000_000), FINISH, DONE]) as provider,
        gateway(providers={"mock": provider.definition()}, timeouts={"client_stall_seconds": 0.2}) as running,
        connected(running.port, buffer=4_096) as connection,
    ):
        connection.writer.transport.pause_reading()
        connection.send(chat(stream=False), b"NONSENSE\r\n")
        protocol = _protocol()
        async with asyncio.timeout(30):
            while protocol in protocol.server.connections:
                await asyncio.sleep(0.01)


async def test_gateway_serves_on_after_all_of_it(running):
    assert (await ask(running.port, chat())).status == 200
