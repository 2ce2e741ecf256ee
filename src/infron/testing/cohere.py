"""What a provider of Cohere's chat API says, in its own bytes.

It never uses a decoder, so that what is said here can prove what is understood there; and it never sends anything.
"""

from __future__ import annotations

from typing import Any, ClassVar

from infron.testing.openai_chat import DONE
from infron.testing.scripts import Fault, Reason, TokenCounts, Voice, named, pieces


class CohereVoice(Voice):
    wire = "cohere"
    definition: ClassVar[dict[str, Any]] = {"wire": "cohere", "chat_path": "/chat"}
    reasons: ClassVar[dict[str, str]] = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL"}
    faults: ClassVar[dict[Fault, tuple[int, str]]] = {
        "overloaded": (503, ""),
        "rate_limit": (429, ""),
        "server": (500, ""),
        "invalid": (400, ""),
        "key": (401, ""),
    }
    _blocks = 0
    _calls = 0
    _open = ""
    _counts: TokenCounts | None = None

    def start(self, prompt: int = 7) -> bytes:
        self._blocks, self._calls, self._open, self._counts = 0, 0, "", None
        message = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        return named("message-start", id="co-1", delta={"message": message})

    def text(self, content: str) -> bytes:
        return self._content("text", content)

    def thinking(self, content: str, signature: str = "") -> bytes:
        return self._content("thinking", content)

    def tool_call(self, name: str, arguments: str = "{}", id: str = "call_1") -> bytes:
        said, index, self._calls = self._close(), self._calls, self._calls + 1
        call = {"id": id, "type": "function", "function": {"name": name, "arguments": ""}}
        said += named("tool-call-start", index=index, delta={"message": {"tool_calls": call}})
        for piece in pieces(arguments):
            more = {"message": {"tool_calls": {"function": {"arguments": piece}}}}
            said += named("tool-call-delta", index=index, delta=more)
        return said + named("tool-call-end", index=index)

    def usage(self, prompt: int, completion: int, cached: int = 0, reasoning: int = 0) -> bytes:
        self._counts = TokenCounts(prompt, completion, cached)
        return b""

    def finish(self, reason: Reason = "stop") -> bytes:
        return self._close() + self._end(finish_reason=self.reason_of(reason))

    def done(self) -> bytes:
        return DONE

    def error(self, kind: Fault = "overloaded", message: str = "scripted failure") -> bytes:
        return self._close() + self._end(finish_reason="ERROR", error=message)

    def problem(self, status: int, word: str, message: str) -> dict[str, Any]:
        return {"id": "co-1", "message": message}

    def _content(self, kind: str, content: str) -> bytes:
        said = b""
        if self._open != kind:
            said, self._open = self._close(), kind
            block = {"message": {"content": {"type": kind, kind: ""}}}
            said += named("content-start", index=self._blocks, delta=block)
        piece = {"message": {"content": {kind: content}}}
        return said + named("content-delta", index=self._blocks, delta=piece)

    def _close(self) -> bytes:
        if not self._open:
            return b""
        self._open = ""
        self._blocks += 1
        return named("content-end", index=self._blocks - 1)

    def _end(self, **fields: Any) -> bytes:
        if (counts := self._counts) is not None:
            tokens = {"input_tokens": counts.prompt, "output_tokens": counts.completion}
            fields["usage"] = {"billed_units": tokens, "tokens": tokens, "cached_tokens": counts.cached}
        return named("message-end", id="co-1", delta=fields)
