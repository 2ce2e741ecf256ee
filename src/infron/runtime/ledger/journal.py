"""The journal: what was paid in advance, what was charged to it, what was given back. Rows are added, never changed.

Each row moves an amount from one account to another. Those of holders have a balance; `cash`, `revenue`, `grants` and
`adjustments` have none, for each process would have to lock it. It never knows why something was charged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from infron.errors import Conflict, InvalidRequest, NotFound
from infron.money import usd
from infron.runtime.ledger import statements
from infron.runtime.ledger.audit_log import new_id
from infron.runtime.ledger.holders import read_limits
from infron.runtime.ledger.statements import MILLION
from infron.runtime.ledger.store import LARGEST, Rows

Kind = Literal["top-up", "grant", "charge", "refund", "adjustment"]
SOURCES: dict[Kind, str] = {"top-up": "cash", "grant": "grants"}  # of what is given to an account
REVENUE = "revenue"
ADJUSTMENTS = "adjustments"
MOST_TEXT = 500  # characters of a reference or note

_json = msgspec.json.Encoder()


class Transfer(Struct, frozen=True, kw_only=True):
    """`amount`: picodollars, above zero, from `source` to `target`. `reference`: what makes it one of its kind."""

    id: str
    created_at: float
    kind: Kind
    source: str
    target: str
    amount: int
    reference: str | None = None
    note: str | None = None
    actor: str


class Payment(Struct):
    """What one account owes for exchanges that were settled together: picodollars, and the ids of their entries."""

    amount: int = 0
    entries: list[str] = []


# ---- what the rounds of the gateway do


def charge(rows: Rows, payments: Mapping[str, Payment], now: int, actor: str) -> None:
    """Charge each account once, and name that transfer in the entries it is for. The holders are locked. `now`: ms."""
    for account, payment in sorted(payments.items()):
        transfer = _add(rows, now, "charge", account, REVENUE, payment.amount, actor)
        rows.change(statements.NAME_TRANSFER, transfer.id, _json.encode(payment.entries).decode())


# ---- what an operator does


def open_account(rows: Rows, holder: str) -> tuple[str, bool]:
    """The account of what this holder pays in advance, made with the first amount and there for ever; and whether that
    is now.
    """
    account = f"acc_{holder}"
    new = holder not in read_limits(rows)
    rows.change(statements.GIVE_ACCOUNT, holder, account)  # first: who has the holder has its account
    if new:
        rows.change(statements.COUNT_RUNNING, holder)
    return account, bool(rows.change(statements.OPEN_ACCOUNT, account, holder))


def give(
    rows: Rows, account: str, kind: Kind, amount: int, now: int, actor: str, reference: str | None, note: str | None
) -> tuple[Transfer, bool]:
    """A top-up or a grant, and whether it is new: one with the same reference is made once.

    Raises Conflict for a reference that was used for something else, InvalidRequest.
    """
    if amount <= 0:
        raise InvalidRequest("`amount_usd` must be above zero.", param="amount_usd")
    reference, note = _text(reference, "reference"), _text(note, "note")
    if reference is not None and (found := _by_reference(rows, kind, reference)):
        if (found.target, found.amount) != (account, amount):
            raise Conflict(
                f"The reference {reference!r} stands for another {kind} already: {usd(found.amount)} USD to "
                f"{found.target} ({found.id}).",
                param="reference",
            )
        return found, False
    return _add(rows, now, kind, SOURCES[kind], account, amount, actor, reference, note), True


def refund(rows: Rows, entry: str, amount: int | None, now: int, actor: str, note: str | None) -> tuple[Transfer, bool]:
    """Give back what an exchange was charged, or a part of it, once. Raises NotFound, InvalidRequest, Conflict."""
    found = rows.read(statements.PAID, entry)
    if not found:
        raise NotFound(f"There is no generation {entry[:100]!r} in the ledger.")
    [(transfer, millions, rest, outcome)] = found
    if transfer is None:
        why = "runs" if outcome is None else "was not paid from credits"
        raise InvalidRequest(f"The generation {entry} {why}: there is nothing to give back.")
    charged = millions * MILLION + rest
    given_back = charged if amount is None else amount
    if not 0 < given_back <= charged:
        raise InvalidRequest(f"The generation {entry} was charged {usd(charged)} USD; give back that or less of it.")
    account = by_id(rows, transfer).source
    _lock(rows, account)
    if earlier := _by_reference(rows, "refund", entry):
        if earlier.amount != given_back:
            raise Conflict(f"The generation {entry} was given back already: {usd(earlier.amount)} USD ({earlier.id}).")
        return earlier, False
    return _add(rows, now, "refund", REVENUE, account, given_back, actor, entry, _text(note, "note")), True


def reverse(rows: Rows, transfer: str, now: int, actor: str, note: str | None) -> tuple[Transfer, bool]:
    """Undo a top-up, a grant or a refund by one in the other direction, once. Raises NotFound, InvalidRequest."""
    wrong = by_id(rows, transfer)
    if wrong.kind not in ("top-up", "grant", "refund"):
        raise InvalidRequest(
            f"A {wrong.kind} is not reversed: `infron credits refund` gives an exchange's charge back."
        )
    account = wrong.target
    _lock(rows, account)
    if earlier := _by_reference(rows, "adjustment", transfer):
        return earlier, False
    return _add(rows, now, "adjustment", account, ADJUSTMENTS, wrong.amount, actor, transfer, _text(note, "note")), True


# ---- reading


def balances(rows: Rows) -> dict[str, int]:
    """Picodollars of all holders that pay in advance, by the holder's id; below zero by what an exchange cost more."""
    found = rows.read(statements.ACCOUNTS)
    return {holder: millions * MILLION + balance for _, holder, millions, balance in found}


