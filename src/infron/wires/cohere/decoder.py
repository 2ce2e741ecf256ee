"""Cohere's chat API, version 2: its streams of typed events, and its errors. Requests are in `cohere_request`.

It never knows who the caller is, what a token costs, or when to write: it only turns bytes into values.
Facts: Cohere's OpenAPI description and Python SDK (August 2026), and recorded streams.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from infron.catalog.definitions import Provider
from infron.errors import InfronError, ProviderMisconfigured
from infron.events import (
    Annotated,
    Done,
    Event,
    Failed,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    UsageReported,
)
from infron.wires import errors as openai_errors
from infron.wires import lenient_json, sse
from infron.wires.decoding import DONE, SseDecoder
from infron.wires.errors import Headers
from infron.wires.lenient_json import dict_in, dicts_in
from infron.wires.usage import count_in, tokens, usage_of

MEDIA_TYPE = b"text/event-stream"

_encode = msgspec.json.Encoder().encode


# ---- errors


def parse_error(
    status: int, headers: Headers, body: bytes, provider: Provider, key: str = "", now: float = 0.0
) -> InfronError:
    """An error of Cohere, `{"message": …, "id": …}`, as ours.

    498 is a key that it has blocked; 499 a request that it takes for cancelled, though we did not.
    """
    if status == 498:
        return ProviderMisconfigured(
            f"{provider.name} has blocked the gateway's API key (HTTP 498). "
            "The operator of this gateway must repair it.",
            provider=provider.id,
            provider_status=status,
        )
    return openai_errors.parse_error(502 if status == 499 else status, headers, body, provider, key, now)


# ---- streams


class _Content(Struct, gc=False):
    text: str | None = None
    thinking: str | None = None
    type: str | None = None


class _Function(Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(Struct, gc=False):
    id: Any = None
    function: _Function | None = None


class _Message(Struct, gc=False):
    content: _Content | str | list[_Content] | None = None
    tool_plan: str | None = None
    tool_calls: _Call | list[_Call] | None = None
    citations: Any = None


class _Delta(Struct, gc=False):
    message: _Message | None = None
    finish_reason: Any = None
    usage: Any = None
    error: Any = None


class _Frame(Struct, gc=False):
    type: Any = None
    index: Any = None
    delta: _Delta | None = None
    id: Any = None


class _Head(Struct, gc=False):
    """Of a frame that is of another shape, or of a whole answer: what it is."""

    type: Any = None
    id: Any = None
    message: Any = None
    finish_reason: Any = None
    usage: Any = None


_frame = msgspec.json.Decoder(_Frame)
_head = msgspec.json.Decoder(_Head)

_FINISH = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR_TOXIC": "content_filter",  # of the first version, and of hosts that still send it
}
_KNOWN = frozenset(
    (
        "message-start",
        "content-start",
        "content-delta",
        "tool-plan-delta",
        "tool-call-start",
        "tool-call-delta",
        "citation-start",
        "message-end",
    )
)
_COMPLAINS = (b'"message"', b'"error"', b'"detail"')
_PLAN = -1  # the place of a plan among the blocks of thinking; those of the content have indexes of their own


class Decoder(SseDecoder):
    """A stream of Cohere to events."""

    _parse_error = staticmethod(parse_error)

    def __init__(
        self, provider: Provider, max_frame_bytes: int = sse.MAX_FRAME_BYTES, key: str = "", verbatim: bool = False
    ) -> None:
        super().__init__(provider, max_frame_bytes, key)
        self._started = False
        self._thought: int | None = None  # which block of content the last thought was in
        self._thinking = -1  # blocks of thinking before that one
        self._calls = 0
        self._open = False  # the last call has not ended yet
        self._held: str | None = None  # its arguments, while they may yet turn out to be none

    def whole(self, body: bytes) -> list[Event]:
        """An answer that is no stream: an error, or the whole message."""
        events: list[Event] = []
        try:
            answer = lenient_json.decode(body, _head)
        except InfronError:
            return [Failed(self._broken("answered with something that is neither a stream nor JSON"))]
        if answer is None or not isinstance(answer.message, dict):
            return [Failed(parse_error(200, [], body, self._provider, self._key))]
        try:
            message = msgspec.convert(answer.message, _Message)
        except msgspec.ValidationError:
            return [Failed(self._broken("answered with a message of an unknown shape"))]
        self._start(answer.id, events)
        if message.tool_plan:
            self._think(_PLAN, message.tool_plan, events)
        content = message.content if isinstance(message.content, list) else [message.content]
        for index, block in enumerate(content):
            self._say(index, block, events)
        calls = message.tool_calls
        for call in calls if isinstance(calls, list) else [calls]:
            self._call_started(call, events)
            self._call_ended(events)
        self._cite(message.citations, events)
        self._stop(_Delta(finish_reason=answer.finish_reason, usage=answer.usage), events)
        if not self._over:
            self._finish(events)
            events.append(Done())
        return events

    def _take(self, event: sse.Event, events: list[Event]) -> None:
        if event.comment is not None:
            return
        payload = event.data
        try:
            frame = lenient_json.decode(payload, _frame)
        except InfronError:
            # A [DONE] without a message-end before it ends nothing.
            if payload.startswith(DONE) and self.finished:
                self._finish(events)
                events.append(Done())
            elif payload.strip() and not payload.startswith(DONE):
                self._fail(self._broken("sent a frame that is not JSON"), events)
            return
        if frame is None and payload.lstrip()[:1] != b"{" and (objects := lenient_json.objects_in(payload)) is not None:
            for one in objects:  # frames in a list; or nothing, as a sign of life
                self._take(sse.Event(one, event.event), events)
            return
        if frame is None:
            head = lenient_json.decode(payload, _head)
            if head is None or not isinstance(head.type, str) or head.type in _KNOWN:
                self._fail(self._broken("sent a frame of an unknown shape"), events)
            return
        if frame.type == "error" or (frame.type is None and any(word in payload for word in _COMPLAINS)):
            self._fail_with(payload, events)
            return
        delta = frame.delta
        message = delta.message if delta is not None else None
        match frame.type:
            case "content-delta" | "content-start":
                if message is not None:
                    content = message.content
                    block = content[0] if isinstance(content, list) and content else content
                    self._say(frame.index, block, events)
            case "tool-call-delta":
                call = _one(message.tool_calls) if message is not None else None
                if call is not None and call.function is not None and self._open:
                    self._argue(call.function.arguments or "", events)
            case "tool-plan-delta":
                if message is not None and message.tool_plan:
                    self._think(_PLAN, message.tool_plan, events)
            case "tool-call-start":
                self._call_ended(events)
                self._call_started(_one(message.tool_calls) if message is not None else None, events)
            case "tool-call-end":
                self._call_ended(events)
            case "citation-start":
                self._cite(message.citations if message is not None else None, events)
            case "message-start":
                self._start(frame.id, events)
            case "message-end":
                self._call_ended(events)
                self._stop(delta or _Delta(), events)

    def _start(self, id: Any, events: list[Event]) -> None:
        if not self._started:
            self._started = True
            if isinstance(id, str) and id:
                self.upstream_id = id[:200]
            events.append(Started(self.upstream_id or ""))

    def _say(self, index: Any, block: Any, events: list[Event]) -> None:
        if isinstance(block, str):
            if block:
                events.append(TextDelta(block))
        elif isinstance(block, _Content):
            if block.text:
                events.append(TextDelta(block.text))
            if block.thinking:
                self._think(index if isinstance(index, int) else 0, block.thinking, events)

    def _think(self, index: int, text: str, events: list[Event]) -> None:
        if index != self._thought:
            self._thought = index
            self._thinking += 1
        events.append(ThinkingDelta(text, index=self._thinking))

    def _call_started(self, call: _Call | None, events: list[Event]) -> None:
        if call is None:
            return
        function = call.function or _Function()
        index = self._calls
        self._calls += 1
        self._open, self._held = True, ""
        events.append(self._called(index, call.id, function.name))
        self._argue(function.arguments or "", events)

    def _argue(self, piece: str, events: list[Event]) -> None:
        """A piece of a call's arguments. Where a tool takes none Cohere writes nothing or `null`, so that is held."""
        if self._held is not None:
            piece = self._held + piece
            if "null".startswith(piece):
                self._held = piece
                return
            self._held = None
        if piece:
            events.append(ToolCallDelta(self._calls - 1, piece))

    def _call_ended(self, events: list[Event]) -> None:
        if self._open and self._held is not None:
            events.append(ToolCallDelta(self._calls - 1, "{}"))
        self._open = False

    def _cite(self, citations: Any, events: list[Event]) -> None:
        for citation in citations if isinstance(citations, list) else [citations]:
            if isinstance(citation, dict):
                events.extend(Annotated(raw) for raw in _annotations(citation))

    def _stop(self, delta: _Delta, events: list[Event]) -> None:
        report = _report(delta.usage)
        if report is not None:
            events.append(report)
        native = delta.finish_reason if isinstance(delta.finish_reason, str) else ""
        reason = _FINISH.get(native)
        if reason is None:
            said = delta.error if isinstance(delta.error, str) and delta.error else ""
            how = self._shown(native) if native else "no reason"
            message = said or f"{self._provider.name} ended the answer with {how}."
            code = "timeout" if native == "TIMEOUT" else None
            self._fail_with(_encode({"error": {"message": message, "code": code}}), events)
            return
        self._ends(reason, native, events)

    def close(self) -> list[Event]:
        events = super().close()
        if not self._over:
            self._finish(events)
        return events

    def _finish(self, events: list[Event]) -> None:
        self._call_ended(events)
        self._tell_end(events)
        self._over = True


