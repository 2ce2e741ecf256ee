"""Requests on OpenAI's Responses API to a provider: a conversation as items, or a client's own body as it came.

It never knows who the caller is, and never chooses the provider.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw

from infron.catalog.definitions import Provider, RequestQuirks
from infron.conversation import (
    Conversation,
    Media,
    Message,
    NativeTool,
    Part,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from infron.errors import Unsupported
from infron.request import Outgoing, Request
from infron.wires.json_steps import written
from infron.wires.media import data_uri, relabelled
from infron.wires.naming import Ids
from infron.wires.openai.responses.history import fit_items
from infron.wires.openai.responses.own_tools import fit_tools
from infron.wires.openai.responses.parse import NAME
from infron.wires.openai.responses.reasoning import OPENAI
from infron.wires.openai.responses.tools import NAMES
from infron.wires.request_fields import unsupported
from infron.wires.schemas import NO_ARGUMENTS, closed, rooted
from infron.wires.session import Rules, fit

Item = dict[str, Any]

_encode = msgspec.json.Encoder().encode

RULES = Rules(
    # OpenAI, API reference of Responses; the length of a call's id from its errors.
    names=NAMES,
    ids=Ids(r"[\s\S]{1,64}"),
    results=frozenset(("image", "document")),
    thinking=lambda thought: thought.format == OPENAI and thought.data != "",
)
# Root fields that have the same name and sense in the chat API.
_SAME = (
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "temperature",
    "top_p",
    "truncation",
    "user",
)
TAKES = frozenset(
    (
        *_SAME,
        "max_tokens",
        "n",
        "parallel_tool_calls",
        "reasoning",
        "response_format",
        "tool_choice",
        "tools",
        "verbosity",
    )
)
_LEAST_TOKENS = 16  # that OpenAI lets an answer be limited to


def encode_request(request: Request, provider: Provider, provider_model: str, ask_usage: bool) -> Outgoing:
    """The body for one provider, always streamed: the client's own as it came, or written from what it says.

    `ask_usage` changes nothing: token counts always come. Raises Unsupported for content that cannot be carried.
    """
    quirks = provider.quirks.request
    if request.api == NAME:
        return _as_it_came(request, provider_model, quirks)
    asked, names = fit(request.conversation, RULES)
    body = body_of(asked, provider_model)
    sent = _quirked(body, quirks)
    taken = TAKES - {name for name in body.keys() - sent.keys() if name in TAKES}
    return Outgoing(body=written(sent, request.size), dropped=(*asked.left_out(taken), *_unheld(asked)), names=names)


def _as_it_came(request: Request, provider_model: str, quirks: RequestQuirks) -> Outgoing:
    """What refers to an earlier answer was replaced by that, so it goes no further."""
    given: dict[str, Any] = {name: raw for name, raw in request.fields.items() if name != "previous_response_id"}
    if (items := relabelled(bytes(memoryview(given["input"])))) is not None:
        given["input"] = Raw(items)
    given["input"], left_out = fit_items(given["input"], alone="conversation" not in given)
    lost = set(left_out)
    names = fit_tools(given, lost)
    fields = _quirked({**given, "model": provider_model, "stream": True}, quirks)
    dropped = sorted(name for name in given.keys() - fields.keys() if name not in quirks.rename)
    return Outgoing(body=written(fields, request.size), dropped=(*dropped, *sorted(lost)), names=names)


def _quirked(fields: dict[str, Any], quirks: RequestQuirks) -> dict[str, Any]:
    """The root fields as the definition says that the host takes them."""
    for old, new in quirks.rename.items():
        if old in fields:
            fields.setdefault(new, fields.pop(old))
    kept = {name: value for name, value in fields.items() if name not in quirks.drop}
    kept = {**quirks.defaults, **kept}
    return {name: value for name, value in kept.items() if name in quirks.only} if quirks.only else kept


# ---- a conversation


def body_of(conversation: Conversation, model: str) -> dict[str, Any]:
    """The whole body. Nothing is kept at the provider, so thinking comes sealed, to be given back."""
    fields = conversation.fields
    if fields.get("n") not in (None, 1):
        raise Unsupported("This provider gives one answer to a request; send `n` as 1.", param="n")
    body: dict[str, Any] = {
        "model": model,
        "input": [item for message in conversation.messages for item in items_of(message)],
        "stream": True,
        "store": False,
        **{name: fields[name] for name in _SAME if name in fields},
    }
    if conversation.max_tokens is not None:
        body["max_output_tokens"] = max(_LEAST_TOKENS, conversation.max_tokens)
    if conversation.tools:
        body["tools"] = [_tool(tool, f"tools[{place}]") for place, tool in enumerate(conversation.tools)]
    if conversation.tool_choice == "tool":
        body["tool_choice"] = {"type": "function", "name": conversation.tool_name}
    elif conversation.tool_choice is not None:
        body["tool_choice"] = conversation.tool_choice
    if conversation.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = conversation.parallel_tool_calls
    if reasoning := _reasoning(conversation):
        body["reasoning"] = reasoning
    if reasoning or any(isinstance(part, Thinking) for message in conversation.messages for part in message.parts):
        body["include"] = ["reasoning.encrypted_content"]
    if text := _text(conversation):
        body["text"] = text
    return body


# Tools that OpenAI's own servers run. Those of Anthropic carry a date without signs in between.
_HOSTED = re.compile(r"(code_interpreter|file_search|image_generation|mcp|web_search)(?!_\d{8}$)\w*")


def _tool(tool: Tool | NativeTool, place: str) -> Item:
    if isinstance(tool, Tool):
        described = {"description": tool.description} if tool.description else {}
        parameters = _CLOSED if tool.schema is None and tool.strict else rooted(tool.schema)
        schema = {"parameters": parameters, "strict": _is_held(tool)}  # which it is where nobody says
        return {"type": "function", "name": tool.name, **described, **schema}
    kind = tool.raw.get("type")
    custom = tool.raw.get("custom")
    if kind == "custom" and isinstance(custom, dict):
        return {"type": "custom", **custom}
    if isinstance(kind, str) and _HOSTED.fullmatch(kind):
        return tool.raw
    raise unsupported(place, "is a tool of another provider's own")


_CLOSED = {**NO_ARGUMENTS, "required": [], "additionalProperties": False}


def _is_held(tool: Tool) -> bool:
    """Whether calls can be held to the tool's schema."""
    return tool.strict is True and (tool.schema is None or closed(rooted(tool.schema)))


