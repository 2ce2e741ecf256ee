"""A client that takes nothing for now: how long it has kept the provider waiting, and whether it still reads.

It never reads a clock, never pauses anything itself, and never knows what is written.
"""

from __future__ import annotations

from msgspec import Struct

PATIENCE_SECONDS = 0.5  # no provider gives an answer up because its reader took nothing for less than this, in all
RECOVERY_SECONDS = 5.0  # after so long without a pause, what was before is no reason any more


class Pace(Struct, gc=False):
    """Moments are seconds of the loop's clock; 0: it has not come, or is over. `unsent`: bytes not taken by then."""

    paused_at: float = 0.0
    looked_at: float = 0.0
    _resumed_at: float = 0.0
    _waited: float = 0.0  # for how long the provider was kept waiting, seconds, since it was last read freely
    _taken_at: float = 0.0
    _unsent: int = 0

    def pause(self, now: float, unsent: int) -> None:
        """The client takes no more."""
        if now - self._resumed_at >= RECOVERY_SECONDS:
            self._waited = 0.0
        self.paused_at = self.looked_at = self._taken_at = now
        self._unsent = unsent

    def resume(self, now: float) -> float:
        """It takes bytes again. Returns for how many seconds it took none of the new ones."""
        paused, self.paused_at = now - self.paused_at, 0.0
        self._waited += paused
        self._resumed_at = now
        return paused

    def look(self, now: float, unsent: int) -> float:
        """How long it has taken no byte at all, in seconds."""
        self.looked_at = now
        if unsent < self._unsent:
            self._unsent, self._taken_at = unsent, now
        return now - self._taken_at

    def kept_waiting(self, now: float) -> bool:
        """Whether a provider that gives up now may do so because our reader took nothing.

        While reading is paused nobody sees that a provider has gone: it is seen once its last bytes have been read.
        """
        if self.paused_at:
            return self._waited + now - self.paused_at >= PATIENCE_SECONDS
        return self._waited >= PATIENCE_SECONDS and now - self._resumed_at < RECOVERY_SECONDS
