"""What each native wire says, in its own bytes; `speak` gives a voice of one.

It never uses a decoder, so that what is said here can prove what is understood there; and it never sends anything.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from infron.testing.scripts import (
    DONE,
    Answer,
    Call,
    Counts,
    Fault,
    OpenAIVoice,
    Playable,
    Reason,
    Script,
    Voice,
    chat_counts,
    dump,
    json_answer,
    named,
    pieces,
)
from infron.wires.bedrock import eventstream


class AnthropicVoice(Voice):
    wire = "anthropic"
    row_fields: ClassVar[dict[str, Any]] = {
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
    _counts: Counts | None = None

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
        self._counts = Counts(prompt, completion, cached, reasoning)
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


class GeminiVoice(Voice):
    wire = "gemini"
    row_fields: ClassVar[dict[str, Any]] = {
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
    _counts: Counts | None = None

    def start(self, prompt: int = 7) -> bytes:
        self._counts = None
        return b""  # its first content is its beginning

    def text(self, content: str) -> bytes:
        return self._part(text=content)

    def thinking(self, content: str, signature: str = "") -> bytes:
        return self._part(text=content, thought=True, **({"thoughtSignature": signature} if signature else {}))

    def tool_call(self, name: str, arguments: str = "{}", id: str = "call_1") -> bytes:
        call: dict[str, Any] = {"name": name, "id": id}
        return self._part(functionCall=call | ({"args": json.loads(arguments)} if arguments else {}))

    def usage(self, prompt: int, completion: int, cached: int = 0, reasoning: int = 0) -> bytes:
        self._counts = Counts(prompt, completion, cached, reasoning)
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

    def _chunk(self, **members: Any) -> bytes:
        """Every chunk tells the counts so far, once there are any."""
        if (counts := self._counts) is not None:
            usage = {"promptTokenCount": counts.prompt, "candidatesTokenCount": counts.completion - counts.reasoning}
            usage |= {"totalTokenCount": counts.prompt + counts.completion}
            usage |= {"cachedContentTokenCount": counts.cached} if counts.cached else {}
            usage |= {"thoughtsTokenCount": counts.reasoning} if counts.reasoning else {}
            members["usageMetadata"] = usage
        return b"data: %b\r\n\r\n" % dump({**members, "modelVersion": "upstream-model", "responseId": "resp-1"})


class BedrockVoice(Voice):
    wire = "bedrock"
    media_type = "application/vnd.amazon.eventstream"
    row_fields: ClassVar[dict[str, Any]] = {"wire": "bedrock", "chat_path": "/model/{model}/converse-stream"}
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

    def _event(self, type: str, **members: Any) -> bytes:
        padding = "abcdefghijklmnopqrstuvwxyz"[: 3 + len(type) % 20]  # of any length there
        headers = {":event-type": type, ":content-type": "application/json", ":message-type": "event"}
        return eventstream.encode(headers, dump({**members, "p": padding}))


class CohereVoice(Voice):
    wire = "cohere"
    row_fields: ClassVar[dict[str, Any]] = {"wire": "cohere", "chat_path": "/chat"}
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
    _counts: Counts | None = None

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
        self._counts = Counts(prompt, completion, cached)
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

    def _end(self, **members: Any) -> bytes:
        if (counts := self._counts) is not None:
            tokens = {"input_tokens": counts.prompt, "output_tokens": counts.completion}
            members["usage"] = {"billed_units": tokens, "tokens": tokens, "cached_tokens": counts.cached}
        return named("message-end", id="co-1", delta=members)


class CloudflareVoice(Voice):
    """The native path of Workers AI. Why an answer ends is not said there, only that it does."""

    wire = "cloudflare"
    row_fields: ClassVar[dict[str, Any]] = {"wire": "cloudflare", "chat_path": "/run/{model}"}
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
        return self._frame(response="", usage=chat_counts(Counts(prompt, completion, cached, reasoning)))

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

    def _frame(self, **members: Any) -> bytes:
        return b"data: %b\n\n" % dump({**members, "p": "abcdefgh"})  # padding, of any length there


class ReplicateVoice(Voice):
    """A conversation of several calls: a prediction is created, streamed, read for its counts, and cancelled."""

    wire = "replicate"
    row_fields: ClassVar[dict[str, Any]] = {
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
    _counts: Counts | None = None

    def start(self, prompt: int = 7) -> bytes:
        self._events, self._counts = 0, None
        return b""

    def text(self, content: str) -> bytes:
        return self._event("output", content)

    def usage(self, prompt: int, completion: int, cached: int = 0, reasoning: int = 0) -> bytes:
        self._counts = Counts(prompt, completion)
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


_VOICES: tuple[type[Voice], ...] = (
    OpenAIVoice,
    AnthropicVoice,
    GeminiVoice,
    BedrockVoice,
    CohereVoice,
    CloudflareVoice,
    ReplicateVoice,
)
SCRIPTS: dict[str, type[Voice]] = {voice.wire: voice for voice in _VOICES}


def speak(wire: str) -> Voice:
    """A voice for this wire. Raises ValueError with the wires that there are."""
    if wire not in SCRIPTS:
        raise ValueError(f"no wire {wire!r}; there are {', '.join(SCRIPTS)}")
    return SCRIPTS[wire]()
