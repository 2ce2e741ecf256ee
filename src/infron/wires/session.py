"""A session brought into the form that a host takes: what clients send back of earlier turns, whoever answered them.

It never knows which host it is for: each wire states the rules of its own as `Rules`. What is right already stays as it
is, to the byte; what has to be left out is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import is_
from typing import Literal, NamedTuple

from msgspec import Struct, json
from msgspec.structs import replace

from infron.conversation import Conversation, Media, Message, Part, Text, Thinking, Tool, ToolCall, ToolResult
from infron.wires import lenient_json
from infron.wires.media import mime_of_data
from infron.wires.naming import CallIds, Ids, Names, renamings
from infron.wires.pairing import NOT_RUN, Answered, Kept, Said, answered_before, arranged, first_role

# ---- what a host takes


class Rules(Struct, frozen=True, kw_only=True):
    """`results`: the kinds of media that the result of a tool may hold, `made`: that an answer of the model may.

    `thinking`: whether one can be given back.

    `blank`: a text of nothing but white space is taken. `thoughts_last`: a turn of the model may end with thinking.
    `opens`: whether anybody may have the first turn, or the user alone. `prefill`: the last message may be the
    beginning of the answer.
    """

    names: Names
    ids: Ids
    results: frozenset[str] = frozenset()
    made: frozenset[str] = frozenset()
    thinking: Callable[[Thinking], bool] = lambda thought: True
    blank: bool = True
    thinking_last: bool = True
    opens: Literal["any", "user"] = "any"
    prefill: bool = True


# ---- the pass


class Fitted(NamedTuple):
    """`names`: of the tools that had to be renamed: the host's name -> the caller's own."""

    conversation: Conversation
    names: dict[str, str]


def fit(asked: Conversation, rules: Rules) -> Fitted:
    """The conversation as a host with these rules takes it."""
    plain = _are_plain(asked.messages, rules)
    if plain and not asked.tools and not asked.tool_name:
        return Fitted(asked, {})
    lost = set(asked.lost)
    messages: Sequence[Message] = asked.messages
    for step in () if plain else _STEPS:
        messages = step(messages, rules, lost)
    asked = _without_twins(asked, lost)
    renamed = renamings(_names_in(asked), rules.names)
    if renamed:
        messages = [replace(message, parts=_renamed(message.parts, renamed)) for message in messages]
        tools = (replace(t, name=renamed.get(t.name, t.name)) if isinstance(t, Tool) else t for t in asked.tools)
        asked = replace(asked, tools=tuple(tools), tool_name=renamed.get(asked.tool_name, asked.tool_name))
    fitted = replace(asked, messages=tuple(messages), lost=tuple(sorted(lost)))
    return Fitted(fitted, {sent: own for own, sent in renamed.items()})


def _are_plain(messages: Sequence[Message], rules: Rules) -> bool:
    """Whether no step would change them: each says something, in text alone, and the right one the first and the last
    word.
    """
    for message in messages:
        if not message.parts or not all(isinstance(part, Text) and not _is_mute(part, rules) for part in message.parts):
            return False
    opened = rules.opens == "any" or first_role(messages) == "user"
    return opened and (rules.prefill or first_role(reversed(messages)) != "assistant")


def _without_twins(asked: Conversation, lost: set[str]) -> Conversation:
    """Of tools that share a name the first: hosts refuse the others, and nobody could tell their calls apart."""
    first: dict[str, Tool] = {}
    for tool in asked.tools:
        if isinstance(tool, Tool) and first.setdefault(tool.name, tool) != tool:
            lost.add("tools.duplicates")
    if len(first) == sum(isinstance(tool, Tool) for tool in asked.tools):
        return asked
    return replace(asked, tools=tuple(t for t in asked.tools if not isinstance(t, Tool) or first[t.name] is t))


def _each(messages: Iterable[Message], change: Callable[[Message], Iterable[Part]]) -> list[Message]:
    """What has not to be changed stays as it is: a part that comes out of `change` itself is the same."""
    out = []
    for message in messages:
        parts = tuple(change(message))
        same = len(parts) == len(message.parts) and all(map(is_, parts, message.parts))
        out.append(message if same else replace(message, parts=parts))
    return out


# ---- its steps


def _marks(messages: Sequence[Message], rules: Rules, lost: set[str]) -> Sequence[Message]:
    """Without texts that are empty, or that the host refuses as blank; a mark of the cache on one moves to the part
    before.
    """
    if not any(isinstance(part, Text) and _is_mute(part, rules) for message in messages for part in message.parts):
        return messages
    kept: list[list[Part]] = []
    for message in messages:
        kept.append([])
        for part in message.parts:
            if not isinstance(part, Text) or not _is_mute(part, rules):
                kept[-1].append(part)
            elif part.cache:
                _mark_last(kept, part.cache)
    return [replace(message, parts=tuple(parts)) for message, parts in zip(messages, kept, strict=True)]


def _is_mute(text: Text, rules: Rules) -> bool:
    return not text.text or (not rules.blank and text.text.isspace())


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


def _thinking(messages: Sequence[Message], rules: Rules, lost: set[str]) -> Sequence[Message]:
    """Thinking that means nothing to this host, or that it refuses, stays out."""

    def kept(message: Message) -> Iterator[Part]:
        for part in message.parts:
            if not isinstance(part, Thinking) or rules.thinking(part):
                yield part
            elif part != Thinking():
                lost.add("messages.thinking")

    return _each(messages, kept)


def _calls(messages: Sequence[Message], rules: Rules, lost: set[str]) -> Sequence[Message]:
    """Arguments that are objects, and ids that the host takes, each for one call alone."""
    ids = CallIds(rules.ids)

    def repaired(message: Message) -> Iterator[Part]:
        ids.next_message()
        for part in message.parts:
            if isinstance(part, ToolCall):
                id, arguments = ids.of_call(part.id), as_object(part.arguments)
                same = id == part.id and arguments == part.arguments
                yield part if same else replace(part, id=id, arguments=arguments)
            elif isinstance(part, ToolResult):
                id = ids.of_result(part.call_id)
                yield part if id == part.call_id else replace(part, call_id=id)
            else:
                yield part

    return _each(messages, repaired)


def _results(messages: Sequence[Message], rules: Rules, lost: set[str]) -> Sequence[Message]:
    """Media that the result of a tool, or the model, cannot hold: the user shows them, behind the last result."""
    out: list[Message] = []
    shown: list[Part] = []
    for message in messages:
        if shown and message.role != "tool":
            out.append(Message("user", tuple(shown)))
            shown = []
        parts = []
        for part in message.parts:
            if isinstance(part, ToolResult) and not all(_fits(inner, rules.results) for inner in part.parts):
                shown += [inner for inner in part.parts if not _fits(inner, rules.results)]
                told = [inner for inner in part.parts if _fits(inner, rules.results)]
                part = replace(part, parts=tuple(told) or (Text(ATTACHED),))
            if message.role != "assistant" or not isinstance(part, Media) or part.kind in rules.made:
                parts.append(part)
            elif part.file_id:  # it is kept where it was made, and nowhere else
                lost.add(f"messages.{part.kind}")
            else:
                shown.append(part)
        said = tuple(parts) if parts or not message.parts else (Text(MADE),)
        out.append(message if said == message.parts else replace(message, parts=said))
    return [*out, Message("user", tuple(shown))] if shown else out


ATTACHED = "(what the tool answered is attached to the next message)"
MADE = "(what I made is attached to the next message)"


def _fits(part: Part, kinds: frozenset[str]) -> bool:
    return not isinstance(part, Media) or part.kind in kinds


def _pairs(messages: Sequence[Message], rules: Rules, lost: set[str]) -> Sequence[Message]:
    """Behind each turn's calls their results, in the order of the calls, and nothing else between them."""
    if not any(isinstance(part, ToolCall | ToolResult) for message in messages for part in message.parts):
        return messages
    calls = [[part for part in message.parts if isinstance(part, ToolCall)] for message in messages]
    results = [[part for part in message.parts if isinstance(part, ToolResult)] for message in messages]
    said = [
        Said(
            message.role == "assistant",
            [part.id for part in calls[place]],
            [part.call_id for part in results[place]],
            more=len(message.parts) > len(results[place]),
            before=not all(isinstance(part, ToolResult) for part in message.parts[: len(results[place])]),
        )
        for place, message in enumerate(messages)
    ]
    plan = arranged(said, ordered=True, merged=True)
    if plan is None:
        return messages
    out: list[Message] = []
    for step in plan:
        if isinstance(step, Answered):
            if any(answer is None for _, answer in step.calls):
                lost.add("messages.tool_calls")
            told = (_answer(calls[m][c], answer and results[answer[0]][answer[1]]) for (m, c), answer in step.calls)
            out.append(Message("tool", tuple(told)))
        elif step.moved or step.orphans:
            if step.orphans:
                lost.add("messages.tool_results")
            out += _rest(messages[step.message], step)
        else:
            out.append(messages[step.message])
    return out


