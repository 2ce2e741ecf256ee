"""The native path of Cloudflare Workers AI, `/ai/run/{model}`: nearly the chat wire's request, answers of its own.

It never knows the account, nor which models answer in which of the shapes: it takes whichever comes.
Frames are `{"response": "…", "p": padding}`, tool calls stand beside `response`, some models send the chat wire's
`choices` instead. There is no finish reason: `[DONE]` alone says that the answer is complete.
Source: cloudflare/ai, workers-ai-provider, 2026; Workers AI documentation, 2026-07-30.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Raw, Struct

from infron.catalog.definitions import Provider
from infron.errors import InfronError, ProviderUnavailable, Unsupported
from infron.events import (
    Done,
    Event,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
)
from infron.request import Outgoing, Request
from infron.wires import errors as openai_errors
from infron.wires import lenient_json, sse
from infron.wires.decoding import DONE, SseDecoder
from infron.wires.errors import Headers
from infron.wires.lenient_json import dict_in
from infron.wires.openai.chat import request as openai_request
from infron.wires.openai.chat.repair import REASONS
from infron.wires.usage import report_of
from infron.wires.whole import by_member

MEDIA_TYPE = b"text/event-stream"
DEFAULTS = {"chat_path": "/run/{model}", "usage": "always"}
CAN_CALL = False
whole_request = by_member
MOST_CALLS = 1000

_encode = msgspec.json.Encoder().encode


# ---- to the provider


def encode_request(request: Request, provider: Provider, provider_model: str, ask_usage: bool) -> Outgoing:
    """The chat wire's body as the row says; the model stands in the path, and a JSON schema without its envelope.

    Raises Unsupported for a model id that would lead to another path.
    """
    if any(part in ("", ".", "..") for part in provider_model.split("/")):
        raise Unsupported(
            f"{provider_model[:100]!r} is no model of {provider.name}.", param="model", provider=provider.id
        )
    sent = openai_request.encode_request(request, provider, provider_model, False, _without_envelope)
    return msgspec.structs.replace(sent, url=f"/run/{quote(provider_model, safe='/@')}")


def _without_envelope(fields: dict[str, Raw]) -> dict[str, Raw]:
    value = msgspec.json.decode(fields.get("response_format", b"null"))
    inner = value.get("json_schema") if isinstance(value, dict) else None
    if not isinstance(inner, dict) or "schema" not in inner:
        return fields
    return {**fields, "response_format": Raw(_encode({**value, "json_schema": inner["schema"]}))}


# ---- from the provider


class _Frame(Struct, gc=False):
    response: Any = None
    tool_calls: Any = None
    choices: Any = None
    finish_reason: Any = None
    usage: Any = None
    error: Any = None
    errors: Any = None
    success: Any = None
    result: Any = None
    id: Any = None


_frame = msgspec.json.Decoder(_Frame)
# What an error inside a 200 answer means, by Cloudflare's own code.
_STATUS_OF_CODE = {3006: 413, 3007: 408, 3008: 408, 3023: 403, 3036: 429, 3040: 429, 3041: 403, 3042: 404, 5007: 400,
                   5016: 403, 5018: 403}  # fmt: skip


def parse_error(
    status: int, headers: Headers, body: bytes, provider: Provider, key: str = "", now: float = 0.0
) -> InfronError:
    """`{success: false, errors: [{code, message}]}` as ours, and every shape of the chat wire."""
    if status < 400:
        status = _STATUS_OF_CODE.get(_code_of(body), status)
    return openai_errors.parse_error(status, headers, body, provider, key, now)


def _code_of(body: bytes) -> int:
    try:
        errors = _read(body).errors
    except ProviderUnavailable:
        return 0
    code = errors[0].get("code") if isinstance(errors, list) and errors and isinstance(errors[0], dict) else 0
    return code if isinstance(code, int) else 0


class Decoder(SseDecoder):
    """An answer on the native path to events."""

    _parse_error = staticmethod(parse_error)

    def __init__(
        self, provider: Provider, max_frame_bytes: int = sse.MAX_FRAME_BYTES, key: str = "", verbatim: bool = False
    ) -> None:
        super().__init__(provider, max_frame_bytes, key)
        self._begun = False
        self._calls: dict[int, bool] = {}  # index -> whether its arguments have begun
        self._ids: dict[str, int] = {}

    def whole(self, body: bytes) -> list[Event]:
        """`{result: {response, tool_calls, usage}, success, errors}`: a model that does not stream, or an error."""
        events: list[Event] = []
        listed = lenient_json.objects_in(body) if body.lstrip()[:1] == b"[" else None
        try:
            body = listed[0] if listed and len(listed) == 1 else body
            frame = _read(body)
            answer = msgspec.convert(frame.result, _Frame) if isinstance(frame.result, dict) else frame
        except ProviderUnavailable:
            if body.lstrip()[:1] not in (b"{", b"["):
                raise self._broken("answered with something that is neither a stream nor JSON") from None
            self._fail_with(body, events)
            return events
        if _complains(frame):
            self._fail_with(body, events)
            return events
        self._say(answer, events)
        if len(events) < 2:
            what = "answered with nothing: this model does not stream on the native path; ask the provider cloudflare"
            events.clear()
            self._fail(self._broken(what), events)
            return events
        self._stop("", events)
        return events if self._over else [*events, *self.close(), Done()]

    def _take(self, event: sse.Event, events: list[Event]) -> None:
        payload = event.data
        if event.comment is not None or not payload.strip():
            return
        if payload.startswith(DONE):
            self._stop("", events)
            self._finish(events)
            events.append(Done())
            return
        if payload.lstrip()[:1] == b"[":
            for one in lenient_json.objects_in(payload) or ():
                self._take(sse.Event(one, event.event), events)
            return
        try:
            frame = _read(payload)
        except ProviderUnavailable:
            self._fail(self._broken("sent a frame that is not JSON"), events)
            return
        if _complains(frame) or event.event == "error":
            self._fail_with(payload, events)
        else:
            self._say(frame, events)

    def _say(self, frame: _Frame, events: list[Event]) -> None:
        if not self._begun:
            self._begun = True
            self.upstream_id = frame.id[:200] if isinstance(frame.id, str) and frame.id else None
            events.append(Started(self.upstream_id or ""))
        if text := _text(frame.response):
            events.append(TextDelta(text))
        self._take_calls(frame.tool_calls, events)
        reason = frame.finish_reason
        choice = frame.choices[0] if isinstance(frame.choices, list) and frame.choices else None
        if isinstance(choice, dict):
            reason = choice.get("finish_reason") or reason
            delta = dict_in(choice, "delta") or dict_in(choice, "message")
            if thought := _text(delta.get("reasoning_content") or delta.get("reasoning")):
                events.append(ThinkingDelta(thought))
            if text := _text(delta.get("content")):
                events.append(TextDelta(text))
            self._take_calls(delta.get("tool_calls"), events)
        if frame.usage is not None and (report := report_of(frame.usage, self._provider, self.headers)):
            events.append(report)
        if isinstance(reason, str) and reason:
            self._stop(reason, events)

    def _take_calls(self, calls: Any, events: list[Event]) -> None:
        for call in calls if isinstance(calls, list) else ():
            if not isinstance(call, dict):
                continue
            said = call["function"] if isinstance(call.get("function"), dict) else call
            id, name, arguments = _text(call.get("id")), _text(said.get("name")), _text(said.get("arguments"))
            if not id and not name and not arguments:
                continue  # how the end of a call is told
            index = self._place(call.get("index"), id, name)
            if index not in self._calls:
                if not name or index >= MOST_CALLS:
                    continue
                self._calls[index] = False
                self._ids[id] = index
                events.append(self._called(index, id, name))
            if arguments:
                self._calls[index] = True
                events.append(ToolCallDelta(index, arguments))

    def _place(self, given: Any, id: str, name: str) -> int:
        if isinstance(given, int) and given >= 0:
            return given
        if id and id in self._ids:
            return self._ids[id]
        return len(self._calls) if name or not self._calls else len(self._calls) - 1

    def _stop(self, native: str, events: list[Event]) -> None:
        """Why it ends; the wire names a reason only where it sends `choices`."""
        if self._over or (not native and self.finished):
            return
        reason = REASONS.get(native, "") if native else "stop"
        if reason:
            self._ends(reason, native, events)
        else:
            self._fail(self._broken(f"ended the answer with the finish reason {self._shown(native)}"), events)

    def _finish(self, events: list[Event]) -> None:
        events.extend(ToolCallDelta(index, "{}") for index, begun in self._calls.items() if not begun and self.finished)
        self._tell_end(events)
        self._over = True

    def close(self) -> list[Event]:
        events = super().close()
        if not self._over:
            self._finish(events)
        return events


def _complains(frame: _Frame) -> bool:
    return bool(frame.error or frame.errors or frame.success is False)


def _read(data: bytes) -> _Frame:
    """A JSON object; one that says nothing for other JSON. Raises ProviderUnavailable, without a provider, for none."""
    return lenient_json.decode(data, _frame) or _Frame()


def _text(value: Any) -> str:
    """A string; a number or an object, which some models send for one, as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None or isinstance(value, bool) else _encode(value).decode()
