"""HTTP towards clients: one connection, whose requests wait in line and are answered one after the other.

It never knows what a request means. What an application cannot see lives here: deadlines of heads and bodies, the order
of pipelined requests, hang-ups. What cannot be parsed is answered in its turn too: a broken second request never cuts
the answer to the first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from infron.config import Limits, Timeouts
from infron.errors import InfronError, RequestTimeout
from infron.runtime.server.dispatch import Admission, Dispatch
from infron.runtime.server.parser import RequestParser
from infron.runtime.server.request import HttpRequest
from infron.runtime.server.response import Response, ServerHeaders

MAX_PIPELINE_BYTES = 64 << 10
KEEP_ALIVE_SECONDS = 75.0
LINGER_SECONDS = 5.0  # without a byte from a client whose request was refused while it was still sending it
LINGER_TOTAL_SECONDS = 30.0


class Listener(Protocol):
    """The server, as far as a connection knows it. `timed`: the connections whose clock runs."""

    loop: asyncio.AbstractEventLoop
    limits: Limits
    timeouts: Timeouts
    dispatch: Dispatch
    headers: ServerHeaders
    timed: set[GatewayProtocol]

    def came(self, connection: GatewayProtocol) -> None: ...
    def went(self, connection: GatewayProtocol) -> None: ...


class GatewayProtocol(asyncio.Protocol):
    """One connection. `receiving`: what its clock is for: head, body, idle, linger, close, or nothing."""

    def __init__(self, server: Listener) -> None:
        self.server = server
        self.loop = server.loop
        self.headers = server.headers
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.parser = RequestParser(self, server.limits, server.dispatch.paths)
        self.admission = Admission()
        # the requests that wait, and the answer that is under way
        self.waiting: deque[HttpRequest] = deque()
        self.current: Response | None = None
        self.advancing = False
        self.write_paused = False
        self.half_closed = False
        self.deaf = False  # nothing that comes can be understood any more
        self.ahead = 0  # bytes received while an answer is under way
        self.receiving = ""
        self.deadline = 0.0
        self.linger_until = 0.0

    # ---- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.server.came(self)
        self._expect_within("head", self.server.timeouts.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.went(self)
        self._client_gone()
        self.parser.close()

    def eof_received(self) -> bool:
        """Whoever closes its half has hung up on a stream; a small answer it still gets."""
        if self.current is not None and self.current.request.place.api is None and not self.current.started:
            self.half_closed = True
            return True
        self._client_gone()
        return False

    def _client_gone(self) -> None:
        self.deaf = True
        self.waiting.clear()
        response, self.current, self.parser.request = self.current, None, None
        if response is None:
            return
        response.cut = True
        if response.producer is not None:
            producer, response.producer = response.producer, None
            producer.client_gone()

    def abort(self) -> None:
        self._client_gone()
        self.transport.abort()

    def pause_writing(self) -> None:
        self.write_paused = True
        if self.current is not None and self.current.producer is not None:
            self.current.producer.client_paused()

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
        try:
            self.parser.feed(data)
        except InfronError as error:
            self._fail(error)
        except Exception as error:
            self._fail(self.server.dispatch.report_bug("reading a request", error))
        self._advance()

    def _fail(self, error: InfronError) -> None:
        """What follows cannot be understood: it is answered after everything before it, and the connection ends."""
        self.deaf = True
        request, self.parser.request = self.parser.request, None
        if request is None:
            request = HttpRequest(b"", [], keep_alive=False, chunked=False)
            self.waiting.append(request)
        request.keep_alive = False
        request.error = request.error or error

    def request_begun(self, request: HttpRequest) -> None:
        self.waiting.append(request)

    def request_complete(self) -> None:
        self.receiving = ""

    # ---- one answer after the other

    def _advance(self) -> None:
        """Begin with the next answer, if none is under way and it can be."""
        if self.advancing:  # an answer that is over at once comes back here
            return
        self.advancing = True
        while self.waiting and self.current is None and not self.write_paused:
            request = self.waiting[0]
            if request.place.api is not None and self.half_closed:
                self._client_gone()
                break
            if not request.judged:
                self._judge(request)
            if request.error is None and not request.complete:
                break
            self.waiting.popleft()
            self.current = Response(self, request)
            self.server.dispatch.begin(request, self.current)
        self.advancing = False
        if self.current is None and not self.waiting and not self.transport.is_closing():
            self.ahead = 0
            if self.half_closed:
                self._close()
        self._set_clock()

    def _judge(self, request: HttpRequest) -> None:
        """What the head alone decides, before a body is read; then, if asked, the leave to send it."""
        request.judged = True
        if request.error is not None:
            return
        try:
            self.server.dispatch.admit(request, self.admission)
            if not request.complete:
                self.parser.check_length(request)
        except InfronError as error:
            request.error = error
            request.body.clear()
            return
        if request.expects and not request.complete and not request.size:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def response_over(self, response: Response) -> None:
        """The answer is handed to the transport: close, or go on with what came meanwhile."""
        response.producer = None
        if self.current is not response:
            return
        self.current = None
        if not response.keep_alive:
            self.deaf = True
            self.waiting.clear()
            self._close() if response.request.complete else self._linger()
        self._advance()

    # ---- clocks and closing

    def _set_clock(self) -> None:
        """Start the clock of what should come next. That of a body starts anew with each piece of it."""
        timeouts = self.server.timeouts
        if self.receiving in ("linger", "close"):
            return
        if self.deaf:
            self.receiving = ""
        elif self.parser.request is not None:
            self._expect_within("body", timeouts.body_seconds)
        elif self.parser.begun:
            if self.receiving != "head":
                self._expect_within("head", timeouts.header_seconds)
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
        elif self.receiving == "idle" or not self.parser.begun:
            self._close()
        else:
            self._fail(RequestTimeout(f"The rest of the request's {self.receiving} did not come in time."))
            self._advance()

    def _close(self) -> None:
        if self.transport.get_write_buffer_size():  # a client that takes nothing must not keep the connection for ever
            self._expect_within("close", self.server.timeouts.client_stall_seconds)
        self.transport.close()

    def _linger(self) -> None:
        """Close without losing the answer: a reset while the client still sends would take it away."""
        if self.transport.is_closing() or self.half_closed:
            self.transport.close()
            return
        self._expect_within("linger", LINGER_SECONDS)
        self.linger_until = self.loop.time() + LINGER_TOTAL_SECONDS
        self.transport.write_eof()
