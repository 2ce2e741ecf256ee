"""Gemini's streams to events, and Google's errors. Requests are in `gemini_request`, frames in `gemini_frame`.

It never knows who the caller is, what a token costs, or when to write: it only turns bytes into values.
Facts: Google's API reference and Gen AI SDKs (to 2026-10), streams recorded in Vercel's AI SDK (2026-05 to 2026-10).
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
from msgspec import Struct

from infron.catalog.definitions import Provider
from infron.conversation import GEMINI
from infron.errors import InfronError, ProviderError, ProviderUnavailable
from infron.events import (
    Annotated,
    Done,
    Event,
    Finished,
    MediaDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
)
from infron.wires import errors as openai_errors
from infron.wires import lenient_json, sse
from infron.wires.decoding import DONE, SseDecoder
from infron.wires.errors import Headers
from infron.wires.gemini.frame import (
    FINISH,
    FRAMES,
    ITEMS,
    UNSPECIFIED,
    Call,
    Frame,
    Part,
    decode,
    places_of,
)
from infron.wires.gemini.usage import Counts, UsageMetadata
from infron.wires.lenient_json import dict_in, string_in

MEDIA_TYPE = b"text/event-stream"
MOST_ERROR_BYTES = 64 << 10  # of an error that stands in a stream outside of its framing
MOST_CHOICES = 128
MOST_SOURCES = 1000  # of one choice
_SOURCES = ("web", "maps", "retrievedContext")


# ---- errors


class _Detail(Struct, gc=False):
    retryDelay: Any = None


class _Error(Struct, gc=False):
    status: Any = None
    details: list[_Detail] | None = None


class _Body(Struct, gc=False):
    error: _Error | None = None


_bodies = msgspec.json.Decoder(_Body | list[_Body])


def parse_error(
    status: int, headers: Headers, body: bytes, provider: Provider, key: str = "", now: float = 0.0
) -> InfronError:
    """Google's error as ours (google.rpc.Status): how long to wait stands in its details, not in a header."""
    error = openai_errors.parse_error(status, headers, body, provider, key, now)
    try:
        found = lenient_json.decode(body, _bodies)
    except ProviderUnavailable:
        return error
    said = (found[0] if found else None) if isinstance(found, list) else found
    if said is None or said.error is None:
        return error
    if error.retry_after is None:
        delays = (_seconds(detail.retryDelay) for detail in said.error.details or ())
        error.retry_after = next((delay for delay in delays if delay is not None), None)
    if isinstance(error, ProviderError) and isinstance(said.error.status, str) and said.error.status.isascii():
        error.metadata.setdefault("provider_code", openai_errors.without_key(said.error.status, key)[:100])
    return error


def _seconds(duration: Any) -> float | None:
    """A duration of protobuf's JSON, as in "34.4s"."""
    if not isinstance(duration, str) or not duration.endswith("s"):
        return None
    try:
        seconds = float(duration[:-1])
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


# ---- streams


class _Choice(Struct, gc=False):
    """What has come of one candidate. `block`: the last block of thinking; `thinking`: it may go on."""

    index: int
    calls: int = 0
    block: int = -1
    thinking: bool = False
    reason: str = ""  # why it has ended, and Google's word for it: told last, for content may come after it
    end: str = ""
    characters: int = 0  # of its text
    ascii: bool = True
    sources: set[str] = msgspec.field(default_factory=set)


