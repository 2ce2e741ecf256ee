"""The wire formats by name, each with both directions. The chat wire fills several files: `openai_chat` and its parts.

It never knows an exchange: a wire is asked, and answers with values.
"""

from __future__ import annotations

from typing import Protocol

from infron.catalog import Provider
from infron.errors import InfronError
from infron.model import Event, Outgoing, Request
from infron.wires import anthropic, bedrock, cloudflare, cohere, gemini, openai_chat, replicate

Headers = list[tuple[bytes, bytes]]  # names in lower case


class Decoder(Protocol):
    """One answer of a provider to events. Raises only InfronError; nothing follows Done, Onward or Failed.

    `finished`: every choice seen has ended. `upstream_id`: the provider's own id of the answer.
    `cancel`: what must be sent to stop the work when the client leaves (rows with `on_disconnect = "call"`).
    """

    upstream_id: str | None
    finished: bool
    cancel: Outgoing | None

    def feed(self, data: bytes) -> list[Event]:
        """What these bytes of the stream complete."""

    def close(self) -> list[Event]:
        """The body ended: what was complete but for its last delimiter. Not Done, unless that was said."""

    def whole(self, body: bytes) -> list[Event]:
        """A body that is no stream: an error with status 200, a whole answer, or what leads onward."""


class Wire(Protocol):
    """The provider's side of a wire; a module."""

    MEDIA_TYPE: bytes  # how the content type of its streams begins

    def encode_request(self, request: Request, provider: Provider, own_id: str, ask_usage: bool, /) -> Outgoing:
        """What to send. `own_id`: the provider's own id of the model.

        Raises Unsupported for content that cannot be carried; what merely steers the answer is left out, by name.
        """

    def Decoder(self, provider: Provider, max_frame_bytes: int, key: str, /) -> Decoder:
        """For one answer. `key`: ours at this provider, which no message may repeat."""

    def parse_error(
        self, status: int, headers: Headers, body: bytes, provider: Provider, key: str, now: float, /
    ) -> InfronError:
        """A provider's error as ours. `now`: unix seconds."""


WIRES: dict[str, Wire] = {
    "openai-chat": openai_chat,
    "anthropic": anthropic,
    "bedrock": bedrock,
    "cloudflare": cloudflare,
    "cohere": cohere,
    "gemini": gemini,
    "replicate": replicate,
}
