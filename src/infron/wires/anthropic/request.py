"""Requests on Anthropic's Messages wire: a conversation to the body for one model of Claude.

It never knows where the model is served, and never sends what that model refuses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from infron.catalog.definitions import Provider
from infron.conversation import Conversation, NativeTool, Tool
from infron.errors import Unsupported
from infron.request import Outgoing, Request
from infron.wires.anthropic import own_request
from infron.wires.anthropic.client_request import NAME
from infron.wires.anthropic.messages import Block, calls_without_thinking, messages_of, replayable
from infron.wires.anthropic.models import Generation, effort_of, generation_of, most_tokens
from infron.wires.anthropic.own_request import MOST_MARKS, beta_names
from infron.wires.anthropic.thinking import as_reasoning, thinking_of
from infron.wires.json_answer import ANSWER_BY_TOOL, ANSWER_TOOL, JSON_ONLY
from infron.wires.json_steps import written
from infron.wires.naming import Ids, Names
from infron.wires.request_fields import cache_control, object_of, unsupported, wrong
from infron.wires.schemas import StrictBudget, for_claude, rooted
from infron.wires.session import Rules, fit

# Root fields of a client of another API that go on as they are.
OWN = ("cache_control", "container", "context_management", "mcp_servers")
TAKES = frozenset(
    (
        *OWN,
        "betas",
        "max_tokens",
        "metadata",
        "n",
        "output_config",
        "parallel_tool_calls",
        "reasoning",
        "response_format",
        "safety_identifier",
        "service_tier",
        "stop",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
        "user",
    )
)
_BETA_OF = {"context_management": "context-management-2025-06-27", "mcp_servers": "mcp-client-2025-11-20"}
VERSION_HEADER = "anthropic-version"
_FILES_BETA = "files-api-2025-04-14"
_TIERS = {"auto": "auto", "default": "standard_only", "priority": "auto", "standard_only": "standard_only"}

_encode = msgspec.json.Encoder().encode


RULES = Rules(
    # Anthropic, API reference of Messages, and what its errors say of ids.
    names=Names("A-Za-z0-9_-", 128),
    ids=Ids(r"[A-Za-z0-9_-]+"),
    results=frozenset(("image", "document")),
    thinking=replayable,
    blank=False,
    thinking_last=False,
    opens="user",
)


def rules_of(asked: Conversation, takes: Generation) -> Rules:
    """A model that thinks never goes on from the beginning of an answer."""
    return RULES if takes.prefill and not _thinks(asked) else replace(RULES, prefill=False)


class Encoded(NamedTuple):
    """`betas`: names for the header `anthropic-beta`. `refused`: root fields that this model does not take."""

    body: Block
    betas: list[str]
    refused: frozenset[str]


def encode_request(request: Request, provider: Provider, provider_model: str, ask_usage: bool) -> Outgoing:
    """The body for one model, always streamed. Raises Unsupported for content, InvalidRequest for what is malformed.

    That of a client of this API goes on as it came. `ask_usage` changes nothing: token counts always come.
    """
    if request.api == NAME:
        own = own_request.fitted(request, provider_model, RULES)
        version = "" if own.version == provider.headers.get(VERSION_HEADER) else own.version
        return _outgoing(own.body, own.betas, own.lost, own.names, version)
    asked, names = fit(request.conversation, rules_of(request.conversation, generation_of(provider_model)))
    body, betas, refused = encode(asked, provider_model)
    inner = sorted(name for name in refused if "." in name)
    return _outgoing(written(body, request.size), betas, (*asked.left_out(TAKES - refused), *inner), names)


def _outgoing(
    body: bytes, betas: list[str], dropped: tuple[str, ...], names: dict[str, str], version: str = ""
) -> Outgoing:
    """`version`: another one than the definition's."""
    told = {"anthropic-beta": ",".join(betas), VERSION_HEADER: version}
    headers = tuple((name, value) for name, value in told.items() if value)
    return Outgoing(body=body, headers=headers, dropped=dropped, names=names)


