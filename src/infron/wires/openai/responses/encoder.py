"""Answers on OpenAI's Responses API, to clients: events as its stream, or folded to one response; errors in a stream.

It never knows which wire the answer came from, nor how it reaches the client. `response.completed` is complete, with
usage, when it is written: Codex leaves as soon as it has read it, and opencode asks again for ever where usage is null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from infron.errors import InfronError
from infron.events import AnyClientEvent, Billed, Finished, Started, TextDelta, Verbatim
from infron.records import Kept
from infron.request import Request
from infron.wires import sse
from infron.wires.decoding import one_line
from infron.wires.errors import message_in_stream
from infron.wires.json_guard import LARGE
from infron.wires.openai.chat.answer import cost_fields
from infron.wires.openai.responses.handed_on import HandedOn
from infron.wires.openai.responses.items import INCOMPLETE, Items, Tell
from infron.wires.openai.responses.tools import toolbox_of

KEEP_ALIVE = sse.comment("Infron AI PROCESSING")

MAX_WAITING = 4 << 20  # bytes of a host's events before its content, but for the first

_CREATED = b"response.created"
_encode = msgspec.json.Encoder().encode
_FRAME = b'event: %b\ndata: {"type":"%b","sequence_number":%d,%b,%b\n\n'
_WITH_RESPONSE = b'event: %b\ndata: {"type":"%b","sequence_number":%d,"response":%b}\n\n'
_DELTA = (
    b"event: response.output_text.delta\n"
    b'data: {"type":"response.output_text.delta","sequence_number":%d,%b,"logprobs":[],"delta":'
)

# What is repeated of the request in each response, and what stands there where it said nothing, or too much for that.
_ECHOED: dict[str, Any] = {
    "background": False,
    "frequency_penalty": 0,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "presence_penalty": 0,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": None,
    "safety_identifier": None,
    "service_tier": None,
    "store": True,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
_ECHO = _encode(_ECHOED)[1:-1]
_FALSE, _NULL = Raw(b"false"), Raw(b"null")
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
# Words on which agents act: Codex tries again after the first two, shortens its history after the third.
_CODES = ("rate_limit_exceeded", "server_error", "context_length_exceeded", "insufficient_quota", "invalid_prompt")
# A stream that was stopped, and one whose key was revoked, must not be asked for again.
_CODE_OF_STATUS = {429: "rate_limit_exceeded", 401: "invalid_prompt", 499: "invalid_prompt"}


def _echo(fields: Mapping[str, Raw]) -> bytes:
    """What a response repeats of a request with these root fields, without its braces."""
    said = {
        name: msgspec.json.decode(raw)
        for name, raw in fields.items()
        if name in _ECHOED and raw != _NULL and len(memoryview(raw)) <= LARGE
    }
    return _encode({**_ECHOED, **said})[1:-1] if said else _ECHO


class Response:
    """The response object of one answer: what encoder and accumulator have in common. `_host`: one handed on."""

    kept: Kept | None = None

    def __init__(self, id: str, created: int, request: Request, tell: Tell) -> None:
        self._id, self._created, self._request = id, created, request
        self._reason = ""
        self._billed: Billed | None = None
        self._host = HandedOn()
        fields = request.fields
        self._echoed = _echo(fields)
        include = fields.get("include")
        encrypted = include is not None and b"reasoning.encrypted_content" in bytes(include)
        self._items = Items(id.rpartition("-")[2], lambda: toolbox_of(request), encrypted, tell)

    def _object(self, status: str, error: dict[str, Any] | None = None) -> bytes:
        incomplete = _INCOMPLETE.get(self._reason) if status == "incomplete" else None
        billed = self._billed
        own = {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "completed_at": None,
            "status": status,
            "error": error,
            "incomplete_details": None if incomplete is None else {"reason": incomplete},
            "model": self._request.model,
            "output": [*self._items.output, *self._host.items] if status != "in_progress" else [],
            "usage": None if billed is None else usage_of(billed),
            **_shown(billed),
        }
        return b"%b,%b}" % (_encode(own)[:-1], self._echoed)

    def _own(self, response: Mapping[str, Any]) -> dict[str, Any]:
        """What is ours in a response of a host's own, and what libraries miss in it."""
        before = self._request.fields.get("previous_response_id", _NULL)  # which the host was not told
        own: dict[str, Any] = {"id": self._id, "model": self._request.model}
        if "created_at" not in response:
            own["created_at"] = self._created
        return own if before == _NULL else {**own, "previous_response_id": before}

    def _final(self) -> bytes:
        """The response that ends an answer which came to its end, and is kept unless its client wants otherwise."""
        if self._host.ended:
            billed = self._billed
            counts = {} if billed is None else usage_of(billed)
            response = self._host.final(counts)
            told = _encode({**response, **self._own(response), **_shown(billed)})
        else:
            told = self._object(self._status())
        if self._request.fields.get("store") != _FALSE:
            self.kept = Kept(told, self._items.sealed)
        return told

    def _status(self) -> str:
        return "incomplete" if self._reason in _INCOMPLETE else "completed"


def _shown(billed: Billed | None) -> dict[str, Any]:
    """Who answered, and what that costs."""
    return {} if billed is None else {"provider": billed.provider, **cost_fields(billed.charge)}


