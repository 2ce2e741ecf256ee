"""What Replicate's predictions say, in their own bytes.

It never uses a decoder, so that what is said here can prove what is understood there; and it never sends anything.
"""

from __future__ import annotations

from typing import Any, ClassVar

from infron.testing.scripts import Answer, Call, Fault, Playable, Reason, Script, TokenCounts, Voice, dump, json_answer


class ReplicateVoice(Voice):
    """A conversation of several calls: a prediction is created, streamed, read for its counts, and cancelled."""

    wire = "replicate"
    definition: ClassVar[dict[str, Any]] = {
        "wire": "replicate",
        "chat_path": "/predictions",
        "on_disconnect": "call",
    }
    reasons: ClassVar[dict[str, str]] = {"stop": "{}"}
    faults: ClassVar[dict[Fault, tuple[int, str]]] = {
        "overloaded": (503, "Service unavailable"),
        "rate_limit": (429, "Too many requests"),
        "server": (500, "Internal server error"),
        "invalid": (422, "Input validation failed"),
        "key": (401, "Unauthenticated"),
    }
    _events = 0
    _counts: TokenCounts | None = None

    def start(self, prompt: int = 7) -> bytes:
        self._events, self._counts = 0, None
        return b""

    def text(self, content: str) -> bytes:
        return self._event("output", content)

    def usage(self, prompt: int, completion: int, cached: int = 0, reasoning: int = 0) -> bytes:
        self._counts = TokenCounts(prompt, completion)
        return b""

    def finish(self, reason: Reason = "stop") -> bytes:
        return self._event("done", self.reason_of(reason))

    def error(self, kind: Fault = "overloaded", message: str = "scripted failure") -> bytes:
        return self._event("error", dump({"detail": message}).decode()) + self._event("done", '{"reason": "error"}')

    def problem(self, status: int, word: str, message: str) -> dict[str, Any]:
        return {"title": word, "detail": message, "status": status}

    def plays(self, steps: Script) -> Playable:
        stream = [Answer(headers=(("content-type", self.media_type),)), *steps]
        metrics: dict[str, Any] = {"predict_time": 0.5, "total_time": 0.75}
        if (counts := self._counts) is not None:
            metrics |= {"input_token_count": counts.prompt, "output_token_count": counts.completion}
        failed = any(b"event: error\n" in step for step in steps if isinstance(step, bytes))
        created = 0
        canceled: set[str] = set()

        def prediction(call: Call, id: str, status: str) -> dict[str, Any]:
            here = f"http://{call.headers['host']}/v1/predictions/{id}"
            urls = {"get": here, "cancel": f"{here}/cancel", "stream": f"{here}/stream"}
            counted = {"succeeded": metrics, "canceled": {"predict_time": 0.1, "total_time": 0.2}}.get(status, {})
            return {"id": id, "model": "owner/name", "status": status, "urls": urls, "metrics": counted}

        def script(call: Call) -> Script:
            nonlocal created
            _, _, rest = call.path.partition("/predictions/")
            id, _, what = rest.partition("/")
            if call.method == "POST" and not id:
                created += 1
                return [json_answer(201, prediction(call, f"prediction{created}", "starting"))]
            if call.method == "POST":
                canceled.add(id)
            elif what == "stream":
                return stream
            status = "canceled" if id in canceled else "failed" if failed else "succeeded"
            return [json_answer(200, prediction(call, id, status))]

        return script

    def _event(self, name: str, data: str) -> bytes:
        self._events += 1
        lines = "".join(f"data: {line}\n" for line in data.split("\n"))
        return f"event: {name}\nid: 1700000000:{self._events}\n{lines}\n".encode()
