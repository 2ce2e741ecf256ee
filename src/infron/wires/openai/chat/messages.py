"""The chat wire's request as a neutral conversation, and back: messages, parts, tools, and how the answer shall be.

It never knows a provider, and never reads what is in a picture or a document.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from infron.conversation import (
    Cache,
    Conversation,
    Media,
    Message,
    Part,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from infron.errors import Unsupported
from infron.wires.openai.chat.parts import parts_of, written
from infron.wires.openai.chat.steering import (
    reasoning_of,
    response_format_of,
    steering_fields,
    stop_of,
    tool_choice_of,
    tools_of,
)
from infron.wires.openai.chat.thinking import google_signature, in_order, read_thinking, reasoning_fields
from infron.wires.request_fields import (
    cache_control,
    cache_of,
    count_of,
    decoded,
    list_of,
    object_of,
    objects_of,
    string_of,
    wrong,
)

_encode = msgspec.json.Encoder().encode
_NULL = Raw(b"null")

# ---- what is asked for

_APART = frozenset(("model", "stream", "stream_options"))
# Two names of the same wish: a wire that takes one takes the other.
_ALSO = {
    "function_call": "tool_choice",
    "functions": "tools",
    "include_reasoning": "reasoning",
    "max_completion_tokens": "max_tokens",
    "reasoning_effort": "reasoning",
}
# What asks for nothing but what happens anyway. Client libraries send some of these unasked.
_IDLE: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "metadata": ({},),
    "modalities": (["text"],),
    "n": (1,),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "stop": ([], ""),
    "store": (False,),
    "tool_choice": ("auto",),
    "tools": ([],),
}


def asked_in(values: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The wishes in these root fields, by their neutral names: those that ask for something.

    `messages` is no wish, nor what belongs to the exchange (`model`, `stream`, `stream_options`), nor a value that asks
    for nothing (`n` of 1, penalties of 0). Two names of one wish (`max_tokens`, `max_completion_tokens`) are one.
    """
    asked: dict[str, tuple[str, ...]] = {}
    for name, value in values.items():
        if name not in _APART and name != "messages" and value is not None and value not in _IDLE.get(name, ()):
            wish = neutral(name)
            asked[wish] = (*asked.get(wish, ()), name)
    return asked


def neutral(name: str) -> str:
    """The neutral name of a root field."""
    return _ALSO.get(name, name)


# ---- a request to a conversation


def conversation_of(fields: Mapping[str, Raw]) -> Conversation:
    """The conversation in the root fields of a chat request; its n-th message is `messages[n]`.

    Raises InvalidRequest that names the place (`messages[3].content[1]`) for what is malformed, Unsupported for what
    is of one host only and cannot be said in neutral values.
    """
    values: dict[str, Any] = {}
    for name, raw in fields.items():
        if name not in _APART and raw != _NULL:
            values[name] = decoded(raw, name)
    asked = asked_in(values)
    lost: set[str] = set()
    messages = _messages(list_of(values.pop("messages", []), "messages"), lost)
    tools = tools_of(values)
    choice, tool_name, allowed = tool_choice_of(values)
    if allowed is not None:
        tools = tuple(tool for tool in tools if isinstance(tool, Tool) and tool.name in allowed)
    old, new = (count_of(values, name, 1) for name in ("max_tokens", "max_completion_tokens"))
    parallel = values.pop("parallel_tool_calls", None)
    if not isinstance(parallel, bool | None):
        raise wrong("parallel_tool_calls", "true or false")
    return Conversation(
        messages=messages,
        tools=tools,
        tool_choice=choice,
        tool_name=tool_name,
        parallel_tool_calls=parallel,
        max_tokens=old if new is None else new,
        stop=stop_of(values.pop("stop", None)),
        response_format=response_format_of(values.pop("response_format", None)),
        reasoning=reasoning_of(values),
        fields=values,
        asked=asked,
        lost=tuple(sorted(lost)),
    )


# ---- messages

_ROLES: dict[str, Role] = {
    "assistant": "assistant",
    "developer": "system",
    "function": "tool",
    "system": "system",
    "tool": "tool",
    "user": "user",
}


def _messages(items: list[Any], lost: set[str]) -> tuple[Message, ...]:
    names: dict[str, str] = {}  # of the tools called so far, by the id of the call
    messages = []
    for index, item in enumerate(items):
        place = f"messages[{index}]"
        message = object_of(item, place)
        role = _ROLES.get(string_of(message, "role", place, required=True))
        if role is None:
            raise wrong(f"{place}.role", "one of " + ", ".join(sorted(_ROLES)))
        if role == "tool":
            messages.append(Message(role, (_tool_result(message, place, names),)))
            continue
        if role == "assistant":
            parts = _answer(message, index, place, names, lost)
        else:
            parts = parts_of(message.get("content"), f"{place}.content")
        cache = cache_of(message, place)
        if cache:
            parts = _marked(parts, cache)
        messages.append(Message(role, tuple(parts), string_of(message, "name", place)))
    return tuple(messages)


