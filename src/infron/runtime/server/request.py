"""One HTTP request as it came over a connection: its head, its body, and what was decided about it so far.

It never knows what its body means, nor how it is answered.
"""

from __future__ import annotations

import urllib.parse

import httptools

from infron.errors import InfronError, InvalidRequest
from infron.policy.access import Key, KeyRing
from infron.request import Headers
from infron.runtime.server.paths import NOWHERE, Place


class HttpRequest:
    """`headers`: names in lower case. `place`: what stands at its path. `complete`: the whole body is here.

    `error`: what it will be answered. `ring`: by which its key was judged; None where it needs none.
    """

    path = b""
    query = b""
    place: Place = NOWHERE
    keeps_body = False  # somebody wants it
    expects = False  # it waits for the leave to send its body
    length = 0  # of its body, where the head says it
    size = 0  # of what is here of it
    coding = ""
    complete = False
    judged = False
    error: InfronError | None = None
    key: Key | None = None
    ring: KeyRing | None = None
    until = 0.0  # by then (loop time) the body must be here; 0: it is not waited for yet

    def __init__(self, method: bytes, headers: Headers, *, keep_alive: bool, chunked: bool) -> None:
        """`chunked`: its answer may come in chunks."""
        self.method = method
        self.headers = headers
        self.named = dict(headers)
        self.keep_alive = keep_alive
        self.chunked = chunked
        self.body: list[bytes] = []

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
        pieces = self.body
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return body


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
