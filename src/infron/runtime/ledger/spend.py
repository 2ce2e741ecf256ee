"""What keys were charged: a total for each key and day, and for each key and month.

It never knows what was charged for.
"""

from __future__ import annotations

from datetime import date, timedelta

from msgspec import Struct

from infron.runtime.ledger import statements
from infron.runtime.ledger.statements import MILLION
from infron.runtime.ledger.store import Rows


class Spend(Struct, frozen=True, kw_only=True):
    """Picodollars charged today, this week (from Monday), this month and ever; days end at 00:00 UTC.

    An exchange belongs to the day on which it began.
    """

    today: int = 0
    week: int = 0
    month: int = 0
    ever: int = 0


def add_charge(rows: Rows, key_id: str | None, day: date, charge: int) -> None:
    """Add picodollars to the totals of a key."""
    for period in (day.isoformat(), day.isoformat()[:7]):
        rows.change(statements.ADD_CHARGE, key_id or "", period, *divmod(charge, MILLION))


def read_spend(rows: Rows, key_id: str | None, today: date) -> Spend:
    totals = {period: millions * MILLION + rest for period, millions, rest in rows.read(statements.SPEND, key_id or "")}
    week = [today - timedelta(days=back) for back in range(today.weekday() + 1)]
    return Spend(
        today=totals.get(today.isoformat(), 0),
        week=sum(totals.get(day.isoformat(), 0) for day in week),
        month=totals.get(today.isoformat()[:7], 0),
        ever=sum(charge for period, charge in totals.items() if len(period) == 7),
    )


def left_of_limits(rows: Rows) -> dict[str, int]:
    """Picodollars that each key with a limit may still spend; below zero where its last answer cost more."""
    left: dict[str, int] = dict(rows.read(statements.LIMITED_KEYS))
    if left:
        for id, millions, rest in rows.read(statements.SPENT_OF_LIMITED):
            left[id] -= millions * MILLION + rest
    return left
