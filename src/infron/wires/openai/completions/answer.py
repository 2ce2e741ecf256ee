"""Completions as clients of OpenAI's legacy API read them: frames of a stream, or one JSON, of text and its ends.

It never knows which wire the text came from. Of other APIs' answers only the text is told.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from infron.errors import InfronError
from infron.events import AnyClientEvent, Billed, Finished, RefusalDelta, TextDelta, Verbatim
from infron.request import Request
from infron.wires import sse
from infron.wires.errors import error_object, message_in_stream
from infron.wires.lenient_json import value_of
from infron.wires.openai.chat.answer import usage_fields
from infron.wires.openai.chat.encoder import DONE, KEEP_ALIVE

_encode = msgspec.json.Encoder().encode
_REASONS = {"content_filter": "content_filter", "length": "length"}
_NOT_HOSTS = ("choices", "usage", "id", "object", "created", "model")


def _own(id: str, created: int, request: Request) -> dict[str, Any]:
    return {"id": id, "object": "text_completion", "created": created, "model": request.model}


def _choice_of(event: AnyClientEvent) -> dict[str, Any] | None:
    """What is told of an event of another API's answer."""
    if isinstance(event, TextDelta | RefusalDelta):
        return {"text": event.text, "index": event.choice, "logprobs": None, "finish_reason": None}
    if isinstance(event, Finished) and not event.told:
        reason = _REASONS.get(event.reason, "stop")
        return {"text": "", "index": event.choice, "logprobs": None, "finish_reason": reason}
    return None


class Encoder:
    kept = None  # this API has no way to refer to an answer
    media_type = sse.MEDIA_TYPE

    def __init__(self, id: str, created: int, request: Request) -> None:
        self._own = _own(id, created, request)
        self._begun = False

    def encode(self, event: AnyClientEvent) -> bytes:
        if isinstance(event, Verbatim):
            self._begun = self._begun or event.content
            rest: dict[str, Any] = {name: raw for name, raw in event.fields.items() if name != "usage"}
            return self._frame({**rest, **self._own})
        choice = _choice_of(event)
        if choice is None:
            return b""
        self._begun = True
        return self._frame({**self._own, "choices": [choice]})

    def _frame(self, fields: dict[str, Any]) -> bytes:
        return b"data: %b\n\n" % sse.unbroken(_encode(fields).replace(b"\n", b" "))

    def keep_alive(self) -> bytes:
        return KEEP_ALIVE

    def usage(self, billed: Billed) -> bytes:
        return self._frame({**self._own, "choices": [], **usage_fields(billed)})

    def fail(self, error: InfronError) -> bytes:
        told = error_object(error, message_in_stream(error, self._begun))
        return self._frame({**self._own, "error": told}) + DONE

    def close(self) -> bytes:
        return DONE


class Accumulator:
    kept = None

    def __init__(self, id: str, created: int, request: Request) -> None:
        self._own = _own(id, created, request)
        self._fields: dict[str, Raw] = {}
        self._folded: dict[int, dict[str, Any]] = {}
        self._texts: dict[int, list[str]] = {}

    def add(self, event: AnyClientEvent) -> None:
        if isinstance(event, Verbatim):
            self._fields.update({name: raw for name, raw in event.fields.items() if name not in _NOT_HOSTS})
            for choice in value_of(bytes(event.fields["choices"])):
                if isinstance(choice, dict):
                    self._fold(choice)
        elif (made := _choice_of(event)) is not None:
            self._fold(made)

    def _fold(self, choice: dict[str, Any]) -> None:
        index = choice.get("index")
        index = index if type(index) is int else 0
        folded = self._folded.setdefault(index, {"text": "", "index": index, "logprobs": None, "finish_reason": None})
        if isinstance(text := choice.get("text"), str):
            self._texts.setdefault(index, []).append(text)
        for name, value in choice.items():
            before = folded.get(name)
            if name == "logprobs" and isinstance(value, dict) and isinstance(before, dict):
                _extend(before, value)
            elif value is not None and name not in ("text", "index"):
                folded[name] = value

    def answer(self, billed: Billed) -> bytes:
        choices = [
            {**self._folded[index], "text": "".join(self._texts.get(index, ()))} for index in sorted(self._folded)
        ]
        own = {**self._own, "choices": choices, "provider": billed.provider}
        return _encode({**self._fields, **own, **usage_fields(billed)})


def _extend(into: dict[str, Any], more: dict[str, Any]) -> None:
    """Lists of what is told of each token go on."""
    for name, value in more.items():
        old = into.get(name)
        if isinstance(old, list) and isinstance(value, list):
            old.extend(value)
        elif value is not None:
            into[name] = value
