"""Requests to Cohere's chat API, version 2: a conversation in its words.

It never knows the answer, and never opens a document but to read plain text.
Facts: Cohere's OpenAPI description and Python SDK (August 2026).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from infron.catalog.definitions import Provider
from infron.conversation import (
    Conversation,
    Media,
    Message,
    Part,
    Reasoning,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from infron.request import Outgoing, Request
from infron.wires import lenient_json
from infron.wires.json_steps import written
from infron.wires.media import data_uri, text_in
from infron.wires.naming import ANY_ID, Names
from infron.wires.request_fields import unsupported
from infron.wires.schemas import rooted
from infron.wires.session import Rules, fit

_encode = msgspec.json.Encoder().encode

# Fields that Cohere takes under the same name and that the chat wire does not know.
_NATIVE = ("citation_options", "documents", "k", "p", "priority", "safety_mode", "strict_tools", "thinking")
# name on the chat wire -> (name at Cohere, least, most): what is outside is moved to the nearest that is taken.
_NUMBERS: dict[str, tuple[str, float, float]] = {
    "frequency_penalty": ("frequency_penalty", 0, 1),
    "presence_penalty": ("presence_penalty", 0, 1),
    "seed": ("seed", 0, 2**63),
    "temperature": ("temperature", 0, 1),
    "top_k": ("k", 0, 500),
    "top_p": ("p", 0.01, 0.99),
}
TAKES = frozenset(
    ("max_tokens", "reasoning", "response_format", "stop", "tool_choice", "tools", *_NATIVE, *_NUMBERS)
)  # fmt: skip


RULES = Rules(
    # Cohere, "Tool use": names are letters, digits and underscores, and do not begin with a digit.
    names=Names("A-Za-z0-9_", 256, first="A-Za-z_"),
    ids=ANY_ID,
    thinking=lambda thought: not thought.format and bool(thought.text),
)


def encode_request(request: Request, provider: Provider, provider_model: str, ask_usage: bool) -> Outgoing:
    """The request as Cohere takes it: always streamed; usage comes unasked.

    Raises InvalidRequest and Unsupported, which name the place.
    """
    asked, names = fit(request.conversation, RULES)
    body = encode(asked, provider_model)
    apart = {"safety_mode", "response_format"} if "tools" in body or "documents" in body else set()
    return Outgoing(
        body=written(body, request.size), dropped=asked.left_out(TAKES - (apart - body.keys())), names=names
    )


def encode(conversation: Conversation, provider_model: str) -> dict[str, Any]:
    """A conversation as Cohere's request. Raises Unsupported for what it cannot carry, and names the place."""
    fields = conversation.fields
    body: dict[str, Any] = {"model": provider_model, "stream": True}
    documents: list[Any] = []
    body["messages"] = [
        out
        for index, message in enumerate(conversation.messages)
        for out in _message(message, f"messages[{index}]", documents)
    ]
    body.update({name: fields[name] for name in _NATIVE if fields.get(name) is not None})
    if documents:
        given = body.get("documents")
        body["documents"] = [*(given if isinstance(given, list) else []), *documents]
    for name, (own, least, most) in _NUMBERS.items():
        value = fields.get(name)
        if value is not None:
            body.setdefault(own, _within(value, least, most))
    if conversation.max_tokens is not None:
        body["max_tokens"] = conversation.max_tokens
    if conversation.stop:
        body["stop_sequences"] = conversation.stop
    if conversation.reasoning is not None and "thinking" not in body:
        body.update(_thinking(conversation.reasoning))
    _add_tools(conversation, body)
    # Cohere refuses a response format, and a safety mode, beside tools or documents.
    if "tools" in body or "documents" in body:
        body.pop("safety_mode", None)
    elif conversation.response_format is not None:
        schema = conversation.response_format.schema
        body["response_format"] = {"type": "json_object", **({} if schema is None else {"json_schema": schema})}
    return body


def _within(value: Any, least: float, most: float) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value  # Cohere says best what is wrong with it
    return min(max(value, least), most)


def _thinking(reasoning: Reasoning) -> dict[str, Any]:
    """Models that reason do so unasked, so a wish for silence alone says nothing."""
    if reasoning.effort == "none" or reasoning.max_tokens == 0:
        return {"thinking": {"type": "disabled"}}
    if reasoning.max_tokens is not None:
        return {"thinking": {"type": "enabled", "token_budget": reasoning.max_tokens}}
    if reasoning.effort is None and reasoning.exclude:
        return {}
    return {"thinking": {"type": "enabled"}}


