"""One HTTP request as it came over a connection: its head, its body, and what was decided about it so far.

It never knows what its body means, nor how it is answered.
"""

from __future__ import annotations

import urllib.parse

import httptools

from infron.errors import InfronError, InvalidRequest
from infron.policy.access import Key, KeyRing
from infron.runtime.server.cors import Headers
from infron.runtime.server.paths import NOWHERE, Place


class HttpRequest:
    """`headers`: names in lower case. `complete`: the whole body is here. `error`: what it will be answered."""

    __slots__ = (
        "body", "chunked", "coding", "complete", "error", "expects", "headers", "judged", "keep_alive", "key", "length",
        "method", "named", "path", "place", "query", "ring", "size", "until",
    )  # fmt: skip

    def __init__(self, method: bytes, headers: Headers, *, keep_alive: bool, chunked: bool) -> None:
        self.method = method
        self.headers = headers
        self.named = dict(headers)
        self.path = b""
        self.query = b""
        self.place: Place = NOWHERE
        self.keep_alive = keep_alive
        self.chunked = chunked  # its answer may come in chunks
        self.coding = ""  # of its body
        self.expects = False  # it waits for the leave to send its body
        self.length = 0  # of its body, where the head says it
        self.body: list[bytes] = []
        self.size = 0
        self.complete = False
        self.judged = False
        self.error: InfronError | None = None
        self.key: Key | None = None
        self.ring: KeyRing | None = None  # that it was judged by; None: it needs no key
        self.until = 0.0  # by then (loop time) the body must be here; 0: it is not waited for yet

    @property
    def ready(self) -> bool:
        """Something can be done about it: judge its head, answer it, refuse it."""
        return self.complete or not self.judged or self.error is not None

    @property
    def missing(self) -> int:
        """Bytes of the body that are still to come; 0 where nobody said how many."""
        return max(0, self.length - self.size)

    def refuse(self, error: InfronError) -> None:
        """Settle what it will be answered. The error's traceback is let go: it leads back to here."""
        self.error = error.with_traceback(None)
        self.body.clear()

    def give_pieces(self) -> list[bytes]:
        """The body in the pieces that came; it is given away."""
        pieces, self.body = self.body, []
        return pieces

    def take_body(self) -> bytes:
        """The same in one."""
        pieces = self.give_pieces()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def target_of(url: bytes) -> tuple[bytes, bytes, bytes]:
    """(path without percent-encoding, query, authority) of a request's target. Raises InvalidRequest."""
    authority = b""
    if url[:1] not in (b"/", b"*"):
        try:
            parsed = httptools.parse_url(url)
        except httptools.HttpParserError:
            raise InvalidRequest("The request's target is neither a path nor an address.") from None
        authority = parsed.host or b""
        if b":" in authority:  # as it stands in a Host header
            authority = b"[%b]" % authority
        url = (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
    path, _, query = url.partition(b"#")[0].partition(b"?")
    return (urllib.parse.unquote_to_bytes(path) if b"%" in path else path), query, authority
