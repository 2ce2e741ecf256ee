"""HTTP towards clients: one connection, which hands chat requests straight to the relay.

It never knows what a request means. Everything that is not a stream goes to the ASGI application beside it. What an
application cannot see lives here: limits and deadlines of heads and bodies, HTTP/1.0, pipelining, hang-ups.

Requests of one connection wait in `turns` and are answered one after the other. What cannot be parsed is answered in
its turn too: a broken second request never cuts the answer to the first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import httptools

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
from infron.policy.access import Key, KeyRing, is_json
from infron.policy.routing import asked_on_disconnect
from infron.runtime.server.application import ask
from infron.runtime.server.response import Headers, Turn, preflight, target_of
from infron.wires.openai import chat as openai_chat

if TYPE_CHECKING:
    from infron.runtime.server.listener import Server

STREAM_PATHS = frozenset((b"/v1/chat/completions", b"/api/v1/chat/completions"))
MAX_HEADERS = 256
MAX_PIPELINE_BYTES = 64 << 10
KEEP_ALIVE_SECONDS = 75.0
LINGER_SECONDS = 5.0  # without a byte from a client whose request was refused while it was still sending it
LINGER_TOTAL_SECONDS = 30.0


class GatewayProtocol(asyncio.Protocol):
    """One connection. `receiving`: what its clock is for: head, body, idle, linger, close, or nothing."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.relay = server.relay
        self.loop = server.loop
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.parser: Any = httptools.HttpRequestParser(self)
        # the request that is being received
        self.turn: Turn | None = None
        self.url = b""
        self.headers: Headers = []
        self.begun = False  # a first byte of it is here
        self.unparsed = 0  # bytes received since the parser last made something of them
        self.raw_left = 0  # bytes of a body that the parser must not see
        # what the last request that was let in showed, to whom, and the key that it proved
        self.admitted: tuple[bytes | None, ...] = ()
        self.admitted_by: KeyRing | None = None
        self.key: Key | None = None
        # the requests that wait, and the one that is being answered
        self.turns: deque[Turn] = deque()
        self.current: Turn | None = None
        self.advancing = False
        self.write_paused = False
        self.half_closed = False
        self.deaf = False  # nothing that comes can be understood any more
        self.ahead = 0  # bytes received while an answer is under way
        self.receiving = ""
        self.deadline = 0.0
        self.linger_until = 0.0
        self.limits = server.relay.config.limits
        self.timeouts = server.relay.config.timeouts

    # ---- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.server.came(self)
        self._expect_within("head", self.timeouts.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.went(self)
        self._client_gone()
        self.parser = None  # it refers back to us

    def eof_received(self) -> bool:
        """Whoever closes its half has hung up on an exchange; a small answer it still gets."""
        if self.current is not None and not self.current.streams:
            self.half_closed = True
            return True
        self._client_gone()
        return False

    def _client_gone(self) -> None:
        self.deaf = True
        self.turns.clear()
        turn, self.current, self.turn = self.current, None, None
        if turn is not None and turn.exchange is not None:
            exchange, turn.exchange = turn.exchange, None
            exchange.client_gone()

    def abort(self) -> None:
        """Close at once; what the client has not taken yet is lost."""
        self._client_gone()
        self.transport.abort()

    def pause_writing(self) -> None:
        self.write_paused = True
        if self.current is not None and self.current.exchange is not None:
            self.current.exchange.client_paused()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.current is not None and self.current.exchange is not None:
            self.current.exchange.client_resumed()
        self._advance()

    def shutdown(self) -> None:
        """The server ends."""
        if self.current is None:
            self.transport.close()
        else:
            self.current.keep_alive = False

    # ---- bytes in

    def data_received(self, data: bytes) -> None:
        if self.receiving == "linger":
            self.deadline = min(self.loop.time() + LINGER_SECONDS, self.linger_until)
            return
        # Reading never stops while an answer is under way: a hang-up would go unseen.
        if self.current is not None or self.write_paused:
            self.ahead += len(data)
            if self.ahead > MAX_PIPELINE_BYTES:
                self.abort()
                return
        if self.deaf:
            return
        self.unparsed += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserCallbackError as error:
            self._fail(error.__context__)
        except httptools.HttpParserError as error:
            self._fail(InvalidRequest(f"This is not a valid HTTP/1.1 request: {error}."))
        except InfronError as error:
            self._fail(error)
        else:
            if self.unparsed > self.limits.max_header_bytes:
                self._fail(self._too_much_head())
        self._advance()

    def _parse(self, data: bytes) -> None:
        while data:
            if self.raw_left:
                part, data = data[: self.raw_left], data[self.raw_left :]
                self.raw_left -= len(part)
                self.on_body(part)
                if not self.raw_left:
                    self.on_message_complete()
                continue
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                # No upgrade is offered, so the request is answered as it stands and the next one follows it.
                data = data[upgrade.args[0] :]

    def _fail(self, error: BaseException | None) -> None:
        """What follows cannot be understood: it is answered after everything before it, and the connection ends."""
        if not isinstance(error, InfronError):
            self.relay.report_bug("reading a request", error)
            error = InternalError("The gateway failed; its log says where.")
        self.deaf = True
        turn, self.turn = self.turn, None
        if turn is None:
            turn = Turn(self, b"", [], keep_alive=False, chunked=False)
            self.turns.append(turn)
        turn.keep_alive = False
        turn.error = turn.error or error

    def _too_much_head(self) -> InfronError:
        return HeadTooLarge(
            f"The request's head is larger than {self.limits.max_header_bytes:,} bytes"
            f" or has more than {MAX_HEADERS} fields."
        )

    def _too_much_body(self) -> InfronError:
        return PayloadTooLarge(f"The body is larger than {self.limits.max_body_bytes:,} bytes.")

    # ---- parser callbacks; an error raised in one ends the parsing

    def on_message_begin(self) -> None:
        self.url, self.headers, self.begun = b"", [], True

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.turn is None:  # else a trailer: nothing that could count once the head was judged
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        read, self.unparsed = self.unparsed, 0
        version = self.parser.get_http_version()
        turn = Turn(
            self,
            self.parser.get_method(),
            self.headers,
            keep_alive=version == "1.1" and self.parser.should_keep_alive(),
            chunked=version == "1.1",
        )
        self.turn = turn
        self.turns.append(turn)
        if len(self.headers) > MAX_HEADERS or (read > self.limits.max_header_bytes and self._head_is_large()):
            raise self._too_much_head()
        self._check_framing(turn, version)
        if self.url in STREAM_PATHS:
            turn.path, turn.streams = self.url, True
        else:
            turn.path, turn.query, authority = target_of(self.url)
            if authority:  # RFC 9112 §3.2.2: the target's host counts, whatever the header says
                turn.named[b"host"] = authority
            turn.streams = turn.path in STREAM_PATHS
        if b"expect" in turn.named:
            turn.expects = version == "1.1" and turn.named[b"expect"].lower() == b"100-continue"
        if b"upgrade" in turn.named and self.parser.should_upgrade() and turn.method != b"CONNECT":
            self.raw_left = int(turn.named.get(b"content-length", b"0"))  # the parser believes that there is no body

    def _head_is_large(self) -> bool:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        return size > self.limits.max_header_bytes

    def _check_framing(self, turn: Turn, version: str) -> None:
        """What the parser lets pass though another server in the chain may read it differently."""
        if version not in ("1.0", "1.1"):
            raise InvalidRequest(f"HTTP/{version} is not spoken here, HTTP/1.1 is.")
        named = turn.named
        if b"host" not in named:
            unclear = version == "1.1"
        else:
            unclear = len(named) < len(turn.headers) and sum(name == b"host" for name, _ in turn.headers) > 1
        if unclear:
            raise InvalidRequest("An HTTP/1.1 request needs one Host header.")
        encoding = named.get(b"transfer-encoding")
        if encoding is None:
            return
        if encoding.strip().lower() != b"chunked" or version == "1.0" or self.parser.should_upgrade():
            raise InvalidRequest("The only transfer encoding that is understood is `chunked`, and only in HTTP/1.1.")

    def on_chunk_header(self) -> None:
        self.unparsed = 0

    def on_body(self, body: bytes) -> None:
        self.unparsed = 0
        turn = self.turn
        assert turn is not None
        turn.size += len(body)
        if turn.size > self.limits.max_body_bytes:
            raise self._too_much_body()
        if turn.streams and turn.error is None:  # the application takes no bodies
            turn.body.append(body)

    def on_message_complete(self) -> None:
        if self.raw_left:
            return
        self.begun = False
        self.unparsed = 0
        self.receiving = ""
        turn, self.turn = self.turn, None
        assert turn is not None
        turn.complete = True

    # ---- one turn after the other

    def _advance(self) -> None:
        """Begin with the next turn, if none is under way and it can be."""
        if self.advancing:  # a turn that is over at once comes back here
            return
        self.advancing = True
        while self.turns and self.current is None and not self.write_paused:
            turn = self.turns[0]
            if turn.streams and self.half_closed:
                self._client_gone()
                break
            if not turn.judged:
                self._judge(turn)
            if turn.error is None and not turn.complete:
                break
            self.turns.popleft()
            self.current = turn
            self._begin(turn)
        self.advancing = False
        if self.current is None and not self.turns and not self.transport.is_closing():
            self.ahead = 0
            if self.half_closed:
                self._close()
        self._set_clock()

    def _judge(self, turn: Turn) -> None:
        """What the head alone decides, before a body is read; then, if asked, the leave to send it."""
        turn.judged = True
        if turn.error is not None:
            return
        try:
            if turn.streams:
                self._admit(turn)
            if not turn.complete and int(turn.named.get(b"content-length", b"0")) > self.limits.max_body_bytes:
                raise self._too_much_body()
        except InfronError as error:
            turn.error = error
            turn.body.clear()
            return
        if turn.expects and not turn.complete and not turn.size:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _admit(self, turn: Turn) -> None:
        if turn.method == b"OPTIONS" and preflight(turn, self.relay.config.server.cors_origins) is not None:
            return
        if turn.method != b"POST":
            raise MethodNotAllowed("Chat completions are asked for with POST.", headers={"Allow": "POST"})
        named, ring = turn.named, self.relay.ledger.keys
        shown = (named.get(b"host"), named.get(b"content-type"), named.get(b"authorization"), named.get(b"x-api-key"))
        if shown == self.admitted and ring is self.admitted_by:  # as for the request before on this connection
            turn.key = self.key
            return
        host = named.get(b"host")
        content_type = named.get(b"content-type", b"").decode("latin-1")
        turn.key = self.relay.admit(named, None if host is None else host.decode("latin-1"), content_type)
        if not is_json(content_type):
            raise UnsupportedMediaType("The body must be JSON: send `Content-Type: application/json`.")
        self.admitted, self.admitted_by, self.key = shown, ring, turn.key

    def _begin(self, turn: Turn) -> None:
        if turn.error is not None:
            turn.refuse(turn.error)
        elif turn.streams and turn.method == b"POST":
            self._begin_exchange(turn)
        elif (granted := preflight(turn, self.relay.config.server.cors_origins)) is not None:
            turn.send(204, granted, b"")
        else:
            task = self.loop.create_task(self._ask_application(turn))
            self.server.tasks.add(task)
            task.add_done_callback(self.server.tasks.discard)

    def _begin_exchange(self, turn: Turn) -> None:
        try:
            wish = turn.named.get(b"x-infron-on-disconnect")
            asked = asked_on_disconnect(wish.decode("latin-1")) if wish else None
            body = turn.body[0] if len(turn.body) == 1 else b"".join(turn.body)
            turn.body.clear()
            request = openai_chat.parse_request(body)
            turn.exchange = self.relay.begin(request, turn.key, turn, asked)
            turn.exchange.begin()
        except InfronError as error:
            turn.exchange = None
            turn.refuse(error)
        except Exception:
            self.relay.report_bug("starting an exchange")
            failure = InternalError("The gateway failed; its log says where.")
            if turn.exchange is None:
                turn.refuse(failure)
            else:  # it may have a row in the ledger already, so it is not only answered but settled
                turn.exchange.take_failure(failure)

    async def _ask_application(self, turn: Turn) -> None:
        answer = await ask(self.server.application, turn, self.relay)
        if turn is self.current:  # else the client left
            turn.send(*answer)

    def turn_over(self, turn: Turn) -> None:
        """The answer of `turn` is handed to the transport: close, or go on with what came meanwhile."""
        turn.exchange = None
        if self.current is not turn:
            return
        self.current = None
        if not turn.keep_alive:
            self.deaf = True
            self.turns.clear()
            self._close() if turn.complete else self._linger()
        self._advance()

    # ---- clocks and closing

    def _set_clock(self) -> None:
        """Start the clock of what should come next. That of a body starts anew with each piece of it."""
        if self.receiving in ("linger", "close"):
            return
        if self.deaf:
            self.receiving = ""
        elif self.turn is not None:
            self._expect_within("body", self.timeouts.body_seconds)
        elif self.begun:
            if self.receiving != "head":
                self._expect_within("head", self.timeouts.header_seconds)
        elif self.current is not None:
            self.receiving = ""
        elif self.receiving == "":  # nothing comes, or nothing is taken
            self._expect_within("idle", KEEP_ALIVE_SECONDS)

    def _expect_within(self, what: str, seconds: float) -> None:
        self.receiving = what if seconds else ""
        if seconds:
            self.deadline = self.loop.time() + seconds
            self.server.timed.add(self)

    def check_clock(self, now: float) -> None:
        """Close what is idle for too long; refuse heads and bodies that come too slowly."""
        if self.receiving and now < self.deadline:
            return
        self.server.timed.discard(self)
        if not self.receiving:
            return
        if self.receiving in ("linger", "close"):
            self.transport.abort()
        elif self.receiving == "idle" or not self.begun:
            self._close()
        else:
            self._fail(RequestTimeout(f"The rest of the request's {self.receiving} did not come in time."))
            self._advance()

    def _close(self) -> None:
        if self.transport.get_write_buffer_size():  # a client that takes nothing must not keep the connection for ever
            self._expect_within("close", self.timeouts.client_stall_seconds)
        self.transport.close()

    def _linger(self) -> None:
        """Close without losing the answer: a reset while the client still sends would take it away."""
        if self.transport.is_closing() or self.half_closed:
            self.transport.close()
            return
        self._expect_within("linger", LINGER_SECONDS)
        self.linger_until = self.loop.time() + LINGER_TOTAL_SECONDS
        self.transport.write_eof()
