"""What an operator says of a key or an organisation, checked, and what becomes of its limits by that.

It never knows who says it, nor where keys are kept.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType

from infron.errors import InvalidRequest
from infron.money import PICODOLLARS
from infron.policy.holders import PERIODS, Budget, Limits, Period

MOST_USD = 9_000_000  # in one amount: 64 bits of picodollars
MOST_PATTERNS = 100
MOST_NAME = 200  # characters
_MOST_RATE = 1_000_000_000

Rate = Annotated[int, Meta(ge=1, le=_MOST_RATE)]
_T = TypeVar("_T")


class LimitsEdit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be so from now on: what is left out stays as it is, None takes a limit away."""

    requests_per_minute: Rate | UnsetType | None = UNSET
    tokens_per_minute: Rate | UnsetType | None = UNSET
    concurrent: Rate | UnsetType | None = UNSET
    budgets_usd: dict[Period, Decimal | None] | UnsetType | None = UNSET

    def applied(self, limits: Limits) -> Limits:
        """The limits by then. Raises InvalidRequest for a budget that is no amount of money."""
        return Limits(
            requests_per_minute=given(self.requests_per_minute, limits.requests_per_minute),
            tokens_per_minute=given(self.tokens_per_minute, limits.tokens_per_minute),
            concurrent=given(self.concurrent, limits.concurrent),
            budgets=self._budgets(limits),
            account=limits.account,
        )

    def _budgets(self, limits: Limits) -> tuple[Budget, ...]:
        if self.budgets_usd is None:
            return ()
        ceilings: dict[Period, int | None] = {budget.period: budget.ceiling for budget in limits.budgets}
        if self.budgets_usd is not UNSET:
            for period, amount in self.budgets_usd.items():
                ceilings[period] = None if amount is None else picodollars(amount, f"budgets_usd.{period}")
        kept = ((period, ceilings.get(period)) for period in PERIODS)
        return tuple(Budget(period, ceiling) for period, ceiling in kept if ceiling is not None)


class KeyEdit(LimitsEdit, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`organisation`: its id or name. `expires_at`: ISO 8601, in UTC unless it says otherwise, or unix seconds."""

    name: str | UnsetType = UNSET
    organisation: str | UnsetType | None = UNSET
    expires_at: str | float | UnsetType | None = UNSET
    models: list[str] | UnsetType | None = UNSET
    providers: list[str] | UnsetType | None = UNSET


class OrganisationEdit(LimitsEdit, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`show_remaining`: whether the callers of its keys are told what is left of its budgets and credits."""

    name: str | UnsetType = UNSET
    show_remaining: bool | UnsetType = UNSET


def given(value: _T | UnsetType, before: _T) -> _T:
    return before if value is UNSET else value


def picodollars(amount: Decimal, param: str) -> int:
    """The amount as an exact number. Raises InvalidRequest."""
    if not amount.is_finite() or not 0 <= amount <= MOST_USD:
        raise InvalidRequest(f"`{param}` must be dollars from 0 to {MOST_USD:,}.", param=param)
    exact = amount * PICODOLLARS
    if exact != int(exact):
        raise InvalidRequest(f"`{param}` is finer than a picodollar (twelve decimals).", param=param)
    return int(exact)


def name_of(text: str) -> str:
    """A name as it is kept. Raises InvalidRequest."""
    name = text.strip()
    if not name or len(name) > MOST_NAME:
        raise InvalidRequest(f"`name` must have 1 to {MOST_NAME} characters.", param="name")
    return name


def patterns_of(patterns: list[str] | None, param: str) -> tuple[str, ...] | None:
    """Patterns of models or providers. Raises InvalidRequest."""
    if patterns is None:
        return None
    kept = tuple(dict.fromkeys(pattern.strip() for pattern in patterns))
    if not 1 <= len(kept) <= MOST_PATTERNS:
        raise InvalidRequest(
            f"`{param}` must list 1 to {MOST_PATTERNS} patterns such as `openai/*`; null allows all.", param=param
        )
    for pattern in kept:
        if not pattern or len(pattern) > MOST_NAME or any(map(str.isspace, pattern)):
            raise InvalidRequest(f"`{param}` holds {pattern[:50]!r}, which is no pattern of a name.", param=param)
    return kept


def moment_of(value: str | float | None, param: str = "expires_at") -> int | None:
    """Unix milliseconds. Raises InvalidRequest."""
    if value is None:
        return None
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        else:
            moment = datetime.fromtimestamp(value, UTC)
        return int(moment.timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise InvalidRequest(
            f"`{param}` must be a time such as 2026-12-31T18:00:00Z, or unix seconds.", param=param
        ) from None
