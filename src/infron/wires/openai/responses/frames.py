"""A whole response of OpenAI's Responses API as the events in which its host would have streamed it.

It never knows whose response it is, nor who reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from infron.wires.lenient_json import dicts_in, string_in

Frame = dict[str, Any]

_BARE: dict[str, dict[str, Any]] = {
    "message": {"content": []},
    "reasoning": {"summary": []},
    "function_call": {"arguments": ""},
    "custom_tool_call": {"input": ""},
}
_ENDS = ("completed", "incomplete", "failed")


def frames_of(response: Frame) -> Iterator[Frame]:
    """They are numbered from 0, and end as the response says that it has."""
    for number, frame in enumerate(_frames(response)):
        yield {"type": frame["type"], "sequence_number": number, **frame}


def _frames(response: Frame) -> Iterator[Frame]:
    begun = {**response, "status": "in_progress", "output": [], "usage": None, "completed_at": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for place, item in enumerate(dicts_in(response, "output")):
        yield {"type": "response.output_item.added", "output_index": place, "item": bare(item)}
        yield from grown(item, place)
        yield {"type": "response.output_item.done", "output_index": place, "item": item}
    status = string_in(response, "status")
    if not status and not response.get("error"):
        status = "completed"
    yield {"type": f"response.{status if status in _ENDS else 'failed'}", "response": response}


def bare(item: Frame) -> Frame:
    """An item as it is added, before it grows."""
    kind = string_in(item, "type")
    return {**item, **_BARE.get(kind, {}), **({"status": "in_progress"} if "status" in item else {})}


def grown(item: Frame, place: int) -> Iterator[Frame]:
    """The events between the two in which an item is added and is done."""
    grows = _GROW.get(string_in(item, "type"))
    return grows(item, {"item_id": string_in(item, "id"), "output_index": place}) if grows else iter(())


def _message(item: Frame, where: Frame) -> Iterator[Frame]:
    for place, part in enumerate(dicts_in(item, "content")):
        at = {**where, "content_index": place}
        kind, name = ("refusal", "refusal") if part.get("type") == "refusal" else ("output_text", "text")
        text = string_in(part, name)
        more: Frame = {} if kind == "refusal" else {"logprobs": []}
        bare = {**part, name: "", **({} if kind == "refusal" else {"annotations": []})}
        yield {"type": "response.content_part.added", **at, "part": bare}
        if text:
            yield {"type": f"response.{kind}.delta", **at, "delta": text, **more}
        for index, annotation in enumerate(dicts_in(part, "annotations")):
            told = {"annotation_index": index, "annotation": annotation}
            yield {"type": "response.output_text.annotation.added", **at, **told}
        yield {"type": f"response.{kind}.done", **at, name: text, **more}
        yield {"type": "response.content_part.done", **at, "part": part}


def _reasoning(item: Frame, where: Frame) -> Iterator[Frame]:
    for place, part in enumerate(dicts_in(item, "summary")):
        at, text = {**where, "summary_index": place}, string_in(part, "text")
        yield {"type": "response.reasoning_summary_part.added", **at, "part": {**part, "text": ""}}
        yield {"type": "response.reasoning_summary_text.delta", **at, "delta": text}
        yield {"type": "response.reasoning_summary_text.done", **at, "text": text}
        yield {"type": "response.reasoning_summary_part.done", **at, "part": part}
    for place, part in enumerate(dicts_in(item, "content")):
        at, text = {**where, "content_index": place}, string_in(part, "text")
        yield {"type": "response.reasoning_text.delta", **at, "delta": text}
        yield {"type": "response.reasoning_text.done", **at, "text": text}


def _function(item: Frame, where: Frame) -> Iterator[Frame]:
    arguments = string_in(item, "arguments")
    yield {"type": "response.function_call_arguments.delta", **where, "delta": arguments}
    yield {"type": "response.function_call_arguments.done", **where, "name": item.get("name"), "arguments": arguments}


def _custom(item: Frame, where: Frame) -> Iterator[Frame]:
    text = string_in(item, "input")
    yield {"type": "response.custom_tool_call_input.delta", **where, "delta": text}
    yield {"type": "response.custom_tool_call_input.done", **where, "input": text}


_GROW = {"message": _message, "reasoning": _reasoning, "function_call": _function, "custom_tool_call": _custom}
