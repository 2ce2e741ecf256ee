"""What was used and what it cost: sums over settled entries.

It never changes anything.
"""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime
from typing import Literal, get_args

from msgspec import Struct

from infron.errors import InvalidRequest
from infron.policy.holders import Period, period_name
from infron.runtime.ledger import statements
from infron.runtime.ledger.statements import MILLION
from infron.runtime.ledger.store import LARGEST, Rows

By = Literal["model", "provider", "key", "organisation", "user", "day", "week", "month"]
DATES: dict[By, Period] = {"day": "day", "week": "week", "month": "month"}


class UsageRow(Struct, frozen=True):
    """Sums over settled exchanges. Money in picodollars.

    `unpriced` exchanges, whose charge is unknown, add none; `uncosted` ones are charged, and nobody knows what the
    provider bills for them: they add nothing to `cost`.
    """

    name: str
    exchanges: int
    prompt: int
    completion: int
    cost: int
    charge: int
    unpriced: int
    uncosted: int
    estimated: int


class Scope(Struct, frozen=True, kw_only=True):
    """Which exchanges are summed: those that began at or after `since` and before `until` (unix seconds), of one key
    and one organisation, by their ids.
    """

    since: float | None = None
    until: float | None = None
    key: str | None = None
    organisation: str | None = None


EVERYTHING = Scope()


def read_usage(rows: Rows, by: By, scope: Scope = EVERYTHING) -> list[UsageRow]:
    """One row for each group: days, weeks and months by date, the others by what they were charged.

    Raises InvalidRequest.
    """
    if by not in get_args(By):
        raise InvalidRequest(f"Usage can be shown by {', '.join(get_args(By))}; not by {by}.")
    told = statements.USAGE_BY["day" if by in DATES else by]
    found = rows.read(told, _ms(scope.since, -LARGEST), _ms(scope.until, LARGEST), scope.key, scope.organisation)
    names = _names(rows, by)
    groups: dict[str, list[int]] = {}
    for group, *counts in found:
        exchanges, prompt, completion, *money, unpriced, uncosted, estimated = map(int, counts)
        sums = [exchanges, prompt, completion, _sum(*money[:3]), _sum(*money[3:]), unpriced, uncosted, estimated]
        name = _date(group, by) if by in DATES else names.get(group) or group or f"(no {by})"
        before = groups.get(name, [0] * len(sums))
        groups[name] = [one + more for one, more in zip(before, sums, strict=True)]
    usage = [UsageRow(name, *sums) for name, sums in groups.items()]
    return sorted(usage, key=lambda row: (0 if by in DATES else -row.charge, row.name))


def _date(day: int, by: By) -> str:
    return period_name(DATES[by], datetime.fromtimestamp(day * 86400, UTC).date())


def _names(rows: Rows, by: By) -> dict[str | None, str]:
    """What keys and organisations are called; where several have a name, with their ids."""
    if by not in ("key", "organisation"):
        return {}
    found = rows.read(statements.KEY_NAMES if by == "key" else statements.ORGANISATION_NAMES)
    names = Counter(name for _, name in found)
    return {id: name if names[name] == 1 else f"{name} ({id})" for id, name in found}


def _ms(seconds: float | None, otherwise: int) -> int:
    return otherwise if seconds is None else math.ceil(seconds * 1000)


def _sum(millions: int, millionths: int, rest: int) -> int:
    return millions * MILLION + millionths * 1_000_000 + rest
