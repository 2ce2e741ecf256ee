"""A session brought into the form that a host takes: what clients send back of earlier turns, whoever answered them.

It never knows which host it is for: each wire states the rules of its own as `Rules`. What is right already stays as it
is, to the byte; what has to be left out is named.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from msgspec import Struct, json
from msgspec.structs import replace

from infron.conversation import Conversation, Media, Message, Part, Text, Thinking, Tool, ToolCall, ToolResult
from infron.wires import lenient_json
from infron.wires.media import mime_of_data

# ---- what a host takes


class Names(Struct, frozen=True):
    """Of tools: `allowed` are the characters, as a class of a regular expression; `first`: those that may begin one."""

    allowed: str
    length: int
    first: str = ""

    def take(self, name: str) -> bool:
        first = not self.first or re.match(f"[{self.first}]", name) is not None
        return first and re.fullmatch(f"[{self.allowed}]{{1,{self.length}}}", name) is not None


class Ids(Struct, frozen=True):
    """Of tool calls: a regular expression for them, and how long one is that is made here, of letters and digits.

    `unique`: two calls of a session must not share one.
    """

    pattern: str
    length: int = 24
    unique: bool = True


class Rules(Struct, frozen=True, kw_only=True):
    """`results`: the kinds of media that the result of a tool may hold. `thoughts`: whether one can be given back.

    `blank`: a text of nothing but white space is taken.
    """

    names: Names
    ids: Ids
    results: frozenset[str] = frozenset()
    thoughts: Callable[[Thinking], bool] = lambda thought: True
    blank: bool = True


ANY_ID = Ids(r"[\s\S]+")


# ---- the pass


class Fitted(NamedTuple):
    """`names`: of the tools that had to be renamed: the host's name -> the caller's own."""

    conversation: Conversation
    names: dict[str, str]


def fit(asked: Conversation, rules: Rules) -> Fitted:
    """The conversation as a host with these rules takes it."""
    lost = set(asked.lost)
    messages: Sequence[Message] = asked.messages
    for step in _STEPS:
        messages = step(messages, rules, lost)
    renamed = renamings(_names_in(asked), rules.names)
    if renamed:
        messages = [replace(message, parts=_renamed(message.parts, renamed)) for message in messages]
        tools = (replace(t, name=renamed.get(t.name, t.name)) if isinstance(t, Tool) else t for t in asked.tools)
        asked = replace(asked, tools=tuple(tools), tool_name=renamed.get(asked.tool_name, asked.tool_name))
    fitted = replace(asked, messages=tuple(messages), lost=tuple(sorted(lost)))
    return Fitted(fitted, {sent: own for own, sent in renamed.items()})


def _each(messages: Sequence[Message], change: Callable[[Message], Iterable[Part]]) -> list[Message]:
    return [replace(message, parts=tuple(change(message))) for message in messages]


# ---- its steps


def _marks(messages: Sequence[Message], rules: Rules, lost: set[str]) -> Sequence[Message]:
    """Without texts that are empty, or that the host refuses as blank; a mark of the cache on one moves to the part
    before.
    """
    kept: list[list[Part]] = []
    for message in messages:
        kept.append([])
        for part in message.parts:
            if not isinstance(part, Text) or (part.text if rules.blank else part.text.strip()):
                kept[-1].append(part)
            elif part.cache:
                _mark_last(kept, part.cache)
    return [replace(message, parts=tuple(parts)) for message, parts in zip(messages, kept, strict=True)]


def _mark_last(kept: list[list[Part]], cache: str) -> None:
    for parts in reversed(kept):
        for place in range(len(parts) - 1, -1, -1):
            part = parts[place]
            if not isinstance(part, Thinking):
                parts[place] = replace(part, cache=part.cache or cache)
                return


def _media(messages: Sequence[Message], rules: Rules, lost: set[str]) -> Sequence[Message]:
    """Pictures and documents by the type that their bytes show, whatever they are called."""

    def shown(part: Part) -> Part:
        if isinstance(part, Media) and part.data and (mime := mime_of_data(part.data)) and mime != part.mime:
            return replace(part, mime=mime)
        if isinstance(part, ToolResult) and any(isinstance(inner, Media) for inner in part.parts):
            return replace(part, parts=tuple(shown(inner) for inner in part.parts))
        return part

    return _each(messages, lambda message: map(shown, message.parts))


def _thoughts(messages: Sequence[Message], rules: Rules, lost: set[str]) -> Sequence[Message]:
    """Thoughts that mean nothing to this host, or that it refuses, stay out."""

    def kept(message: Message) -> Iterator[Part]:
        for part in message.parts:
            if not isinstance(part, Thinking) or rules.thoughts(part):
                yield part
            elif part != Thinking():
                lost.add("messages.thinking")

    return _each(messages, kept)


def _calls(messages: Sequence[Message], rules: Rules, lost: set[str]) -> Sequence[Message]:
    """Arguments that are objects, and ids that the host takes, each for one call alone."""
    ids = CallIds(rules.ids)

    def mended(message: Message) -> Iterator[Part]:
        ids.next_message()
        for part in message.parts:
            if isinstance(part, ToolCall):
                yield replace(part, id=ids.of_call(part.id), arguments=as_object(part.arguments))
            elif isinstance(part, ToolResult):
                yield replace(part, call_id=ids.of_result(part.call_id))
            else:
                yield part

    return _each(messages, mended)


def _results(messages: Sequence[Message], rules: Rules, lost: set[str]) -> Sequence[Message]:
    """Media that the result of a tool cannot hold: the user shows them, behind the last result."""
    out: list[Message] = []
    shown: list[Part] = []
    for message in messages:
        if shown and message.role != "tool":
            out.append(Message("user", tuple(shown)))
            shown = []
        parts = []
        for part in message.parts:
            if isinstance(part, ToolResult) and not all(_fits(inner, rules) for inner in part.parts):
                shown += [inner for inner in part.parts if not _fits(inner, rules)]
                told = [inner for inner in part.parts if _fits(inner, rules)]
                part = replace(part, parts=tuple(told) or (Text(ATTACHED),))
            parts.append(part)
        out.append(replace(message, parts=tuple(parts)))
    return [*out, Message("user", tuple(shown))] if shown else out


ATTACHED = "(what the tool answered is attached to the next message)"


def _fits(part: Part, rules: Rules) -> bool:
    return not isinstance(part, Media) or part.kind in rules.results


_STEPS = (_marks, _media, _thoughts, _calls, _results)


# ---- arguments


def as_object(arguments: str) -> str:
    """The arguments of a call byte for byte, if they are an object; what a model wrote wrongly is wrapped in one, so
    that the model sees what it wrote.
    """
    text = arguments.strip()
    if not text:
        return "{}"
    if lenient_json.members_in(text) is not None:
        return arguments
    return json.encode({"arguments": arguments}).decode()


# ---- ids of calls

_ALPHABET = string.ascii_letters + string.digits


class CallIds:
    """Of one session, message by message: an id is the same for a call and its results, and never for two calls."""

    def __init__(self, rule: Ids) -> None:
        self._rule = rule
        self._pattern = re.compile(rule.pattern)
        self._taken: set[str] = set()
        self._message = 0
        self._open: dict[str, list[tuple[int, str]]] = {}  # the caller's id -> (message, ours) of its latest calls

    def next_message(self) -> None:
        self._message += 1

    def of_call(self, id: str) -> str:
        ours, turn = id, 0
        while (self._rule.unique and ours in self._taken) or not self._pattern.fullmatch(ours):
            ours = _made(id, turn, self._rule.length)
            turn += 1
        self._taken.add(ours)
        latest = [known for known in self._open.get(id, ()) if known[0] == self._message]
        self._open[id] = [*latest, (self._message, ours)]
        return ours

    def of_result(self, id: str) -> str:
        """Of several calls of one message that share an id each has its result in its turn."""
        known = self._open.get(id)
        if not known:
            return id if self._pattern.fullmatch(id) else _made(id, 0, self._rule.length)
        return known.pop(0)[1] if len(known) > 1 else known[0][1]


def _made(id: str, turn: int, length: int) -> str:
    """An id of `length` letters and digits, always the same for the same one in the same turn."""
    number = int.from_bytes(hashlib.sha256((f"{turn}:{id}" if turn else id).encode("utf-8", "replace")).digest())
    return "".join(_ALPHABET[number // 62**place % 62] for place in range(length))


# ---- names of tools


def renamings(names: Iterable[str], rule: Names) -> dict[str, str]:
    """The caller's own names that the host does not take -> names that it does, each another."""
    known = list(dict.fromkeys(names))
    taken = {name for name in known if rule.take(name)}
    renamed: dict[str, str] = {}
    for name in known:
        if name in taken:
            continue
        plain = re.sub(f"[^{rule.allowed}]", "_", name) or "_"
        if rule.first and not re.match(f"[{rule.first}]", plain):
            plain = f"t_{plain}"
        sent = plain
        if len(sent) > rule.length or sent in taken:
            mark = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]
            sent = f"{plain[: rule.length - 9]}_{mark}"
        taken.add(sent)
        renamed[name] = sent
    return renamed


def _names_in(asked: Conversation) -> Iterator[str]:
    yield from (tool.name for tool in asked.tools if isinstance(tool, Tool))
    if asked.tool_name:
        yield asked.tool_name
    for message in asked.messages:
        yield from (part.name for part in message.parts if isinstance(part, ToolCall | ToolResult) and part.name)


def _renamed(parts: Iterable[Part], renamed: dict[str, str]) -> tuple[Part, ...]:
    return tuple(
        replace(part, name=renamed.get(part.name, part.name)) if isinstance(part, ToolCall | ToolResult) else part
        for part in parts
    )
