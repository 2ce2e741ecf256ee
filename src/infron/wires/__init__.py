"""The wire formats by name, each with both directions, in files that begin with the wire's name.

It never knows an exchange: a wire is asked, and answers with values.

`WIRE.py` is the module that `WIRES` names: the provider's streams, made into events, and its errors. Beside it:
`WIRE_request` makes the provider's request, `WIRE_messages` of it what is said, `WIRE_models` knows what each model
takes. The two wires that clients speak have more:

- chat: `openai_request` parses the client's body too; `openai_messages`, `openai_parts`, `openai_steering` make it a
  conversation and back; `openai_delta`, `openai_events` read and write what a chunk says; `openai_answer` folds whole
  answers; `openai_errors` tells errors, and reads those of most providers. `openai_chat` has the client's stream.
- anthropic: `anthropic_parse` reads the client's body, `anthropic_answer` writes its stream and whole answers;
  `anthropic_words` has the words of both directions.

`gemini_frame` is what one frame of Gemini holds. What all share: `sse` and `eventstream` are framing, `decoding` what
the decoders do alike, `loose` reads JSON of others, `usage` counts tokens, `members` reads a caller's JSON, `media`
knows types of media, `schemas` cuts JSON Schemas to what a model can be held to, `json_answer` is for models that can
be held to none. `sigv4` signs for AWS.
"""

from __future__ import annotations

from typing import Protocol

from infron.catalog.definitions import Provider
from infron.errors import InfronError
from infron.events import Event
from infron.request import Outgoing, Request
from infron.wires import anthropic, bedrock, cloudflare, cohere, gemini, replicate
from infron.wires.errors import Headers
from infron.wires.openai import chat as openai_chat


class Decoder(Protocol):
    """One answer of a provider to events. Raises only InfronError; nothing follows Done, Onward or Failed.

    `finished`: every choice seen has ended. `upstream_id`: the provider's own id of the answer.
    `cancel`: what must be sent to stop the work when the client leaves (rows with `on_disconnect = "call"`).
    `headers`: those of the answer, set before its first byte is fed.
    """

    upstream_id: str | None
    finished: bool
    cancel: Outgoing | None
    headers: Headers

    def feed(self, data: bytes) -> list[Event]:
        """What these bytes of the stream complete."""

    def close(self) -> list[Event]:
        """The body ended: what was complete but for its last delimiter. Not Done, unless that was said."""

    def whole(self, body: bytes) -> list[Event]:
        """A body that is no stream: an error with status 200, a whole answer, or what leads onward."""


class Wire(Protocol):
    """The provider's side of a wire; a module."""

    MEDIA_TYPE: bytes  # how the content type of its streams begins

    def encode_request(self, request: Request, provider: Provider, provider_model: str, ask_usage: bool, /) -> Outgoing:
        """What to send. `provider_model`: the provider's own id of the model.

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
