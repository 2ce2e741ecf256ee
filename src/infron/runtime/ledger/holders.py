"""Organisations, and the limits of holders, as the ledger keeps them.

It never knows keys or their secrets, nor what was spent.
"""

from __future__ import annotations

from infron.policy.holders import NO_LIMITS, PERIODS, Budget, Limits, Organisation
from infron.runtime.ledger import statements
from infron.runtime.ledger.store import Rows


def read_limits(rows: Rows) -> dict[str, Limits]:
    """The limits of all holders that have any, by the holder's id."""
    budgets: dict[str, list[Budget]] = {}
    for holder, period, ceiling in rows.read(statements.BUDGETS):
        budgets.setdefault(holder, []).append(Budget(period, ceiling))
    return {
        id: Limits(
            requests_per_minute=requests,
            tokens_per_minute=tokens,
            concurrent=concurrent,
            budgets=tuple(sorted(budgets.get(id, ()), key=lambda budget: PERIODS.index(budget.period))),
            account=account,
        )
        for id, requests, tokens, concurrent, account in rows.read(statements.LIMITS)
    }


def set_limits(rows: Rows, holder: str, limits: Limits) -> None:
    """Make these the holder's limits; its account stays. One that never had any gets no row."""
    if limits == NO_LIMITS and holder not in read_limits(rows):
        return
    rows.change(statements.SET_LIMITS, holder, limits.requests_per_minute, limits.tokens_per_minute, limits.concurrent)
    for period in PERIODS:
        ceiling = limits.ceiling(period)
        if ceiling is None:
            rows.change(statements.REMOVE_BUDGET, holder, period)
        else:
            rows.change(statements.SET_BUDGET, holder, period, ceiling)


def read_organisations(rows: Rows) -> dict[str, Organisation]:
    """All organisations, closed ones too, by id, oldest first."""
    limits = read_limits(rows)
    return {
        id: Organisation(
            id=id,
            name=name,
            created_at=created / 1000,
            closed_at=seconds(closed),
            show_remaining=bool(show_remaining),
            revision=revision,
            limits=limits.get(id, NO_LIMITS),
        )
        for id, name, created, closed, show_remaining, revision in rows.read(statements.ORGANISATIONS)
    }


def revision(rows: Rows) -> str:
    """Changes whenever a key, an organisation, a limit or a mark did."""
    return str(rows.read(statements.REVISION)[0][0])


def raise_revision(rows: Rows) -> None:
    """Let every process of the ledger look again."""
    rows.change(statements.RAISE_REVISION, str(int(revision(rows)) + 1))


def seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