def balance(rows: Rows, account: str) -> int:
    [(millions, rest)] = rows.read(statements.BALANCE, account)
    return int(millions * MILLION + rest)


def by_id(rows: Rows, id: str) -> Transfer:
    """Raises NotFound."""
    found = rows.read(statements.TRANSFER_BY_ID, id)
    if not found:
        raise NotFound(f"There is no transfer {id[:100]!r}; `infron credits list` shows them.")
    return _transfer(found[0])


def transfers(
    rows: Rows,
    account: str | None = None,
    *,
    before: str | None = None,
    since: int = 0,
    until: int = LARGEST,
    limit: int = 100,
) -> list[Transfer]:
    """The latest first: of one account, or all. `before`: an id they are older than; `since`, `until`: unix ms."""
    return [_transfer(row) for row in rows.read(statements.TRANSFERS, account, before, since, until, limit)]


# ---- the one way in


def _add(
    rows: Rows,
    now: int,
    kind: Kind,
    source: str,
    target: str,
    amount: int,
    actor: str,
    reference: str | None = None,
    note: str | None = None,
) -> Transfer:
    id = new_id("tr", now)
    values = (id, now, kind, source, target, *divmod(amount, MILLION), reference, note, actor)
    if not rows.change(statements.ADD_TRANSFER, *values):
        raise Conflict(f"A {kind} with the reference {reference!r} was made at this moment; look at it.")
    for account, change in sorted(((source, -amount), (target, amount))):
        if account.startswith("acc_"):
            rows.change(statements.SET_BALANCE, account, *divmod(balance(rows, account) + change, MILLION))
    return Transfer(
        id=id,
        created_at=now / 1000,
        kind=kind,
        source=source,
        target=target,
        amount=amount,
        reference=reference,
        note=note,
        actor=actor,
    )


def _lock(rows: Rows, account: str) -> None:
    """As a round of the gateway does: whoever has a holder has its account."""
    rows.read(statements.LOCK_HOLDER, account.removeprefix("acc_"))


def _by_reference(rows: Rows, kind: Kind, reference: str) -> Transfer | None:
    found = rows.read(statements.TRANSFER_BY_REFERENCE, kind, reference)
    return _transfer(found[0]) if found else None


def _transfer(row: Sequence[object]) -> Transfer:
    columns = dict(zip(statements.TRANSFER, row, strict=True))
    millions, rest, created = columns.pop("millions"), columns.pop("amount"), columns.pop("created_ms")
    assert isinstance(millions, int)
    assert isinstance(rest, int)
    assert isinstance(created, int)
    return msgspec.convert({**columns, "amount": millions * MILLION + rest, "created_at": created / 1000}, Transfer)


def _text(text: str | None, param: str) -> str | None:
    """Raises InvalidRequest where it is too long to be read."""
    kept = (text or "").strip() or None
    if kept is not None and len(kept) > MOST_TEXT:
        raise InvalidRequest(f"`{param}` has {len(kept):,} characters; {MOST_TEXT} are the most.", param=param)
    return kept
