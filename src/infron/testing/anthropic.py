"""What a provider of Anthropic's Messages API says, in its own bytes.

It never uses a decoder, so that what is said here can prove what is understood there; and it never sends anything.
"""

from __future__ import annotations

from typing import Any, ClassVar

from infron.testing.scripts import Fault, Reason, TokenCounts, Voice, named, pieces


class AnthropicVoice(Voice):
    wire = "anthropic"
    definition: ClassVar[dict[str, Any]] = {
        "wire": "anthropic",
        "chat_path": "/messages",
        "auth": {"header": "x-api-key", "scheme": ""},
        "headers": {"anthropic-version": "2023-06-01"},
    }
    reasons: ClassVar[dict[str, str]] = {
        "stop": "end_turn",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "content_filter": "refusal",
    }
    faults: ClassVar[dict[Fault, tuple[int, str]]] = {
        "overloaded": (529, "overloaded_error"),
        "rate_limit": (429, "rate_limit_error"),
        "server": (500, "api_error"),
        "invalid": (400, "invalid_request_error"),
        "key": (401, "authentication_error"),
    }
    _blocks = 0
    _open = ""
    _counts: TokenCounts | None = None

    def start(self, prompt: int = 7) -> bytes:
        self._blocks, self._open, self._counts = 0, "", None
        # The completion's count at the beginning is a placeholder.
        usage = {"input_tokens": prompt, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
        message: dict[str, Any] = {
            "id": "msg_01",
            "type": "message",
            "role": "assistant",
            "model": "upstream-model",
            "content": [],
        }
        message |= {"stop_reason": None, "stop_sequence": None, "usage": {**usage, "output_tokens": 1}}
        return named("message_start", message=message)

    def text(self, content: str) -> bytes:
        begun = self._block("text", {"type": "text", "text": ""})
        return begun + self._delta({"type": "text_delta", "text": content})

    def thinking(self, content: str, signature: str = "") -> bytes:
        said = self._block("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        said += self._delta({"type": "thinking_delta", "thinking": content}) if content else b""
        return said + (self._delta({"type": "signature_delta", "signature": signature}) if signature else b"")

    def tool_call(self, name: str, arguments: str = "{}", id: str = "call_1") -> bytes:
        begun = self._block(f"tool {id}", {"type": "tool_use", "id": id, "name": name, "input": {}})
        parts = ["", *pieces(arguments)]  # the first is empty there
        return begun + b"".join(self._delta({"type": "input_json_delta", "partial_json": part}) for part in parts)

    def usage(self, prompt: int, completion: int, cached: int = 0, reasoning: int = 0) -> bytes:
        self._counts = TokenCounts(prompt, completion, cached, reasoning)
        return self._message_delta(None)

    def finish(self, reason: Reason = "stop") -> bytes:
        return self._close() + self._message_delta(self.reason_of(reason))

    def done(self) -> bytes:
        return named("message_stop")

    def ping(self) -> bytes:
        return named("ping")

    def error(self, kind: Fault = "overloaded", message: str = "scripted failure") -> bytes:
        return named("error", error={"type": self.faults[kind][1], "message": message})

    def problem(self, status: int, word: str, message: str) -> dict[str, Any]:
        return {"type": "error", "error": {"type": word, "message": message}, "request_id": "req_01"}

    def _message_delta(self, reason: str | None) -> bytes:
        usage = {"output_tokens": 1}
        if (counts := self._counts) is not None:
            usage = {"input_tokens": counts.prompt - counts.cached, "cache_creation_input_tokens": 0}
            usage |= {"cache_read_input_tokens": counts.cached, "output_tokens": counts.completion}
        more = {"output_tokens_details": {"thinking_tokens": counts.reasoning}} if counts and counts.reasoning else {}
        ended = {"stop_reason": reason, "stop_sequence": None}
        return named("message_delta", delta=ended, usage={**usage, **more})

    def _block(self, kind: str, block: dict[str, Any]) -> bytes:
        """Begin a block, unless one of this kind is open: then what follows goes on in it."""
        if self._open == kind:
            return b""
        closed = self._close()
        self._open = kind
        return closed + named("content_block_start", index=self._blocks, content_block=block)

    def _close(self) -> bytes:
        if not self._open:
            return b""
        self._open = ""
        self._blocks += 1
        return named("content_block_stop", index=self._blocks - 1)

    def _delta(self, piece: dict[str, Any]) -> bytes:
        return named("content_block_delta", index=self._blocks, delta=piece)
