"""The output items of one answer on the Responses API, built from neutral events, with the events that tell of them.

It never knows frames: the encoder makes and numbers them, the accumulator takes the items alone. What clients
break on is held here: each item is added before it grows and done before the end, ids are stable, calls are done
once their arguments are whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from infron.conversation import GEMINI_CALL
from infron.events import (
    Annotated,
    AnyClientEvent,
    Finished,
    MediaDelta,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from infron.wires.openai.responses.reasoning import sealed
from infron.wires.openai.responses.tools import Toolbox, as_input

COMPLETED, INCOMPLETE = "completed", "incomplete"  # how items end
CUT = ("length", "content_filter")  # reasons of an answer that is incomplete

Item = dict[str, Any]
# An event: its type, the fields that say what it is about, as JSON without braces, and what it says.
Tell = Callable[[bytes, bytes, dict[str, Any]], None]

_encode = msgspec.json.Encoder().encode


class _Call:
    """A tool call under way. `where`: the fields that say so. `pieces`: of its arguments."""

    def __init__(self, place: int, item: Item) -> None:
        self.at = b'"output_index":%d' % place
        self.where = b'"item_id":%b,%b' % (_encode(item["id"]), self.at)
        self.item = item
        self.pieces: list[str] = []
        self.done = False


class Items:
    """`output`: the items as they stand, in order. `suffix`: of their ids. Of several choices the first is told."""

    _toolbox: Toolbox | None = None
    _open = ""  # message or reasoning: the item that grows, which is the last one but for calls
    _item: Item
    _at = b""  # its place
    _where = b""  # the place in it where it grows
    _part: Item  # of the message that is open: what grows
    _part_type = ""
    _thought = -1
    _format = _signature = _data = _own_id = ""
    _before = 0  # calls before the thought that is open

    def __init__(self, suffix: str, toolbox: Callable[[], Toolbox], encrypted: bool, tell: Tell) -> None:
        """`toolbox`: that of the request, asked for with the first call. `encrypted`: thoughts are told sealed, too.
        `tell`: takes each event by which a stream tells of them, as things are then.
        """
        self.output: list[Item] = []
        self.sealed: dict[str, str] = {}  # id of a thought that is told open -> itself sealed
        self._suffix = suffix
        self._make_toolbox = toolbox
        self._encrypted = encrypted
        self._tell = tell
        self._pieces: list[str] = []  # of the text that grows
        self._calls: dict[int, _Call] = {}

    # ---- events

    def take(self, event: AnyClientEvent) -> None:
        """Tell of an event; nothing where a client needs nothing."""
        if getattr(event, "choice", 0):
            return
        match event:
            case TextDelta(text):
                self._text("output_text", text)
            case RefusalDelta(text):
                self._text("refusal", text)
            case ThinkingDelta():
                self._think(event)
            case ToolCallStarted(index, id, name, signature):
                if signature and self._encrypted:
                    self._think(ThinkingDelta(data=signature, format=GEMINI_CALL, index=_NO_THOUGHT))
                self._start_call(index, id, name, "" if self._encrypted else signature)
            case ToolCallDelta(index, arguments) if index in self._calls and arguments:
                self._argue(self._calls[index], arguments)
            case Annotated(raw) if annotation := annotation_of(raw):
                self._annotate(annotation)
            case MediaDelta(mime, data) if mime.startswith("image/"):
                self._picture(data)
            case Finished(reason):
                self.finish(INCOMPLETE if reason in CUT else COMPLETED)

    def finish(self, status: str = COMPLETED) -> None:
        """Every item that still grows is done. `status`: of the last of them, which may have been cut."""
        growing = [call for call in self._calls.values() if not call.done]
        self._shut(COMPLETED if growing else status)
        for call in growing:
            self._end_call(call, status if call is growing[-1] else COMPLETED)

    def growing(self) -> bytes:
        """Where further text would go: the fields that say so; b"" where it would begin a part."""
        return self._where if self._open == "message" and self._part_type == "output_text" else b""

    def grow(self, text: str) -> None:
        """Further text for the part that grows, told by the caller."""
        self._pieces.append(text)

    # ---- messages

    def _text(self, type: str, text: str) -> None:
        self._message(type)
        self._pieces.append(text)
        self._tell(b"%b.delta" % _TYPES[type], self._where, {"delta": text, **_LOGPROBS[type]})

    def _message(self, type: str) -> None:
        """A part of this type is open, in a message."""
        if self._open == "message":
            if self._part_type == type:
                return
            self._shut_part()
        else:
            self._shut()
            self._add("message", f"msg_{self._id()}", {"role": "assistant", "status": "in_progress", "content": []})
        content = self._item["content"]
        self._where = b'"item_id":%b,%b,"content_index":%d' % (_encode(self._item["id"]), self._at, len(content))
        self._part_type, self._part = type, _part(type)
        content.append(self._part)
        self._tell(b"response.content_part.added", self._where, {"part": self._part})

    def _annotate(self, annotation: dict[str, Any]) -> None:
        self._message("output_text")
        annotations = self._part["annotations"]
        annotations.append(annotation)
        told = {"annotation_index": len(annotations) - 1, "annotation": annotation}
        self._tell(b"response.output_text.annotation.added", self._where, told)

    def _shut_part(self) -> None:
        type, text = self._part_type, "".join(self._pieces)
        self._pieces.clear()
        self._part_type = ""
        name = "refusal" if type == "refusal" else "text"
        self._part[name] = said = _said(text)
        self._tell(b"%b.done" % _TYPES[type], self._where, {name: said, **_LOGPROBS[type]})
        self._tell(b"response.content_part.done", self._where, {"part": self._part})

    # ---- thinking

    def _think(self, event: ThinkingDelta) -> None:
        if self._open != "reasoning" or event.index != self._thought:
            self._shut()
            self._thought, self._before = event.index, len(self._calls)
            begun: dict[str, Any] = {"status": "in_progress", "summary": [], "encrypted_content": None}
            self._add("reasoning", event.id or f"rs_{self._id()}", begun)
            self._where = b'"item_id":%b,%b,"summary_index":0' % (_encode(self._item["id"]), self._at)
        self._format = event.format or self._format
        self._signature += event.signature
        self._data += event.data
        self._own_id = event.id or self._own_id
        if not event.text:
            return
        summary = self._item["summary"]
        if not summary:
            summary.append(_summary(""))
            self._tell(b"response.reasoning_summary_part.added", self._where, {"part": _summary("")})
        self._pieces.append(event.text)
        self._tell(b"response.reasoning_summary_text.delta", self._where, {"delta": event.text})

    def _shut_thought(self) -> None:
        item = self._item
        if item["summary"]:
            text = "".join(self._pieces)
            self._pieces.clear()
            item["summary"][0] = part = _summary(_said(text))
            self._tell(b"response.reasoning_summary_text.done", self._where, {"text": part["text"]})
            self._tell(b"response.reasoning_summary_part.done", self._where, {"part": part})
        content = sealed(self._format, self._signature, self._data, self._own_id, self._before)
        if self._encrypted:
            item["encrypted_content"] = content
        elif content:
            self.sealed[item["id"]] = content
        self._format = self._signature = self._data = self._own_id = ""

    # ---- calls and images

    def _start_call(self, index: int, id: str, name: str, signature: str) -> None:
        """`signature`: to be given back with the call, by clients that ask for no encrypted reasoning."""
        self._shut()
        if self._toolbox is None:
            self._toolbox = self._make_toolbox()
        kind, own_name, namespace = self._toolbox.offered(name)
        custom = kind == "custom"
        item: Item = {
            "id": f"{'ctc' if custom else 'fc'}_{self._id()}",
            "type": "custom_tool_call" if custom else "function_call",
            "status": "in_progress",
            "call_id": id,
            "name": own_name,
            "input" if custom else "arguments": "",
        }
        if namespace:
            item["namespace"] = namespace
        if signature:
            item["extra_content"] = {"google": {"thought_signature": signature}}
        call = self._calls[index] = _Call(len(self.output), item)
        self.output.append(item)
        self._tell(_ADDED, call.at, {"item": item})

    def _argue(self, call: _Call, piece: str) -> None:
        call.pieces.append(piece)
        if call.item["type"] == "function_call":
            self._tell(b"response.function_call_arguments.delta", call.where, {"delta": piece})

    def _end_call(self, call: _Call, status: str) -> None:
        call.done = True
        item, arguments = call.item, "".join(call.pieces)
        call.pieces.clear()
        if item["type"] == "custom_tool_call":
            item["input"] = text = _said(as_input(arguments))
            self._tell(b"response.custom_tool_call_input.delta", call.where, {"delta": text})
            self._tell(b"response.custom_tool_call_input.done", call.where, {"input": text})
        else:
            item["arguments"] = _said(arguments or "{}")
            whole = {"name": item["name"], "arguments": item["arguments"]}
            self._tell(b"response.function_call_arguments.done", call.where, whole)
        item["status"] = status
        self._tell(_DONE, call.at, {"item": item})

    def _picture(self, data: str) -> None:
        self._shut()
        item = {"id": f"ig_{self._id()}", "type": "image_generation_call", "status": "in_progress", "result": None}
        at = b'"output_index":%d' % len(self.output)
        self.output.append(item)
        self._tell(_ADDED, at, {"item": item})
        item.update(status="completed", result=data)
        self._tell(_DONE, at, {"item": item})

    # ---- items

    def _id(self) -> str:
        return f"{self._suffix}{len(self.output):02d}"

    def _add(self, type: str, id: str, fields: dict[str, Any]) -> None:
        self._open, self._at = type, b'"output_index":%d' % len(self.output)
        self._item = {"id": id, "type": type, **fields}
        self.output.append(self._item)
        self._tell(_ADDED, self._at, {"item": self._item})

    def _shut(self, status: str = COMPLETED) -> None:
        """The message or the thought that is open is done."""
        open, self._open = self._open, ""
        if not open:
            return
        if open == "message":
            self._shut_part()
        else:
            self._shut_thought()
        self._item["status"] = status
        self._tell(_DONE, self._at, {"item": self._item})


_ADDED, _DONE = b"response.output_item.added", b"response.output_item.done"
_TYPES = {"output_text": b"response.output_text", "refusal": b"response.refusal"}
_LOGPROBS: dict[str, dict[str, Any]] = {"output_text": {"logprobs": []}, "refusal": {}}
_LONG = 16 << 10  # characters
_NO_THOUGHT = -2  # the index of a block that none of the answer has


def _part(type: str) -> Item:
    """One that says nothing yet."""
    if type == "refusal":
        return {"type": "refusal", "refusal": ""}
    return {"type": "output_text", "text": "", "annotations": [], "logprobs": []}


def _said(text: str) -> str | Raw:
    """`text` as it is told: four events of its end do, and one that is long is written once for all of them."""
    return Raw(_encode(text)) if len(text) > _LONG else text


def _summary(text: str | Raw) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}


def annotation_of(raw: dict[str, Any]) -> dict[str, Any]:
    """A source in this API's form: its fields stand beside the type, not below it; {} where it is none of a page."""
    inner = raw.get("url_citation")
    if not isinstance(inner, dict) or not isinstance(inner.get("url"), str):
        return {}
    title = inner.get("title")
    start, end = (inner.get(name) if isinstance(inner.get(name), int) else 0 for name in ("start_index", "end_index"))
    return {
        "type": "url_citation",
        "url": inner["url"],
        "title": title if isinstance(title, str) else "",
        "start_index": start,
        "end_index": end,
    }
