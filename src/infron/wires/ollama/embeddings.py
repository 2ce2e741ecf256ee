"""Embeddings as clients of Ollama's API ask for them: `/api/embed`, and `/api/embeddings`, which it had before.

It never knows who makes the vectors: what it reads is asked for as OpenAI's clients ask. What steers the machine that
Ollama runs on is named in the receipt.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from infron.events import Billed
from infron.request import NO_TARGET, Headers, Request, Target
from infron.wires.body import read
from infron.wires.json_steps import value_in
from infron.wires.ollama.client_request import bare
from infron.wires.ollama.encoder import render_error
from infron.wires.openai import embeddings
from infron.wires.openai.embeddings.request import asked_by_another

NAME = "ollama-embeddings"
EMBED, BEFORE = "/api/embed", "/api/embeddings"
PATHS = (EMBED, BEFORE)
NEAR = PATHS
ID_HEADER = b""
Encoder = embeddings.Encoder

_encode = msgspec.json.Encoder().encode

__all__ = ["ID_HEADER", "NAME", "NEAR", "PATHS", "Accumulator", "Encoder", "parse", "render_error"]


def parse(body: bytes, headers: Headers, target: Target = NO_TARGET) -> Request:
    """The request in a body that was sent to `target`. Raises InvalidRequest that names the field. `headers`: none
    matters.
    """
    form = BEFORE if target.path == BEFORE else EMBED
    holds = "prompt" if form == BEFORE else "input"
    request = read(body, NAME, embeddings.no_conversation, holds=holds)
    given = {name: value_in(raw) for name, raw in request.fields.items() if name != "model"}
    said = given.pop(holds)
    fields = {"input": [said] if isinstance(said, str) else said}
    if "dimensions" in given:
        fields["dimensions"] = given.pop("dimensions")
    made = asked_by_another(request, fields, dialect=NAME, form=form, left=given)
    return replace(made, model=bare(request.model))


class Accumulator(embeddings.Accumulator):
    """The vectors in Ollama's form."""

    def __init__(self, id: str, created: int, request: Request) -> None:
        super().__init__(id, created, request)
        self._before = request.form == BEFORE

    def answer(self, billed: Billed) -> bytes:
        if self._before:
            return _encode({"embedding": next(iter(self.vectors), [])})
        told: dict[str, Any] = {
            "model": self.model,
            "embeddings": self.vectors,
            "total_duration": int(billed.seconds[1] * 1e9),
            "load_duration": 0,
            "prompt_eval_count": billed.usage.prompt,
        }
        return _encode(told)