def _one(calls: _Call | list[_Call] | None) -> _Call | None:
    return calls[0] if isinstance(calls, list) and calls else calls if isinstance(calls, _Call) else None


def _annotations(citation: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """A citation as the chat wire has it, once for each source; a source without an address has its id for one.

    Clients check the shape strictly, so all of them are `url_citation`.
    """
    place = {
        name: citation[own]
        for name, own in (("start_index", "start"), ("end_index", "end"))
        if isinstance(citation.get(own), int)
    }
    if isinstance(citation.get("text"), str):
        place["content"] = citation["text"]
    for source in dicts_in(citation, "sources"):
        document = dict_in(source, "document")
        id = _first_text(source.get("id"), document.get("id"))
        url, title = _first_text(document.get("url"), id), _first_text(document.get("title"), id)
        yield {"type": "url_citation", "url_citation": {"url": url, "title": title, **place}}


def _first_text(*values: Any) -> str:
    return next((value for value in values if isinstance(value, str) and value), "")


def _report(usage: Any) -> UsageReported | None:
    """The counts that are billed; those of `tokens` where none are.

    `tokens` counts Cohere's own template too, which costs nothing. Where the two differ it is shown beside them, with
    what of *it* was cached: that may be the template alone, so it is no part of the billed counts.
    """
    if not isinstance(usage, dict):
        return None
    billed, whole = _units(usage, "billed_units"), _units(usage, "tokens")
    cached = tokens(usage.get("cached_tokens"))
    counts = billed or whole
    if not counts:
        return None
    prompt, completion = count_in(counts, "input_tokens"), count_in(counts, "output_tokens")
    if not whole or count_in(whole, "input_tokens") == prompt:
        return UsageReported(usage_of(prompt, completion, cached=cached or 0))
    told = whole if cached is None else {**whole, "cached_tokens": cached}
    return UsageReported(usage_of(prompt, completion), {"tokens": told})


def _units(usage: dict[str, Any], name: str) -> dict[str, Any]:
    """An object with at least one of the two counts; empty where it has none."""
    units = dict_in(usage, name)
    return units if any(tokens(units.get(name)) is not None for name in ("input_tokens", "output_tokens")) else {}
