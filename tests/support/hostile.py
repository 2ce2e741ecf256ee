"""Thirty kinds of hostile client, each a coroutine that does its worst once, for a second at most."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import struct
from collections.abc import Awaitable, Callable

from rawconnection import CHAT, Connection, chat, connected, request

JSON = "Content-Type: application/json"
Attack = Callable[[int, str], Awaitable[None]]
KINDS: dict[str, Attack] = {}
WAIT = 1.0


def _sends(name: str, make: Callable[[str], bytes], *, reads: bool = True, buffer: int = 0) -> None:
    """Sends these bytes, and reads what comes, or nothing. `make` is given a line that shows a valid key."""

    async def attack(port: int, key: str) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            async with connected(port, buffer=buffer) as connection:
                if not reads:
                    connection.writer.transport.pause_reading()
                async with asyncio.timeout(WAIT):
                    connection.send(make(key))
                    await connection.writer.drain()
                    await (connection.reader.read() if reads else asyncio.sleep(WAIT))

    KINDS[name] = attack


def _does(name: str) -> Callable[[Callable[[Connection, str], Awaitable[None]]], None]:
    def register(act: Callable[[Connection, str], Awaitable[None]]) -> None:
        async def attack(port: int, key: str) -> None:
            with contextlib.suppress(ConnectionError, TimeoutError, asyncio.IncompleteReadError):
                async with connected(port) as connection, asyncio.timeout(WAIT):
                    await act(connection, key)

        KINDS[name] = attack

    return register


def _body(key: str, body: bytes, *lines: str) -> bytes:
    return request("POST", CHAT, JSON, key, "Connection: close", *lines, body=body)


def _filled(unit: bytes, size: int = 1 << 20) -> bytes:
    return b'{"model":"mock/any","messages":[{"role":"user","content":"x"}],"x":[' + unit * (size // len(unit)) + b"0]}"


CHUNKED, LARGE = "Transfer-Encoding: chunked", "Content-Length: 99999999"
TRAILERS = b"2\r\n{}\r\n0\r\n" + b"a:\r\n" * 9_000
BOMB = gzip.compress(bytes(64 << 20))

_sends("half a head", lambda key: b"GET /healthz HTTP/1.1\r\nHost: loc")
_sends("fields without end", lambda key: b"GET /healthz HTTP/1.1\r\n" + b"a:\r\n" * 16_000)
_sends("one endless field", lambda key: b"GET /healthz HTTP/1.1\r\nX: " + b"a" * (2 << 20))
_sends("a pipeline that nobody reads", lambda key: request() * 3_000, reads=False, buffer=4_096)
_sends("a pipeline of refusals", lambda key: request("GET", "/v1/key") * 3_000)
_sends("nonsense", lambda key: bytes(range(256)) * 64)
_sends("a greeting of TLS", lambda key: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500))
_sends("a body that never comes", lambda key: request("POST", CHAT, JSON, key, "Content-Length: 9999999"))
_sends(
    "a body over the limit", lambda key: request("POST", CHAT, JSON, key, "Content-Length: 99999999") + bytes(4 << 20)
)
_sends("a body for nobody", lambda key: request("POST", "/nowhere", JSON, "Content-Length: 9999999") + bytes(1 << 20))
_sends("a bomb", lambda key: _body(key, BOMB, "Content-Encoding: gzip"))
_sends("no gzip", lambda key: _body(key, b"x" * 10_000, "Content-Encoding: gzip"))
_sends("a coding of its own", lambda key: _body(key, b"x" * 10_000, "Content-Encoding: br"))
_sends("brackets", lambda key: _body(key, _filled(b"[],")))
_sends("nested brackets", lambda key: _body(key, _filled(b"[" * 190 + b"]" * 190 + b",")))
_sends("empty strings", lambda key: _body(key, _filled(b'"",')))
_sends("halves of pairs", lambda key: _body(key, _filled(b'"\\ud800",')))
_sends("no JSON", lambda key: _body(key, b"{" * 60_000))
_sends("a name twice", lambda key: _body(key, b'{"model":"mock/a","model":"mock/b","messages":[]}'))
_sends("an endless name", lambda key: chat(key, model="mock/" + "x" * 1_000_000))
_sends("endless fallbacks", lambda key: chat(key, models=["mock/any"] * 3_000))
_sends("models of nobody", lambda key: chat(key, model="acme/nobody", models=[f"acme/{n}" for n in range(15)]))
_sends("a wrong key", lambda key: chat("Authorization: Bearer sk-infron-" + "x" * 43))
_sends("endless extensions of a chunk", lambda key: request("POST", CHAT, JSON, key, CHUNKED) + b"1;" + b"a" * 200_000)
_sends(
    "endless trailers", lambda key: request("POST", CHAT, JSON, key, CHUNKED) + b"2\r\n{}\r\n0\r\n" + b"a:\r\n" * 9_000
)
_sends("an upgrade", lambda key: request("GET", CHAT, "Connection: Upgrade", "Upgrade: websocket"))
_sends("slashes", lambda key: request("GET", "/" * 30_000))
_sends("a reader that takes nothing", lambda key: chat(key), reads=False, buffer=4_096)


@_does("a body byte by byte")
async def _trickle(connection: Connection, key: str) -> None:
    connection.send(request("POST", CHAT, JSON, key, "Content-Length: 100000"))
    while True:
        connection.send(b" ")
        await asyncio.sleep(0.02)


@_does("a hang-up at once")
async def _leave(connection: Connection, key: str) -> None:
    connection.send(chat(key))


@_does("a hang-up in the middle")
async def _leave_later(connection: Connection, key: str) -> None:
    connection.send(chat(key))
    await connection.chunk() if (await connection.head()).status == 200 else None


@_does("a reset in the middle")
async def _reset(connection: Connection, key: str) -> None:
    connection.send(chat(key))
    await connection.head()
    peer = connection.writer.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.writer.transport.abort()


@_does("a half that is closed")
async def _half(connection: Connection, key: str) -> None:
    connection.send(chat(key))
    connection.writer.write_eof()
    await connection.reader.read()
