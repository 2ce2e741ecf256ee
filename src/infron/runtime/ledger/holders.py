"""Organisations, and the limits of holders, as the ledger keeps them.

It never knows keys or their secrets, nor what was spent.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import NamedTuple

from msgspec import UNSET

from infron.errors import InvalidRequest, NotFound
from infron.policy.editing import OrganisationEdit, name_of
from infron.policy.holders import NO_LIMITS, PERIODS, Budget, Limits, Organisation
from infron.runtime.ledger import statements
from infron.runtime.ledger.store import Rows

_ORDER = {period: place for place, period in enumerate(PERIODS)}


def read_limits(rows: Rows) -> dict[str, Limits]:
    """The limits of all holders that have any, by the holder's id."""
    budgets: dict[str, list[Budget]] = {}
    for holder, period, ceiling in sorted(rows.read(statements.BUDGETS), key=lambda row: _ORDER[row[1]]):
        budgets.setdefault(holder, []).append(Budget(period, ceiling))
    return {
        id: Limits(
            requests_per_minute=requests,
            tokens_per_minute=tokens,
            concurrent=concurrent,
            budgets=tuple(budgets.get(id, ())),
            account=account,
        )
        for id, requests, tokens, concurrent, account in rows.read(statements.LIMITS)
    }


def set_limits(rows: Rows, holder: str, limits: Limits) -> None:
    """Make these the holder's limits; its account stays. One that never had any gets no row."""
    new = holder not in read_limits(rows)
    if limits == NO_LIMITS and new:
        return
    rows.change(statements.SET_LIMITS, holder, limits.requests_per_minute, limits.tokens_per_minute, limits.concurrent)
    if new:  # what runs may have been counted already, for the other of a key and its organisation
        rows.change(statements.COUNT_RUNNING, holder)
    for period in PERIODS:
        ceiling = limits.ceiling(period)
        if ceiling is None:
            rows.change(statements.REMOVE_BUDGET, holder, period)
        else:
            rows.change(statements.SET_BUDGET, holder, period, ceiling)


def live(rows: Rows, holder: str) -> int:
    """How many of its exchanges run, over all processes."""
    return int(rows.read(statements.LIVE, holder)[0][0])


def read_organisations(rows: Rows, limits: Mapping[str, Limits] | None = None) -> dict[str, Organisation]:
    """All organisations, closed ones too, by id, oldest first. `limits`: of all holders, if they were read already."""
    limits = read_limits(rows) if limits is None else limits
    return {
        id: Organisation(
            id=id,
            name=name,
            created_at=created / 1000,
            closed_at=seconds(closed),
            show_remaining=bool(show_remaining),
            revision=revision,
            limits=limits.get(id, NO_LIMITS),
        )
        for id, name, created, closed, show_remaining, revision in rows.read(statements.ORGANISATIONS)
    }


def new_organisation(rows: Rows, edit: OrganisationEdit, now: int) -> Organisation:
    """Raises InvalidRequest; names tell organisations apart, so no open one may have the same."""
    if edit.name is UNSET:
        raise InvalidRequest("An organisation needs a `name`.", param="name")
    id = f"org_{secrets.token_hex(8)}"
    rows.change(statements.CREATE_ORGANISATION, id, name_of(edit.name), now)
    return _edited(rows, read_organisations(rows)[id], edit, first=True)


def edit_organisation(rows: Rows, organisation: Organisation, edit: OrganisationEdit) -> Organisation:
    """Raises InvalidRequest."""
    if organisation.closed_at is not None:
        raise InvalidRequest(f"The organisation {organisation.id} ({organisation.name}) is closed.")
    return _edited(rows, organisation, edit)


def close(rows: Rows, organisation: Organisation, now: int) -> Organisation:
    """Closing a closed organisation changes nothing."""
    if organisation.closed_at is None:
        rows.change(statements.CLOSE_ORGANISATION, now, organisation.id)
    return read_organisations(rows)[organisation.id]


def _edited(rows: Rows, organisation: Organisation, edit: OrganisationEdit, *, first: bool = False) -> Organisation:
    name = organisation.name if edit.name is UNSET else name_of(edit.name)
    for other in read_organisations(rows).values():
        if other.id != organisation.id and other.name == name and other.closed_at is None:
            raise InvalidRequest(f"There is an organisation with the name {name!r} already: {other.id}.", param="name")
    shows = organisation.show_remaining if edit.show_remaining is UNSET else edit.show_remaining
    rows.change(statements.EDIT_ORGANISATION, organisation.id, name, int(shows), 0 if first else 1)
    limits = edit.applied(organisation.limits)
    if limits != organisation.limits:
        set_limits(rows, organisation.id, limits)
    return read_organisations(rows)[organisation.id]


def choose(rows: Rows, which: str) -> Organisation:
    """The organisation with this id or name, or the only one whose id begins so. Raises NotFound, InvalidRequest."""
    every = read_organisations(rows)
    if which in every:
        return every[which]
    named = [one for one in every.values() if one.name == which]
    begun = [one for one in every.values() if which.startswith("org_") and one.id.startswith(which)]
    found = [one for one in named if one.closed_at is None] or named or begun
    if len(found) > 1:
        raise InvalidRequest(f"Several organisations are meant by {which[:50]!r}: {', '.join(o.id for o in found)}.")
    if not found:
        raise no_organisation(which)
    return found[0]


def no_organisation(which: str) -> NotFound:
    return NotFound(f"There is no organisation {which[:50]!r}; `infron organisations list` shows those that there are.")


class Revision(NamedTuple):
    """What is looked at to see whether anything is to be read again: one value, `<keys>.<marks>`, so one look.

    `keys`: raised by each change of a key, an organisation or a limit; `marks`: by each mark on a running exchange.
    """

    keys: int
    marks: int = 0


def revision(rows: Rows) -> Revision:
    return Revision(*map(int, rows.read(statements.REVISION)[0][0].split(".")))


def raise_revision(rows: Rows) -> None:
    """Let every process of the ledger read its keys again."""
    keys, marks = revision(rows)
    rows.change(statements.RAISE_REVISION, f"{keys + 1}.{marks}")


def raise_marks(rows: Rows) -> None:
    """Let every process of the ledger look for marks on what it runs."""
    keys, marks = revision(rows)
    rows.change(statements.RAISE_REVISION, f"{keys}.{marks + 1}")


def seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
