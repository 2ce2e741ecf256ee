"""API keys in the ledger: how they are made, edited, revoked and chosen, and how the gateway reads them.

It never knows a secret for longer than it takes to print it once.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import UNSET

from infron.errors import InvalidRequest, NotFound
from infron.policy.access import SECRET_BYTES, Key, KeyRing, Kind, hash_secret, hint, new_secret
from infron.policy.editing import KeyEdit, moment_of, name_of, patterns_of
from infron.policy.holders import NO_LIMITS, Limits, Organisation
from infron.policy.permissions import EVERYTHING, Permissions
from infron.runtime.ledger import holders, statements
from infron.runtime.ledger.store import Rows, Value

_names = msgspec.json.Decoder(tuple[str, ...])


def new_key(rows: Rows, edit: KeyEdit, kind: Kind, now: int) -> tuple[Key, str]:
    """A new key and its secret, which nobody can read again. Raises InvalidRequest, NotFound."""
    if edit.name is UNSET:
        raise InvalidRequest("A key needs a `name`, such as the program that will use it.", param="name")
    secret = new_secret(secrets.token_bytes(SECRET_BYTES), kind)
    id = f"key_{secrets.token_hex(8)}"
    hash = hash_secret(_pepper(rows), secret).hex()
    rows.change(statements.CREATE_KEY, id, name_of(edit.name), hint(secret), hash, now, kind, None, None, None, None)
    key = key_of(rows, id)
    return _edited(rows, key, edit, first=True), secret


def edit_key(rows: Rows, key: Key, edit: KeyEdit) -> Key:
    """Raises InvalidRequest, NotFound for an organisation that there is not."""
    if key.revoked_at is not None:
        raise InvalidRequest(f"The key {key.id} ({key.name}) is revoked; make a new one.")
    return _edited(rows, key, edit)


def revoke(rows: Rows, key: Key, now: int) -> Key:
    """Revoking a revoked key changes nothing."""
    if key.revoked_at is None:
        rows.change(statements.REVOKE_KEY, now, key.id)
    return key_of(rows, key.id)


def _edited(rows: Rows, key: Key, edit: KeyEdit, *, first: bool = False) -> Key:
    limits = edit.applied(key.limits)
    organisation = key.organisation
    if edit.organisation is not UNSET:
        organisation = None if edit.organisation is None else holders.choose(rows, edit.organisation)
    if organisation is not None and organisation != key.organisation:
        _check_member(key, organisation)
    if key.kind == "admin" and (limits != NO_LIMITS or organisation or edit.models or edit.providers):
        raise InvalidRequest("A key of the admin API has no limits, models or organisation: it asks no models.")
    values: tuple[Value, ...] = (
        key.name if edit.name is UNSET else name_of(edit.name),
        _milliseconds(key.expires_at) if edit.expires_at is UNSET else moment_of(edit.expires_at),
        _stored(key.permissions.models if edit.models is UNSET else patterns_of(edit.models, "models")),
        _stored(key.permissions.providers if edit.providers is UNSET else patterns_of(edit.providers, "providers")),
        organisation.id if organisation else None,
    )
    rows.change(statements.EDIT_KEY, key.id, *values, 0 if first else 1)
    if limits != key.limits:
        holders.set_limits(rows, key.id, limits)
    return key_of(rows, key.id)


def _check_member(key: Key, organisation: Organisation) -> None:
    if organisation.closed_at is not None:
        raise InvalidRequest(f"The organisation {organisation.id} ({organisation.name}) is closed.")
    if key.limits.account is not None:
        raise InvalidRequest(
            f"The key {key.id} has credits of its own, so it cannot pay from an organisation's: make a new key there."
        )


def choose(rows: Rows, which: str) -> Key:
    """The key with this id, secret or name, or the only one whose id or secret begins so.

    Raises NotFound, InvalidRequest if several keys are meant.
    """
    keys = read_keys(rows)
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
    raise no_key(which)


def no_key(which: str) -> NotFound:
    return NotFound(f"There is no key {_shown(which)}; `infron keys list` shows those that there are.")


def _shown(which: str) -> str:
    return repr(which if len(which) < 40 else f"{which[:14]}…")  # it may be a whole secret


def read_keys(rows: Rows) -> list[Key]:
    """All keys, revoked ones too, oldest first."""
    limits = holders.read_limits(rows)
    organisations = holders.read_organisations(rows, limits)
    return [_key(columns, limits, organisations) for columns in rows.read(statements.KEYS)]


def key_of(rows: Rows, id: str) -> Key:
    """Raises NotFound."""
    found = [key for key in read_keys(rows) if key.id == id]
    if not found:
        raise no_key(id)
    return found[0]


# ---- what the gateway reads


def read_ring(rows: Rows, now: float) -> tuple[KeyRing, float]:
    """All keys that are of use now, unix seconds, and until when this holds unless the ledger is changed."""
    limits = holders.read_limits(rows)
    organisations = holders.read_organisations(rows, limits)
    found = rows.read(statements.HASHED_KEYS)
    every = {bytes.fromhex(row[0]): _key(row[1:], limits, organisations) for row in found}
    keys: dict[bytes, Key] = {}
    lapsed: dict[bytes, Key] = {}
    admins: dict[bytes, Key] = {}
    until = math.inf
    for hash, key in every.items():
        if key.revoked_at is not None:
            continue
        if key.lapsed(now):
            lapsed[hash] = key
            continue
        (admins if key.kind == "admin" else keys)[hash] = key
        until = min(until, key.expires_at or math.inf)
    return KeyRing(_pepper(rows), keys, bool(every), lapsed=lapsed, admins=admins), until


def _pepper(rows: Rows) -> bytes:
    return bytes.fromhex(rows.read(statements.PEPPER)[0][0])


def _key(row: Sequence[Any], limits: dict[str, Limits], organisations: dict[str, Organisation]) -> Key:
    id, name, hint, created, revoked, kind, expires, models, providers, organisation, revision = row
    return Key(
        id=id,
        name=name,
        hint=hint,
        created_at=created / 1000,
        revoked_at=holders.seconds(revoked),
        expires_at=holders.seconds(expires),
        kind=kind,
        permissions=EVERYTHING if models is None and providers is None else _permissions(models, providers),
        revision=revision,
        limits=limits.get(id, NO_LIMITS),
        organisation=None if organisation is None else organisations.get(organisation),
    )


@lru_cache(4096)
def _permissions(*stored: str | None) -> Permissions:
    return Permissions(*(None if patterns is None else _names.decode(patterns) for patterns in stored))


def _stored(patterns: tuple[str, ...] | None) -> str | None:
    return None if patterns is None else msgspec.json.encode(patterns).decode()


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
