"""Events of the Responses API, as far as anything of one is read, and what they say.

It never knows which events came before.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from infron.wires.lenient_json import string_in


class Frame(Struct, gc=False):
    """An event, as far as anything of it is read."""

    type: Any = None
    sequence_number: Any = None
    output_index: Any = None
    content_index: Any = None
    summary_index: Any = None
    item_id: Any = None
    delta: Any = None
    item: Any = None
    part: Any = None
    annotation: Any = None
    name: Any = None
    text: Any = None
    refusal: Any = None
    arguments: Any = None
    input: Any = None
    response: Any = None


_encode = msgspec.json.Encoder().encode

ENDS = {"response.completed": "completed", "response.incomplete": "incomplete", "response.failed": "failed"}
BEGINNINGS = frozenset(("response.created", "response.queued", "response.in_progress"))
CALLS = ("function_call", "custom_tool_call")

_SOURCES: dict[str, dict[str, Any]] = {
    "url_citation": {"start_index": 0, "end_index": 0, "title": "", "url": ""},
    "file_citation": {"file_id": "", "filename": "", "index": 0},
}


def lacks(annotation: dict[str, Any]) -> dict[str, Any]:
    """What libraries insist on in a source, and this one has not."""
    needed = _SOURCES.get(string_in(annotation, "type"), {})
    return {name: value for name, value in needed.items() if annotation.get(name) is None}


def told_whole(stem: str, frame: Frame, part: dict[str, Any]) -> str:
    """What an event that ends a growth says of all that has grown."""
    match stem:
        case "response.content_part":
            return string_in(part, "text") or string_in(part, "refusal")
        case "response.function_call_arguments":
            return text_of(frame.arguments)
        case "response.custom_tool_call_input":
            return text_of(frame.input)
    value = frame.refusal if stem == "response.refusal" else frame.text
    return value if isinstance(value, str) else ""


def part_of(kind: str, text: str) -> dict[str, Any]:
    match kind:
        case "refusal":
            return {"type": kind, "refusal": text}
        case "output_text":
            return {"type": kind, "annotations": [], "logprobs": [], "text": text}
    return {"type": kind, "text": text}


def text_of(value: Any) -> str:
    """Arguments as the text that they are; of an object its JSON."""
    return value if isinstance(value, str) else "" if value is None else _encode(value).decode()
