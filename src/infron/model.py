"""The values that everything else passes around: usage, money, outcomes, receipts. No identity, no behaviour.

It never knows a wire format, a provider, or a clock.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from msgspec import Raw, Struct

from infron.errors import InfronError

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


class Preferences(Struct, frozen=True, kw_only=True):
    """The request's `provider` object, as far as it chooses candidates: lists of provider ids."""

    order: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    allow_fallbacks: bool = True


class Request(Struct, frozen=True, kw_only=True):
    """What the caller wants. `fields`: the root members that go on to the provider, each as its own JSON."""

    model: str
    stream: bool
    include_usage: bool
    fields: dict[str, Raw]
    models: tuple[str, ...] = ()  # to be tried after `model`
    preferences: Preferences = Preferences()
    user: str | None = None
    session_id: str | None = None
    service_tier: str | None = None  # it changes the price


# ---- one step of an answer


class Chunk(Struct, gc=False):
    """A frame of the provider's own JSON, by root member. `text`: what of it the meter counts as delivered tokens."""

    members: dict[str, Raw]
    content: bool
    text: str


class UsageReported(Struct, gc=False):
    """The provider's running or final token counts, as it wrote them."""

    raw: dict[str, Any]


class Finished(Struct, gc=False):
    """Every choice seen so far has a finish reason. `reason`: that of the last one."""

    reason: str


class Done(Struct, gc=False):
    """The provider said that its stream is over."""


class Failed(Struct, gc=False):
    """The provider said, inside its stream, that it failed."""

    error: InfronError


Event = Chunk | UsageReported | Finished | Done | Failed