def _answer(call: ToolCall, result: ToolResult | None) -> ToolResult:
    if result is None:
        return ToolResult(call_id=call.id, name=call.name, parts=(Text(NOT_RUN),), failed=True)
    return result if result.name == call.name else replace(result, name=call.name)


def _rest(message: Message, step: Kept) -> Iterator[Message]:
    """What stays of a message some of whose results stand elsewhere, or belong to no call."""
    stay: list[Part] = []
    told: list[Part] = []
    number = -1
    for part in message.parts:
        if not isinstance(part, ToolResult):
            stay.append(part)
            continue
        number += 1
        if number in step.orphans:
            told += (Text(answered_before(part.name)), *part.parts)
        elif number not in step.moved:
            stay.append(part)
    if stay:
        yield replace(message, parts=tuple(stay))
    if told:
        yield Message("user", tuple(told))


def _turns(messages: Sequence[Message], rules: Rules, lost: set[str]) -> Sequence[Message]:
    """Without messages that say nothing; with a user's at the beginning and at the end, where the host wants that."""
    spoken = [message for message in messages if message.parts]
    if not rules.thinking_last:
        spoken = _without_last_thinking(spoken, lost)
    if not any(message.role != "system" for message in spoken):  # at least one turn is due
        if rules.opens == "any" or not spoken:
            return messages
        return [replace(message, role="user") for message in spoken]
    if rules.opens == "user" and first_role(spoken) == "assistant":
        place = next(index for index, message in enumerate(spoken) if message.role != "system")
        spoken.insert(place, Message("user", (Text(CUT_OFF),)))
    if not rules.prefill and first_role(reversed(spoken)) == "assistant":
        spoken.append(Message("user", (Text(GO_ON),)))
        lost.add("messages.prefill")
    return messages if len(spoken) == len(messages) and spoken == messages else spoken


