"""How long settled entries are kept: what is older than so many days goes, in small steps.

What holders were charged stays in their totals, and the journal and the audit log stay as a whole. It never touches an
entry that is open.
"""

from __future__ import annotations

import re

from infron.runtime.ledger import statements
from infron.runtime.ledger.store import Rows

DAY_MS = 86_400_000
STEP = 500  # entries that one round removes: some milliseconds, for which nobody's stream waits


def keeps_from(now: int, keep_days: int) -> int:
    """The moment from which on all entries are kept, the beginning of a day (UTC); 0: from ever. In unix ms."""
    return (now // DAY_MS - keep_days) * DAY_MS if keep_days else 0


def any_older(rows: Rows, first: int) -> bool:
    """Whether there is an entry to be removed. `first`: `keeps_from`."""
    return bool(rows.read(statements.OLDER, _id_from(first), first))


def remove_older(rows: Rows, first: int) -> int:
    """Remove a step of them, and remember that what began before `first` may be gone. How many that were."""
    rows.change(statements.KEPT_FROM, str(max(first, kept_from(rows))))
    return rows.change(statements.REMOVE_OLDER, _id_from(first), first, STEP)


def kept_from(rows: Rows) -> int:
    """Of what began before this moment (unix ms) entries may be gone, so their sums prove nothing; 0: none are."""
    found = rows.read(statements.KEEPS_FROM)
    return int(found[0][0]) if found else 0


def began_before(id: str, first: int) -> bool:
    """Whether the exchange with this id began before the moment (unix ms), by the id itself."""
    found = re.match(r"gen-(\d{10})-", id)
    return found is not None and int(found[1]) * 1000 < first


def _id_from(first: int) -> str:
    """What no id of an older entry comes after."""
    return f"gen-{first // 1000:010d}-"
