"""Tools of a chat request, and the form of its answer, within what a host takes.

It never looks into the messages. What is right already goes on as it came.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw, Struct

from infron.catalog.definitions import RequestQuirks
from infron.wires.json_answer import JSON_ONLY
from infron.wires.json_guard import LARGE, fields_of, items_of
from infron.wires.schemas import NOT_AT_THE_ROOT, closed, rooted

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_NULL = Raw(b"null")

# ---- schemas, strictness, names that are there twice


def fit_tools(fields: dict[str, Any], quirks: RequestQuirks, lost: set[str]) -> None:
    """Change `tools` where the host would refuse them: no object at the root of a schema (OpenAI: "schema must be of
    type object"), a strict tool with an open schema, one name twice, fields that it does not know.
    """
    if "tools" not in fields or fields["tools"] == _NULL:
        return
    given = items_of(fields["tools"])
    first: dict[str, Raw] = {}
    sent: list[Any] = []
    for raw in given:
        tool = _fitted(raw, quirks, lost)
        name = _name_in(raw)
        if name is not None and name in first:
            if bytes(memoryview(first[name])) != bytes(memoryview(raw)):
                lost.add("tools.duplicates")
            continue
        if name is not None:
            first[name] = raw
        sent.append(tool)
    if len(sent) < len(given) or any(new is not old for new, old in zip(sent, given, strict=True)):
        fields["tools"] = Raw(_encode(sent))


def _fitted(raw: Raw, quirks: RequestQuirks, lost: set[str]) -> Any:
    try:
        tool = _fields(raw)
        function: dict[str, Any] = dict(_fields(tool["function"]))
    except (msgspec.ValidationError, KeyError):
        return raw  # none of ours
    changed = False
    strict = function.get("strict") == _TRUE
    for name in quirks.strip_tool:
        if name in function:
            del function[name]
            changed = True
            if name == "strict" and strict:
                lost.add("tools.strict")
    schema = function.get("parameters", _NULL)
    if schema != _NULL and not is_rooted(schema) and isinstance(value := _decode(schema), dict):
        function["parameters"], changed = rooted(value), True
    if strict and quirks.closed_strict and "strict" in function and not _is_closed(function.get("parameters", _NULL)):
        del function["strict"]
        lost.add("tools.strict")
        changed = True
    return {**tool, "function": function} if changed else raw


_TRUE = Raw(b"true")
_OBJECT = Raw(b'"object"')


def is_rooted(schema: Raw) -> bool:
    try:
        fields = _fields(schema)
    except msgspec.ValidationError:
        return True  # the host says best what is wrong with it
    return fields.get("type") == _OBJECT and fields.keys().isdisjoint(NOT_AT_THE_ROOT)


def _is_closed(schema: Any) -> bool:
    return closed(_decode(schema) if isinstance(schema, Raw) else schema)


def _name_in(raw: Raw) -> str | None:
    try:
        tool = _tool(raw)
    except msgspec.ValidationError:
        return None
    return tool.function.name if tool.function is not None and isinstance(tool.function.name, str) else None


# ---- the form of the answer


def fit_format(fields: dict[str, Any], quirks: RequestQuirks, lost: set[str]) -> None:
    """Change `response_format` where the host would refuse it: what it cannot be held to it is told in words."""
    if "response_format" not in fields:
        return
    raw = fields["response_format"]
    if raw == _NULL or (quirks.json_beside_tools and quirks.json_schema and not quirks.closed_strict):
        return
    wanted = _decode(raw)
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    inner = wanted.get("json_schema") if kind == "json_schema" else None
    schema = inner.get("schema") if isinstance(inner, dict) else None
    if kind not in ("json_object", "json_schema"):
        return
    if not quirks.json_beside_tools and fields.get("tools", _NULL) not in (_NULL, _NONE):
        del fields["response_format"]  # which is named as every root field that goes on in no form
        _say(fields, f"Unless you call a tool: {JSON_ONLY}{_shape(schema)}")
    elif not quirks.json_schema and kind == "json_schema":
        fields["response_format"] = {"type": "json_object"}
        lost.add("response_format.json_schema")
        _say(fields, f"{JSON_ONLY}{_shape(schema)}")
    elif not quirks.json_schema and b"json" not in bytes(memoryview(fields["messages"])).lower():
        _say(fields, JSON_ONLY)  # where the prompt does not say it the host refuses to be held to it
    elif quirks.closed_strict and isinstance(inner, dict) and inner.get("strict") is True and not closed(schema):
        fields["response_format"] = {**wanted, "json_schema": {**inner, "strict": False}}
        lost.add("response_format.strict")


_NONE = Raw(b"[]")


def _shape(schema: Any) -> str:
    return f" It must be valid by this JSON Schema: {_encode(schema).decode()}" if isinstance(schema, dict) else ""


def _say(fields: dict[str, Any], text: str) -> None:
    """A further system message, behind those at the beginning."""
    items = items_of(fields["messages"])
    place = 0
    while place < len(items) and _decode(fields_of(items[place]).get("role", _NULL)) in ("system", "developer"):
        place += 1
    said = Raw(_encode({"role": "system", "content": text}))
    fields["messages"] = Raw(_encode([*items[:place], said, *items[place:]]))


# ---- names


class _Function(Struct, gc=False):
    name: Any = None


class _Tool(Struct, gc=False):
    function: _Function | None = None


_tool = msgspec.json.Decoder(_Tool).decode
_tools = msgspec.json.Decoder(list[_Tool]).decode


def names_of(tools: Any) -> Iterator[str]:
    if not isinstance(tools, Raw) or tools == _NULL:
        return
    view = memoryview(tools)
    try:
        for part in [tools] if len(view) <= LARGE else [b"[%b]" % bytes(memoryview(item)) for item in items_of(tools)]:
            for tool in _tools(part):
                if tool.function is not None and isinstance(tool.function.name, str):
                    yield tool.function.name
    except msgspec.ValidationError:
        return  # the provider says best what is wrong with it


def renamed_tool(raw: Raw, renamed: dict[str, str]) -> Any:
    tool = _decode(raw)
    rename(tool.get("function") if isinstance(tool, dict) else None, renamed)
    return tool


def renamed_choice(choice: Any, renamed: dict[str, str]) -> Any:
    left = [choice]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            rename(item.get("function"), renamed)
            left.extend(item.values())
        elif isinstance(item, list):
            left.extend(item)
    return choice


def rename(function: Any, renamed: dict[str, str]) -> bool:
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or name not in renamed:
        return False
    function["name"] = renamed[name]
    return True