def encode(conversation: Conversation, model: str) -> Encoded:
    fields, takes = conversation.fields, generation_of(model)
    if fields.get("n") not in (None, 1):
        raise Unsupported("Claude gives one answer to a request; send `n` as 1.", param="n")
    body: Block = {"model": model, "max_tokens": most_tokens(conversation.max_tokens or None, takes)}
    refused: set[str] = {"max_tokens"} if body["max_tokens"] < (conversation.max_tokens or 0) else set()
    system, messages = messages_of(conversation.messages, takes)
    wanted = conversation.response_format
    forced = conversation.tools != () and conversation.tool_choice in ("required", "tool")
    by_tool = _answers_by_tool(conversation, takes)
    if wanted is not None and not by_tool and (wanted.kind == "json" or not takes.schema):
        system.append({"type": "text", "text": JSON_ONLY})
    if (forced or by_tool) and takes.forced == "unthinking":
        refused |= {"reasoning", "thinking"} if _thinks(conversation) else set()
    elif takes.thinking == "budget" and _thinks(conversation) and calls_without_thinking(conversation.messages):
        refused |= {"reasoning", "thinking"}  # with a budget it does not go on after calls without thinking
    else:
        _think(body, conversation, takes, refused)
    _sample(body, conversation, takes, refused)
    output = body.setdefault("output_config", {})
    for name, value in object_of(fields.get("output_config", {}), "output_config").items():
        output.setdefault(name, value)
    if wanted is not None and wanted.kind == "schema" and takes.schema:
        output["format"] = {"type": "json_schema", "schema": for_claude(wanted.schema or {})}
    if not output:
        del body["output_config"]
    budget = StrictBudget()
    if "format" in output:
        budget.take(wanted.schema or {} if wanted else {}, tools=0)
    tools = [_tool(tool, f"tools[{index}]", takes, budget, refused) for index, tool in enumerate(conversation.tools)]
    if by_tool:
        schema = wanted.schema if wanted else None
        answer = Tool(name=ANSWER_TOOL, description=ANSWER_BY_TOOL, schema=schema)
        tools.append(_tool(answer, "", takes, budget, refused))
    if tools:
        body["tools"] = tools
        if choice := _choice(conversation, takes, by_tool, refused):
            body["tool_choice"] = choice
    if system:
        body["system"] = system
    body |= {"messages": messages, "stream": True}
    if stop := [text for text in conversation.stop if text.strip()]:
        body["stop_sequences"] = stop
    _identify(body, fields, refused)
    for name in OWN:
        if name in fields:
            body[name] = fields[name]
    _limit_marks(body)
    return Encoded(body, _betas(body, fields), frozenset(refused))


# ---- thinking and sampling


def _thinks(conversation: Conversation) -> bool:
    native = conversation.fields.get("thinking")
    if isinstance(native, dict):
        return native.get("type") != "disabled"
    return conversation.reasoning is not None and conversation.reasoning.effort != "none"


def _think(body: Block, conversation: Conversation, takes: Generation, refused: set[str]) -> None:
    """`thinking` and `output_config.effort` for what was asked, as this generation says it."""
    native = conversation.fields.get("thinking")
    wanted = conversation.reasoning
    if isinstance(native, dict):
        translated = as_reasoning(native, takes)
        if translated is None:
            body["thinking"] = native
        wanted = translated or (None if wanted is None or wanted.effort == "none" else wanted)
    if wanted is None:
        return
    effort = wanted.effort
    if effort == "none":
        if takes.off == "low":  # it always thinks, so what was asked is not quite done
            body["output_config"] = {"effort": "low"}
            refused |= {"reasoning", "thinking"}
        elif takes.off:
            body["thinking"] = {"type": takes.off}
        return
    if takes.thinking == "none":
        refused |= {"reasoning", "thinking"}
        return
    if "thinking" not in body:
        body["thinking"], body["max_tokens"] = thinking_of(wanted, body["max_tokens"], takes)
    if effort is not None and takes.efforts and body["thinking"].get("type") != "enabled":
        body["output_config"] = {"effort": effort_of(effort, takes)}


def _sample(body: Block, conversation: Conversation, takes: Generation, refused: set[str]) -> None:
    given = {name: _number(conversation.fields, name) for name in ("temperature", "top_p", "top_k")}
    given = {name: value for name, value in given.items() if value is not None}
    thinking = body.get("thinking", {}).get("type") not in (None, "disabled")
    if takes.sampling == "none" or thinking:
        refused.update(given)
        return
    if takes.sampling == "one" and "temperature" in given and given.pop("top_p", None) is not None:
        refused.add("top_p")
    if "temperature" in given:
        given["temperature"] = min(given["temperature"], 1)
    body |= given


