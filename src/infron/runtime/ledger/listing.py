"""The exchanges of one key, in pages: those that run, and those that are over.

It never knows who asks, nor whether they may.
"""

from __future__ import annotations

from msgspec import Struct

from infron.runtime.ledger import statements
from infron.runtime.ledger.receipts import Receipt, receipt_of
from infron.runtime.ledger.store import Rows
from infron.runtime.ledger.stores import opened

# No index leads to the entries of a key, for it would cost each exchange what a list is seldom asked for. So many are
# looked at for a page; where more are left, it says so, and from where on.
LOOKED_AT = 100_000
_AFTER_ALL = "h"  # ids begin with `gen-`


class Page(Struct, frozen=True):
    """The newest first. `more`: there may be others, which are found after the id `last`."""

    receipts: list[Receipt]
    more: bool
    last: str | None


def past_page(url: str, key_id: str | None, *, limit: int, after: str | None) -> Page:
    """Those that are over. By a connection of its own, for it may take half a second: a thread's work."""
    with opened(url) as store:
        return read_past(store.reach(), key_id, limit=limit, after=after)


def read_past(rows: Rows, key_id: str | None, *, limit: int, after: str | None, looked_at: int = LOOKED_AT) -> Page:
    before = after or _AFTER_ALL
    further = rows.read(statements.LOOKED_AT, before, looked_at - 1)
    until = further[0][0] if further else ""
    found = rows.read(statements.PAST, key_id or "", before, until, limit + 1)
    receipts = [receipt_of(row) for row in found[:limit]]
    if len(found) > limit:
        return Page(receipts, True, receipts[-1].id)
    return Page(receipts, bool(further), until or (receipts[-1].id if receipts else None))


def read_live(rows: Rows, key_id: str | None, *, limit: int, after: str | None) -> Page:
    """Those that run."""
    found = rows.read(statements.LIVE_OF_KEY, key_id or "", after or _AFTER_ALL, limit + 1)
    receipts = [receipt_of(row) for row in found[:limit]]
    return Page(receipts, len(found) > limit, receipts[-1].id if receipts else None)
