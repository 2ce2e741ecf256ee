"""Thinking of earlier answers in the chat API: `reasoning_details` and its neighbours, and where each of them stood.

It never knows which provider wants them back.

The API keeps thinking, content and tool calls of a message apart, so that their order is lost; but providers that sign
thinking refuse them in another one. So the `id` of a thought that has none says what came before it: `at_2_145` is
behind two tool calls and 145 characters of text. Only the first thought of a message, with nothing before
it, has no place, so that of several thinking from elsewhere it is known that their order is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from infron.conversation import CLAUDE, CONVERSE, GEMINI, Part, Text, Thinking, ToolCall
from infron.events import Delta, Finished, RefusalDelta, TextDelta, ThinkingDelta, ToolCallStarted
from infron.wires.request_fields import objects_of, string_of

_FORMATS = (CLAUDE, GEMINI, CONVERSE)


# ---- places


class Place(NamedTuple):
    """Behind so many tool calls, and so many characters of text."""

    calls: int = 0
    characters: int = 0

    @property
    def id(self) -> str:
        return f"at_{self.calls}_{self.characters}"


_PLACE = re.compile(r"at_(\d{1,4})_(\d{1,9})")


def _place_of(thought: Thinking) -> Place | None:
    found = _PLACE.fullmatch(thought.id)
    return Place(int(found[1]), int(found[2])) if found else None


class Places:
    """Follows an answer that is being told, and knows where each block of thinking begins.

    `characters`: by choice; whoever tells of text may add to them without asking.
    """

    def __init__(self) -> None:
        self.characters: dict[int, int] = {}
        self._calls: dict[int, int] = {}
        self._blocks: dict[int, int] = {}

    def blocks(self, choice: int) -> int:
        """How many blocks of thinking have begun in this choice, as their indexes count them."""
        return self._blocks.get(choice, -1) + 1

    def id_for(self, event: Delta | Finished) -> str:
        """The id of a block of thinking that begins with this event, where it needs one."""
        choice = event.choice
        characters, calls = self.characters.setdefault(choice, 0), self._calls.get(choice, 0)
        if isinstance(event, TextDelta | RefusalDelta):
            self.characters[choice] = characters + len(event.text)
        elif isinstance(event, ToolCallStarted):
            self._calls[choice] = calls + 1
        elif isinstance(event, ThinkingDelta) and event.index != self._blocks.get(choice):
            first = choice not in self._blocks and not (characters or calls)
            self._blocks[choice] = event.index
            return "" if event.id or first else Place(calls, characters).id
        return ""


# ---- from a message


def in_order(thinking: list[Thinking], content: list[Part], calls: list[ToolCall]) -> list[Part] | None:
    """The parts of a message as the model said them; None where the place of a thought that is signed is not known.

    What has no place is where it has always stood: thinking, content, calls.
    """
    places = [_place_of(thought) for thought in thinking]
    if not any(places):
        signed = [thought for thought in thinking if thought.format == CLAUDE and thought.signature]
        return None if len(signed) > 1 and calls else [*thinking, *content, *calls]
    if any(place is not None and place.calls > len(calls) for place in places):
        return None
    parts: list[Part] = []
    left, said, called = list(content), 0, 0
    for thought, place in zip(thinking, places, strict=True):
        if place is None:
            parts.append(thought)
            continue
        while left and said < place.characters:
            part = left.pop(0)
            room = place.characters - said
            if isinstance(part, Text) and len(part.text) > room:
                left.insert(0, replace(part, text=part.text[room:]))
                part = Text(part.text[:room])
            said += len(part.text) if isinstance(part, Text) else 0
            parts.append(part)
        parts.extend(calls[called : place.calls])
        called = max(called, place.calls)
        parts.append(replace(thought, id=""))
    return [*parts, *left, *calls[called:]]


def read_thinking(message: dict[str, Any], place: str, signatures: dict[str, str]) -> Iterator[Thinking]:
    """The thinking to be replayed. An encrypted block with the id of a tool call is that call's signature instead.

    A client that keeps the pieces of a stream as they came sends each of them: those that follow each other with the
    same `index` are one block, up to its signature.
    """
    blocks: list[list[Thinking]] = []
    last: tuple[Any, Any] = (None, None)
    for inner, item in objects_of(message.get("reasoning_details"), f"{place}.reasoning_details"):
        piece = Thinking(
            text=string_of(item, "text", inner) or string_of(item, "summary", inner),
            format=_once(string_of(item, "format", inner)),
            **{name: string_of(item, name, inner) for name in ("signature", "data", "id")},
        )
        if piece.data and piece.id in signatures:
            signatures[piece.id] = piece.data
            continue
        if not (piece.text or piece.signature or piece.data):
            continue
        this = (item.get("index"), item.get("type"))
        goes_on = this == last and this[0] is not None and not piece.data and not blocks[-1][-1].signature
        if goes_on:
            blocks[-1].append(piece)
        else:
            blocks.append([piece])
        last = this
    if not blocks:
        plain = string_of(message, "reasoning_content", place) or string_of(message, "reasoning", place)
        if plain:
            yield Thinking(text=plain)
    for block in blocks:
        first, end = block[0], block[-1]
        if len(block) == 1:
            yield first
        else:
            text = "".join(piece.text for piece in block)
            yield replace(first, text=text, signature=end.signature)


def google_signature(call: dict[str, Any]) -> str:
    """The signature of a tool call where Google's own chat endpoint writes it; "" for none."""
    found: Any = call.get("extra_content")
    for name in ("google", "thought_signature"):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""