CUT_OFF = "(The beginning of this conversation is not here any more.)"
GO_ON = "(Go on exactly where you stopped, and repeat nothing.)"
HEARD = "(I have the results.)"  # the model, where it has to speak between results and the user


def _without_last_thinking(messages: Sequence[Message], lost: set[str]) -> list[Message]:
    """An answer that was broken off while the model thought: a turn must not end so."""
    kept: list[Message] = []  # from the end
    for message in reversed(messages):
        end = len(message.parts)
        if message.role == "assistant" and not (kept and kept[-1].role == "assistant"):
            while end and isinstance(message.parts[end - 1], Thinking):
                end -= 1
        if end < len(message.parts):
            lost.add("messages.thinking")
            message = replace(message, parts=message.parts[:end])
        if message.parts:
            kept.append(message)
    kept.reverse()
    return kept


_STEPS = (_marks, _media, _thinking, _calls, _pairs, _results, _turns)


# ---- where there are no tools


def without_calls(messages: Iterable[Message]) -> list[Message]:
    """Calls and their results as text: for hosts, or requests, without tools."""
    out = []
    for message in messages:
        parts: list[Part] = []
        for part in message.parts:
            if isinstance(part, ToolCall):
                parts.append(Text(f"[Called the tool {part.name} with {part.arguments or '{}'}]"))
            elif isinstance(part, ToolResult):
                texts = [inner.text for inner in part.parts if isinstance(inner, Text)]
                said = Text(f"[The tool {part.name} answered: {''.join(texts)}]", part.cache)
                parts += (said, *(inner for inner in part.parts if isinstance(inner, Media)))
            else:
                parts.append(part)
        out.append(Message("user" if message.role == "tool" else message.role, tuple(parts), message.name))
    return out


# ---- arguments


def as_object(arguments: str) -> str:
    """The arguments of a call byte for byte, if they are an object; what a model wrote wrongly is wrapped in one, so
    that the model sees what it wrote.
    """
    text = arguments.strip()
    if not text:
        return "{}"
    if lenient_json.fields_in(text) is not None:
        return arguments
    return json.encode({"arguments": arguments}).decode()


# ---- names of tools


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
