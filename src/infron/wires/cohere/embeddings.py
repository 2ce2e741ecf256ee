"""Cohere's embeddings, as OpenAI's clients ask for them.

It never knows which form of vectors a client wants: numbers are asked for. Source: Cohere API reference, v2/embed.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from infron.catalog.definitions import Provider
from infron.events import Event
from infron.request import Outgoing, Request
from infron.wires.cohere.decoder import parse_error
from infron.wires.embedding import Asked, VectorDecoder, asked_of, batches, outgoing
from infron.wires.lenient_json import dict_in, value_of
from infron.wires.unstreamed import MEDIA_TYPE, fields_in, items_in
from infron.wires.usage import tokens

DEFAULTS: dict[str, Any] = {"chat_path": "/v2/embed", "usage": "always", "completes": False}
CAN_CALL = False
whole_request = None
MOST = 96  # texts of one request
OWN = ("input_type", "max_tokens", "priority", "truncate")  # what callers may say by its name there
TASK = ("task_type", "taskType")  # what Google's clients call it
_TASKS = {
    "CLASSIFICATION": "classification",
    "CLUSTERING": "clustering",
    "CODE_RETRIEVAL_QUERY": "search_query",
    "FACT_VERIFICATION": "search_query",
    "QUESTION_ANSWERING": "search_query",
    "RETRIEVAL_DOCUMENT": "search_document",
    "RETRIEVAL_QUERY": "search_query",
}

__all__ = ["CAN_CALL", "DEFAULTS", "MEDIA_TYPE", "Decoder", "encode_request", "parse_error", "whole_request"]


def encode_request(request: Request, provider: Provider, provider_model: str, ask_usage: bool) -> Outgoing:
    """A request for each 96 texts. They are documents unless the caller says another `input_type`."""
    asked = asked_of(request, provider)
    rest = rest_of(asked)
    bodies = ({"model": provider_model, "texts": texts, **rest} for texts in batches(asked.texts, MOST))
    return outgoing(bodies, left_of(asked))


def left_of(asked: Asked) -> set[str]:
    """Names of what cannot be told here."""
    return {name for name, value in asked.fields.items() if name not in OWN and not (name in TASK and _task(value))}


def _task(value: Any) -> str:
    """Cohere's word for a task of Google's; "" for what is none."""
    return _TASKS.get(value, "") if isinstance(value, str) else ""


def rest_of(asked: Asked) -> dict[str, Any]:
    """All of a request but the texts and the model."""
    task = next((task for name in TASK if (task := _task(asked.fields.get(name)))), "")
    own = {"input_type": task} if task else {}
    own.update({name: asked.fields[name] for name in OWN if name in asked.fields})
    wanted = {} if asked.dimensions is None else {"output_dimension": asked.dimensions}
    return {"input_type": "search_document", **own, "embedding_types": ["float"], **wanted}


_vectors = msgspec.json.Decoder(list[Raw])


class Decoder(VectorDecoder):
    _parse_error = staticmethod(parse_error)

    def _read(self, body: bytes, events: list[Event]) -> None:
        fields = self._fields(body, "embeddings", events)
        if fields is None:
            return
        id = value_of(bytes(fields.get("id", b"null")))
        self.upstream_id = id[:200] if isinstance(id, str) and id else None
        meta = value_of(bytes(fields.get("meta", b"null")))
        billed = dict_in(meta, "billed_units") if isinstance(meta, dict) else {}
        self._tell(vectors_of(fields["embeddings"]), tokens(billed.get("input_tokens")), events)


def vectors_of(embeddings: Raw) -> list[Raw]:
    """By type, or, where none was asked for, without."""
    by_type = fields_in(bytes(embeddings))
    return items_in(embeddings if by_type is None else by_type.get("float"), _vectors)
