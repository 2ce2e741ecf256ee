"""An answer of an OpenAI host: its stream to events, which are its own frames where the client speaks the same API.

It never knows who the caller is, or what a token costs.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct

from infron.catalog.definitions import Provider
from infron.errors import InfronError
from infron.events import Done, Event, Failed, Finished, Verbatim
from infron.wires import sse
from infron.wires.decoding import AnswerDecoder
from infron.wires.errors import parse_error
from infron.wires.openai.chat.choices import CHUNK, ROOT
from infron.wires.openai.chat.delta import MOST_CHOICES, Delta, Seen, as_delta, content_of, rewrites, rewritten
from infron.wires.openai.chat.reader import Reader
from infron.wires.usage import report_of

MEDIA_TYPE = b"text/event-stream"

_encode = msgspec.json.Encoder().encode
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_objects = msgspec.json.Decoder(list[dict[str, Raw]]).decode


class _Choice(Struct, gc=False):
    index: int | None = 0
    delta: Delta | None = None
    finish_reason: Any = None
    usage: Any = None


class _Frame(Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: Any = UNSET
    error: Any = UNSET
    id: Any = None


_facts = msgspec.json.Decoder(_Frame).decode
# Root members that say nothing of their own when `choices` is empty.
_FRAMING = frozenset(
    ("id", "object", "created", "model", "choices", "system_fingerprint", "service_tier", "provider", "obfuscation")
)
_OURS = frozenset(ROOT)
_CHOICES = b'"choices":'
_NO_USAGE = b',"usage":null}'  # what hosts put behind the choices of every frame but the last
_PAIRS = re.compile(rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|u[dD][89a-fA-F]..|.)", re.DOTALL)
_BROKEN_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class VerbatimDecoder(AnswerDecoder):
    """A provider's stream to its own frames, as events. Raises only InfronError. Nothing follows Done or Failed.

    `key`: our key at this provider, which no message may repeat. `finished`: every choice seen has a finish reason.
    """

    # How the frames of this stream begin, up to the value of `choices`, and the root members that stand there.
    _lead = b""
    _led: dict[str, Raw] = {}  # noqa: RUF012
    _unlike = 0  # frames that began in another way
    _lines: sse.Decoder | None = None  # from the first read that is not plain
    _begun = False

    def __init__(self, provider: Provider, max_frame_bytes: int = sse.MAX_FRAME_BYTES, key: str = "") -> None:
        super().__init__(provider, key)
        self._max = max_frame_bytes
        self._quirks = quirks = provider.quirks.answer
        self._usage_path = quirks.usage_path.split(".") if quirks.usage_path else []
        self._error_path = quirks.error_path.split(".") if quirks.error_path else []
        self._rewrites = rewrites(quirks)
        self._seen = Seen() if self._rewrites else None
        self._roles: set[int] = set()
        self._finishes: dict[int, str | None] = {}

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        lines = self._lines
        clean = lines is None or lines.clean
        if clean and self._lead and not self._over and self._one_more(data, events):
            return events
        plain = sse.plain(data, self._max) if clean else None
        if plain is not None:
            for payload in plain:
                if self._over:
                    break
                self._frame(payload, events)
            self._begun = True
            return events
        if lines is None:
            lines = self._lines = sse.Decoder(self._max, _is_frame, begun=self._begun)
        try:
            frames = lines.feed(data)
        except InfronError as error:
            error.provider = self._provider.id
            raise
        for event in frames:
            if self._over:
                break
            if event.event or event.stray:
                self._told(event, events)
            elif event.comment is None:
                self._frame(_one_line(event.data), events)
        return events

    def close(self) -> list[Event]:
        """The body ended. A last frame that is complete and only lacks its blank line counts; a cut one does not.

        The standard discards both. But hosts do forget the blank line, and a cut frame is no garbage: it shows that
        the stream was truncated, which the missing finish reason or [DONE] tells.
        """
        events: list[Event] = []
        for event in [] if self._over or self._lines is None else self._lines.close():
            if event.stray or event.event == "error":
                self._told(event, events)
            elif _is_frame(event.data):
                self._frame(_one_line(event.data), events)
        return events

    def whole(self, body: bytes) -> list[Event]:
        """An answer in one JSON though a stream was asked for: an error, or the whole completion."""
        try:
            body = (body if body.isascii() else _clean(body)).replace(b"\r", b" ")
            answer: dict[str, Any] = _members(body)
            choices: list[dict[str, Any]] = _objects(answer["choices"]) if "choices" in answer else []
            for choice in choices:
                if "message" in choice and "delta" not in choice:
                    choice["delta"] = as_delta(choice.pop("message"))
        except _BROKEN_JSON:
            if body.lstrip()[:1] in (b"{", b"["):
                return [Failed(parse_error(200, [], body, self._provider, self._key))]
            raise self._broken("answered with something that is neither a stream nor JSON") from None
        if not choices:
            return [Failed(parse_error(200, [], body, self._provider, self._key))]
        answer["choices"] = choices
        answer["object"] = CHUNK
        events: list[Event] = []
        self._frame(_one_line(_encode(answer)), events)
        if not self._over:
            events.append(Done())
        return events

    def _told(self, event: sse.Event, events: list[Event]) -> None:
        """A named event, or a line without `data:`, as some hosts write errors."""
        complains = any(word in event.data for word in (b'"error"', b'"detail"', b'"message"'))
        if event.event == "error" or (event.stray and complains):
            self._fail_with(event.data, events)
        elif not event.stray:
            self._frame(_one_line(event.data), events)

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
            return self._alike(_facts(payload), payload, events)
        except _BROKEN_JSON:
            return False

    def _frame(self, payload: bytes, events: list[Event]) -> None:
        if not payload.isascii():
            payload = _clean(payload)
        if payload[:6] == b"[DONE]":
            self._over = True
            events.append(Done())
            return
        try:
            facts = _facts(payload)
            if (payload.startswith(self._lead) if self._lead else self._learn(payload)) and self._alike(
                facts, payload, events
            ):
                return
            members = _members(payload)
        except _BROKEN_JSON:
            if not payload.strip():
                return
            try:
                payload = _PAIRS.sub(_paired, payload)
                facts = _facts(payload)
                members = _members(payload)
            except _BROKEN_JSON:
                self._fail(self._broken("sent a frame that is not a chat completion chunk"), events)
                return
        complains = facts.error is not UNSET and facts.error
        if complains or (facts.choices is None and "object" not in members and _only_complains(members)):
            self._fail_with(payload, events)
        elif not (self._error_path and self._reports_failure(members, events)):
            self._chunk(facts, members, b"", events)
            if self._lead and facts.choices:
                self._learn(payload)

    def _alike(self, facts: _Frame, payload: bytes, events: list[Event]) -> bool:
        """Take a frame that begins like the ones before it, if all that is ours stands in that beginning."""
        choices = facts.choices
        if not choices or facts.error is not UNSET:
            return False
        if facts.usage is UNSET:
            rest = payload[len(self._lead) :]
        elif facts.usage is None and payload.endswith(_NO_USAGE):
            rest = payload[len(self._lead) : -len(_NO_USAGE)] + b"}"
        else:
            return False
        if len(choices) == 1:
            choice = choices[0]
            delta = choice.delta
            if (
                delta is not None
                and choice.index in self._roles
                and choice.finish_reason is None
                and choice.usage is None
                and delta.role is None
            ):  # what nearly all frames are, in short
                content, text = content_of(delta)
                events.append(Verbatim(self._led, content, text, rest))
                return True
        self._chunk(facts, self._led, rest, events)
        return True

    def _learn(self, payload: bytes) -> bool:
        """Keep how this frame begins. Ever more seldom: hosts exist where each begins in another way."""
        self._unlike += 1
        if self._unlike & (self._unlike - 1) or not self._verbatim:
            return False
        lead, found, _ = payload.partition(_CHOICES)
        try:
            members = _members(lead + b'"choices":0}')
        except _BROKEN_JSON:
            return False
        del members["choices"]
        if not found or not members.keys() >= _OURS or "usage" in members or "error" in members:
            return False
        self._lead, self._led = lead + found, members
        return True

    @property
    def _verbatim(self) -> bool:
        """Whether frames are handed on as they are, but for the root members that are ours."""
        quirks = self._quirks
        mends = self._rewrites or self._usage_path or self._error_path
        return not (mends or quirks.skip_frames or quirks.drop)

    def _reports_failure(self, members: dict[str, Raw], events: list[Event]) -> bool:
        code = _at(members, self._error_path)
        if not code:
            return False
        path = self._quirks.error_message_path
        message = _at(members, path.split(".")) if path else code
        error = {"error": {"code": code, "message": message if isinstance(message, str) else None}}
        self._fail_with(_encode(error), events)
        return True

    def _chunk(self, facts: _Frame, members: dict[str, Raw], rest: bytes, events: list[Event]) -> None:
        quirks = self._quirks
        if quirks.skip_frames and any(name in members for name in quirks.skip_frames):
            return
        if self.upstream_id is None and isinstance(facts.id, str) and facts.id:
            self.upstream_id = facts.id[:200]
        usage = None if facts.usage is UNSET else facts.usage
        if not rest:
            members.pop("usage", None)
            members.pop("error", None)
            if self._usage_path:
                usage = _take(members, self._usage_path) or usage
            for name in quirks.drop:
                members.pop(name, None)
        content, text, reason = False, "", None
        choices = facts.choices
        for choice in choices or ():
            index = choice.index or 0
            delta = choice.delta
            if usage is None and choice.usage:
                usage = choice.usage
            if index not in self._finishes:
                if len(self._finishes) >= MOST_CHOICES:
                    self._fail(self._broken(f"sent more than {MOST_CHOICES} choices"), events)
                    return
                self._finishes[index] = None
                self.choices, self.finished = len(self._finishes), False
            if delta is not None:
                if delta.role:
                    self._roles.add(index)
                found, words = content_of(delta)
                if found:
                    content = True
                    text = text + words if text else words
                    if index not in self._roles:
                        self._roles.add(index)
                        events.append(_role_chunk(index))
            finish = choice.finish_reason
            if finish is not None and (finish or "" in quirks.finish):
                reason = str(finish)
                if reason == "error" or reason in quirks.error_finish:
                    self._fail(self._broken(f"ended the answer with the finish reason {self._shown(reason)}"), events)
                    return
                self._finishes[index] = reason = quirks.finish.get(reason, reason)
        if rest:
            events.append(Verbatim(members, content, text, rest))
        elif choices:
            if "object" not in members:
                members["object"] = CHUNK
            if self._seen is not None:
                members["choices"] = rewritten(members["choices"], quirks, self._seen)
            events.append(Verbatim(members, content, text))
        elif not members.keys() <= _FRAMING:
            members["choices"] = Raw(b"[]")
            events.append(Verbatim(members, False, ""))
        if usage is not None and (report := report_of(usage, self._provider, self.headers, self._tier(members))):
            events.append(report)
        if reason is not None:
            self.finished = all(self._finishes.values())
            if self.finished:
                events.append(Finished(reason, told=True))

    def _tier(self, members: dict[str, Raw]) -> Any:
        """The service tier that this frame, or the frames before it, say was served."""
        raw = members.get("service_tier") or self._led.get("service_tier")
        return None if raw is None else msgspec.json.decode(raw)


def _is_frame(line: bytes) -> bool:
    """Whether a data line is a frame by itself, whatever follows."""
    if line[:1] != b"{" or line[-1:] != b"}":
        return line[:6] == b"[DONE]"
    try:
        _members(line)
    except _BROKEN_JSON:
        return False
    return True


def _only_complains(members: dict[str, Raw]) -> bool:
    return "detail" in members or ("message" in members and "code" in members)


def _role_chunk(index: int) -> Verbatim:
    choices = [{"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]
    return Verbatim({**ROOT, "choices": Raw(_encode(choices))}, False, "")


def _one_line(data: bytes) -> bytes:
    """Line ends between the tokens of the JSON as spaces: ours is one line."""
    return data.replace(b"\n", b" ") if b"\n" in data else data


def _clean(payload: bytes) -> bytes:
    """UTF-8 for certain, and without the characters at which naive clients break a line."""
    try:
        return sse.unbroken(payload)
    except UnicodeDecodeError:
        return sse.unbroken(payload.decode("utf-8", "replace").encode())


def _paired(match: re.Match[bytes]) -> bytes:
    """An escape as it is, or U+FFFD for half of a surrogate pair."""
    escape = match[0]
    half = len(escape) == 6 and escape[2:3] in b"dD"
    return b"\\ufffd" if half else escape


def _at(members: dict[str, Raw], path: list[str]) -> Any:
    raw = members.get(path[0])
    value = msgspec.json.decode(raw) if raw is not None else None
    for name in path[1:]:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _take(members: dict[str, Raw], path: list[str]) -> Any:
    """What stands at `path`, taken out of the members; an object that is empty then goes with it."""
    raw = members.get(path[0])
    if raw is None:
        return None
    if len(path) == 1:
        return msgspec.json.decode(members.pop(path[0]))
    if bytes(raw)[:1] != b"{":
        return None
    inner = _members(raw)
    size = len(inner)
    value = _take(inner, path[1:])
    if not inner:
        del members[path[0]]
    elif value is not None or len(inner) != size:
        members[path[0]] = Raw(_encode(inner))
    return value


class NeutralDecoder(VerbatimDecoder):
    """The same frames as neutral events."""

    def __init__(self, provider: Provider, max_frame_bytes: int, key: str) -> None:
        super().__init__(provider, max_frame_bytes, key)
        self._reader = Reader()

    def feed(self, data: bytes) -> list[Event]:
        return self._neutral(super().feed(data))

    def close(self) -> list[Event]:
        return self._neutral(super().close())

    def whole(self, body: bytes) -> list[Event]:
        return self._neutral(super().whole(body))

    def _neutral(self, events: list[Event]) -> list[Event]:
        neutral: list[Event] = []
        for event in events:
            if isinstance(event, Verbatim):
                neutral.extend(self._reader.events_of(event))
            elif isinstance(
                event, Finished
            ):  # the frames before it said the same, but for what the row reads as an end
                neutral.extend(self._reader.ends_of(self._finishes))
            else:
                neutral.append(event)
        return neutral


def Decoder(
    provider: Provider, max_frame_bytes: int = sse.MAX_FRAME_BYTES, key: str = "", verbatim: bool = True
) -> VerbatimDecoder:
    """As the contract says."""
    return (VerbatimDecoder if verbatim else NeutralDecoder)(provider, max_frame_bytes, key)
