"""What one connection waits for, and until when: a head, a body, the next request, or that its client takes an answer.

It never reads the time, and never closes anything.
"""

from __future__ import annotations

import math
from typing import Literal

from infron.settings import Timeouts

KEEP_ALIVE_SECONDS = 75.0
LINGER_SECONDS = 5.0  # without a byte from a client whose request was refused while it was still sending it
LINGER_TOTAL_SECONDS = 30.0
Wait = Literal["", "head", "body", "idle", "taken", "linger", "close"]


class ConnectionClock:
    """`waits_for`: what, or nothing. `closing`: the connection comes to its end, and nothing else is waited for any
    more. All moments are loop time; a timeout of 0 s never comes.

    head, body: the rest of a request · idle: the next one · taken: the client takes what is written · linger: it stops
    sending what was refused · close: it takes the rest, and the connection ends.
    """

    __slots__ = ("_timeouts", "_unsent", "_until", "closing", "due", "waits_for")

    def __init__(self, timeouts: Timeouts) -> None:
        self.waits_for: Wait = ""
        self.closing = False
        self.due = math.inf
        self._timeouts = timeouts
        self._until = math.inf  # that nothing puts off
        self._unsent = 0  # bytes that the client had not taken at the last look

    def stop(self) -> None:
        self.waits_for, self.due = "", math.inf

    def wait(self, what: Literal["head", "idle"], now: float) -> None:
        seconds = self._timeouts.header_seconds if what == "head" else KEEP_ALIVE_SECONDS
        self.waits_for, self.due = what, now + (seconds or math.inf)

    def wait_for_body(self, until: float, now: float) -> float:
        """The next piece of a body, and the whole of it by `until`; 0: that is yet to be said, and returned."""
        timeouts = self._timeouts
        until = until or now + (timeouts.body_total_seconds or math.inf)
        self.waits_for, self.due = "body", min(now + (timeouts.body_seconds or math.inf), until)
        return until

    def wait_for_taking(self, what: Literal["taken", "close"], unsent: int, now: float) -> None:
        """The client has `client_stall_seconds` for each byte that it takes."""
        if self.waits_for != what:
            self.waits_for, self._unsent, self.closing = what, -1, what == "close"
            self.look(unsent, now)

    def linger(self, now: float) -> None:
        """The client still sends; each call puts the end off."""
        if self.waits_for != "linger":
            self.waits_for, self._until, self.closing = "linger", now + LINGER_TOTAL_SECONDS, True
        self.due = min(now + LINGER_SECONDS, self._until)

    def look(self, unsent: int, now: float) -> None:
        """`unsent`: bytes that are written and not taken yet."""
        if self.waits_for in ("taken", "close") and unsent != self._unsent:
            self._unsent, self.due = unsent, now + (self._timeouts.client_stall_seconds or math.inf)
