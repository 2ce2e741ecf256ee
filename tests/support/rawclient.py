"""A client that does what no library lets one do: leave at any byte, by any means, or stop reading."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sqlite3
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from infron import testing
from infron.testing import RunningGateway

COMMENT = b": Infron AI PROCESSING\n\n"
BOUND = 30.0  # seconds that no wait of a test may take; what is to be quick is asserted where it is


async def within(awaitable: Any, seconds: float = BOUND) -> Any:
    async with asyncio.timeout(seconds):
        return await awaitable


_opened: list[Client] = []


@contextlib.asynccontextmanager
async def gateway(**sections: Any) -> AsyncIterator[RunningGateway]:
    """A gateway whose clients have all left when it ends."""
    async with testing.gateway(**sections) as running:
        try:
            yield running
        finally:
            close_all()


def close_all() -> None:
    for client in _opened:
        client.close()
    _opened.clear()


async def all_closed() -> None:
    """Let every client leave, and wait until its connection is gone."""
    clients = list(_opened)
    close_all()
    await asyncio.gather(*(client.writer.wait_closed() for client in clients), return_exceptions=True)


async def true(condition: Callable[[], Any], seconds: float = BOUND) -> None:
    """Wait until it holds: for what has no event of its own."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


class Client:
    """One request on a connection of its own. `received`: the body so far, transfer coding removed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}
        self.received = b""
        _opened.append(self)

    @property
    def id(self) -> str:
        return self.headers["x-generation-id"]

    async def head(self, seconds: float = BOUND) -> Client:
        """`seconds`: that it may take, as of an answer that is not streamed."""
        raw = await within(self.reader.readuntil(b"\r\n\r\n"), seconds)
        first, *lines = raw.decode("latin-1").rstrip().split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return self

    async def piece(self) -> bytes:
        """The next chunk's payload; empty at the end."""
        size = int(await within(self.reader.readuntil(b"\r\n")), 16)
        data = (await within(self.reader.readexactly(size + 2)))[:-2]
        self.received += data
        return data

    async def until(self, words: bytes, count: int = 1) -> bytes:
        while self.received.count(words) < count:
            assert await self.piece(), f"{words!r} did not come: {self.received!r}"
        return self.received

    async def rest(self) -> bytes:
        """The whole body."""
        if "content-length" in self.headers:
            self.received = await within(self.reader.readexactly(int(self.headers["content-length"])))
        else:
            while await self.piece():
                pass
        return self.received

    async def error(self) -> dict[str, Any]:
        await self.rest()
        return json.loads(self.received)["error"]

    def frames(self) -> list[Any]:
        """The events received, their JSON decoded; `[DONE]` as that string. Comments are left out."""
        return frames(self.received)

    def words(self) -> str:
        return words(self.frames())

    # ---- leaving

    def half_close(self) -> None:
        self.writer.write_eof()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        peer = self.writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


def frames(body: bytes) -> list[Any]:
    blocks = [block for block in body.decode().split("\n\n") if block and not block.startswith(":")]
    assert all(block.startswith("data: ") for block in blocks), blocks
    return [block[6:] if block == "data: [DONE]" else json.loads(block[6:]) for block in blocks]


def words(found: list[Any]) -> str:
    """The text of these frames."""
    choices = [choice for frame in found if isinstance(frame, dict) for choice in frame.get("choices", ())]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


async def send(port: int, method: str, path: str, body: bytes = b"", *headers: str, buffer: int = 0) -> Client:
    """Send a request; the answer is not waited for. `buffer`: the receive buffer of the socket, in bytes."""
    if buffer:
        peer = socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        peer.setblocking(False)
        await asyncio.get_running_loop().sock_connect(peer, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=peer, limit=1 << 16)
    else:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
    lines = (f"{method} {path} HTTP/1.1", f"host: 127.0.0.1:{port}", *headers, f"content-length: {len(body)}", "", "")
    writer.write("\r\n".join(lines).encode() + body)
    return Client(reader, writer)


async def ask(port: int, *headers: str, buffer: int = 0, path: str = "/v1/chat/completions", **fields: Any) -> Client:
    """Send a request, streamed and of the chat API unless told otherwise; the answer is not waited for."""
    fields = {"model": "mock/any", "messages": [{"role": "user", "content": "Hi there"}], "stream": True, **fields}
    body = json.dumps(fields).encode()
    return await send(port, "POST", path, body, "content-type: application/json", *headers, buffer=buffer)


async def get(port: int, path: str, *headers: str) -> Client:
    client = await (await send(port, "GET", path, b"", *headers, "connection: close")).head()
    await client.rest()
    client.close()
    return client


@contextlib.contextmanager
def deaf_host() -> Iterator[str]:
    """The base URL of a listener whose backlog is full: it leaves a new connection without an answer."""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = sockets.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


async def receipt(port: int, id: str) -> dict[str, Any]:
    """The receipt as it stands at this moment."""
    client = await get(port, f"/v1/generation?id={id}")
    assert client.status == 200, client.received
    return json.loads(client.received)["data"]


def failed_attempts(found: dict[str, Any]) -> list[str]:
    """Of a receipt: "provider: error type (status)" of each."""
    return [f"{one['provider']}: {one['error_type']} ({one['status']})" for one in found["attempts"]]


async def settled(running: RunningGateway, id: str | None = None) -> dict[str, Any]:
    """The receipt of the only exchange, once it is settled; and that it was recorded once and settled once."""
    await within(running.context.registry.idle.wait())
    if id is None:
        (id,) = await entries(running)
    found = await receipt(running.port, id)
    assert await entries(running) == [id]
    counts = running.context.ledger.counts
    assert (counts.settled, counts.duplicates) == (1, 0)
    return found


@contextlib.contextmanager
def locked(ledger: Path) -> Iterator[None]:
    """Hold the ledger's write lock."""
    with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


async def entries(running: RunningGateway) -> list[str]:
    await running.context.ledger.spend(None)  # whatever was queued before it is written
    with closing(sqlite3.connect(running.context.config.ledger_url().removeprefix("sqlite:///"))) as connection:
        return [id for (id,) in connection.execute("SELECT id FROM entries ORDER BY created_ms")]
