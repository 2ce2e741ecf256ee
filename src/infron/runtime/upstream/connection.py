"""One HTTP/1.1 connection to a provider: writes a request, reads its answer, and says whether it can be used again.

It never chooses who uses it next, never opens itself, and never knows what a body means.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import Protocol

from httptools import HttpParserError, HttpParserUpgrade

from infron.errors import InfronError, InternalError, ProviderUnavailable
from infron.runtime.upstream.dial import Link
from infron.runtime.upstream.request import LINGER_BYTES, Reader, UpstreamRequest
from infron.runtime.upstream.response import ResponseParser

SLICE_BYTES = 256 << 10  # a larger body is handed over in such pieces, as the socket takes them
MOST_AT_ONCE = 32 << 10  # bytes of an answer that are read before others have their turn
_WRITE_HIGH_WATER = 64 << 10
_FRESH_SECONDS = 0.5  # idle for less: the loop would have seen the peer close it, no need to ask the system
_POLL = getattr(select, "poll", None)  # absent on Windows


class Owner(Protocol):
    """Who owns connections."""

    def reusable(self, connection: Connection) -> None: ...

    def lingers(self, connection: Connection) -> None: ...

    def lost(self, connection: Connection) -> None: ...

    def unanswered(self, connection: Connection, request: UpstreamRequest) -> bool:
        """The peer closed an already used connection without a word to this request, which may be written again: was
        it taken over?
        """


class Connection(asyncio.Protocol):
    """Carries one request at a time. It is idle, or has a request, or is closing; `lost` tells the owner the end."""

    __slots__ = (
        "_allowance", "_answer", "_closed", "_feed", "_fileno", "_host", "_max_header_bytes", "_owner",
        "_parts", "_raw", "_reader", "_request", "_rest", "_room", "_started", "_stuck", "_transport",
        "_unsent", "_used", "since",
    )  # fmt: skip

    _transport: asyncio.Transport
    _raw: asyncio.Transport
    _answer: ResponseParser
    _reader: Reader | None

    def __init__(self, owner: Owner, host: str, max_header_bytes: int) -> None:
        """`host`: how messages call the peer."""
        self._owner = owner
        self._host = host
        self._max_header_bytes = max_header_bytes
        self.since = 0.0  # it has been idle, or busy, since then; loop time; the owner's to set
        self._fileno = -1
        self._request: UpstreamRequest | None = None
        self._reader = None
        self._closed: Callable[[], None] | None = None
        self._unsent: memoryview | None = None
        self._rest: memoryview | None = None  # of what was read, while the socket is not: its turn comes
        self._room = MOST_AT_ONCE  # none while there is a rest
        self._stuck = False  # the transport's write buffer is full
        self._started = False  # the reader knows the answer's head
        self._used = False  # it has carried an answer before
        self._allowance = 0  # bytes that may still come for nobody

    # ---- towards the owner

    def attach(self, link: Link) -> None:
        """The connection is there."""
        self._transport, self._raw = link
        self._answer = ResponseParser(self._max_header_bytes)
        self._feed = self._answer.feed_raw
        self._parts = self._answer.parts
        self._fileno = self._raw.get_extra_info("socket").fileno()
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH_WATER, low=0)

    def usable(self, now: float) -> bool:
        """Whether an idle connection, to all that can be known without writing, is still open. `now`: loop time."""
        if self._transport.is_closing():
            return False
        if now - self.since < _FRESH_SECONDS or _POLL is None:
            return True
        poll = _POLL()
        poll.register(self._fileno, select.POLLIN)
        return not poll.poll(0)  # anything to read, be it bytes or the end, is nothing that we asked for

    def start(self, request: UpstreamRequest) -> None:
        """Write the request; its answer goes to its reader."""
        self._request = request
        self._reader = request.reader
        request.connection = self
        request.give_up = None
        request.sent = True
        self._answer.bodiless = request.bodiless
        body = request.body
        if len(body) <= SLICE_BYTES:
            self._transport.write(request.head + body)
            request.fully_sent = not self._stuck
        else:
            view = memoryview(body)
            self._unsent = view[SLICE_BYTES:]
            self._transport.write(b"".join((request.head, view[:SLICE_BYTES])))
            self._push()
        if not (self._used and request.again):
            request.head = request.body = b""
        if request.paused:
            self._raw.pause_reading()

    def abort(self, closed: Callable[[], None] | None = None) -> None:
        """Close the socket without a word to the reader; `closed` is called when that has happened."""
        if self._request is not None:
            self._request.connection = None
        self._request = self._reader = self._unsent = self._rest = None
        self._closed = closed or self._closed
        self._transport.abort()

    def fail(self, error: InfronError) -> None:
        """Close the socket; the reader, if there is one, is told why."""
        reader = self._reader
        self.abort()
        if reader is not None:
            reader.request_failed(error)

    # ---- towards the request

    @property
    def closing(self) -> bool:
        return self._transport.is_closing()

    def pause(self) -> None:
        # On the TCP transport, not the TLS one: both loops lose what a paused TLS transport still holds when the peer
        # closes, and a body that ends with the connection would be cut short unnoticed.
        self._raw.pause_reading()

    def resume(self) -> None:
        if self._rest is None:
            self._raw.resume_reading()
        else:
            asyncio.get_running_loop().call_soon(self._go_on)

    def linger(self) -> None:
        """Nobody reads on; keep the connection if the body's end is near."""
        self._reader = None
        if not (self._answer.keep and self._request is not None and self._request.fully_sent):
            self.abort()
            return
        self._allowance = LINGER_BYTES
        if self._request.paused:
            self._request.resume()
        if not self._answer.ended:
            self._owner.lingers(self)

    # ---- from the transport

    def pause_writing(self) -> None:
        self._stuck = True

    def resume_writing(self) -> None:
        self._stuck = False
        self._push()

    def _push(self) -> None:
        while self._unsent is not None and not self._stuck:
            piece, rest = self._unsent[:SLICE_BYTES], self._unsent[SLICE_BYTES:]
            self._unsent = rest if len(rest) else None
            self._transport.write(piece)
        if self._request is not None and self._unsent is None and not self._stuck:
            self._request.fully_sent = True

    def data_received(self, data: bytes) -> None:
        """Parse one read, then tell the reader about all of it: no callback of a reader runs inside the parser."""
        if len(data) > self._room:
            self._take_turns(data)
            return
        answer = self._answer
        try:
            if not answer.answered and answer.quiet + len(data) > self._max_header_bytes:
                answer.feed_head(data)
            else:
                self._feed(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            answer.refuse(error)
        parts = self._parts
        reader = self._reader
        if len(parts) == 1 and self._started and reader is not None and answer.plain and not answer.problem:
            answer.quiet = 0  # one more piece of a body, what nearly all reads are
            reader.data_received(parts.pop())
            if answer.ended:
                self._finish()
            return
        if parts or self._started != answer.answered:
            answer.quiet = 0
        else:
            answer.count_quiet(len(data))
        if reader is None:
            parts.clear()
            self._unread(len(data))
            return
        if self._started != answer.answered:
            self._started = True
            if self._request is not None and self._request.head:  # written to a used connection
                self._request.head = self._request.body = b""
            reader.response_started(answer.status, answer.headers)
        if parts:
            body = parts[0] if len(parts) == 1 else b"".join(parts)
            parts.clear()
            if self._reader is reader and (body := answer.inflated(body)):
                reader.data_received(body)
        if answer.problem:
            self.fail(self._unavailable(answer.problem))
        elif answer.ended:
            self._finish()

    def _take_turns(self, data: bytes) -> None:
        """More came than is read at once. Of a fast peer both loops would read for as long as it writes."""
        if self._rest is not None:  # of TLS more may come out of what was read
            self._rest = memoryview(b"".join((self._rest, data)))
            return
        self._rest = memoryview(data)
        self._raw.pause_reading()
        self._go_on()

    def _go_on(self) -> None:
        """Parse the next piece of the rest."""
        rest, request = self._rest, self._request
        if rest is None or (request is not None and request.paused):
            return
        piece, self._rest = bytes(rest[:MOST_AT_ONCE]), rest[MOST_AT_ONCE:]
        self._room = MOST_AT_ONCE
        self.data_received(piece)
        if self._rest is None or self._transport.is_closing():
            return
        if len(self._rest):
            self._room = 0
            asyncio.get_running_loop().call_soon(self._go_on)
            return
        self._rest = None
        if self._request is None or not self._request.paused:
            self._raw.resume_reading()

    def _take_all(self) -> None:
        """Nothing follows: parse what is left of the rest."""
        if self._rest is not None:
            rest, self._rest = bytes(self._rest), None
            self._room = len(rest)
            self.data_received(rest)

    def eof_received(self) -> None:
        self._take_all()
        self._peer_closed(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._take_all()
        self._peer_closed(exc)
        del self._feed
        self._answer.close()
        self._owner.lost(self)
        if self._closed is not None:
            self._closed()

    # ---- endings

    def _unread(self, size: int) -> None:
        """`size` bytes came for nobody: while idle, or behind a released answer."""
        self._allowance -= size
        if self._answer.problem or self._allowance < 0:
            self.abort()
        elif self._answer.ended:
            self._retire()

    def _finish(self) -> None:
        reader = self._reader
        self._answer.check_coding()
        if self._answer.problem:
            self.fail(self._unavailable(self._answer.problem))
            return
        self._retire()
        if reader is not None:
            reader.response_ended()

    def _retire(self) -> None:
        """The answer is complete: back to the owner, or close."""
        request = self._request
        keep = self._answer.keep and request is not None and request.fully_sent and not self._transport.is_closing()
        keep = keep and not self._rest  # what follows an answer is nothing that was asked for
        if request is not None:
            request.connection = request.reader = None
            if request.paused:
                self._raw.resume_reading()
        self._request = self._reader = None
        self._started = False
        self._allowance = 0
        self._answer.begin()
        if keep:
            self._used = True
            self._owner.reusable(self)
        else:
            self.abort()

    def _peer_closed(self, exc: Exception | None) -> None:
        if self._reader is None:
            self.abort()
        elif exc is not None and not isinstance(exc, OSError):  # it came out of the reader's own code
            self.fail(InternalError(f"The gateway failed while it read the answer of {self._host}."))
        elif exc is None and self._answer.answered and not self._answer.framed:
            self._answer.keep = False
            self._finish()
        elif not self._asks_again():
            how = "closed" if exc is None else "reset" if isinstance(exc, ConnectionError) else "broke"
            when = "in the middle of the answer" if self._answer.answered else "before it answered"
            self.fail(self._unavailable(f"{how} the connection {when}"))

    def _asks_again(self) -> bool:
        """The peer closed the connection: has it crossed with a request that can be written once more?"""
        request, answer = self._request, self._answer
        if request is None or not request.head or answer.answered or answer.quiet:
            return False
        return self._owner.unanswered(self, request)

    def _unavailable(self, problem: str) -> ProviderUnavailable:
        return ProviderUnavailable(f"{self._host} {problem}.")
