"""Marks on open entries: by them an exchange is stopped that another process runs.

It never knows what stopping an exchange means, nor who may.
"""

from __future__ import annotations

from infron.policy.stop import Stop
from infron.runtime.ledger import holders, statements
from infron.runtime.ledger.store import Rows


def mark(rows: Rows, id: str, stop: Stop) -> None:
    """Let the process that runs it find it. One that is marked keeps its mark; one that is over gets none."""
    if rows.change(statements.MARK_STOP, stop.value, id):
        holders.raise_marks(rows)


def mark_key(rows: Rows, key_id: str, stop: Stop) -> int:
    """The same for all that runs under a key. How many that are."""
    marked = rows.change(statements.MARK_STOPS_OF_KEY, stop.value, key_id)
    if marked:
        holders.raise_marks(rows)
    return marked


def marks(rows: Rows, owner: str) -> list[tuple[str, Stop]]:
    """This owner's open entries that are to be stopped."""
    return [(id, Stop(stop)) for id, stop in rows.read(statements.STOPS, owner)]
