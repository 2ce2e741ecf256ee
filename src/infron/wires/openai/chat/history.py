"""Messages and tools of a chat request in the form that a host takes, where they are not in it yet.

It never knows how the answer shall be. What is right already goes on byte for byte: a request without tools is only
looked at, and of one with them only what has to be changed is written anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from infron.catalog.definitions import MessageQuirks
from infron.wires.json_guard import LARGE, MOST_LIGHT, items_of, says_any
from infron.wires.naming import CallIds, Ids, Names, renamings
from infron.wires.openai.chat.said import Said, content_of, is_list, parts_in
from infron.wires.openai.chat.thinking import plain_thinking
from infron.wires.openai.chat.tools import names_of, rename, renamed_choice, renamed_tool
from infron.wires.openai.chat.turns import in_turns, shown_by_the_user, that_say_something, with_results
from infron.wires.openai.chat.usual import MAX_ID, WORDS, is_usual
from infron.wires.session import Rules, as_object

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_NULL = Raw(b"null")

_NAMES = Names("A-Za-z0-9_-", 64)
_IDS = Ids(rf"[\s\S]{{1,{MAX_ID}}}", unique=False)
# What hosts say in their answers and clients give back, or say to one host alone; others may refuse it.
OF_OTHERS = frozenset(
    (
        "annotations",
        "cache_control",
        "extra_content",
        "images",
        "is_error",
        "parsed",
        "provider_specific_fields",
        "reasoning",
        "reasoning_content",
        "reasoning_details",
    )
)
_THOUGHT = frozenset(("reasoning", "reasoning_content", "reasoning_details"))
_EMPTY = (Raw(b"null"), Raw(b'""'), Raw(b"[]"))
_OF_CALLS = frozenset(("id", "type", "function", "custom"))
# Of what may have to be changed on any host.
_SIGNS = (b'"tool', b":null", b": null", b"[]", b'thinking"', b'"reasoning', b'"cache_control"')
# The same where there are messages of the model's: of media, which those cannot hold, and of hosts' own fields.
_SIGNS_OF_ANSWERS = (
    b'_url"', b'"input_', b'"file"', b'"annotations"', b'"extra_content"', b'"images"', b'"is_error"', b'"parsed"',
    b'"provider_specific_fields"',
)  # fmt: skip
_ASSISTANT, _SYSTEM = (b'"assistant"',), (b'"system"',)


def rules_of(quirks: MessageQuirks) -> Rules:
    """What the host takes of a session that its client told in another API."""
    return _rules_by(quirks.tool_id_length)


@cache
def _rules_by(id_length: int) -> Rules:
    return Rules(names=_NAMES, ids=_ids_by(id_length))


def _ids_by(length: int) -> Ids:
    return Ids(f"[A-Za-z0-9]{{{length}}}", length) if length else _IDS


# Of the tools that had to be renamed the host's name -> the caller's own; and what is lost, for the receipt.
Fitted = tuple[dict[str, str], set[str]]


def fit(fields: dict[str, Any], quirks: MessageQuirks) -> Fitted:
    """Change `messages`, `tools` and `tool_choice` where the host would refuse them."""
    renamed: dict[str, str] = {}
    lost: set[str] = set()
    if _to_be_read(fields["messages"], quirks):
        history = _History(items_of(fields["messages"]), quirks)
        renamed = renamings((*names_of(fields.get("tools")), *history.names()), _NAMES)
        messages = history.fitted(renamed, lost)
        if messages is not None:
            fields["messages"] = messages
    elif "tools" in fields:
        renamed = renamings(names_of(fields["tools"]), _NAMES)
    if renamed:
        fields["tools"] = [renamed_tool(tool, renamed) for tool in items_of(fields["tools"])]
        if "tool_choice" in fields:
            fields["tool_choice"] = renamed_choice(_decode(fields["tool_choice"]), renamed)
    return ({sent: own for own, sent in renamed.items()} if renamed else renamed), lost


def _to_be_read(messages: Raw, quirks: MessageQuirks) -> bool:
    """Whether any message may have to be changed."""
    view = memoryview(messages)
    if quirks.only or quirks.plain_content or quirks.alternate or quirks.prefill or quirks.no_empty:
        return True
    wants_more = quirks.reasoning or quirks.system_first or quirks.tool_id_length or quirks.speaks_after_results
    words = (*quirks.strip, *quirks.roles) if quirks.strip or quirks.roles else ()
    if not wants_more and WORDS.isdisjoint(words) and len(view) <= MOST_LIGHT and is_usual(messages):
        return False
    if len(view) > LARGE:
        return True
    said = bytes(view)
    if said.find(b'"tool') >= 0:  # what agents send: the other signs need not be looked for
        return True
    if says_any(said, _SIGNS) or (says_any(said, _ASSISTANT) and says_any(said, _SIGNS_OF_ANSWERS)):
        return True
    if (quirks.reasoning and says_any(said, _ASSISTANT)) or (quirks.system_first and says_any(said, _SYSTEM)):
        return True
    names = [f'"{name}"'.encode() for name in words]
    return bool(names) and says_any(said, names)


# ---- messages


class _History:
    def __init__(self, items: list[Raw], quirks: MessageQuirks) -> None:
        self._quirks = quirks
        self._refused = _Refused.by(quirks)
        self._said = [Said(raw) for raw in items]

    def names(self) -> Iterator[str]:
        for said in self._said:
            for call in said.calls:
                function = call.get("function")
                if isinstance(function, dict) and isinstance(name := function.get("name"), str):
                    yield name

    def fitted(self, renamed: dict[str, str], lost: set[str]) -> list[Any] | None:
        """The messages as the host takes them; None where they are so already."""
        quirks, ids = self._quirks, CallIds(_ids_by(self._quirks.tool_id_length))
        for said in self._said:
            ids.next_message()
            _fit_calls(said, ids, renamed, quirks.takes)
            if quirks.reasoning and said.role == "assistant":
                _give_thinking(said, quirks.reasoning)
            _fit_form(said, quirks, self._refused, lost)
        messages = with_results(self._said, lost)
        messages = that_say_something(list(shown_by_the_user(messages)), quirks)
        if quirks.roles or quirks.system_first:
            messages = _system_first(messages, quirks)
        messages = in_turns(messages, quirks, lost)
        if messages == self._said and not any(said.changed for said in messages):
            return None
        return [said.written() for said in messages]


def _fit_calls(said: Said, ids: CallIds, renamed: dict[str, str], takes: Collection[str]) -> None:
    """Ids, names and arguments of calls, and the ids and names in their results."""
    changed = False
    for call in said.calls:
        for name in call.keys() - _OF_CALLS:
            if name not in takes:
                del call[name]
                changed = True
        if isinstance(id := call.get("id"), str) and (ours := ids.of_call(id)) != id:
            call["id"], changed = ours, True
        function = call.get("function")
        if not isinstance(function, dict):
            continue
        changed = rename(function, renamed) or changed
        arguments = function.get("arguments", "")
        whole = as_object(arguments if isinstance(arguments, str) else _encode(arguments or {}).decode())
        if whole != arguments:
            function["arguments"], changed = whole, True
    if changed:
        said.put("tool_calls", said.calls)
    if isinstance(id := said.result, str):
        if (ours := ids.of_result(id)) != id:
            said.result = ours
            said.put("tool_call_id", ours)
        if isinstance(name := _decode(said.fields.get("name", _NULL)), str) and name in renamed:
            said.put("name", renamed[name])


def _give_thinking(said: Said, name: str) -> None:
    """The thinking in the one field in which the host wants it back, be it empty."""
    if said.fields.get(name, _NULL) != _NULL:
        return
    told: dict[str, Any] = {}
    for other in ("reasoning", "reasoning_details"):
        if other in said.fields:
            told[other] = _decode(said.fields.pop(other))
    said.put(name, plain_thinking(told))


def _fit_form(said: Said, quirks: MessageQuirks, refused: _Refused, lost: set[str]) -> None:
    """What the definition says of every message."""
    fields = said.fields
    usual = fields.keys() <= _USUAL and not quirks.strip and (said.calls or "tool_calls" not in fields)
    for name in () if usual else [name for name in fields if refused.has(name, fields[name])]:
        if name in _THOUGHT and fields[name] not in _EMPTY:
            lost.add("messages.thinking")
        del fields[name]
        said.changed = True
    if said.role in quirks.roles:
        said.put("role", quirks.roles[said.role])
    role = quirks.roles.get(said.role, said.role)
    if role in quirks.only and not fields.keys() <= set(quirks.only[role]):
        said.fields = fields = {name: value for name, value in fields.items() if name in quirks.only[role]}
        said.changed = True
    content = fields.get("content")
    if said.role == "assistant" and isinstance(content, Raw) and is_list(content):
        parts = _decode(content)
        kept = [part for part in parts if not _is_thought(part)]
        if len(kept) < len(parts):
            said.put("content", kept)
            content = Raw(_encode(kept))
    if isinstance(content, Raw) and is_list(content) and says_any(bytes(memoryview(content)), refused.signs):
        parts = _stripped(_decode(content), refused.names)
        if parts is not None:
            said.put("content", parts)
    if quirks.plain_content and isinstance(content, Raw) and (plain := _plain(content)) is not None:
        said.put("content", plain)


_USUAL = frozenset(("content", "role", "tool_call_id", "tool_calls"))  # of which every host takes what is no null


class _Refused(NamedTuple):
    """Fields that a host does not take: of parts, what of them is seen in JSON unread, and of messages."""

    names: frozenset[str]
    signs: tuple[bytes, ...]
    of_messages: frozenset[str]

    @classmethod
    def by(cls, quirks: MessageQuirks) -> _Refused:
        names = OF_OTHERS.difference(quirks.takes).union(quirks.strip)
        kept = {quirks.reasoning}.difference(quirks.strip)
        signs = [f'"{name}"'.encode() for name in names]
        return cls(names, (*signs, b"\\u"), names - kept)  # a letter of a name may be an escape

    def has(self, name: str, value: Any) -> bool:
        """Whether a field of a message stays here; a null one says nothing, but for content."""
        return name in self.of_messages or (value == _NULL and name != "content")


def _is_thought(part: Any) -> bool:
    """Parts of other APIs in an answer, as libraries keep them; Mistral's own thinking is a list."""
    kind = part.get("type") if isinstance(part, dict) else None
    return kind in _THOUGHTS or (kind == "thinking" and not isinstance(part.get("thinking"), list))


