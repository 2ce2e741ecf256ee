"""Embeddings of Vertex AI, as OpenAI's clients ask for them.

It never knows which form of vectors a client wants: there are only numbers. Source: Vertex AI reference, text
embeddings.
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
from infron.wires.lenient_json import dict_in, value_of
from infron.wires.unstreamed import MEDIA_TYPE, items_in
from infron.wires.usage import tokens

DEFAULTS: dict[str, Any] = {"chat_path": "/models/{model}:predict", "usage": "always", "completes": False}
CAN_CALL = False
whole_request = None
MOST, MOST_OF_GEMINI = 25, 1  # texts of one request; a request has at most 20,000 tokens
OWN = {"task_type": "task_type", "taskType": "task_type", "title": "title"}  # of each text
SETTINGS = {"auto_truncate": "autoTruncate", "autoTruncate": "autoTruncate"}

__all__ = ["CAN_CALL", "DEFAULTS", "MEDIA_TYPE", "Decoder", "encode_request", "parse_error", "whole_request"]


def encode_request(request: Request, provider: Provider, provider_model: str, ask_usage: bool) -> Outgoing:
    """A request for a few texts each; Gemini's models take one."""
    asked = asked_of(request, provider)
    rest = {OWN[name]: value for name, value in asked.fields.items() if name in OWN}
    settings = {SETTINGS[name]: value for name, value in asked.fields.items() if name in SETTINGS}
    if asked.dimensions is not None:
        settings["outputDimensionality"] = asked.dimensions
    more = {"parameters": settings} if settings else {}

    def body(texts: Any) -> dict[str, Any]:
        return {"instances": [{"content": text, **rest} for text in texts], **more}

    most = MOST_OF_GEMINI if "gemini" in provider_model else MOST
    return outgoing(map(body, batches(asked.texts, most)), asked.fields.keys() - OWN.keys() - SETTINGS.keys())


class _Vector(Struct):
    values: Raw
    statistics: Raw = Raw(b"null")


class _Prediction(Struct):
    embeddings: _Vector


_predictions = msgspec.json.Decoder(list[_Prediction])


class Decoder(VectorDecoder):
    _parse_error = staticmethod(parse_error)

    def _read(self, body: bytes, events: list[Event]) -> None:
        fields = self._fields(body, "predictions", events)
        if fields is None:
            return
        found = [item.embeddings for item in items_in(fields["predictions"], _predictions)]
        counts = [_count(vector.statistics) for vector in found]
        known = [count for count in counts if count is not None]
        self._tell([vector.values for vector in found], sum(known) if len(known) == len(counts) else None, events)


def _count(statistics: Raw) -> int | None:
    value = value_of(bytes(statistics))
    return tokens(dict_in({"statistics": value}, "statistics").get("token_count"))
