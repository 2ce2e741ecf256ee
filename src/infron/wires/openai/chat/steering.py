"""Tools and how an answer shall be, as the chat wire says it and as neutral values: both directions.

It never knows the messages, nor which provider can do what is asked.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from infron.conversation import Cache, Conversation, Effort, NativeTool, Reasoning, ResponseFormat, Tool
from infron.errors import InvalidRequest, Unsupported
from infron.wires.request_fields import cache_control, cache_of, count_of, object_of, objects_of, string_of, wrong


def tools_of(values: dict[str, Any]) -> tuple[Tool | NativeTool, ...]:
    tools: list[Tool | NativeTool] = []
    for place, item in objects_of(values.pop("tools", None), "tools"):
        function = item.get("function")
        if item.get("type", "function") == "function" and (function is not None or "name" in item):
            tools.append(_tool(item if function is None else function, place, cache_of(item, place)))
        elif item.get("type") == "function":
            raise wrong(f"{place}.function", "an object")
        else:
            tools.append(NativeTool(item))
    for place, item in objects_of(values.pop("functions", None), "functions"):
        tools.append(_tool(item, place, cache_of(item, place)))
    return tuple(tools)


def _tool(value: Any, place: str, cache: Cache) -> Tool:
    function = object_of(value, place)
    schema, strict = function.get("parameters"), function.get("strict")
    if not isinstance(strict, bool | None):
        raise wrong(f"{place}.strict", "true or false")
    return Tool(
        name=string_of(function, "name", place, required=True),
        description=string_of(function, "description", place),
        schema=None if schema is None else object_of(schema, f"{place}.parameters"),
        strict=strict,
        cache=cache or cache_of(function, place),
    )


Choice = Literal["auto", "none", "required", "tool"]
_CHOICES: dict[str, Choice] = {"any": "required", "auto": "auto", "none": "none", "required": "required"}


def tool_choice_of(values: dict[str, Any]) -> tuple[Choice | None, str, set[str] | None]:
    """The choice, the one tool that it names, and the names of the only tools that it allows."""
    value = values.pop("tool_choice", None)
    old = values.pop("function_call", None)
    if value is None and old is not None:
        value = {"type": "function", "function": old} if isinstance(old, dict) else old
    if value is None:
        return None, "", None
    type = value.get("type") if isinstance(value, dict) else value
    if isinstance(type, str) and type in _CHOICES:
        return _CHOICES[type], "", None
    if not isinstance(value, dict):
        raise wrong("tool_choice", "auto, none, required or an object")
    if type == "allowed_tools":
        allowed = object_of(value.get("allowed_tools", value), "tool_choice.allowed_tools")
        place = "tool_choice.allowed_tools.tools"
        names = {_named(item, inner) for inner, item in objects_of(allowed.get("tools"), place)}
        return _CHOICES.get(str(allowed.get("mode")), "auto"), "", names
    if type in ("function", "tool"):
        return "tool", _named(value, "tool_choice"), None
    raise Unsupported("`tool_choice` asks for something that this provider does not take.", param="tool_choice")


def _named(item: dict[str, Any], place: str) -> str:
    function = item.get("function")
    if function is None:
        return string_of(item, "name", place, required=True)
    return string_of(object_of(function, f"{place}.function"), "name", f"{place}.function", required=True)


def stop_of(value: Any) -> tuple[str, ...]:
    stop = [value] if isinstance(value, str) else value or []
    if not isinstance(stop, list) or not all(isinstance(item, str) for item in stop):
        raise wrong("stop", "a string or an array of strings")
    return tuple(item for item in stop if item)


def response_format_of(value: Any) -> ResponseFormat | None:
    if value is None:
        return None
    place = "response_format"
    wanted = object_of(value, place)
    match wanted.get("type"):
        case "text":
            return None
        case "json_object" | "json_schema" as type:
            if type == "json_schema":
                place = "response_format.json_schema"
                wanted = object_of(wanted.get("json_schema"), place)
            schema, strict = wanted.get("schema"), wanted.get("strict")
            if schema is None:
                return ResponseFormat(kind="json")
            return ResponseFormat(
                kind="schema",
                name=string_of(wanted, "name", place),
                schema=object_of(schema, f"{place}.schema"),
                strict=strict if isinstance(strict, bool) else None,
            )
        case str():
            raise Unsupported("`response_format.type` is one that this provider does not take.", param=place)
    raise wrong("response_format.type", "text, json_object or json_schema")


_EFFORTS: frozenset[str] = frozenset(get_args(Effort))


def _effort(value: Any, place: str) -> Effort | None:
    if value is None:
        return None
    if not isinstance(value, str) or value not in _EFFORTS:
        raise wrong(place, "one of " + ", ".join(get_args(Effort)))
    effort: Effort = value  # type: ignore[assignment]
    return effort


def reasoning_of(values: dict[str, Any]) -> Reasoning | None:
    value = values.pop("reasoning", None)
    wanted = dict(object_of(value, "reasoning")) if value is not None else {}
    effort = _effort(wanted.get("effort"), "reasoning.effort")
    if wanted.get("enabled") is False:
        if effort not in (None, "none"):
            raise InvalidRequest("`reasoning.enabled` is false, but an effort is asked for.", param="reasoning")
        effort = "none"
    other = _effort(values.pop("reasoning_effort", None), "reasoning_effort")
    if other is not None and effort not in (None, other):
        raise InvalidRequest(
            f"`reasoning_effort` ({other}) contradicts `reasoning` ({effort}); send one.", param="reasoning_effort"
        )
    effort = effort or other
    tokens = count_of(wanted, "max_tokens", 0, "reasoning.")
    told = values.pop("include_reasoning", None)
    exclude = wanted.get("exclude") is True or (told is False and wanted.get("exclude") is not False)
    if effort is None and tokens is None and not exclude and wanted.get("enabled") is not True:
        return None  # nothing was said
    return Reasoning(effort=effort, max_tokens=tokens, exclude=exclude)


def _tool_object(tool: Tool | NativeTool) -> dict[str, Any]:
    if isinstance(tool, NativeTool):
        return tool.raw
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.schema is not None:
        function["parameters"] = tool.schema
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function, **cache_control(tool.cache)}


def _format_object(wanted: ResponseFormat) -> dict[str, Any]:
    if wanted.kind == "json":
        return {"type": "json_object"}
    schema: dict[str, Any] = {"name": wanted.name, "schema": wanted.schema or {}}
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    return {"type": "json_schema", "json_schema": schema}


def _reasoning_fields(reasoning: Reasoning) -> dict[str, Any]:
    """The effort alone in the field that most hosts know."""
    if reasoning.effort is not None and reasoning == Reasoning(effort=reasoning.effort):
        return {"reasoning_effort": reasoning.effort}
    wanted: dict[str, Any] = {}
    if reasoning.effort is not None:
        wanted["effort"] = reasoning.effort
    if reasoning.max_tokens is not None:
        wanted["max_tokens"] = reasoning.max_tokens
    if reasoning.exclude:
        wanted["exclude"] = True
    return {"reasoning": wanted or {"enabled": True}}


def steering_fields(conversation: Conversation) -> dict[str, Any]:
    """The root fields for everything but the messages and `fields`."""
    values: dict[str, Any] = {}
    if conversation.tools:
        values["tools"] = [_tool_object(tool) for tool in conversation.tools]
    if conversation.tool_choice == "tool":
        values["tool_choice"] = {"type": "function", "function": {"name": conversation.tool_name}}
    elif conversation.tool_choice is not None:
        values["tool_choice"] = conversation.tool_choice
    if conversation.parallel_tool_calls is not None:
        values["parallel_tool_calls"] = conversation.parallel_tool_calls
    if conversation.max_tokens is not None:
        values["max_tokens"] = conversation.max_tokens
    if conversation.stop:
        values["stop"] = conversation.stop
    if conversation.response_format is not None:
        values["response_format"] = _format_object(conversation.response_format)
    if conversation.reasoning is not None:
        values.update(_reasoning_fields(conversation.reasoning))
    return values