class Decoder(SseDecoder):
    """A stream of Gemini to events. It has no last word: it is over where the body ends."""

    _parse_error = staticmethod(parse_error)

    def __init__(
        self, provider: Provider, max_frame_bytes: int = sse.MAX_FRAME_BYTES, key: str = "", verbatim: bool = False
    ) -> None:
        super().__init__(provider, max_frame_bytes, key)
        self._max = max_frame_bytes
        self._clean = True  # the next byte begins an event
        self._skipped = False  # events were taken without `_sse`
        self._at_line = True  # the next byte begins a line
        self._bare: list[bytes] = []  # JSON that stands outside of any field, as some errors do
        self._choices: dict[int, _Choice] = {}
        self._counts = Counts()
        self._started = False

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        if self._over or not data:
            return events
        # What Google sends nearly always: whole events of one data line each, with its own line ends.
        if data.startswith(b"data: ") and data.endswith(b"\r\n\r\n") and len(data) <= self._max and self._clean:
            payload = data[6:-4]
            several = sse.LF in payload
            frames = payload.split(b"\r\n\r\ndata: ") if several else [payload]
            if _are_lines(frames, payload) if several else sse.CR not in payload:
                self._skipped = True
                for frame in frames:
                    if not self._over:
                        self._frame(frame, events)
                return events
        if self._bare:
            self._collect(data, events)
            return events
        if self._skipped:
            self._sse.skip()
        bare = self._begin_of_bare(data)
        events = super().feed(data if bare is None else data[:bare])
        self._at_line = data.endswith(b"\n")
        self._clean = self._sse.clean and bare is None
        if bare is not None and not self._over:
            self._collect(data[bare:], events)
        return events

    def _begin_of_bare(self, data: bytes) -> int | None:
        """Where a line begins like JSON, which no field of an event does."""
        if self._at_line and data[:1] in (b"{", b"["):
            return 0
        found = [place + 1 for place in (data.find(b"\n{"), data.find(b"\n[")) if place >= 0]
        return min(found, default=None)

    def _collect(self, data: bytes, events: list[Event]) -> None:
        """The bytes of an error that came without framing: told as soon as it is complete."""
        self._bare.append(data)
        text = b"".join(self._bare)
        self._bare = [text]
        told = lenient_json.first_value(text) if b"}" in data or b"]" in data else None
        if told is not None:
            self._fail_with(told, events)
        elif len(text) > MOST_ERROR_BYTES:
            self._fail(self._broken("sent JSON without framing that does not end"), events)
        if self._over:
            self._bare.clear()

    def close(self) -> list[Event]:
        events: list[Event] = []
        if not self._bare or self._over:
            events = super().close()
            if not self._over:
                self._tell_ends(events)
                self._over = True
            return events
        self._fail(self._broken("broke off in the middle of an error"), events)
        return events

    def whole(self, body: bytes) -> list[Event]:
        """An answer in one JSON: an error, the completion, or all frames of it in an array."""
        events: list[Event] = []
        begin = body.lstrip()[:1]
        if begin not in (b"{", b"["):
            raise self._broken("answered with something that is neither a stream nor JSON")
        try:
            frames = [bytes(raw) for raw in ITEMS.decode(body)] if begin == b"[" else [body]
        except lenient_json.BROKEN:
            frames = []
        for frame in frames:
            if not self._over:
                self._frame(frame, events)
        if not self._over and not self._choices:
            self._fail_with(body, events)
        elif not self._over:
            self._tell_ends(events)
            self._over = True
            events.append(Done())
        return events

    # ---- frames

    def _take(self, event: sse.Event, events: list[Event]) -> None:
        if event.event == "error":
            self._fail_with(event.data, events)
        elif event.comment is None:
            self._frame(event.data, events)

    def _frame(self, payload: bytes, events: list[Event]) -> None:
        try:
            frame = decode(payload)
        except lenient_json.BROKEN:
            repaired = self._repaired(payload, events)
            if repaired is None:
                return
            frame = repaired
        if frame.error is not None:
            self._fail_with(payload, events)
            return
        if not self._started and (frame.candidates or frame.usageMetadata or frame.promptFeedback):
            self._start(frame, events)
        ends: list[tuple[_Choice, str]] = []
        for candidate in frame.candidates or ():
            choice = self._choice(candidate.index)
            content = candidate.content
            if content is not None and content.parts:
                for part in content.parts:
                    self._part(choice, part, events)
            if candidate.groundingMetadata is not None:
                self._cite(choice, candidate.groundingMetadata, events)
            reason = candidate.finishReason
            if reason.__class__ is str and reason and reason != UNSPECIFIED:
                ends.append((choice, reason))
        if isinstance(frame.usageMetadata, UsageMetadata):
            report = self._counts.add(frame.usageMetadata, frame.modelVersion, self.headers)
            if report is not None:
                events.append(report)
        if frame.promptFeedback is not None and not ends:
            self._refuse(frame.promptFeedback, events)
        for choice, reason in ends:
            self._ended(choice, reason, events)

    def _repaired(self, payload: bytes, events: list[Event]) -> Frame | None:
        """A frame that is no strict JSON, or says nothing, or is of another shape than all others."""
        if not payload.strip():
            return None
        if payload.startswith(DONE):  # of hosts between us and Google
            self._tell_ends(events)
            self._over = True
            events.append(Done())
            return None
        try:
            frame = lenient_json.decode(payload, FRAMES)
        except ProviderUnavailable:
            frame = None
        if frame is None:
            objects = lenient_json.objects_in(payload)  # frames in a list; or nothing, as a sign of life
            if objects is None or payload.lstrip()[:1] == b"{":
                self._fail(self._broken("sent a frame that is no answer of Gemini"), events)
            for one in objects or ():
                if not self._over:
                    self._frame(one, events)
        return frame

    def _start(self, frame: Frame, events: list[Event]) -> None:
        self._started = True
        if frame.responseId.__class__ is str and frame.responseId:
            self.upstream_id = frame.responseId[:200]
        events.append(Started(self.upstream_id or ""))

    def _choice(self, index: Any) -> _Choice:
        number = index if index.__class__ is int and 0 <= index < MOST_CHOICES else 0
        choice = self._choices.get(number)
        if choice is None:
            choice = self._choices[number] = _Choice(number)
            self.choices, self.finished = len(self._choices), False
        return choice

    def _ended(self, choice: _Choice, native: str, events: list[Event]) -> None:
        if self._over:
            return
        reason = FINISH.get(native) or FINISH.get(native.upper())
        if reason is None:
            self._fail(self._broken(f"ended the answer with the finish reason {self._shown(native)}"), events)
            return
        if choice.reason in ("", "stop"):
            choice.reason, choice.end = reason, native
        self.finished = all(other.reason for other in self._choices.values())
        events.append(self._finished(choice, told=True))

    def _finished(self, choice: _Choice, told: bool) -> Finished:
        reason = "tool_calls" if choice.reason == "stop" and choice.calls else choice.reason
        return Finished(reason, choice.end, choice.index, told)

    def _tell_ends(self, events: list[Event]) -> None:
        """Now that nothing follows them."""
        for _, choice in sorted(self._choices.items()):
            if choice.reason:
                events.append(self._finished(choice, told=False))

    def _refuse(self, feedback: Any, events: list[Event]) -> None:
        """The prompt was blocked, and there is no candidate."""
        blocked = feedback.get("blockReason") if isinstance(feedback, dict) else None
        if isinstance(blocked, str) and blocked and not any(choice.reason for choice in self._choices.values()):
            choice = self._choice(0)
            choice.reason, choice.end, self.finished = "content_filter", blocked, True
            events.append(self._finished(choice, told=True))

    # ---- parts

    def _part(self, choice: _Choice, part: Part, events: list[Event]) -> None:
        text, signature = part.text, part.thoughtSignature
        if part.functionCall is not None:
            self._call(choice, part.functionCall, signature, events)
            return
        if text.__class__ is str and text:
            if part.thought is True:
                self._think(choice, text, signature, events)
                return
            self._say(choice, text, events)
        elif part.inlineData is not None and part.thought is not True:
            blob = part.inlineData
            if blob.mimeType.__class__ is str and blob.data.__class__ is str and blob.data:
                choice.thinking = False
                events.append(MediaDelta(blob.mimeType, blob.data, choice.index))
        elif isinstance(part.executableCode, dict):
            language, code = part.executableCode.get("language"), part.executableCode.get("code")
            self._fence(choice, code, language.lower() if isinstance(language, str) else "", events)
        elif isinstance(part.codeExecutionResult, dict):
            self._fence(choice, part.codeExecutionResult.get("output"), "", events)
        if signature.__class__ is str and signature:
            choice.block += 1
            choice.thinking = False
            events.append(ThinkingDelta(data=signature, format=GEMINI, index=choice.block, choice=choice.index))

    def _say(self, choice: _Choice, text: str, events: list[Event]) -> None:
        choice.thinking = False
        choice.characters += len(text)
        if choice.ascii and not text.isascii():
            choice.ascii = False
        events.append(TextDelta(text, choice.index))

    def _fence(self, choice: _Choice, code: Any, language: str, events: list[Event]) -> None:
        """Code that ran at Google, or what it printed: the chat wire has no place for it but the text."""
        if isinstance(code, str) and code:
            self._say(choice, f"\n```{language}\n{code.rstrip()}\n```\n", events)

    def _think(self, choice: _Choice, text: str, signature: Any, events: list[Event]) -> None:
        if not choice.thinking:
            choice.block += 1
            choice.thinking = True
        block, index = choice.block, choice.index
        events.append(ThinkingDelta(text, format=GEMINI, index=block, choice=index))
        if signature.__class__ is str and signature:
            choice.thinking = False
            events.append(ThinkingDelta(signature=signature, format=GEMINI, index=block, choice=index))

    def _call(self, choice: _Choice, call: Call, signature: Any, events: list[Event]) -> None:
        """A call comes whole. One without a name would end the pieces of another, which are never asked for."""
        name, raw = call.name, bytes(call.args)
        if name.__class__ is not str or not name:
            return
        arguments = raw.decode("utf-8", "replace") if raw[:1] == b"{" and raw.strip(b"{} \r\n\t") else "{}"
        number, index = choice.calls, choice.index
        choice.calls += 1
        choice.thinking = False
        signed = signature if signature.__class__ is str else ""
        events.append(self._called(number, call.id, name, signed, index))
        events.append(ToolCallDelta(number, arguments, index))

    def _cite(self, choice: _Choice, metadata: Any, events: list[Event]) -> None:
        """Each source once. Google counts bytes: where these are not characters, the whole text is said to cite it."""
        if not isinstance(metadata, dict):
            return
        self._counts.add_searches(metadata.get("webSearchQueries"))
        chunks = metadata.get("groundingChunks")
        if not isinstance(chunks, list):
            return
        places = places_of(metadata) if choice.ascii else {}
        for number, chunk in enumerate(chunks[:MOST_SOURCES]):
            found = (dict_in(chunk, kind) for kind in _SOURCES) if isinstance(chunk, dict) else ()
            source = next(filter(None, found), {})
            uri, title = string_in(source, "uri"), string_in(source, "title")
            if not uri or uri in choice.sources or len(choice.sources) >= MOST_SOURCES:
                continue
            choice.sources.add(uri)
            start, end = places.get(number, (0, choice.characters))
            cited = {
                "url": uri,
                "title": title or uri,
                "start_index": min(start, choice.characters),
                "end_index": min(end, choice.characters),
            }
            events.append(Annotated({"type": "url_citation", "url_citation": cited}, choice.index))


def _are_lines(frames: list[bytes], payload: bytes) -> bool:
    """Whether all line ends of these events are between them."""
    return payload.count(b"\n") == payload.count(b"\r") == 2 * len(frames) - 2
