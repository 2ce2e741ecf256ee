"""An answer as parts of Gemini's API: events in, parts out, for a stream and for a whole answer alike.

It never knows how parts reach the client. A call is told once it is whole, for this API has no pieces of one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from infron.conversation import GEMINI, GEMINI_CALL, Thinking
from infron.events import (
    AnyClientEvent,
    Finished,
    MediaDelta,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from infron.wires import lenient_json
from infron.wires.gemini.thinking import readable, sealed
from infron.wires.gemini.words import finish_reason

Part = dict[str, Any]


class _Call(Struct, gc=False):
    id: str
    name: str
    signature: str
    arguments: list[str]


class _Thought(Struct, gc=False):
    """A block of another model's thinking, to travel in the signature of the part behind it."""

    index: int
    format: str
    id: str
    text: list[str]
    signature: str = ""
    data: str = ""

    def whole(self) -> Thinking:
        text = "".join(self.text)
        return Thinking(text=text, signature=self.signature, data=self.data, format=self.format, id=self.id)


class Choice:
    """One candidate. `reason`: why it has ended, in this API's word; "" while it has not."""

    reason = ""

    def __init__(self, tells_thinking: bool) -> None:
        """`tells_thoughts`: the client has asked for them."""
        self._tells = tells_thinking
        self._thinking: list[_Thought] = []
        self._calls: dict[int, _Call] = {}

    def take(self, event: AnyClientEvent) -> list[Part]:
        """The parts that this event completes."""
        match event:
            case TextDelta(text) | RefusalDelta(text):
                return [*self._whole_calls(), self._signed({"text": text})]
            case ThinkingDelta():
                return [*self._whole_calls(), *self._think(event)]
            case ToolCallStarted(index, id, name, signature):
                self._calls[index] = _Call(id, name, readable(signature), [])
            case ToolCallDelta(index, arguments) if index in self._calls:
                self._calls[index].arguments.append(arguments)
            case MediaDelta(mime, data):
                return [*self._whole_calls(), self._signed({"inlineData": {"mimeType": mime, "data": data}})]
            case Finished(reason, native):
                self.reason = finish_reason(reason, native)
        return []

    @property
    def is_plain(self) -> bool:
        """A text would be told by itself."""
        return not (self._thinking or self._calls)

    def finish(self) -> list[Part]:
        """The parts that waited for the end."""
        parts = self._whole_calls(cut=True)
        if any(thought.signature or thought.data for thought in self._thinking):
            parts.append(self._signed({"text": ""}))
        return parts

    def _think(self, event: ThinkingDelta) -> list[Part]:
        told: list[Part] = [{"text": event.text, "thought": True}] if event.text and self._tells else []
        if event.format in (GEMINI, GEMINI_CALL):  # where Google has them, and means them
            if signature := readable(event.signature):
                told.append({"text": "", "thought": True, "thoughtSignature": signature})
            if data := readable(event.data):
                told.append({"text": "", "thoughtSignature": data})
            return told
        last = self._thinking[-1] if self._thinking else None
        if last is None or last.index != event.index:
            last = _Thought(event.index, event.format, event.id, [])
            self._thinking.append(last)
        last.text.append(event.text)
        last.signature += event.signature
        last.data += event.data
        last.format, last.id = event.format or last.format, event.id or last.id
        return told

    def _signed(self, part: Part, *, calls: bool = False) -> Part:
        """The part with the thinking before it. Without a signature of their own it matters beside calls alone."""
        thinking, self._thinking = self._thinking, []
        if calls or any(thought.signature or thought.data for thought in thinking):
            kept = [thought.whole() for thought in thinking]
            if kept:
                return {**part, "thoughtSignature": sealed(kept)}
        return part

    def _whole_calls(self, *, cut: bool = False) -> list[Part]:
        """The calls whose arguments are complete; `cut`: nothing more of any comes."""
        told: list[Part] = []
        for index in sorted(self._calls):
            call = self._calls[index]
            arguments = lenient_json.object_in("".join(call.arguments))
            if arguments is None and not cut:
                break
            del self._calls[index]
            # Arguments that were cut off are none: this field has to be an object.
            function = {"id": call.id, "name": call.name, "args": {} if arguments is None else arguments}
            part: Part = {"functionCall": function}
            told.append(
                {**part, "thoughtSignature": call.signature} if call.signature else self._signed(part, calls=True)
            )
        return told


def merged(parts: Iterable[Part]) -> list[Part]:
    """Parts of a stream as those of a whole answer: pieces of text put together. A signature ends its part."""
    whole: list[Part] = []
    pieces: list[str] = []

    def end() -> None:
        if len(pieces) > 1:
            whole[-1] = {**whole[-1], "text": "".join(pieces)}
        pieces.clear()

    for part in parts:
        text = part.get("text")
        said = isinstance(text, str) and part.keys() <= {"text", "thought"}
        if said and pieces and part.get("thought") == whole[-1].get("thought"):
            pieces.append(str(text))
            continue
        end()
        whole.append(part)
        if isinstance(text, str) and part.keys() <= {"text", "thought", "thoughtSignature"}:
            pieces.append(text)
    end()
    return [part for part in whole if part != {"text": ""}] or whole[:1]
