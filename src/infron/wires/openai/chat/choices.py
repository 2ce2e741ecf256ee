"""Neutral events as choices of a chat completion chunk.

It never knows who reads a chunk, nor which wire an event came from.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from infron.conversation import GEMINI
from infron.events import (
    Annotated,
    Delta,
    Finished,
    MediaDelta,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from infron.wires import sse
from infron.wires.lenient_json import string_in
from infron.wires.media import audio_format, data_uri

CHUNK = Raw(b'"chat.completion.chunk"')
ROOT = {"id": Raw(b'""'), "object": CHUNK, "created": Raw(b"0"), "model": Raw(b'""')}  # of a chunk that is ours

_encode = msgspec.json.Encoder().encode

_TEXT = b'[{"index":%d,"delta":{%b"content":%b},"finish_reason":null}]'
_ARGUMENTS = b'[{"index":%d,"delta":{%b"tool_calls":[{"index":%d,"function":{"arguments":%b}}]},"finish_reason":null}]'
_THOUGHT = (
    b'[{"index":%d,"delta":{%b"reasoning":%b,"reasoning_content":%b,"reasoning_details":[{"type":"reasoning.text","text":%b,"format":%b,'
    b'"index":%d}]},"finish_reason":null}]'
)
_ROLE = b'"role":"assistant",'


def encode_text(event: TextDelta) -> bytes:
    """The same as `encode_delta` of a piece of text that is not its choice's first."""
    out = b'[{"index":%d,"delta":{"content":%b},"finish_reason":null}]' % (event.choice, _encode(event.text))
    return out if out.isascii() else sse.unbroken(out)


def encode_delta(event: Delta | Finished, first: bool, place: int | None = None) -> bytes:
    """The JSON of `choices`, in one line. `first`: it is the first of its choice, and tells the role. `place`: of the
    entry of a list that it adds, by which libraries match them.
    """
    kind = event.__class__
    if kind is TextDelta:
        text = _encode(event.text)
        out = _TEXT % (event.choice, _ROLE if first else b"", text)
    elif kind is ToolCallDelta:
        text = _encode(event.arguments)  # type: ignore[union-attr]
        out = _ARGUMENTS % (event.choice, _ROLE if first else b"", event.index, text)  # type: ignore[union-attr]
    elif isinstance(event, ThinkingDelta) and not (event.signature or event.data or event.summary or event.id):
        text, format = _encode(event.text), _encode(event.format or None)
        out = _THOUGHT % (event.choice, _ROLE if first else b"", text, text, text, format, event.index)
    else:
        choice = delta_of(event, place)
        if first:
            choice["delta"] = {"role": "assistant", **(choice["delta"] or {"content": ""})}
        out = _encode([choice])
    return sse.unbroken(out)


def delta_of(event: Delta | Finished, place: int | None = None) -> dict[str, Any]:
    """The field of `choices` that says this, without the role. `place`: as above; None in a whole answer."""
    if isinstance(event, Finished):
        ended: dict[str, Any] = {"index": event.choice, "delta": {}, "finish_reason": event.reason}
        return {**ended, "native_finish_reason": event.native} if event.native else ended
    return {"index": event.choice, "delta": _said(event, place), "finish_reason": None}


def _said(event: Delta, place: int | None) -> dict[str, Any]:
    at = {} if place is None else {"index": place}
    match event:
        case TextDelta():
            return {"content": event.text}
        case RefusalDelta():
            return {"refusal": event.text}
        case ThinkingDelta():
            plain = {"reasoning": event.text, "reasoning_content": event.text} if event.text else {}
            return {**plain, "reasoning_details": [_detail(event)]}
        case ToolCallStarted():
            function = {"name": event.name, "arguments": ""}
            call = {"index": event.index, "id": event.id, "type": "function", "function": function}
            if not event.signature:
                return {"tool_calls": [call]}
            signed = {"type": "reasoning.encrypted", "data": event.signature, "format": GEMINI, "id": event.id, **at}
            return {"tool_calls": [call], "reasoning_details": [signed]}
        case ToolCallDelta():
            return {"tool_calls": [{"index": event.index, "function": {"arguments": event.arguments}}]}
        case MediaDelta():
            if event.mime.startswith("audio/"):
                return {"audio": {"data": event.data, "format": audio_format(event.mime)}}
            return {"images": [{"type": "image_url", "image_url": {"url": data_uri(event.mime, event.data)}, **at}]}
        case Annotated():
            return {"annotations": [{**cited(event.raw), **at}]}


def cited(raw: dict[str, Any]) -> dict[str, Any]:
    """A source in the only form that the API has, of which client libraries ask all four fields: places in documents,
    which have no address, among them.
    """
    inner = raw.get(str(raw.get("type")))
    said: dict[str, Any] = inner if isinstance(inner, dict) else {}
    title = said.get("title") or said.get("document_title") or said.get("filename") or said.get("url")
    whole = {
        "url": string_in(said, "url"),
        "title": title if isinstance(title, str) else "",
        "start_index": _place(said, "start_index"),
        "end_index": _place(said, "end_index"),
    }
    if "content" not in said and isinstance(quote := said.get("cited_text") or said.get("quote"), str):
        whole["content"] = quote
    rest = {name: value for name, value in said.items() if name not in whole and name != "type"}
    return {**raw, "type": "url_citation", "url_citation": {**whole, **rest}}


def _place(said: dict[str, Any], name: str) -> int:
    value = said.get(name)
    return value if value.__class__ is int and value >= 0 else 0


def _detail(event: ThinkingDelta) -> dict[str, Any]:
    detail: dict[str, Any] = {"type": "reasoning.encrypted" if event.data else "reasoning.text"}
    if event.summary:
        detail = {"type": "reasoning.encrypted" if event.data else "reasoning.summary", "summary": event.text}
    elif event.text:
        detail["text"] = event.text
    if event.signature:
        detail["signature"] = event.signature
    if event.data:
        detail["data"] = event.data
    detail["format"] = event.format or None
    if event.id:
        detail["id"] = event.id
    detail["index"] = event.index
    return detail
