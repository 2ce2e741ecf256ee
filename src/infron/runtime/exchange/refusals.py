"""Refusals that hold for a while whatever happens: who comes again meanwhile is refused without a look at the ledger.

It never decides whether anybody is refused.
"""

from __future__ import annotations

from msgspec.structs import replace

from infron.policy.access import Key, KeyRing
from infron.policy.limits import Refused

MOST = 10_000  # holders
BUDGET_SECONDS = 1.0  # a budget may be raised, and credits added


class Refusals:
    """By holder, each as long as keys and limits are those that it was refused by."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[KeyRing, float, Refused]] = {}

    def remember(self, key: Key, ring: KeyRing, refused: Refused, now: float) -> None:
        """`now`: loop time, s."""
        if not refused.lasts or refused.retry_after == 0:
            return
        holder = key.id if refused.holder == "key" or key.organisation is None else key.organisation.id
        seconds = refused.retry_after if refused.kind == "requests" else BUDGET_SECONDS
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[holder] = ring, now + (seconds or BUDGET_SECONDS), refused

    def of(self, key: Key, ring: KeyRing, now: float, *, free: bool) -> Refused | None:
        """`free`: what is asked for costs nothing, so that no budget refuses it."""
        for holder in (key.id, key.organisation.id if key.organisation else ""):
            known = self._known.get(holder)
            if known is None or (free and known[2].kind != "requests"):
                continue
            of, until, refused = known
            if of is ring and now < until:
                return refused if refused.kind != "requests" else replace(refused, retry_after=until - now)
            del self._known[holder]
        return None
