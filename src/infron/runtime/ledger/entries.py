"""An entry of the ledger: its columns, how it is opened, settled and orphaned, and the receipt made from it.

It never knows transactions, threads, or whether the file can be written.
"""

from __future__ import annotations

import math
import sqlite3
from datetime import UTC, date, datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct

from infron.errors import InvalidRequest
from infron.money import Price, usd
from infron.records import Opening, Outcome, Settlement
from infron.runtime.ledger.owners import Owner, gone

By = Literal["model", "provider", "key", "day"]

_OPENED = (
    "id", "owner", "key_id", "model", "provider", "provider_model", "streamed", "created_ms", "price", "end_user",
    "session_id",
)  # fmt: skip
_SETTLED = (
    "outcome", "prompt", "completion", "cached", "cache_write", "reasoning", "estimated", "cost", "charge",
    "finish_reason", "native_finish_reason", "upstream_id", "latency_ms", "generation_ms", "frames", "settled_ms",
)  # fmt: skip
# What most settlements leave as the row was opened.
_CHANGED = (
    "provider", "provider_model", "price", "error_type", "error", "upstream_closed_ms", "on_disconnect", "attempts",
    "dropped",
)  # fmt: skip
_OPEN = (
    f"INSERT INTO entries ({', '.join(_OPENED)}) VALUES ({', '.join('?' * len(_OPENED))}) ON CONFLICT (id) DO NOTHING"
)
_SETTLE, _SETTLE_CHANGED = (
    f"UPDATE entries SET {', '.join(f'{name} = ?' for name in names)}, draining = 0 WHERE id = ? AND outcome IS NULL"
    for names in (_SETTLED, _SETTLED + _CHANGED)
)
_CLAIM = (
    "UPDATE entries SET draining = 1 WHERE id = ? AND outcome IS NULL"
    " AND (SELECT count(*) FROM entries WHERE draining = 1) < ?"
)
_ORPHAN = (
    "UPDATE entries SET outcome = 'failed', error_type = 'orphaned', error = ?, prompt = 0, completion = 0,"
    " cached = 0, cache_write = 0, reasoning = 0, estimated = 1, cost = NULL, charge = ?, frames = 0,"
    " settled_ms = ?, orphaned = 1, draining = 0 WHERE owner = ? AND outcome IS NULL"
)
_RECEIPT = (*dict.fromkeys(_OPENED + _SETTLED + _CHANGED), "orphaned")
_READ = f"SELECT {', '.join(_RECEIPT)} FROM entries WHERE id = ?"

# What no driver takes in a value that was meant well; such a row is mended, not lost.
_REFUSED = (OverflowError, UnicodeError, sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.DataError)
_LARGEST = 2**63 - 1
_EPOCH = date(1970, 1, 1).toordinal()

_json = msgspec.json.Encoder()
_price = msgspec.json.Decoder(Price)
_names = msgspec.json.Decoder(list[str])


class Receipt(Struct, frozen=True, kw_only=True):
    """What the caller of an exchange may know of it. Money in USD, durations in milliseconds.

    `outcome` is None while it runs. Members that are always None have a name in the public API and no value here.
    """

    id: str
    upstream_id: str | None
    model: str
    provider_name: str
    provider_model: str
    created_at: str  # ISO 8601, UTC
    streamed: bool
    cancelled: bool | None
    outcome: Outcome | None
    finish_reason: str | None
    native_finish_reason: str | None
    generation_time: float | None
    latency: float | None
    tokens_prompt: int | None
    tokens_completion: int | None
    native_tokens_prompt: int | None
    native_tokens_completion: int | None
    native_tokens_reasoning: int | None
    native_tokens_cached: int | None
    native_tokens_cache_write: int | None
    total_cost: float | None  # what the caller owes
    usage: float | None  # the same
    provider_cost: float | None  # what the provider bills the operator
    price_source: str | None
    estimated: bool | None
    upstream_closed_ms: float | None
    on_disconnect: str | None
    frames: int | None
    attempts: list[str]
    dropped_parameters: list[str]  # what the caller sent and the provider cannot take
    error: dict[str, str | None] | None
    orphaned: bool
    external_user: str | None
    session_id: str | None
    is_byok: bool = False
    api_type: str = "completions"
    cache_discount: float | None = None
    upstream_inference_cost: float | None = None
    moderation_latency: float | None = None
    service_tier: str | None = None
    origin: str | None = None
    http_referer: str | None = None
    user_agent: str | None = None
    app_id: int | None = None


