"""An answer as the stream of Anthropic's Messages API: events to the frames that a client reads; errors.

It never knows which wire the answer came from, nor how it reaches the client.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from infron.conversation import GEMINI_CALL
from infron.errors import InfronError
from infron.events import (
    Annotated,
    Billed,
    Event,
    Finished,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    Verbatim,
)
from infron.money import Usage
from infron.request import Request
from infron.wires import lenient_json, sse
from infron.wires.anthropic.words import citation_of, error_object, marked, messages_usage, stop_reason
from infron.wires.errors import message_in_stream

KEEP_ALIVE = b'event: ping\ndata: {"type":"ping"}\n\n'

_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%b}\n\n'
_TEXT = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":'
)
_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
_END = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def render_error(error: InfronError) -> bytes:
    """The body of an HTTP error."""
    return _encode(error_object(error))


def _event(name: str, data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), sse.unbroken(_encode({"type": name, **data})))


def of_another_choice(event: Event) -> bool:
    return bool(getattr(event, "choice", 0))


def head_of(id: str, model: str, usage: dict[str, Any]) -> dict[str, Any]:
    own = {"id": id, "type": "message", "role": "assistant", "model": model, "content": []}
    return {**own, "stop_reason": None, "stop_sequence": None, "usage": usage}


class Encoder:
    """Events to the bytes of a client's stream; blocks come one after the other. `created` has no place here.

    Counts and the reason of the end are told at the end, when both are known: by `close`. Media have no block, and of
    several choices the first is told. A refusal is text.
    """

    media_type = sse.MEDIA_TYPE
    kept = None  # this API has no way to refer to an answer

    def __init__(self, id: str, created: int, request: Request) -> None:
        self._id, self._model = id, request.model
        self._begun = False
        self._handed_on = False  # frames of a host of the same API
        self._usage = messages_usage(Usage())
        self._stop: str | None = None
        self._kind = ""  # of the block that is open
        self._index = -1  # of the last block
        self._lead = b""  # how the next piece of an open text begins
        self._thought = -1
        self._calls: dict[int, int] = {}  # the call's index -> its block's
        self._argued: list[str] = []  # of the call whose block is open
        self._left: list[int] = []  # blocks of calls that were not whole when another block began

    def encode(self, event: Event) -> bytes:
        if isinstance(event, Verbatim):
            return self._hand_on(event)
        if isinstance(event, TextDelta) and self._kind == "text" and not event.choice:
            return self._lead + sse.unbroken(_encode(event.text)) + b"}}\n\n"
        if isinstance(event, Started) or of_another_choice(event):
            return b""  # the counts that may come next belong into the first frame
        if isinstance(event, Finished):
            self._stop = stop_reason(event.reason, event.native)
            return b""
        return self._start() + self._said(event)

    def _hand_on(self, event: Verbatim) -> bytes:
        """A frame as it came, but for what is ours in the first one."""
        kind = bytes(event.fields["type"])[1:-1]
        if not event.rest:
            message = {**_fields(event.fields["message"]), "id": self._id, "model": self._model}
            self._handed_on = True
            return b"event: %b\ndata: %b\n\n" % (kind, sse.unbroken(_encode({**event.fields, "message": message})))
        if not self._handed_on:  # its host forgot to say that it begins
            self._handed_on = True
            return self._start() + self._hand_on(event)
        return b"event: %b\ndata: %b\n\n" % (kind, event.rest)

    def usage(self, billed: Billed) -> bytes:
        """The counts that are billed; this API has no place for what they cost. What is handed on has its own."""
        self._usage = messages_usage(billed.usage)
        return b"" if self._handed_on else self._start()

    def keep_alive(self) -> bytes:
        return KEEP_ALIVE

    def fail(self, error: InfronError) -> bytes:
        """The last frame of a stream that failed."""
        return b"event: error\ndata: %b\n\n" % sse.unbroken(
            _encode(error_object(error, message_in_stream(error, self._begun or self._handed_on)))
        )

    def close(self) -> bytes:
        if self._handed_on:
            return _END
        delta = {"delta": {"stop_reason": self._stop, "stop_sequence": None}, "usage": self._usage}
        stops = b"".join([_STOP % index for index in self._left]) + self._shut()
        return self._start() + stops + _event("message_delta", delta) + _END

    def _start(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        return _event("message_start", {"message": head_of(self._id, self._model, {**self._usage, "output_tokens": 0})})

    def _said(self, event: Event) -> bytes:
        match event:
            case TextDelta(text) | RefusalDelta(text):
                return self._text() + self._lead + sse.unbroken(_encode(text)) + b"}}\n\n"
            case ThinkingDelta():
                return self._thinking(event)
            case ToolCallStarted(index, id, name, signature):
                signed = {"data": marked(signature, GEMINI_CALL)}  # a call has no place for it
                head = self._open("redacted_thinking", signed) if signature else b""
                head += self._open("tool_use", {"id": id, "name": name, "input": {}})
                self._calls[index] = self._index
                self._argued.clear()
                return head
            case ToolCallDelta(index, arguments) if index in self._calls:
                if self._calls[index] == self._index:
                    self._argued.append(arguments)
                return self._piece(self._calls[index], {"type": "input_json_delta", "partial_json": arguments})
            case Annotated(raw) if citation := citation_of(raw):
                head = self._text()
                return head + self._piece(self._index, {"type": "citations_delta", "citation": citation})
        return b""

    def _text(self) -> bytes:
        return b"" if self._kind == "text" else self._open("text", {"text": ""})

    def _thinking(self, event: ThinkingDelta) -> bytes:
        if event.data:
            return self._open("redacted_thinking", {"data": marked(event.data, event.format)}) + self._shut()
        out = b""
        if self._kind != "thinking" or event.index != self._thought:
            out = self._open("thinking", {"thinking": "", "signature": ""})
            self._thought = event.index
        if event.text:
            out += self._piece(self._index, {"type": "thinking_delta", "thinking": event.text})
        if event.signature:
            out += self._piece(
                self._index, {"type": "signature_delta", "signature": marked(event.signature, event.format)}
            )
        return out

    def _open(self, kind: str, block: dict[str, Any]) -> bytes:
        before = b"" if self._goes_on() else self._shut()
        self._kind = kind
        self._index += 1
        self._lead = _TEXT % self._index
        data = {"index": self._index, "content_block": {"type": kind, **block}}
        return before + _event("content_block_start", data)

    def _piece(self, index: int, delta: dict[str, Any]) -> bytes:
        return _DELTA % (index, sse.unbroken(_encode(delta)))

    def _goes_on(self) -> bool:
        """Whether the block that is open is left so beside another: a call that is not whole, for some hosts tell the
        pieces of several calls in turns.
        """
        if self._kind != "tool_use" or lenient_json.fields_in("".join(self._argued)) is not None:
            return False
        self._left.append(self._index)
        return True

    def _shut(self) -> bytes:
        kind, self._kind = self._kind, ""
        return _STOP % self._index if kind else b""
