"""An answer of a host of OpenAI's embeddings API: its fields as they came.

It never knows which form of vectors its client wants.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from infron.events import Event, UsageReported, Verbatim
from infron.money import Usage
from infron.wires.lenient_json import dict_in, value_of
from infron.wires.unstreamed import WholeDecoder, items_in
from infron.wires.usage import cost_in, count_in, tokens, usage_of

_items = msgspec.json.Decoder(list[dict[str, Raw]])
_NULL = Raw(b"null")
_ID_SIZE = 200  # characters


class Decoder(WholeDecoder):
    def _read(self, body: bytes, events: list[Event]) -> None:
        fields = self._fields(body, "data", events)
        if fields is None:
            return
        items = items_in(fields["data"], _items)
        if not items or not all("embedding" in item for item in items):
            raise self._broken("answered without embeddings")
        id = value_of(bytes(fields.get("id", _NULL)))
        self.upstream_id = id[:_ID_SIZE] if isinstance(id, str) and id else None
        events.append(Verbatim(fields, content=False, text=""))
        raw = value_of(bytes(fields.get("usage", _NULL)))
        if isinstance(raw, dict) and (usage := counts_of(raw)) is not None:
            events.append(UsageReported(usage, raw, cost_in(raw, self._provider.quirks.answer)))


def counts_of(raw: dict[str, Any]) -> Usage | None:
    """The counts in `usage`; None where it has none."""
    counts = (tokens(raw.get(name)) for name in ("prompt_tokens", "total_tokens"))
    prompt = next((count for count in counts if count is not None), None)
    if prompt is None:
        return None
    details = dict_in(raw, "prompt_tokens_details")
    media = {f"prompt_{kind}": count_in(details, f"{kind}_tokens") for kind in ("audio", "image", "video")}
    return usage_of(prompt, 0, cached=count_in(details, "cached_tokens"), media=media)
