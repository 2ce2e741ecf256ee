"""The output items of one answer on the Responses API, built from neutral events, with the events that tell of them.

It never knows bytes: the encoder numbers and frames what it says, the accumulator takes the items alone. What clients
break on is held here: each item is added before it grows and done before the end, ids are stable, calls are done
once their arguments are whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
Tell = Callable[[bytes, dict[str, Any]], None]  # the type of an event, and its fields as they are now


class _Call:
    """A tool call under way. `where`: the fields that say so. `pieces`: of its arguments."""

    def __init__(self, place: int, item: Item) -> None:
        self.place = place
        self.item = item
        self.where = {"item_id": item["id"], "output_index": place}
        self.pieces: list[str] = []
        self.done = False


class Items:
    """`output`: the items as they stand, in order. `suffix`: of their ids. Of several choices the first is told."""

    def __init__(self, suffix: str, toolbox: Callable[[], Toolbox], encrypted: bool, tell: Tell) -> None:
        """`toolbox`: that of the request, asked for with the first call. `encrypted`: thoughts are told sealed, too.
        `tell`: takes each event by which a stream tells of them.
        """
        self.output: list[Item] = []
        self.sealed: dict[str, str] = {}  # id of a thought that is told open -> itself sealed
        self._suffix = suffix
        self._make_toolbox = toolbox
        self._toolbox: Toolbox | None = None
        self._encrypted = encrypted
        self._tell = tell
        self._open = ""  # message or reasoning: the item that grows, which is the last one but for calls
        self._place = -1  # of the item that is open
        self._item_id = ""
        self._part = -1  # of the message that is open: the place of the part that grows
        self._part_type = ""
        self._pieces: list[str] = []  # of the text that grows
        self._thought: int = -1
        self._format = self._signature = self._data = self._own_id = ""
        self._before = 0  # calls before the thought that is open
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

    def growing(self) -> dict[str, Any]:
        """Where further text would go: the fields that say so; {} where it would begin a part."""
        return self._at_part() if self._open == "message" and self._part_type == "output_text" else {}

    def grow(self, text: str) -> None:
        """Further text for the part that grows, told by the caller."""
        self._pieces.append(text)

    # ---- messages

    def _text(self, type: str, text: str) -> None:
        self._message(type)
        self._pieces.append(text)
        self._tell(b"%b.delta" % _TYPES[type], {**self._at_part(), "delta": text, **_LOGPROBS[type]})

    def _message(self, type: str) -> None:
        """A part of this type is open, in a message."""
        if self._open == "message" and self._part_type == type:
            return
        if self._open == "message":
            self._shut_part()
        else:
            self._shut()
            item = {"id": f"msg_{self._id()}", "type": "message", "role": "assistant", "status": "in_progress"}
            self._add("message", {**item, "content": []})
        self._part += 1
        self._part_type = type
        self.output[self._place]["content"].append(_part(type, ""))
        self._tell(b"response.content_part.added", {**self._at_part(), "part": _part(type, "")})

    def _annotate(self, annotation: dict[str, Any]) -> None:
        self._message("output_text")
        annotations = self.output[self._place]["content"][self._part]["annotations"]
        annotations.append(annotation)
        place = {"annotation_index": len(annotations) - 1, "annotation": annotation}
        self._tell(b"response.output_text.annotation.added", {**self._at_part(), **place})

    def _shut_part(self) -> None:
        type, text = self._part_type, "".join(self._pieces)
        self._pieces.clear()
        self._part_type = ""
        part = self.output[self._place]["content"][self._part]
        name = "refusal" if type == "refusal" else "text"
        part[name] = text
        where = self._at_part()
        self._tell(b"%b.done" % _TYPES[type], {**where, name: text, **_LOGPROBS[type]})
        self._tell(b"response.content_part.done", {**where, "part": part})

    def _at_part(self) -> dict[str, Any]:
        return {"item_id": self._item_id, "output_index": self._place, "content_index": self._part}

    # ---- thinking

    def _think(self, event: ThinkingDelta) -> None:
        if self._open != "reasoning" or event.index != self._thought:
            self._shut()
            self._thought, self._before = event.index, len(self._calls)
            id = event.id or f"rs_{self._id()}"
            begun: Item = {"id": id, "type": "reasoning", "status": "in_progress", "summary": []}
            self._add("reasoning", {**begun, "encrypted_content": None})
        self._format = event.format or self._format
        self._signature += event.signature
        self._data += event.data
        self._own_id = event.id or self._own_id
        if not event.text:
            return
        item, where = self.output[self._place], self._at_summary()
        if not item["summary"]:
            item["summary"].append(_summary(""))
            self._tell(b"response.reasoning_summary_part.added", {**where, "part": _summary("")})
        self._pieces.append(event.text)
        self._tell(b"response.reasoning_summary_text.delta", {**where, "delta": event.text})

    def _shut_thought(self) -> None:
        item = self.output[self._place]
        if item["summary"]:
            text, where = "".join(self._pieces), self._at_summary()
            self._pieces.clear()
            item["summary"][0] = _summary(text)
            self._tell(b"response.reasoning_summary_text.done", {**where, "text": text})
            self._tell(b"response.reasoning_summary_part.done", {**where, "part": _summary(text)})
        content = sealed(self._format, self._signature, self._data, self._own_id, self._before)
        if self._encrypted:
            item["encrypted_content"] = content
        elif content:
            self.sealed[item["id"]] = content
        self._format = self._signature = self._data = self._own_id = ""

    def _at_summary(self) -> dict[str, Any]:
        return {"item_id": self._item_id, "output_index": self._place, "summary_index": 0}

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
        self._tell(_ADDED, {"output_index": call.place, "item": item})

    def _argue(self, call: _Call, piece: str) -> None:
        call.pieces.append(piece)
        if call.item["type"] == "function_call":
            self._tell(b"response.function_call_arguments.delta", {**call.where, "delta": piece})

    def _end_call(self, call: _Call, status: str) -> None:
        call.done = True
        item, arguments = call.item, "".join(call.pieces)
        call.pieces.clear()
        if item["type"] == "custom_tool_call":
            item["input"] = text = as_input(arguments)
            self._tell(b"response.custom_tool_call_input.delta", {**call.where, "delta": text})
            self._tell(b"response.custom_tool_call_input.done", {**call.where, "input": text})
        else:
            item["arguments"] = arguments = arguments or "{}"
            whole = {**call.where, "name": item["name"], "arguments": arguments}
            self._tell(b"response.function_call_arguments.done", whole)
        item["status"] = status
        self._tell(_DONE, {"output_index": call.place, "item": item})

    def _picture(self, data: str) -> None:
        self._shut()
        item = {"id": f"ig_{self._id()}", "type": "image_generation_call", "status": "in_progress", "result": None}
        place = len(self.output)
        self.output.append(item)
        self._tell(_ADDED, {"output_index": place, "item": item})
        item.update(status="completed", result=data)
        self._tell(_DONE, {"output_index": place, "item": item})

    # ---- items

    def _id(self) -> str:
        return f"{self._suffix}{len(self.output):02d}"

    def _add(self, open: str, item: Item) -> None:
        self._open, self._place, self._part, self._item_id = open, len(self.output), -1, item["id"]
        self.output.append(item)
        self._tell(_ADDED, {"output_index": self._place, "item": item})

    def _shut(self, status: str = COMPLETED) -> None:
        """The message or the thought that is open is done."""
        open, self._open = self._open, ""
        if not open:
            return
        if open == "message":
            self._shut_part()
        else:
            self._shut_thought()
        item = self.output[self._place]
        item["status"] = status
        self._tell(_DONE, {"output_index": self._place, "item": item})


_ADDED, _DONE = b"response.output_item.added", b"response.output_item.done"
_TYPES = {"output_text": b"response.output_text", "refusal": b"response.refusal"}
_LOGPROBS: dict[str, dict[str, Any]] = {"output_text": {"logprobs": []}, "refusal": {}}
_NO_THOUGHT = -2  # the index of a block that none of the answer has


def _part(type: str, text: str) -> dict[str, Any]:
    if type == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _summary(text: str) -> dict[str, Any]:
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
