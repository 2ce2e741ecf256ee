"""A client of Ollama's API (`/api/chat`), whose streams are lines of JSON."""

from __future__ import annotations

import json
from typing import Any

from conformance.said import PICTURE, SCHEMA, Ask, Counts, Heard, Kind, Problem, Result, Said, canonical
from infron.request import Target

KINDS: dict[int, Kind] = {400: "invalid", 422: "invalid", 429: "rate_limit", 503: "overloaded"}


class Ollama:
    """Its errors are sentences: what failed is known by the status, and inside a stream not at all."""

    refuses = counts_parts = keeps_signatures = False
    wordless: dict[Kind, Kind] = {"key": "failed"}  # noqa: RUF012
    wordless_in_stream: dict[Kind, Kind] = {"rate_limit": "failed", "overloaded": "failed"}  # noqa: RUF012

    def target(self, ask: Ask, model: str) -> Target:
        return Target("/api/chat")

    def body(self, ask: Ask, model: str) -> dict[str, Any]:
        messages: list[dict[str, Any]] = []
        for item in ask.history:
            if isinstance(item, Heard):
                messages.append(item.turn)
            elif isinstance(item, Result):
                messages.append({"role": "tool", "tool_call_id": item.id, "content": item.text})
            else:
                messages.append({"role": "user", "content": item})
        if ask.picture:
            messages[0]["images"] = [PICTURE]
        body: dict[str, Any] = {"model": model, "messages": messages, "stream": ask.stream}
        if ask.tools:
            functions = [{"name": name, "description": "", "parameters": SCHEMA} for name in ask.tools]
            body["tools"] = [{"type": "function", "function": function} for function in functions]
        if ask.schema:
            body["format"] = SCHEMA
        return body

    def stream(self, data: bytes) -> Heard:
        assert data.endswith(b"\n")
        lines = [json.loads(line) for line in data.decode().split("\n")[:-1]]
        *said, last = lines
        assert all(line["done"] is False and "error" not in line for line in said)
        if "error" in last:
            heard = _heard(said)
            return heard._replace(said=heard.said._replace(problem=Problem("failed")), message=last["error"])
        return _heard(lines)

    def whole(self, data: bytes) -> Heard:
        return _heard([json.loads(data)])

    def problem(self, status: int, data: bytes) -> Heard:
        return Heard(Said(problem=Problem(KINDS.get(status, "failed"), status)), message=json.loads(data)["error"])


def _heard(lines: list[dict[str, Any]]) -> Heard:
    messages = [line["message"] for line in lines]
    assert all(message["role"] == "assistant" for message in messages)
    text = "".join(message["content"] for message in messages)
    thinking = "".join(message.get("thinking", "") for message in messages)
    calls = [call for message in messages for call in message.get("tool_calls", ())]
    assert [call["function"]["index"] for call in calls] == list(range(len(calls)))
    ids = tuple(call["id"] for call in calls)
    assert len(set(ids)) == len(ids)
    finish, usage = "", None
    if lines and lines[-1]["done"]:
        finish = lines[-1]["done_reason"]
        usage = Counts(lines[-1]["prompt_eval_count"], lines[-1]["eval_count"])
    turn: dict[str, Any] = {"role": "assistant", "content": text, "thinking": thinking, "tool_calls": calls}
    said = Said(
        text=text,
        thinking=thinking,
        calls=tuple((call["function"]["name"], _arguments(call)) for call in calls),
        finish="tool_calls" if calls and finish == "stop" else finish,
        usage=usage,
    )
    return Heard(said, turn, ids)


def _arguments(call: dict[str, Any]) -> str:
    return canonical(json.dumps(call["function"]["arguments"]))
