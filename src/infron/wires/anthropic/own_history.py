"""Messages of a client of this API as Anthropic itself takes them: only what has to be changed is written anew.

It never knows tools' schemas, nor how the answer shall be. What clients send back may come from another model, an
interrupted agent or a context that was cut; the API refuses the whole session then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from infron.conversation import CLAUDE
from infron.wires.anthropic.words import unmarked
from infron.wires.json_guard import fields_of, items_of
from infron.wires.media import mime_of_data
from infron.wires.naming import CallIds, Ids
from infron.wires.pairing import NOT_RUN, Answered, Kept, Said, answered_before, arranged, first_role
from infron.wires.request_fields import arguments_of
from infron.wires.session import CUT_OFF, GO_ON, as_object

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_NULL = Raw(b"null")
_BLANK = 32  # bytes of a text that may be blank

# ---- what is looked at


class _Kind(Struct, gc=False):
    """A block, or a tool, as far as anything of it may have to be changed."""

    type: Any = None
    text: Raw = _NULL
    signature: Any = None
    data: Any = None
    id: Any = None
    tool_use_id: Any = None
    name: Any = None
    input: Raw = _NULL
    source: Raw = _NULL
    content: Raw = _NULL
    citations: Raw = _NULL
    cache_control: Raw = _NULL
    input_schema: Raw = _NULL
    strict: Any = None


_kind = msgspec.json.Decoder(_Kind).decode


class Block:
    """One block, or a tool: as it came, unless something was put into it. `kind`: what was read of it."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self._fields: dict[str, Any] | None = None
        try:
            self.kind = _kind(raw)
        except msgspec.ValidationError:
            self.kind = _Kind()  # the API says best what is wrong with it

    @property
    def changed(self) -> bool:
        return self._fields is not None

    @property
    def marked(self) -> bool:
        return self.kind.cache_control != _NULL

    def put(self, name: str, value: Any) -> None:
        if self._fields is None:
            self._fields = dict(fields_of(self.raw))
        if value is None:
            self._fields.pop(name, None)
        else:
            self._fields[name] = value

    def mark(self, cache: Raw) -> None:
        self.put("cache_control", None if cache == _NULL else cache)
        self.kind.cache_control = cache

    def written(self) -> Any:
        return self.raw if self._fields is None else self._fields


def block(**fields: Any) -> Block:
    return Block(Raw(_encode(fields)))


class Message:
    """One message: its blocks, or its `text` as it stands there. `raw`: None where it is one of ours."""

    def __init__(self, role: str, blocks: list[Block], raw: Raw | None = None, text: Raw | None = None) -> None:
        self.role = role
        self.blocks = blocks
        self.text = text
        self._raw = raw
        self._given = list(blocks)

    @property
    def says_nothing(self) -> bool:
        return not self.blocks and (self.text is None or _is_blank(self.text))

    @property
    def changed(self) -> bool:
        return self.written() is not self._raw

    def written(self) -> Any:
        if self._raw is None:
            return {"role": self.role, "content": [block.written() for block in self.blocks]}
        if self.text is not None or (self.blocks == self._given and not any(block.changed for block in self.blocks)):
            return self._raw
        return {**fields_of(self._raw), "content": [block.written() for block in self.blocks]}


def read(raw: Raw) -> Message:
    fields = fields_of(raw)
    content = fields.get("content", _NULL)
    role = str(_decode(fields.get("role", _NULL)))
    if bytes(memoryview(content)[:1]) != b"[":
        return Message(role, [], raw, content)
    return Message(role, [Block(item) for item in items_of(content)], raw)


def _is_blank(text: Raw) -> bool:
    """Whether a string is nothing but white space; null is no string."""
    if len(memoryview(text)) > _BLANK:
        return False
    value = _decode(text)
    return isinstance(value, str) and not value.strip()


# ---- what is put right


def fitted(given: Raw, ids: Ids, renamed: Mapping[str, str], prefill: bool, lost: set[str]) -> list[Message]:
    """The messages as the API takes them. `renamed`: names of tools. `prefill`: the model goes on from the beginning of
    an answer.
    """
    messages = [read(item) for item in items_of(given)]
    call_ids = CallIds(ids)
    for message in messages:
        call_ids.next_message()
        message.blocks = [b for b in message.blocks if _is_own(b, lost)]
        for each in message.blocks:
            _fit(each, call_ids, renamed)
    move_marks([message.blocks for message in messages])
    return _in_turns(_with_results(messages, lost), prefill, lost)


def _is_own(block: Block, lost: set[str]) -> bool:
    """Thinking of other models, and what stands for it, means nothing here."""
    kind = block.kind
    if kind.type not in ("thinking", "redacted_thinking"):
        return True
    proof = kind.signature if kind.type == "thinking" else kind.data
    if isinstance(proof, str) and unmarked(proof)[1] == CLAUDE:
        return True
    lost.add("messages.thinking")
    return False


def _fit(block: Block, ids: CallIds, renamed: Mapping[str, str]) -> None:
    kind = block.kind
    if kind.type == "tool_use":
        if isinstance(kind.id, str) and (ours := ids.of_call(kind.id)) != kind.id:
            block.put("id", ours)
            kind.id = ours
        if isinstance(kind.name, str) and kind.name in renamed:
            block.put("name", renamed[kind.name])
        if bytes(memoryview(kind.input)[:1]) != b"{":  # what a model wrote wrongly
            block.put("input", Raw(as_object(arguments_of(_decode(kind.input))).encode()))
    elif kind.type == "tool_result":
        if isinstance(kind.tool_use_id, str) and (ours := ids.of_result(kind.tool_use_id)) != kind.tool_use_id:
            block.put("tool_use_id", ours)
            kind.tool_use_id = ours
        _fit_result(block)
    elif kind.type == "image":
        _fit_source(block)
    elif kind.type == "text" and kind.citations != _NULL:
        _fit_citations(block)


