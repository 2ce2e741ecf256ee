"""HTTP towards clients: one protocol class under uvicorn, which hands chat requests straight to the relay.

It never knows what a request means. Everything that is not a stream goes to the ASGI application beside it. What an
application cannot see lives here: limits and deadlines of heads and bodies, HTTP/1.0, pipelining, hang-ups.
"""

from __future__ import annotations

import asyncio
import http
import urllib.parse
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from infron.errors import (
    HeadTooLarge,
    InfronError,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    PayloadTooLarge,
    RequestTimeout,
    UnsupportedMediaType,
)
from infron.policy.access import is_json
from infron.policy.routing import asked_on_disconnect
from infron.runtime.exchange import Exchange, error_answer
from infron.runtime.relay import Relay
from infron.wires import openai_chat

STREAM_PATHS = frozenset((b"/v1/chat/completions", b"/api/v1/chat/completions"))
MAX_PIPELINE_BYTES = 64 << 10
KEEP_ALIVE_SECONDS = 75.0
LINGER_SECONDS = 2.0
_SSE_HEAD = (
    b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache, no-transform\r\nx-accel-buffering: no\r\n"
)
_REASONS = {status.value: status.phrase.encode() for status in http.HTTPStatus}


class Turn:
    """One chat request on a connection, and the way its answer takes. It is the exchange's responder."""

    __slots__ = (
        "body", "chunked", "client", "complete", "exchange", "expects", "headers", "keep_alive", "method", "pending", "size",
    )  # fmt: skip

    def __init__(self, client: GatewayProtocol, headers: list[tuple[bytes, bytes]], method: bytes, keep_alive: bool) -> None:
        self.client = client
        self.headers = headers
        self.method = method
        self.keep_alive = keep_alive
        self.chunked = client.http_version != "1.0"
        self.expects = client.expect_100_continue
        self.body: list[bytes] = []
        self.size = 0
        self.complete = False  # the request's body is here
        self.exchange: Exchange | None = None
        self.pending = b""  # the head, until the first bytes of the body go with it

    # ---- the responder's side

    def start(self, headers: list[tuple[bytes, bytes]]) -> None:
        lines = [b"HTTP/1.1 200 OK\r\n", _SSE_HEAD]
        if self.chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        self.pending = b"".join((*lines, self._common(headers)))

    def write(self, data: bytes) -> None:
        if self.chunked:
            self.client.transport.write(b"%b%x\r\n%b\r\n" % (self.pending, len(data), data))
        else:
            self.client.transport.write(self.pending + data)
        self.pending = b""

    def finish(self, data: bytes) -> None:
        if self.chunked:
            self.client.transport.write(b"%b%x\r\n%b\r\n0\r\n\r\n" % (self.pending, len(data), data))
        else:
            self.client.transport.write(self.pending + data)
            self.keep_alive = False
        self.pending = b""
        self.client.turn_over(self)

    def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % (
            status,
            _REASONS.get(status, b""),
            len(body),
        )
        if not self.complete:  # the rest of the body will not be read
            self.keep_alive = False
        self.client.transport.write(b"".join((head, self._common(headers), body)))
        self.client.turn_over(self)

    def unsent(self) -> int:
        return self.client.transport.get_write_buffer_size()

    def hang_up(self) -> None:
        self.client.transport.abort()

    def refuse(self, error: InfronError) -> None:
        self.client.relay.metrics.refused(error.error_type)
        self.answer(*error_answer(error))

    def _common(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        lines = [*self.client.server_state.default_headers, *headers, *self.client.cors(self.headers)]
        if not self.keep_alive:
            lines.append((b"connection", b"close"))
        return b"".join([b"%b: %b\r\n" % line for line in lines]) + b"\r\n"


class GatewayProtocol(HttpToolsProtocol):
    """One connection. Requests are parsed as they come and answered one after the other."""

    relay: ClassVar[Relay]
    # Connections with a clock of the server's running: a head or body that is being received, or idle.
    timed: ClassVar[set[GatewayProtocol]]

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.waiting: list[Turn | RequestResponseCycle] = []
        self.current: Turn | RequestResponseCycle | None = None
        self.turn: Turn | None = None  # whose body is being received
        self.receiving = ""  # "head", "body" or ""
        self.deadline = 0.0
        self.head_bytes = 0
        self.ahead = 0  # bytes received while an answer is under way
        self.refused: InfronError | None = None
        self.lingering = False
        self.http_version = "1.1"

    # ---- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_within("head", self.relay.config.timeouts.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self.timed.discard(self)
        self._client_gone()
        super().connection_lost(exc)
        self.waiting.clear()
        self.current = self.turn = None

    def eof_received(self) -> None:
        # A client that closes its half has hung up as far as a stream is concerned.
        self._client_gone()

    def _client_gone(self) -> None:
        turn = self.current
        if isinstance(turn, Turn):
            self.current = None
            if turn.exchange is not None:
                turn.exchange.client_gone()
        elif turn is not None and not turn.response_complete:
            turn.disconnected = True
            turn.message_event.set()

    def pause_writing(self) -> None:
        super().pause_writing()
        if isinstance(self.current, Turn) and self.current.exchange is not None:
            self.current.exchange.client_paused()

    def resume_writing(self) -> None:
        super().resume_writing()
        if isinstance(self.current, Turn) and self.current.exchange is not None:
            self.current.exchange.client_resumed()

    def shutdown(self) -> None:
        if self.current is None:
            self.transport.close()
        else:
            self.current.keep_alive = False

    # ---- bytes in

    def data_received(self, data: bytes) -> None:
        if self.lingering or self.parser is None:
            return
        if self.receiving == "idle":
            self._expect_within("head", self.relay.config.timeouts.header_seconds)
        elif self.receiving == "body":
            self.deadline = self.loop.time() + self.relay.config.timeouts.body_seconds
        if self.receiving == "head":
            self.head_bytes += len(data)
        current = self.current
        if current is not None and current is not self.turn and (isinstance(current, Turn) or not current.more_body):
            self.ahead += len(data)
            if self.ahead > MAX_PIPELINE_BYTES:
                self.transport.abort()
                return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # no upgrade is offered; the request is answered as it stands
        except httptools.HttpParserError:
            self._refuse(InvalidRequest("This is not a valid HTTP/1.1 request."))
            return
        if self.refused is not None:
            self._refuse(self.refused)
        elif self.receiving == "head" and self.head_bytes > self.relay.config.limits.max_header_bytes:
            self._refuse(self._too_much_head())

    def _too_much_head(self) -> InfronError:
        return HeadTooLarge(f"The request's head is larger than {self.relay.config.limits.max_header_bytes:,} bytes.")

    def _refuse(self, error: InfronError) -> None:
        """Answer what cannot be parsed further, and close. Behind a running answer there is no room for an error."""
        self.refused = None
        if self.current is not None:
            if isinstance(self.current, Turn) and self.current.exchange is None:
                self.current.refuse(error)
            else:
                self.transport.abort()
            return
        turn = Turn(self, [], b"", keep_alive=False)
        self.current = turn
        turn.refuse(error)

    # ---- parser callbacks

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.head_bytes = 0
        if self.receiving != "head":
            self._expect_within("head", self.relay.config.timeouts.header_seconds)

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > 256 and self.refused is None:
            self.refused = self._too_much_head()

    def on_headers_complete(self) -> None:
        self.http_version = self.parser.get_http_version()
        if self.refused is None and self.http_version == "1.1" and not any(name == b"host" for name, _ in self.headers):
            self.refused = InvalidRequest("An HTTP/1.1 request needs a Host header.")
        if self.refused is not None:
            return
        self._expect_within("body", self.relay.config.timeouts.body_seconds)
        path = self.url.partition(b"?")[0]
        if path not in STREAM_PATHS or self.parser.get_method() == b"OPTIONS":
            self._asgi()
            return
        keep_alive = self.http_version != "1.0" and self.parser.should_keep_alive()
        turn = Turn(self, self.headers, self.parser.get_method(), keep_alive)
        self.turn = turn
        if self.current is None:
            self.current = turn
            self._check_head(turn)
        else:
            self.waiting.append(turn)

    def _asgi(self) -> None:
        """Everything that is no stream: an ASGI request of uvicorn's, one after the other."""
        try:
            url = httptools.parse_url(self.url)
            path = (url.path or b"/").decode("ascii")
        except (httptools.HttpParserError, UnicodeDecodeError):
            self.refused = InvalidRequest("The request's path is not valid.")
            return
        self.scope.update(
            method=self.parser.get_method().decode("ascii"),
            http_version=self.http_version,
            path=urllib.parse.unquote(path),
            raw_path=url.path or b"/",
            query_string=url.query or b"",
        )
        cycle = RequestResponseCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=self.http_version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        self.cycle = cycle
        if self.current is None:
            self.current = cycle
            self._start_asgi_task(cycle, self.app)
        else:
            self.waiting.append(cycle)

    def on_body(self, body: bytes) -> None:
        if self.refused is not None:
            return
        turn = self.turn
        if turn is None:
            if self.cycle is not None:
                super().on_body(body)
            return
        turn.size += len(body)
        if turn.size > self.relay.config.limits.max_body_bytes:
            self.refused = self._too_much_body()
            return
        turn.body.append(body)

    def on_message_complete(self) -> None:
        if self.refused is not None:
            return
        self._expect_within("", 0)
        turn, self.turn = self.turn, None
        if turn is None:
            if self.cycle is not None:
                super().on_message_complete()
            return
        turn.complete = True
        if turn is self.current:
            self._begin(turn)

    # ---- a chat request

    def _too_much_body(self) -> InfronError:
        return PayloadTooLarge(f"The body is larger than {self.relay.config.limits.max_body_bytes:,} bytes.")

    def _check_head(self, turn: Turn) -> None:
        """What the head alone decides, before the body is read; then, if asked, the leave to send it."""
        headers = dict(turn.headers)
        length = headers.get(b"content-length", b"0")
        try:
            if turn.method != b"POST":
                raise MethodNotAllowed("Chat completions are asked for with POST.", headers={"Allow": "POST, OPTIONS"})
            if int(length) > self.relay.config.limits.max_body_bytes:
                raise self._too_much_body()
            if turn.expects:
                self._admit(headers, turn)
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        except InfronError as error:
            self.refused = error

    def _admit(self, headers: dict[bytes, bytes], turn: Turn) -> Any:
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        if content_type and not is_json(content_type):
            raise UnsupportedMediaType(
                f"The content type {content_type[:80]!r} is not JSON: send `Content-Type: application/json`."
            )
        host = headers.get(b"host", b"").decode("latin-1")
        return self.relay.admit(turn.headers, host or None, content_type)

    def _begin(self, turn: Turn) -> None:
        headers = dict(turn.headers)
        try:
            key = self._admit(headers, turn)
            asked = asked_on_disconnect(headers.get(b"x-infron-on-disconnect", b"").decode("latin-1") or None)
            body = turn.body[0] if len(turn.body) == 1 else b"".join(turn.body)
            turn.body.clear()
            request = openai_chat.parse_request(body)
            turn.exchange = self.relay.begin(request, key, turn, asked)
            turn.exchange.begin()
        except InfronError as error:
            turn.exchange = None
            turn.refuse(error)
        except Exception:
            self.relay.report_bug("starting an exchange")
            turn.refuse(InternalError("The gateway failed; its log says where."))

    def turn_over(self, turn: Turn) -> None:
        """The answer of `turn` is handed to the transport: close, or go on with what came meanwhile."""
        turn.exchange = None
        self.server_state.total_requests += 1
        if self.current is not turn:
            return
        self.current = None
        self.ahead = 0
        if turn.keep_alive and not self.transport.is_closing():
            self._next_turn()
        elif turn.complete:
            self.transport.close()
        else:
            self._linger()

    def on_response_complete(self) -> None:
        """Uvicorn's: an ASGI answer is complete."""
        self.server_state.total_requests += 1
        self.current = None
        self.ahead = 0
        if not self.transport.is_closing():
            self._next_turn()

    def _next_turn(self) -> None:
        self.flow.resume_reading()
        if not self.waiting:
            if self.turn is None and self.receiving == "":
                self._expect_within("idle", KEEP_ALIVE_SECONDS)
            return
        following = self.waiting.pop(0)
        self.current = following
        if not isinstance(following, Turn):
            self._start_asgi_task(following, self.app)
        elif following.complete:
            self.loop.call_soon(self._begin_if_current, following)
        else:
            self._check_head(following)
            if self.refused is not None:
                self._refuse(self.refused)

    def _begin_if_current(self, turn: Turn) -> None:
        if turn is self.current:
            self._check_head(turn)
            if self.refused is not None:
                self._refuse(self.refused)
            else:
                self._begin(turn)

    # ---- clocks and closing

    def _expect_within(self, what: str, seconds: float) -> None:
        self.receiving = what
        if what and seconds:
            self.deadline = self.loop.time() + seconds
            self.timed.add(self)
        else:
            self.timed.discard(self)

    def check_clock(self, now: float) -> None:
        """Close what is idle for too long; refuse heads and bodies that come too slowly."""
        if now < self.deadline:
            return
        self.timed.discard(self)
        if self.lingering or self.receiving == "idle" or (self.receiving == "head" and not self.head_bytes):
            self.transport.abort() if self.lingering else self.transport.close()
        elif self.turn is not None or self.receiving == "head":
            self._refuse(RequestTimeout(f"The request's {self.receiving} did not come in time."))
        else:
            self.transport.close()

    def _linger(self) -> None:
        """Close without losing the answer: a reset while the client still sends would take it away."""
        self.lingering = True
        self._expect_within("linger", LINGER_SECONDS)
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def cors(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """CORS headers for a stream; everything else gets them from the application."""
        allowed = self.relay.config.server.cors_origins
        if not allowed:
            return []
        origin = next((value for name, value in headers if name == b"origin"), b"")
        if not origin or ("*" not in allowed and origin.decode("latin-1") not in allowed):
            return []
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", b"x-generation-id"),
            (b"vary", b"origin"),
        ]


def protocol_for(relay: Relay, timed: set[GatewayProtocol]) -> type[GatewayProtocol]:
    """The class that uvicorn makes connections of, for one gateway."""
    return type("GatewayProtocol", (GatewayProtocol,), {"relay": relay, "timed": timed})
