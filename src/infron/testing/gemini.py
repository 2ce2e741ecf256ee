"""What a provider of Gemini's API says, in its own bytes.

It never uses a decoder, so that what is said here can prove what is understood there; and it never sends anything.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from infron.testing.scripts import Fault, Reason, TokenCounts, Voice, dump


class GeminiVoice(Voice):
    wire = "gemini"
    definition: ClassVar[dict[str, Any]] = {
        "wire": "gemini",
        "chat_path": "/models/{model}:streamGenerateContent?alt=sse",
        "auth": {"header": "x-goog-api-key", "scheme": ""},
    }
    reasons: ClassVar[dict[str, str]] = {
        "stop": "STOP",
        "length": "MAX_TOKENS",
        "tool_calls": "STOP",
        "content_filter": "SAFETY",
    }
    faults: ClassVar[dict[Fault, tuple[int, str]]] = {
        "overloaded": (503, "UNAVAILABLE"),
        "rate_limit": (429, "RESOURCE_EXHAUSTED"),
        "server": (500, "INTERNAL"),
        "invalid": (400, "INVALID_ARGUMENT"),
        "key": (403, "PERMISSION_DENIED"),
    }
    _counts: TokenCounts | None = None

    def start(self, prompt: int = 7) -> bytes:
        self._counts = None
        return b""  # its first content is its beginning

    def text(self, content: str) -> bytes:
        return self._part(text=content)

    def thinking(self, content: str, signature: str = "") -> bytes:
        return self._part(text=content, thought=True, **({"thoughtSignature": signature} if signature else {}))

    def tool_call(self, name: str, arguments: str = "{}", id: str = "call_1", signature: str = "") -> bytes:
        call: dict[str, Any] = {"name": name, "id": id}
        signed = {"thoughtSignature": signature} if signature else {}
        return self._part(functionCall=call | ({"args": json.loads(arguments)} if arguments else {}), **signed)

    def usage(self, prompt: int, completion: int, cached: int = 0, reasoning: int = 0) -> bytes:
        self._counts = TokenCounts(prompt, completion, cached, reasoning)
        return self._chunk()

    def finish(self, reason: Reason = "stop") -> bytes:
        return self._part(self.reason_of(reason), text="")

    def ping(self) -> bytes:
        return b": keep-alive\r\n\r\n"

    def error(self, kind: Fault = "overloaded", message: str = "scripted failure") -> bytes:
        return b"data: %b\r\n\r\n" % dump(self.problem(*self.faults[kind], message))

    def problem(self, status: int, word: str, message: str) -> dict[str, Any]:
        return {"error": {"code": status, "message": message, "status": word}}

    def _part(self, reason: str = "", /, **part: Any) -> bytes:
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": [part]}, "index": 0}
        return self._chunk(candidates=[candidate | ({"finishReason": reason} if reason else {})])

    def _chunk(self, **fields: Any) -> bytes:
        """Every chunk tells the counts so far, once there are any."""
        if (counts := self._counts) is not None:
            usage = {"promptTokenCount": counts.prompt, "candidatesTokenCount": counts.completion - counts.reasoning}
            usage |= {"totalTokenCount": counts.prompt + counts.completion}
            usage |= {"cachedContentTokenCount": counts.cached} if counts.cached else {}
            usage |= {"thoughtsTokenCount": counts.reasoning} if counts.reasoning else {}
            fields["usageMetadata"] = usage
        return b"data: %b\r\n\r\n" % dump({**fields, "modelVersion": "upstream-model", "responseId": "resp-1"})
