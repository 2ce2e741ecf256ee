"""What holders were charged: a total for each of them and each day, week and month, and for ever.

It never knows what was charged for.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from msgspec import Struct

from infron.policy.holders import PERIODS, period_name
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


class UsedByKey(Struct, frozen=True, kw_only=True):
    """What a key and its organisation were charged. `balance`: of the one that pays in advance; None: neither does.

    `day`: today, as `date.toordinal` counts (UTC).
    """

    day: int
    by_key: Spend
    by_organisation: Spend
    balance: int | None = None


def add_charges(rows: Rows, charges: Mapping[tuple[str, int], int]) -> None:
    """Add picodollars to the totals of holders, for exchanges that began on a day (as `date.toordinal` counts).

    The holder "" is who has no key.
    """
    totals: dict[tuple[str, str], int] = {}
    for (holder, day), charge in charges.items():
        for period in PERIODS:
            total = holder, period_name(period, date.fromordinal(day))
            totals[total] = totals.get(total, 0) + charge
    rows.change_all(
        [(statements.ADD_CHARGE, (*total, *divmod(charge, MILLION))) for total, charge in sorted(totals.items())]
    )


def read_spend(rows: Rows, holder: str | None, today: date) -> Spend:
    names = [period_name(period, today) for period in PERIODS]
    found = rows.read(statements.SPEND, holder or "", *names)
    totals = {name: millions * MILLION + rest for name, millions, rest in found}
    day, week, month, ever = (totals.get(name, 0) for name in names)
    return Spend(today=day, week=week, month=month, ever=ever)
