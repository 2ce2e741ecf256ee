"""The values that everything else passes around: usage, money, outcomes, receipts. No identity, no behaviour.

It never knows a wire format, a provider, or a clock.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

from msgspec import Raw, Struct

from infron.errors import InfronError

# Money is whole picodollars (1e-12 USD) everywhere; it is turned into dollars once, where it is shown.
PICODOLLARS = 10**12


def usd(picodollars: int | None) -> float | None:
    """The amount in dollars, as it is shown; None where it is not known."""
    return None if picodollars is None else picodollars / PICODOLLARS


class Outcome(StrEnum):
    """How an exchange ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DRAINED = "drained"
    TIMED_OUT = "timed_out"


class Usage(Struct, frozen=True, kw_only=True):
    """Token counts of one answer. `prompt` includes cached and cache-write tokens, `completion` includes reasoning.

    `cache_write_1h`: those of `cache_write` that are kept for an hour.
    """

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
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
    cache_write_1h: int | None = None
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
    native_finish_reason: str | None = None  # the provider's own word for it
    error_type: str | None = None
    error: str | None = None  # one sentence, without prompts or keys
    upstream_id: str | None = None
    latency_ms: float | None = None  # to the first content
    generation_ms: float | None = None  # first content to the end
    upstream_closed_ms: float | None = None
    frames: int = 0
    on_disconnect: str | None = None  # what was done when the client left, and why
    attempts: tuple[str, ...] = ()  # "provider: error_type" of each failed candidate
    dropped: tuple[str, ...] = ()  # parameters that the provider could not take


class Preferences(Struct, frozen=True, kw_only=True):
    """The request's `provider` object, as far as it chooses candidates: lists of provider ids."""

    order: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    allow_fallbacks: bool = True
    require_parameters: bool = False  # rather fail than leave out what a provider cannot take


NO_WISHES = Preferences()


class Request(Struct, frozen=True, kw_only=True):
    """What the caller wants. `fields`: the root members that go on to the provider, each as its own JSON."""

    model: str
    stream: bool
    include_usage: bool
    fields: dict[str, Raw]
    models: tuple[str, ...] = ()  # to be tried after `model`
    preferences: Preferences = NO_WISHES
    user: str | None = None
    session_id: str | None = None
    service_tier: str | None = None  # it changes the price


class Outgoing(Struct, frozen=True, kw_only=True):
    """A request to a provider, as its wire makes it. The row's own headers and our key come on top.

    `url`: another address than the row's: a path below its `base_url`, beginning with `/`, or a full URL that the wire
    has checked. `dropped`: names of what the caller sent and this provider cannot take. `delay`: seconds to wait first.
    """

    body: bytes = b""
    method: str = "POST"
    url: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()
    delay: float = 0.0


# ---- one step of an answer


class Telling(Struct, frozen=True, gc=False):
    """A step that a client is told of. Each has `content`: it commits us to this provider; `text`: delivered tokens."""


class Chunk(Telling, frozen=True, gc=False):
    """A frame of the provider's own JSON, by root member.

    `rest`, where it is not empty, is the value of `choices` and all that follows it, up to the closing brace: `members`
    are then those before it, one dict for all frames of a stream that begin alike.
    """

    members: dict[str, Raw]
    content: bool
    text: str
    rest: bytes = b""


class Started(Telling, frozen=True, gc=False):
    """The provider has begun to answer, and says nothing yet. `id`: its own of the answer."""

    id: str = ""
    content: ClassVar[bool] = False
    text: ClassVar[str] = ""


class TextDelta(Telling, frozen=True, gc=False):
    text: str
    choice: int = 0
    content: ClassVar[bool] = True


class RefusalDelta(Telling, frozen=True, gc=False):
    text: str
    choice: int = 0
    content: ClassVar[bool] = True


class ThinkingDelta(Telling, frozen=True, gc=False):
    """A piece of the `index`-th block of thoughts: text, then its signature, or encrypted data in one piece.

    `format`: as in `conversation.Thinking`. `summary`: it is a digest of the thoughts, not their text.
    """

    text: str = ""
    signature: str = ""
    data: str = ""
    format: str = ""
    index: int = 0
    choice: int = 0
    summary: bool = False
    id: str = ""
    content: ClassVar[bool] = True


class ToolCallStarted(Telling, frozen=True, gc=False):
    """`index`: 0 for the first call of the choice, and so on. `signature`: of the thoughts behind it (Gemini)."""

    index: int
    id: str
    name: str
    signature: str = ""
    choice: int = 0
    content: ClassVar[bool] = True

    @property
    def text(self) -> str:
        return self.name


class ToolCallDelta(Telling, frozen=True, gc=False):
    """A piece of the JSON of a call's arguments. A call without arguments has at least one, `{}`."""

    index: int
    arguments: str
    choice: int = 0
    content: ClassVar[bool] = True

    @property
    def text(self) -> str:
        return self.arguments


class MediaDelta(Telling, frozen=True, gc=False):
    """A whole picture or sound. `data`: base64."""

    mime: str
    data: str
    choice: int = 0
    content: ClassVar[bool] = True
    text: ClassVar[str] = ""


class Annotated(Telling, frozen=True, gc=False):
    """A source that the text before it cites: `raw` is a member of `annotations` of the chat wire."""

    raw: dict[str, Any]
    choice: int = 0
    content: ClassVar[bool] = False
    text: ClassVar[str] = ""


class UsageReported(Struct, gc=False):
    """The provider's running or final token counts. `raw`: in the names of the chat wire's `usage`."""

    raw: dict[str, Any]


class Finished(Telling, frozen=True, gc=False):
    """A choice has ended. From an OpenAI host: every choice seen so far has, and the Chunk before says so (`told`).

    `reason`: stop, length, tool_calls, content_filter (an answer that ends in any other way has Failed); `native`:
    the provider's own word for it.
    """

    reason: str
    native: str = ""
    choice: int = 0
    told: bool = False
    content: ClassVar[bool] = False
    text: ClassVar[str] = ""


class Onward(Struct, gc=False):
    """The answer goes on in the answer to this further request to the same provider."""

    request: Outgoing


class Done(Struct, gc=False):
    """The provider said that its stream is over."""


class Failed(Struct, gc=False):
    """The provider said, inside its stream, that it failed."""

    error: InfronError


Delta = TextDelta | RefusalDelta | ThinkingDelta | ToolCallStarted | ToolCallDelta | MediaDelta | Annotated
Told = Chunk | Started | Delta | Finished
Event = Told | UsageReported | Onward | Done | Failed
