"""A provider's answers on OpenAI's Responses API, made into events.

It never knows the client, and never reads more of an item than what is told to one.

Source: OpenAI's API specification (streaming events of Responses), to 2026-08.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from infron.catalog.definitions import Provider
from infron.errors import InfronError
from infron.events import (
    Annotated,
    Done,
    Event,
    Finished,
    MediaDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    UsageReported,
)
from infron.money import Usage
from infron.wires import errors as openai_errors
from infron.wires import lenient_json, sse
from infron.wires.decoding import DONE, SseDecoder
from infron.wires.errors import Headers
from infron.wires.lenient_json import dict_in, dicts_in, string_in
from infron.wires.openai.responses.event import BEGINNINGS, CALLS, ENDS, Frame
from infron.wires.openai.responses.frames import frames_of
from infron.wires.openai.responses.order import Order
from infron.wires.openai.responses.reasoning import OPENAI
from infron.wires.openai.responses.tools import as_arguments
from infron.wires.usage import cost_in, count_in, tier_of, tokens, usage_of

MEDIA_TYPE = b"text/event-stream"
MOST_PIECES = 2000  # of one answer: items, and parts of them

_encode = msgspec.json.Encoder().encode

# ---- errors

# What a response that failed calls it, where the status is another than that of a provider out of order.
_STATUS_OF_CODE = {
    "bio_policy": 400,
    "cyber_policy": 400,
    "invalid_image": 400,
    "invalid_prompt": 400,
    "server_error": 500,
    "server_is_overloaded": 503,
    "slow_down": 503,
    "vector_store_timeout": 504,
}


def parse_error(
    status: int, headers: Headers, body: bytes, provider: Provider, key: str = "", now: float = 0.0
) -> InfronError:
    """As `openai_errors.parse_error`, with the codes that stand in a stream of this API alone."""
    if status < 400:
        said = lenient_json.value_of(body)
        inner = dict_in(said, "error") or said if isinstance(said, dict) else {}
        status = _STATUS_OF_CODE.get(string_in(inner, "code"), status)
    return openai_errors.parse_error(status, headers, body, provider, key, now)


# ---- streams


_frame = msgspec.json.Decoder(Frame)


class NeutralDecoder(SseDecoder):
    """One answer of a provider; the contract is `wires.Decoder`. An item's place is its `output_index`."""

    _parse_error = staticmethod(parse_error)

    def __init__(
        self, provider: Provider, max_frame_bytes: int = sse.MAX_FRAME_BYTES, key: str = "", verbatim: bool = False
    ) -> None:
        super().__init__(provider, max_frame_bytes, key)
        self._started = False
        self._order = Order()
        self._calls: dict[int, int] = {}  # the item's place -> the call's index
        self._argued: set[int] = set()  # places of calls whose arguments were told
        self._thinking: dict[int, int] = {}  # the item's place -> the thought's index
        self._told: set[int] = set()  # places of messages and blocks of thinking whose text was told
        self._done: set[int] = set()  # places of items that are over
        self._searches = 0

    # ---- answers that are no stream

    def whole(self, body: bytes) -> list[Event]:
        """An error, or the whole response."""
        events: list[Event] = []
        response = lenient_json.value_of(body)
        if not isinstance(response, dict):
            self._fail(self._broken("answered with something that is neither a stream nor JSON"), events)
        elif response.get("object") != "response" and not isinstance(response.get("output"), list):
            self._fail_with(body, events)
        else:
            for frame in frames_of(response):
                if self._over:
                    break
                payload = _encode(frame)
                self._place(frame["type"], _frame.decode(payload), payload, events)
        return events

    # ---- streams

    def _take(self, event: sse.Event, events: list[Event]) -> None:
        payload = event.data
        if event.comment is not None or payload.startswith(DONE) or not payload.strip():
            return
        try:
            frame, payload = _read(payload)
        except InfronError:
            self._fail(self._broken("sent a frame that is not JSON"), events)
            return
        kind = frame.type if frame is not None and isinstance(frame.type, str) else event.event
        if frame is None or not kind:
            self._fail_with(payload, events)
        else:
            self._place(kind, frame, payload, events)

    def _place(self, kind: str, frame: Frame, payload: bytes, events: list[Event]) -> None:
        """One frame among the others."""
        if self._order.goes_on(kind, frame):
            self._tell(kind, frame, payload, events)
            return
        self._order.seed = (self.seed, self.upstream_id)
        for step in self._order.steps(kind, frame, payload):
            if not self._over:
                self._tell(*step, events)
        if self._order.pieces > MOST_PIECES:
            raise self._broken(f"sent more than {MOST_PIECES} items")

    def _tell(self, kind: str, frame: Frame, payload: bytes, events: list[Event]) -> None:
        """What one frame says."""
        if kind.endswith(".delta"):
            if isinstance(frame.delta, str) and frame.delta:
                self._grow(kind, frame.delta, place_of(frame), events)
        elif kind in ENDS:
            self._end(ENDS[kind], frame.response if isinstance(frame.response, dict) else {}, events)
        elif kind == "error":
            self._fail_with(payload, events)
        else:
            self._say(kind, frame, events)

    def _grow(self, kind: str, piece: str, place: int, events: list[Event]) -> None:
        match kind:
            case "response.output_text.delta":
                self._told.add(place)
                events.append(TextDelta(piece))
            case "response.refusal.delta":
                self._told.add(place)
                events.append(RefusalDelta(piece))
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                self._told.add(place)
                events.append(ThinkingDelta(piece, index=self._thought(place), summary="summary" in kind))
            case "response.function_call_arguments.delta" if place in self._calls:
                self._argued.add(place)
                events.append(ToolCallDelta(self._calls[place], piece))

    def _say(self, kind: str, frame: Frame, events: list[Event]) -> None:
        item, place = frame.item, place_of(frame)
        if kind in BEGINNINGS:
            if isinstance(frame.response, dict):
                self._start(frame.response, events)
        elif kind == "response.output_item.added" and isinstance(item, dict):
            self._begin_item(place, item, events)
        elif kind == "response.output_item.done" and isinstance(item, dict):
            self._begin_item(place, item, events)
            self._end_item(place, item, events)
        elif kind == "response.output_text.annotation.added" and isinstance(frame.annotation, dict):
            self._annotate(frame.annotation, events)
        elif kind == "response.function_call_arguments.done" and isinstance(frame.arguments, str):
            self._argue(place, frame.arguments, events)
        elif kind == "response.custom_tool_call_input.done" and isinstance(frame.input, str):
            self._argue(place, as_arguments(frame.input), events)
        elif kind == "response.reasoning_summary_part.added" and place in self._told:
            events.append(ThinkingDelta("\n\n", index=self._thought(place), summary=True))

    def _start(self, response: dict[str, Any], events: list[Event]) -> None:
        if not self._started:
            self._started = True
            self.upstream_id = openai_errors.without_key(string_in(response, "id"), self._key)[:200] or None
            events.append(Started(self.upstream_id or ""))

    # ---- items

    def _thought(self, place: int) -> int:
        return self._thinking.setdefault(place, len(self._thinking))

    def _begin_item(self, place: int, item: dict[str, Any], events: list[Event]) -> None:
        if item.get("type") in CALLS and place not in self._calls:
            call = self._calls[place] = len(self._calls)
            events.append(self._called(call, item.get("call_id"), item.get("name")))

    def _end_item(self, place: int, item: dict[str, Any], events: list[Event]) -> None:
        if place in self._done:
            return
        self._done.add(place)
        match item.get("type"):
            case "message" if place not in self._told:
                self._end_message(item, events)
            case "function_call":
                self._argue(place, string_in(item, "arguments"), events)
            case "custom_tool_call":
                self._argue(place, as_arguments(string_in(item, "input")), events)
            case "reasoning":
                self._end_thought(place, item, events)
            case "image_generation_call" if data := string_in(item, "result"):
                events.append(MediaDelta(f"image/{string_in(item, 'output_format') or 'png'}", data))
            case "web_search_call":
                self._searches += 1

    def _argue(self, place: int, arguments: str, events: list[Event]) -> None:
        """The whole arguments of a call, of which nothing may have been told while they grew."""
        if place in self._calls and place not in self._argued:
            self._argued.add(place)
            events.append(ToolCallDelta(self._calls[place], arguments or "{}"))

    def _end_message(self, item: dict[str, Any], events: list[Event]) -> None:
        """A message of which nothing was told while it grew."""
        for part in dicts_in(item, "content"):
            if text := string_in(part, "text"):
                events.append(TextDelta(text))
            if refusal := string_in(part, "refusal"):
                events.append(RefusalDelta(refusal))
            for annotation in dicts_in(part, "annotations"):
                self._annotate(annotation, events)

    def _end_thought(self, place: int, item: dict[str, Any], events: list[Event]) -> None:
        index, summary = self._thought(place), dicts_in(item, "summary")
        if place not in self._told:
            texts = [string_in(part, "text") for part in summary or dicts_in(item, "content")]
            if text := "\n\n".join(text for text in texts if text):
                events.append(ThinkingDelta(text, index=index, summary=bool(summary)))
        if data := string_in(item, "encrypted_content"):
            events.append(ThinkingDelta(data=data, format=OPENAI, index=index, id=string_in(item, "id")))

    def _annotate(self, annotation: dict[str, Any], events: list[Event]) -> None:
        if annotation.get("type") == "url_citation":
            cited = {name: value for name, value in annotation.items() if name != "type"}
            events.append(Annotated({"type": "url_citation", "url_citation": cited}))

    # ---- the end

    def _end(self, status: str, response: dict[str, Any], events: list[Event]) -> None:
        self._start(response, events)
        if status == "failed":
            error = dict_in(response, "error") or {"message": "The answer failed."}
            self._fail_with(_encode({"error": error}), events)
            return
        for place in self._calls:
            self._argue(place, "", events)
        self._report(response, events)
        why = string_in(dict_in(response, "incomplete_details"), "reason")
        reason = "tool_calls" if self._calls else "stop"
        if status == "incomplete":
            reason = "content_filter" if why == "content_filter" else "length"
        self._over = self.finished = True
        events.append(Finished(reason, why or status))
        events.append(Done())

    def _report(self, response: dict[str, Any], events: list[Event]) -> None:
        raw, quirks = response.get("usage"), self._provider.quirks.answer
        usage = usage_in(raw)
        if usage is None:
            return
        if self._searches:
            usage = replace(usage, searches=self._searches)
        cost = cost_in(raw, quirks) if quirks.cost_path else None
        events.append(UsageReported(usage, cost=cost, tier=tier_of(response.get("service_tier"))))


def _read(payload: bytes) -> tuple[Frame | None, bytes]:
    """A frame and its JSON, repaired where it is nearly right; None for what is none. Raises ProviderUnavailable."""
    try:
        if not payload.isascii():
            payload.decode()  # what is not read of a frame may be no UTF-8 either
        return _frame.decode(payload), payload
    except lenient_json.BROKEN:
        payload = lenient_json.json_in(payload)
        return lenient_json.decode(payload, _frame), payload


def place_of(frame: Frame) -> int:
    return frame.output_index if isinstance(frame.output_index, int) else 0


def usage_in(usage: Any) -> Usage | None:
    """`usage` as neutral counts; None where it counts nothing."""
    if not isinstance(usage, dict) or tokens(usage.get("input_tokens")) is None:
        return None
    given, made = dict_in(usage, "input_tokens_details"), dict_in(usage, "output_tokens_details")
    return usage_of(
        count_in(usage, "input_tokens"),
        count_in(usage, "output_tokens"),
        cached=count_in(given, "cached_tokens"),
        written=count_in(given, "cache_write_tokens"),
        reasoning=count_in(made, "reasoning_tokens"),
    )
