"""HTTP towards clients: one connection, whose requests wait in line and are answered one after the other.

It never knows what a request means. What an application cannot see lives here: deadlines of heads and bodies, the order
of pipelined requests, hang-ups. While an answer is under way, what comes is kept as it came: neither do requests that
wait cost more than their bytes, nor does a broken second one cut the answer to the first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from infron.errors import InfronError, RequestTimeout
from infron.runtime.server.access_log import AccessLog
from infron.runtime.server.admission import Admitted
from infron.runtime.server.clock import ConnectionClock
from infron.runtime.server.dispatch import Dispatch
from infron.runtime.server.gone import GONE
from infron.runtime.server.parser import RequestParser
from infron.runtime.server.request import HttpRequest
from infron.runtime.server.response import Response, ServerHeaders
from infron.settings import Limits, Timeouts

MAX_BACKLOG_BYTES = 64 << 10
HEAD_SLICE = 2 << 10  # bytes parsed at a time where heads may be: they make some 80 requests at most
BODY_SLICE = 16 << 10
ANSWERS_AT_ONCE = 16  # to one connection, before others have their turn
LINGER_HEAD_BYTES = 1 << 20  # read of what follows a head that was refused
LINGER_BODY_BYTES = 64 << 20  # the same of a body; most libraries send it whole before they read


class Listener(Protocol):
    """The server, as far as a connection knows it. `timed`: the connections whose clock runs."""

    loop: asyncio.AbstractEventLoop
    limits: Limits
    timeouts: Timeouts
    dispatch: Dispatch
    headers: ServerHeaders
    access: AccessLog | None
    timed: set[GatewayProtocol]

    def came(self, connection: GatewayProtocol) -> None: ...
    def went(self, connection: GatewayProtocol) -> None: ...


class GatewayProtocol(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: Listener) -> None:
        self.server = server
        self.loop = server.loop
        self.headers = server.headers
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.parser = RequestParser(self, server.limits, server.dispatch.paths)
        self.clock = ConnectionClock(server.timeouts)
        self.admitted = Admitted()
        # what came and is not parsed yet, the parsed requests that wait, and the answer that is under way
        self.backlog: bytes | bytearray | memoryview = b""
        self.waiting: deque[HttpRequest] = deque()
        self.current: Response | None = None
        self.advancing = False
        self.write_paused = False
        self.read_paused = False
        self.half_closed = False
        self.deaf = False  # nothing that comes can be understood any more
        self.unwanted = 0  # bytes that may still be read though nobody wants them

    # ---- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.server.came(self)
        self.clock.wait("head", self.loop.time())
        self.server.timed.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.write_paused = False  # nothing is waited for any more
        self._client_gone()
        self.server.went(self)
        self.parser.close()
        self.transport = GONE  # which holds us, and is held: only a collector would find that circle

    def eof_received(self) -> bool:
        """Whoever closes its half has hung up on a stream; a small answer it still gets."""
        current = self.current
        streams = current is not None and (current.started or current.request.place.api is not None)
        if streams or not (current or self.waiting or self.backlog):
            self._client_gone()
            return False
        self.half_closed = True
        self._advance()
        return True

    def _client_gone(self) -> None:
        self._turn_deaf()
        response, self.current, self.parser.request = self.current, None, None
        if response is None:
            return
        response.cut = True
        if self.server.access is not None:
            self._record(response, self.server.access)
        if response.producer is not None:
            producer, response.producer = response.producer, None
            producer.client_gone()

    def _turn_deaf(self) -> None:
        """Whatever comes from now on is not for us."""
        self.deaf = True
        self.waiting.clear()
        self.backlog = b""
        self.unwanted = MAX_BACKLOG_BYTES

    def abort(self) -> None:
        self._client_gone()
        self.transport.abort()

    def pause_writing(self) -> None:
        self.write_paused = True
        if self.current is not None and self.current.producer is not None:
            self.current.producer.client_paused()
        self._set_clock()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.current is not None and self.current.producer is not None:
            self.current.producer.client_resumed()
        self._advance()

    def shutdown(self) -> None:
        """The server ends."""
        if self.current is None:
            self.transport.close()
        else:
            self.current.keep_alive = False

    # ---- bytes in

    def data_received(self, data: bytes) -> None:
        if self.deaf:
            self._read_politely(len(data))
        elif self.current is None and not self.backlog and not self.write_paused:
            self.backlog = data
            self._advance()
        else:
            self._keep_for_later(data)

    def _keep_for_later(self, data: bytes) -> None:
        if not isinstance(self.backlog, bytearray):
            self.backlog = bytearray(self.backlog)
        self.backlog += data
        if len(self.backlog) <= MAX_BACKLOG_BYTES:
            return
        # Of a stream's client reading never stops: a hang-up would go unseen.
        if self.current is not None and (self.current.started or self.current.request.place.api is not None):
            self.abort()
        elif not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def _read_politely(self, size: int) -> None:
        """Read what nobody wants, within bounds."""
        self.unwanted -= size
        if self.unwanted < 0:
            self.abort()
        elif self.clock.waits_for == "linger":
            self.clock.linger(self.loop.time())

    def _parse_more(self) -> None:
        """Parse the next slice of the backlog, which ends at the latest where the body that is being received does."""
        request, backlog = self.parser.request, self.backlog
        size = HEAD_SLICE if request is None else request.missing or BODY_SLICE
        if len(backlog) <= size:
            piece, self.backlog = backlog, b""
        else:
            view = backlog if isinstance(backlog, memoryview) else memoryview(bytes(backlog))
            piece, self.backlog = view[:size], view[size:]
        try:
            self.parser.feed(piece)
        except InfronError as error:
            self._fail(error)
        except Exception as error:
            self._fail(self.server.dispatch.report_bug("reading a request", error))

    def _fail(self, error: InfronError) -> None:
        """What follows cannot be understood: it is answered after everything before it, and the connection ends."""
        self.deaf = True
        self.backlog = b""
        self.unwanted = MAX_BACKLOG_BYTES
        request, self.parser.request = self.parser.request, None
        if request is None:
            request = HttpRequest(b"", [], keep_alive=False, chunked=False)
            self.waiting.append(request)
        request.keep_alive = False
        request.refuse(request.error or error)

    def request_begun(self, request: HttpRequest) -> None:
        self.waiting.append(request)

    # ---- one answer after the other

    def _advance(self) -> None:
        """Parse and answer what is here, until an answer is under way."""
        if self.advancing:  # an answer that is over at once comes back here
            return
        self.advancing = True
        left = ANSWERS_AT_ONCE
        while left and self.current is None and not self.write_paused:
            first = self.waiting[0] if self.waiting else None
            if first is not None and (first.complete or not first.judged or first.error is not None):
                left -= self._answer_next(first)
            elif self.backlog:
                self._parse_more()
            else:
                break
        self.advancing = False
        if not left:
            self.loop.call_soon(self._advance)
        elif self.half_closed and self.current is None and not self.write_paused:
            self._close()
        if self.read_paused and len(self.backlog) <= MAX_BACKLOG_BYTES and not self.transport.is_closing():
            self.read_paused = False
            self.transport.resume_reading()
        self._set_clock()

    def _answer_next(self, request: HttpRequest) -> bool:
        """Begin with the answer to the first request that waits, if that is possible now."""
        if not request.judged:
            self._judge(request)
        if self.half_closed and request.place.api is not None:
            self._client_gone()
            return False
        if request.error is None and not request.complete:
            return False
        self.waiting.popleft()
        self.clock.stop()  # it is here; from now on an exchange has clocks of its own
        self.current = Response(self, request)
        if self.server.access is not None:
            self.current.began = self.loop.time()
        self.server.dispatch.begin(request, self.current)
        return True

    def _judge(self, request: HttpRequest) -> None:
        """What the head alone decides, before a body is read; then, if asked, the leave to send it."""
        request.judged = True
        if request.error is not None:
            return
        try:
            self.server.dispatch.admit(request, self.admitted)
            if not request.complete:
                self.parser.check_length(request)
        except InfronError as error:
            request.refuse(error)
            return
        if request.expects and not request.complete and not request.size:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def response_over(self, response: Response) -> None:
        """The answer is handed to the transport: close, or go on with what came meanwhile."""
        response.producer = None
        if self.current is not response:
            return
        self.current = None
        if self.server.access is not None:
            self._record(response, self.server.access)
        if not response.keep_alive:
            self._turn_deaf()
            self._close() if response.request.complete else self._linger(response.request)
        self._advance()

    def _record(self, response: Response, log: AccessLog) -> None:
        log.record(response, self.transport.get_extra_info("peername"), self.loop.time() - response.began)

    # ---- clocks and closing

    def _set_clock(self) -> None:
        """Start the clock of what should come next. That of a body starts anew with each piece of it."""
        clock, current = self.clock, self.current
        if clock.closing or (current is not None and current.request.place.api is not None):
            return
        now = self.loop.time()
        if self.write_paused:
            clock.wait_for_taking("taken", self.transport.get_write_buffer_size(), now)
        elif self.deaf or current is not None:
            clock.stop()
        elif self.parser.request is not None:
            self.parser.request.until = clock.wait_for_body(self.parser.request.until, now)
        elif self.parser.begun:
            if clock.waits_for != "head":
                clock.wait("head", now)
        elif unsent := self.transport.get_write_buffer_size():
            clock.wait_for_taking("taken", unsent, now)
        elif clock.waits_for in ("", "taken"):
            clock.wait("idle", now)
        if clock.waits_for:
            self.server.timed.add(self)

    def check_clock(self, now: float) -> None:
        """Close what is idle for too long; refuse heads and bodies that come too slowly, and who takes nothing."""
        clock = self.clock
        if clock.waits_for in ("taken", "close"):
            unsent = self.transport.get_write_buffer_size()
            clock.look(unsent, now)
            if not unsent and clock.waits_for == "taken":
                self._set_clock()
        if clock.waits_for and now < clock.due:
            return
        self.server.timed.discard(self)
        if clock.closing or clock.waits_for == "taken":
            self.abort()
        elif clock.waits_for == "idle" or (clock.waits_for and not self.parser.begun):
            self._close()
        elif clock.waits_for:
            self._fail(RequestTimeout(f"The rest of the request's {clock.waits_for} did not come in time."))
            self._advance()

    def _close(self) -> None:
        if unsent := self.transport.get_write_buffer_size():  # who takes nothing must not keep the connection for ever
            self.clock.wait_for_taking("close", unsent, self.loop.time())
            self.server.timed.add(self)
        self.transport.close()

    def _linger(self, request: HttpRequest) -> None:
        """Close without losing the answer: a reset while the client still sends would take it away."""
        if self.transport.is_closing() or self.half_closed:
            self.transport.close()
            return
        body = max(LINGER_BODY_BYTES, 2 * self.server.limits.max_body_bytes)
        self.unwanted = body if request.path else LINGER_HEAD_BYTES
        self.clock.linger(self.loop.time())
        self.server.timed.add(self)
        self.transport.write_eof()