def plain_thinking(told: dict[str, Any]) -> str:
    """The text of the thinking in these fields of a message, told in details, or in one string, or in both alike."""
    details = told.get("reasoning_details")
    texts = [
        item.get("text") or item.get("summary")
        for item in (details if isinstance(details, list) else ())
        if isinstance(item, dict)
    ]
    plain = told.get("reasoning")
    return "".join(text for text in texts if isinstance(text, str)) or (plain if isinstance(plain, str) else "")


def _once(format: str) -> str:
    """Libraries that put the pieces of a stream together repeat what each of them repeats."""
    return next((known for known in _FORMATS if format and format.replace(known, "") == ""), format)


# ---- to a message


def reasoning_fields(parts: Sequence[Part]) -> dict[str, Any]:
    """The fields of a message that hold its thinking, and the signatures of its calls.

    A single bare thought stands in the field that most hosts know, others in detail.
    """
    if not any(isinstance(part, Thinking) or (isinstance(part, ToolCall) and part.signature) for part in parts):
        return {}
    placed = list(_placed(parts))
    if len(placed) == 1 and placed[0] == Thinking(text=placed[0].text):
        fields: dict[str, Any] = {"reasoning_content": placed.pop().text}
    else:
        fields = {}
    details = [_detail(thought) for thought in placed]
    details += [
        {"type": "reasoning.encrypted", "data": part.signature, "format": GEMINI, "id": part.id}
        for part in parts
        if isinstance(part, ToolCall) and part.signature
    ]
    if details:
        fields["reasoning_details"] = [{**detail, "index": index} for index, detail in enumerate(details)]
    return fields


def _placed(parts: Iterable[Part]) -> Iterator[Thinking]:
    """What thinking says something, each block with its place in its id."""
    at, first = Place(), True
    for part in parts:
        if isinstance(part, Text):
            at = Place(at.calls, at.characters + len(part.text))
        elif isinstance(part, ToolCall):
            at = Place(at.calls + 1, at.characters)
        elif isinstance(part, Thinking) and (part.text or part.signature or part.data):
            at_start = first and at == Place()
            yield part if part.id or at_start else replace(part, id=at.id)
            first = False


def _detail(thought: Thinking) -> dict[str, Any]:
    kept = {name: getattr(thought, name) for name in ("signature", "data", "format", "id") if getattr(thought, name)}
    if thought.data and not thought.text:
        return {"type": "reasoning.encrypted", **kept}
    return {"type": "reasoning.text", "text": thought.text, **kept}
