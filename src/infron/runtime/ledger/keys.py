"""API keys in the ledger: how the command line makes, lists and revokes them, and how the gateway reads them.

It never knows a secret for longer than it takes to print it once.
"""

from __future__ import annotations

import math
import secrets
import time

from infron.errors import InvalidRequest, NotFound
from infron.money import PICODOLLARS
from infron.policy.access import SECRET_BYTES, Key, hash_secret, hint, new_secret
from infron.runtime.ledger import statements
from infron.runtime.ledger.store import Rows
from infron.runtime.ledger.stores import opened


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
    with opened(url) as store, store.round() as rows:
        hash = hash_secret(_pepper(rows), secret).hex()
        rows.change(statements.CREATE_KEY, key.id, key.name, key.hint, hash, created, limit)
        _touch(rows)
    return key, secret


def list_keys(url: str) -> list[Key]:
    """All keys, revoked ones too, oldest first. Raises ConfigError."""
    with opened(url) as store:
        return _read_keys(store.reach()) if store.exists() else []


def revoke_key(url: str, which: str) -> Key:
    """Revoke the key with this id, secret or name, or the only one whose id or secret begins so.

    Revoking a revoked key changes nothing. Raises NotFound, InvalidRequest if several keys are meant, ConfigError.
    """
    with opened(url) as store:
        if not store.exists():
            raise NotFound(f"There is no key {_shown(which)}.")
        with store.round() as rows:
            key = _choose(rows, which)
            if key.revoked_at is None:
                rows.change(statements.REVOKE_KEY, int(time.time() * 1000), key.id)
                _touch(rows)
            return next(each for each in _read_keys(rows) if each.id == key.id)


def _choose(rows: Rows, which: str) -> Key:
    keys = _read_keys(rows)
    by_hash = {id for (id,) in rows.read(statements.KEY_BY_HASH, hash_secret(_pepper(rows), which).hex())}
    exact = [key for key in keys if key.id == which or key.id in by_hash]
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
    raise NotFound(f"There is no key {_shown(which)}; `infron keys list` shows those that there are.")


def _shown(which: str) -> str:
    return repr(which if len(which) < 40 else f"{which[:14]}…")  # it may be a whole secret


# ---- what the gateway reads


def revision(rows: Rows) -> str:
    """Changes whenever a key was made or revoked."""
    return str(rows.read(statements.KEYS_REVISION)[0][0])


def usable_keys(rows: Rows) -> tuple[bytes, dict[bytes, Key], bool]:
    """The pepper, the keys that are not revoked by their hash, and whether any key exists at all."""
    keys = {bytes.fromhex(hash): _key(*columns) for hash, *columns in rows.read(statements.HASHED_KEYS)}
    return _pepper(rows), {hash: key for hash, key in keys.items() if key.revoked_at is None}, bool(keys)


def _pepper(rows: Rows) -> bytes:
    return bytes.fromhex(rows.read(statements.PEPPER)[0][0])


def _touch(rows: Rows) -> None:
    rows.change(statements.RAISE_KEYS_REVISION, str(int(revision(rows)) + 1))


def _read_keys(rows: Rows) -> list[Key]:
    return [_key(*row) for row in rows.read(statements.KEYS)]


def _key(id: str, name: str, hint: str, created: int, revoked: int | None, limit: int | None) -> Key:
    return Key(
        id=id,
        name=name,
        hint=hint,
        created_at=created / 1000,
        revoked_at=None if revoked is None else revoked / 1000,
        limit=limit,
    )
