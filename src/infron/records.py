"""What is written of an exchange: how it began, how it ended.

It never knows how an answer travelled, and never writes anything itself.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from infron.money import Charge, Price, Usage


class Outcome(StrEnum):
    """How an exchange ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DRAINED = "drained"
    TIMED_OUT = "timed_out"


class Kept(Struct, frozen=True, gc=False):
    """An answer that its client may refer to later.

    `response`: its JSON as it was told. `sealed`: id of an item of it -> what its model needs again and was not told.
    """

    response: bytes
    sealed: dict[str, str] = {}


class Opening(Struct, frozen=True, kw_only=True, gc=False):
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
    organisation: str | None = None  # that the key belongs to
    limited: bool = False  # the key or the organisation has limits: the ledger says whether it may begin


class Progress(Struct, frozen=True, kw_only=True, gc=False):
    """What has come of a running exchange so far. `tokens`: delivered, about. `latency_ms`: to the first content."""

    id: str
    tokens: int
    frames: int
    latency_ms: float | None


class Bill(Struct, frozen=True, kw_only=True, gc=False):
    """What is recorded and shown of an exchange's money, in picodollars. None: no price is known.

    `cost`: what the provider bills us, by its own word where it gave one · `charge`: what the caller owes, `parts`: of
    what that is made up · `estimated`: by our count, not the provider's.
    """

    usage: Usage
    estimated: bool = False
    price: Price | None
    cost: int | None = None
    charge: int | None = None
    parts: Charge | None = None


class FailedAttempt(Struct, frozen=True, kw_only=True):
    """One try at one candidate that failed, whether another followed or not.

    Times are milliseconds since the request arrived. `prompt`, `completion`: tokens that the provider may bill us for;
    `cost`: what it then bills us, picodollars, None where no price is known.
    """

    provider: str
    provider_model: str
    status: int  # as the caller would be answered
    error_type: str
    started_ms: float
    ended_ms: float
    prompt: int = 0
    completion: int = 0
    cost: int | None = 0


class Settlement(Struct, frozen=True, kw_only=True, gc=False):
    """What is told of an exchange when it is over: exactly once. The ledger keeps it.

    `key_id`, `model`: as in its opening. Times are milliseconds since the request arrived, `upstream_closed_ms` since
    we noticed that the client left.
    """

    id: str
    outcome: Outcome
    key_id: str | None = None
    model: str = ""
    provider: str
    provider_model: str
    bill: Bill
    finish_reason: str | None = None
    native_finish_reason: str | None = None  # the provider's own word for it
    error_type: str | None = None
    error: str | None = None  # one sentence, without prompts or keys
    upstream_id: str | None = None
    latency_ms: float | None = None  # to the first content
    generation_ms: float | None = None  # first content to the end
    upstream_closed_ms: float | None = None
    frames: int = 0
    on_disconnect: str | None = None  # what was done when the client left, and why
    attempts: tuple[FailedAttempt, ...] = ()
    dropped: tuple[str, ...] = ()  # parameters that the provider could not take
    clamped: int | None = None  # the most tokens that we let the answer have
