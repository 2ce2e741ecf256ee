"""What the events of a host of the Responses API come to, that are handed on to a client of it: the last response.

It never knows how they reach the client.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from infron.events import Verbatim
from infron.wires.openai.responses.event import ENDS

_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_value = msgspec.json.Decoder().decode
_ITEM_DONE = b"response.output_item.done"
_EMPTY = (None, Raw(b"null"), Raw(b"[]"))


class _Done(Struct, gc=False):
    item: Raw
    output_index: Any = None


_done = msgspec.json.Decoder(_Done).decode


class HandedOn:
    """`ended`: the type of the event that ended the answer; "" until then."""

    def __init__(self) -> None:
        self.ended = ""
        self._response: dict[str, Raw] = {}
        self._items: dict[int, Raw] = {}

    def take(self, event: Verbatim) -> tuple[bytes, dict[str, Raw] | None]:
        """Its type, and the response in it, if there is one."""
        kind = bytes(event.fields["type"])[1:-1]
        raw = event.fields.get("response")
        if raw is None:
            if kind == _ITEM_DONE:
                self._keep(event.rest)
            return kind, None
        self._response = {**self._response, **_fields(raw)}  # the last says less at some hosts
        if kind.decode() in ENDS:
            self.ended = kind.decode()
        return kind, self._response

    def _keep(self, payload: bytes) -> None:
        try:
            done = _done(payload)
        except msgspec.DecodeError:  # what it lacks, clients lack too
            return
        place = done.output_index if isinstance(done.output_index, int) else len(self._items)
        self._items[place] = done.item

    @property
    def items(self) -> list[Raw]:
        """Those that are done, in their order."""
        return [self._items[place] for place in sorted(self._items)]

    def final(self, counts: dict[str, Any]) -> dict[str, Any]:
        """The last response, with the items that it leaves out though they were told, and these counts over its own."""
        response: dict[str, Any] = dict(self._response)
        if self._response.get("output") in _EMPTY:
            response["output"] = self.items
        own = _value(self._response["usage"]) if "usage" in self._response else None
        return {**response, "usage": _over(own, counts)}


def _over(own: Any, counts: dict[str, Any]) -> Any:
    if not isinstance(own, dict) or not counts:
        return counts or own
    merged = {**own, **counts}
    for name, value in counts.items():
        if isinstance(value, dict) and isinstance(own.get(name), dict):
            merged[name] = {**own[name], **value}
    return merged
