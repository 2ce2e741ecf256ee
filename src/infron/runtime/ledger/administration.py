"""What an operator does with a ledger: each change is one round, with its row in the audit log and a new revision.

It never knows whether a command or the admin API asks, and never decides who may.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

from msgspec import Struct

from infron.errors import PreconditionFailed
from infron.money import usd
from infron.policy.access import Key, Kind
from infron.policy.editing import KeyEdit, OrganisationEdit
from infron.policy.holders import PERIODS, Organisation, Period
from infron.runtime.ledger import audit_log, holders, keys, spend
from infron.runtime.ledger.audit_log import Audited
from infron.runtime.ledger.shown import key_fields, organisation_fields
from infron.runtime.ledger.store import Rows, Store
from infron.runtime.ledger.stores import opened

_T = TypeVar("_T")


class Used(Struct, frozen=True, kw_only=True):
    """What a holder has used: picodollars in the periods of today, exchanges that run now, and its credits, if any."""

    spent: dict[Period, int]
    live: int = 0
    balance: int | None = None

    def fields(self) -> dict[str, Any]:
        """As JSON shows it, in USD."""
        spent = {period: usd(amount) for period, amount in self.spent.items()}
        return {"spent_usd": spent, "live": self.live, "balance_usd": usd(self.balance)}


class Administration:
    """Used by one thread at a time. `actor`: who is written into the audit log. All methods raise InfronError.

    `which`: an id, or what else tells a key or an organisation: its name, or how it begins.
    """

    def __init__(self, store: Store, actor: str, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._actor = actor
        self._clock = clock

    # ---- keys

    def list_keys(self) -> list[Key]:
        """All of them, revoked ones too, oldest first."""
        return keys.read_keys(self._store.reach()) if self._store.exists() else []

    def key(self, which: str) -> Key:
        return self._read(lambda rows: keys.choose(rows, which), lambda: keys.no_key(which))

    def create_key(self, edit: KeyEdit, kind: Kind = "caller") -> tuple[Key, str]:
        """A new key and its secret, which nobody can read again."""
        now = self._now()
        with self._store.round() as rows:
            key, secret = keys.new_key(rows, edit, kind, now)
            self._audit(rows, now, "key.create", key.id, None, key_fields(key))
        return key, secret

    def edit_key(self, which: str, edit: KeyEdit, revision: int | None = None) -> Key:
        """`revision`: that the asker saw; the key must still be so."""
        return self._change_key(which, "key.edit", lambda rows, key, _: keys.edit_key(rows, key, edit), revision)

    def revoke_key(self, which: str, revision: int | None = None) -> Key:
        """Revoking a revoked key changes nothing."""
        return self._change_key(which, "key.revoke", keys.revoke, revision)

    def _change_key(
        self, which: str, action: str, change: Callable[[Rows, Key, int], Key], revision: int | None
    ) -> Key:
        if not self._store.exists():
            raise keys.no_key(which)
        now = self._now()
        with self._store.round() as rows:
            before = keys.choose(rows, which)
            _check(revision, before.revision)
            after = change(rows, before, now)
            if after != before:
                self._audit(rows, now, action, after.id, key_fields(before), key_fields(after))
        return after

    # ---- organisations

    def list_organisations(self) -> list[Organisation]:
        """All of them, closed ones too, oldest first."""
        return list(holders.read_organisations(self._store.reach()).values()) if self._store.exists() else []

    def organisation(self, which: str) -> Organisation:
        return self._read(lambda rows: holders.choose(rows, which), lambda: holders.no_organisation(which))

    def create_organisation(self, edit: OrganisationEdit) -> Organisation:
        now = self._now()
        with self._store.round() as rows:
            made = holders.new_organisation(rows, edit, now)
            self._audit(rows, now, "organisation.create", made.id, None, organisation_fields(made))
        return made

    def edit_organisation(self, which: str, edit: OrganisationEdit, revision: int | None = None) -> Organisation:
        def change(rows: Rows, organisation: Organisation, now: int) -> Organisation:
            return holders.edit_organisation(rows, organisation, edit)

        return self._change_organisation(which, "organisation.edit", change, revision)

    def close_organisation(self, which: str, revision: int | None = None) -> Organisation:
        """Its keys are refused from then on. Closing a closed one changes nothing."""
        return self._change_organisation(which, "organisation.close", holders.close, revision)

    def _change_organisation(
        self,
        which: str,
        action: str,
        change: Callable[[Rows, Organisation, int], Organisation],
        revision: int | None,
    ) -> Organisation:
        if not self._store.exists():
            raise holders.no_organisation(which)
        now = self._now()
        with self._store.round() as rows:
            before = holders.choose(rows, which)
            _check(revision, before.revision)
            after = change(rows, before, now)
            if after != before:
                self._audit(rows, now, action, after.id, organisation_fields(before), organisation_fields(after))
        return after

    def used(self, holder: str) -> Used:
        """What a key or an organisation has used, and what it runs now."""
        if not self._store.exists():
            return Used(spent=dict.fromkeys(PERIODS, 0))
        rows = self._store.reach()
        today = datetime.fromtimestamp(self._clock(), UTC).date()
        found = spend.read_spend(rows, holder, today)
        spent = dict(zip(PERIODS, (found.today, found.week, found.month, found.ever), strict=True))
        return Used(spent=spent, live=holders.live(rows, holder), balance=None)

    # ---- the audit log

    def changes(self, subject: str | None = None, before: str | None = None, limit: int = 100) -> list[Audited]:
        """What was changed, the latest first. `before`: only what is older than the row with this id."""
        return audit_log.read(self._store.reach(), subject, before, limit) if self._store.exists() else []

    def _audit(self, rows: Rows, now: int, action: str, subject: str, before: Any, after: Any) -> None:
        audit_log.record(rows, now, self._actor, action, subject, before, after)
        holders.raise_revision(rows)

    def _read(self, read: Callable[[Rows], _T], missing: Callable[[], Exception]) -> _T:
        if not self._store.exists():  # a mere question must not make a ledger
            raise missing()
        return read(self._store.reach())

    def _now(self) -> int:
        return int(self._clock() * 1000)


@contextmanager
def administration(url: str, actor: str) -> Iterator[Administration]:
    """Of the ledger at this address, for a command."""
    with opened(url) as store:
        yield Administration(store, actor)


def _check(seen: int | None, revision: int) -> None:
    if seen is not None and seen != revision:
        raise PreconditionFailed(
            f"It was changed meanwhile: it has revision {revision}, not {seen}. Read it again, then decide anew."
        )


# ---- for programs: each a ledger opened for one thing


def create_key(url: str, name: str, limit_usd: float | None = None) -> tuple[Key, str]:
    """A new key and its secret. Raises ConfigError, InvalidRequest for a bad limit."""
    budgets: dict[Period, Decimal | None] = {} if limit_usd is None else {"total": Decimal(repr(limit_usd))}
    with administration(url, "program") as administrator:
        return administrator.create_key(KeyEdit(name=name, budgets_usd=budgets))


def list_keys(url: str) -> list[Key]:
    with administration(url, "program") as administrator:
        return administrator.list_keys()


def revoke_key(url: str, which: str) -> Key:
    with administration(url, "program") as administrator:
        return administrator.revoke_key(which)
