"""Embeddings of Amazon Bedrock, as OpenAI's clients ask for them: those of Titan, Nova and Cohere.

It never knows which form of vectors a client wants: numbers are asked for. Source: Amazon Bedrock user guide, inference
parameters of these models.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from infron.catalog.definitions import Provider
from infron.errors import Unsupported
from infron.events import Event
from infron.request import Outgoing, Request
from infron.wires.bedrock.decoder import parse_error
from infron.wires.cohere.embeddings import MOST, left_of, rest_of, vectors_of
from infron.wires.embedding import Asked, VectorDecoder, asked_of, batches, outgoing
from infron.wires.lenient_json import value_of
from infron.wires.unstreamed import MEDIA_TYPE, fields_in, items_in
from infron.wires.usage import tokens

DEFAULTS: dict[str, Any] = {"chat_path": "/model/{model}/invoke", "usage": "always", "completes": False}
CAN_CALL = False
whole_request = None
COUNT = b"x-amzn-bedrock-input-token-count"

__all__ = ["CAN_CALL", "DEFAULTS", "MEDIA_TYPE", "Decoder", "encode_request", "parse_error", "whole_request"]


def encode_request(request: Request, provider: Provider, provider_model: str, ask_usage: bool) -> Outgoing:
    """A request for each text, of Cohere's models for each 96. Raises Unsupported for models that are none of these."""
    asked = asked_of(request, provider)
    name = provider_model.lower()
    if "cohere" in name:
        rest = rest_of(asked)
        bodies = ({"texts": texts, **rest} for texts in batches(asked.texts, MOST))
        return outgoing(bodies, left_of(asked))
    if "titan-embed" in name:
        settings, taken = _titan(asked, name)
        return outgoing(({"inputText": text, **settings} for text in asked.texts), _left(asked, taken))
    if "nova" in name and "embed" in name:
        return outgoing((_nova(asked, text) for text in asked.texts), _left(asked, {"dimensions"}))
    what = f"`{provider_model[:200]}` is no embedding model that is known at {provider.name}: those of Titan, Nova and"
    raise Unsupported(f"{what} Cohere are.", param="model", provider=provider.id)


def _left(asked: Asked, taken: set[str]) -> set[str]:
    given = {*asked.fields, *(() if asked.dimensions is None else ("dimensions",))}
    return given - taken


def _titan(asked: Asked, name: str) -> tuple[dict[str, Any], set[str]]:
    """What stands beside the text, and which fields of the caller that says."""
    wanted = asked.dimensions
    if "image" in name:
        return ({} if wanted is None else {"embeddingConfig": {"outputEmbeddingLength": wanted}}), {"dimensions"}
    if "-v1" in name or "g1-text" in name:
        return {}, set()
    settings = {} if wanted is None else {"dimensions": wanted}
    if "normalize" in asked.fields:
        settings["normalize"] = asked.fields["normalize"]
    return settings, {"dimensions", "normalize"}


def _nova(asked: Asked, text: str) -> dict[str, Any]:
    settings = {} if asked.dimensions is None else {"embeddingDimension": asked.dimensions}
    single = {"embeddingPurpose": "GENERIC_INDEX", **settings, "text": {"truncationMode": "NONE", "value": text}}
    return {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": single}


class _Embedding(Struct):
    embedding: Raw


_typed = msgspec.json.Decoder(list[_Embedding])


class Decoder(VectorDecoder):
    _parse_error = staticmethod(parse_error)

    def _read(self, body: bytes, events: list[Event]) -> None:
        of_titan = "embedding" in (fields_in(body) or {})
        fields = self._fields(body, "embedding" if of_titan else "embeddings", events)
        if fields is None:
            return
        counted = tokens(value_of(bytes(fields.get("inputTextTokenCount", b"null"))))
        if counted is None:
            told = next((value for name, value in self.headers if name == COUNT), b"")
            counted = int(told) if told.isdigit() and len(told) < 13 else None
        if of_titan:
            vectors = [fields["embedding"]]
        else:
            vectors = [item.embedding for item in items_in(fields["embeddings"], _typed)]
            vectors = vectors or vectors_of(fields["embeddings"])
        self._tell(vectors, counted, events)
