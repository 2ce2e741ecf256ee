"""One request on its way to a provider: who reads its answer, how far it got, and how to end it at any moment.

It never knows a socket, nor how connections are chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from infron.errors import InfronError

LINGER_SECONDS = 2.0  # how long, and for how many bytes, the end of a released answer is waited for
LINGER_BYTES = 64 << 10


class Reader(Protocol):
    """Who reads an answer. Called from the event loop, never from inside `send`, `abort` or `release`."""

    def response_started(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """The final status and its headers, names in lower case. Redirects come here like any other status."""

    def data_received(self, data: bytes) -> None:
        """Some of the body, never empty, transfer and content coding removed."""

    def response_ended(self) -> None:
        """The body is complete by its own framing. Nothing follows."""

    def request_failed(self, error: InfronError) -> None:
        """The answer will not come, or not to its end. Nothing follows."""


class Carrier(Protocol):
    """The connection that a request has got, as far as the request is concerned."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def abort(self, closed: Callable[[], None] | None = None) -> None: ...

    def linger(self) -> None: ...


class UpstreamRequest:
    """One request on its way. Its `head` and `body` are let go once they are written, or, where it may be written
    `again`, once something of an answer is here.

    `sent`: bytes of it were handed to a connected transport, so the provider may have seen it. `fully_sent`: all of
    it was, and the transport's own buffer was never full or is empty again.
    """

    __slots__ = (
        "again",
        "bodiless",
        "body",
        "closed",
        "connection",
        "fully_sent",
        "give_up",
        "head",
        "paused",
        "reader",
        "sent",
    )

    def __init__(
        self, reader: Reader, head: bytes, body: bytes, *, bodiless: bool = False, again: bool = False
    ) -> None:
        """`bodiless`: the answer has no body whatever its head says, as with HEAD."""
        self.reader: Reader | None = reader
        self.head = head
        self.body = body
        self.bodiless = bodiless
        self.again = again
        self.sent = False
        self.fully_sent = False
        self.paused = False
        self.connection: Carrier | None = None
        self.give_up: Callable[[], object] | None = None  # while it waits for a connection: how to stop that
        self.closed: Callable[[], None] | None = None

    def pause(self) -> None:
        """Read no further from the socket. What was read already is still delivered."""
        self.paused = True
        if self.connection is not None:
            self.connection.pause()

    def resume(self) -> None:
        self.paused = False
        if self.connection is not None:
            self.connection.resume()

    def abort(self, closed: Callable[[], None] | None = None) -> None:
        """End it now, whatever it is doing; the Reader hears nothing more.

        `closed` is called once the socket is closed, or at once if there is none.
        """
        self.reader = None
        self.body = b""
        if self.connection is not None:
            self.connection.abort(closed)
            return
        self.closed = closed or self.closed
        if self.give_up is None:
            self.gone()
        else:
            self.give_up()

    def release(self) -> None:
        """The answer is complete for us; the Reader hears nothing more.

        The connection is used again if the end of the body arrives within LINGER_SECONDS and LINGER_BYTES.
        """
        self.reader = None
        if self.connection is not None:
            self.connection.linger()
        else:
            self.abort()

    def gone(self) -> None:
        """Nothing of it is left open: tell whoever aborted it."""
        closed, self.closed, self.give_up = self.closed, None, None
        if closed is not None:
            closed()

    def fail(self, error: InfronError) -> None:
        """Tell the Reader, if it still listens, that this request has failed without a connection."""
        reader, self.reader = self.reader, None
        self.body = b""
        if reader is not None:
            reader.request_failed(error)
