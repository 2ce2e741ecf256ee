"""What is said, on Anthropic's Messages wire: a conversation's messages as the system prompt and blocks in turns.

It never knows how the answer shall be, and never changes a signed thought.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, groupby, takewhile
from typing import Any, Literal

from msgspec import Raw

from infron.conversation import CLAUDE, CONVERSE, Media, Message, Part, Text, Thinking, ToolCall, ToolResult, turns_of
from infron.errors import Unsupported
from infron.wires.anthropic.models import Generation
from infron.wires.media import mime_of_data, text_in
from infron.wires.request_fields import cache_control

Block = dict[str, Any]


def messages_of(messages: tuple[Message, ...], takes: Generation) -> tuple[list[Block], list[Block]]:
    """The system prompt and the messages. Raises Unsupported that names the place of what cannot be carried.

    A later system message stays where it is only where the model allows that: behind the user's turn, and before the
    model's or at the end. Another would change the prompt's beginning, and with it what is cached, but is not lost.
    """
    system: list[Block] = []
    result: list[Block] = []
    segment: list[Message] = []
    for index, message in enumerate(messages):
        if message.role != "system":
            segment.append(message)
            continue
        blocks = _content(message.parts, "system", messages)
        if takes.system and segment and segment[-1].role in ("user", "tool") and _ends_turn(messages, index):
            result += _turns(segment, messages)
            result.append({"role": "system", "content": blocks})
            segment = []
        elif takes.system and not segment and result and _ends_turn(messages, index):
            result[-1]["content"] += blocks
        else:
            system += blocks
    result += _turns(segment, messages)
    if result and result[-1]["role"] == "assistant":
        _trim(result[-1]["content"])
    return system, result


def _ends_turn(messages: tuple[Message, ...], index: int) -> bool:
    following = next((message.role for message in messages[index:] if message.role != "system"), "assistant")
    return following == "assistant"


def _turns(segment: list[Message], messages: tuple[Message, ...]) -> list[Block]:
    turns = []
    for who, parts in turns_of(_thinking_first(segment)):
        if blocks := _content(parts, who, messages):
            turns.append({"role": who, "content": blocks})
    return turns


def _thinking_first(segment: list[Message]) -> Iterator[Message]:
    """Within a message the order of thinking is the model's own and must stay; but a turn with thinking has to begin
    with one, so that one of several messages begins with those of a later one.
    """
    for assistant, group in groupby(segment, key=lambda message: message.role == "assistant"):
        run = list(group)
        said = [message.parts for message in run]
        if assistant and not (said[0] and isinstance(said[0][0], Thinking)):
            leading = [tuple(takewhile(lambda part: isinstance(part, Thinking), parts)) for parts in said]
            yield Message("assistant", tuple(chain(*leading)))
            run = [Message("assistant", parts[len(lead) :]) for parts, lead in zip(said, leading, strict=True)]
        yield from run


def replayable(thought: Thinking) -> bool:
    """Whether a thought can be given back: what is signed or encrypted for Claude, wherever it was served."""
    return thought.format in ("", CLAUDE, CONVERSE) and bool(thought.signature or _data_of(thought))


def _data_of(thought: Thinking) -> str:
    """Encrypted data as Anthropic itself wrote it; Converse wraps it in base64 once more. "" for none."""
    return text_in(thought.data) or "" if thought.format == CONVERSE else thought.data


def calls_without_thinking(messages: Iterable[Message]) -> bool:
    """Whether the model is to go on after calls of its own before which no thinking stands."""
    turns = turns_of(messages)
    last = next((parts for who, parts in reversed(turns) if who == "assistant"), ())
    called = any(isinstance(part, ToolCall) for part in last)
    first = next((part for part in last if not (isinstance(part, Text) and not part.text.strip())), None)
    return called and not isinstance(first, Thinking)


def _trim(blocks: list[Block]) -> None:
    """The beginning of an answer must not end in white space."""
    last = blocks[-1]
    if last["type"] == "text":
        last["text"] = last["text"].rstrip()


Who = Literal["system", "user", "assistant"]


def _content(parts: Iterable[Part], who: Who, messages: tuple[Message, ...]) -> list[Block]:
    blocks = []
    for part in parts:
        try:
            block = _block(part, who)
        except Unsupported as error:
            error.param = _place_of(part, messages)
            error.message = f"`{error.param}`: {error.message}"
            raise
        if block is not None:
            blocks.append(block)
    return blocks


def _place_of(part: Part, messages: tuple[Message, ...]) -> str:
    places = (f"messages[{index}]" for index, message in enumerate(messages) if any(p is part for p in message.parts))
    return next(places, "messages")


def _block(part: Part, who: Who) -> Block | None:
    match part:
        case Text():  # a text without a letter is refused
            return {"type": "text", "text": part.text, **cache_control(part.cache)} if part.text.strip() else None
        case Media() if who == "user":
            return _media(part)
        case Media():
            raise Unsupported(f"Claude takes no {part.kind} from the {who}.")
        case Thinking() if who != "assistant":
            return None
        case Thinking(data="", text=text, signature=signature):
            return {"type": "thinking", "thinking": text, "signature": signature}
        case Thinking():
            return {"type": "redacted_thinking", "data": _data_of(part)}
        case ToolCall():
            call = {"type": "tool_use", "id": part.id, "name": part.name, "input": Raw(part.arguments.encode())}
            return {**call, **cache_control(part.cache)}
        case ToolResult():
            block: Block = {"type": "tool_result", "tool_use_id": part.call_id}
            if inner := [item for item in (_block(inner, "user") for inner in part.parts) if item is not None]:
                block["content"] = inner
            if part.failed:
                block["is_error"] = True
            return {**block, **cache_control(part.cache)}


# ---- media

_IMAGES = frozenset(("image/jpeg", "image/png", "image/gif", "image/webp"))


def _media(media: Media) -> Block:
    if media.kind not in ("image", "document"):
        raise Unsupported(f"Claude takes no {media.kind}.")
    block: Block = {"type": media.kind, "source": _source(media)}
    if media.kind == "document" and media.name:
        block["title"] = media.name
    return {**block, **cache_control(media.cache)}


def _source(media: Media) -> Block:
    if media.file_id:
        return {"type": "file", "file_id": media.file_id}
    if media.url:
        return {"type": "url", "url": media.url}
    if media.text:
        return {"type": "text", "media_type": "text/plain", "data": media.text}
    mime = mime_of_data(media.data) or media.mime
    if media.kind == "document" and mime.startswith("text/"):
        text = text_in(media.data)
        if text is None:
            raise Unsupported("The document says that it is text, but is none in UTF-8.")
        return {"type": "text", "media_type": "text/plain", "data": text}
    if mime not in _IMAGES if media.kind == "image" else mime != "application/pdf":
        raise Unsupported(f"Claude takes no {media.kind} of the type {mime or 'unknown'}.")
    return {"type": "base64", "media_type": mime, "data": media.data}
