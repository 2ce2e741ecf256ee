"""An answer on Ollama's API, to clients: events as lines of JSON, or folded to one; errors.

It never knows which wire the answer came from, nor how it reaches the client. A call is told once it is whole; a line
of nothing would be taken for JSON, so that a sign of life is the white space that the next line begins with.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from infron.errors import InfronError
from infron.events import (
    AnyClientEvent,
    Billed,
    Finished,
    MediaDelta,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from infron.request import Request
from infron.wires import lenient_json, sse
from infron.wires.errors import message_in_stream
from infron.wires.ollama.client_request import GENERATE

KEEP_ALIVE = b" "

_encode = msgspec.json.Encoder().encode
_REASONS = {"tool_calls": "stop"}


def render_error(error: InfronError) -> bytes:
    """The body of an HTTP error."""
    return _encode({"error": error.message})


class Answer:
    """What encoder and accumulator have in common. Of several choices the first is told."""

    kept = None  # this API has no way to refer to an answer

    def __init__(self, id: str, created: int, request: Request) -> None:
        """`id` has no place in this API, and pictures have none but where text is generated: libraries read no message
        of an answer that has some.
        """
        self._generates = request.form == GENERATE
        at = datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z")
        self._head = {"model": request.model, "created_at": at}
        self._calls: dict[int, tuple[str, str, list[str]]] = {}
        self._reason = "stop"
        self._counts: dict[str, Any] = {}

    def _said(self, event: AnyClientEvent) -> dict[str, Any]:
        """What the event adds to the message; nothing for what waits or has no place."""
        if getattr(event, "choice", 0):
            return {}
        match event:
            case TextDelta(text) | RefusalDelta(text):
                return {"content": text}
            case ThinkingDelta(text) if text:
                return {"thinking": text}
            case ToolCallStarted(index, id, name):
                self._calls[index] = id, name, []
            case ToolCallDelta(index, arguments) if index in self._calls:
                self._calls[index][2].append(arguments)
            case MediaDelta(mime, data) if mime.startswith("image/") and self._generates:
                return {"image": data}
            case Finished(reason):
                self._reason = _REASONS.get(reason, reason)
        return {}

    def _called(self) -> list[dict[str, Any]]:
        """The calls. Arguments that were cut off are none: this field has to be an object."""
        told = []
        for index, (id, name, pieces) in sorted(self._calls.items()):
            arguments = lenient_json.object_in("".join(pieces))
            function = {"index": index, "name": name, "arguments": {} if arguments is None else arguments}
            told.append({"id": id, "function": function})
        self._calls = {}
        return told

    def _message(self, said: dict[str, Any]) -> dict[str, Any]:
        if not self._generates:
            return {"message": {"role": "assistant", "content": "", **said}}
        told: dict[str, Any] = {"response": said.get("content", "")}
        return told | {name: said[name] for name in ("thinking", "image") if name in said}

    def usage(self, billed: Billed) -> bytes:
        """The counts that are billed, and times in nanoseconds, to be told with the end."""
        first, whole = (int(seconds * 1e9) for seconds in billed.seconds)
        self._counts = {
            "total_duration": whole,
            "load_duration": 0,
            "prompt_eval_count": billed.usage.prompt,
            "prompt_eval_duration": first,
            "eval_count": billed.usage.completion,
            "eval_duration": max(0, whole - first),
        }
        return b""

    def _last(self, said: dict[str, Any]) -> dict[str, Any]:
        end = {"done": True, "done_reason": self._reason, **self._counts}
        return {**self._head, **self._message(said), **end}


class Encoder(Answer):
    """Events to the bytes of a client's stream."""

    media_type = b"application/x-ndjson"

    def __init__(self, id: str, created: int, request: Request) -> None:
        super().__init__(id, created, request)
        self._begun = False

    def encode(self, event: AnyClientEvent) -> bytes:
        said = self._said(event)
        return self._line({**self._head, **self._message(said), "done": False}) if said else b""

    def _line(self, told: dict[str, Any]) -> bytes:
        self._begun = True
        return sse.unbroken(_encode(told)) + b"\n"

    def keep_alive(self) -> bytes:
        return KEEP_ALIVE

    def fail(self, error: InfronError) -> bytes:
        return self._line({"error": message_in_stream(error, self._begun)})

    def close(self) -> bytes:
        calls = self._called()
        before = self._line({**self._head, **self._message({"tool_calls": calls}), "done": False}) if calls else b""
        return before + self._line(self._last({}))


class Accumulator(Answer):
    """The same events to the one JSON of an answer that is not streamed."""

    def __init__(self, id: str, created: int, request: Request) -> None:
        super().__init__(id, created, request)
        self._pieces: dict[str, list[str]] = {"content": [], "thinking": [], "image": []}

    def add(self, event: AnyClientEvent) -> None:
        for name, piece in self._said(event).items():
            self._pieces[name].append(piece)

    def answer(self, billed: Billed) -> bytes:
        self.usage(billed)
        pieces = self._pieces
        said: dict[str, Any] = {name: "".join(pieces[name]) for name in ("content", "thinking") if pieces[name]}
        if pieces["image"]:
            said["image"] = pieces["image"][-1]
        if calls := self._called():
            said["tool_calls"] = calls
        return _encode(self._last(said))
