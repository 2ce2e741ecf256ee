"""What a provider of Bedrock's Converse API says, in its own bytes.

It never uses a decoder, so that what is said here can prove what is understood there; and it never sends anything.
"""

from __future__ import annotations

from typing import Any, ClassVar

from infron.testing.scripts import Answer, Fault, Reason, Voice, dump, pieces
from infron.wires.bedrock import eventstream


class BedrockVoice(Voice):
    wire = "bedrock"
    media_type = "application/vnd.amazon.eventstream"
    definition: ClassVar[dict[str, Any]] = {"wire": "bedrock", "chat_path": "/model/{model}/converse-stream"}
    reasons: ClassVar[dict[str, str]] = {
        "stop": "end_turn",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "content_filter": "content_filtered",
    }
    faults: ClassVar[dict[Fault, tuple[int, str]]] = {
        "overloaded": (503, "serviceUnavailableException"),
        "rate_limit": (429, "throttlingException"),
        "server": (500, "internalServerException"),
        "invalid": (400, "validationException"),
        "key": (403, "accessDeniedException"),
    }
    usage_last = True
    _blocks = 0
    _open = ""

    def start(self, prompt: int = 7) -> bytes:
        self._blocks, self._open = 0, ""
        return self._event("messageStart", role="assistant")

    def text(self, content: str) -> bytes:
        return self._block("text") + self._delta(text=content)  # a text block has no start of its own

    def thinking(self, content: str, signature: str = "") -> bytes:
        said = self._block("thinking") + (self._delta(reasoningContent={"text": content}) if content else b"")
        return said + (self._delta(reasoningContent={"signature": signature}) if signature else b"")

    def tool_call(self, name: str, arguments: str = "{}", id: str = "call_1") -> bytes:
        closed = self._block(f"tool {id}")
        use = {"toolUse": {"toolUseId": id, "name": name}}
        begun = self._event("contentBlockStart", contentBlockIndex=self._blocks, start=use)
        return closed + begun + b"".join(self._delta(toolUse={"input": piece}) for piece in pieces(arguments))

    def usage(self, prompt: int, completion: int, cached: int = 0, reasoning: int = 0) -> bytes:
        usage = {"inputTokens": prompt - cached, "outputTokens": completion, "totalTokens": prompt + completion}
        usage |= {"cacheReadInputTokens": cached, "cacheWriteInputTokens": 0}
        return self._event("metadata", usage=usage, metrics={"latencyMs": 321})

    def finish(self, reason: Reason = "stop") -> bytes:
        return self._close() + self._event("messageStop", stopReason=self.reason_of(reason))

    def ping(self) -> bytes:
        return b""

    def error(self, kind: Fault = "overloaded", message: str = "scripted failure") -> bytes:
        headers = {":exception-type": self.faults[kind][1], ":content-type": "application/json"}
        return eventstream.encode({**headers, ":message-type": "exception"}, dump({"message": message}))

    def problem(self, status: int, word: str, message: str) -> dict[str, Any]:
        return {"message": message}

    def refuse(self, kind: Fault = "rate_limit", message: str = "scripted refusal", **headers: str) -> Answer:
        word = self.faults[kind][1]
        return super().refuse(kind, message, **{"x_amzn_ErrorType": word[0].upper() + word[1:], **headers})

    def _block(self, kind: str) -> bytes:
        if self._open == kind:
            return b""
        closed = self._close()
        self._open = kind
        return closed

    def _close(self) -> bytes:
        if not self._open:
            return b""
        self._open = ""
        self._blocks += 1
        return self._event("contentBlockStop", contentBlockIndex=self._blocks - 1)

    def _delta(self, **piece: Any) -> bytes:
        return self._event("contentBlockDelta", contentBlockIndex=self._blocks, delta=piece)

    def _event(self, type: str, **fields: Any) -> bytes:
        padding = "abcdefghijklmnopqrstuvwxyz"[: 3 + len(type) % 20]  # of any length there
        headers = {":event-type": type, ":content-type": "application/json", ":message-type": "event"}
        return eventstream.encode(headers, dump({**fields, "p": padding}))
