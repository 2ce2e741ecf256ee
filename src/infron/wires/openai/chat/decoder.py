"""An answer of an OpenAI host: its stream to events, which are its own frames where the client speaks the same API.

It never knows who the caller is, or what a token costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from msgspec import UNSET, Raw

from infron.catalog.definitions import Provider
from infron.errors import InfronError
from infron.events import Done, Event, Failed, UsageReported, Verbatim
from infron.wires import sse
from infron.wires.decoding import AnswerDecoder
from infron.wires.errors import parse_error
from infron.wires.lenient_json import BOM, objects_in
from infron.wires.openai.chat.delta import Delta, content_of, once_named
from infron.wires.openai.chat.frame import (
    BROKEN,
    NO_MESSAGE,
    NULL,
    ChoiceFacts,
    Frame,
    beginning,
    chunk_of,
    clean,
    counts_alone,
    facts_in,
    failure_at,
    fields_in,
    is_frame,
    named_twice,
    one_line,
    only_complains,
    read_leniently,
    silenced,
    taken,
)
from infron.wires.openai.chat.progress import Progress
from infron.wires.openai.chat.repair import is_plain
from infron.wires.usage import report_of

MEDIA_TYPE = b"text/event-stream"

# Root fields that say nothing of their own when `choices` is empty.
_FRAMING = frozenset(
    ("id", "object", "created", "model", "choices", "system_fingerprint", "service_tier", "provider", "obfuscation")
)
_NO_USAGE = b',"usage":null}'  # what hosts put behind the choices of every frame but the last
_NO_DELTA = (Delta(), Delta(content=""))
_ROLE_ALONE = (Delta(role="assistant", content=""), Delta(role="assistant"))


class VerbatimDecoder(AnswerDecoder):
    """A provider's stream to its own frames, repaired, as events. Raises only InfronError. Nothing follows Failed, and
    only counts follow Done.

    `key`: our key at this provider, which no message may repeat. `finished`: every choice seen has a finish reason.
    Ends of choices are told last, when it is known that nothing follows them.
    """

    # How the frames of this stream begin, up to the value of `choices`, and the root fields that stand there.
    _lead = b""
    _led: dict[str, Raw] = {}  # noqa: RUF012
    _unlike = 0  # frames that began in another way
    _lines: sse.Decoder | None = None  # from the first read that is not plain
    _begun = _counted = False  # `_counted`: usage was told
    _Progress: ClassVar[type[Progress]] = Progress

    def __init__(self, provider: Provider, max_frame_bytes: int = sse.MAX_FRAME_BYTES, key: str = "") -> None:
        super().__init__(provider, key)
        self._max = max_frame_bytes
        self._quirks = quirks = provider.quirks.answer
        self._usage_path = quirks.usage_path.split(".") if quirks.usage_path else []
        self._error_path = quirks.error_path.split(".") if quirks.error_path else []
        rewrites = quirks.drop_choice or quirks.cumulative_details or quirks.drop or quirks.skip_frames
        self._verbatim = not (rewrites or quirks.usage_path or quirks.error_path)  # frames of the usual form stay
        self._progress = self._Progress(quirks)
        self._plain = self._progress.plain

    def rename(self, names: Mapping[str, str]) -> None:
        super().rename(names)
        self._progress.names = names

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        lines = self._lines
        clean = lines is None or lines.clean
        if clean and self._lead and not self._over and self._one_more(data, events):
            return events
        plain = sse.plain(data, self._max) if clean else None
        if plain is not None:
            for payload in plain:
                self._frame(payload, events)
            self._begun = True
            return events
        if lines is None:
            lines = self._lines = sse.Decoder(self._max, is_frame, begun=self._begun)
        try:
            frames = lines.feed(data)
        except InfronError as error:
            error.provider = self._provider.id
            raise
        for event in frames:
            if event.event or event.stray:
                self._told(event, events)
            elif event.comment is None:
                self._frame(one_line(event.data), events)
        return events

    def close(self) -> list[Event]:
        """The body ended. A last frame that is complete and only lacks its blank line counts, which hosts do forget; a
        cut one does not: the missing finish reason or [DONE] tells that the stream was truncated.
        """
        events: list[Event] = []
        for event in [] if self._over or self._lines is None else self._lines.close():
            if event.stray or event.event == "error":
                self._told(event, events)
            elif is_frame(event.data):
                self._frame(one_line(event.data), events)
        if not self._over:
            self._progress.tell_ends(events)
        return events

    def whole(self, body: bytes) -> list[Event]:
        """An answer in one JSON though a stream was asked for: an error, or the whole completion."""
        body = (body if body.isascii() else clean(body)).replace(b"\r", b" ")
        if body.lstrip()[:1] not in (b"{", b"[") and not body.startswith(BOM):
            raise self._broken("answered with something that is neither a stream nor JSON")
        chunk = chunk_of(body)
        if chunk is None:
            lacks = b'"choices"' in body and b'"error"' not in body
            error = parse_error(200, [], body, self._provider, self._key)
            return [Failed(self._broken("answered without a choice") if lacks else error)]
        events: list[Event] = []
        self._frame(one_line(chunk), events)
        if not self._over:
            self._finish(events)
        return events

    def _told(self, event: sse.Event, events: list[Event]) -> None:
        """A named event, or a line without `data:`, as some hosts write errors."""
        if self._over:
            return
        complains = any(word in event.data for word in (b'"error"', b'"detail"', b'"message"'))
        if event.event == "error" or (event.stray and complains):
            self._fail_with(event.data, events)
        elif not event.stray:
            self._frame(one_line(event.data), events)

    def _one_more(self, data: bytes, events: list[Event]) -> bool:
        """Take a read that is one more frame like those before it: what nearly all reads are."""
        if not (
            data.startswith(self._lead, 6)
            and data.startswith(b"data: ")
            and data.endswith(b"}\n\n")
            and data.find(sse.LF) == len(data) - 2
            and data.isascii()
            and sse.CR not in data
        ):
            return False
        payload = data[6:-2]
        try:
            return self._alike(facts_in(payload), payload, events)
        except BROKEN:
            return False

    def _frame(self, payload: bytes, events: list[Event]) -> None:
        if not payload.isascii():
            payload = clean(payload)
        if self._over:
            self._take_late(payload, events)
            return
        if payload[:6] == b"[DONE]":
            self._finish(events)
            return
        lead = self._lead
        alike = bool(lead) and payload.startswith(lead)
        if alike and payload.startswith(b"[],", len(lead)) and (counts := counts_alone(payload[len(lead) :])):
            if report := self._report(counts, self._led):
                events.append(report)
            return
        try:
            facts = facts_in(payload)
            if (alike or (not lead and self._learn(payload))) and self._alike(facts, payload, events):
                return
            fields = fields_in(payload)
        except BROKEN:
            if not payload.strip():
                return
            read = read_leniently(payload)
            if read is None:
                self._take_odd(payload, events)
                return
            payload, facts = read
            fields = fields_in(payload)
        if (facts.error is not UNSET and facts.error) or (facts.choices is None and only_complains(fields)):
            self._fail_with(payload, events)
        elif self._error_path and (failure := failure_at(fields, self._error_path, self._quirks.error_message_path)):
            self._fail_with(failure, events)
        else:
            self._chunk(facts, fields, events)
            if self._lead and facts.choices:
                self._learn(payload)

    def _take_odd(self, payload: bytes, events: list[Event]) -> None:
        """A frame that is no object: chunks, or an error, in a list; or nothing, as a sign of life."""
        objects = objects_in(payload)
        if objects is None:
            self._fail(self._broken("sent a frame that is not a chat completion chunk"), events)
        for one in objects or ():
            self._frame(one, events)

    def _alike(self, facts: Frame, payload: bytes, events: list[Event]) -> bool:
        """Take a frame that begins like the ones before it and is as it should be: what nearly all frames are."""
        choices = facts.choices
        if not choices or len(choices) != 1 or facts.error is not UNSET or self._progress.riding:
            return False
        if facts.usage is UNSET:
            rest = payload[len(self._lead) :]
        elif facts.usage is None and payload.endswith(_NO_USAGE):
            rest = payload[len(self._lead) : -len(_NO_USAGE)] + b"}"
        else:
            return False
        choice = choices[0]
        delta, known = choice.delta, self._plain.get(choice.index)
        if delta is None or choice.usage is not None or choice.message is not NO_MESSAGE:
            return False
        if known is None:
            return self._begins(facts, choice, delta, rest, events)
        finish, content = choice.finish_reason, delta.content
        if finish is not None or delta.role is not None:
            if (
                finish.__class__ is str
                and delta in _NO_DELTA
                and self._progress.end(known, finish, self._led, rest, events)
            ):
                self._note(events)
                return True
            rest = silenced(rest, delta.role, finish, "" in self._quirks.finish)
            if not rest:
                return False
        if (
            (content.__class__ is str or content is None)
            and delta.reasoning_content is None
            and delta.reasoning is None
            and delta.reasoning_details is None
            and delta.refusal is None
            and delta.function_call is None
            and delta.audio is None
            and delta.images is None
            and delta.annotations is None
        ):  # what nearly all frames are, in short
            if not delta.tool_calls:
                events.append(Verbatim(self._led, bool(content), content or "", rest))
                return True
            arguments = known.calls.go_on(delta.tool_calls) if known.calls is not None and not content else None
            if arguments is not None:
                events.append(Verbatim(self._led, True, arguments, rest))
                return True
            return False
        return is_plain(delta, known) and self._said(delta, choice.index or 0, rest, events)

    def _said(self, delta: Delta, index: int, rest: bytes, events: list[Event]) -> bool:
        """Take a frame of this choice that is fit to be handed on, but that its thought may need its other name."""
        thought = once_named(delta)
        if thought and not (rest := named_twice(rest, thought)):
            return False
        found, text = content_of(delta)
        events.append(Verbatim(self._led, found, text, rest))
        return True

    def _begins(self, facts: Frame, choice: ChoiceFacts, delta: Delta, rest: bytes, events: list[Event]) -> bool:
        """Take the first frame of an answer, if it is as it should be."""
        if choice.index != 0 or self._progress.choices or choice.finish_reason is not None or delta.role != "assistant":
            return False
        if delta in _ROLE_ALONE:
            events.append(Verbatim(self._led, False, "", rest))
        elif delta.reasoning_details or not (is_plain(delta) and self._said(delta, 0, rest, events)):
            return False
        self._name(facts)
        self._progress.begin((self.seed, self.upstream_id))
        return True

    def _learn(self, payload: bytes) -> bool:
        """Keep how this frame begins. Ever more seldom: hosts exist where each begins in another way."""
        self._unlike += 1
        if self._unlike & (self._unlike - 1) or not self._verbatim:
            return False
        found = beginning(payload)
        if found is not None:
            self._lead, self._led = found
        return found is not None

    def _chunk(self, facts: Frame, fields: dict[str, Raw], events: list[Event]) -> None:
        self._name(facts)
        quirks = self._quirks
        if quirks.skip_frames and any(name in fields for name in quirks.skip_frames):
            return
        usage = None if facts.usage is UNSET else facts.usage
        fields.pop("usage", None)
        fields.pop("error", None)
        if self._usage_path:
            usage = taken(fields, self._usage_path) or usage
        for name in quirks.drop:
            fields.pop(name, None)
        raws = fields.pop("choices", NULL)
        fields = {name: raw for name, raw in fields.items() if raw != NULL}
        if facts.choices:
            usage = usage or next((choice.usage for choice in facts.choices if choice.usage), None)
            progress = self._progress
            progress.seed, progress.alone = (self.seed, self.upstream_id), self.expected == 1
            if failure := progress.take(facts.choices, raws, fields, events):
                self._fail_as(*failure, events)
                return
            self._note(events)
        elif not fields.keys() <= _FRAMING:
            self._progress.riding.update((name, raw) for name, raw in fields.items() if name not in _FRAMING)
        if report := self._report(usage, fields):
            events.append(report)

    def _report(self, usage: Any, fields: dict[str, Raw]) -> UsageReported | None:
        if usage is None:
            return None
        report = report_of(usage, self._provider, self.headers, _tier(fields, self._led))
        self._counted = self._counted or report is not None
        return report

    def _name(self, facts: Frame) -> None:
        if self.upstream_id is None and isinstance(facts.id, str) and facts.id:
            self.upstream_id = facts.id[:200]

    def _finish(self, events: list[Event]) -> None:
        self._progress.tell_ends(events)
        self._over = True
        events.append(Done())

    def _note(self, events: list[Event]) -> None:
        """For the record: all choices have ended, as far as that is known."""
        self.choices, self.finished = len(self._progress.choices), self._progress.finished
        if self.finished:
            self._progress.note(events)

    def _take_late(self, payload: bytes, events: list[Event]) -> None:
        """Counts that come after the end: all that is taken there."""
        if self._counted or self._failed or not (self.finished and b"usage" in payload):
            return
        try:
            usage, fields = facts_in(payload).usage, fields_in(payload)
        except BROKEN:
            return
        if report := self._report(None if usage is UNSET else usage, fields):
            events.insert(len(events) - 1 if events and isinstance(events[-1], Done) else len(events), report)


def _tier(fields: dict[str, Raw], led: dict[str, Raw]) -> Any:
    """The service tier that this frame, or the frames before it, say was served."""
    raw = fields.get("service_tier") or led.get("service_tier")
    return None if raw is None else msgspec.json.decode(raw)
