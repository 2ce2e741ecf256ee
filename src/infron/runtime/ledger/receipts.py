"""The receipt of an exchange, read from its entry.

It never knows who asks, nor whether they may.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from infron.money import Price, usd
from infron.records import Outcome
from infron.runtime.ledger import statements
from infron.runtime.ledger.statements import MILLION
from infron.runtime.ledger.store import Row, Rows, UnusableRow

_price = msgspec.json.Decoder(Price)
_names = msgspec.json.Decoder(list[str])
_attempts = msgspec.json.Decoder(list[dict[str, Any]])


class AttemptReceipt(Struct, frozen=True, kw_only=True):
    """A try at one candidate that failed. Milliseconds since the request arrived; `cost`: the provider's bill, in USD.

    What an earlier version did not record is None.
    """

    provider: str
    provider_model: str | None
    status: int | None
    error_type: str
    started_ms: float | None
    ended_ms: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: float | None


class Receipt(Struct, frozen=True, kw_only=True):
    """What the caller of an exchange may know of it. Money in USD, durations in milliseconds.

    `outcome` is None while it runs. Fields that are always None have a name in the public API and no value here.
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
    attempts: list[AttemptReceipt]
    dropped_parameters: list[str]  # what the caller sent and the provider cannot take
    clamped_max_tokens: int | None  # the most tokens that we let the answer have, where the caller said more or nothing
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


def read_entry(rows: Rows, id: str) -> Found | None:
    try:
        found = rows.read(statements.ENTRY, id)
    except UnusableRow:
        return None  # what cannot be asked for cannot be there
    if not found:
        return None
    entry: dict[str, Any] = dict(zip(statements.RECEIPT, found[0], strict=True))
    return Found(receipt=_receipt(entry), key_id=entry["key_id"], owner=entry["owner"])


def receipt_of(row: Row) -> Receipt:
    """Of the columns `statements.RECEIPT`."""
    return _receipt(dict(zip(statements.RECEIPT, row, strict=True)))


def _receipt(entry: dict[str, Any]) -> Receipt:
    outcome = None if entry["outcome"] is None else Outcome(entry["outcome"])
    charge, cost = _money(entry, "charge"), _money(entry, "cost")
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
        provider_cost=cost,
        price_source=_price.decode(entry["price"]).source if entry["price"] else None,
        estimated=None if outcome is None else bool(entry["estimated"]),
        upstream_closed_ms=entry["upstream_closed_ms"],
        on_disconnect=entry["on_disconnect"],
        frames=entry["frames"],
        attempts=[_attempt(one) for one in _attempts.decode(entry["attempts"])] if entry["attempts"] else [],
        dropped_parameters=_names.decode(entry["dropped"]) if entry["dropped"] else [],
        clamped_max_tokens=entry["clamped"],
        error=error,
        orphaned=bool(entry["orphaned"]),
        external_user=entry["end_user"],
        session_id=entry["session_id"],
    )


def _money(entry: dict[str, Any], name: str) -> float | None:
    """USD."""
    amount = entry[name]
    return None if amount is None else usd(entry[f"{name}_millions"] * MILLION + amount)


def _attempt(told: dict[str, Any]) -> AttemptReceipt:
    return AttemptReceipt(
        provider=told["provider"],
        provider_model=told.get("provider_model"),
        status=told.get("status"),
        error_type=told["error_type"],
        started_ms=told.get("started_ms"),
        ended_ms=told.get("ended_ms"),
        prompt_tokens=told.get("prompt"),
        completion_tokens=told.get("completion"),
        cost=usd(told.get("cost")),
    )
