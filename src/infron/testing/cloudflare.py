"""What the native path of Workers AI says, in its own bytes.

It never uses a decoder, so that what is said here can prove what is understood there; and it never sends anything.
"""

from __future__ import annotations

from typing import Any, ClassVar

from infron.testing.openai_chat import DONE, chat_counts
from infron.testing.scripts import Fault, Reason, TokenCounts, Voice, dump, pieces


class CloudflareVoice(Voice):
    """The native path of Workers AI. Why an answer ends is not said there, only that it does."""

    wire = "cloudflare"
    definition: ClassVar[dict[str, Any]] = {"wire": "cloudflare", "chat_path": "/run/{model}"}
    reasons: ClassVar[dict[str, str]] = {"stop": "", "tool_calls": ""}
    faults: ClassVar[dict[Fault, tuple[int, str]]] = {
        "overloaded": (503, "3040"),
        "rate_limit": (429, "3036"),
        "server": (500, "3043"),
        "invalid": (400, "5007"),
        "key": (401, "10000"),
    }
    _calls = 0

    def start(self, prompt: int = 7) -> bytes:
        self._calls = 0
        return b""

    def text(self, content: str) -> bytes:
        return self._frame(response=content)

    def thinking(self, content: str, signature: str = "") -> bytes:
        return self._frame(choices=[{"delta": {"reasoning_content": content}}])  # in the chat wire's words

    def tool_call(self, name: str, arguments: str = "{}", id: str = "call_1") -> bytes:
        index, self._calls = self._calls, self._calls + 1
        call = {"id": id, "type": "function", "index": index, "function": {"name": name}}
        more = [{"index": index, "function": {"arguments": piece}} for piece in pieces(arguments)]
        return b"".join(self._frame(tool_calls=[part]) for part in (call, *more))

    def usage(self, prompt: int, completion: int, cached: int = 0, reasoning: int = 0) -> bytes:
        return self._frame(response="", usage=chat_counts(TokenCounts(prompt, completion, cached, reasoning)))

    def finish(self, reason: Reason = "stop") -> bytes:
        self.reason_of(reason)
        return b""

    def done(self) -> bytes:
        return DONE

    def error(self, kind: Fault = "overloaded", message: str = "scripted failure") -> bytes:
        return b"data: %b\n\n" % dump(self.problem(*self.faults[kind], message))

    def problem(self, status: int, word: str, message: str) -> dict[str, Any]:
        errors = [{"code": int(word), "message": message}]
        return {"success": False, "errors": errors, "result": None, "messages": []}

    def _frame(self, **fields: Any) -> bytes:
        return b"data: %b\n\n" % dump({**fields, "p": "abcdefgh"})  # padding, of any length there