def _number(fields: dict[str, Any], name: str) -> Any:
    value = fields.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise wrong(name, "a number")
    return value


# ---- tools and the form of the answer

# Tools that Anthropic runs or defines carry the date of their version: web_search_20250305.
_OWN_TOOL = re.compile(r"(\w+_\d{8}|mcp_toolset|custom)")


def _answers_by_tool(conversation: Conversation, takes: Generation) -> bool:
    """Whether the answer is made JSON by a tool that is forced: where the model has no other way to it."""
    wanted = conversation.response_format
    if wanted is None or takes.forced == "no":
        return False
    if wanted.kind == "schema":
        return not takes.schema
    free = not conversation.tools or conversation.tool_choice == "none"
    return free and (takes.forced == "yes" or not _thinks(conversation))


def _tool(tool: Tool | NativeTool, place: str, takes: Generation, budget: StrictBudget, refused: set[str]) -> Block:
    if isinstance(tool, NativeTool):
        type = tool.raw.get("type")
        if "input_schema" in tool.raw or (isinstance(type, str) and _OWN_TOOL.fullmatch(type)):
            return dict(tool.raw)
        raise unsupported(place, "is a tool of another provider's own")
    schema = rooted(tool.schema)
    strict = tool.strict is True and takes.schema
    if strict and not budget.take(schema):
        strict = False
        refused.add("tools.strict")
    block: Block = {"name": tool.name}
    if tool.description:
        block["description"] = tool.description
    block["input_schema"] = for_claude(schema) if strict else schema
    if strict:
        block["strict"] = True
    return {**block, **cache_control(tool.cache)}


def _choice(conversation: Conversation, takes: Generation, by_tool: bool, refused: set[str]) -> Block:
    choice = conversation.tool_choice
    free = not conversation.tools or choice == "none"
    block: Block = {}
    if by_tool and choice != "tool":
        block = {"type": "tool", "name": ANSWER_TOOL} if free else {"type": "any"}
    elif choice in ("required", "tool") and takes.forced == "no":
        refused.add("tool_choice")
        block = {"type": "auto"}
    elif choice == "tool":
        block = {"type": "tool", "name": conversation.tool_name}
    elif choice is not None:
        block = {"type": "any" if choice == "required" else choice}
    if conversation.parallel_tool_calls is False and block.get("type") != "none":
        block = {**(block or {"type": "auto"}), "disable_parallel_tool_use": True}
    return block


# ---- the rest of the root


def _identify(body: Block, fields: dict[str, Any], refused: set[str]) -> None:
    """Who asks, and on which tier. Of OpenAI's `metadata` only a `user_id` means something here."""
    metadata = object_of(fields.get("metadata", {}), "metadata")
    users = (metadata.get("user_id"), fields.get("user"), fields.get("safety_identifier"))
    user = next((value for value in users if isinstance(value, str) and value), None)
    if user is not None:
        body["metadata"] = {"user_id": user}
    if metadata.keys() - {"user_id"}:
        refused.add("metadata")
    tier = fields.get("service_tier")
    if isinstance(tier, str) and tier in _TIERS:
        body["service_tier"] = _TIERS[tier]
    else:
        refused.add("service_tier")


def _betas(body: Block, fields: dict[str, Any]) -> list[str]:
    given = beta_names(fields.get("betas") or [])
    needed = [beta for name, beta in _BETA_OF.items() if name in body]
    if any(_has_file(message["content"]) for message in body["messages"]):
        needed.append(_FILES_BETA)
    return list(dict.fromkeys([*given, *needed]))


def _has_file(blocks: Iterable[Block]) -> bool:
    return any(
        block.get("source", {}).get("type") == "file" or _has_file(block.get("content") or ())
        for block in blocks
        if block["type"] in ("image", "document", "tool_result")
    )


def _limit_marks(body: Block) -> None:
    """Leave the last four marks, in the order of the prompt: they keep the most. One is the root's own, if given."""
    said = [inner for message in body["messages"] for block in message["content"] for inner in _inside(block)]
    bearing = [block for block in (*body.get("tools", ()), *body.get("system", ()), *said) if "cache_control" in block]
    most = MOST_MARKS - ("cache_control" in body)
    for block in bearing[: max(len(bearing) - most, 0)]:
        del block["cache_control"]


def _inside(block: Block) -> list[Block]:
    return [*(block.get("content") or ()), block] if block["type"] == "tool_result" else [block]
