"""One connection, byte for byte: whatever is sent, and every answer that comes back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

BOUND = 30.0  # seconds that no wait may take
CHAT = "/v1/chat/completions"
QUESTION = {"model": "mock/any", "messages": [{"role": "user", "content": "Hi"}], "stream": True}


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error, after the one shape that all have was checked."""
        assert self.headers["content-type"] == "application/json"
        error: dict[str, Any] = self.json["error"]
        assert list(self.json) == ["error"]
        assert error["metadata"]["status"] == self.status
        assert isinstance(error["code"], str) or error["code"] == self.status  # as OpenRouter has it, under /api
        assert error["message"].endswith((".", "?", "…"))
        assert isinstance(error["metadata"]["error_type"], str)
        return error

    @property
    def error_type(self) -> str:
        return str(self.error["metadata"]["error_type"])


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *data: bytes) -> None:
        self.writer.write(b"".join(data))

    async def head(self) -> Reply:
        async with asyncio.timeout(BOUND):
            raw = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = raw.rstrip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        assert len(headers) == len(lines), f"a header stands twice: {lines}"
        return Reply(int(first.split(" ")[1]), headers, b"")

    async def reply(self, *, bodiless: bool = False) -> Reply:
        """The next answer, whole."""
        reply = await self.head()
        async with asyncio.timeout(BOUND):
            if bodiless or reply.status == 204:
                body = b""
            elif "content-length" in reply.headers:
                body = await self.reader.readexactly(int(reply.headers["content-length"]))
            elif reply.headers.get("transfer-encoding") == "chunked":
                body = b""
                while chunk := await self.chunk():
                    body += chunk
            else:
                body = await self.reader.read()
        return reply._replace(body=body)

    async def chunk(self) -> bytes:
        async with asyncio.timeout(BOUND):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            return (await self.reader.readexactly(size + 2))[:-2]

    async def ended(self, seconds: float = BOUND) -> bytes:
        """What is left until the other side has closed; a reset raises ConnectionResetError."""
        async with asyncio.timeout(seconds):
            return await self.reader.read()


@contextlib.asynccontextmanager
async def connected(port: int, *, buffer: int = 0) -> AsyncIterator[Connection]:
    """`buffer`: the receive buffer of the socket, in bytes."""
    peer = socket.socket()
    if buffer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    peer.setblocking(False)
    await asyncio.get_running_loop().sock_connect(peer, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=peer, limit=1 << 24)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def request(
    method: str = "GET",
    path: str = "/healthz",
    *headers: str,
    body: bytes | None = None,
    version: str = "1.1",
    host: str = "localhost",
) -> bytes:
    lines = [f"{method} {path} HTTP/{version}", *([f"Host: {host}"] if host else []), *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "", "")).encode() + (body or b"")


def chat(*headers: str, version: str = "1.1", host: str = "localhost", path: str = CHAT, **fields: Any) -> bytes:
    body = json.dumps({**QUESTION, **fields}).encode()
    return request("POST", path, "Content-Type: application/json", *headers, body=body, version=version, host=host)


async def ask(port: int, *data: bytes, bodiless: bool = False) -> Reply:
    """One request on a connection of its own."""
    async with connected(port) as connection:
        connection.send(*data)
        return await connection.reply(bodiless=bodiless)
