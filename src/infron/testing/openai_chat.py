"""What a provider of OpenAI's chat API says, frame by frame.

It never uses a decoder, so that what is said here can prove what is understood there; and it never sends anything.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from infron.testing.scripts import Fault, Reason, TokenCounts, Voice, dump, pieces


def frame(**fields: Any) -> bytes:
    """A chat completion chunk with these root fields as one event."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "upstream-model"}
    return b"data: %b\n\n" % json.dumps({**head, **fields}, ensure_ascii=False).encode()


def delta(finish_reason: str | None = None, index: int = 0, **fields: Any) -> bytes:
    return frame(choices=[{"index": index, "delta": fields, "finish_reason": finish_reason}])


def text(content: str) -> bytes:
    return delta(content=content)


ROLE = delta(role="assistant", content="")
FINISH = delta("stop")
USAGE = frame(choices=[], usage={"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10})
DONE = b"data: [DONE]\n\n"


def chat_counts(counts: TokenCounts) -> dict[str, Any]:
    """`usage` of the chat wire."""
    return {
        "prompt_tokens": counts.prompt,
        "completion_tokens": counts.completion,
        "total_tokens": counts.prompt + counts.completion,
        "prompt_tokens_details": {"cached_tokens": counts.cached},
        "completion_tokens_details": {"reasoning_tokens": counts.reasoning},
    }


class OpenAIVoice(Voice):
    wire = "openai-chat"
    definition: ClassVar[dict[str, Any]] = {"wire": "openai-chat"}
    reasons: ClassVar[dict[str, str]] = {r: r for r in ("stop", "length", "tool_calls", "content_filter")}
    faults: ClassVar[dict[Fault, tuple[int, str]]] = {
        "overloaded": (503, "service_unavailable"),
        "rate_limit": (429, "rate_limit_exceeded"),
        "server": (500, "server_error"),
        "invalid": (400, "invalid_request_error"),
        "key": (401, "invalid_api_key"),
    }
    usage_last = True
    _calls = 0

    def start(self, prompt: int = 7) -> bytes:
        self._calls = 0
        return ROLE

    def text(self, content: str) -> bytes:
        return text(content)

    def refusal(self, content: str) -> bytes:
        return delta(refusal=content)

    def thinking(self, content: str, signature: str = "") -> bytes:
        if not signature:
            return delta(reasoning_content=content)
        detail = {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0, "text": content}
        return delta(reasoning_content=content, reasoning_details=[{**detail, "signature": signature}])

    def tool_call(self, name: str, arguments: str = "{}", id: str = "call_1") -> bytes:
        index, self._calls = self._calls, self._calls + 1
        function = {"name": name, "arguments": ""}
        begun = delta(tool_calls=[{"index": index, "id": id, "type": "function", "function": function}])
        more = [delta(tool_calls=[{"index": index, "function": {"arguments": p}}]) for p in pieces(arguments)]
        return b"".join([begun, *more])

    def usage(self, prompt: int, completion: int, cached: int = 0, reasoning: int = 0) -> bytes:
        return frame(choices=[], usage=chat_counts(TokenCounts(prompt, completion, cached, reasoning)))

    def finish(self, reason: Reason = "stop") -> bytes:
        return delta(self.reason_of(reason))

    def done(self) -> bytes:
        return DONE

    def error(self, kind: Fault = "overloaded", message: str = "scripted failure") -> bytes:
        return b"data: %b\n\n" % dump(self.problem(*self.faults[kind], message))

    def problem(self, status: int, word: str, message: str) -> dict[str, Any]:
        return {"error": {"message": message, "type": word, "param": None, "code": status}}
