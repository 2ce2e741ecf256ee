"""The chunks of an answer of an OpenAI host as neutral events.

It never knows the root of a frame, nor who reads the events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from infron.errors import InvalidRequest
from infron.events import (
    Annotated,
    Delta,
    Finished,
    MediaDelta,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    Verbatim,
)
from infron.wires import lenient_json
from infron.wires.lenient_json import string_in
from infron.wires.media import audio_mime, of_data_uri
from infron.wires.openai.chat import delta as openai_delta
from infron.wires.openai.chat.delta import MOST_CALLS, MOST_CHOICES, strings_in

_encode = msgspec.json.Encoder().encode


class _Delta(openai_delta.Delta, gc=False):
    annotations: Any = None


class _Choice(Struct, gc=False):
    index: int | None = 0
    delta: _Delta | None = None
    finish_reason: Any = None
    native_finish_reason: Any = None


class _Frame(Struct, gc=False):
    choices: list[_Choice] | None = None


_choices = msgspec.json.Decoder(list[_Choice] | None).decode
_frame = msgspec.json.Decoder(_Frame).decode
_NO_CHOICES = Raw(b"[]")

# What hosts say -> what is said of it. Others are `stop` here: new ones end an answer too.
REASONS = {
    "content_filter": "content_filter",
    "end_turn": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "function_call": "tool_calls",
    "length": "length",
    "max_length": "length",
    "max_output": "length",
    "max_tokens": "length",
    "model_length": "length",
    "safety": "content_filter",
    "sensitive": "content_filter",
    "stop": "stop",
    "tool-calls": "tool_calls",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
}
MAX_HELD = 1 << 20  # characters of the arguments of a call that has no name yet


class _Call:
    """A tool call as far as it was told. `held`: arguments that came before the name."""

    def __init__(self, place: int) -> None:
        self.place = place  # among the calls of its choice
        self.index: Any = None  # as the host counts
        self.id = ""
        self.name = ""
        self.signature = ""
        self.started = False
        self.argued = False
        self.held: list[str] = []


class _Progress:
    """What is known of one choice."""

    def __init__(self) -> None:
        self.calls: list[_Call] = []
        self.block = 0  # the last block of thoughts
        self.kind = ""  # its type
        self.ended = False


class Reader:
    """The chunks of one answer to neutral deltas, and one Finished a choice. What it cannot read is not there.

    Hosts tell the id and the name of a tool call late, again, or without an index: a call starts here once, as soon as
    its name is known. Calls without arguments get theirs at the end, for those of several calls may come in turns.
    A picture that is an address only becomes text in Markdown.
    """

    def __init__(self) -> None:
        self._progress: dict[int, _Progress] = {}

    def events_of(self, chunk: Verbatim) -> list[Delta | Finished]:
        try:
            if chunk.rest:
                choices = _frame(b'{"choices":' + chunk.rest).choices
            else:
                choices = _choices(chunk.members.get("choices", _NO_CHOICES))
        except lenient_json.BROKEN:
            return []
        events: list[Delta | Finished] = []
        for choice in choices or ():
            index = choice.index or 0
            progress = self._progress.get(index)
            if progress is None:
                if len(self._progress) >= MOST_CHOICES:
                    continue
                progress = self._progress[index] = _Progress()
            if choice.delta is not None:
                events.extend(_events(choice.delta, progress, index))
            reason = choice.finish_reason
            if isinstance(reason, str) and reason and not progress.ended:
                events.extend(_end(progress, reason, choice.native_finish_reason, index))
        return events

    def ends_of(self, reasons: Mapping[int, str | None]) -> list[Delta | Finished]:
        """The ends of the choices that have a reason though no chunk said one that is known here."""
        events: list[Delta | Finished] = []
        for index, reason in reasons.items():
            progress = self._progress.setdefault(index, _Progress())
            if reason and not progress.ended:
                events.extend(_end(progress, reason, None, index))
        return events


def _end(progress: _Progress, reason: str, native: Any, index: int) -> Iterator[Delta | Finished]:
    progress.ended = True
    for call in progress.calls:
        yield from _settled(call, index)
    yield _finished(reason, native, index)


def _finished(reason: str, native: Any, index: int) -> Finished:
    ours = REASONS.get(reason.lower(), "stop")
    if not isinstance(native, str) or not native:
        native = "" if ours == reason else reason
    return Finished(ours, native, index)


def _events(delta: _Delta, progress: _Progress, choice: int) -> Iterator[Delta]:
    calls = [call for call in delta.tool_calls if isinstance(call, dict)] if isinstance(delta.tool_calls, list) else []
    if isinstance(delta.function_call, dict):
        calls.append({"index": 0, "function": delta.function_call})
    details, signatures = _details(delta.reasoning_details, calls)
    if details or delta.reasoning or delta.reasoning_content:
        yield from _thoughts(delta, details, progress, choice)
    if delta.content:
        yield from _content(delta.content, progress, choice)
    if isinstance(delta.refusal, str) and delta.refusal:
        yield RefusalDelta(delta.refusal, choice)
    if delta.images or delta.audio:
        yield from _media(delta, choice)
    if isinstance(delta.annotations, list):
        for raw in delta.annotations:
            if isinstance(raw, dict):
                yield Annotated(raw, choice)
    for call in calls:
        yield from _called(call, signatures, progress, choice)


# ---- thoughts


def _details(value: Any, calls: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The details that are thoughts, and those that are signatures of the calls beside them, by the call's id."""
    if not isinstance(value, list):
        return [], {}
    ids = {call["id"] for call in calls if isinstance(call.get("id"), str) and call["id"]}
    details, signatures = [], {}
    for item in value:
        if not isinstance(item, dict):
            continue
        id, data = string_in(item, "id"), string_in(item, "data")
        if data and id in ids:
            signatures[id] = data
        elif data or any(string_in(item, name) for name in ("text", "summary", "signature")):
            details.append(item)
    return details, signatures


