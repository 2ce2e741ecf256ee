"""What an operator does with a ledger: each change is one round, with its row in the audit log and a new revision.

It never knows whether a command or the admin API asks, and never decides who may.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, TypeVar

from msgspec import Struct

from infron.errors import InvalidRequest, NotFound, PreconditionFailed
from infron.money import usd
from infron.policy.access import Key, Kind
from infron.policy.editing import KeyEdit, OrganisationEdit, picodollars
from infron.policy.holders import PERIODS, Organisation, Period
from infron.policy.stop import Stop
from infron.runtime.ledger import audit_log, holders, invariants, journal, keys, live, owners, spend, stops
from infron.runtime.ledger.audit_log import Audited
from infron.runtime.ledger.invariants import Finding
from infron.runtime.ledger.journal import Transfer
from infron.runtime.ledger.live import Live
from infron.runtime.ledger.receipts import Receipt, read_entry
from infron.runtime.ledger.shown import key_fields, organisation_fields, transfer_fields
from infron.runtime.ledger.store import LARGEST, Rows, Store
from infron.runtime.ledger.stores import opened
from infron.runtime.ledger.usage import By, Scope, UsageRow, read_usage

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

    def key(self, which: str, *, exactly: bool = False) -> Key:
        """`exactly`: `which` must be an id."""
        return self._read(lambda rows: _key(rows, which, exactly), lambda: keys.no_key(which))

    def create_key(self, edit: KeyEdit, kind: Kind = "caller") -> tuple[Key, str]:
        """A new key and its secret, which nobody can read again."""
        now = self._now()
        with self._store.round() as rows:
            key, secret = keys.new_key(rows, edit, kind, now)
            self._audit(rows, now, "key.create", key.id, None, key_fields(key))
        return key, secret

    def edit_key(self, which: str, edit: KeyEdit, revision: int | None = None, *, exactly: bool = False) -> Key:
        """`revision`: that the asker saw; the key must still be so."""

        def change(rows: Rows, key: Key, now: int) -> Key:
            return keys.edit_key(rows, key, edit)

        return self._change_key(which, "key.edit", change, revision, exactly)

    def revoke_key(self, which: str, revision: int | None = None, *, now: bool = False, exactly: bool = False) -> Key:
        """`now`: what runs under it is stopped as well. Revoking a revoked key changes nothing else."""

        def change(rows: Rows, key: Key, at: int) -> Key:
            if now:
                stops.mark_key(rows, key.id, Stop.REVOKED)
            return keys.revoke(rows, key, at)

        return self._change_key(which, "key.revoke", change, revision, exactly)

    def _change_key(
        self,
        which: str,
        action: str,
        change: Callable[[Rows, Key, int], Key],
        revision: int | None,
        exactly: bool,
    ) -> Key:
        if not self._store.exists():
            raise keys.no_key(which)
        now = self._now()
        with self._store.round() as rows:
            before = _key(rows, which, exactly)
            _check(revision, before.revision)
            after = change(rows, before, now)
            if after != before:
                self._audit(rows, now, action, after.id, key_fields(before), key_fields(after))
        return after

    # ---- organisations

    def list_organisations(self) -> list[Organisation]:
        """All of them, closed ones too, oldest first."""
        return list(holders.read_organisations(self._store.reach()).values()) if self._store.exists() else []

    def organisation(self, which: str, *, exactly: bool = False) -> Organisation:
        """`exactly`: `which` must be an id."""
        return self._read(lambda rows: _organisation(rows, which, exactly), lambda: holders.no_organisation(which))

    def create_organisation(self, edit: OrganisationEdit) -> Organisation:
        now = self._now()
        with self._store.round() as rows:
            made = holders.new_organisation(rows, edit, now)
            self._audit(rows, now, "organisation.create", made.id, None, organisation_fields(made))
        return made

    def edit_organisation(
        self, which: str, edit: OrganisationEdit, revision: int | None = None, *, exactly: bool = False
    ) -> Organisation:
        def change(rows: Rows, organisation: Organisation, now: int) -> Organisation:
            return holders.edit_organisation(rows, organisation, edit)

        return self._change_organisation(which, "organisation.edit", change, revision, exactly)

    def close_organisation(self, which: str, revision: int | None = None, *, exactly: bool = False) -> Organisation:
        """Its keys are refused from then on. Closing a closed one changes nothing."""
        return self._change_organisation(which, "organisation.close", holders.close, revision, exactly)

    def _change_organisation(
        self,
        which: str,
        action: str,
        change: Callable[[Rows, Organisation, int], Organisation],
        revision: int | None,
        exactly: bool,
    ) -> Organisation:
        if not self._store.exists():
            raise holders.no_organisation(which)
        now = self._now()
        with self._store.round() as rows:
            before = _organisation(rows, which, exactly)
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
        return Used(spent=spent, live=holders.live(rows, holder), balance=journal.balances(rows).get(holder))

    # ---- credits

    def give_credits(
        self,
        which: str,
        amount: Decimal,
        *,
        grant: bool = False,
        reference: str | None = None,
        note: str | None = None,
    ) -> tuple[Transfer, bool]:
        """Add what was paid in advance, or is granted, and whether that is new: a reference counts once.

        From the first amount on the key or organisation pays in advance.
        """
        kind: Literal["top-up", "grant"] = "grant" if grant else "top-up"
        exact, now = picodollars(amount, "amount_usd"), self._now()
        with self._store.round() as rows:
            account, first = journal.open_account(rows, _payer(rows, which))
            transfer, new = journal.give(rows, account, kind, exact, now, self._actor, reference, note)
            self._audit_transfer(rows, now, f"credits.{kind}", transfer, new, rereads=first)
        return transfer, new

    def refund(self, generation: str, amount: Decimal | None = None, note: str | None = None) -> tuple[Transfer, bool]:
        """Give back what an exchange was charged to its credits, or a part of it, once."""
        exact = None if amount is None else picodollars(amount, "amount_usd")
        return self._transfer(
            "credits.refund", lambda rows, now: journal.refund(rows, generation, exact, now, self._actor, note)
        )

    def reverse(self, transfer: str, note: str | None = None) -> tuple[Transfer, bool]:
        """Undo a top-up, a grant or a refund, once."""
        return self._transfer(
            "credits.reverse", lambda rows, now: journal.reverse(rows, transfer, now, self._actor, note)
        )

    def _transfer(self, action: str, change: Callable[[Rows, int], tuple[Transfer, bool]]) -> tuple[Transfer, bool]:
        now = self._now()
        with self._store.round() as rows:
            transfer, new = change(rows, now)
            self._audit_transfer(rows, now, action, transfer, new)
        return transfer, new

    def _audit_transfer(
        self, rows: Rows, now: int, action: str, transfer: Transfer, new: bool, *, rereads: bool = False
    ) -> None:
        if new:
            self._audit(rows, now, action, transfer.id, None, transfer_fields(transfer), rereads=rereads)

    def balances(self) -> dict[str, int]:
        """Picodollars of all that pay in advance, by their id."""
        return journal.balances(self._store.reach()) if self._store.exists() else {}

    def transfers(
        self,
        which: str | None = None,
        *,
        before: str | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int = 100,
    ) -> list[Transfer]:
        """What moved, the latest first: of one key or organisation, or all. Times in unix seconds."""
        if not self._store.exists():
            return []
        rows = self._store.reach()
        account = None if which is None else f"acc_{_holder(rows, which).id}"
        return journal.transfers(
            rows,
            account,
            before=before,
            since=0 if since is None else math.ceil(since * 1000),
            until=LARGEST if until is None else math.ceil(until * 1000),
            limit=limit,
        )

    # ---- what runs

    def streams(self) -> list[Live]:
        """What runs now in all processes, the oldest first."""
        return live.streams(self._store) if self._store.exists() else []

    def cancel_stream(self, id: str) -> Receipt:
        """Let its process stop this exchange, whosever it is; its receipt as it stands."""
        missing = NotFound(f"There is no stream {id[:40]!r}; `infron streams` shows those that run.")
        if not self._store.exists():
            raise missing
        now = self._now()
        with self._store.round() as rows:
            found = read_entry(rows, id)
            if found is None:
                raise missing
            if found.receipt.outcome is None:
                stops.mark(rows, id, Stop.OPERATOR)
                self._audit(rows, now, "stream.cancel", id, None, None, rereads=False)
        return found.receipt

    def nodes(self) -> list[dict[str, Any]]:
        """The processes that serve, as JSON shows them."""
        return owners.shown(self._store.reach(), self._now()) if self._store.exists() else []

    # ---- reports

    def usage(
        self,
        by: By,
        since: float | None = None,
        until: float | None = None,
        key: str | None = None,
        organisation: str | None = None,
    ) -> list[UsageRow]:
        """Sums over the settled exchanges that are still there; times in unix seconds."""
        if not self._store.exists():
            return []
        rows = self._store.reach()
        scope = Scope(
            since=since,
            until=until,
            key=None if key is None else keys.choose(rows, key).id,
            organisation=None if organisation is None else holders.choose(rows, organisation).id,
        )
        return read_usage(rows, by, scope)

    def check(self, *, repair: bool = False) -> tuple[list[Finding], list[Finding]]:
        """What does not add up in the ledger, and what was put right before: counts of what runs, never money."""
        if not self._store.exists():
            return [], []
        repaired: list[Finding] = []
        if repair:
            with self._store.round() as rows:
                repaired = invariants.repair(rows)
                if repaired:
                    self._audit(rows, self._now(), "ledger.repair", "ledger", None, {"holders": len(repaired)})
        self._store.reach()
        with self._store.view() as rows:
            return invariants.check(rows), repaired

    # ---- the audit log

    def changes(self, subject: str | None = None, before: str | None = None, limit: int = 100) -> list[Audited]:
        """What was changed, the latest first. `before`: only what is older than the row with this id."""
        return audit_log.read(self._store.reach(), subject, before, limit) if self._store.exists() else []

    def _audit(
        self, rows: Rows, now: int, action: str, subject: str, before: Any, after: Any, *, rereads: bool = True
    ) -> None:
        """`rereads`: gateways are to read keys and limits again."""
        audit_log.record(rows, now, self._actor, action, subject, before, after)
        if rereads:
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


def _key(rows: Rows, which: str, exactly: bool) -> Key:
    return keys.key_of(rows, which) if exactly else keys.choose(rows, which)


def _organisation(rows: Rows, which: str, exactly: bool) -> Organisation:
    found = holders.choose(rows, which)
    if exactly and found.id != which:
        raise holders.no_organisation(which)
    return found


def _holder(rows: Rows, which: str) -> Key | Organisation:
    """An organisation by its id or name, else a key. Raises NotFound, InvalidRequest where both could be meant."""
    if which.startswith(("key_", "sk-")):
        return keys.choose(rows, which)
    try:
        organisation = holders.choose(rows, which)
    except NotFound:
        if which.startswith("org_"):
            raise
        try:
            return keys.choose(rows, which)
        except NotFound:
            raise NotFound(f"There is no organisation and no key {which[:50]!r}.") from None
    if organisation.name == which and any(key.name == which and not key.revoked_at for key in keys.read_keys(rows)):
        raise InvalidRequest(f"An organisation and a key have the name {which[:50]!r}: say the id.")
    return organisation


def _payer(rows: Rows, which: str) -> str:
    """The id of who may pay in advance. Raises InvalidRequest."""
    holder = _holder(rows, which)
    if isinstance(holder, Organisation):
        if holder.closed_at is not None:
            raise InvalidRequest(f"The organisation {holder.id} ({holder.name}) is closed.")
    elif holder.organisation is not None:
        organisation = holder.organisation
        raise InvalidRequest(
            f"The key {holder.id} belongs to {organisation.id} ({organisation.name}): give the credits to that."
        )
    elif holder.revoked_at is not None or holder.kind == "admin":
        raise InvalidRequest(f"The key {holder.id} ({holder.name}) asks no models: it needs no credits.")
    return holder.id


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


def usage_rows(url: str, by: By, since: float | None = None) -> list[UsageRow]:
    """Sums over the settled exchanges that began at or after `since` (unix seconds). Raises ConfigError."""
    with administration(url, "program") as administrator:
        return administrator.usage(by, since)


def revoke_key(url: str, which: str) -> Key:
    with administration(url, "program") as administrator:
        return administrator.revoke_key(which)
