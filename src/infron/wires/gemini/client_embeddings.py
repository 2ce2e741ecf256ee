"""Embeddings as clients of Gemini's API ask for them: of one content (`embedContent`), or of many at once.

It never knows who makes the vectors: what it reads is asked for as OpenAI's clients ask. Source: Gemini API reference,
`models.embedContent`, `models.batchEmbedContents`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from infron.events import Billed
from infron.request import NO_TARGET, Headers, Request, Target
from infron.wires.body import read
from infron.wires.gemini.client_request import bare
from infron.wires.gemini.encoder import render_error
from infron.wires.gemini.words import camel, spelt
from infron.wires.json_steps import value_in
from infron.wires.openai import embeddings
from infron.wires.openai.embeddings.request import asked_by_another
from infron.wires.request_fields import object_of, objects_of, string_of, unsupported

NAME = "gemini-embeddings"
ONE, MANY = "embedContent", "batchEmbedContents"
PATHS = tuple(f"/{version}/models/{{model:path}}:{how}" for version in ("v1beta", "v1") for how in (ONE, MANY))
NEAR = ()
ID_HEADER = b""
Encoder = embeddings.Encoder

_SAID = ("content", "model")
_OWN = {"outputDimensionality": "dimensions", "taskType": "taskType", "title": "title"}
_encode = msgspec.json.Encoder().encode

__all__ = ["ID_HEADER", "NAME", "NEAR", "PATHS", "Accumulator", "Encoder", "parse", "render_error"]


def parse(body: bytes, headers: Headers, target: Target = NO_TARGET) -> Request:
    """The request in a body that was sent to `target`, which names the model; else the body does. Raises InvalidRequest
    that names the field, Unsupported for what is no text. `headers`: none matters.
    """
    form = MANY if target.path.endswith(f":{MANY}") else ONE
    holds = "requests" if form == MANY else "content"
    request = read(body, NAME, embeddings.no_conversation, holds=holds, model=bare(target.params.get("model", "")))
    values = {name: value_in(raw) for name, raw in request.fields.items()}
    asked = list(objects_of(values["requests"], "requests") if form == MANY else [("", values)])
    texts, steering = [], list(dict.fromkeys(_steering(item) for _, item in asked))
    for place, item in asked:
        at = f"{place}.content" if place else "content"
        texts.append("\n".join(_texts(object_of(item.get("content"), at), at)))
    if len(steering) > 1:
        raise unsupported("requests", "must differ in their content alone: ask for each kind by itself")
    given = dict(steering[0]) if steering else {}
    fields = {own: given[name] for name, own in _OWN.items() if name in given}
    left = given.keys() - _OWN.keys()
    made = asked_by_another(request, {"input": texts, **fields}, dialect=NAME, form=form, left=left)
    return msgspec.structs.replace(made, model=bare(request.model))


def _steering(item: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """What is said of a content's vector, by Google's names. Values are compared, so they must be plain."""
    given = spelt(item)
    config = given.pop("embedContentConfig", None)
    given.update(spelt(object_of(config, "embedContentConfig")) if config is not None else {})
    return tuple((name, _plain(value)) for name, value in sorted(given.items()) if camel(name) not in _SAID)


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) else str(value)


def _texts(content: dict[str, Any], place: str) -> Iterator[str]:
    """The parts of a content, which has one vector."""
    for at, part in objects_of(content.get("parts"), f"{place}.parts"):
        if "text" not in part:
            raise unsupported(at, "is no text, which is all that is embedded here")
        yield string_of(part, "text", at)


class Accumulator(embeddings.Accumulator):
    """The vectors in Google's form."""

    def __init__(self, id: str, created: int, request: Request) -> None:
        super().__init__(id, created, request)
        self._one = request.form == ONE

    def answer(self, billed: Billed) -> bytes:
        vectors = [{"values": vector} for vector in self.vectors]
        told: dict[str, Any] = {"embedding": vectors[0]} if self._one and vectors else {"embeddings": vectors}
        return _encode({**told, "usageMetadata": {"promptTokenCount": billed.usage.prompt}})
