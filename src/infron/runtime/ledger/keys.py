"""API keys in the ledger's file, and what they spent: how the command line and the gateway read and change them.

It never knows a secret for longer than it takes to print it once.
"""

from __future__ import annotations

import math
import secrets
import sqlite3
import time
from contextlib import closing
from datetime import date, timedelta

from msgspec import Struct

from infron.errors import InvalidRequest, NotFound
from infron.money import PICODOLLARS
from infron.policy.access import SECRET_BYTES, Key, hash_secret, hint, new_secret
from infron.runtime.ledger import sqlite

_COLUMNS = "id, name, hint, created_ms, revoked_ms, spend_limit"


class Spend(Struct, frozen=True, kw_only=True):
    """Picodollars charged today, this week (from Monday), this month and ever; days end at 00:00 UTC.

    An exchange belongs to the day on which it began.
    """

    today: int = 0
    week: int = 0
    month: int = 0
    ever: int = 0


def create_key(url: str, name: str, limit_usd: float | None = None) -> tuple[Key, str]:
    """A new key and its secret, which nobody can read again. Raises ConfigError, InvalidRequest for a bad limit."""
    limit = None
    if limit_usd is not None:
        if not math.isfinite(limit_usd) or not 0 <= limit_usd <= 9_000_000:
            raise InvalidRequest("A key's limit is a number of dollars from 0 to 9,000,000.")
        limit = round(limit_usd * PICODOLLARS)
    secret = new_secret(secrets.token_bytes(SECRET_BYTES))
    created = int(time.time() * 1000)
    key = Key(id=f"key_{secrets.token_hex(8)}", name=name, hint=hint(secret), created_at=created / 1000, limit=limit)
    with closing(sqlite.connect(url)) as connection, sqlite.transaction(connection) as cursor:
        cursor.execute(
            "INSERT INTO keys (id, name, hint, hash, created_ms, spend_limit) VALUES (?, ?, ?, ?, ?, ?)",
            (key.id, name, key.hint, hash_secret(_pepper(cursor), secret).hex(), created, limit),
        )
        _touch(cursor)
    return key, secret


def list_keys(url: str) -> list[Key]:
    """All keys, revoked ones too, oldest first. Raises ConfigError."""
    if not sqlite.path_of(url).exists():
        return []
    with closing(sqlite.connect(url)) as connection:
        return _read_keys(connection)


def revoke_key(url: str, which: str) -> Key:
    """Revoke the key with this id, secret or name, or the only one whose id or secret begins so.

    Revoking a revoked key changes nothing. Raises NotFound, InvalidRequest if several keys are meant, ConfigError.
    """
    if not sqlite.path_of(url).exists():
        raise NotFound(f"There is no key {_shown(which)}.")
    with closing(sqlite.connect(url)) as connection, sqlite.transaction(connection) as cursor:
        key = _choose(cursor, which)
        if key.revoked_at is None:
            cursor.execute("UPDATE keys SET revoked_ms = ? WHERE id = ?", (int(time.time() * 1000), key.id))
            _touch(cursor)
        return next(each for each in _read_keys(cursor) if each.id == key.id)


def _choose(cursor: sqlite3.Cursor, which: str) -> Key:
    keys = _read_keys(cursor)
    by_hash = cursor.execute(
        "SELECT id FROM keys WHERE hash = ?", (hash_secret(_pepper(cursor), which).hex(),)
    ).fetchone()
    exact = [key for key in keys if key.id == which or (by_hash and key.id == by_hash[0])]
    named = [key for key in keys if key.name == which]
    begun = [
        key
        for key in keys
        if which and (key.id.startswith(which) or key.hint.partition("…")[0].startswith(which) or key.hint == which)
    ]
    for found in (exact, named, begun):
        usable = [key for key in found if key.revoked_at is None]
        if len(usable) > 1:
            raise InvalidRequest(f"Several keys are meant by {_shown(which)}: {', '.join(key.id for key in usable)}.")
        if found:
            return usable[0] if usable else found[0]
    raise NotFound(f"There is no key {_shown(which)}.")


def _shown(which: str) -> str:
    return repr(which if len(which) < 40 else f"{which[:14]}…")  # it may be a whole secret


# ---- what the gateway reads


def revision(cursor: sqlite3.Cursor) -> str:
    """Changes whenever a key was made or revoked."""
    return str(cursor.execute("SELECT value FROM meta WHERE name = 'keys_revision'").fetchone()[0])


def usable_keys(cursor: sqlite3.Cursor) -> tuple[bytes, dict[bytes, Key], bool]:
    """The pepper, the keys that are not revoked by their hash, and whether any key exists at all."""
    rows = cursor.execute(f"SELECT hash, {_COLUMNS} FROM keys").fetchall()
    keys = {bytes.fromhex(hash): _key(*columns) for hash, *columns in rows}
    return _pepper(cursor), {hash: key for hash, key in keys.items() if key.revoked_at is None}, bool(keys)


def spent_of_limited(cursor: sqlite3.Cursor) -> dict[str, int]:
    """Picodollars charged so far to each key that has a limit."""
    spent = {id: 0 for (id,) in cursor.execute("SELECT id FROM keys WHERE spend_limit IS NOT NULL")}
    if spent:
        for id, charge in cursor.execute(
            "SELECT keys.id, spend.charge FROM keys JOIN spend ON spend.key_id = keys.id"
            " WHERE keys.spend_limit IS NOT NULL AND length(spend.period) = 7"
        ):
            spent[id] += charge
    return spent


# ---- totals of charges, a row for each key and day and for each key and month


def add_charge(cursor: sqlite3.Cursor, key_id: str | None, day: date, charge: int) -> None:
    """Add picodollars to the totals of a key."""
    periods = (day.isoformat(), day.isoformat()[:7])
    cursor.executemany(
        "INSERT INTO spend (key_id, period, charge) VALUES (?, ?, ?)"
        " ON CONFLICT (key_id, period) DO UPDATE SET charge = spend.charge + excluded.charge",
        [(key_id or "", period, charge) for period in periods],
    )


def read_spend(cursor: sqlite3.Cursor, key_id: str | None, today: date) -> Spend:
    rows: dict[str, int] = dict(
        cursor.execute("SELECT period, charge FROM spend WHERE key_id = ?", (key_id or "",)).fetchall()
    )
    week = [today - timedelta(days=back) for back in range(today.weekday() + 1)]
    return Spend(
        today=rows.get(today.isoformat(), 0),
        week=sum(rows.get(day.isoformat(), 0) for day in week),
        month=rows.get(today.isoformat()[:7], 0),
        ever=sum(charge for period, charge in rows.items() if len(period) == 7),
    )


def _pepper(cursor: sqlite3.Cursor) -> bytes:
    return bytes.fromhex(cursor.execute("SELECT value FROM meta WHERE name = 'pepper'").fetchone()[0])


def _touch(cursor: sqlite3.Cursor) -> None:
    number = int(revision(cursor)) + 1
    cursor.execute("UPDATE meta SET value = ? WHERE name = 'keys_revision'", (str(number),))


def _read_keys(source: sqlite3.Cursor | sqlite3.Connection) -> list[Key]:
    return [_key(*row) for row in source.execute(f"SELECT {_COLUMNS} FROM keys ORDER BY created_ms, id")]


def _key(id: str, name: str, hint: str, created: int, revoked: int | None, limit: int | None) -> Key:
    return Key(
        id=id,
        name=name,
        hint=hint,
        created_at=created / 1000,
        revoked_at=None if revoked is None else revoked / 1000,
        limit=limit,
    )
