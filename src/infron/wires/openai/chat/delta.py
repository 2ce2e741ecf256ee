"""What one delta of the OpenAI chat wire says: whether it is content, what of it is counted, how a row rewrites it.

It never knows which frame a delta came in, nor what came before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw, Struct

from infron.catalog.definitions import AnswerQuirks
from infron.events import Verbatim

_encode = msgspec.json.Encoder().encode
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_objects = msgspec.json.Decoder(list[dict[str, Raw]]).decode


def members_of(chunk: Verbatim) -> dict[str, Raw]:
    """All root members of a chunk, a dict of its own."""
    return {**chunk.members, **_members(b'{"choices":' + chunk.rest)} if chunk.rest else dict(chunk.members)


class Delta(Struct, gc=False):
    content: Any = None
    role: Any = None
    reasoning: Any = None
    reasoning_content: Any = None
    reasoning_details: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None
    audio: Any = None
    images: Any = None


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


_TEXTS = ("text", "thinking", "summary")
MOST_CHOICES = 128
MOST_CALLS = 1000  # of one choice whose ids are remembered
MOST_TEXT = 1 << 20  # characters of thoughts that are remembered


def strings_in(part: Any, names: tuple[str, ...] = _TEXTS) -> Iterator[str]:
    """The texts of a part, or of a list of parts: strings, and what members of these names hold."""
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


def rewrites(quirks: AnswerQuirks) -> bool:
    """Whether `rewritten` has anything to do for this row."""
    return bool(quirks.drop_choice or _mends(quirks))


def _mends(quirks: AnswerQuirks) -> bool:
    return quirks.split_content or quirks.loose_tool_calls or quirks.cumulative_details


class Seen(Struct, gc=False):
    """What `rewritten` has to know of an answer so far; for each choice, under its index as it is written.

    `calls`: the ids of its tool calls, in order. `details`: what its reasoning details have said, by their index.
    """

    calls: dict[bytes, list[str]] = {}
    details: dict[bytes, dict[int, str]] = {}


def rewritten(raw: Raw, quirks: AnswerQuirks, seen: Seen | None = None) -> Raw:
    """`choices` without what the row drops in each, parts of content told apart, tool calls mended; else as it is.

    `seen`: one for each answer, kept up to date here.
    """
    seen = Seen() if seen is None else seen
    choices: list[dict[str, Any]] = list(_objects(raw))
    changed = False
    for choice in choices:
        for name in quirks.drop_choice:
            if name in choice:
                del choice[name]
                changed = True
                choice.setdefault("delta", {})
        if _mends(quirks) and bytes(choice.get("delta", b""))[:1] == b"{":
            delta: dict[str, Any] = _members(choice["delta"])
            if _mended(delta, quirks, seen, bytes(choice.get("index", b"0"))):
                choice["delta"] = delta
                changed = True
    return Raw(_encode(choices)) if changed else raw


def _mended(delta: dict[str, Any], quirks: AnswerQuirks, seen: Seen, choice: bytes) -> bool:
    said = quirks.split_content and _is_list(delta, "content")
    called = quirks.loose_tool_calls and _is_list(delta, "tool_calls")
    thought = quirks.cumulative_details and _is_list(delta, "reasoning_details")
    if said:
        _split(delta)
    if called:
        _mend_calls(delta, seen.calls.setdefault(choice, []))
    if thought:
        _cut_details(delta, seen.details.setdefault(choice, {}))
    return said or called or thought


def _is_list(delta: dict[str, Any], name: str) -> bool:
    return bytes(delta.get(name, b""))[:1] == b"["


def _split(delta: dict[str, Any]) -> None:
    texts: list[str] = []
    thoughts: list[str] = []
    for part in msgspec.json.decode(delta.pop("content")):
        if isinstance(part, dict) and part.get("type") == "thinking":
            thoughts.extend(strings_in(part.get("thinking")))
        else:
            texts.extend(strings_in(part))
    if texts or not thoughts:
        delta["content"] = "".join(texts)
    if thoughts:
        delta["reasoning_content"] = "".join(thoughts)


def _mend_calls(delta: dict[str, Any], ids: list[str]) -> None:
    mended: list[Any] = []
    for call in msgspec.json.decode(delta.pop("tool_calls")):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            mended.append(call)
            continue
        id, name, arguments = call.get("id"), function.get("name"), function.get("arguments")
        if not id and not name and arguments is None:
            continue
        id = id if isinstance(id, str) and id != "null" else ""
        index = call.get("index")
        if not isinstance(index, int):
            index = call["index"] = _place(id, bool(name), ids)
        if 0 <= index < MOST_CALLS:
            ids.extend("" for _ in range(len(ids), index + 1))
            if name and not id and not ids[index]:
                id = call["id"] = f"call_{index}"
            ids[index] = ids[index] or id
        if name:
            call.setdefault("type", "function")
        if isinstance(arguments, dict):
            function["arguments"] = _encode(arguments).decode()
        mended.append(call)
    if mended:
        delta["tool_calls"] = mended


def _cut_details(delta: dict[str, Any], said: dict[int, str]) -> None:
    """Leave of each text what is new, whether the host tells pieces or, each time, all so far."""
    kept: list[Any] = []
    for place, detail in enumerate(msgspec.json.decode(delta.pop("reasoning_details"))):
        if isinstance(detail, dict) and isinstance(detail.get("text"), str):
            index = detail.get("index")
            index = index if isinstance(index, int) else place
            before, text = said.get(index, ""), detail["text"]
            if before and text.startswith(before):
                text = text[len(before) :]
            if len(before) + len(text) <= MOST_TEXT and len(said) <= MOST_CALLS:
                said[index] = before + text
            if not text and detail["text"]:
                continue
            detail["text"] = text
        kept.append(detail)
    if kept:
        delta["reasoning_details"] = kept


def _place(id: str, named: bool, ids: list[str]) -> int:
    """Which call of the choice an entry without `index` belongs to: that of its id, a new one, else the last."""
    if id:
        return ids.index(id) if id in ids else len(ids)
    return len(ids) if named or not ids else len(ids) - 1


def as_delta(message: Raw) -> Any:
    """A message as the delta that says all of it at once: tool calls get their place as `index`."""
    members: dict[str, Any] = _members(message)
    if bytes(members.get("tool_calls", b""))[:1] == b"[":
        calls = _objects(members["tool_calls"])
        members["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls)]
    return members