def usage_of(billed: Billed) -> dict[str, Any]:
    usage = billed.usage
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.prompt + usage.completion,
    }


class _Frames:
    """The events of a stream, numbered."""

    def __init__(self) -> None:
        self.number = 0  # of the next one
        self._told: list[bytes] = []

    def tell(self, type: bytes, where: bytes, fields: dict[str, Any]) -> None:
        self._told.append(_FRAME % (type, type, self.number, where, _encode(fields)[1:]))
        self.number += 1

    def add(self, type: bytes, response: bytes) -> None:
        """`response`: in one line."""
        self._told.append(_WITH_RESPONSE % (type, type, self.number, response))
        self.number += 1

    def take(self) -> bytes:
        """What was told since the last time."""
        told = sse.unbroken(b"".join(self._told))
        self._told.clear()
        return told

    def drop(self) -> None:
        """Forget what was told since then."""
        self.number -= len(self._told)
        self._told.clear()


class Encoder(Response):
    """Events to the bytes of a client's stream. The last event tells the counts, so it comes with `close`."""

    media_type = sse.MEDIA_TYPE

    def __init__(self, id: str, created: int, request: Request) -> None:
        self._frames = _Frames()
        super().__init__(id, created, request, self._frames.tell)
        self._begun = False
        self._waiting: list[bytes] | None = []  # of a host: events before content; None once there was some
        self._waits = 0  # bytes of them, but for the first
        self._lead = b""  # where the text goes that grows

    def encode(self, event: AnyClientEvent) -> bytes:
        if isinstance(event, TextDelta) and self._lead and not event.choice:
            self._items.grow(event.text)
            frames = self._frames
            frames.number += 1
            return _DELTA % (frames.number - 1, self._lead) + sse.unbroken(_encode(event.text)) + b"}\n\n"
        if isinstance(event, Verbatim):
            return self._hand_on(event)
        if isinstance(event, Started):
            return b""  # another provider may still have to answer
        if isinstance(event, Finished) and not event.choice:
            self._reason = event.reason
        self._start()
        self._items.take(event)
        self._lead = self._items.growing()
        return self._frames.take()

    def _hand_on(self, event: Verbatim) -> bytes:
        """An event as it came, but for what is ours in a response; the last one waits for the billed counts."""
        kind, response = self._host.take(event)
        if response is None or self._host.ended:
            self._start()  # its host may have forgotten to say that it begins
        else:
            told = one_line(_encode({**response, **self._own(response)}))
            if not self._begun and kind != _CREATED:
                self._frames.add(_CREATED, told)  # libraries wait for it
            self._begun = True
            self._frames.add(kind, told)
        frame = self._frames.take()
        if response is None:
            self._frames.number += 1
            frame = b"%bevent: %b\ndata: %b\n\n" % (frame, kind, event.rest)
        return frame if self._waiting is None else self._wait(frame, event.content)

    def _wait(self, frame: bytes, content: bool) -> bytes:
        """What comes before content waits here as a whole: it repeats the request, so that it may be large, and clients
        need each event of it.
        """
        assert self._waiting is not None
        if content:
            return self._let_go() + frame
        if not self._waiting:
            self._waiting.append(frame)
        elif self._waits + len(frame) <= MAX_WAITING:
            self._waiting.append(frame)
            self._waits += len(frame)
        return b""

    def _let_go(self) -> bytes:
        waiting, self._waiting = self._waiting, None
        return b"".join(waiting or ())

    def usage(self, billed: Billed) -> bytes:
        """The counts that are billed; they are told with the end."""
        self._billed = billed
        return b""

    def keep_alive(self) -> bytes:
        """A comment: client libraries refuse events that they do not know."""
        return KEEP_ALIVE

    def fail(self, error: InfronError) -> bytes:
        code = error.code if error.code in _CODES else _CODE_OF_STATUS.get(error.status, "server_error")
        told = {"code": code, "message": message_in_stream(error, self._begun)}
        before = self._let_go()
        self._items.finish(INCOMPLETE)  # what there is of them stands in the response
        self._frames.drop()
        self._start()
        self._frames.add(b"response.failed", self._object("failed", told))
        return before + self._frames.take()

    def close(self) -> bytes:
        before = self._let_go()
        self._start()
        self._items.finish()
        kind = self._host.ended or f"response.{self._status()}"
        self._frames.add(kind.encode(), one_line(self._final()))
        return before + self._frames.take()

    def _start(self) -> None:
        if not self._begun:
            self._begun = True
            response = self._object("in_progress")
            self._frames.add(b"response.created", response)
            self._frames.add(b"response.in_progress", response)


class Accumulator(Response):
    """The same events to the one JSON of an answer that is not streamed."""

    def __init__(self, id: str, created: int, request: Request) -> None:
        super().__init__(id, created, request, lambda type, where, fields: None)

    def add(self, event: AnyClientEvent) -> None:
        if isinstance(event, Verbatim):
            self._host.take(event)
            return
        if isinstance(event, Finished) and not event.choice:
            self._reason = event.reason
        self._items.take(event)

    def answer(self, billed: Billed) -> bytes:
        self._billed = billed
        self._items.finish()
        return self._final()
