"""What one delta of the OpenAI chat wire says: whether it is content, what of it is counted, how parts are told apart.

It never knows which frame a delta came in, nor what came before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw, Struct

from infron.events import Verbatim

_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_items = msgspec.json.Decoder(list[Raw]).decode


def fields_of(chunk: Verbatim) -> dict[str, Raw]:
    """All root fields of a chunk, a dict of its own."""
    return {**chunk.fields, **_fields(b'{"choices":' + chunk.rest)} if chunk.rest else dict(chunk.fields)


class Delta(Struct, gc=False):
    content: str | list[Any] | None = None
    role: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[Any] | None = None
    refusal: str | None = None
    tool_calls: Any = None
    function_call: dict[str, Any] | None = None
    audio: dict[str, Any] | None = None
    images: list[Any] | None = None
    annotations: list[Any] | None = None


_NOTHING = (False, "")


def content_of(delta: Delta) -> tuple[bool, str]:
    """Whether a delta commits us, and the text of it that is counted."""
    content = delta.content
    if (
        (content is None or content.__class__ is str)
        and delta.tool_calls is None
        and delta.reasoning_content is None
        and delta.reasoning is None
        and delta.reasoning_details is None
        and delta.refusal is None
        and delta.function_call is None
        and delta.audio is None
        and delta.images is None
    ):
        return (True, content) if content else _NOTHING
    words: list[str] = []
    found = bool(delta.audio or delta.images)
    reasoning = delta.reasoning_content or delta.reasoning or delta.reasoning_details
    for part in (content, reasoning, delta.refusal):
        if part:
            words.extend(strings_in(part))
            found = found or _has_data(part)
    calls = delta.tool_calls if isinstance(delta.tool_calls, list) else []
    for call in [*calls, {"function": delta.function_call}]:
        function = (call.get("function") or call.get("custom")) if isinstance(call, dict) else None
        if isinstance(function, dict):
            words.extend(str(function[name]) for name in ("name", "arguments", "input") if function.get(name))
            found = True
    text = "".join(words)
    return found or bool(text), text


def once_named(delta: Delta) -> str | None:
    """A thought that stands under one of its two names only: clients read the one or the other."""
    one, other = delta.reasoning_content, delta.reasoning
    if one.__class__ is str and one and not other:
        return one
    return other if other.__class__ is str and other and not one else None


_TEXTS = ("text", "thinking", "summary")
MOST_CHOICES = 128
MOST_BLOCKS = 1000  # of thinking of one choice that are remembered
MOST_TEXT = 1 << 20  # characters of thinking that are remembered


def strings_in(part: Any, names: tuple[str, ...] = _TEXTS) -> Iterator[str]:
    """The texts of a part, or of a list of parts: strings, and what fields of these names hold."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, list):
        for item in part:
            yield from strings_in(item, names)
    elif isinstance(part, dict):
        for name in names:
            yield from strings_in(part.get(name), names)


def _has_data(part: Any) -> bool:
    """Whether a list of parts holds something that is not text: an image, encrypted reasoning."""
    if not isinstance(part, list):
        return False
    beside = ("type", "id", "format", "index", *_TEXTS)
    return any(isinstance(item, dict) and any(item[name] for name in item if name not in beside) for item in part)


def split_content(delta: Delta, fields: dict[str, Any]) -> None:
    """Content in parts as text, parts that are thinking as `reasoning_content`, pictures as `images`; in both."""
    texts: list[str] = []
    thinking: list[str] = []
    images: list[Any] = []
    for part in delta.content if isinstance(delta.content, list) else ():
        if isinstance(part, dict) and part.get("type") == "thinking":
            thinking.extend(strings_in(part.get("thinking")))
        elif isinstance(part, dict) and part.get("type") == "image_url":
            images.append(part)
        else:
            texts.extend(strings_in(part))
    del fields["content"]
    delta.content = None
    if texts or not (thinking or images):
        delta.content = fields["content"] = "".join(texts)
    if images:
        delta.images = fields["images"] = images
    if thinking:
        delta.reasoning_content = fields["reasoning_content"] = "".join(thinking)


def cut_details(delta: Delta, fields: dict[str, Any], said: dict[int, str]) -> None:
    """Leave of each text what is new, whether the host tells pieces or, each time, all so far; in both."""
    kept: list[Any] = []
    for place, detail in enumerate(delta.reasoning_details or ()):
        if isinstance(detail, dict) and isinstance(detail.get("text"), str):
            index = detail.get("index")
            index = index if isinstance(index, int) else place
            before, text = said.get(index, ""), detail["text"]
            if before and text.startswith(before):
                text = text[len(before) :]
            if len(before) + len(text) <= MOST_TEXT and len(said) <= MOST_BLOCKS:
                said[index] = before + text
            if not text and detail["text"]:
                continue
            detail["text"] = text
        kept.append(detail)
    del fields["reasoning_details"]
    delta.reasoning_details = kept or None
    if kept:
        fields["reasoning_details"] = kept


def as_delta(message: Raw) -> Any:
    """A message as the delta that says all of it at once: tool calls get their place as `index`."""
    fields: dict[str, Any] = _fields(message)
    if bytes(fields.get("tool_calls", b""))[:1] == b"[":
        calls = [_fields(raw) for raw in _items(fields["tool_calls"]) if bytes(raw)[:1] == b"{"]
        for call in calls:
            call.pop("index", None)
        fields["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls)]
    return fields