def _fit_result(block: Block) -> None:
    """What the result of a tool holds: without blank texts, images as what their bytes show."""
    content = block.kind.content
    if bytes(memoryview(content)[:1]) != b"[":
        return
    inner = [Block(item) for item in items_of(content)]
    kept = [each for each in inner if not _is_blank_text(each)]
    for each in kept:
        if each.kind.type == "image":
            _fit_source(each)
    if len(kept) < len(inner) or any(each.changed for each in kept):
        block.kind.content = Raw(_encode([each.written() for each in kept]))
        block.put("content", block.kind.content)


def _is_blank_text(block: Block) -> bool:
    return block.kind.type == "text" and _is_blank(block.kind.text)


def _fit_source(block: Block) -> None:
    try:
        source = fields_of(block.kind.source)
        data = source.get("data", _NULL)
        said = _decode(source.get("media_type", _NULL))
    except msgspec.ValidationError:
        return
    shown = mime_of_data(bytes(memoryview(data)[1:25]).decode("latin-1"))
    if shown.startswith("image/") and shown != said:
        block.put("source", {**source, "media_type": shown})


def _fit_citations(block: Block) -> None:
    """Sources that another model cited have no place in the API's own index."""
    citations = _decode(block.kind.citations)
    if not isinstance(citations, list):
        return
    kept = [c for c in citations if not (isinstance(c, dict) and c.get("encrypted_index") == "")]
    if len(kept) < len(citations):
        block.put("citations", kept or None)


def move_marks(given: Iterable[list[Block]]) -> None:
    """Take blank texts out of these blocks; a mark of the cache on one goes to the block before."""
    last: Block | None = None
    for blocks in given:
        for each in list(blocks):
            if not _is_blank_text(each):
                last = last if each.kind.type in ("thinking", "redacted_thinking") else each
                continue
            blocks.remove(each)
            if each.marked and last is not None and not last.marked:
                last.mark(each.kind.cache_control)


def marked_in(messages: Iterable[Message]) -> Iterator[Block]:
    for message in messages:
        yield from (each for each in message.blocks if each.marked)


# ---- calls and their results


def _with_results(messages: list[Message], lost: set[str]) -> list[Message]:
    """Behind the calls of a turn their results, one for each, at the beginning of the user's message."""
    calls = [[b for b in message.blocks if b.kind.type == "tool_use"] for message in messages]
    results = [[b for b in message.blocks if b.kind.type == "tool_result"] for message in messages]
    if not any(calls) and not any(results):
        return messages
    history = [
        Said(
            message.role == "assistant",
            [str(b.kind.id) for b in calls[m]],
            [str(b.kind.tool_use_id) for b in results[m]],
            more=len(message.blocks) > len(results[m]),
            before=any(b.kind.type != "tool_result" for b in message.blocks[: len(results[m])]),
        )
        for m, message in enumerate(messages)
    ]
    plan = arranged(history, ordered=False, merged=True)
    if plan is None:
        return messages
    out: list[Message] = []
    for step in plan:
        if isinstance(step, Answered):
            if any(answer is None for _, answer in step.calls):
                lost.add("messages.tool_calls")
            told = [results[answer[0]][answer[1]] if answer else _made(calls[m][c]) for (m, c), answer in step.calls]
            out.append(Message("user", told))
            continue
        message = messages[step.message]
        if step.orphans:
            lost.add("messages.tool_results")
        if step.moved or step.orphans:
            message.blocks = list(_rest(message, step))
        out.append(message)
    return out


def _made(call: Block) -> Block:
    return block(type="tool_result", tool_use_id=call.kind.id, content=NOT_RUN, is_error=True)


def _rest(message: Message, step: Kept) -> Iterator[Block]:
    """What stays of a message some of whose results stand elsewhere, or belong to no call."""
    number = -1
    for each in message.blocks:
        if each.kind.type != "tool_result":
            yield each
            continue
        number += 1
        if number in step.orphans:
            yield block(type="text", text=answered_before(""))
            content = _decode(each.kind.content)
            if isinstance(content, str) and content.strip():
                yield block(type="text", text=content)
            elif isinstance(content, list):
                yield from (inner for inner in map(Block, items_of(each.kind.content)) if not _is_blank_text(inner))
        elif number not in step.moved:
            yield each


# ---- who speaks


def _in_turns(messages: list[Message], prefill: bool, lost: set[str]) -> list[Message]:
    """Without messages that say nothing, from the user's to the user's where the model does not go on by itself."""
    kept: list[Message] = []  # from the end
    for message in reversed(messages):
        if message.role == "assistant" and not (kept and kept[-1].role == "assistant"):
            while message.blocks and message.blocks[-1].kind.type in ("thinking", "redacted_thinking"):
                message.blocks = message.blocks[:-1]
                lost.add("messages.thinking")
        if not message.says_nothing:
            kept.append(message)
    kept.reverse()
    if not kept:
        return messages
    if first_role(kept) == "assistant":
        kept.insert(0, Message("user", [block(type="text", text=CUT_OFF)]))
    if not prefill and first_role(reversed(kept)) == "assistant":
        kept.append(Message("user", [block(type="text", text=GO_ON)]))
        lost.add("messages.prefill")
    return kept


def names_in(given: Raw) -> Iterator[str]:
    """Of the tools that are called in these messages."""
    if b'"tool_use"' not in bytes(memoryview(given)):
        return
    for item in items_of(given):
        for each in read(item).blocks:
            if each.kind.type == "tool_use" and isinstance(each.kind.name, str):
                yield each.kind.name
