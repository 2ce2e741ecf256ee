"""The answer to one request, as it goes out over its connection: heads, chunks, bodies. It is the exchange's responder.

It never knows what came before or after it on the connection, nor what it says.
"""

from __future__ import annotations

import asyncio
import http
from functools import lru_cache
from typing import Protocol

from infron.request import Headers
from infron.runtime.server.cors import allow_origin
from infron.runtime.server.request import HttpRequest

_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncache-control: no-cache, no-transform\r\nx-accel-buffering: no\r\n"
)
_head_of = lru_cache(_STREAM_HEAD.__mod__)  # by media type
_ID = b"x-generation-id: %b\r\n"
_TWO_IDS = _ID + b"%b: %b\r\n"
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus}
_BODILESS = (204, 304)
_NONE: Headers = []


class Running(Protocol):
    """`closing`: the process is about to end."""

    closing: bool


class ServerHeaders:
    """The headers that every answer of a process carries. `date`: the line of this second."""

    def __init__(self, cors_origins: list[str], running: Running) -> None:
        self.cors_origins = cors_origins
        self._running = running
        self.date = b""

    def end_head(self, response: Response, headers: Headers) -> bytes:
        """The rest of a head: these headers, ours, and the empty line."""
        if self._running.closing:  # the next request should find another gateway
            response.keep_alive = False
        if response.keep_alive and not self.cors_origins and not headers:
            return self.date + b"\r\n"
        lines = list(headers)
        if self.cors_origins:
            lines += allow_origin(response.request.named.get(b"origin"), self.cors_origins)
        if not response.keep_alive:
            lines.append((b"connection", b"close"))
        return b"".join((self.date, *[b"%b: %b\r\n" % line for line in lines], b"\r\n"))


class Line(Protocol):
    """The connection, as far as an answer knows it."""

    transport: asyncio.Transport
    headers: ServerHeaders

    def response_over(self, response: Response) -> None:
        """Its last byte is handed to the transport."""

    def abort(self) -> None:
        """Close at once; what the client has not taken yet is lost."""


class Producer(Protocol):
    """What answers, as far as the client's side moves it."""

    def client_gone(self) -> None: ...
    def client_paused(self) -> None:
        """The client takes no more for now."""

    def client_resumed(self) -> None: ...


class Response:
    """`producer`: what is answering, once something is. `keep_alive`: the connection goes on after it.

    `headers`: of this one, beside those that every answer has.

    `started`: a head was written, or waits for the first bytes of its stream. `cut`: nobody is there to read it.
    `began`: when it was asked for, by the loop's clock, if there is an access log.
    """

    __slots__ = (
        "_chunked", "_connection", "_pending", "began", "cut", "headers", "keep_alive", "producer", "request",
        "started", "status",
    )  # fmt: skip

    def __init__(self, connection: Line, request: HttpRequest) -> None:
        self.request = request
        self.keep_alive = request.keep_alive
        self.producer: Producer | None = None
        self.headers = _NONE
        self.started = False
        self.status = 0
        self.cut = False
        self.began = 0.0
        self._connection = connection
        self._chunked = request.chunked
        self._pending = b""  # a stream's head, until the first bytes of the body go with it

    # ---- an exchange's stream

    def start(self, id: str, media_type: bytes) -> None:
        """Its head goes out with its first bytes."""
        api = self.request.place.api
        assert api is not None
        encoding = b"transfer-encoding: chunked\r\n" if self._chunked else b""
        end = self._connection.headers.end_head(self, self.headers)
        ids = _TWO_IDS % (id.encode(), api.ID_HEADER, id.encode()) if api.ID_HEADER else _ID % id.encode()
        self._pending = b"".join((_head_of(media_type), encoding, ids, end))
        self.started, self.status = True, 200

    def write(self, data: bytes) -> None:
        if not data:
            return  # an empty chunk would end the body
        head = self._pending
        if head:
            self._pending = b""
        self._connection.transport.write(b"%b%x\r\n%b\r\n" % (head, len(data), data) if self._chunked else head + data)

    def finish(self, data: bytes) -> None:
        if self._chunked:
            last = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
            self._connection.transport.write(self._pending + last)
        else:
            self._connection.transport.write(self._pending + data)
        self._pending = b""
        self._connection.response_over(self)

    def unsent(self) -> int:
        return self._connection.transport.get_write_buffer_size()

    def hang_up(self) -> None:
        self.producer = None  # it knows already
        self._connection.abort()

    # ---- any other stream

    def open(self, status: int, headers: Headers) -> None:
        """Write the head of an answer whose length nobody knows; `write` and `finish` follow, but to HEAD nothing."""
        self.started, self.status = True, status
        encoding = b"transfer-encoding: chunked\r\n" if self._chunked else b""
        self._pending = b"".join((_status_line(status), encoding, self._connection.headers.end_head(self, headers)))
        if self.request.method == b"HEAD":
            self._chunked = False
            self.finish(b"")
        else:
            self._connection.transport.write(self._pending)
            self._pending = b""

    # ---- an answer in one piece

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer with JSON."""
        self.send(status, [(b"content-type", b"application/json"), *headers], body)

    def send(self, status: int, headers: Headers, body: bytes) -> None:
        self.started, self.status = True, status
        if not self.request.complete:  # the rest of the body will not be read
            self.keep_alive = False
        length = b"" if status in _BODILESS else b"content-length: %d\r\n" % len(body)
        shown = b"" if self.request.method == b"HEAD" or status in _BODILESS else body
        own = self.headers
        end = self._connection.headers.end_head(self, [*headers, *own] if own else headers)
        self._connection.transport.write(b"".join((_status_line(status), length, end, shown)))
        self._connection.response_over(self)


def _status_line(status: int) -> bytes:
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