class Found(Struct, frozen=True, kw_only=True):
    """A receipt with what only the gateway may know: whose it is, and which process writes it."""

    receipt: Receipt
    key_id: str | None
    owner: str


class UsageRow(Struct, frozen=True, kw_only=True):
    """Sums over settled exchanges. Money in picodollars; `unpriced` exchanges, whose charge is unknown, add none."""

    name: str
    exchanges: int
    prompt: int
    completion: int
    cost: int
    charge: int
    unpriced: int
    estimated: int


class Posted(Struct, frozen=True):
    """What one settlement adds to its key's totals: picodollars, on a day (as `date.toordinal` counts, UTC)."""

    key_id: str | None
    day: int
    charge: int


# ---- writing


def open_entry(cursor: sqlite3.Cursor, opening: Opening, owner: str) -> bool:
    """Write the row of a running exchange. False if this id is there already."""
    price = opening.price
    row = (
        opening.id,
        owner,
        opening.key_id,
        opening.model,
        opening.provider,
        opening.provider_model,
        1 if opening.streamed else 0,
        int(opening.created_at * 1000),
        None if price is None else _json.encode(price).decode(),
        opening.user,
        opening.session_id,
    )
    return _execute(cursor, _OPEN, row) == 1


def settle_entry(
    cursor: sqlite3.Cursor, settlement: Settlement, opening: Opening | None, owner: str, now: int
) -> Posted | None:
    """Settle the row, or write it whole if it never came to be. None if it was settled before. `now` in unix ms.

    `opening`: what the row was opened with, None if this process did not open it.
    """
    if opening is not None and _as_opened(settlement, opening):
        statement, row = _SETTLE, (*_settled(settlement, now), settlement.id)
    else:
        statement, row = _SETTLE_CHANGED, (*_settled(settlement, now), *_changed(settlement), settlement.id)
    if opening is None:
        opening = _opened_elsewhere(cursor, settlement, now)
    if _execute(cursor, statement, row) != 1:
        # Never written, as its opening failed; or written and settled, which the second try leaves alone too.
        open_entry(cursor, opening, owner)
        if _execute(cursor, statement, row) != 1:
            return None
    return Posted(opening.key_id, _EPOCH + int(opening.created_at // 86400), settlement.charge or 0)


def claim_drain(cursor: sqlite3.Cursor, id: str, max_concurrent: int) -> bool:
    """Mark the running row as draining, if fewer than so many rows are."""
    return _execute(cursor, _CLAIM, (id, max_concurrent)) == 1


def settle_orphans(cursor: sqlite3.Cursor, owners: list[str], now: int, *, charge_failed: bool) -> int:
    """Settle the running rows of these owners, and forget the owners. How many rows that were.

    What such an exchange delivered is unknown. So is its charge, where failed exchanges are charged for that.
    """
    charge = None if charge_failed else 0
    text = "The gateway's process ended before this exchange did."
    settled = 0
    for owner in owners:
        settled += cursor.execute(_ORPHAN, (text, charge, now, owner)).rowcount
        cursor.execute("DELETE FROM owners WHERE boot = ?", (owner,))
    return settled


def gone_owners(cursor: sqlite3.Cursor, mine: str, place: str, now: int) -> list[str]:
    """The owners, other than `mine`, that will never settle their rows; those without a lease at all included."""
    owners = [
        Owner(boot=boot, place=at, pid=pid, started=started, lease_until=until)
        for boot, at, pid, started, until in cursor.execute("SELECT boot, place, pid, started, lease_until FROM owners")
    ]
    known = {owner.boot for owner in owners}
    open_of = {boot for (boot,) in cursor.execute("SELECT DISTINCT owner FROM entries WHERE outcome IS NULL")}
    lost = {owner.boot for owner in owners if gone(owner, place, now)} | (open_of - known)
    return sorted(lost - {mine})


def drains_elsewhere(cursor: sqlite3.Cursor, mine: str) -> dict[str | None, int]:
    """How many rows of other processes are draining, by key."""
    return dict(
        cursor.execute(
            "SELECT key_id, count(*) FROM entries WHERE draining = 1 AND owner <> ? GROUP BY key_id", (mine,)
        ).fetchall()
    )


def _as_opened(settlement: Settlement, opening: Opening) -> bool:
    """Whether the row holds all of `_CHANGED` already."""
    return (
        settlement.price is opening.price
        and settlement.provider == opening.provider
        and settlement.provider_model == opening.provider_model
        and settlement.error_type is None
        and settlement.error is None
        and settlement.upstream_closed_ms is None
        and settlement.on_disconnect is None
        and not settlement.attempts
        and not settlement.dropped
    )


def _settled(settlement: Settlement, now: int) -> tuple[Any, ...]:
    usage = settlement.usage
    return (
        settlement.outcome.value,
        usage.prompt,
        usage.completion,
        usage.cached,
        usage.cache_write,
        usage.reasoning,
        1 if settlement.estimated else 0,
        settlement.cost,
        settlement.charge,
        settlement.finish_reason,
        settlement.native_finish_reason,
        settlement.upstream_id,
        settlement.latency_ms,
        settlement.generation_ms,
        settlement.frames,
        now,
    )


def _changed(settlement: Settlement) -> tuple[Any, ...]:
    return (
        settlement.provider,
        settlement.provider_model,
        None if settlement.price is None else _json.encode(settlement.price).decode(),
        settlement.error_type,
        settlement.error,
        settlement.upstream_closed_ms,
        settlement.on_disconnect,
        _json.encode(settlement.attempts).decode() if settlement.attempts else None,
        _json.encode(settlement.dropped).decode() if settlement.dropped else None,
    )


def _opened_elsewhere(cursor: sqlite3.Cursor, settlement: Settlement, now: int) -> Opening:
    row = cursor.execute("SELECT key_id, created_ms FROM entries WHERE id = ?", (settlement.id,)).fetchone()
    key_id, created = row or (None, now)
    return Opening(
        id=settlement.id,
        key_id=key_id,
        model=settlement.provider_model,
        provider=settlement.provider,
        provider_model=settlement.provider_model,
        streamed=False,
        created_at=created / 1000,
        price=settlement.price,
    )


def _execute(cursor: sqlite3.Cursor, statement: str, row: tuple[Any, ...]) -> int:
    try:
        return cursor.execute(statement, row).rowcount
    except _REFUSED:
        return cursor.execute(statement, tuple(map(_mended, row))).rowcount


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int):
        return max(-_LARGEST, min(_LARGEST, value))
    return value


# ---- reading


def read_entry(cursor: sqlite3.Cursor, id: str) -> Found | None:
    row = _execute_read(cursor, id)
    if row is None:
        return None
    entry: dict[str, Any] = dict(zip(_RECEIPT, row, strict=True))
    return Found(receipt=_receipt(entry), key_id=entry["key_id"], owner=entry["owner"])


def _execute_read(cursor: sqlite3.Cursor, id: str) -> tuple[Any, ...] | None:
    try:
        row: tuple[Any, ...] | None = cursor.execute(_READ, (id,)).fetchone()
    except _REFUSED:
        return None  # what cannot be asked for cannot be there
    return row


def _receipt(entry: dict[str, Any]) -> Receipt:
    outcome = None if entry["outcome"] is None else Outcome(entry["outcome"])
    charge = usd(entry["charge"])
    error = None
    if entry["error_type"] is not None or entry["error"] is not None:
        error = {"type": entry["error_type"], "message": entry["error"]}
    created = datetime.fromtimestamp(entry["created_ms"] / 1000, UTC)
    return Receipt(
        id=entry["id"],
        upstream_id=entry["upstream_id"],
        model=entry["model"],
        provider_name=entry["provider"],
        provider_model=entry["provider_model"],
        created_at=created.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        streamed=bool(entry["streamed"]),
        cancelled=None if outcome is None else outcome is Outcome.CANCELLED,
        outcome=outcome,
        finish_reason=entry["finish_reason"],
        native_finish_reason=entry["native_finish_reason"] or entry["finish_reason"],
        generation_time=entry["generation_ms"],
        latency=entry["latency_ms"],
        tokens_prompt=entry["prompt"],
        tokens_completion=entry["completion"],
        native_tokens_prompt=entry["prompt"],
        native_tokens_completion=entry["completion"],
        native_tokens_reasoning=entry["reasoning"],
        native_tokens_cached=entry["cached"],
        native_tokens_cache_write=entry["cache_write"],
        total_cost=charge,
        usage=charge,
        provider_cost=usd(entry["cost"]),
        price_source=_price.decode(entry["price"]).source if entry["price"] else None,
        estimated=None if outcome is None else bool(entry["estimated"]),
        upstream_closed_ms=entry["upstream_closed_ms"],
        on_disconnect=entry["on_disconnect"],
        frames=entry["frames"],
        attempts=_names.decode(entry["attempts"]) if entry["attempts"] else [],
        dropped_parameters=_names.decode(entry["dropped"]) if entry["dropped"] else [],
        error=error,
        orphaned=bool(entry["orphaned"]),
        external_user=entry["end_user"],
        session_id=entry["session_id"],
    )


_GROUPS: dict[By, str] = {
    "model": "model",
    "provider": "provider",
    "key": "key_id",
    "day": "created_ms / 86400000",
}
# A sum of picodollars leaves 64 bits behind at nine million dollars: sum the millionths and the rest apart.
_MONEY = "coalesce(sum({0} / 1000000), 0), coalesce(sum({0} % 1000000), 0)"


def read_usage(cursor: sqlite3.Cursor | sqlite3.Connection, by: By, since: float | None) -> list[UsageRow]:
    """One row for each group: days by date, the others by what they were charged. Raises InvalidRequest."""
    if by not in _GROUPS:
        raise InvalidRequest(f"Usage can be shown by {', '.join(_GROUPS)}; not by {by}.")
    rows = cursor.execute(
        f"SELECT {_GROUPS[by]}, count(*), sum(prompt), sum(completion), {_MONEY.format('cost')},"
        f" {_MONEY.format('charge')}, sum(CASE WHEN charge IS NULL THEN 1 ELSE 0 END), sum(estimated) FROM entries"
        f" WHERE outcome IS NOT NULL AND created_ms >= ? GROUP BY {_GROUPS[by]}",
        (-_LARGEST if since is None else math.ceil(since * 1000),),
    ).fetchall()
    names = dict(cursor.execute("SELECT id, name FROM keys").fetchall()) if by == "key" else {}
    found = []
    for group, exchanges, prompt, completion, cost, cost_rest, charge, charge_rest, unpriced, estimated in rows:
        if by == "day":
            name = datetime.fromtimestamp(group * 86400, UTC).date().isoformat()
        elif by == "key":
            name = "(no key)" if group is None else names.get(group) or group
        else:
            name = group
        found.append(
            UsageRow(
                name=name,
                exchanges=exchanges,
                prompt=prompt,
                completion=completion,
                cost=cost * 1_000_000 + cost_rest,
                charge=charge * 1_000_000 + charge_rest,
                unpriced=unpriced,
                estimated=estimated,
            )
        )
    return sorted(found, key=lambda row: row.name if by == "day" else (-row.charge, row.name))
