"""The audit log: who changed what, when, and how it was before. Rows are added to it, and never changed.

It never knows a secret, for what it is given has none.
"""

from __future__ import annotations

import itertools
import secrets
from typing import Any

import msgspec
from msgspec import Struct

from infron.runtime.ledger import statements
from infron.runtime.ledger.store import Rows

_json = msgspec.json.Encoder()
_numbers = itertools.count()


class Audited(Struct, frozen=True, kw_only=True):
    """One change. `before`, `after`: what was changed, as the admin API shows it; None: it was not there."""

    id: str
    at: float  # unix seconds
    actor: str
    action: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def record(rows: Rows, now: int, actor: str, action: str, subject: str, before: Any = None, after: Any = None) -> None:
    """Add a row, in the round of the change itself. `now` in unix ms; `before`, `after`: as JSON shows it."""
    told = (None if value is None else _json.encode(value).decode() for value in (before, after))
    rows.change(statements.AUDIT, new_id("log", now), now, actor, action, subject, *told)


def read(rows: Rows, subject: str | None, before: str | None, limit: int) -> list[Audited]:
    """The latest changes, newest first: of one subject, or of all. `before`: those older than this one's id."""
    found = rows.read(statements.AUDITED, subject, before, limit)
    return [
        Audited(
            id=id,
            at=at / 1000,
            actor=actor,
            action=action,
            subject=of,
            before=None if was is None else msgspec.json.decode(was),
            after=None if became is None else msgspec.json.decode(became),
        )
        for id, at, actor, action, of, was, became in found
    ]


def new_id(prefix: str, now: int) -> str:
    """An id in the order of its time (unix ms), and of this process within it."""
    return f"{prefix}-{now:013d}{next(_numbers) % 0x1000:03x}-{secrets.token_hex(6)}"
