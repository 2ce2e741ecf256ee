"""Holders as the ledger keeps them: what a round reads of them, and writes back.

It never decides anything, and never knows why a counter moves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date

import msgspec

from infron.policy.holders import PERIODS, Budget, Limits, Period, period_name
from infron.policy.limits import Standing
from infron.runtime.ledger import statements
from infron.runtime.ledger.statements import MILLION
from infron.runtime.ledger.store import Rows

_json = msgspec.json.Encoder()


def read_standings(rows: Rows, holders: Collection[str], days: Collection[int]) -> dict[str, Standing]:
    """The state of each of these that has limits, locked until the round ends. `days`: of which their spend is read."""
    ids = listed(sorted(set(holders)))
    found = rows.read(statements.STANDINGS, ids)
    if not found:
        return {}
    budgets: dict[str, list[Budget]] = {}
    for holder, period, ceiling in rows.read(statements.BUDGETS_OF, ids):
        budgets.setdefault(holder, []).append(Budget(period, ceiling))
    spent: dict[str, dict[str, int]] = {}
    if budgets:
        named = listed(sorted(_names(days, (budget.period for each in budgets.values() for budget in each))))
        for holder, name, millions, charge in rows.read(statements.SPENT_OF, ids, named):
            spent.setdefault(holder, {})[name] = millions * MILLION + charge
    balances: dict[str, int] = {}
    if any(account is not None for *_, account in found):
        for id, millions, balance in rows.read(statements.BALANCES_OF, ids):
            balances[id] = millions * MILLION + balance
    standings = {}
    for (
        id,
        requests,
        tokens,
        concurrent,
        live,
        held,
        requests_filled,
        tokens_filled,
        filled_us,
        *ends,
        account,
    ) in found:
        standings[id] = Standing(
            id=id,
            kind="organisation" if id.startswith("org_") else "key",
            limits=Limits(
                requests_per_minute=requests,
                tokens_per_minute=tokens,
                concurrent=concurrent,
                budgets=tuple(sorted(budgets.get(id, ()), key=lambda budget: PERIODS.index(budget.period))),
                account=account,
            ),
            closed_ms=min((end for end in ends if end is not None), default=None),
            live=live,
            held=held,
            requests_filled=requests_filled,
            tokens_filled=tokens_filled,
            filled_us=filled_us,
            spent=spent.get(id, {}),
            balance=balances.get(id) if account is not None else None,
        )
    return standings


def write_standings(rows: Rows, standings: Iterable[Standing]) -> None:
    """Write what has changed. Raises UnusableRow, which the round must not survive: counters move with their rows."""
    for each in standings:
        if each.changed:
            rows.change(
                statements.SET_STANDING,
                each.id, each.live, each.held, each.requests_filled, each.tokens_filled, each.filled_us,
            )  # fmt: skip


def listed(values: Collection[str]) -> str:
    """Values as a statement takes a list of them."""
    return _json.encode(values).decode()


def _names(days: Iterable[int], periods: Iterable[Period]) -> set[str]:
    wanted = set(periods)
    return {period_name(period, date.fromordinal(day)) for day in days for period in wanted}
