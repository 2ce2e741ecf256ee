"""A client's request on OpenAI's Responses API: its items as a conversation.

It never knows which provider will take it. What refers to earlier answers (`item_reference`, `previous_response_id`)
has been replaced by them where they are kept (`recall`); the rest is refused, for without it a model would answer
another question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

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
    Tool,
    ToolCall,
    ToolResult,
    signed_calls,
)
from infron.errors import InvalidRequest
from infron.request import NO_TARGET, Request, Target
from infron.wires.body import read
from infron.wires.errors import Headers
from infron.wires.openai.chat.parts import parts_of
from infron.wires.openai.chat.steering import reasoning_of
from infron.wires.openai.chat.thinking import google_signature
from infron.wires.openai.responses.reasoning import in_order, opened, texts_of
from infron.wires.openai.responses.tools import Toolbox, additional_tools, as_arguments, kinds_in, with_tools
from infron.wires.request_fields import count_of, decoded, object_of, objects_of, string_of, wrong

NAME = "openai-responses"
PATHS = ("/v1/responses",)
NEAR = PATHS
# Why an earlier answer may not be found, and what helps.
NOT_KEPT = (
    "is not kept here (any more): answers are kept for a while by the process that gave them, for their own key, "
    "unless `store` is false. Send the items themselves as `input`, which clients do with `store: false`."
)

Values = dict[str, Any]

_NULL, _FALSE = Raw(b"null"), Raw(b"false")
# What is kept at a provider could be seen by all who share its account.
_REFUSED = {
    "background": "is not offered: send the request without it, and read the stream or wait for the answer.",
    "conversation": "is not kept here: send `previous_response_id`, or the whole history as `input`.",
    "prompt": "is kept at the provider, whose account is not yours: send its text as `instructions` and `input`.",
}
# Root fields that ask a model for nothing: they are about the exchange, or about what OpenAI's own servers keep.
_ASIDE = frozenset(
    (
        "background",
        "client_metadata",
        "conversation",
        "generate",
        "include",
        "input",
        "instructions",
        "model",
        "previous_response_id",
        "prompt_cache_options",
        "store",
        "stream",
        "stream_options",
        "truncation",
    )
)
# Those that mean nothing at any other provider; whatever one calls by this name, it is something else.
_OWN = frozenset(("context_management", "max_tool_calls", "prompt", "top_logprobs"))
# What asks for nothing but what happens anyway.
_IDLE: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "metadata": ({},),
    "parallel_tool_calls": (True,),
    "presence_penalty": (0,),
    "service_tier": ("auto",),
    "text": ({}, {"format": {"type": "text"}}),
    "tool_choice": ("auto",),
    "tools": ([],),
    "top_logprobs": (0,),
}


def parse(body: bytes, headers: Headers, target: Target = NO_TARGET) -> Request:
    """The request in a body of the Responses API. Raises InvalidRequest that names the field.

    `headers`: none matters; a client's are never passed on.
    """
    request = read(body, NAME, conversation_of, holds="input")
    for name, why in _REFUSED.items():
        if name in request.fields and request.fields[name] not in (_NULL, _FALSE):
            raise InvalidRequest(f"`{name}` {why}", param=name, code="unsupported_parameter")
    return with_tools(replace(request, include_usage=True, kinds=kinds_in(request.fields)))


def conversation_of(fields: Mapping[str, Raw]) -> Conversation:
    """The conversation in the root fields of a request. Raises InvalidRequest, Unsupported."""
    values = {name: decoded(raw, name) for name, raw in fields.items() if raw != _NULL}
    asked: dict[str, tuple[str, ...]] = {
        name: (name,) for name, value in values.items() if name not in _ASIDE and value not in _IDLE.get(name, ())
    }
    items = values.pop("input", None)
    toolbox = Toolbox(values.pop("tools", None), additional_tools(items))
    messages = [*_instructions(values.pop("instructions", None)), *_messages(items, toolbox)]
    tools: tuple[Tool, ...] = tuple(toolbox.tools)
    choice, name, allowed = _choice(values.pop("tool_choice", None), toolbox)
    if allowed is not None:
        tools = tuple(tool for tool in tools if tool.name in allowed)
    parallel = values.pop("parallel_tool_calls", None)
    text = object_of(values.pop("text", None) or {}, "text")
    wanted = _format(text.get("format"))
    if asked.pop("text", None):
        if wanted is not None:
            asked["response_format"] = ("text",)
        if text.get("verbosity") is not None:
            values["verbosity"], asked["verbosity"] = text["verbosity"], ("text",)
    reasoning = _reasoning(values)
    if reasoning is None:
        asked.pop("reasoning", None)
    most = count_of(values, "max_output_tokens", 1)
    if asked.pop("max_output_tokens", None):
        asked["max_tokens"] = ("max_output_tokens",)
    for own in _OWN & asked.keys():
        asked[f"{NAME} {own}"] = asked.pop(own)
    return Conversation(
        messages=tuple(messages),
        tools=tools,
        tool_choice=choice,  # type: ignore[arg-type]
        tool_name=name,
        parallel_tool_calls=parallel if isinstance(parallel, bool) else None,
        max_tokens=most,
        response_format=wanted,
        reasoning=reasoning,
        fields={name: value for name, value in values.items() if name in asked},
        asked=asked,
        lost=tuple(sorted(f"tools.{kind}" for kind in toolbox.left_out)),
    )


# ---- what steers the answer


def _choice(value: Any, toolbox: Toolbox) -> tuple[str | None, str, set[str] | None]:
    """As `tool_choice_of` of the chat wire has it; names are those of our functions."""
    if value is None or isinstance(value, str):
        if value not in (None, "auto", "none", "required"):
            raise wrong("tool_choice", "auto, none, required or an object")
        return value, "", None
    choice = object_of(value, "tool_choice")
    match choice.get("type"):
        case "function" | "custom":
            name = string_of(choice, "name", "tool_choice", required=True)
            return "tool", toolbox.name_of(name, string_of(choice, "namespace", "tool_choice")), None
        case "allowed_tools":
            allowed = [item for _, item in objects_of(choice.get("tools"), "tool_choice.tools")]
            names = {toolbox.name_of(str(item.get("name")), str(item.get("namespace") or "")) for item in allowed}
            return ("required" if choice.get("mode") == "required" else "auto"), "", names
    return "auto", "", None  # one of OpenAI's own tools, which is not offered


def _reasoning(values: Values) -> Reasoning | None:
    """`reasoning` in the chat wire's sense; `summary` and `context` ask for nothing that others could do otherwise."""
    wanted = values.pop("reasoning", None)
    if wanted is None:
        return None
    kept = {name: value for name, value in object_of(wanted, "reasoning").items() if name in ("effort", "max_tokens")}
    return reasoning_of({"reasoning": kept}) if any(value is not None for value in kept.values()) else None


