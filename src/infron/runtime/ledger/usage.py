"""What was used and what it cost: sums over settled entries.

It never changes anything.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct

from infron.errors import InvalidRequest
from infron.runtime.ledger import statements
from infron.runtime.ledger.statements import MILLION
from infron.runtime.ledger.store import LARGEST, Rows

By = Literal["model", "provider", "key", "day"]


class UsageRow(Struct, frozen=True, kw_only=True):
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


def read_usage(rows: Rows, by: By, since: float | None) -> list[UsageRow]:
    """One row for each group: days by date, the others by what they were charged. Raises InvalidRequest."""
    if by not in statements.USAGE_BY:
        raise InvalidRequest(f"Usage can be shown by {', '.join(statements.USAGE_BY)}; not by {by}.")
    sums = rows.read(statements.USAGE_BY[by], -LARGEST if since is None else math.ceil(since * 1000))
    names: dict[str, str] = dict(rows.read(statements.KEY_NAMES)) if by == "key" else {}
    found = []
    for group, *counts in sums:
        exchanges, prompt, completion, *money, unpriced, uncosted, estimated = map(int, counts)
        if by == "day":
            name = datetime.fromtimestamp(group * 86400, UTC).date().isoformat()
        elif by == "key":
            name = "(no key)" if group is None else names.get(group) or group
        else:
            name = group
        found.append(
            UsageRow(
                name=name,
                exchanges=exchanges,
                prompt=prompt,
                completion=completion,
                cost=_sum(*money[:3]),
                charge=_sum(*money[3:]),
                unpriced=unpriced,
                uncosted=uncosted,
                estimated=estimated,
            )
        )
    return sorted(found, key=lambda row: row.name if by == "day" else (-row.charge, row.name))


def _sum(millions: int, millionths: int, rest: int) -> int:
    return millions * MILLION + millionths * 1_000_000 + rest
