"""A client that takes nothing for now: how long it has kept the provider waiting, and whether it still reads.

It never reads a clock, never pauses anything itself, and never knows what is written.
"""

from __future__ import annotations


class Pace:
    """Moments are seconds of the loop's clock; 0: it has not come, or is over. `unsent`: bytes not taken by then."""

    paused_at = 0.0
    looked_at = 0.0
    slow_reader = False
    _taken_at = 0.0
    _unsent = 0

    def pause(self, now: float, unsent: int) -> None:
        """The client takes no more."""
        self.paused_at = self.looked_at = self._taken_at = now
        self._unsent = unsent

    def resume(self, now: float) -> float:
        """It takes bytes again. Returns for how many seconds it took none of the new ones."""
        paused, self.paused_at = now - self.paused_at, 0.0
        self.slow_reader = False
        return paused

    def look(self, now: float, unsent: int) -> float:
        """How long it has taken no byte at all, in seconds."""
        self.looked_at = now
        self.slow_reader = True
        if unsent < self._unsent:
            self._unsent, self._taken_at = unsent, now
        return now - self._taken_at
