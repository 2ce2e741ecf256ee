"""A client of the chat completions API, and one of OpenRouter's dialect."""

from __future__ import annotations

import json
from typing import Any

from conformance.said import PICTURE, SCHEMA, Ask, Counts, Heard, Kind, Problem, Result, Said, canonical, events_of
from infron.request import Target

KINDS: dict[str, Kind] = {
    "invalid_request": "invalid",
    "invalid_prompt": "invalid",
    "unprocessable": "invalid",
    "provider_configuration": "key",
    "rate_limit_exceeded": "rate_limit",
    "provider_overloaded": "overloaded",
}
FINISHES = ("stop", "length", "tool_calls", "content_filter")


class Chat:
    path = "/v1/chat/completions"
    refuses = True
    counts_parts = keeps_signatures = True
    wordless: dict[Kind, Kind] = {}  # noqa: RUF012
    wordless_in_stream: dict[Kind, Kind] = {}  # noqa: RUF012

    def target(self, ask: Ask, model: str) -> Target:
        return Target(self.path)

    def body(self, ask: Ask, model: str) -> dict[str, Any]:
        messages: list[Any] = []
        for item in ask.history:
            if isinstance(item, Heard):
                messages.append(item.turn)
            elif isinstance(item, Result):
                messages.append({"role": "tool", "tool_call_id": item.id, "content": item.text})
            else:
                messages.append({"role": "user", "content": item})
        if ask.picture:
            url = {"url": f"data:image/png;base64,{PICTURE}"}
            parts = [{"type": "text", "text": messages[0]["content"]}, {"type": "image_url", "image_url": url}]
            messages[0] = {"role": "user", "content": parts}
        body: dict[str, Any] = {"model": model, "messages": messages, "stream": ask.stream}
        if ask.stream:
            body["stream_options"] = {"include_usage": True}
        functions = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ask.tools]
        if functions:
            body["tools"] = functions
        if ask.schema:
            schema = {"name": "place", "schema": SCHEMA, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body

    def stream(self, data: bytes) -> Heard:
        events = events_of(data)
        assert all(name == "" for name, _ in events)
        assert events[-1][1] == "[DONE]"
        answer = _Answer()
        heads = set()
        problem, message, usage = None, "", None
        for place, (_, data_of) in enumerate(events[:-1]):
            frame = json.loads(data_of)
            heads.add((frame["id"], frame["created"], frame["model"]))
            assert frame["object"] == "chat.completion.chunk"
            assert usage is None, "something follows the counts"
            if "error" in frame:
                assert place == len(events) - 2
                self.check_failed(frame)
                problem, message = Problem(self.kind(frame["error"])), frame["error"]["message"]
                continue
            if "usage" in frame and frame["usage"] is not None:
                usage = counts(frame["usage"])
                assert frame["choices"] == []
                continue
            (choice,) = frame["choices"]
            assert choice["index"] == 0
            answer.take(choice["delta"], choice["finish_reason"])
        assert len(heads) == 1
        assert bool(answer.finish) != (problem is not None)
        return answer.heard(usage, problem, message)

    def check_failed(self, frame: dict[str, Any]) -> None:
        assert "choices" not in frame, "some clients stay silent where both are"

    def whole(self, data: bytes) -> Heard:
        body = json.loads(data)
        assert body["object"] == "chat.completion"
        (choice,) = body["choices"]
        message = choice["message"]
        assert choice["index"] == 0
        assert message["role"] == "assistant"
        answer = _Answer()
        calls = [{**call, "index": place} for place, call in enumerate(message.get("tool_calls") or ())]
        details = [{"index": place, **one} for place, one in enumerate(message.get("reasoning_details") or ())]
        answer.take({**message, "tool_calls": calls, "reasoning_details": details}, choice["finish_reason"])
        return answer.heard(counts(body["usage"]), None, "")

    def problem(self, status: int, data: bytes) -> Heard:
        (error,) = json.loads(data).values()
        return Heard(Said(problem=Problem(self.kind(error), status)), message=error["message"])

    def kind(self, error: dict[str, Any]) -> Kind:
        assert set(error) == {"message", "type", "param", "code", "metadata"}
        return KINDS.get(error["metadata"]["error_type"], "failed")


class OpenRouter(Chat):
    """Its libraries check every field."""

    path = "/api/v1/chat/completions"

    def check_failed(self, frame: dict[str, Any]) -> None:
        (choice,) = frame["choices"]
        assert choice["finish_reason"] == "error"

    def kind(self, error: dict[str, Any]) -> Kind:
        assert isinstance(error["code"], int)
        return KINDS.get(error["metadata"]["error_type"], "failed")


class _Answer:
    """A choice that grows."""

    def __init__(self) -> None:
        self.said = {"content": "", "refusal": "", "reasoning": ""}
        self.calls: dict[int, dict[str, Any]] = {}
        self.details: dict[int, dict[str, Any]] = {}
        self.finish = ""
        self.begun = False

    def take(self, delta: dict[str, Any], finish: str | None) -> None:
        assert self.begun or delta["role"] == "assistant"
        self.begun = True
        thinking = delta.get("reasoning") or delta.get("reasoning_content") or ""
        assert delta.get("reasoning_content") in (None, "", thinking)
        pieces = {"content": delta.get("content"), "refusal": delta.get("refusal"), "reasoning": thinking}
        assert not self.finish or not any(pieces.values()), "content follows the finish reason"
        for name, piece in pieces.items():
            assert piece is None or isinstance(piece, str)
            self.said[name] += piece or ""
        for part in delta.get("tool_calls") or ():
            self._call(part)
        for part in delta.get("reasoning_details") or ():
            known = self.details.setdefault(part["index"], {})
            for name, value in part.items():
                grows = name in ("text", "summary", "signature") and isinstance(known.get(name), str)
                known[name] = known[name] + (value or "") if grows else value
        if finish is not None:
            assert finish in FINISHES
            assert self.finish in ("", finish)
            self.finish = finish

    def _call(self, part: dict[str, Any]) -> None:
        index = part["index"]
        if index not in self.calls:
            assert index == len(self.calls)
            assert part["id"]
            assert part["function"]["name"]
            self.calls[index] = {"id": part["id"], "type": part["type"], "function": {**part["function"]}}
            return
        assert part.get("id") in (None, "", self.calls[index]["id"])
        self.calls[index]["function"]["arguments"] += (part.get("function") or {}).get("arguments") or ""

    def heard(self, usage: Counts | None, problem: Problem | None, message: str) -> Heard:
        calls = [self.calls[index] for index in sorted(self.calls)]
        ids = tuple(call["id"] for call in calls)
        assert len(set(ids)) == len(ids)
        turn: dict[str, Any] = {"role": "assistant", "content": self.said["content"] or None}
        turn |= {"tool_calls": calls} if calls else {}
        turn |= {"reasoning": self.said["reasoning"]} if self.said["reasoning"] else {}
        turn |= {"reasoning_details": [self.details[at] for at in sorted(self.details)]} if self.details else {}
        said = Said(
            text=self.said["content"],
            refusal=self.said["refusal"],
            thinking=self.said["reasoning"],
            calls=tuple((call["function"]["name"], _arguments(call, problem)) for call in calls),
            finish=self.finish,
            usage=usage,
            problem=problem,
        )
        return Heard(said, turn, ids, message)


def _arguments(call: dict[str, Any], problem: Problem | None) -> str:
    arguments: str = call["function"]["arguments"]
    return arguments if problem else canonical(arguments)


def counts(usage: dict[str, Any]) -> Counts:
    prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
    assert usage["total_tokens"] == prompt + completion
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return Counts(prompt, completion, cached, reasoning)
