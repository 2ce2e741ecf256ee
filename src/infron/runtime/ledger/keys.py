"""API keys in the ledger: how the command line makes, lists and revokes them, and how the gateway reads them.

It never knows a secret for longer than it takes to print it once.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from infron.errors import InvalidRequest, NotFound
from infron.money import PICODOLLARS
from infron.policy.access import SECRET_BYTES, Key, hash_secret, hint, new_secret
from infron.policy.holders import NO_LIMITS, Budget, Limits, Organisation
from infron.runtime.ledger import holders, statements
from infron.runtime.ledger.store import Rows
from infron.runtime.ledger.stores import opened

_names = msgspec.json.Decoder(tuple[str, ...])


def create_key(url: str, name: str, limit_usd: float | None = None) -> tuple[Key, str]:
    """A new key and its secret, which nobody can read again. Raises ConfigError, InvalidRequest for a bad limit."""
    limits = NO_LIMITS
    if limit_usd is not None:
        if not math.isfinite(limit_usd) or not 0 <= limit_usd <= 9_000_000:
            raise InvalidRequest("A key's limit is a number of dollars from 0 to 9,000,000.")
        limits = Limits(budgets=(Budget("total", round(limit_usd * PICODOLLARS)),))
    secret = new_secret(secrets.token_bytes(SECRET_BYTES))
    created = int(time.time() * 1000)
    key = Key(id=f"key_{secrets.token_hex(8)}", name=name, hint=hint(secret), created_at=created / 1000, limits=limits)
    with opened(url) as store, store.round() as rows:
        hash = hash_secret(_pepper(rows), secret).hex()
        rows.change(statements.CREATE_KEY, key.id, key.name, key.hint, hash, created, "caller", None, None, None, None)
        holders.set_limits(rows, key.id, limits)
        holders.raise_revision(rows)
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
                holders.raise_revision(rows)
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


def usable_keys(rows: Rows) -> tuple[bytes, dict[bytes, Key], bool]:
    """The pepper, the callers' keys that are not revoked by their hash, and whether any key exists at all."""
    found = rows.read(statements.HASHED_KEYS)
    limits, organisations = holders.read_limits(rows), holders.read_organisations(rows)
    keys = {bytes.fromhex(hash): _key(columns, limits, organisations) for hash, *columns in found}
    usable = {hash: key for hash, key in keys.items() if key.revoked_at is None and key.kind == "caller"}
    return _pepper(rows), usable, bool(keys)


def _pepper(rows: Rows) -> bytes:
    return bytes.fromhex(rows.read(statements.PEPPER)[0][0])


def _read_keys(rows: Rows) -> list[Key]:
    limits, organisations = holders.read_limits(rows), holders.read_organisations(rows)
    return [_key(columns, limits, organisations) for columns in rows.read(statements.KEYS)]


def _key(columns: Sequence[Any], limits: dict[str, Limits], organisations: dict[str, Organisation]) -> Key:
    row = dict(zip(statements.KEY, columns, strict=True))
    return Key(
        id=row["id"],
        name=row["name"],
        hint=row["hint"],
        created_at=row["created_ms"] / 1000,
        revoked_at=holders.seconds(row["revoked_ms"]),
        expires_at=holders.seconds(row["expires_ms"]),
        kind=row["kind"],
        models=_patterns(row["models"]),
        providers=_patterns(row["providers"]),
        revision=row["revision"],
        limits=limits.get(row["id"], NO_LIMITS),
        organisation=organisations.get(row["organisation"]),
    )


def _patterns(stored: str | None) -> tuple[str, ...] | None:
    return None if stored is None else _names.decode(stored)
