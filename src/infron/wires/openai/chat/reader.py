"""The chunks of an answer of an OpenAI host as neutral events.

It never knows the root of a frame, nor who reads the events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
from infron.wires.decoding import made_id
from infron.wires.lenient_json import dict_in, string_in
from infron.wires.media import audio_mime, of_data_uri
from infron.wires.openai.chat import delta as openai_delta
from infron.wires.openai.chat.delta import MOST_CHOICES
from infron.wires.openai.chat.repair import REASONS

_encode = msgspec.json.Encoder().encode


class _Choice(Struct, gc=False):
    index: int | None = 0
    delta: openai_delta.Delta | None = None
    finish_reason: Any = None
    native_finish_reason: Any = None


class _Frame(Struct, gc=False):
    choices: list[_Choice] | None = None


_choices = msgspec.json.Decoder(list[_Choice] | None).decode
_frame = msgspec.json.Decoder(_Frame).decode
_NO_CHOICES = Raw(b"[]")


class _Progress:
    """What is known of one choice."""

    def __init__(self, seed: object) -> None:
        self.seed = seed
        self.old_call = ""  # how far a call of the older kind is: named, argued
        self.block = 0  # the last block of thinking


class Reader:
    """The chunks of one answer, as the decoder has repaired them, to neutral deltas, and one Finished a choice.

    What it cannot read is not there. A picture that is an address only becomes text in Markdown.
    """

    def __init__(self) -> None:
        self._progress: dict[int, _Progress] = {}

    def events_of(self, chunk: Verbatim, seed: object = "") -> list[Delta | Finished]:
        """`seed`: what tells this answer from others, for the ids of calls that have none."""
        try:
            if chunk.rest:
                choices = _frame(b'{"choices":' + chunk.rest).choices
            else:
                choices = _choices(chunk.fields.get("choices", _NO_CHOICES))
        except lenient_json.BROKEN:
            return []
        events: list[Delta | Finished] = []
        for choice in choices or ():
            index = choice.index or 0
            if choice.delta is not None:
                events.extend(self.said(choice.delta, index, seed))
            if isinstance(choice.finish_reason, str) and choice.finish_reason:
                progress = self._of(index, seed)
                if progress is not None:
                    events.extend(_end(progress, choice.finish_reason, choice.native_finish_reason, index))
        return events

    def said(self, delta: openai_delta.Delta, index: int, seed: object = "") -> Iterable[Delta]:
        """The same of what one choice says, as it was repaired."""
        content = delta.content
        if not content and delta == openai_delta.Delta(content, delta.role):  # it begins, or ends
            return ()
        progress = self._of(index, seed)
        return () if progress is None else _events(delta, progress, index)

    def _of(self, index: int, seed: object) -> _Progress | None:
        progress = self._progress.get(index)
        if progress is None and len(self._progress) < MOST_CHOICES:
            progress = self._progress[index] = _Progress((seed, index))
        return progress


def _end(progress: _Progress, reason: str, native: Any, index: int) -> Iterator[Delta | Finished]:
    if progress.old_call == "named":
        yield ToolCallDelta(0, "{}", index)
    ours = REASONS[reason]
    if not isinstance(native, str) or not native:
        native = "" if ours == reason else reason
    yield Finished(ours, native, index)


def _events(delta: openai_delta.Delta, progress: _Progress, choice: int) -> Iterator[Delta]:
    calls = [call for call in delta.tool_calls if isinstance(call, dict)] if isinstance(delta.tool_calls, list) else []
    details, signatures = _details(delta.reasoning_details, calls)
    if details or delta.reasoning or delta.reasoning_content:
        yield from _thinking(delta, details, progress, choice)
    if isinstance(delta.content, str) and delta.content:
        yield TextDelta(delta.content, choice)
    if isinstance(delta.refusal, str) and delta.refusal:
        yield RefusalDelta(delta.refusal, choice)
    if delta.images or delta.audio:
        yield from _media(delta, choice)
    if isinstance(delta.annotations, list):
        for raw in delta.annotations:
            if isinstance(raw, dict):
                yield Annotated({name: value for name, value in raw.items() if name != "index"}, choice)
    for call in calls:
        yield from _called(call, signatures, choice)
    if isinstance(delta.function_call, dict):
        yield from _called_of_old(delta.function_call, progress, choice)


# ---- thinking


def _details(value: Any, calls: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The details that are thinking, and those that are signatures of the calls beside them, by the call's id."""
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


def _thinking(
    delta: openai_delta.Delta, details: list[dict[str, Any]], progress: _Progress, choice: int
) -> Iterator[ThinkingDelta]:
    if not any(string_in(item, "text") or string_in(item, "summary") for item in details):
        plain = delta.reasoning_content or delta.reasoning  # else it says the same as the details
        if isinstance(plain, str) and plain:
            yield ThinkingDelta(plain, index=progress.block, choice=choice)
    for item in details:
        progress.block = item["index"]
        summary = item.get("type") == "reasoning.summary" or "summary" in item
        yield ThinkingDelta(
            string_in(item, "summary") if summary else string_in(item, "text"),
            string_in(item, "signature"),
            string_in(item, "data"),
            string_in(item, "format"),
            progress.block,
            choice,
            summary,
            string_in(item, "id"),
        )


# ---- media


def _media(delta: openai_delta.Delta, choice: int) -> Iterator[Delta]:
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


def _called(item: dict[str, Any], signatures: dict[str, str], choice: int) -> Iterator[Delta]:
    """A piece of a call: the first has its id and its name."""
    index, part = item["index"], dict_in(item, "function") or dict_in(item, "custom")
    if id := string_in(item, "id"):
        yield ToolCallStarted(index, id, string_in(part, "name"), signatures.get(id, "") or _google(item), choice)
    if arguments := string_in(part, "arguments") or string_in(part, "input"):
        yield ToolCallDelta(index, arguments, choice)


def _google(item: dict[str, Any]) -> str:
    """The signature as Google's own chat endpoint writes it."""
    return string_in(dict_in(dict_in(item, "extra_content"), "google"), "thought_signature")


def _called_of_old(part: dict[str, Any], progress: _Progress, choice: int) -> Iterator[Delta]:
    """A piece of a call of the older kind, of which there is one at most."""
    name, arguments = string_in(part, "name"), string_in(part, "arguments")
    if name and not progress.old_call:
        progress.old_call = "named"
        yield ToolCallStarted(0, made_id(progress.seed, name), name, "", choice)
    if arguments and progress.old_call:
        progress.old_call = "argued"
        yield ToolCallDelta(0, arguments, choice)
