"""An answer on Gemini's API, to clients: events as its streams, or folded to one answer; errors.

It never knows which wire the answer came from, nor how it reaches the client.
"""

from __future__ import annotations

from typing import Any

import msgspec

from infron.errors import InfronError
from infron.events import Annotated, AnyClientEvent, Billed, Started, TextDelta, Verbatim
from infron.request import Request
from infron.wires import sse
from infron.wires.errors import message_in_stream
from infron.wires.gemini.client_request import EVENTS, generation_config
from infron.wires.gemini.folded import Folded
from infron.wires.gemini.parts import Choice, Part, merged
from infron.wires.gemini.words import error_object, spelt, usage_metadata

# Blank lines: Google's library for Python takes a comment for JSON, and that for Go wants no other line.
KEEP_ALIVE = b"\n\n"

_encode = msgspec.json.Encoder().encode
_TEXT = b'{"candidates":[{"content":{"parts":[{"text":%b}],"role":"model"},"index":0}],%b'


def render_error(error: InfronError) -> bytes:
    """The body of an HTTP error."""
    return _encode(error_object(error))


class Answer:
    """What encoder and accumulator have in common: the candidates, and what each frame says of the answer."""

    kept = None  # this API has no way to refer to an answer

    def __init__(self, id: str, created: int, request: Request) -> None:
        """`created` has no place in this API."""
        self._own = {"modelVersion": request.model, "responseId": id}
        _, config = generation_config(request.fields)
        thinking = config.get("thinkingConfig")
        self._tells = isinstance(thinking, dict) and spelt(thinking).get("includeThoughts") is True
        self._choices: dict[int, Choice] = {}
        self._sources: dict[int, list[dict[str, Any]]] = {}
        self._usage: dict[str, Any] = {}

    def _choice(self, index: int) -> Choice:
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = Choice(self._tells)
        return choice

    def _take(self, event: AnyClientEvent) -> tuple[int, list[Part]]:
        """(the candidate, its parts that are complete now)."""
        if isinstance(event, Started | Verbatim):
            return 0, []
        if isinstance(event, Annotated):
            self._cite(event)
            return event.choice, []
        return event.choice, self._choice(event.choice).take(event)

    def _cite(self, event: Annotated) -> None:
        cited = event.raw.get("url_citation")
        if isinstance(cited, dict) and cited.get("url"):
            source = {"uri": cited["url"], "title": cited.get("title") or cited["url"]}
            self._sources.setdefault(event.choice, []).append({"web": source})

    def _end(self, index: int) -> dict[str, Any]:
        """What is told of a candidate with the reason of its end."""
        ending: dict[str, Any] = {"finishReason": self._choices[index].reason or "STOP", "index": index}
        if sources := self._sources.get(index):
            ending["groundingMetadata"] = {"groundingChunks": sources}
        return ending

    def usage(self, billed: Billed) -> bytes:
        """The counts that are billed, to be told with the end; this API has no place for what they cost."""
        self._usage = {"usageMetadata": usage_metadata(billed)}
        return b""


class Encoder(Answer):
    """Events to the bytes of a client's stream. Counts and the reason of the end come with `close`, in one frame.

    Frames of a host of the same API go on as they came, with all that they say.
    """

    def __init__(self, id: str, created: int, request: Request) -> None:
        super().__init__(id, created, request)
        self._events = request.form == EVENTS
        self.media_type = sse.MEDIA_TYPE if self._events else b"application/json"
        self._begun = self._handed_on = False
        self._rest = _encode(self._own)[1:]

    def encode(self, event: AnyClientEvent) -> bytes:
        if isinstance(event, Verbatim):
            self._handed_on = True
            return self._frame(event.rest)
        if self._handed_on:
            return b""  # its own frames have said it
        if isinstance(event, TextDelta) and not event.choice and self._choice(0).is_plain:
            return self._frame(_TEXT % (sse.unbroken(_encode(event.text)), self._rest))
        index, parts = self._take(event)
        return self._frame(self._told(index, parts)) if parts else b""

    def _told(self, index: int, parts: list[Part]) -> bytes:
        candidate = {"content": {"parts": parts, "role": "model"}, "index": index}
        return sse.unbroken(_encode({"candidates": [candidate], **self._own}))

    def _frame(self, data: bytes) -> bytes:
        if self._events:
            self._begun = True
            return b"data: %b\r\n\r\n" % data
        lead = b",\r\n" if self._begun else b"["
        self._begun = True
        return lead + data

    def keep_alive(self) -> bytes:
        """White space, in either form."""
        return KEEP_ALIVE if self._events else b"\n"

    def fail(self, error: InfronError) -> bytes:
        """Readers of events look at one; Google's library for JavaScript, to 1.30, at JSON that stands there bare."""
        told = sse.unbroken(_encode(error_object(error, message_in_stream(error, self._begun))))
        return self._frame(told) + (told if self._events else b"\n]")

    def close(self) -> bytes:
        data = b"" if self._handed_on else self._frame(self._last())
        return data if self._events else data + (b"\n]" if self._begun else b"[]")

    def _last(self) -> bytes:
        """A text of nothing stands where no part is left: libraries take an answer without parts for a broken one."""
        self._choice(0)
        told = []
        for index, choice in sorted(self._choices.items()):
            parts = choice.finish() or [{"text": ""}]
            told.append({"content": {"parts": parts, "role": "model"}, **self._end(index)})
        return sse.unbroken(_encode({"candidates": told, **self._usage, **self._own}))


class Accumulator(Answer):
    """The same events to the one JSON of an answer that is not streamed."""

    def __init__(self, id: str, created: int, request: Request) -> None:
        super().__init__(id, created, request)
        self._parts: dict[int, list[Part]] = {}
        self._handed_on = Folded()

    def add(self, event: AnyClientEvent) -> None:
        if isinstance(event, Verbatim):
            self._handed_on.add(event.rest)
            return
        index, parts = self._take(event)
        self._parts.setdefault(index, []).extend(parts)

    def answer(self, billed: Billed) -> bytes:
        if self._handed_on.begun:
            return _encode(self._handed_on.answer())
        self.usage(billed)
        self._choice(0)
        told = []
        for index, choice in sorted(self._choices.items()):
            parts = merged([*self._parts.get(index, ()), *choice.finish()]) or [{"text": ""}]
            told.append({"content": {"parts": parts, "role": "model"}, **self._end(index)})
        return _encode({"candidates": told, **self._usage, **self._own})
