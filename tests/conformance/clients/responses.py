"""A client of OpenAI's Responses API that keeps its history itself, as agents do."""

from __future__ import annotations

import json
from typing import Any

from conformance.clients.chat import KINDS
from conformance.said import PICTURE, SCHEMA, Ask, Counts, Heard, Kind, Problem, Result, Said, canonical, events_of
from infron.request import Target

CODES: dict[str, Kind] = {"rate_limit_exceeded": "rate_limit", "invalid_prompt": "invalid"}
REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}
# What grows, by the event that tells a piece of it: the event that tells it as a whole, and its field there.
GROWS = {
    "response.output_text.delta": ("response.output_text.done", "text"),
    "response.refusal.delta": ("response.refusal.done", "refusal"),
    "response.reasoning_summary_text.delta": ("response.reasoning_summary_text.done", "text"),
    "response.reasoning_text.delta": ("response.reasoning_text.done", "text"),
    "response.function_call_arguments.delta": ("response.function_call_arguments.done", "arguments"),
    "response.custom_tool_call_input.delta": ("response.custom_tool_call_input.done", "input"),
}
TOLD = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.reasoning_summary_text.delta": "thinking",
    "response.reasoning_text.delta": "thinking",
}
PLACES = ("item_id", "output_index", "content_index", "summary_index")
ENDS = {"response.completed": "completed", "response.incomplete": "incomplete", "response.failed": "failed"}


class Responses:
    path = "/v1/responses"
    refuses = True
    counts_parts = keeps_signatures = True
    wordless: dict[Kind, Kind] = {}  # noqa: RUF012
    wordless_in_stream: dict[Kind, Kind] = {"overloaded": "failed", "key": "failed"}  # noqa: RUF012

    def target(self, ask: Ask, model: str) -> Target:
        return Target(self.path)

    def body(self, ask: Ask, model: str) -> dict[str, Any]:
        given: list[Any] = []
        customs: set[str] = set()
        for item in ask.history:
            if isinstance(item, Heard):
                given += item.turn
                customs |= {one["call_id"] for one in item.turn if one["type"] == "custom_tool_call"}
            elif isinstance(item, Result):
                kind = "custom_tool_call_output" if item.id in customs else "function_call_output"
                given.append({"type": kind, "call_id": item.id, "output": item.text})
            else:
                given.append({"role": "user", "content": [{"type": "input_text", "text": item}]})
        if ask.picture:
            picture = {"type": "input_image", "image_url": f"data:image/png;base64,{PICTURE}", "detail": "auto"}
            given[0]["content"].append(picture)
        body: dict[str, Any] = {"model": model, "input": given, "stream": ask.stream, "store": False}
        body["include"] = ["reasoning.encrypted_content"]
        tools = [{"type": "function", "name": name, "parameters": SCHEMA, "strict": True} for name in ask.tools]
        tools += [{"type": "custom", "name": name, "description": "Free text."} for name in ask.custom]
        if tools:
            body["tools"] = tools
        if ask.schema:
            body["text"] = {"format": {"type": "json_schema", "name": "place", "schema": SCHEMA, "strict": True}}
        return body

    def stream(self, data: bytes) -> Heard:
        events = [(name, json.loads(found)) for name, found in events_of(data)]
        assert all(name == event["type"] for name, event in events)
        assert [event["sequence_number"] for _, event in events] == list(range(len(events)))
        assert [name for name, _ in events[:2]] == ["response.created", "response.in_progress"]
        assert all(event["response"]["status"] == "in_progress" for _, event in events[:2])
        last, end = events[-1]
        growing: dict[tuple[Any, ...], str] = {}
        items: dict[int, dict[str, Any]] = {}
        is_open: set[int] = set()
        told = {"text": "", "refusal": "", "thinking": ""}
        for name, event in events[2:-1]:
            assert name not in ENDS
            place = tuple(event.get(field) for field in PLACES)
            if name == "response.output_item.added":
                assert event["output_index"] == len(items)
                is_open.add(event["output_index"])
                items[event["output_index"]] = event["item"]
            elif name == "response.output_item.done":
                is_open.remove(event["output_index"])
                assert event["item"]["id"] == items[event["output_index"]]["id"]
                items[event["output_index"]] = event["item"]
            else:
                assert event["output_index"] in is_open
                assert event["item_id"] == items[event["output_index"]]["id"]
            if name in GROWS:
                key = (GROWS[name][0], place)
                growing[key] = growing.get(key, "") + event["delta"]
                if kind := TOLD.get(name):
                    told[kind] += event["delta"]
            for done, field in GROWS.values():
                if name == done:
                    assert growing.pop((done, place), event[field]) == event[field]
        response = end["response"]
        assert response["status"] == ENDS[last]
        assert response["id"] == events[0][1]["response"]["id"]
        if last != "response.failed":
            assert not growing
            assert not is_open
            assert response["output"] == [items[at] for at in sorted(items)]
            return self._heard(response)
        # A host's failed response does not repeat what it has told before.
        heard = self._heard(response)
        return heard._replace(said=heard.said._replace(**told))

    def whole(self, data: bytes) -> Heard:
        return self._heard(json.loads(data))

    def problem(self, status: int, data: bytes) -> Heard:
        (error,) = json.loads(data).values()
        kind = KINDS.get(error["metadata"]["error_type"], "failed")
        return Heard(Said(problem=Problem(kind, status)), message=error["message"])

    def _heard(self, response: dict[str, Any]) -> Heard:
        assert response["object"] == "response"
        output = response["output"]
        calls = [item for item in output if item["type"] in ("function_call", "custom_tool_call")]
        ids = tuple(call["call_id"] for call in calls)
        assert len(set(ids)) == len(ids)
        parts = [part for item in output if item["type"] == "message" for part in item["content"]]
        thinking = [item["summary"] or item.get("content") or [] for item in output if item["type"] == "reasoning"]
        problem, message, finish = None, "", ""
        if response["status"] == "failed":
            message = response["error"]["message"]
            problem = Problem(CODES.get(response["error"]["code"], "failed"))
        elif response["status"] == "incomplete":
            finish = REASONS[response["incomplete_details"]["reason"]]
        else:
            finish = "tool_calls" if calls else "stop"
        said = Said(
            text="".join(part["text"] for part in parts if part["type"] == "output_text"),
            refusal="".join(part["refusal"] for part in parts if part["type"] == "refusal"),
            thinking="".join(part["text"] for one in thinking for part in one),
            calls=tuple(
                (call["name"], call["arguments"] if problem else canonical(call["arguments"]))
                for call in calls
                if call["type"] == "function_call"
            ),
            custom=tuple((call["name"], call["input"]) for call in calls if call["type"] == "custom_tool_call"),
            finish=finish,
            usage=None if response["usage"] is None else counts(response["usage"]),
            problem=problem,
        )
        return Heard(said, output, ids, message)


def counts(usage: dict[str, Any]) -> Counts:
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    cached = usage["input_tokens_details"]["cached_tokens"]
    reasoning = usage["output_tokens_details"]["reasoning_tokens"]
    return Counts(usage["input_tokens"], usage["output_tokens"], cached, reasoning)
