"""A client that has left, or an exchange that is stopped: when that was, what is done then, and what the receipt says.

It never touches a connection: the exchange closes what is to be closed, and reads on where it is to be read on.
"""

from __future__ import annotations

from msgspec import Struct

from infron.policy.disconnect import on_disconnect
from infron.runtime.exchange.attempt import Attempt, AttemptState

OVER = (AttemptState.FINISHED, AttemptState.COMPLETE)


class Departure(Struct, gc=False):
    """`at`: loop time, s; 0: the client is there, and wants it. `said`: what was done, and why.

    `over`: the answer had ended by then, only its end or its count was awaited. `stopped`: by its id.
    """

    at: float = 0.0
    said: str | None = None
    over: bool = False
    stopped: bool = False
    _asked: str | None = None
    _streams: bool = True
    _allow_override: bool = False
    _stop_asked: bool = False  # the provider is to be told to stop as soon as that is possible

    def prepare(self, asked: str | None, *, streams: bool, allow_override: bool) -> None:
        """`asked`: what the caller wants done · `allow_override`: the setting `billing.allow_cancel_override`."""
        self._asked, self._streams, self._allow_override = asked, streams, allow_override

    def leave(self, now: float, attempt: Attempt, why: str) -> bool:
        """The client leaves while this attempt is at hand: whether its answer is to be read on."""
        self.at = now
        self.over = attempt.state in OVER
        if self.over:
            self.said = f"{why}drain: the answer was complete already"
            return True
        return self._decide(attempt, why)

    def stop(self, now: float, attempt: Attempt, why: str) -> bool:
        """It is stopped while this attempt is at hand, its client there or not: whether its answer is to be read on.

        What the caller asked for where the client leaves holds for that alone: whoever stops it wants it to end.
        """
        before = f"{self.said}; then " if self.at else ""
        self.at, self.stopped = self.at or now, True
        if self._asked == "drain":
            self._asked = None
        return self._decide(attempt, f"{before}{why}; ")

    def reconsider(self, attempt: Attempt) -> bool:
        """More of an answer has come that had ended: whether it is to be read on."""
        self.over = False
        return self._decide(attempt, f"{self.said}; it went on, so ")

    def _decide(self, attempt: Attempt, before: str) -> bool:
        if attempt.state is AttemptState.PREPARING and not attempt.meter.frames:
            self.said = f"{before}cancel: the request had not been sent to a provider"
            return False
        leaving = on_disconnect(
            attempt.candidate.provider,
            self._asked,
            self._streams,
            self._allow_override,
            can_call=attempt.decoder.cancel is not None,
        )
        self._stop_asked = leaving.stop
        self.said = before + leaving.reason
        return leaving.drain

    def can_stop(self, attempt: Attempt) -> bool:
        """Whether the provider was to be told to stop before that was possible, and now it is."""
        return self._stop_asked and attempt.decoder.cancel is not None

    def add(self, clause: str) -> None:
        self.said = f"{self.said}; {clause}" if self.said else clause