def _marked(parts: list[Part], cache: Cache) -> list[Part]:
    """A mark on a message is one on its last part that can bear it."""
    for index in range(len(parts) - 1, -1, -1):
        part = parts[index]
        if not isinstance(part, Thinking):
            return [*parts[:index], replace(part, cache=part.cache or cache), *parts[index + 1 :]]
    return parts


def _tool_result(message: dict[str, Any], place: str, names: Mapping[str, str]) -> ToolResult:
    if message["role"] == "function":  # it tells its call by the name alone
        name = string_of(message, "name", place, required=True)
        call_id = next((id for id in reversed(list(names)) if names[id] == name), f"call_{name}")
    else:
        call_id = string_of(message, "tool_call_id", place, required=True)
        name = names.get(call_id) or string_of(message, "name", place)
    parts = parts_of(message.get("content"), f"{place}.content")
    return ToolResult(
        call_id=call_id,
        name=name,
        parts=tuple(part for part in parts if isinstance(part, Text | Media)),
        failed=message.get("is_error") is True,
        cache=cache_of(message, place),
    )


def _answer(message: dict[str, Any], index: int, place: str, names: dict[str, str], lost: set[str]) -> list[Part]:
    """What the model said, in its order as far as that is known."""
    calls = list(_tool_calls(message, index, place))
    signatures = {call.id: call.signature for call in calls if call.id}
    thinking = list(read_thinking(message, place, signatures))
    content = parts_of(message.get("content"), f"{place}.content")
    if refusal := string_of(message, "refusal", place):
        content.append(Text(refusal))
    content += parts_of(message.get("images"), f"{place}.images")
    audio = message.get("audio")
    if audio is not None and (id := string_of(object_of(audio, f"{place}.audio"), "id", f"{place}.audio")):
        content.append(Media(kind="audio", file_id=id))
    names.update({call.id: call.name for call in calls})
    calls = [replace(call, signature=signatures.get(call.id, call.signature)) for call in calls]
    parts = in_order(thinking, content, calls)
    if parts is None:
        lost.add("messages.thinking")
        return [*content, *calls]
    return parts


def _tool_calls(message: dict[str, Any], index: int, place: str) -> Iterator[ToolCall]:
    for inner, item in objects_of(message.get("tool_calls"), f"{place}.tool_calls"):
        if item.get("type") not in ("function", None):
            raise Unsupported(f"`{inner}` is no call of a function.", param=inner)
        yield _call(
            string_of(item, "id", inner, required=True),
            item.get("function"),
            f"{inner}.function",
            google_signature(item),
            cache_of(item, inner),
        )
    if message.get("function_call") is not None:
        yield _call(f"call_{index}", message["function_call"], f"{place}.function_call")


def _call(id: str, value: Any, place: str, signature: str = "", cache: Cache = "") -> ToolCall:
    function = object_of(value, place)
    arguments = function.get("arguments")
    if isinstance(arguments, dict):
        arguments = _encode(arguments).decode()
    if not isinstance(arguments, str | None):
        raise wrong(f"{place}.arguments", "a string of JSON")
    name = string_of(function, "name", place, required=True)
    return ToolCall(id=id, name=name, arguments=arguments or "{}", signature=signature, cache=cache)


# ---- a conversation to a request


def fields_of(conversation: Conversation) -> dict[str, Raw]:
    """The root fields of a chat request that says the same: `conversation_of` gives an equal one back.

    What the chat API has no words for comes back otherwise: a `tool` message of several results as one message each;
    content after a tool call moves before it, unless a thought stands between them; empty texts and empty thinking
    vanish; text of no media type is text/plain. A thought with `data` must not have the id of a tool call beside it: it
    would be its signature.
    """
    names: dict[str, str] = {}
    values: dict[str, Any] = {
        "messages": [item for message in conversation.messages for item in _message_objects(message, names)]
    }
    values |= steering_fields(conversation)
    return {name: Raw(_encode(value)) for name, value in {**conversation.fields, **values}.items()}


def _message_objects(message: Message, names: dict[str, str]) -> Iterator[dict[str, Any]]:
    """`names`: of the tools called so far, by the id of the call; a result repeats only a name that is not there."""
    if message.role == "tool":
        for part in message.parts:
            if isinstance(part, ToolResult):
                yield _result_object(part, names)
        return
    if len(message.parts) == 1 and isinstance(part := message.parts[0], Text) and not (part.cache or message.name):
        yield {"role": message.role, "content": part.text}
        return
    named = {"name": message.name} if message.name else {}
    item: dict[str, Any] = {"role": message.role, "content": written(message.parts), **named}
    calls = [part for part in message.parts if isinstance(part, ToolCall)]
    names.update({call.id: call.name for call in calls})
    if calls:
        item["content"] = item["content"] or None
        item["tool_calls"] = [_call_object(call) for call in calls]
    yield item | reasoning_fields(message.parts)


def _call_object(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function, **cache_control(call.cache)}


def _result_object(result: ToolResult, names: dict[str, str]) -> dict[str, Any]:
    item: dict[str, Any] = {"role": "tool", "tool_call_id": result.call_id, "content": written(result.parts)}
    if result.name and names.get(result.call_id) != result.name:
        item["name"] = result.name
    if result.failed:
        item["is_error"] = True
    return item | cache_control(result.cache)
