"""Embeddings of Google AI Studio, as OpenAI's clients ask for them.

It never knows which form of vectors a client wants: there are only numbers. Source: Gemini API reference,
`models.batchEmbedContents`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from infron.catalog.definitions import Provider
from infron.events import Event
from infron.request import Outgoing, Request
from infron.wires.embedding import VectorDecoder, asked_of, batches, outgoing
from infron.wires.gemini.decoder import parse_error
from infron.wires.lenient_json import value_of
from infron.wires.unstreamed import MEDIA_TYPE, items_in
from infron.wires.usage import tokens

DEFAULTS: dict[str, Any] = {
    "chat_path": "/models/{model}:batchEmbedContents",
    "version_path": "/v1beta",
    "auth": {"header": "x-goog-api-key", "scheme": ""},
    "usage": "always",
    "completes": False,
}
CAN_CALL = False
whole_request = None
MOST = 100  # texts of one request
OWN = {"task_type": "taskType", "taskType": "taskType", "title": "title"}  # what callers may say by its name there

__all__ = ["CAN_CALL", "DEFAULTS", "MEDIA_TYPE", "Decoder", "encode_request", "parse_error", "whole_request"]


def encode_request(request: Request, provider: Provider, provider_model: str, ask_usage: bool) -> Outgoing:
    """A request for each 100 texts."""
    asked = asked_of(request, provider)
    rest = {OWN[name]: value for name, value in asked.fields.items() if name in OWN}
    if asked.dimensions is not None:
        rest["outputDimensionality"] = asked.dimensions
    model = f"models/{provider_model}"

    def body(texts: Any) -> dict[str, Any]:
        return {"requests": [{"model": model, "content": {"parts": [{"text": text}]}, **rest} for text in texts]}

    return outgoing(map(body, batches(asked.texts, MOST)), asked.fields.keys() - OWN.keys())


class _Values(Struct):
    values: Raw


_embeddings = msgspec.json.Decoder(list[_Values])


class Decoder(VectorDecoder):
    _parse_error = staticmethod(parse_error)

    def _read(self, body: bytes, events: list[Event]) -> None:
        fields = self._fields(body, "embeddings", events)
        if fields is None:
            return
        usage = value_of(bytes(fields.get("usageMetadata", b"null")))
        prompt = tokens(usage.get("promptTokenCount")) if isinstance(usage, dict) else None
        self._tell([item.values for item in items_in(fields["embeddings"], _embeddings)], prompt, events)
