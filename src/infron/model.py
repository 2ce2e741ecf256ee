"""The values that everything else passes around: usage, money, outcomes, receipts. No identity, no behaviour.

It never knows a wire format, a provider, or a clock.
"""

from __future__ import annotations

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

# Money is whole picodollars (1e-12 USD) everywhere; it is turned into dollars once, where it is shown.
PICODOLLARS = 10**12


class Outcome(StrEnum):
    """How an exchange ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DRAINED = "drained"
    TIMED_OUT = "timed_out"


class Usage(Struct, frozen=True, kw_only=True):
    """Token counts of one answer. `prompt` includes cached and cache-write tokens, `completion` includes reasoning."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0


class Price(Struct, frozen=True, kw_only=True):
    """What one token costs, in picodollars. `None`: this kind of token has no price of its own.

    `request` is a flat price of each request. `source` says where the price comes from, for the receipt.
    Above `tier_from` prompt tokens (0: never) the whole answer is priced with `tier` instead.
    """

    prompt: int
    completion: int
    cached: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    request: int = 0
    source: str = ""
    tier_from: int = 0
    tier: Price | None = None


class Charge(Struct, frozen=True, kw_only=True):
    """Money, in picodollars, in the parts that the wire shows. `total` is their sum."""

    prompt: int = 0  # uncached prompt tokens only
    completion: int = 0
    cached: int = 0
    cache_write: int = 0
    request: int = 0

    @property
    def total(self) -> int:
        return self.prompt + self.completion + self.cached + self.cache_write + self.request


class Opening(Struct, frozen=True, kw_only=True):
    """What the ledger writes before the first byte goes to the client."""

    id: str  # gen-…
    key_id: str | None
    model: str  # the id the caller asked for
    provider: str
    provider_model: str
    streamed: bool
    created_at: float  # unix seconds
    price: Price | None
    user: str | None = None
    session_id: str | None = None


class Settlement(Struct, frozen=True, kw_only=True):
    """What the ledger writes when the exchange is over: exactly once.

    `cost` is what the provider bills us, `charge` what the caller owes; None where no price is known.
    Times are milliseconds since the request arrived, `upstream_closed_ms` since we noticed that the client left.
    """

    id: str
    outcome: Outcome
    provider: str
    provider_model: str
    price: Price | None
    usage: Usage
    estimated: bool = False
    cost: int | None = None
    charge: int | None = None
    finish_reason: str | None = None
    error_type: str | None = None
    error: str | None = None  # one sentence, without prompts or keys
    upstream_id: str | None = None
    latency_ms: float | None = None  # to the first content
    generation_ms: float | None = None  # first content to the end
    upstream_closed_ms: float | None = None
    frames: int = 0
    on_disconnect: str | None = None  # what was done when the client left, and why
    attempts: tuple[str, ...] = ()  # "provider: error_type" of each failed candidate
