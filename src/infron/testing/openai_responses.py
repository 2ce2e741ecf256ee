"""What a provider of OpenAI's Responses API says, event by event.

It never uses a decoder, so that what is said here can prove what is understood there; and it never sends anything.
"""

from __future__ import annotations

from typing import Any, ClassVar

from infron.testing.scripts import Fault, Reason, TokenCounts, Voice, named, pieces

RESPONSE: dict[str, Any] = {
    "id": "resp_01",
    "object": "response",
    "created_at": 1700000000,
    "completed_at": None,
    "status": "in_progress",
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "model": "upstream-model",
    "output": [],
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "service_tier": "default",
    "store": False,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "usage": None,
    "user": None,
}


def responses_counts(counts: TokenCounts) -> dict[str, Any]:
    """`usage` of the Responses API."""
    return {
        "input_tokens": counts.prompt,
        "input_tokens_details": {"cached_tokens": counts.cached},
        "output_tokens": counts.completion,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning},
        "total_tokens": counts.prompt + counts.completion,
    }


class ResponsesVoice(Voice):
    wire = "openai-responses"
    definition: ClassVar[dict[str, Any]] = {"wire": "openai-responses", "chat_path": "/responses"}
    reasons: ClassVar[dict[str, str]] = {
        "stop": "completed",
        "length": "max_output_tokens",
        "tool_calls": "completed",
        "content_filter": "content_filter",
    }
    faults: ClassVar[dict[Fault, tuple[int, str]]] = {
        "overloaded": (503, "server_is_overloaded"),
        "rate_limit": (429, "rate_limit_exceeded"),
        "server": (500, "server_error"),
        "invalid": (400, "invalid_prompt"),
        "key": (401, "invalid_api_key"),
    }

    def __init__(self) -> None:
        self.start()

    def start(self, prompt: int = 7) -> bytes:
        self._number = 0
        self._items: list[dict[str, Any]] = []
        self._open = ""  # the kind of the item that grows
        self._said = ""
        self._counts = TokenCounts(prompt, 0)
        response = {"response": RESPONSE}
        return self._event("created", **response) + self._event("in_progress", **response)

    def _begin(self, kind: str, part: dict[str, Any]) -> bytes:
        """A message with this part, unless one of this kind is open already."""
        if self._open == kind:
            return b""
        begun = self._close()
        item = {"id": f"msg_{len(self._items)}", "type": "message", "role": "assistant", "content": []}
        begun += self._add(kind, {**item, "status": "in_progress"})
        return begun + self._event("content_part.added", **self._at(content_index=0), part=part)

    def refusal(self, content: str) -> bytes:
        begun = self._begin("refusal", {"type": "refusal", "refusal": ""})
        self._said += content
        return begun + self._event("refusal.delta", **self._at(content_index=0), delta=content)

    def text(self, content: str) -> bytes:
        begun = self._begin("message", {"type": "output_text", "annotations": [], "logprobs": [], "text": ""})
        self._said += content
        at = self._at(content_index=0)
        return begun + self._event("output_text.delta", **at, delta=content, logprobs=[], obfuscation="x")

    def thinking(self, content: str, signature: str = "") -> bytes:
        begun = b""
        if self._open != "reasoning":
            begun = self._close()
            item = {"id": f"rs_{len(self._items)}", "type": "reasoning", "summary": []}
            begun += self._add("reasoning", {**item, "encrypted_content": signature or None})
            part = {"type": "summary_text", "text": ""}
            begun += self._event("reasoning_summary_part.added", **self._at(summary_index=0), part=part)
        if not content:
            return begun
        self._said += content
        return begun + self._event("reasoning_summary_text.delta", **self._at(summary_index=0), delta=content)

    def tool_call(self, name: str, arguments: str = "{}", id: str = "call_1") -> bytes:
        begun = self._close()
        item = {"id": f"fc_{len(self._items)}", "type": "function_call", "call_id": id, "name": name, "arguments": ""}
        begun += self._add("function_call", {**item, "status": "in_progress"})
        self._said = arguments
        parts = [self._event("function_call_arguments.delta", **self._at(), delta=part) for part in pieces(arguments)]
        return begun + b"".join(parts) + self._close()

    def custom_call(self, name: str, input: str, id: str = "call_1") -> bytes:
        begun = self._close()
        item = {"id": f"ctc_{len(self._items)}", "type": "custom_tool_call", "call_id": id, "name": name, "input": ""}
        begun += self._add("custom_tool_call", {**item, "status": "in_progress"})
        self._said = input
        parts = [self._event("custom_tool_call_input.delta", **self._at(), delta=part) for part in pieces(input)]
        return begun + b"".join(parts) + self._close()

    def usage(self, prompt: int, completion: int, cached: int = 0, reasoning: int = 0) -> bytes:
        self._counts = TokenCounts(prompt, completion, cached, reasoning)
        return b""

    def finish(self, reason: Reason = "stop") -> bytes:
        ended, word = self._close(), self.reason_of(reason)
        status = "completed" if word == "completed" else "incomplete"
        details = None if status == "completed" else {"reason": word}
        response = {**RESPONSE, "status": status, "incomplete_details": details, "output": self._items}
        return ended + self._event(status, response={**response, "usage": responses_counts(self._counts)})

    def error(self, kind: Fault = "overloaded", message: str = "scripted failure") -> bytes:
        error = {"code": self.faults[kind][1], "message": message}
        return self._event("failed", response={**RESPONSE, "status": "failed", "error": error})

    def problem(self, status: int, word: str, message: str) -> dict[str, Any]:
        return {"error": {"message": message, "type": word, "param": None, "code": word}}

    def _event(self, type: str, **fields: Any) -> bytes:
        self._number += 1
        return named(f"response.{type}", sequence_number=self._number - 1, **fields)

    def _at(self, **more: Any) -> dict[str, Any]:
        return {"item_id": self._items[-1]["id"], "output_index": len(self._items) - 1, **more}

    def _add(self, kind: str, item: dict[str, Any]) -> bytes:
        self._open, self._said = kind, ""
        self._items.append(dict(item))
        return self._event("output_item.added", output_index=len(self._items) - 1, item=item)

    def _close(self) -> bytes:
        """The item that is open is done."""
        kind, self._open = self._open, ""
        if not kind:
            return b""
        item, said = self._items[-1], self._said
        if kind == "message":
            part = {"type": "output_text", "annotations": [], "logprobs": [], "text": said}
            item.update(status="completed", content=[part])
            at = self._at(content_index=0)
            ended = self._event("output_text.done", **at, text=said, logprobs=[])
            ended += self._event("content_part.done", **at, part=part)
        elif kind == "refusal":
            part = {"type": "refusal", "refusal": said}
            item.update(status="completed", content=[part])
            at = self._at(content_index=0)
            ended = self._event("refusal.done", **at, refusal=said) + self._event("content_part.done", **at, part=part)
        elif kind == "reasoning":
            part = {"type": "summary_text", "text": said}
            item["summary"] = [part] if said else []
            at = self._at(summary_index=0)
            ended = self._event("reasoning_summary_text.done", **at, text=said)
            ended += self._event("reasoning_summary_part.done", **at, part=part)
        elif kind == "custom_tool_call":
            item.update(status="completed", input=said)
            ended = self._event("custom_tool_call_input.done", **self._at(), input=said)
        else:
            item.update(status="completed", arguments=said)
            ended = self._event("function_call_arguments.done", **self._at(), name=item["name"], arguments=said)
        return ended + self._event("output_item.done", output_index=len(self._items) - 1, item=item)