def _thoughts(
    delta: _Delta, details: list[dict[str, Any]], progress: _Progress, choice: int
) -> Iterator[ThinkingDelta]:
    if not any(string_in(item, "text") or string_in(item, "summary") for item in details):
        plain = delta.reasoning_content or delta.reasoning  # else it says the same as the details
        if isinstance(plain, str) and plain:
            yield ThinkingDelta(plain, index=progress.block, choice=choice)
    for item in details:
        kind, index = string_in(item, "type"), item.get("index")
        if not isinstance(index, int) or isinstance(index, bool) or index < 0:
            goes_on = kind == progress.kind and kind != "reasoning.encrypted"
            index = progress.block if goes_on or not progress.kind else progress.block + 1
        # A signature ends its block.
        progress.block, progress.kind = index, f"{kind} signed" if string_in(item, "signature") else kind
        summary = kind == "reasoning.summary" or "summary" in item
        yield ThinkingDelta(
            string_in(item, "summary") if summary else string_in(item, "text"),
            string_in(item, "signature"),
            string_in(item, "data"),
            string_in(item, "format"),
            index,
            choice,
            summary,
            string_in(item, "id"),
        )


# ---- content and media


_TEXT_ONLY = ("text",)


def _content(content: Any, progress: _Progress, choice: int) -> Iterator[Delta]:
    """Text, or, at a few hosts, a list of parts."""
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            if part:
                yield TextDelta(part, choice)
        elif isinstance(part, dict) and part.get("type") == "thinking":
            text = "".join(strings_in(part.get("thinking"), _TEXT_ONLY))
            if text:
                yield ThinkingDelta(text, index=progress.block, choice=choice)
        elif isinstance(part, dict) and part.get("type") == "image_url":
            yield from _picture(part, choice)
        else:
            text = "".join(strings_in(part, _TEXT_ONLY))
            if text:
                yield TextDelta(text, choice)


def _media(delta: _Delta, choice: int) -> Iterator[Delta]:
    for item in delta.images if isinstance(delta.images, list) else ():
        if isinstance(item, dict):
            yield from _picture(item, choice)
    sound = delta.audio
    if isinstance(sound, dict):
        # OpenAI names no format in a stream: there it is always raw PCM.
        mime = audio_mime(string_in(sound, "format") or "pcm16")
        if data := string_in(sound, "data"):
            yield MediaDelta(mime, data, choice)
        if words := string_in(sound, "transcript"):
            yield TextDelta(words, choice)


def _picture(item: dict[str, Any], choice: int) -> Iterator[Delta]:
    source = item.get("image_url")
    url = string_in(source, "url") if isinstance(source, dict) else source
    if not isinstance(url, str) or not url:
        return
    if url[:5].lower() != "data:":
        yield TextDelta(f"![]({url})", choice)
        return
    try:
        mime, data = of_data_uri(url, "images")
    except InvalidRequest:
        return
    yield MediaDelta(mime, data, choice)


# ---- tool calls


def _called(item: dict[str, Any], signatures: dict[str, str], progress: _Progress, choice: int) -> Iterator[Delta]:
    calls = progress.calls
    call = _known(calls, item)
    if call is None:
        if len(calls) >= MOST_CALLS:
            return
        call = _Call(len(calls))
        calls.append(call)
    if call.index is None:
        call.index = item.get("index")
    call.id = call.id or string_in(item, "id")
    function = item.get("function")
    function = function if isinstance(function, dict) else {}
    call.name = call.name or string_in(function, "name")
    call.signature = call.signature or signatures.get(call.id, "") or _google(item)
    arguments = function.get("arguments")
    if isinstance(arguments, dict):
        arguments = _encode(arguments).decode()
    if isinstance(arguments, str) and arguments:
        call.argued = True
        call.held.append(arguments)
    if not call.started and call.name and (call.id or call.argued):
        yield _start(call, choice)
    if call.started or sum(map(len, call.held)) > MAX_HELD:
        if not call.started:
            yield _start(call, choice)
        for piece in call.held:
            yield ToolCallDelta(call.place, piece, choice)
        call.held.clear()


def _known(calls: list[_Call], item: dict[str, Any]) -> _Call | None:
    """The call that this goes on with: that of its index, or else of its id, or the last one where it has neither."""
    index, id = item.get("index"), item.get("id")
    if index is not None:
        if calls and calls[-1].index == index:
            return calls[-1]
        return next((call for call in calls if call.index == index), None)
    if id:
        return next((call for call in calls if call.id == id), None)
    return calls[-1] if calls else None


def _google(item: dict[str, Any]) -> str:
    """The signature as Google's own chat endpoint writes it."""
    for name in ("extra_content", "google"):
        inner = item.get(name)
        item = inner if isinstance(inner, dict) else {}
    return string_in(item, "thought_signature")


def _start(call: _Call, choice: int) -> ToolCallStarted:
    call.started = True
    return ToolCallStarted(call.place, call.id or f"call_{call.place}", call.name, call.signature, choice)


def _settled(call: _Call, choice: int) -> Iterator[Delta]:
    """What a call still lacks when the end comes."""
    if not call.started:
        yield _start(call, choice)
    for piece in call.held:
        yield ToolCallDelta(call.place, piece, choice)
    call.held.clear()
    if not call.argued:
        call.argued = True
        yield ToolCallDelta(call.place, "{}", choice)
