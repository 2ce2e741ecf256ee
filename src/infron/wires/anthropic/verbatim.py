"""An answer of a host of the Messages API to a client that speaks it too: its frames go on as they came.

It never knows the client, nor what a token costs. What client libraries would break on is put right: fields of a frame
that they read without looking, and the frames of an answer that came in one piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw

from infron.catalog.definitions import Provider
from infron.events import ClientEvent, Event, Finished, ToolCallStarted, Verbatim
from infron.wires import lenient_json, sse
from infron.wires.anthropic.decoder import Frame, NeutralDecoder, frame_of
from infron.wires.decoding import one_line
from infron.wires.lenient_json import dict_in, dicts_in, string_in
from infron.wires.usage import count_in

_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode

# What is handed on; `ping`, `error` and the end are ours to say. A kind that is yet to come goes on too.
_NOT_HANDED_ON = frozenset(("", "ping", "error", "message_stop"))
_MEMBERS = {
    kind: {"type": Raw(_encode(kind))}
    for kind in ("content_block_start", "content_block_delta", "content_block_stop", "message_delta")
}
_DELTA = _MEMBERS["content_block_delta"]
_START = Raw(b'"message_start"')
_NULL = Raw(b"null")
_COUNTS = ("input_tokens", "output_tokens")
# Fields of a block that libraries add to without looking whether they are there.
_BEGINNINGS: dict[str, dict[str, Any]] = {
    "text": {"text": ""},
    "thinking": {"thinking": "", "signature": ""},
    "tool_use": {"input": {}},
}


class VerbatimDecoder(NeutralDecoder):
    """One answer to its own frames, as events: of each the neutral reading says what it commits to and counts."""

    _placed_blocks = 0  # blocks that have begun
    _moved = False  # some of them had another place than their host said
    _owes_stop = False  # one was begun here, and is not stopped yet

    def __init__(self, provider: Provider, max_frame_bytes: int, key: str) -> None:
        super().__init__(provider, max_frame_bytes, key)
        self._places: dict[str, int] = {}

    def _take_whole(self, message: dict[str, Any], events: list[Event]) -> None:
        for frame in _frames_of(message):
            self._tell_made(frame, events)

    def _tell(self, kind: str, facts: Frame, payload: bytes, events: list[Event]) -> None:
        if kind == "content_block_delta" and not self._placed_blocks:
            self._begin_block(facts, events)
        elif self._owes_stop and kind in ("content_block_stop", "message_delta"):
            self._owes_stop = False
            if kind == "message_delta":
                self._tell_made({"type": "content_block_stop", "index": 0}, events)
        told: list[Event] = []
        begun = self._begun
        super()._tell(kind, facts, payload, told)
        if kind not in _NOT_HANDED_ON and not (kind == "message_start" and begun):
            said = [event for event in told if isinstance(event, ClientEvent)]
            text = said[0].text if len(said) == 1 else "".join([event.text for event in said])
            content = any([event.content for event in said])
            events.append(self._handed_on(kind, facts, payload, content, text, told))
        for event in told:
            if isinstance(event, Finished):
                events.append(Finished(event.reason, event.native, told=True))
            elif not isinstance(event, ClientEvent):
                events.append(event)

    def _begin_block(self, facts: Frame, events: list[Event]) -> None:
        """The first block, whose host forgot to say that it begins."""
        thinks = facts.delta is not None and facts.delta.type in ("thinking_delta", "signature_delta")
        kind = "thinking" if thinks else "text"
        self._owes_stop = True
        block = {"type": kind, **_BEGINNINGS[kind]}
        index = facts.index if facts.index.__class__ is int else 0
        self._tell_made({"type": "content_block_start", "index": index, "content_block": block}, events)

    def _tell_made(self, frame: dict[str, Any], events: list[Event]) -> None:
        payload = _encode(frame)
        self._tell(frame["type"], frame_of(payload), payload, events)

    def _handed_on(
        self, kind: str, facts: Frame, payload: bytes, content: bool, text: str, told: list[Event]
    ) -> Verbatim:
        if self._moved or kind == "content_block_start":
            payload = self._placed(kind, facts, one_line(payload))
        if kind == "content_block_delta" and facts.type == kind:
            return Verbatim(_DELTA, content, text, one_line(payload))
        payload = one_line(payload)  # and UTF-8
        if kind == "message_start" and isinstance(facts.message, dict):
            fields = _fields(payload)
            return Verbatim({**fields, "type": _START, "message": _message(fields["message"])}, content, text)
        if kind == "content_block_start" and isinstance(facts.content_block, dict):
            block = facts.content_block
            content = (
                content or str(block.get("type")) not in _BEGINNINGS
            )  # the provider's own tools have begun to work
            if repaired := _block(block, told):
                payload = _encode({**_fields(payload), "content_block": repaired})
        elif kind == "message_delta":
            payload = self._last(facts, payload)
        fields = _MEMBERS.get(kind) or {"type": Raw(_encode(kind))}
        if facts.type != kind:
            payload = _encode({**fields, **_fields(payload), **fields})
        return Verbatim(fields, content, text, one_line(payload))

    def _placed(self, kind: str, facts: Frame, payload: bytes) -> bytes:
        """The frame with the place of its block for an index, counted from 0: libraries keep blocks in a list."""
        if not kind.startswith("content_block_"):
            return payload
        given = str(facts.index)
        if kind == "content_block_start":
            self._places[given] = self._placed_blocks
            self._placed_blocks += 1
        place = self._places.get(given, max(0, self._placed_blocks - 1))
        if facts.index.__class__ is int and facts.index == place:
            return payload
        self._moved = True
        return _encode({**_fields(payload), "index": place})

    def _last(self, facts: Frame, payload: bytes) -> bytes:
        """The frame that tells the reason of the end and the counts, as libraries need it."""
        usage, reason = facts.usage, None if facts.delta is None else facts.delta.stop_reason
        counted = isinstance(usage, dict) and isinstance(usage.get("output_tokens"), int)
        if counted and reason == self._stop:
            return payload
        frame = lenient_json.value_of(payload) or {}
        frame["usage"] = {**dict_in(frame, "usage"), "output_tokens": self._usage.get("output_tokens", 0)}
        frame["delta"] = {"stop_sequence": None, **dict_in(frame, "delta"), "stop_reason": self._stop}
        return _encode(frame)


_EMPTY = {"type": Raw(b'"message"'), "role": Raw(b'"assistant"'), "content": Raw(b"[]")}


def _message(raw: Raw) -> Raw:
    """The message that begins, with what libraries read of it without looking."""
    message = _fields(raw)
    usage = dict_in(lenient_json.value_of(bytes(raw)) or {}, "usage")
    lacks = {name: value for name, value in _EMPTY.items() if bytes(message.get(name, _NULL))[:1] != bytes(value)[:1]}
    if not all(isinstance(usage.get(name), int) for name in _COUNTS):
        lacks["usage"] = Raw(_encode({**usage, **{name: count_in(usage, name) for name in _COUNTS}}))
    return Raw(_encode({**message, **lacks})) if lacks else raw


def _block(block: dict[str, Any], told: list[Event]) -> dict[str, Any] | None:
    """The block with what it lacks; None where it lacks nothing."""
    begins = _BEGINNINGS.get(str(block.get("type")), {})
    lacks = {name: value for name, value in begins.items() if not isinstance(block.get(name), type(value))}
    for event in told:
        if isinstance(event, ToolCallStarted):
            told_so = {"id": event.id, "name": event.name}
            lacks.update({name: value for name, value in told_so.items() if block.get(name) != value})
    return {**block, **lacks} if lacks else None


# ---- a message in one piece


def _frames_of(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The frames in which a host would have streamed it."""
    usage = dict_in(message, "usage")
    begun = {
        **message,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 0},
    }
    yield {"type": "message_start", "message": begun}
    for index, block in enumerate(dicts_in(message, "content")):
        kind = str(block.get("type"))
        start = {**block, **_BEGINNINGS.get(kind, {})}
        start.pop("citations", None)
        yield {"type": "content_block_start", "index": index, "content_block": start}
        for delta in _deltas_of(kind, block):
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    end = {"stop_reason": message.get("stop_reason"), "stop_sequence": message.get("stop_sequence")}
    yield {"type": "message_delta", "delta": end, "usage": usage}
    yield {"type": "message_stop"}


def _deltas_of(kind: str, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if kind == "text":
        if text := string_in(block, "text"):
            yield {"type": "text_delta", "text": text}
        for citation in dicts_in(block, "citations"):
            yield {"type": "citations_delta", "citation": citation}
    elif kind == "thinking":
        if text := string_in(block, "thinking"):
            yield {"type": "thinking_delta", "thinking": text}
        if signature := string_in(block, "signature"):
            yield {"type": "signature_delta", "signature": signature}
    elif kind == "tool_use":
        yield {"type": "input_json_delta", "partial_json": _encode(dict_in(block, "input")).decode()}


def Decoder(
    provider: Provider, max_frame_bytes: int = sse.MAX_FRAME_BYTES, key: str = "", verbatim: bool = False
) -> NeutralDecoder:
    """As the contract says."""
    return (VerbatimDecoder if verbatim else NeutralDecoder)(provider, max_frame_bytes, key)
