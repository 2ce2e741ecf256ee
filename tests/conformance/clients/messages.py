"""A client of Anthropic's Messages API."""

from __future__ import annotations

import json
from typing import Any

from conformance.said import PICTURE, SCHEMA, Ask, Counts, Heard, Kind, Problem, Result, Said, canonical, events_of
from infron.request import Target

KINDS: dict[str, Kind] = {
    "invalid_request_error": "invalid",
    "rate_limit_error": "rate_limit",
    "overloaded_error": "overloaded",
}
FINISHES = {"end_turn": "stop", "max_tokens": "length", "tool_use": "tool_calls", "refusal": "content_filter"}
DELTAS = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("thinking", "signature"),
    "input_json_delta": ("tool_use", "partial_json"),
}


class Messages:
    path = "/v1/messages"
    refuses = False
    counts_parts = keeps_signatures = True
    wordless: dict[Kind, Kind] = {"key": "failed"}  # noqa: RUF012
    wordless_in_stream = wordless

    def target(self, ask: Ask, model: str) -> Target:
        return Target(self.path)

    def body(self, ask: Ask, model: str) -> dict[str, Any]:
        messages: list[dict[str, Any]] = []
        for item in ask.history:
            if isinstance(item, Heard):
                messages.append({"role": "assistant", "content": item.turn})
                continue
            block: dict[str, Any] = {"type": "text", "text": item}
            if isinstance(item, Result):
                block = {"type": "tool_result", "tool_use_id": item.id, "content": item.text}
            if messages and messages[-1]["role"] == "user":
                messages[-1]["content"].append(block)
            else:
                messages.append({"role": "user", "content": [block]})
        if ask.picture:
            source = {"type": "base64", "media_type": "image/png", "data": PICTURE}
            messages[0]["content"].append({"type": "image", "source": source})
        body: dict[str, Any] = {"model": model, "max_tokens": 5_000, "messages": messages, "stream": ask.stream}
        if ask.tools:
            body["tools"] = [{"name": name, "input_schema": SCHEMA} for name in ask.tools]
        if ask.schema:
            body["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
        return body

    def stream(self, data: bytes) -> Heard:
        events = [(name, json.loads(found)) for name, found in events_of(data)]
        assert all(name == event["type"] for name, event in events)
        events = [(name, event) for name, event in events if name != "ping"]
        (first, start), *rest, (last, end) = events
        assert first == "message_start"
        head = start["message"]
        assert (head["type"], head["role"], head["content"], head["stop_reason"]) == ("message", "assistant", [], None)
        blocks: list[dict[str, Any]] = []
        usage, stop = dict(head["usage"]), None
        is_open = False
        for name, event in rest:
            assert stop is None or name == "message_delta", "something stands between the end's reason and the end"
            match name:
                case "content_block_start":
                    assert not is_open
                    assert event["index"] == len(blocks)
                    is_open = True
                    blocks.append({**event["content_block"], "partial_json": ""})
                case "content_block_stop":
                    assert is_open
                    assert event["index"] == len(blocks) - 1
                    is_open = False
                case "content_block_delta":
                    assert is_open
                    assert event["index"] == len(blocks) - 1
                    kind, field = DELTAS[event["delta"]["type"]]
                    assert blocks[-1]["type"] == kind
                    blocks[-1][field] += event["delta"][field]
                case "message_delta":
                    stop = event["delta"]["stop_reason"]
                    usage.update({name: count for name, count in event["usage"].items() if count is not None})
                case _:
                    raise AssertionError(name)
        if last == "error":
            return _heard(blocks, "", None, Problem(self.kind(end["error"])), end["error"]["message"])
        assert last == "message_stop"
        assert not is_open
        for block in blocks:
            if block["type"] == "tool_use":
                assert block["input"] == {}
                block["input"] = json.loads(block["partial_json"] or "{}")
        return _heard(blocks, stop, usage)

    def whole(self, data: bytes) -> Heard:
        body = json.loads(data)
        assert (body["type"], body["role"]) == ("message", "assistant")
        return _heard(body["content"], body["stop_reason"], body["usage"])

    def problem(self, status: int, data: bytes) -> Heard:
        body = json.loads(data)
        assert body["type"] == "error"
        return Heard(Said(problem=Problem(self.kind(body["error"]), status)), message=body["error"]["message"])

    def kind(self, error: dict[str, Any]) -> Kind:
        return KINDS.get(error["type"], "failed")


def _heard(
    blocks: list[dict[str, Any]],
    stop: str | None,
    usage: dict[str, Any] | None,
    problem: Problem | None = None,
    message: str = "",
) -> Heard:
    turn = [{name: value for name, value in block.items() if name != "partial_json"} for block in blocks]
    calls = [block for block in blocks if block["type"] == "tool_use"]
    ids = tuple(call["id"] for call in calls)
    assert len(set(ids)) == len(ids)
    assert all(block["text"] for block in blocks if block["type"] == "text"), "providers refuse empty texts"
    said = Said(
        text="".join(block["text"] for block in blocks if block["type"] == "text"),
        thinking="".join(block["thinking"] for block in blocks if block["type"] == "thinking"),
        calls=tuple((call["name"], canonical(json.dumps(call["input"]))) for call in calls),
        finish=FINISHES[stop] if stop else "",
        usage=None if usage is None else counts(usage),
        problem=problem,
    )
    return Heard(said, turn, ids, message)


def counts(usage: dict[str, Any]) -> Counts:
    cached = usage["cache_read_input_tokens"]
    prompt = usage["input_tokens"] + cached + usage["cache_creation_input_tokens"]
    reasoning = (usage.get("output_tokens_details") or {}).get("thinking_tokens", 0)
    return Counts(prompt, usage["output_tokens"], cached, reasoning)
