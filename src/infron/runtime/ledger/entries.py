"""An entry of the ledger: how it is opened, claimed for a drain, settled, and orphaned.

It never knows transactions, threads, or whether the store can be written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from functools import lru_cache
from typing import TypeVar

import msgspec
from msgspec import Struct

from infron.money import Price
from infron.records import Opening, Outcome, Settlement
from infron.runtime.ledger import owners, statements
from infron.runtime.ledger.statements import MILLION
from infron.runtime.ledger.store import LARGEST, Change, Rows, UnusableRow, Value
from infron.runtime.ledger.verdict import Recorded, Refused

EPOCH = date(1970, 1, 1).toordinal()
_BUGS = (TypeError, ValueError, AttributeError, KeyError)  # what a record raises that is not what its type says

_json = msgspec.json.Encoder()
_WORDS = {outcome: outcome.value for outcome in Outcome}  # an enum's value costs two calls to look up
_T = TypeVar("_T")

Settling = tuple[Settlement, Opening | None]  # with what its row was opened with; None: not by this process


_RECORDED = Recorded()
_TAKEN = Refused("there is an entry with this id already")


class Posted(Struct, frozen=True):
    """What one settlement adds to its holders' totals: picodollars, on a day (as `date.toordinal` counts, UTC)."""

    holders: tuple[str, ...]  # "": there was no key
    day: int
    charge: int


class DrainCaps(Struct, frozen=True):
    """How many answers may be read on at once after their clients left: over all processes, and of one key (0: all)."""

    in_all: int
    of_key: int


def open_entries(rows: Rows, openings: Sequence[Opening], owner: str) -> list[Recorded | Refused | UnusableRow]:
    """Write the rows of running exchanges."""
    counts = _change_each(rows, openings, lambda opening: (statements.OPEN, _opened(opening, owner)))
    return [count if isinstance(count, UnusableRow) else _RECORDED if count else _TAKEN for count in counts]


def open_held(rows: Rows, held: Sequence[tuple[Opening, int, int]], owner: str) -> list[int | UnusableRow]:
    """The same of exchanges with limits: each with its hold, and the tokens that it took. How many rows each made."""
    return _change_each(rows, held, lambda each: (statements.OPEN_HELD, (*_opened(each[0], owner), 1, *each[1:])))


def settle_entries(rows: Rows, settles: Sequence[Settling], owner: str, now: int) -> list[Posted | UnusableRow | None]:
    """Settle each row, or write it whole if it never came to be; an orphan's gets its own figures, once.

    None if it was settled before. `now` in unix ms.
    """
    openings = [opening or _opened_elsewhere(rows, settlement, now) for settlement, opening in settles]
    counts = _settle_each(rows, settles, now)
    if unmatched := [number for number, count in enumerate(counts) if count == 0]:
        late = _change_each(rows, [settles[number] for number in unmatched], lambda each: _late(each[0], now))
        for number, count in zip(unmatched, late, strict=True):
            counts[number] = count
    if unmatched := [number for number in unmatched if counts[number] == 0]:
        # Never written, as its opening failed; or written and settled, which the second try leaves alone too.
        open_entries(rows, [openings[number] for number in unmatched], owner)
        again = _settle_each(rows, [settles[number] for number in unmatched], now)
        for number, count in zip(unmatched, again, strict=True):
            counts[number] = count
    return [
        count if isinstance(count, UnusableRow) else _posted(settlement, opening) if count else None
        for (settlement, _), opening, count in zip(settles, openings, counts, strict=True)
    ]


def claim_drain(rows: Rows, id: str, caps: DrainCaps) -> Recorded | Refused:
    """Mark the running row as draining, if that keeps the caps."""
    most_of_key = caps.of_key or LARGEST
    if rows.change(statements.CLAIM_DRAIN, id, caps.in_all, most_of_key):
        return _RECORDED
    [(in_all, of_key)] = rows.read(statements.DRAINS, id)
    if of_key >= most_of_key:
        return Refused(f"too many answers of this key are being read on already ({of_key})")
    if in_all >= caps.in_all:
        return Refused(f"too many answers are being read on already ({in_all})")
    return Refused("its entry is settled already")


def drains_elsewhere(rows: Rows, mine: str) -> dict[str | None, int]:
    """How many rows of other processes are draining, by key."""
    return dict(rows.read(statements.DRAINS_ELSEWHERE, mine))


def settle_orphans(rows: Rows, lost: Sequence[str], now: int, *, charge_failed: bool) -> int:
    """Settle the running rows of these owners, and forget the owners. How many rows that were.

    What such an exchange delivered is unknown. So is its charge, where failed exchanges are charged for that.
    """
    charge = None if charge_failed else 0
    text = "The gateway's process ended before this exchange did."
    settled = 0
    for owner in lost:
        settled += rows.change(statements.SETTLE_ORPHANS, text, charge, now, owner)
        owners.forget(rows, owner)
    return settled


