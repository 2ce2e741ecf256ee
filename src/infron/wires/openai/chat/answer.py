"""The whole answer of the OpenAI chat wire: chunks folded to one JSON, and the fields that carry counts and money.

It never knows how an answer arrived, and never computes a price.
"""

from __future__ import annotations

import base64
import contextlib
from typing import Any

import msgspec

from infron.events import AnyClientEvent, Billed, Finished, Started, Verbatim
from infron.money import Charge, usd
from infron.request import Request
from infron.wires.openai.chat.choices import delta_of
from infron.wires.openai.chat.delta import fields_of
from infron.wires.openai.chat.fold import Pieces, merge
from infron.wires.openai.chat.thinking import Places
from infron.wires.usage import chat_usage


def _join(value: object) -> str:
    if isinstance(value, Pieces):
        return "".join(value.parts)
    raise NotImplementedError


_encode = msgspec.json.Encoder(enc_hook=_join).encode
_decode = msgspec.json.Decoder().decode
_NOTHING: dict[str, Any] = {}
_PARTS = (("prompt_tokens_details", "cached_tokens"), ("completion_tokens_details", "reasoning_tokens"))


class Accumulator:
    """What a client is told, event by event, to the one JSON of an answer that is not streamed."""

    kept = None  # this API has no way to refer to an answer

    def __init__(self, id: str, created: int, request: Request) -> None:
        """`created`: unix s."""
        self._own = {"id": id, "object": "chat.completion", "created": created, "model": request.model}
        self._fields: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._places = Places()

    def add(self, event: AnyClientEvent) -> None:
        if isinstance(event, Verbatim):
            fields = {name: _decode(raw) for name, raw in fields_of(event).items()}
            for choice in fields.pop("choices", None) or []:
                self._choice(choice)
            self._fields.update({name: value for name, value in fields.items() if value is not None})
        elif not isinstance(event, Started) and not (isinstance(event, Finished) and event.told):
            if place := self._places.id_for(event):
                event = msgspec.structs.replace(event, id=place)
            self._choice(delta_of(event))

    def _choice(self, choice: dict[str, Any]) -> None:
        index = choice.get("index") or 0
        folded = self._choices.setdefault(index, {"index": index, "message": {}, "finish_reason": None})
        merge(folded["message"], choice.pop("delta", None) or {})
        for name, value in choice.items():
            if name == "logprobs" and isinstance(value, dict):
                old = folded.get(name)
                folded[name] = old = old if isinstance(old, dict) else {}
                merge(old, value)
            elif value is not None and name != "index" and (name != "message" or isinstance(value, dict)):
                folded[name] = value

    def answer(self, billed: Billed) -> bytes:
        """The JSON."""
        choices = [self._choices[index] for index in sorted(self._choices)]
        for choice in choices:
            message = choice["message"] = {"role": "assistant", "content": None, **choice["message"]}
            calls = message.get("tool_calls")
            for call in calls if isinstance(calls, list) else ():
                if isinstance(call, dict):
                    _finish_call(call)
            for name in ("annotations", "images"):
                for entry in message.get(name) or ():
                    if isinstance(entry, dict):
                        entry.pop("index", None)
            if isinstance(message.get("audio"), dict):
                _finish_sound(message["audio"])
        own = {**self._own, "provider": billed.provider}
        self._fields.setdefault("system_fingerprint", None)  # OpenRouter's libraries refuse an answer without it
        rest = {name: value for name, value in self._fields.items() if name not in own}
        return _encode({**own, **rest, "choices": choices, **self._usage_fields(billed)})

    def _usage_fields(self, billed: Billed) -> dict[str, Any]:
        return usage_fields(billed)


def _finish_call(call: dict[str, Any]) -> None:
    call.pop("index", None)
    function = call.get("function")
    if isinstance(function, dict) and not function.get("arguments"):
        function["arguments"] = "{}"  # clients parse it


def _finish_sound(sound: dict[str, Any]) -> None:
    """The bytes of all pieces in one: base64 that was padded in between is none that every client reads."""
    data = sound.get("data")
    if isinstance(data, Pieces) and any(piece.endswith("=") for piece in data.parts[:-1]):
        with contextlib.suppress(ValueError):  # no base64 is passed on as it came
            sound["data"] = base64.b64encode(b"".join(map(base64.b64decode, data.parts))).decode()


def usage_fields(billed: Billed) -> dict[str, Any]:
    """The root fields that tell counts and money."""
    return {"usage": usage_object(billed), **cost_fields(billed.charge)}


def usage_object(billed: Billed) -> dict[str, Any]:
    """`usage` as the client sees it: the provider's own fields, with the counts that were billed over them."""
    raw, told = billed.raw or _NOTHING, chat_usage(billed.usage)
    shown: dict[str, Any] = {**raw, **told}
    for name, field in _PARTS:
        old = raw.get(name)
        if name not in told and isinstance(old, dict) and old.get(field) == 0:
            continue
        shown[name] = {**(old if isinstance(old, dict) else _NOTHING), field: 0, **told.get(name, _NOTHING)}
    if billed.estimated:
        shown["estimated"] = True
    shown["cost"] = usd(None if billed.charge is None else billed.charge.total)
    return shown


def cost_fields(charge: Charge | None) -> dict[str, Any]:
    """`cost` and `cost_details`, USD, for the root of the usage frame; null where no price is known."""
    if charge is None:
        return {"cost": None, "cost_details": None}
    details = {
        "prompt_cost": usd(charge.prompt),
        "completion_cost": usd(charge.completion),
        "prompt_cache_read_cost": usd(charge.cached),
        "prompt_cache_write_cost": usd(charge.cache_write),
        "request_cost": usd(charge.request),
    }
    if charge.search:
        details["web_search_cost"] = usd(charge.search)
    if charge.reported:
        details["reported_cost"] = usd(charge.reported)
    return {"cost": usd(charge.total), "cost_details": details}
