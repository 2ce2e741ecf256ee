"""The chat wire's request as a neutral conversation, and back: messages, parts, tools, and how the answer shall be.

It never knows a provider, and never reads what is in a picture or a document.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw

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
from infron.errors import InvalidRequest, Unsupported
from infron.request import Request
from infron.wires import lenient_json
from infron.wires.openai.chat.parts import parts_of, written
from infron.wires.openai.chat.steering import (
    reasoning_of,
    response_format_of,
    steering_members,
    stop_of,
    tool_choice_of,
    tools_of,
)
from infron.wires.request_fields import (
    cache_control,
    cache_of,
    count_of,
    list_of,
    object_of,
    objects_of,
    string_of,
    wrong,
)

GEMINI = "google-gemini-v1"  # the format of the signature of a tool call

_encode = msgspec.json.Encoder().encode
_NULL = Raw(b"null")

# ---- what a wire leaves out

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


def left_out(request: Request, takes: frozenset[str]) -> tuple[str, ...]:
    """The root members of the request, sorted, that a wire which knows `takes` cannot carry.

    Null members, `messages`, what belongs to the exchange (`model`, `stream`, `stream_options`) and values that ask
    for nothing (`n` of 1, penalties of 0) never count. Two names of one wish (`max_tokens`, `max_completion_tokens`)
    are one.
    """
    taken = takes | {old for old, new in _ALSO.items() if new in takes} | {_ALSO.get(name, name) for name in takes}
    names = request.fields.keys() - taken - _APART - {"messages"}
    return tuple(sorted(name for name in names if _asks(name, request.fields[name])))


def _asks(name: str, raw: Raw) -> bool:
    if raw == _NULL:
        return False
    return name not in _IDLE or msgspec.json.decode(raw) not in _IDLE[name]


# ---- a request to a conversation


def conversation_of(fields: Mapping[str, Raw]) -> Conversation:
    """The conversation in the root members of a chat request; its n-th message is `messages[n]`.

    Raises InvalidRequest that names the place (`messages[3].content[1]`) for what is malformed, Unsupported for what
    is of one host only and cannot be said in neutral values.
    """
    values: dict[str, Any] = {}
    for name, raw in fields.items():
        if name not in _APART and raw != _NULL:
            values[name] = _decoded(raw, name)
    messages = _messages(list_of(values.pop("messages", []), "messages"))
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
    )


def _decoded(raw: Raw, name: str) -> Any:
    try:
        return msgspec.json.decode(raw)
    except lenient_json.BROKEN:
        raise InvalidRequest(f"`{name}` is not valid JSON.", param=name) from None


# ---- messages

_ROLES: dict[str, Role] = {
    "assistant": "assistant",
    "developer": "system",
    "function": "tool",
    "system": "system",
    "tool": "tool",
    "user": "user",
}


def _messages(items: list[Any]) -> tuple[Message, ...]:
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
            parts = _answer(message, index, place, names)
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
            return [*parts[:index], msgspec.structs.replace(part, cache=part.cache or cache), *parts[index + 1 :]]
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


def _answer(message: dict[str, Any], index: int, place: str, names: dict[str, str]) -> list[Part]:
    """What the model said: thoughts, content, calls, in this order, which is all the order that the wire has."""
    calls = list(_tool_calls(message, index, place))
    signatures = {call.id: call.signature for call in calls if call.id}
    parts: list[Part] = list(_thoughts(message, place, signatures))
    parts += parts_of(message.get("content"), f"{place}.content")
    if refusal := string_of(message, "refusal", place):
        parts.append(Text(refusal))
    parts += parts_of(message.get("images"), f"{place}.images")
    audio = message.get("audio")
    if audio is not None and (id := string_of(object_of(audio, f"{place}.audio"), "id", f"{place}.audio")):
        parts.append(Media(kind="audio", file_id=id))
    for call in calls:
        names[call.id] = call.name
        parts.append(msgspec.structs.replace(call, signature=signatures.get(call.id, call.signature)))
    return parts


def _tool_calls(message: dict[str, Any], index: int, place: str) -> Iterator[ToolCall]:
    for inner, item in objects_of(message.get("tool_calls"), f"{place}.tool_calls"):
        if item.get("type") not in ("function", None):
            raise Unsupported(f"`{inner}` is no call of a function.", param=inner)
        signature = item.get("extra_content")
        for name in ("google", "thought_signature"):  # as Google's own chat endpoint writes it
            signature = signature.get(name) if isinstance(signature, dict) else None
        yield _call(
            string_of(item, "id", inner, required=True),
            item.get("function"),
            f"{inner}.function",
            signature if isinstance(signature, str) else "",
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


def _thoughts(message: dict[str, Any], place: str, signatures: dict[str, str]) -> Iterator[Thinking]:
    """The thoughts to be replayed. An encrypted one with the id of a tool call is that call's signature instead.

    A client that keeps the pieces of a stream as they came sends each of them: those that follow each other with the
    same `index` are one block, up to its signature.
    """
    blocks: list[list[Thinking]] = []
    last: tuple[Any, Any] = (None, None)
    for inner, item in objects_of(message.get("reasoning_details"), f"{place}.reasoning_details"):
        piece = Thinking(
            text=string_of(item, "text", inner) or string_of(item, "summary", inner),
            **{name: string_of(item, name, inner) for name in ("signature", "data", "format", "id")},
        )
        if piece.data and piece.id in signatures:
            signatures[piece.id] = piece.data
            continue
        if not (piece.text or piece.signature or piece.data):
            continue
        this = (item.get("index"), item.get("type"))
        goes_on = this == last and this[0] is not None and not piece.data and not blocks[-1][-1].signature
        if goes_on:
            blocks[-1].append(piece)
        else:
            blocks.append([piece])
        last = this
    if not blocks:
        plain = string_of(message, "reasoning_content", place) or string_of(message, "reasoning", place)
        if plain:
            yield Thinking(text=plain)
    for block in blocks:
        first, end = block[0], block[-1]
        if len(block) == 1:
            yield first
        else:
            text = "".join(piece.text for piece in block)
            yield msgspec.structs.replace(first, text=text, signature=end.signature)


# ---- a conversation to a request


def fields_of(conversation: Conversation) -> dict[str, Raw]:
    """The root members of a chat request that says the same: `conversation_of` gives an equal one back.

    What the chat wire has no words for comes back otherwise: a `tool` message of several results as one message each;
    a thought that follows content begins a further assistant message, and content or thoughts after a tool call move
    before it (`turns_of` joins the messages again); empty texts and empty thoughts vanish; text of no media type
    is text/plain. A thought with `data` must not have the id of a tool call beside it: it would be its signature.
    """
    names: dict[str, str] = {}
    values: dict[str, Any] = {
        "messages": [item for message in conversation.messages for item in _message_objects(message, names)]
    }
    values |= steering_members(conversation)
    return {name: Raw(_encode(value)) for name, value in {**conversation.fields, **values}.items()}


def _message_objects(message: Message, names: dict[str, str]) -> Iterator[dict[str, Any]]:
    """`names`: of the tools called so far, by the id of the call; a result repeats only a name that is not there."""
    if message.role == "tool":
        for part in message.parts:
            if isinstance(part, ToolResult):
                yield _result_object(part, names)
        return
    named = {"name": message.name} if message.name else {}
    for parts in _sections(message.parts):
        item: dict[str, Any] = {"role": message.role, "content": written(parts), **named}
        calls = [part for part in parts if isinstance(part, ToolCall)]
        names.update({call.id: call.name for call in calls})
        if calls:
            item["content"] = item["content"] or None
            item["tool_calls"] = [_call_object(call) for call in calls]
        yield item | _reasoning_of([part for part in parts if isinstance(part, Thinking)], calls)


def _sections(parts: tuple[Part, ...]) -> list[list[Part]]:
    """Runs of thoughts and what follows them; what follows a tool call belongs to its run, where results are due."""
    sections: list[list[Part]] = [[]]
    content = called = False
    for part in parts:
        if isinstance(part, Thinking):
            if content and not called:
                sections.append([])
                content = False
        else:
            content = True
            called = called or isinstance(part, ToolCall)
        sections[-1].append(part)
    return sections


def _reasoning_of(thoughts: list[Thinking], calls: list[ToolCall]) -> dict[str, Any]:
    """A single bare thought in the member that most hosts know, others in detail."""
    thoughts = [thought for thought in thoughts if thought.text or thought.signature or thought.data]
    members: dict[str, Any] = {}
    if len(thoughts) == 1 and thoughts[0] == Thinking(text=thoughts[0].text):
        members["reasoning_content"] = thoughts.pop().text
    details = [_detail(thought) for thought in thoughts]
    details += [
        {"type": "reasoning.encrypted", "data": call.signature, "format": GEMINI, "id": call.id}
        for call in calls
        if call.signature
    ]
    if details:
        members["reasoning_details"] = [{**detail, "index": index} for index, detail in enumerate(details)]
    return members


def _detail(thought: Thinking) -> dict[str, Any]:
    kept = {name: getattr(thought, name) for name in ("signature", "data", "format", "id") if getattr(thought, name)}
    if thought.data and not thought.text:
        return {"type": "reasoning.encrypted", **kept}
    return {"type": "reasoning.text", "text": thought.text, **kept}


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
