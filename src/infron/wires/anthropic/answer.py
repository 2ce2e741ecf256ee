"""The whole answer of Anthropic's Messages API: events, or frames of a host of the same API, folded to one message.

It never knows how an answer arrived, and never computes a price.
"""

from __future__ import annotations

from typing import Any

import msgspec

from infron.conversation import GEMINI_CALL
from infron.events import (
    Annotated,
    Billed,
    Event,
    Finished,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    Verbatim,
)
from infron.request import Request
from infron.wires import lenient_json
from infron.wires.anthropic.encoder import head_of, of_another_choice
from infron.wires.anthropic.words import citation_of, marked, messages_usage, stop_reason
from infron.wires.lenient_json import dict_in, dicts_in
from infron.wires.usage import count_in

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Accumulator:
    """Events to the one JSON of an answer that is not streamed."""

    kept = None  # this API has no way to refer to an answer

    def __init__(self, id: str, created: int, request: Request) -> None:
        self._id, self._model = id, request.model
        self._handed_on = _Frames()
        self._blocks: list[dict[str, Any]] = []
        self._pieces: list[list[str]] = []  # of the text, the thought or the arguments of each block
        self._thought = -1
        self._calls: dict[int, int] = {}
        self._stop: str | None = None

    def add(self, event: Event) -> None:
        if isinstance(event, Verbatim):
            self._handed_on.add(event)
            return
        if of_another_choice(event):
            return
        match event:
            case TextDelta(text) | RefusalDelta(text):
                self._pieces[self._text()].append(text)
            case ThinkingDelta(data=data) if data:
                self._open({"type": "redacted_thinking", "data": marked(data, event.format)})
            case ThinkingDelta(text, signature):
                if not self._blocks or self._blocks[-1]["type"] != "thinking" or event.index != self._thought:
                    self._open({"type": "thinking", "thinking": "", "signature": ""})
                    self._thought = event.index
                self._pieces[-1].append(text)
                self._blocks[-1]["signature"] += marked(signature, event.format)
            case ToolCallStarted(index, id, name, signature):
                if signature:
                    self._open({"type": "redacted_thinking", "data": marked(signature, GEMINI_CALL)})
                self._calls[index] = self._open({"type": "tool_use", "id": id, "name": name, "input": {}})
            case ToolCallDelta(index, arguments) if index in self._calls:
                self._pieces[self._calls[index]].append(arguments)
            case Annotated(raw) if citation := citation_of(raw):
                self._blocks[self._text()].setdefault("citations", []).append(citation)
            case Finished(reason, native):
                self._stop = stop_reason(reason, native)

    def answer(self, billed: Billed) -> bytes:
        """The JSON; the time has no place in it."""
        if self._handed_on.message is not None:
            message = {**self._handed_on.answer(), "id": self._id, "model": self._model}
            return _encode({**message, "provider": billed.provider})
        content = [_filled(block, "".join(self._pieces[place])) for place, block in enumerate(self._blocks)]
        head = head_of(self._id, self._model, messages_usage(billed.usage))
        return _encode({**head, "content": content, "stop_reason": self._stop, "provider": billed.provider})

    def _open(self, block: dict[str, Any]) -> int:
        self._blocks.append(block)
        self._pieces.append([])
        return len(self._blocks) - 1

    def _text(self) -> int:
        if self._blocks and self._blocks[-1]["type"] == "text":
            return len(self._blocks) - 1
        return self._open({"type": "text", "text": ""})


def _filled(block: dict[str, Any], said: str) -> dict[str, Any]:
    match block["type"]:
        case "text" | "thinking" as name:
            return {**block, name: said}
        case "tool_use":
            # Arguments that were cut off are none: this field has to be an object.
            arguments = lenient_json.object_in(said)
            return block if arguments is None else {**block, "input": arguments}
    return block


# ---- frames that were handed on


class _Frames:
    """The message that a host's own frames make. What a delta says goes on with the field of its name."""

    def __init__(self) -> None:
        self.message: dict[str, Any] | None = None
        self._blocks: dict[int, dict[str, Any]] = {}
        self._pieces: dict[int, dict[str, list[str]]] = {}  # of each block, by field

    def add(self, frame: Verbatim) -> None:
        data = _decode(frame.rest or _encode(frame.fields))
        if self.message is None:
            self.message = head_of("", "", {})
        index, delta = count_in(data, "index"), dict_in(data, "delta")
        match data["type"]:
            case "message_start":
                self.message.update(dict_in(data, "message"))
                for place, block in enumerate(dicts_in(self.message, "content")):  # calls that the message begins with
                    self._blocks[-1 - place], self._pieces[-1 - place] = block, {}
            case "content_block_start":
                self._blocks[index], self._pieces[index] = dict_in(data, "content_block"), {}
            case "content_block_delta" if index in self._blocks:
                self._go_on(index, delta)
            case "message_delta":
                self.message.update(delta)
                self.message["usage"] = {**dict_in(self.message, "usage"), **dict_in(data, "usage")}

    def _go_on(self, index: int, delta: dict[str, Any]) -> None:
        block, pieces = self._blocks[index], self._pieces[index]
        for name, value in delta.items():
            if name == "citation":
                known = block.get("citations")
                block["citations"] = [*(known if isinstance(known, list) else []), value]
            elif name != "type" and isinstance(value, str):
                pieces.setdefault(name, []).append(value)
            elif name != "type":
                block[name] = value

    def answer(self) -> dict[str, Any]:
        assert self.message is not None
        content = [_joined(block, self._pieces[index]) for index, block in self._blocks.items()]
        return {**self.message, "content": content}


def _joined(block: dict[str, Any], pieces: dict[str, list[str]]) -> dict[str, Any]:
    whole = dict(block)
    for name, said in pieces.items():
        text = "".join(said)
        if name == "partial_json":
            arguments = lenient_json.object_in(text)
            whole["input"] = block.get("input", {}) if arguments is None else arguments
        else:
            before = block.get(name)
            whole[name] = before + text if isinstance(before, str) else text
    return whole
