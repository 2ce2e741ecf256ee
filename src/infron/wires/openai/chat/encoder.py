"""An answer as the stream of the chat completions API: events to the frames that a client reads.

It never knows who the client is, what a token costs, or when to write.

A frame of a provider that speaks the same API is handed on: everything inside `choices` and every unknown root field
byte for byte; `id`, `created`, `model`, `usage` and `error` are ours.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from infron.errors import InfronError
from infron.events import (
    Annotated,
    AnyClientEvent,
    Billed,
    Delta,
    Finished,
    MediaDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallStarted,
    Verbatim,
)
from infron.request import Request
from infron.wires import sse
from infron.wires.errors import error_object, message_in_stream
from infron.wires.openai.chat.answer import usage_fields
from infron.wires.openai.chat.choices import ROOT, encode_delta, encode_text
from infron.wires.openai.chat.thinking import Places

KEEP_ALIVE = sse.comment("Infron AI PROCESSING")
DONE = sse.encode(b"[DONE]")

_encode = msgspec.json.Encoder().encode

_ENTRIES = frozenset((Annotated, MediaDelta, ThinkingDelta, ToolCallStarted))  # what adds entries to lists
_NOTHING_SAID = {"index": 0, "delta": {}, "finish_reason": None}


class Encoder:
    """Events to the bytes of a client's stream. `id`, `created` (unix s) and `model` are the same in every frame."""

    media_type = sse.MEDIA_TYPE
    kept = None  # this API has no way to refer to an answer
    # Of another API's answer: where its thinking stands, and how many of each kind were told in a choice's lists.
    _places: Places
    _entries: dict[tuple[type, int], int]

    def __init__(self, id: str, created: int, request: Request) -> None:
        self._own: dict[str, Any] = {"id": id, "created": created, "model": request.model}
        self._asked = request.include_usage
        self._lead = b""  # how a frame with the root fields `_led` begins
        self._led: dict[str, Raw] | None = None
        self._begun: set[int] = set()  # choices of another API's answer that have told their role

    def encode(self, event: AnyClientEvent) -> bytes:
        """The frame that tells of an event; nothing where the client needs none."""
        if isinstance(event, Verbatim):
            if event.rest:
                if event.fields is not self._led:
                    self._lead_with(event.fields)
                return self._lead + event.rest + b"\n\n"
            return b"data: %b\n\n" % _encode({**event.fields, **self._own})
        if isinstance(event, TextDelta) and event.choice in self._begun:  # what nearly all are
            self._places.characters[event.choice] += len(event.text)
            return b"%b%b}\n\n" % (self._lead, encode_text(event))
        if isinstance(event, Started) or (isinstance(event, Finished) and event.told):
            return b""
        if self._led is None:
            self._lead_with(ROOT)
        if not self._begun:
            self._places, self._entries = Places(), {}
        if place := self._places.id_for(event):
            event = replace(event, id=place)
        first = event.choice not in self._begun
        if first:
            self._begun.add(event.choice)
        if event.__class__ in _ENTRIES:
            event, place = self._placed(event)
            return b"%b%b}\n\n" % (self._lead, encode_delta(event, first, place))
        return b"%b%b}\n\n" % (self._lead, encode_delta(event, first))

    def _placed(self, event: Delta | Finished) -> tuple[Delta | Finished, int | None]:
        """An event that may add an entry to a list, and the place of that. Libraries take it for the entry's index, in
        a list where signatures of calls stand among the blocks of thinking.
        """
        kind = (event.__class__, event.choice)
        before = self._entries.get(kind, 0)
        if isinstance(event, ThinkingDelta):
            signatures = self._entries.get((ToolCallStarted, event.choice), 0)
            return (replace(event, index=event.index + signatures) if signatures else event), None
        if isinstance(event, ToolCallStarted):
            if not event.signature:
                return event, None
            self._entries[kind] = before + 1
            return event, self._places.blocks(event.choice) + before
        if isinstance(event, MediaDelta) and event.mime.startswith("audio/"):
            return event, None
        self._entries[kind] = before + 1
        return event, before

    def _lead_with(self, fields: dict[str, Raw]) -> None:
        self._led = fields
        self._lead = b'data: %b,"choices":' % _encode({**fields, **self._own})[:-1]

    def keep_alive(self) -> bytes:
        return KEEP_ALIVE

    def usage(self, billed: Billed) -> bytes:
        """The usage frame: counts, and `cost` and `cost_details` at the root (USD).

        To a client that did not ask for it, with a choice that says nothing: such read the choice of every frame.
        """
        choices = [] if self._asked else [_NOTHING_SAID]
        whole = {**self.head(), "provider": billed.provider, "choices": choices, **self._usage_fields(billed)}
        return sse.encode(sse.unbroken(_encode(whole)))

    def _usage_fields(self, billed: Billed) -> dict[str, Any]:
        return usage_fields(billed)

    def fail(self, error: InfronError) -> bytes:
        """The last frame of a stream that failed, and its end. No `choices`: some clients stay silent beside them."""
        told = error_object(error, message_in_stream(error, self.begun))
        return sse.encode(sse.unbroken(_encode({**self.head(), "error": told}))) + DONE

    def close(self) -> bytes:
        return DONE

    @property
    def begun(self) -> bool:
        """Whether a frame of the answer was told."""
        return self._led is not None

    def head(self) -> dict[str, Any]:
        """The root fields of a frame of our own."""
        own = self._own
        return {"id": own["id"], "object": "chat.completion.chunk", "created": own["created"], "model": own["model"]}
