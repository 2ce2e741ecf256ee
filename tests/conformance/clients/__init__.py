"""The clients, by the name of their API: how each asks, and what it hears.

They never read more leniently than the API's documentation: what a library would trip over fails here.
"""

from __future__ import annotations

from typing import Any, Protocol

from conformance.clients.chat import Chat, OpenRouter
from conformance.clients.gemini import Gemini
from conformance.clients.messages import Messages
from conformance.clients.ollama import Ollama
from conformance.clients.responses import Responses
from conformance.said import Ask, Heard, Kind
from infron.request import Target


class Client(Protocol):
    """A client of one API. `wordless`: problems for which it has no word, and what it hears instead, in a stream and
    before it. `refuses`: a refusal is told apart from the text; `counts_parts`: of the counts, what was cached and what
    thought; `keeps_signatures`: those of thinking has a place in its history.
    """

    refuses: bool
    counts_parts: bool
    keeps_signatures: bool
    wordless: dict[Kind, Kind]
    wordless_in_stream: dict[Kind, Kind]

    def target(self, ask: Ask, model: str, /) -> Target:
        """Where the request goes."""

    def body(self, ask: Ask, model: str, /) -> dict[str, Any]:
        """The request."""

    def stream(self, data: bytes, /) -> Heard:
        """A whole stream."""

    def whole(self, data: bytes, /) -> Heard:
        """An answer that is not streamed."""

    def problem(self, status: int, data: bytes, /) -> Heard:
        """The body of an HTTP error."""


CLIENTS: dict[str, Client] = {
    "openai-chat": Chat(),
    "openrouter": OpenRouter(),
    "anthropic": Messages(),
    "gemini": Gemini(),
    "ollama": Ollama(),
    "openai-responses": Responses(),
}
