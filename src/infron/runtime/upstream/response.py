"""What the bytes of an answer say by HTTP/1.1's framing: the head, the body's pieces, the end; and what is refused.

It never knows a socket, nor who reads the answer.
"""

from __future__ import annotations

from typing import NoReturn

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from infron.runtime.upstream.inflate import Inflate

_MAX_FIELDS = 256
_MAX_FIELD_BYTES = 16 << 10
_MAX_INTERIM = 100  # 1xx answers before the answer
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"content-encoding"})


class ResponseParser:
    """Reads the answers of one connection, one after the other: `begin` stands between two of them.

    `parts`: of the body, out of the read at hand, for the caller to take out. `quiet`: raw bytes since the last byte of
    a body: the head, or what should be next to nothing. `bodiless`: no body follows whatever the head says, as with
    HEAD.
    """

    __slots__ = (
        "_fields",
        "_inflate",
        "_interim",
        "_max_header_bytes",
        "_parser",
        "answered",
        "bodiless",
        "ended",
        "feed_raw",
        "framed",
        "headers",
        "keep",
        "on_body",
        "parts",
        "plain",
        "problem",
        "quiet",
        "status",
    )

    def __init__(self, max_header_bytes: int) -> None:
        self._max_header_bytes = max_header_bytes
        self.parts: list[bytes] = []
        self.on_body = self.parts.append  # what the parser calls: no Python frame for a piece of the body
        self._parser = HttpResponseParser(self)
        self.feed_raw = self._parser.feed_data
        self.begin()

    def begin(self) -> None:
        """Another answer comes next."""
        self._fields: list[tuple[bytes, bytes]] = []  # as the parser finds them
        self._interim = 0
        self.bodiless = False
        self.headers: list[tuple[bytes, bytes]] = []
        self.status = 0
        self.quiet = 0
        self.answered = False  # the final head is complete
        self.framed = False  # the body says itself where it ends; else the close does
        self.ended = False
        self.keep = False  # may another request follow?
        self.problem = ""
        self.plain = True  # the body has no content coding
        self._inflate: Inflate | None = None

    def close(self) -> None:
        """No answer follows. Without it the parser and this object would hold each other in a circle."""
        del self._parser, self.feed_raw

    # ---- each read: `feed_raw` where the head is over or has room, else `feed_head`, and `refuse` what they raise

    def feed_head(self, data: bytes) -> None:
        """Parse a read in which the head would grow too long."""
        room = self._max_header_bytes - self.quiet
        self.feed_raw(data[:room])
        if not self.answered:
            self._stop(f"sent a head longer than {self._max_header_bytes} bytes")
        self.feed_raw(data[room:])

    def refuse(self, error: HttpParserError | HttpParserUpgrade) -> None:
        """Parsing has stopped: a problem, unless the answer was over by then."""
        self.keep = False
        if not self.ended:
            self.problem = self.problem or f"sent an answer that is not valid HTTP ({error})"
        elif self.bodiless:
            self.parts.clear()

    def count_quiet(self, size: int) -> None:
        """`size` bytes brought neither a head nor a piece of a body."""
        self.quiet += size
        if self.quiet > self._max_header_bytes and not self.ended:
            self.problem = self.problem or "sent trailers or chunk extensions without end"

    # ---- the body's coding

    def inflated(self, body: bytes) -> bytes:
        """`body` without its content coding."""
        if self._inflate is None:
            return body
        try:
            return self._inflate.feed(body)
        except ValueError as error:
            self.problem = f"sent an answer that cannot be read: {error}"
            return b""

    def check_coding(self) -> None:
        """The body is over; is its compressed form?"""
        if self._inflate is not None:
            try:
                self._inflate.close()
            except ValueError as error:
                self.problem = f"sent an answer that cannot be read: {error}"

    # ---- from the parser

    def on_message_begin(self) -> None:
        if self.ended:  # stops the parser: a second answer would mix with the first
            raise HttpParserError

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        headers, self._fields = self._fields, []  # what is added from now on are trailers: read by nobody
        self.status = self._parser.get_status_code()
        if self.status == 101:
            self._stop("switched to a protocol that was not asked for")
        if self.status < 200:
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
                    self.framed = True
        if coding not in (b"", b"identity") and not self.bodiless:
            try:
                self._inflate, self.plain = Inflate(coding.decode("latin-1")), False
            except ValueError as error:
                self._stop(f"sent an answer that cannot be read: {error}")
            headers = [(name, value) for name, value in headers if name not in _FRAMING]
        self.headers = headers
        self.answered = True
        self.keep = self._parser.should_keep_alive()
        if self.bodiless:  # the parser would wait for what the head announces: it has to end here
            self.ended = True
            raise HttpParserError

    def on_message_complete(self) -> None:
        if self.answered:
            self.ended = True

    def _stop(self, problem: str) -> NoReturn:
        """Fail the answer from inside the parser, which has to be left by an exception."""
        self.problem = problem
        raise HttpParserError(problem)
