"""One request on a connection, and the way its answer takes: heads, chunks, CORS. It is the exchange's responder.

It never knows what came before or after it on the connection, nor what the answer says.
"""

from __future__ import annotations

import http
import urllib.parse
from typing import TYPE_CHECKING

import httptools

from infron.errors import InfronError, InvalidRequest
from infron.runtime.exchange.exchange import Exchange, error_answer

if TYPE_CHECKING:
    from infron.policy.access import Key
    from infron.runtime.server.connection import GatewayProtocol

Headers = list[tuple[bytes, bytes]]

_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\n"
    b"content-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache, no-transform\r\n"
    b"x-accel-buffering: no\r\n"
)
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus}
_BODILESS = (204, 304)
_NONE: Headers = []


class Turn:
    """`headers`: names in lower case. `complete`: the whole body is here. `error`: what it will be answered."""

    __slots__ = (
        "body", "chunked", "client", "complete", "error", "exchange", "expects", "headers", "judged", "keep_alive",
        "key", "method", "named", "path", "pending", "query", "size", "streams",
    )  # fmt: skip

    def __init__(
        self, client: GatewayProtocol, method: bytes, headers: Headers, *, keep_alive: bool, chunked: bool
    ) -> None:
        self.client = client
        self.method = method
        self.headers = headers
        self.named = dict(headers)
        self.path = b""
        self.query = b""
        self.streams = False  # a chat request: it goes to the relay, not to the application
        self.keep_alive = keep_alive
        self.chunked = chunked
        self.expects = False
        self.body: list[bytes] = []
        self.size = 0
        self.complete = False
        self.judged = False
        self.error: InfronError | None = None
        self.key: Key | None = None
        self.exchange: Exchange | None = None
        self.pending = b""  # a stream's head, until the first bytes of the body go with it

    # ---- a stream

    def start(self, id: str) -> None:
        encoding = b"transfer-encoding: chunked\r\n" if self.chunked else b""
        self.pending = b"%b%bx-generation-id: %b\r\n%b" % (_STREAM_HEAD, encoding, id.encode(), self._common(_NONE))

    def write(self, data: bytes) -> None:
        head = self.pending
        if head:
            self.pending = b""
        self.client.transport.write(b"%b%x\r\n%b\r\n" % (head, len(data), data) if self.chunked else head + data)

    def finish(self, data: bytes) -> None:
        if self.chunked:
            self.client.transport.write(b"%b%x\r\n%b\r\n0\r\n\r\n" % (self.pending, len(data), data))
        else:
            self.client.transport.write(self.pending + data)
        self.pending = b""
        self.client.turn_over(self)

    def unsent(self) -> int:
        return self.client.transport.get_write_buffer_size()

    def hang_up(self) -> None:
        self.exchange = None  # it knows already
        self.client.abort()

    # ---- an answer in one piece

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer with JSON."""
        self.send(status, [(b"content-type", b"application/json"), *headers], body)

    def send(self, status: int, headers: Headers, body: bytes) -> None:
        if not self.complete:  # the rest of the body will not be read
            self.keep_alive = False
        line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        length = b"" if status in _BODILESS else b"content-length: %d\r\n" % len(body)
        shown = b"" if self.method == b"HEAD" or status in _BODILESS else body
        self.client.transport.write(b"".join((line, length, self._common(headers), shown)))
        self.client.turn_over(self)

    def refuse(self, error: InfronError) -> None:
        self.client.relay.metrics.refused(error.error_type)
        self.answer(*error_answer(error))

    def _common(self, headers: Headers) -> bytes:
        client = self.client
        if client.relay.shutting_down:  # the next request should find another gateway
            self.keep_alive = False
        origins = client.relay.config.server.cors_origins
        if self.keep_alive and not origins and not headers:
            return client.server.date + b"\r\n"
        lines = list(headers)
        if origins:
            lines += cors(self.named.get(b"origin"), origins)
        if not self.keep_alive:
            lines.append((b"connection", b"close"))
        return b"".join((client.server.date, *[b"%b: %b\r\n" % line for line in lines], b"\r\n"))


# ---- a request's target


def target_of(url: bytes) -> tuple[bytes, bytes, bytes]:
    """(path without percent-encoding, query, authority) of a request's target. Raises InvalidRequest."""
    authority = b""
    if url[:1] not in (b"/", b"*"):
        try:
            parsed = httptools.parse_url(url)
        except httptools.HttpParserError:
            raise InvalidRequest("The request's target is neither a path nor an address.") from None
        authority = parsed.host or b""
        url = (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
    path, _, query = url.partition(b"#")[0].partition(b"?")
    return (urllib.parse.unquote_to_bytes(path) if b"%" in path else path), query, authority


# ---- pages of other origins


def cors(origin: bytes | None, allowed: list[str]) -> Headers:
    """The headers that let a page of this origin read an answer; for any other origin only what caches must know."""
    if "*" in allowed:
        grant: Headers = [(b"access-control-allow-origin", b"*")]
    elif origin is not None and origin.decode("latin-1") in allowed:
        grant = [(b"vary", b"origin"), (b"access-control-allow-origin", origin)]
    else:
        return [(b"vary", b"origin")]
    return [*grant, (b"access-control-expose-headers", b"x-generation-id")]


def preflight(turn: Turn, allowed: list[str]) -> Headers | None:
    """What a browser is told when it asks whether it may ask; None if this request is no such question."""
    asked = turn.named
    if not allowed or turn.method != b"OPTIONS" or b"access-control-request-method" not in asked:
        return None
    if "*" not in allowed and asked.get(b"origin", b"").decode("latin-1") not in allowed:
        return []
    return [
        (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
        (b"access-control-allow-headers", asked.get(b"access-control-request-headers", b"authorization, content-type")),
        (b"access-control-max-age", b"600"),
    ]
