"""One round of the ledger: what is opened, settled, claimed and orphaned together, or not at all.

It never knows threads, nor when a round begins or whether it is tried again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Struct

from infron.records import Opening
from infron.runtime.ledger import entries, owners, spend
from infron.runtime.ledger.entries import DrainCaps, Settling
from infron.runtime.ledger.inbox import Done
from infron.runtime.ledger.limited import LimitedRound
from infron.runtime.ledger.store import Rows, UnusableRow
from infron.runtime.ledger.verdict import Recorded, Refused, Unavailable

Reply = tuple[Callable[[Any], None], Any]

_log = logging.getLogger("infron.ledger")


class Counts(Struct):
    """What the thread did since it started. `duplicates`: settlements of rows that were settled before."""

    transactions: int = 0
    opened: int = 0
    settled: int = 0
    duplicates: int = 0
    orphaned: int = 0
    refused: int = 0


class Round:
    """`counts`: raised by what is done. `now`: unix seconds. `limited`: what it has to do with limits."""

    def __init__(self, rows: Rows, counts: Counts, *, boot: str, place: str, now: float, charge_failed: bool) -> None:
        self.limited = LimitedRound(rows, boot, int(now * 1_000_000))
        self._rows, self._counts = rows, counts
        self._boot, self._place, self._now = boot, place, int(now * 1000)
        self._charge_failed = charge_failed

    def open(self, opens: Sequence[tuple[Opening, Done]]) -> list[Reply]:
        replies: list[Reply] = []
        written = entries.open_entries(self._rows, [opening for opening, _ in opens], self._boot)
        for (opening, done), verdict in zip(opens, written, strict=True):
            if isinstance(verdict, UnusableRow):
                _log.error("The entry %s cannot be opened.", opening.id, exc_info=verdict)
                replies.append((done, Unavailable("This entry cannot be written.")))
            else:
                self._counts.opened += isinstance(verdict, Recorded)
                replies.append((done, verdict))
        return replies

    def settle(self, settles: Sequence[Settling]) -> None:
        counts = self._counts
        charges: dict[tuple[str, int], int] = {}  # by holder and day
        found = entries.settle_entries(self._rows, settles, self._boot, self._now)
        for (settlement, _), posted in zip(settles, found, strict=True):
            if isinstance(posted, UnusableRow):
                counts.refused += 1
                _log.error("An entry cannot be settled: %r", settlement, exc_info=posted)
            elif posted is None:
                counts.duplicates += 1
            else:
                counts.settled += 1
                self.limited.settled(settlement, posted.charge)
                if posted.charge:
                    for holder in posted.holders:
                        group = (holder, posted.day)
                        charges[group] = charges.get(group, 0) + posted.charge
        if charges:
            spend.add_charges(self._rows, charges)
            self.limited.charged(charges)

    def claim(self, claims: Iterable[tuple[str, DrainCaps, Done]]) -> list[Reply]:
        replies: list[Reply] = []
        swept = False
        for id, caps, done in claims:
            verdict = entries.claim_drain(self._rows, id, caps)
            if isinstance(verdict, Refused) and not swept:  # are some of those that drain dead?
                swept = True
                if self.orphan():
                    verdict = entries.claim_drain(self._rows, id, caps)
            replies.append((done, verdict))
        return replies

    def orphan(self) -> int:
        """Settle what processes that are gone left open. How many rows that were."""
        lost = owners.gone_owners(self._rows, self._boot, self._place, self._now)
        for owner in lost:
            self.limited.orphaned(owner)
        settled = entries.settle_orphans(self._rows, lost, self._now, charge_failed=self._charge_failed)
        self._counts.orphaned += settled
        return settled
