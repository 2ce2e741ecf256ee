"""Embeddings as clients of OpenAI's API read them: one JSON, with vectors in the form that was asked for.

It never knows who made them.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from infron.events import AnyClientEvent, Billed, Verbatim
from infron.money import usd
from infron.request import Request
from infron.wires.unstreamed import Unstreamed
from infron.wires.vectors import in_form, wanted

_encode = msgspec.json.Encoder().encode
_items = msgspec.json.Decoder(list[dict[str, Raw]]).decode


class Encoder(Unstreamed):
    def __init__(self, id: str, created: int, request: Request) -> None: ...


class Accumulator:
    """`created` has no place in this API."""

    kept = None  # nor has it a way to refer to an answer

    def __init__(self, id: str, created: int, request: Request) -> None:
        self._id, self.model = id, request.model
        self._form = wanted(request.fields)
        self._fields: dict[str, Raw] = {}
        self._items: list[dict[str, Any]] = []

    def add(self, event: AnyClientEvent) -> None:
        if isinstance(event, Verbatim):
            self._fields.update(event.fields)
            self._take(_items(self._fields.pop("data")))

    def _take(self, items: list[dict[str, Raw]]) -> None:
        for place, item in enumerate(items, len(self._items)):
            own = {"object": "embedding", "index": item.get("index", place)}
            self._items.append({**item, **own, "embedding": in_form(item["embedding"], self._form)})

    @property
    def vectors(self) -> list[Raw]:
        return [item["embedding"] for item in self._items]

    def answer(self, billed: Billed) -> bytes:
        raw, prompt = billed.raw or {}, billed.usage.prompt
        usage = {**raw, "prompt_tokens": prompt, "total_tokens": prompt}
        if billed.estimated:
            usage["estimated"] = True
        if billed.charge is not None:  # OpenRouter's provider of the AI SDK refuses null
            usage["cost"] = usd(billed.charge.total)
        own = {"object": "list", "data": self._items, "model": self.model, "usage": usage}
        return _encode({**self._fields, **own, "id": self._id, "provider": billed.provider})
