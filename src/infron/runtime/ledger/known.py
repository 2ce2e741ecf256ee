"""What is known of keys and of other processes: read anew when another one writes.

It never writes anything itself.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from infron.policy.access import CLOSED, KeyRing
from infron.policy.stop import Stop
from infron.runtime.ledger import entries, holders, keys, live, stops
from infron.runtime.ledger.holders import Revision
from infron.runtime.ledger.store import Rows


class Known:
    """Kept by the ledger's thread. `ring`: the keys; `elsewhere`: drains of other processes by key; `looked_on_until`:
    somebody wants to know how far exchanges are (unix ms).

    All are values that are replaced as a whole, so any thread may read them.
    """

    def __init__(self, boot: str, clock: Callable[[], float]) -> None:
        self.ring: KeyRing = CLOSED
        self.elsewhere: dict[str | None, int] = {}
        self.looked_on_until = 0
        self._boot = boot
        self._clock = clock
        self._until = 0.0  # when the next key expires, unix seconds
        self._version = ""
        self._revision: Revision | None = None

    def doubt(self) -> None:
        """The store may be another one: what was read from it may hold no longer."""
        self._version, self._revision = "", None

    def refresh(self, rows: Rows, version: str) -> list[tuple[str, Stop]]:
        """Read again what others may have changed, if they wrote anything at all. `version`: the store's.

        Returns the exchanges of this process that are to be stopped, as far as they may not have been told yet.
        """
        now = self._clock()
        if version == self._version and now < self._until:
            return []
        revision = holders.revision(rows)
        self.elsewhere = entries.drains_elsewhere(rows, self._boot)
        self.looked_on_until = live.looked_on_until(rows)
        marks: list[tuple[str, Stop]] = []
        if revision != self._revision:
            marks = stops.marks(rows, self._boot)
        if self._revision is None or revision.keys != self._revision.keys or now >= self._until:
            ring, self._until = keys.read_ring(rows, now)
            # Once needed, always needed: an empty file put in the ledger's place must not open the door.
            required = ring.required or (self.ring is not CLOSED and self.ring.required)
            self.ring = replace(ring, required=required)
        self._version, self._revision = version, revision
        return marks
