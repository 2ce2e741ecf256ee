"""The steps of an answer, one after the other: what a decoder of a provider's wire gives, and a client is told.

It never knows a wire format: `Verbatim` is a frame of the API that both ends speak, which they alone can read.
"""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec import Raw, Struct

from infron.errors import InfronError
from infron.money import Charge, Usage
from infron.request import Outgoing


class ClientEvent(Struct, frozen=True, gc=False):
    """A step that a client is told of. Each has `content`: it commits us to this provider; `text`: delivered tokens."""


class Verbatim(ClientEvent, frozen=True, gc=False):
    """A frame of the provider's own JSON, by root field, for a client that speaks the same API.

    `rest`: what is handed on as it came, in its API's own way (of a chat frame the value of `choices` and all that
    follows it, up to the closing brace). Frames that begin alike may share one `fields`. Embeddings are told so by all
    hosts, each as an item of `data`, as OpenAI has them.
    """

    fields: dict[str, Raw]
    content: bool
    text: str
    rest: bytes = b""


class Started(ClientEvent, frozen=True, gc=False):
    """The provider has begun to answer, and says nothing yet. `id`: its own of the answer."""

    id: str = ""
    content: ClassVar[bool] = False
    text: ClassVar[str] = ""


class TextDelta(ClientEvent, frozen=True, gc=False):
    text: str
    choice: int = 0
    content: ClassVar[bool] = True


class RefusalDelta(ClientEvent, frozen=True, gc=False):
    text: str
    choice: int = 0
    content: ClassVar[bool] = True


class ThinkingDelta(ClientEvent, frozen=True, gc=False):
    """A piece of the `index`-th block of thinking: text, then its signature, or encrypted data in one piece.

    `format`: as in `conversation.Thinking`. `summary`: it is a digest of the thinking, not their text.
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


class ToolCallStarted(ClientEvent, frozen=True, gc=False):
    """`index`: 0 for the first call of the choice, and so on. `signature`: of the thinking behind it (Gemini)."""

    index: int
    id: str
    name: str
    signature: str = ""
    choice: int = 0
    content: ClassVar[bool] = True

    @property
    def text(self) -> str:
        return self.name


class ToolCallDelta(ClientEvent, frozen=True, gc=False):
    """A piece of the JSON of a call's arguments. A call without arguments has at least one, `{}`."""

    index: int
    arguments: str
    choice: int = 0
    content: ClassVar[bool] = True

    @property
    def text(self) -> str:
        return self.arguments


class MediaDelta(ClientEvent, frozen=True, gc=False):
    """A whole picture or sound. `data`: base64."""

    mime: str
    data: str
    choice: int = 0
    content: ClassVar[bool] = True
    text: ClassVar[str] = ""


class Annotated(ClientEvent, frozen=True, gc=False):
    """A source that the text before it cites: `raw` is a field of `annotations` of the chat wire."""

    raw: dict[str, Any]
    choice: int = 0
    content: ClassVar[bool] = False
    text: ClassVar[str] = ""


class Untold(Struct, gc=False):
    """A step that no client is told of."""

    content: ClassVar[bool] = False
    text: ClassVar[str] = ""


class UsageReported(Untold, gc=False):
    """The provider's running or final token counts, and what it says that the answer costs us (picodollars).

    `raw`: its own object where that is `usage` of the chat API, else further fields for it. `tier`: the service tier
    that it says it has served, in the words of the price list; "" where it does not say.
    """

    usage: Usage
    raw: dict[str, Any] | None = None
    cost: int | None = None
    tier: str = ""


class Billed(Struct, frozen=True, kw_only=True):
    """The counts that a client is told at the end, and what they cost; None: no price is known.

    `raw`: what the provider itself reported, in the names of the chat wire. `provider`: who answered. `seconds`: from
    the request to the first content, and to the end.
    """

    usage: Usage
    charge: Charge | None
    estimated: bool
    provider: str
    raw: dict[str, Any] | None = None
    seconds: tuple[float, float] = (0.0, 0.0)


class Finished(ClientEvent, frozen=True, gc=False):
    """A choice has ended. From an OpenAI host: every choice seen so far has, and the Verbatim before says so (`told`).

    `reason`: stop, length, tool_calls, content_filter (an answer that ends in any other way has Failed); `native`:
    the provider's own word for it.
    """

    reason: str
    native: str = ""
    choice: int = 0
    told: bool = False
    content: ClassVar[bool] = False
    text: ClassVar[str] = ""


class Onward(Untold, gc=False):
    """The answer goes on in the answer to this further request to the same provider. `works`: by more work, for which
    the provider is paid: it is not begun for a client that has left.
    """

    request: Outgoing
    works: bool = False


class Done(Untold, gc=False):
    """The provider said that its stream is over."""


class Failed(Untold, gc=False):
    """The provider said, inside its stream, that it failed."""

    error: InfronError


Delta = TextDelta | RefusalDelta | ThinkingDelta | ToolCallStarted | ToolCallDelta | MediaDelta | Annotated
AnyClientEvent = Verbatim | Started | Delta | Finished
Event = AnyClientEvent | UsageReported | Onward | Done | Failed
