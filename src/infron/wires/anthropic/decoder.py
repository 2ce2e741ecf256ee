"""Anthropic's Messages wire, both directions: this file the provider's streams, its neighbours all else.

It never knows who asks, what a token costs, or when to write: it only turns bytes into values and back.

Source: Anthropic, "Streaming messages" and "Errors" (to 2026-11), and streams recorded by others.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from infron.catalog.definitions import Provider
from infron.conversation import CLAUDE
from infron.errors import InfronError, ProviderError, ProviderUnavailable
from infron.events import (
    Annotated,
    Done,
    Event,
    Failed,
    Finished,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    UsageReported,
)
from infron.wires import errors as openai_errors
from infron.wires import lenient_json, sse
from infron.wires.anthropic.words import FOREIGN_REASONS, REASONS, annotation_of, counts_of, merge_usage, tier_served
from infron.wires.decoding import DONE, SseDecoder
from infron.wires.errors import Headers
from infron.wires.json_answer import ANSWER_TOOL
from infron.wires.lenient_json import dict_in, dicts_in, string_in

MEDIA_TYPE = b"text/event-stream"
MOST_OPEN = 1000  # blocks of one answer at a time

_encode = msgspec.json.Encoder().encode


# ---- errors


def parse_error(
    status: int, headers: Headers, body: bytes, provider: Provider, key: str = "", now: float = 0.0
) -> InfronError:
    """As `openai_errors.parse_error`, and what Anthropic tells in its own way.

    529 is an overload; an account without money is a 400; a prompt that is too long is told by its sentence alone.
    """
    if status == 529:
        status = 503
    if status == 400 and b"credit balance is too low" in body:
        status = 402
    error = openai_errors.parse_error(status, headers, body, provider, key, now)
    if isinstance(error, ProviderError) and error.status == 413 and "token" in error.message.lower():
        error.status, error.error_type, error.code = 400, openai_errors.TOO_LONG, openai_errors.TOO_LONG
    return error


# ---- streams


class FrameDelta(Struct, gc=False):
    type: Any = None
    text: Any = None
    partial_json: Any = None
    thinking: Any = None
    signature: Any = None
    citation: Any = None
    stop_reason: Any = None


class Frame(Struct, gc=False):
    type: Any = None
    index: Any = None
    delta: FrameDelta | None = None
    content_block: Any = None
    message: Any = None
    usage: Any = None


class _Open(Struct):
    """A block that has begun. `place`: among the blocks of thinking, or of tool calls. `input`: what it began with."""

    kind: str
    place: int = 0
    input: dict[str, Any] = {}
    argued: bool = False


_message = msgspec.json.Decoder(dict[str, Any])
frame_of = msgspec.json.Decoder(Frame).decode


class NeutralDecoder(SseDecoder):
    """One answer to neutral events. One without `message_stop` was cut: it gives neither Finished nor Done."""

    _parse_error = staticmethod(parse_error)

    def __init__(self, provider: Provider, max_frame_bytes: int, key: str) -> None:
        super().__init__(provider, max_frame_bytes, key)
        self._begun = False
        self._blocks: dict[int, _Open] = {}
        self._thinking = self._calls = 0  # so many have begun
        self._usage: dict[str, Any] = {}
        self._stop: str | None = None

    def whole(self, body: bytes) -> list[Event]:
        """A message in one JSON though a stream was asked for, or an error."""
        try:
            message = lenient_json.decode(body, _message) or {}
        except ProviderUnavailable:
            if body.lstrip()[:1] != b"{":
                raise self._broken("answered with something that is neither a stream nor JSON") from None
            message = {}
        if not isinstance(message.get("content"), list):
            return [Failed(parse_error(200, [], body, self._provider, self._key))]
        events: list[Event] = []
        self._take_whole(message, events)
        return events

    def _take_whole(self, message: dict[str, Any], events: list[Event]) -> None:
        self._begin(message, events)
        merge_usage(self._usage, message.get("usage"))
        events.append(self._report())
        self._finish(events)

    def _take(self, frame: sse.Event, events: list[Event]) -> None:
        if frame.comment is not None:
            return
        payload = frame.data
        try:
            facts = frame_of(payload)
        except lenient_json.BROKEN:
            repaired = self._repaired(payload, events)
            if repaired is None:
                return
            facts, payload = repaired
        kind = facts.type
        if kind.__class__ is not str or not kind:
            kind = "error" if (frame.stray or not frame.event) and b'"error"' in payload else frame.event
        self._tell(kind, facts, payload, events)

    def _tell(self, kind: str, facts: Frame, payload: bytes, events: list[Event]) -> None:
        """What one frame says. `kind`: its type, or the name of its event where it has none."""
        delta = facts.delta
        if delta is not None and kind == "content_block_delta":
            text = delta.text
            if delta.type == "text_delta":
                if text.__class__ is str and text:
                    events.append(TextDelta(text))
            else:
                self._go_on(facts.index, delta, events)
            return
        match kind:
            case "message_start" if isinstance(facts.message, dict):
                self._begin(facts.message, events)
            case "content_block_start" if isinstance(facts.content_block, dict):
                self._open(facts.index, facts.content_block, events)
            case "content_block_stop":
                self._close(facts.index, events)
            case "message_delta":
                self._count(facts, events)
            case "message_stop":
                self._finish(events)
            case "error":
                self._fail_with(payload, events)
            case _:  # ping, and what is yet to come
                pass

    def _repaired(self, payload: bytes, events: list[Event]) -> tuple[Frame, bytes] | None:
        """A frame that a strict decoder refuses, and its JSON; None where there is nothing more to do with it."""
        if payload.startswith(DONE):  # some hosts of this wire end with the chat wire's mark
            self._over = True
            events.append(Done())
            return None
        if not payload.strip():
            return None
        try:
            clean = lenient_json.json_in(payload)
            return frame_of(clean), clean
        except msgspec.ValidationError:
            for one in lenient_json.objects_in(clean) or () if clean.lstrip()[:1] == b"[" else ():
                if not self._over:
                    self._take(sse.Event(one), events)
            return None
        except (ProviderUnavailable, *lenient_json.BROKEN):
            self._fail(self._broken("sent a frame that is no event of the Messages API"), events)
            return None

    # ---- the message

    def _begin(self, message: dict[str, Any], events: list[Event]) -> None:
        if self._begun:
            return  # it is said twice at times
        self._begun = True
        self.upstream_id = string_in(message, "id")[:200] or None
        events.append(Started(self.upstream_id or ""))
        merge_usage(self._usage, message.get("usage"))
        self._usage["output_tokens"] = 0  # what stands there now is a placeholder
        report = self._report()
        if report.usage.prompt:
            events.append(report)
        content = message.get("content")
        for index, block in enumerate(content if isinstance(content, list) else ()):
            if isinstance(block, dict):
                self._open(-1 - index, block, events)
                self._close(-1 - index, events)
        self._stopped(message.get("stop_reason"))

    def _report(self) -> UsageReported:
        return UsageReported(counts_of(self._usage), tier=tier_served(self._usage))

    def _count(self, facts: Frame, events: list[Event]) -> None:
        if facts.delta is not None:
            self._stopped(facts.delta.stop_reason)
        if merge_usage(self._usage, facts.usage):
            events.append(self._report())

    def _stopped(self, reason: Any) -> None:
        if isinstance(reason, str) and reason:
            reason = FOREIGN_REASONS.get(reason, reason)
            self._stop = "tool_use" if reason == "end_turn" and self._calls else reason

    def _finish(self, events: list[Event]) -> None:
        for index in list(self._blocks):
            self._close(index, events)
        if self._stop is not None:
            reason = REASONS.get(self._stop, "stop")
            if reason == "tool_calls" and not self._calls:  # the only tool was the one that makes the answer JSON
                reason = "stop"
            self.finished = True
            events.append(Finished(reason, self._stop))
        self._over = True
        events.append(Done())

    # ---- its blocks

    def _open(self, index: Any, block: dict[str, Any], events: list[Event]) -> None:
        index = index if isinstance(index, int) else 0
        self._close(index, events)
        match block.get("type"):
            case "text":
                if text := string_in(block, "text"):
                    events.append(TextDelta(text))
                for citation in dicts_in(block, "citations"):
                    _cite(citation, events)
                return
            case "thinking":
                opened = _Open("thinking", self._thinking)
                self._thinking += 1
                for name in ("thinking", "signature"):
                    _think(string_in(block, name), name, opened.place, events)
            case "redacted_thinking":
                if data := string_in(block, "data"):
                    events.append(ThinkingDelta(data=data, format=CLAUDE, index=self._thinking))
                    self._thinking += 1
                return
            case "tool_use" if block.get("name") == ANSWER_TOOL:
                opened = _Open("answer", 0, dict_in(block, "input"))
            case "tool_use":
                opened = _Open("tool_use", self._calls, dict_in(block, "input"))
                events.append(self._called(self._calls, block.get("id"), block.get("name")))
                self._calls += 1
            case _:  # tools that ran at the provider and their results, and what is yet to come
                return
        if len(self._blocks) >= MOST_OPEN:
            self._fail(self._broken(f"began more than {MOST_OPEN} blocks at once"), events)
            return
        self._blocks[index] = opened

    def _go_on(self, index: Any, delta: FrameDelta, events: list[Event]) -> None:
        if delta.type == "citations_delta":
            _cite(delta.citation, events)
            return
        opened = self._blocks.get(index) if isinstance(index, int) else None
        if opened is None:
            return
        if delta.type == "input_json_delta":
            piece = delta.partial_json
            if isinstance(piece, str) and piece and opened.kind != "thinking":
                opened.argued = True
                _argue(piece, opened, events)
        elif opened.kind == "thinking" and delta.type in ("thinking_delta", "signature_delta"):
            name = "thinking" if delta.type == "thinking_delta" else "signature"
            _think(getattr(delta, name), name, opened.place, events)

    def _close(self, index: Any, events: list[Event]) -> None:
        opened = self._blocks.pop(index, None) if isinstance(index, int) else None
        if opened is not None and opened.kind != "thinking" and not opened.argued:
            _argue(_encode(opened.input).decode(), opened, events)


def _think(text: Any, name: str, place: int, events: list[Event]) -> None:
    if not isinstance(text, str) or not text:
        return
    if name == "thinking":
        events.append(ThinkingDelta(text, format=CLAUDE, index=place))
    else:
        events.append(ThinkingDelta(signature=text, format=CLAUDE, index=place))


def _argue(piece: str, opened: _Open, events: list[Event]) -> None:
    events.append(TextDelta(piece) if opened.kind == "answer" else ToolCallDelta(opened.place, piece))


def _cite(citation: Any, events: list[Event]) -> None:
    if isinstance(citation, dict):
        events.append(Annotated(annotation_of(citation)))
