"""A provider's host whose every byte is scripted, and a reader that writes down what it is told."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from infron.errors import InfronError
from infron.runtime.upstream.client import Client, Target, UpstreamRequest

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"content-length: 5\r\n\r\nhello"
CHUNKED = OK + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Peer:
    """The host's end of one connection. `number` counts the host's connections from 1."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer
        self.heard = asyncio.Event()  # something came while it waited for the client to go
        self.left = asyncio.Event()

    async def request(self) -> tuple[bytes, bytes]:
        """(head, body) of the next request. Raises IncompleteReadError at the end of the connection."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        return head, await self.reader.readexactly(int(length[1]) if length else 0)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer_all(self, answer: bytes = HELLO) -> None:
        """Give every request the same answer until the connection ends."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await self.request()
                await self.send(answer)

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Wait until the client has closed."""
        with suppress(ConnectionError, ssl.SSLError):
            while await self.reader.read(1 << 16):
                self.heard.set()
        self.left.set()


Script = Callable[[Peer], Awaitable[None]]


class Host:
    """Plays one script to every connection, then closes it. A script that fails fails the test, in `stop`."""

    def __init__(self, script: Script, server: asyncio.Server, scheme: str) -> None:
        self.script = script
        self.server = server
        self.scheme = scheme
        self.peers: list[Peer] = []
        self.connected = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def start(
        cls, script: Script, tls: ssl.SSLContext | None = None, address: str = "127.0.0.1", port: int = 0
    ) -> Host:
        made: list[Host] = []

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await made[0]._play(reader, writer)

        server = await asyncio.start_server(accept, address, port, ssl=tls, backlog=1024)
        made.append(cls(script, server, "https" if tls else "http"))
        return made[0]

    @property
    def port(self) -> int:
        return int(self.server.sockets[0].getsockname()[1])

    @property
    def origin(self) -> str:
        """As it stands in `Client.stats()`."""
        return f"{self.scheme}://{self.at}"

    @property
    def at(self) -> str:
        name, port = self.server.sockets[0].getsockname()[:2]
        return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"

    def endpoint(self, path: str = "/v1/chat/completions", **more: Any) -> Target:
        return Target(self.origin + path, **{"headers": (("authorization", "Bearer sk-secret"),), **more})

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        peer = Peer(len(self.peers) + 1, reader, writer)
        self.peers.append(peer)
        self.connected.set()
        try:
            with suppress(asyncio.CancelledError):
                await self.script(peer)
        finally:
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def stop(self) -> None:
        self.server.close()
        for task in self.tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self.tasks, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
                raise outcome
        await self.server.wait_closed()


class Notes:
    """A reader that keeps all it is told, and refuses what may not happen after an end."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.pieces: list[bytes] = []
        self.ended = False
        self.error: InfronError | None = None
        self.over = asyncio.Event()
        self.news = asyncio.Event()
        self.react: Callable[[str], None] = lambda call: None

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def _note(self, call: str) -> None:
        assert not self.over.is_set(), f"{call} after the end"
        self.news.set()
        if call in ("response_ended", "request_failed"):
            self.over.set()
        self.react(call)

    def response_started(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        assert not self.status
        self.status, self.headers = status, dict(headers)
        self._note("response_started")

    def data_received(self, data: bytes) -> None:
        assert self.status
        assert data
        self.pieces.append(data)
        self._note("data_received")

    def response_ended(self) -> None:
        assert self.status
        self.ended = True
        self._note("response_ended")

    def request_failed(self, error: InfronError) -> None:
        self.error = error
        self._note("request_failed")

    async def until(self, condition: Callable[[Notes], object]) -> None:
        while not condition(self):
            self.news.clear()
            await self.news.wait()


def send(client: Client, endpoint: Target, body: bytes = b"{}") -> tuple[UpstreamRequest, Notes]:
    notes = Notes()
    return client.send(endpoint, body, notes), notes


async def fetch(client: Client, endpoint: Target, body: bytes = b"{}") -> Notes:
    """Send, and wait for the end, whichever it is."""
    _, notes = send(client, endpoint, body)
    await notes.over.wait()
    return notes


def counts(client: Client, host: Host) -> tuple[int, int, int, int]:
    """(open, idle, connecting, waiting) at this host; zeros where nothing was ever sent."""
    stats = client.stats().get(host.origin)
    return (stats.open, stats.idle, stats.connecting, stats.waiting) if stats else (0, 0, 0, 0)


async def true(condition: Callable[[], object]) -> None:
    """Wait for what changes in callbacks that tell nobody. The test's own timeout ends a vain wait."""
    while not condition():
        await asyncio.sleep(0)


async def emptied(client: Client, host: Host) -> None:
    """Wait until nothing is open towards this host."""
    await true(lambda: counts(client, host) == (0, 0, 0, 0))
