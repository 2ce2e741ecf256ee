"""A client of Gemini's API that has thinking told to it, and gives each part back as it came."""

from __future__ import annotations

import json
from typing import Any

from conformance.clients.chat import KINDS
from conformance.said import PICTURE, SCHEMA, Ask, Counts, Heard, Kind, Problem, Result, Said, canonical
from infron.request import Target

FINISHES = {"STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "content_filter"}


class Gemini:
    refuses = False
    counts_parts = keeps_signatures = True
    wordless: dict[Kind, Kind] = {}  # noqa: RUF012
    wordless_in_stream = wordless

    def target(self, ask: Ask, model: str) -> Target:
        how = "streamGenerateContent" if ask.stream else "generateContent"
        path = f"/v1beta/models/{{model:path}}:{how}"
        return Target(path, {"model": model}, {"alt": "sse"} if ask.stream else {})

    def body(self, ask: Ask, model: str) -> dict[str, Any]:
        contents: list[dict[str, Any]] = []
        names: dict[str, str] = {}
        for item in ask.history:
            if isinstance(item, Heard):
                contents.append({"role": "model", "parts": item.turn})
                calls = [part["functionCall"] for part in item.turn if "functionCall" in part]
                names |= {call["id"]: call["name"] for call in calls}
                continue
            part: dict[str, Any] = {"text": item}
            if isinstance(item, Result):
                answer = {"id": item.id, "name": names[item.id], "response": {"output": item.text}}
                part = {"functionResponse": answer}
            if contents and contents[-1]["role"] == "user":
                contents[-1]["parts"].append(part)
            else:
                contents.append({"role": "user", "parts": [part]})
        if ask.picture:
            contents[0]["parts"].append({"inlineData": {"mimeType": "image/png", "data": PICTURE}})
        config: dict[str, Any] = {"thinkingConfig": {"includeThoughts": True}}
        if ask.schema:
            config |= {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}
        body: dict[str, Any] = {"contents": contents, "generationConfig": config}
        if ask.tools:
            functions = [{"name": name, "parametersJsonSchema": SCHEMA} for name in ask.tools]
            body["tools"] = [{"functionDeclarations": functions}]
        return body

    def stream(self, data: bytes) -> Heard:
        *blocks, bare = data.decode().split("\r\n\r\n")
        found = []
        for block in blocks:
            assert block.startswith("data: "), block
            assert not any(mark in block for mark in "\r\n\u2028\u2029\x85")
            found.append(json.loads(block[6:]))
        assert len({frame["responseId"] for frame in found if "error" not in frame}) <= 1
        if "error" not in found[-1]:
            assert bare == ""
            return _heard(found)
        assert json.loads(bare) == found[-1], "libraries look for the error where it stands bare"
        *said, failed = found
        heard = _heard(said)
        message = failed["error"]["message"]
        return heard._replace(said=heard.said._replace(problem=Problem(self.kind(failed["error"]))), message=message)

    def whole(self, data: bytes) -> Heard:
        return _heard([json.loads(data)])

    def problem(self, status: int, data: bytes) -> Heard:
        (error,) = json.loads(data).values()
        assert error["code"] == status
        return Heard(Said(problem=Problem(self.kind(error), status)), message=error["message"])

    def kind(self, error: dict[str, Any]) -> Kind:
        return KINDS.get(error["details"][0]["metadata"]["error_type"], "failed")


def _heard(frames: list[dict[str, Any]]) -> Heard:
    parts: list[dict[str, Any]] = []
    finish, usage = "", None
    for frame in frames:
        for candidate in frame.get("candidates", ()):
            assert candidate.get("index", 0) == 0
            new = candidate.get("content", {}).get("parts", [])
            assert not finish or not any(part.get("text") or "functionCall" in part for part in new)
            parts += new
            finish = candidate.get("finishReason") or finish
        usage = frame.get("usageMetadata") or usage
    calls = [part["functionCall"] for part in parts if "functionCall" in part]
    ids = tuple(call["id"] for call in calls)
    assert len(set(ids)) == len(ids)
    reason = FINISHES[finish] if finish else ""
    said = Said(
        text="".join(part["text"] for part in parts if "text" in part and not part.get("thought")),
        thinking="".join(part["text"] for part in parts if part.get("thought")),
        calls=tuple((call["name"], canonical(json.dumps(call.get("args") or {}))) for call in calls),
        finish="tool_calls" if calls and reason == "stop" else reason,
        usage=None if usage is None else counts(usage),
    )
    return Heard(said, parts, ids)


def counts(usage: dict[str, Any]) -> Counts:
    reasoning = usage.get("thoughtsTokenCount", 0)
    completion = usage.get("candidatesTokenCount", 0) + reasoning
    assert usage["totalTokenCount"] == usage["promptTokenCount"] + completion
    return Counts(usage["promptTokenCount"], completion, usage.get("cachedContentTokenCount", 0), reasoning)