def _unheld(asked: Conversation) -> Iterator[str]:
    """What is asked for strictly, but with a schema that this API cannot hold an answer to."""
    if any(isinstance(tool, Tool) and tool.strict and not _is_held(tool) for tool in asked.tools):
        yield "tools.strict"
    wanted = asked.response_format
    if wanted is not None and wanted.strict and not closed(wanted.schema):
        yield "response_format.strict"


def _reasoning(conversation: Conversation) -> Item:
    wanted = conversation.reasoning
    if wanted is None:
        return {}
    effort = {"effort": wanted.effort} if wanted.effort else {}
    return effort if wanted.exclude or wanted.effort == "none" else {**effort, "summary": "auto"}


def _text(conversation: Conversation) -> Item:
    text: Item = {}
    wanted = conversation.response_format
    if wanted is not None and wanted.kind == "json":
        text["format"] = {"type": "json_object"}
    elif wanted is not None:
        format = {"type": "json_schema", "name": wanted.name or "answer", "schema": wanted.schema or {}}
        strict = {} if wanted.strict is None else {"strict": wanted.strict and closed(wanted.schema)}
        text["format"] = {**format, **strict}
    if verbosity := conversation.fields.get("verbosity"):
        text["verbosity"] = verbosity
    return text


# ---- items


def items_of(message: Message) -> Iterator[Item]:
    """The items that say this message, in its order: texts and media that stand together are one item."""
    run: list[Item] = []
    for part in message.parts:
        if isinstance(part, Text | Media):
            if content := _content(part, message.role):
                run.append(content)
            continue
        if run:
            yield {"type": "message", "role": message.role, "content": run}
            run = []
        yield from _item(part)
    if run:
        yield {"type": "message", "role": message.role, "content": run}


def _item(part: Part) -> Iterator[Item]:
    match part:
        case Thinking(text=text, data=data, id=id):
            own = {"id": id} if id.startswith("rs_") else {}
            summary = [{"type": "summary_text", "text": text}] if text else []
            yield {"type": "reasoning", **own, "summary": summary, "encrypted_content": data}
        case ToolCall(id=id, name=name, arguments=arguments):
            yield {"type": "function_call", "call_id": id, "name": name, "arguments": arguments}
        case ToolResult(call_id=id, parts=parts):
            yield {"type": "function_call_output", "call_id": id, "output": _output(parts)}


def _output(parts: tuple[Text | Media, ...]) -> str | list[Item]:
    if all(isinstance(part, Text) for part in parts):
        return "\n".join(part.text for part in parts if isinstance(part, Text))
    return [content for part in parts if (content := _content(part, "user"))]


def _content(part: Text | Media, role: str) -> Item:
    """A part of content; {} where there is nothing in it. Raises Unsupported for what this API cannot carry."""
    if isinstance(part, Text):
        return {"type": "output_text" if role == "assistant" else "input_text", "text": part.text} if part.text else {}
    if role == "assistant":
        return {}  # what it has shown once, it cannot be shown as its own again
    if part.text:
        return {"type": "input_text", "text": part.text}
    where = data_uri(part.mime, part.data) if part.data else part.url
    if part.kind == "image":
        source = {"file_id": part.file_id} if part.file_id else {"image_url": where}
        return {"type": "input_image", **source, "detail": part.detail or "auto"}
    if part.kind == "document":
        if part.file_id:
            return {"type": "input_file", "file_id": part.file_id}
        source = {"filename": part.name or "document.pdf", "file_data": where} if part.data else {"file_url": where}
        return {"type": "input_file", **source}
    raise Unsupported(f"This provider takes no {part.kind}.", param="messages")
