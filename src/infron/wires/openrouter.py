"""The chat completions API as OpenRouter speaks it, under `/api/v1`: its own libraries check every field.

It never differs from the chat API but in its errors, and in that counts always come.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from infron.errors import InfronError
from infron.events import Billed
from infron.request import NO_TARGET, Headers, Request, Target
from infron.wires import sse
from infron.wires.errors import error_object, message_in_stream
from infron.wires.openai import chat
from infron.wires.openai.chat.answer import usage_fields
from infron.wires.openai.chat.encoder import DONE

NAME = "openrouter"
PATHS = ("/api/v1/chat/completions",)
NEAR = ("/api/",)
ID_HEADER = chat.ID_HEADER
ASKED = "usage"  # the form of a stream whose caller asked for its counts

_encode = msgspec.json.Encoder().encode
_FAILED = [
    {
        "index": 0,
        "delta": {"role": "assistant", "content": ""},
        "finish_reason": "error",
        "native_finish_reason": "error",
    }
]


def parse(body: bytes, headers: Headers, target: Target = NO_TARGET) -> Request:
    """A request of the chat API, whose stream always ends with its counts. Raises InvalidRequest."""
    request = chat.parse(body, headers)
    return replace(request, dialect=NAME, form=ASKED if request.include_usage else "", include_usage=True)


class Encoder(chat.Encoder):
    """Events to the bytes of a client's stream."""

    def __init__(self, id: str, created: int, request: Request) -> None:
        super().__init__(id, created, request)
        self._asked = request.form == ASKED

    def _usage_fields(self, billed: Billed) -> dict[str, Any]:
        return _usage_fields(billed)

    def fail(self, error: InfronError) -> bytes:
        """The last frame of a stream that failed, and its end. With `choices`: the libraries refuse a frame without."""
        told = _told(error, message_in_stream(error, self.begun))
        return sse.encode(sse.unbroken(_encode({**self.head(), "error": told, "choices": _FAILED}))) + DONE


class Accumulator(chat.Accumulator):
    """The same events to the one JSON of an answer that is not streamed."""

    def _usage_fields(self, billed: Billed) -> dict[str, Any]:
        return _usage_fields(billed)


def _usage_fields(billed: Billed) -> dict[str, Any]:
    """A cost that nobody knows is absent: the libraries refuse null."""
    fields = usage_fields(billed)
    if billed.charge is None:
        del fields["usage"]["cost"]
    return fields


def render_error(error: InfronError) -> bytes:
    """The body of an HTTP error."""
    return _encode({"error": _told(error)})


def _told(error: InfronError, message: str = "") -> dict[str, Any]:
    """`code` is the HTTP status here; the word by which OpenAI calls it is in `metadata`."""
    told = error_object(error, message)
    metadata = {**told["metadata"], "provider_code": told["code"], "param": told["param"]}
    return {"code": error.status, "message": told["message"], "metadata": metadata}
