"""A client's request on Ollama's API (`/api/chat`, `/api/generate`) as our own.

It never knows which provider will take it. What steers the machine that Ollama runs on (`num_ctx`, `keep_alive` …) is
named in the receipt; what changes the question (`suffix`, `raw`, `template`, `context`) is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from infron.conversation import (
    Conversation,
    Media,
    Message,
    Part,
    Reasoning,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from infron.request import NO_TARGET, Request, Target
from infron.wires.body import read
from infron.wires.errors import Headers
from infron.wires.media import mime_of_data
from infron.wires.request_fields import (
    arguments_of,
    count_of,
    decoded,
    object_of,
    objects_of,
    string_of,
    strings_of,
    unsupported,
    wrong,
)
from infron.wires.schemas import closed

NAME = "ollama"
CHAT, GENERATE = "/api/chat", "/api/generate"
PATHS = (CHAT, GENERATE)
NEAR = (*PATHS, "/api/tags", "/api/show", "/api/ps", "/api/version", "/api/pull")
NOT_OFFERED = ("context", "raw", "suffix", "template")

Values = dict[str, Any]

_NULL, _FALSE = Raw(b"null"), Raw(b"false")
_encode = msgspec.json.Encoder().encode


def parse(body: bytes, headers: Headers, target: Target = NO_TARGET) -> Request:
    """The request in a body that was sent to `target`; it is streamed unless it says otherwise. Raises InvalidRequest
    that names the field. `headers`: none matters.
    """
    form = GENERATE if target.path == GENERATE else CHAT
    request = read(body, NAME, conversation_of, holds="prompt" if form == GENERATE else "messages")
    stream = request.fields.get("stream", _NULL) != _FALSE
    return replace(request, model=bare(request.model), stream=stream, form=form, include_usage=True)


def bare(model: str) -> str:
    """A model's id without the tag that Ollama's clients add where there is none."""
    return model.removesuffix(":latest")


def conversation_of(fields: Mapping[str, Raw]) -> Conversation:
    """The conversation in the root fields of a request. Raises InvalidRequest that names the place, Unsupported."""
    values = {name: decoded(raw, name) for name, raw in fields.items()}
    for name in NOT_OFFERED:
        if values.get(name):
            raise unsupported(name, "is about a model that runs in Ollama itself: send the conversation by /api/chat")
    asked: dict[str, tuple[str, ...]] = {}
    tools = tuple(_tools(values.get("tools")))
    if tools:
        asked["tools"] = ("tools",)
    if values.get("keep_alive") is not None:
        asked["ollama keep_alive"] = ("keep_alive",)
    options = dict(object_of(values.get("options") or {}, "options"))
    most = options.pop("num_predict", None)
    most = count_of({"num_predict": most}, "num_predict", 1, "options.") if type(most) is not int or most > 0 else None
    if most is not None:
        asked["max_tokens"] = ("options.num_predict",)
    stop = options.pop("stop", None)
    stops = strings_of([stop] if isinstance(stop, str) else stop, "options.stop")
    if stops:
        asked["stop"] = ("options.stop",)
    steering: Values = {}
    for name, value in options.items():
        if value is None:
            continue
        neutral = _FIELDS.get(name)
        if neutral is not None:
            steering[neutral] = value
        asked[neutral or f"ollama {name}"] = (f"options.{name}",)
    return Conversation(
        messages=tuple(_said(values)),
        tools=tools,
        max_tokens=most,
        stop=tuple(stops),
        response_format=_format(values.get("format"), asked),
        reasoning=_reasoning(values.get("think"), asked),
        fields=steering,
        asked=asked,
    )


# Options -> what the chat API calls them.
_FIELDS = {
    "frequency_penalty": "frequency_penalty",
    "min_p": "min_p",
    "presence_penalty": "presence_penalty",
    "repeat_penalty": "repetition_penalty",
    "seed": "seed",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
}


def _format(value: Any, asked: dict[str, tuple[str, ...]]) -> ResponseFormat | None:
    if value in (None, ""):
        return None
    asked["response_format"] = ("format",)
    if value == "json":
        return ResponseFormat(kind="json")
    if not isinstance(value, dict):
        raise wrong("format", "json or a JSON Schema")
    return ResponseFormat(kind="schema", name="answer", schema=value, strict=closed(value) or None)


_EFFORTS = ("low", "medium", "high")


def _reasoning(value: Any, asked: dict[str, tuple[str, ...]]) -> Reasoning | None:
    if value is None:
        return None
    asked["reasoning"] = ("think",)
    if value is False:
        return Reasoning(effort="none")
    if value is True:
        return Reasoning()
    if value not in _EFFORTS:
        raise wrong("think", "true, false, low, medium or high")
    return Reasoning(effort=value)


def _tools(value: Any) -> Iterator[Tool]:
    for place, item in objects_of(value, "tools"):
        inner = f"{place}.function"
        function = object_of(item.get("function"), inner)
        schema = function.get("parameters")
        yield Tool(
            name=string_of(function, "name", inner, required=True),
            description=string_of(function, "description", inner),
            schema=None if schema is None else object_of(schema, f"{inner}.parameters"),
        )


# ---- what was said

_ROLES = ("system", "user", "assistant", "tool")


def _said(values: Values) -> Iterator[Message]:
    if "messages" in values:
        yield from _messages(values["messages"])
        return
    if system := string_of(values, "system", "the body"):
        yield Message("system", (Text(system),))
    text = string_of(values, "prompt", "the body", required=True)
    yield Message("user", (*([Text(text)] if text else []), *_images(values.get("images"), "images")))


def _messages(value: Any) -> Iterator[Message]:
    """Calls have ids in newer releases alone: a result without one answers the first open call, of its name if it says
    one. Ids that are made here are the same whenever the history is sent again.
    """
    open_calls: list[tuple[str, str]] = []
    made = 0
    for place, item in objects_of(value, "messages"):
        role = item.get("role")
        if role not in _ROLES:
            raise wrong(f"{place}.role", ", ".join(_ROLES))
        text = string_of(item, "content", place)
        parts: list[Part] = [Text(text)] if text else []
        if role == "tool":
            id = string_of(item, "tool_call_id", place)
            name = string_of(item, "tool_name", place) or string_of(item, "name", place)
            found = next((call for call in open_calls if (call[0] == id if id else name in ("", call[1]))), None)
            if found is not None:
                open_calls.remove(found)
            made += found is None
            call_id, called = found or (id or f"call_of_{made}", name)
            yield Message("tool", (ToolResult(call_id=call_id, name=called, parts=(Text(text),) if text else ()),))
            continue
        parts += _images(item.get("images"), f"{place}.images")
        if role == "assistant":
            if thought := string_of(item, "thinking", place):
                parts.insert(0, Thinking(text=thought))
            calls = list(_calls(item.get("tool_calls"), f"{place}.tool_calls", made))
            made += len(calls)
            open_calls = [(call.id, call.name) for call in calls] or open_calls
            parts += calls
        yield Message(role, tuple(parts))


def _calls(value: Any, place: str, made: int) -> Iterator[ToolCall]:
    for number, (inner, item) in enumerate(objects_of(value, place), made + 1):
        function = object_of(item.get("function"), f"{inner}.function")
        yield ToolCall(
            id=string_of(item, "id", inner) or f"call_{number}",
            name=string_of(function, "name", f"{inner}.function", required=True),
            arguments=arguments_of(function.get("arguments")),
        )


def _images(value: Any, place: str) -> Iterator[Media]:
    for data in strings_of(value, place):
        bare_data = data.partition(",")[2] if data.startswith("data:") else data
        yield Media(kind="image", mime=mime_of_data(bare_data) or "image/png", data=bare_data)