_THOUGHTS = ("reasoning", "reasoning_content", "redacted_thinking", "tool_use")


def _stripped(parts: Any, names: Iterable[str]) -> Any:
    if not any(name in part for part in parts if isinstance(part, dict) for name in names):
        return None
    return [{n: v for n, v in part.items() if n not in names} if isinstance(part, dict) else part for part in parts]


def _plain(content: Raw) -> str | None:
    if content == _NULL:
        return ""
    if not is_list(content):
        return None
    parts = _decode(content)
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    strings = [text for text in texts if isinstance(text, str)]
    return "\n".join(strings) if len(strings) == len(parts) else None


def _system_first(messages: list[Said], quirks: MessageQuirks) -> list[Said]:
    """Many templates take a system message at the beginning only: what this gateway makes one goes into the first."""
    later: list[Said] = []
    kept: list[Said] = []
    for said in messages:
        made = said.role != "system" and quirks.roles.get(said.role) == "system"
        if kept and (made or (quirks.system_first and said.role == "system")):
            later.append(said)
        else:
            kept.append(said)
    if not later:
        return messages
    first = kept[0]
    if quirks.roles.get(first.role, first.role) != "system":
        first = later.pop(0)
        first.changed = True
        kept.insert(0, first)
    if later:
        contents = [content_of(said) for said in (first, *later)]
        if all(isinstance(content, str) for content in contents):
            first.put("content", "\n\n".join(content for content in contents if content))
        else:
            first.put("content", [part for content in contents for part in parts_in(content)])
    return kept
