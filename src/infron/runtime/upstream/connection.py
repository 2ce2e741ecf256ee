"""One HTTP/1.1 connection to a provider: writes a request, reads its answer, and says whether it can be used again.

It never chooses who uses it next, never opens itself, and never knows what a body means.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import NoReturn, Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from infron.errors import InfronError, InternalError, ProviderUnavailable
from infron.runtime.upstream.dial import Link
from infron.runtime.upstream.inflate import Inflate
from infron.runtime.upstream.request import LINGER_BYTES, Reader, UpstreamRequest

SLICE_BYTES = 256 << 10  # a larger body is handed over in such pieces, as the socket takes them
_WRITE_HIGH_WATER = 64 << 10
_FRESH_SECONDS = 0.5  # idle for less: the loop would have seen the peer close it, no need to ask the system
_MAX_FIELDS = 256
_MAX_FIELD_BYTES = 16 << 10
_MAX_INTERIM = 100  # 1xx answers before the answer
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"content-encoding"})
_POLL = getattr(select, "poll", None)  # absent on Windows


class Owner(Protocol):
    """Who owns connections."""

    def reusable(self, connection: Connection) -> None: ...

    def lingers(self, connection: Connection) -> None: ...

    def lost(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """Carries one attempt at a time. It is idle, or has an attempt, or is closing; `lost` tells the owner the end."""

    __slots__ = (
        "_allowance",
        "_answered",
        "_attempt",
        "_closed",
        "_ended",
        "_feed",
        "_fields",
        "_fileno",
        "_framed",
        "_headers",
        "_host",
        "_inflate",
        "_interim",
        "_keep",
        "_max_header_bytes",
        "_owner",
        "_parser",
        "_parts",
        "_problem",
        "_quiet",
        "_raw",
        "_reader",
        "_started",
        "_status",
        "_stuck",
        "_transport",
        "_unsent",
        "idle_since",
        "on_body",
    )

    _transport: asyncio.Transport
    _raw: asyncio.Transport
    _reader: Reader | None

    def __init__(self, owner: Owner, host: str, max_header_bytes: int) -> None:
        """`host`: how messages call the peer."""
        self._owner = owner
        self._host = host
        self._max_header_bytes = max_header_bytes
        self.idle_since = 0.0  # loop time; the owner's to set and to read
        self._fileno = -1
        self._attempt: UpstreamRequest | None = None
        self._reader = None
        self._closed: Callable[[], None] | None = None
        self._unsent: memoryview | None = None
        self._stuck = False  # the transport's write buffer is full
        self._parts: list[bytes] = []  # of the body, out of the read at hand
        self.on_body = self._parts.append  # what the parser calls: no Python frame for a piece of the body
        self._parser = HttpResponseParser(self)
        self._feed = self._parser.feed_data
        self._begin()

    def _begin(self) -> None:
        self._fields: list[tuple[bytes, bytes]] = []  # as the parser finds them
        self._headers: list[tuple[bytes, bytes]] = []
        self._status = 0
        self._interim = 0
        self._quiet = 0  # raw bytes since the last byte of a body: the head, or what should be next to nothing
        self._allowance = 0  # bytes that may still come for nobody
        self._answered = False  # the final head is complete
        self._started = False  # … and the reader knows it
        self._framed = False  # the body says itself where it ends; else the close does
        self._ended = False
        self._keep = False  # may another request follow?
        self._problem = ""
        self._inflate: Inflate | None = None

    # ---- towards the owner

    def attach(self, link: Link) -> None:
        """The connection is there."""
        self._transport, self._raw = link
        self._fileno = self._raw.get_extra_info("socket").fileno()
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH_WATER, low=0)

    def usable(self, now: float) -> bool:
        """Whether an idle connection, to all that can be known without writing, is still open. `now`: loop time."""
        if self._transport.is_closing():
            return False
        if now - self.idle_since < _FRESH_SECONDS or _POLL is None:
            return True
        poll = _POLL()
        poll.register(self._fileno, select.POLLIN)
        return not poll.poll(0)  # anything to read, be it bytes or the end, is nothing that we asked for

    def start(self, attempt: UpstreamRequest) -> None:
        """Write the attempt's request; its answer goes to its reader."""
        self._attempt = attempt
        self._reader = attempt.reader
        attempt.connection = self
        attempt.give_up = None
        attempt.sent = True
        body = attempt.body
        if len(body) <= SLICE_BYTES:
            self._transport.write(attempt.head + body)
            attempt.fully_sent = not self._stuck
        else:
            view = memoryview(body)
            self._unsent = view[SLICE_BYTES:]
            self._transport.write(b"".join((attempt.head, view[:SLICE_BYTES])))
            self._push()
        attempt.head = attempt.body = b""
        if attempt.paused:
            self._raw.pause_reading()

    def abort(self, closed: Callable[[], None] | None = None) -> None:
        """Close the socket without a word to the reader; `closed` is called when that has happened."""
        if self._attempt is not None:
            self._attempt.connection = None
        self._attempt = self._reader = self._unsent = None
        self._closed = closed or self._closed
        self._transport.abort()

    def fail(self, error: InfronError) -> None:
        """Close the socket; the reader, if there is one, is told why."""
        reader = self._reader
        self.abort()
        if reader is not None:
            reader.request_failed(error)

    # ---- towards the attempt

    @property
    def closing(self) -> bool:
        return self._transport.is_closing()

    def pause(self) -> None:
        # On the TCP transport, not the TLS one: both loops lose what a paused TLS transport still holds when the peer
        # closes, and a body that ends with the connection would be cut short unnoticed.
        self._raw.pause_reading()

    def resume(self) -> None:
        self._raw.resume_reading()

    def linger(self) -> None:
        """Nobody reads on; keep the connection if the body's end is near."""
        self._reader = None
        if not (self._keep and self._attempt is not None and self._attempt.fully_sent):
            self.abort()
            return
        self._allowance = LINGER_BYTES
        self._raw.resume_reading()
        if not self._ended:
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
        if self._attempt is not None and self._unsent is None and not self._stuck:
            self._attempt.fully_sent = True

    def data_received(self, data: bytes) -> None:
        """Parse one read, then tell the reader about all of it: no callback of a reader runs inside the parser."""
        try:
            if not self._answered and self._quiet + len(data) > self._max_header_bytes:
                self._feed_head(data)
            else:
                self._feed(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._keep = False
            if not self._ended:
                self._problem = self._problem or f"sent an answer that is not valid HTTP ({error})"
            elif self._attempt is not None and self._attempt.bodiless:
                self._parts.clear()
        parts = self._parts
        reader = self._reader
        if len(parts) == 1 and self._started and reader is not None and self._inflate is None and not self._problem:
            self._quiet = 0  # one more piece of a body, what nearly all reads are
            reader.data_received(parts.pop())
            if self._ended:
                self._finish()
            return
        if parts or self._started != self._answered:
            self._quiet = 0
        else:
            self._quiet += len(data)
            if self._quiet > self._max_header_bytes and not self._ended:
                self._problem = self._problem or "sent trailers or chunk extensions without end"
        if reader is None:
            parts.clear()
            self._unread(len(data))
            return
        if self._started != self._answered:
            self._started = True
            reader.response_started(self._status, self._headers)
        if parts:
            body = parts[0] if len(parts) == 1 else b"".join(parts)
            parts.clear()
            if self._reader is reader:
                if self._inflate is not None:
                    body = self._inflated(self._inflate, body)
                if body:
                    reader.data_received(body)
        if self._problem:
            self.fail(self._unavailable(self._problem))
        elif self._ended:
            self._finish()

    def eof_received(self) -> None:
        self._peer_closed(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._peer_closed(exc)
        del self._parser, self._feed  # they hold this object in a cycle
        self._owner.lost(self)
        if self._closed is not None:
            self._closed()

    # ---- from the parser

    def on_message_begin(self) -> None:
        if self._ended:  # stops the parser: a second answer would mix with the first
            raise HttpParserError

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        headers, self._fields = self._fields, []  # what is added from now on are trailers: read by nobody
        self._status = self._parser.get_status_code()
        if self._status == 101:
            self._stop("switched to a protocol that was not asked for")
        if self._status < 200:
            self._interim += 1
            if self._interim > _MAX_INTERIM:
                self._stop(f"sent more than {_MAX_INTERIM} interim answers")
            return
        if len(headers) > _MAX_FIELDS:
            self._stop(f"sent more than {_MAX_FIELDS} headers")
        coding = b""
        for name, value in headers:
            if len(value) > _MAX_FIELD_BYTES:
                self._stop(f"sent a header longer than {_MAX_FIELD_BYTES >> 10} KiB")
            if name in _FRAMING:
                if name == b"content-encoding":
                    coding = b",".join(filter(None, (coding, value.strip().lower())))
                elif name == b"transfer-encoding" and value.strip().lower() != b"chunked":
                    self._stop("used a transfer coding that was not asked for")
                else:
                    self._framed = True
        bodiless = self._attempt is not None and self._attempt.bodiless
        if coding not in (b"", b"identity") and not bodiless:
            try:
                self._inflate = Inflate(coding.decode("latin-1"))
            except ValueError as error:
                self._stop(f"sent an answer that cannot be read: {error}")
            headers = [(name, value) for name, value in headers if name not in _FRAMING]
        self._headers = headers
        self._answered = True
        self._keep = self._parser.should_keep_alive()
        if bodiless:  # the parser would wait for what the head announces: it has to end here
            self._ended = True
            raise HttpParserError

    def on_message_complete(self) -> None:
        if self._answered:
            self._ended = True

    def _feed_head(self, data: bytes) -> None:
        room = self._max_header_bytes - self._quiet
        self._feed(data[:room])
        if not self._answered:
            self._stop(f"sent a head longer than {self._max_header_bytes} bytes")
        self._feed(data[room:])

    def _stop(self, problem: str) -> NoReturn:
        """Fail the answer from inside the parser, which has to be left by an exception."""
        self._problem = problem
        raise HttpParserError(problem)

    # ---- endings

    def _inflated(self, inflate: Inflate, body: bytes) -> bytes:
        try:
            return inflate.feed(body)
        except ValueError as error:
            self._problem = f"sent an answer that cannot be read: {error}"
            return b""

    def _unread(self, size: int) -> None:
        """`size` bytes came for nobody: while idle, or behind a released answer."""
        self._allowance -= size
        if self._problem or self._allowance < 0:
            self.abort()
        elif self._ended:
            self._retire()

    def _finish(self) -> None:
        reader = self._reader
        if self._inflate is not None:
            try:
                self._inflate.close()
            except ValueError as error:
                self.fail(self._unavailable(f"sent an answer that cannot be read: {error}"))
                return
        self._retire()
        if reader is not None:
            reader.response_ended()

    def _retire(self) -> None:
        """The answer is complete: back to the owner, or close."""
        attempt = self._attempt
        keep = self._keep and attempt is not None and attempt.fully_sent and not self._transport.is_closing()
        if attempt is not None:
            attempt.connection = attempt.reader = None
            if attempt.paused:
                self._raw.resume_reading()
        self._attempt = self._reader = None
        self._begin()
        if keep:
            self._owner.reusable(self)
        else:
            self.abort()

    def _peer_closed(self, exc: Exception | None) -> None:
        if self._reader is None:
            self.abort()
        elif exc is not None and not isinstance(exc, OSError):  # it came out of the reader's own code
            self.fail(InternalError(f"The gateway failed while it read the answer of {self._host}."))
        elif exc is None and self._answered and not self._framed:
            self._keep = False
            self._finish()
        else:
            how = "closed" if exc is None else "reset" if isinstance(exc, ConnectionError) else "broke"
            when = "in the middle of the answer" if self._answered else "before it answered"
            self.fail(self._unavailable(f"{how} the connection {when}"))

    def _unavailable(self, problem: str) -> ProviderUnavailable:
        return ProviderUnavailable(f"{self._host} {problem}.")
