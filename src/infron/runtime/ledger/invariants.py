"""Whether the ledger adds up: what holders, totals and accounts say is computed anew from the rows that they stand on.

It never changes money. What it can put right is what holders say of their running exchanges.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from msgspec import Struct

from infron.policy.holders import PERIODS, period_name
from infron.runtime.ledger import retention, statements
from infron.runtime.ledger.entries import EPOCH
from infron.runtime.ledger.retention import DAY_MS
from infron.runtime.ledger.statements import MILLION
from infron.runtime.ledger.store import Rows

SYSTEM = frozenset(("cash", "grants", "revenue", "adjustments"))  # accounts without a balance of their own
LATE_MS = 7 * DAY_MS  # how much later than it began an exchange may be charged
# What is checked, by name, and in words for who reads the findings.
INVARIANTS = {
    "live": "running exchanges of a holder",
    "held": "what is held of its budgets for them",
    "spend": "what a holder was charged in a period",
    "balance": "what an account has left",
    "charge": "a transfer and the exchanges that it pays for",
    "settled": "an entry runs, or is settled once",
    "ceiling": "what a holder may spend in a period, with what is held",
}


class Finding(Struct, frozen=True, kw_only=True):
    """Something that does not add up. `said`: by the ledger; `counted`: from the rows below it."""

    invariant: str
    subject: str
    said: int
    counted: int
    period: str = ""


def check(rows: Rows, *, ceilings: bool = False) -> list[Finding]:
    """All that does not add up, from rows of one moment. `ceilings`: also whether what is spent and held keeps every
    budget, but for what exchanges were charged beyond their holds: a budget that was lowered since may not.
    """
    found = [*_running(rows), *_totals(rows), *_accounts(rows), *_charges(rows), *_outcomes(rows)]
    return [*found, *_ceilings(rows)] if ceilings else found


def repair(rows: Rows) -> list[Finding]:
    """Let holders say what their running exchanges do. What was put right."""
    found = list(_running(rows))
    for holder in sorted({finding.subject for finding in found}):
        rows.change(statements.COUNT_RUNNING, holder)
    return found


def _running(rows: Rows) -> Iterator[Finding]:
    counted: dict[str, tuple[int, int]] = {}
    for statement in (statements.RUNNING_BY_KEY, statements.RUNNING_BY_ORGANISATION):
        for holder, live, held in rows.read(statement):
            counted[holder] = int(live), int(held)
    for holder, live, held in rows.read(statements.HOLDERS):
        really = counted.get(holder, (0, 0))
        if live != really[0]:
            yield Finding(invariant="live", subject=holder, said=live, counted=really[0])
        if held != really[1]:
            yield Finding(invariant="held", subject=holder, said=held, counted=really[1])


def _totals(rows: Rows) -> Iterator[Finding]:
    counted: dict[tuple[str, str], int] = {}
    for statement in (statements.CHARGED_BY_KEY, statements.CHARGED_BY_ORGANISATION):
        for holder, day, millions, millionths, rest in rows.read(statement):
            charge = int(millions) * MILLION + int(millionths) * 1_000_000 + int(rest)
            for period in PERIODS if charge else ():
                total = holder or "", period_name(period, date.fromordinal(EPOCH + day))
                counted[total] = counted.get(total, 0) + charge
    said = {(holder, name): millions * MILLION + rest for holder, name, millions, rest in rows.read(statements.SPENDS)}
    if kept := retention.kept_from(rows):
        counted = _with_what_is_gone(counted, said, date.fromordinal(EPOCH + kept // DAY_MS))
    for holder, name in sorted(said.keys() | counted.keys()):
        spent, charged = said.get((holder, name), 0), counted.get((holder, name), 0)
        if spent != charged:
            yield Finding(invariant="spend", subject=holder, period=name, said=spent, counted=charged)


def _with_what_is_gone(
    counted: dict[tuple[str, str], int], said: dict[tuple[str, str], int], first: date
) -> dict[tuple[str, str], int]:
    """The same where entries of days before `first` may be gone: of those days only their own totals are left."""
    begin = first.isoformat()
    days = {total: charge for total, charge in counted.items() if _is_of(total[1], "day") and total[1] >= begin}
    days |= {total: charge for total, charge in said.items() if _is_of(total[1], "day") and total[1] < begin}
    sums: dict[tuple[str, str], int] = {}
    for (holder, day), charge in days.items():
        for period in PERIODS:
            total = holder, period_name(period, date.fromisoformat(day))
            sums[total] = sums.get(total, 0) + charge
    return sums


def _accounts(rows: Rows) -> Iterator[Finding]:
    moved: dict[str, int] = {}
    for source, target, millions, millionths, rest in rows.read(statements.MOVED):
        total = int(millions) * MILLION + int(millionths) * 1_000_000 + int(rest)
        moved[source] = moved.get(source, 0) - total
        moved[target] = moved.get(target, 0) + total
    said = {id: millions * MILLION + rest for id, _, millions, rest in rows.read(statements.ACCOUNTS)}
    for id in sorted(said.keys() | (moved.keys() - SYSTEM)):
        if said.get(id, 0) != moved.get(id, 0):
            yield Finding(invariant="balance", subject=id, said=said.get(id, 0), counted=moved.get(id, 0))


def _charges(rows: Rows) -> Iterator[Finding]:
    kept = retention.kept_from(rows)
    for id, created_ms, millions, amount, paid_millions, millionths, rest in rows.read(statements.PAID_BY):
        said = millions * MILLION + amount
        counted = int(paid_millions or 0) * MILLION + int(millionths or 0) * 1_000_000 + int(rest or 0)
        # Of an early one some of the entries may be gone: it cannot be less than those that are left.
        if said < counted or (said > counted and not (kept and created_ms < kept + LATE_MS)):
            yield Finding(invariant="charge", subject=id, said=said, counted=counted)


def _outcomes(rows: Rows) -> Iterator[Finding]:
    for id, outcome, settled in rows.read(statements.HALF_SETTLED):
        yield Finding(invariant="settled", subject=id, said=int(outcome is not None), counted=int(settled is not None))


def _ceilings(rows: Rows) -> Iterator[Finding]:
    budgets: dict[str, list[tuple[str, int]]] = {}
    for holder, period, ceiling in rows.read(statements.BUDGETS):
        budgets.setdefault(holder, []).append((period, ceiling))
    taken: dict[tuple[str, str], int] = {}
    beyond: dict[str, int] = {}
    for key, organisation, created_ms, hold, millions, rest in rows.read(statements.HOLDS_AND_CHARGES):
        day = date.fromordinal(EPOCH + created_ms // 86_400_000)
        charge = None if rest is None else millions * MILLION + rest
        for holder in (key, organisation):
            if holder in budgets:
                beyond[holder] = beyond.get(holder, 0) + max(0, (charge or 0) - hold)
                for period in PERIODS:
                    total = holder, period_name(period, day)
                    taken[total] = taken.get(total, 0) + (hold if charge is None else charge)
    for (holder, name), amount in sorted(taken.items()):
        for period, ceiling in budgets[holder]:
            if _is_of(name, period) and amount > ceiling + beyond[holder]:
                yield Finding(invariant="ceiling", subject=holder, period=name, said=ceiling, counted=amount)


def _is_of(name: str, period: str) -> bool:
    if period == "total":
        return name == "ever"
    return {10: "day", 8: "week", 7: "month"}.get(len(name)) == period
