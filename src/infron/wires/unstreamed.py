"""What answers that only come whole have in common: they are collected, and read when they are complete.

It never knows what an answer says: each wire says so in `_read`.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Raw

from infron.catalog.definitions import Provider
from infron.errors import InfronError, ProviderUnavailable
from infron.events import AnyClientEvent, Billed, Done, Event, Failed, Onward
from infron.wires import lenient_json
from infron.wires.decoding import AnswerDecoder

Kind = TypeVar("Kind")
MEDIA_TYPE = b"application/json"
MAX_BYTES = 64 << 20  # of one answer


class WholeDecoder(AnswerDecoder):
    """One answer, which may come in several of them: `further` are asked for one after the other."""

    def __init__(self, provider: Provider, max_frame_bytes: int = 0, key: str = "", verbatim: bool = False) -> None:
        super().__init__(provider, key)
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Event]:
        self._size += len(data)
        if self._size > MAX_BYTES:
            raise self._broken("sent an answer that is too large")
        self._pieces.append(data)
        return []

    def close(self) -> list[Event]:
        body = b"".join(self._pieces)
        self._pieces, self._size = [], 0
        return self.whole(body)

    def whole(self, body: bytes) -> list[Event]:
        events: list[Event] = []
        self._read(lenient_json.in_utf8(body), events)
        if events and isinstance(events[-1], Failed):
            return events
        if self.further:
            first, *rest = self.further
            self.further = tuple(rest)
            return [*events, Onward(first, works=True)]
        self.finished = True
        return [*events, Done()]

    def _read(self, body: bytes, events: list[Event]) -> None:
        """What one answer says. Raises ProviderUnavailable for what is none."""
        raise NotImplementedError

    def _fields(self, body: bytes, wanted: str, events: list[Event]) -> dict[str, Raw] | None:
        """The root fields of an answer that has the one that is wanted; None of an error, which is told."""
        fields = fields_in(body)
        if fields is not None and wanted in fields:
            return fields
        if fields is None or fields.keys().isdisjoint(_COMPLAINTS):
            raise self._broken(f"answered with something that has no `{wanted}`")
        self._fail_with(body, events)
        return None


_COMPLAINTS = frozenset(("detail", "error", "errors", "message", "Message", "__type"))
_fields = msgspec.json.Decoder(dict[str, Raw])


def fields_in(body: bytes) -> dict[str, Raw] | None:
    """The fields of an object, each as its JSON; None of anything else."""
    try:
        return lenient_json.decode(body, _fields)
    except ProviderUnavailable:
        return None


def items_in(array: Raw | None, decoder: msgspec.json.Decoder[list[Kind]]) -> list[Kind]:
    """The items of an array in which each is of this shape; of anything else none."""
    try:
        return [] if array is None else decoder.decode(array)
    except lenient_json.BROKEN:
        return []


class Unstreamed:
    """The encoder of an API without streams: it has to be there, and is asked for nothing."""

    media_type = MEDIA_TYPE
    kept = None

    def encode(self, event: AnyClientEvent) -> bytes:
        return b""

    def keep_alive(self) -> bytes:
        return b""

    def usage(self, billed: Billed) -> bytes:
        return b""

    def fail(self, error: InfronError) -> bytes:
        return b""

    def close(self) -> bytes:
        return b""