def _add_tools(conversation: Conversation, body: dict[str, Any]) -> None:
    tools: list[Tool] = []
    for index, tool in enumerate(conversation.tools):
        if not isinstance(tool, Tool):
            raise unsupported(f"tools[{index}]", "is no function; Cohere has no tools of its own")
        tools.append(tool)
    if not tools:
        return
    choice = conversation.tool_choice
    if choice == "tool":  # there is no way to name it, but to offer nothing else
        tools = [tool for tool in tools if tool.name == conversation.tool_name] or tools
    body["tools"] = [_tool(tool) for tool in tools]
    if any(tool.strict for tool in tools):
        body.setdefault("strict_tools", True)
    if choice in ("required", "tool"):
        body["tool_choice"] = "REQUIRED"
    elif choice == "none":
        body["tool_choice"] = "NONE"


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = rooted(tool.schema)
    return {"type": "function", "function": function}


def _message(message: Message, place: str, documents: list[Any]) -> Iterable[dict[str, Any]]:
    """What a message becomes. Documents in it go to the request's own list, the only place where they are cited."""
    if message.role == "tool":
        for part in message.parts:
            if isinstance(part, ToolResult):
                yield {"role": "tool", "tool_call_id": part.call_id, "content": _result(part, place)}
    elif message.role == "assistant":
        yield _answer(message.parts, place)
    elif message.role == "user":
        blocks = []
        for part in message.parts:
            if isinstance(part, Media) and part.kind == "document":
                documents.append({"data": _document(part, place)})
            else:
                blocks.append(_block(part, place))
        yield {"role": "user", "content": _plain(blocks)}
    else:
        yield {"role": "system", "content": _plain([_text(part, place) for part in message.parts])}


def _plain(blocks: list[dict[str, Any]]) -> Any:
    if not blocks:
        return ""
    return blocks[0]["text"] if len(blocks) == 1 and blocks[0]["type"] == "text" else blocks


def _text(part: Part, place: str) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    raise unsupported(place, "holds more than text; Cohere takes that from the user only")


def _block(part: Part, place: str) -> dict[str, Any]:
    if not isinstance(part, Media):
        return _text(part, place)
    if part.kind != "image" or not (part.url or part.data):
        raise unsupported(place, f"holds {part.kind} content that Cohere does not take")
    image = {"url": part.url or data_uri(part.mime or "image/png", part.data)}
    if part.detail:
        image["detail"] = part.detail
    return {"type": "image_url", "image_url": image}


def _document(part: Media, place: str) -> dict[str, str]:
    text = part.text
    if not text and part.data and (part.mime.startswith("text/") or part.mime == "application/json"):
        text = text_in(part.data) or ""
    if not text:
        raise unsupported(place, "holds a document that is not plain text, which is all that Cohere takes")
    return {"text": text, **({"title": part.name} if part.name else {})}


def _answer(parts: tuple[Part, ...], place: str) -> dict[str, Any]:
    """An earlier answer. Beside tool calls Cohere keeps text as the plan for them.

    Thinking of other providers mean nothing here, and stay out.
    """
    calls = [part for part in parts if isinstance(part, ToolCall)]
    texts = [_text(part, place) for part in parts if not isinstance(part, ToolCall | Thinking)]
    thinking = [part.text for part in parts if isinstance(part, Thinking) and part.text and not part.format]
    out: dict[str, Any] = {"role": "assistant"}
    if calls:
        plan = "".join(block["text"] for block in texts)
        if not plan:  # the plan was told as thinking
            plan, thinking = "".join(thinking), []
        if plan:
            out["tool_plan"] = plan
        out["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}
            for call in calls
        ]
        texts = []
    blocks = [*({"type": "thinking", "thinking": thought} for thought in thinking), *texts]
    if blocks or not calls:
        out["content"] = _plain(blocks)
    return out


def _result(result: ToolResult, place: str) -> Any:
    """A result that is a JSON object is a document, so that it can be cited; anything else is text."""
    blocks: list[dict[str, Any]] = []
    for part in result.parts:
        block = _text(part, place)
        data = lenient_json.object_in(block["text"])
        blocks.append(block if data is None else {"type": "document", "document": {"data": data}})
    return _plain(blocks)
