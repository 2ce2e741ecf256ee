"""What has limits: a key, or an organisation above several keys; and what the periods of budgets are called.

It never knows what was spent, nor what time it is.
"""

from __future__ import annotations

from datetime import date
from typing import Literal, get_args

from msgspec import Struct

Period = Literal["day", "week", "month", "total"]
PERIODS: tuple[Period, ...] = get_args(Period)


class Budget(Struct, frozen=True):
    """The most that may be spent in each period, in picodollars. Periods begin at 00:00 UTC, weeks on Monday."""

    period: Period
    ceiling: int


class Limits(Struct, frozen=True, kw_only=True):
    """What one holder may use; None: as much as it likes. `account`: where what it pays in advance is kept."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None  # exchanges at once
    budgets: tuple[Budget, ...] = ()  # in the order of PERIODS
    account: str | None = None

    def ceiling(self, period: Period) -> int | None:
        """Picodollars of this period's budget."""
        return next((budget.ceiling for budget in self.budgets if budget.period == period), None)

    @property
    def on_money(self) -> bool:
        """Whether what may be spent is limited."""
        return bool(self.budgets) or self.account is not None


NO_LIMITS = Limits()


class Organisation(Struct, frozen=True, kw_only=True):
    """It stands above its keys: what they use together keeps its limits. `revision`: raised by each change of it."""

    id: str  # org_…
    name: str
    created_at: float
    closed_at: float | None = None
    show_remaining: bool = False  # to its keys' callers
    revision: int = 1
    limits: Limits = NO_LIMITS


def period_name(period: Period, day: date) -> str:
    """What the period that holds this day is called in the ledger: `2026-11-28`, `2026-W48`, `2026-11`, `ever`."""
    if period == "day":
        return day.isoformat()
    if period == "week":
        year, week, _ = day.isocalendar()
        return f"{year}-W{week:02}"
    return day.isoformat()[:7] if period == "month" else "ever"