# ---- values of columns


def _change_each(rows: Rows, records: Sequence[_T], change_of: Callable[[_T], Change]) -> list[int | UnusableRow]:
    """How many rows the change of each record changed; one that is unusable does not hold up the others."""
    changes: list[Change] = []
    wrong: dict[int, UnusableRow] = {}
    for number, record in enumerate(records):
        try:
            changes.append(change_of(record))
        except _BUGS as error:
            wrong[number] = UnusableRow(str(error))
    counts = iter(rows.change_all(changes))
    return [wrong[number] if number in wrong else next(counts) for number in range(len(records))]


def _settle_each(rows: Rows, settles: Sequence[Settling], now: int) -> list[int | UnusableRow]:
    return _change_each(rows, settles, lambda settling: _settling(*settling, now))


def _settling(settlement: Settlement, opening: Opening | None, now: int) -> Change:
    if opening is not None and _as_opened(settlement, opening):
        return statements.SETTLE, (*_settled(settlement, now), settlement.id)
    return statements.SETTLE_CHANGED, (*_settled(settlement, now), *_changed(settlement), settlement.id)


def _late(settlement: Settlement, now: int) -> Change:
    return statements.SETTLE_LATE, (*_settled(settlement, now), *_changed(settlement), settlement.id)


def _posted(settlement: Settlement, opening: Opening) -> Posted:
    holders = (opening.key_id or "", opening.organisation) if opening.organisation else (opening.key_id or "",)
    return Posted(holders, EPOCH + int(opening.created_at // 86400), settlement.bill.charge or 0)


def _as_opened(settlement: Settlement, opening: Opening) -> bool:
    """Whether the row holds all of `statements.CHANGED` already."""
    bill = settlement.bill
    return (
        bill.price is opening.price
        and settlement.provider == opening.provider
        and settlement.provider_model == opening.provider_model
        and settlement.error_type is None
        and settlement.error is None
        and settlement.upstream_closed_ms is None
        and settlement.on_disconnect is None
        and not settlement.attempts
        and not settlement.dropped
        and settlement.clamped is None
        and (bill.cost or 0) < MILLION
        and (bill.charge or 0) < MILLION
    )


@lru_cache(1000)  # thousands of entries have the same one
def _written(price: Price) -> str:
    return _json.encode(price).decode()


def _opened(opening: Opening, owner: str) -> tuple[Value, ...]:
    price = opening.price
    return (
        opening.id,
        owner,
        opening.key_id,
        opening.model,
        opening.provider,
        opening.provider_model,
        1 if opening.streamed else 0,
        int(opening.created_at * 1000),
        None if price is None else _written(price),
        opening.user,
        opening.session_id,
        opening.organisation,
    )


def _settled(settlement: Settlement, now: int) -> tuple[Value, ...]:
    bill, usage = settlement.bill, settlement.bill.usage
    return (
        _WORDS[settlement.outcome],
        usage.prompt,
        usage.completion,
        usage.cached,
        usage.cache_write,
        usage.reasoning,
        1 if bill.estimated else 0,
        None if bill.cost is None else bill.cost % MILLION,
        None if bill.charge is None else bill.charge % MILLION,
        settlement.finish_reason,
        settlement.native_finish_reason,
        settlement.upstream_id,
        settlement.latency_ms,
        settlement.generation_ms,
        settlement.frames,
        now,
    )


def _changed(settlement: Settlement) -> tuple[Value, ...]:
    bill = settlement.bill
    return (
        settlement.provider,
        settlement.provider_model,
        None if bill.price is None else _written(bill.price),
        (bill.cost or 0) // MILLION,
        (bill.charge or 0) // MILLION,
        settlement.error_type,
        settlement.error,
        settlement.upstream_closed_ms,
        settlement.on_disconnect,
        _json.encode(settlement.attempts).decode() if settlement.attempts else None,
        _json.encode(settlement.dropped).decode() if settlement.dropped else None,
        settlement.clamped,
    )


def _opened_elsewhere(rows: Rows, settlement: Settlement, now: int) -> Opening:
    found = rows.read(statements.OPENED_BY_WHOM, settlement.id)
    key_id, organisation, created = found[0] if found else (None, None, now)
    return Opening(
        id=settlement.id,
        key_id=key_id,
        organisation=organisation,
        model=settlement.provider_model,
        provider=settlement.provider,
        provider_model=settlement.provider_model,
        streamed=False,
        created_at=created / 1000,
        price=settlement.bill.price,
    )