def _format(value: Any) -> ResponseFormat | None:
    if value is None:
        return None
    place = "text.format"
    wanted = object_of(value, place)
    match wanted.get("type"):
        case "text" | None:
            return None
        case "json_object":
            return ResponseFormat(kind="json")
        case "json_schema":
            strict = wanted.get("strict")
            return ResponseFormat(
                kind="schema",
                name=string_of(wanted, "name", place),
                schema=object_of(wanted.get("schema"), f"{place}.schema"),
                strict=strict if isinstance(strict, bool) else None,
            )
    raise wrong(f"{place}.type", "text, json_object or json_schema")


# ---- items


def _instructions(value: Any) -> Iterator[Message]:
    if isinstance(value, str):
        if value:
            yield Message("system", (Text(value),))
    elif value is not None:
        yield from _messages(value, Toolbox(None), "instructions")


def _messages(value: Any, toolbox: Toolbox, place: str = "input") -> Iterator[Message]:
    """What the items say, in their order; what the model said in one go is one message."""
    if isinstance(value, str):
        yield Message("user", (Text(value),) if value else ())
        return
    if value is not None and not isinstance(value, list):
        raise wrong(place, "a string or an array of items")
    names: dict[str, str] = {}  # of the functions called so far, by the id of the call
    said: list[Part] = []  # by the model, since somebody else spoke
    for index, item in enumerate(value or ()):
        inner = f"{place}[{index}]"
        read = _item(object_of(item, inner), inner, toolbox, names)
        if isinstance(read, list):
            said += read
            continue
        if said:
            yield Message("assistant", tuple(signed_calls(in_order(said))))
            said = []
        yield read
    if said:
        yield Message("assistant", tuple(signed_calls(in_order(said))))


def _item(item: Values, place: str, toolbox: Toolbox, names: dict[str, str]) -> Message | list[Part]:
    """A message of somebody else's, or parts of what the model said."""
    kind = string_of(item, "type", place) or "message"
    if kind == "message":
        return _message(item, place)
    if kind.endswith("_call_output"):
        return Message("tool", (_result(item, place, names),))
    read = _SAID.get(kind)
    if read is not None:
        return read(item, place, toolbox, names)
    if kind == "item_reference":
        raise InvalidRequest(
            f"`{place}` refers to an item that {NOT_KEPT}",
            param=f"{place}.id",
            code="item_not_found",
        )
    return []  # what OpenAI's own servers did or noted


_ROLES = {"assistant": "assistant", "developer": "system", "system": "system", "user": "user"}


def _message(item: Values, place: str) -> Message | list[Part]:
    role = _ROLES.get(string_of(item, "role", place, required=True))
    if role is None:
        raise wrong(f"{place}.role", "one of " + ", ".join(_ROLES))
    parts = parts_of(item.get("content"), f"{place}.content")
    return parts if role == "assistant" else Message(role, tuple(parts))  # type: ignore[arg-type]


def _thought(item: Values, place: str, toolbox: Toolbox, names: dict[str, str]) -> list[Part]:
    text = texts_of(item.get("summary")) or texts_of(item.get("content"))
    content = string_of(item, "encrypted_content", place)
    if not content and not text:
        return []
    return [opened(content, text, string_of(item, "id", place))]


def _call(item: Values, place: str, toolbox: Toolbox, names: dict[str, str]) -> list[Part]:
    id, name = (string_of(item, field, place, required=True) for field in ("call_id", "name"))
    names[id] = name = toolbox.name_of(name, string_of(item, "namespace", place))
    if item["type"] == "custom_tool_call":
        arguments = as_arguments(string_of(item, "input", place))
    else:
        arguments = string_of(item, "arguments", place) or "{}"
    return [ToolCall(id=id, name=name, arguments=arguments, signature=google_signature(item))]


def _result(item: Values, place: str, names: dict[str, str]) -> ToolResult:
    id = string_of(item, "call_id", place, required=True)
    output = item.get("output")
    if isinstance(output, dict):
        output = [output]
    parts = tuple(part for part in parts_of(output, f"{place}.output") if isinstance(part, Text | Media))
    return ToolResult(call_id=id, name=names.get(id, ""), parts=parts, failed=item.get("status") == "incomplete")


_SAID: dict[str, Callable[[Values, str, Toolbox, dict[str, str]], list[Part]]] = {
    "custom_tool_call": _call,
    "function_call": _call,
    "reasoning": _thought,
}
