"""Tools of a client of the Responses API as another host of this API takes them: only what has to be is written anew.

It never looks into what was said, but for the names of tools that were called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from infron.wires.json_guard import fields_of, items_of
from infron.wires.naming import renamings
from infron.wires.openai.chat.tools import is_rooted
from infron.wires.openai.responses.tools import NAMES
from infron.wires.schemas import closed, rooted

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_NULL = Raw(b"null")


class _Named(Struct, gc=False):
    """A tool, or an item that calls one. `namespace`: it belongs to one, and its name there is nobody else's."""

    type: Any = None
    name: Any = None
    namespace: Any = None
    parameters: Raw = _NULL
    strict: Any = None


_named = msgspec.json.Decoder(_Named).decode


def fit_tools(fields: dict[str, Any], lost: set[str]) -> dict[str, str]:
    """Change `tools`, `tool_choice` and the calls in `input` where the host would refuse them. `lost`: see receipts.

    The answer: of the tools that had to be renamed, the host's name -> the caller's own.
    """
    if fields.get("tools", _NULL) == _NULL:
        return {}
    given = items_of(fields["tools"])
    renamed = renamings((*_names_in(given, _TOOLS), *_names_in(_items(fields["input"]), _CALLS)), NAMES)
    tools = [_fitted(tool, renamed, lost) for tool in given]
    if any(new is not old for new, old in zip(tools, given, strict=True)):
        fields["tools"] = Raw(_encode(tools))
    if renamed:
        fields["input"] = Raw(_encode([_renamed(item, renamed, _CALLS) for item in _items(fields["input"])]))
        choice = _decode(fields.get("tool_choice", _NULL))
        name = choice.get("name") if isinstance(choice, dict) else None
        if isinstance(name, str) and name in renamed:
            fields["tool_choice"] = {**choice, "name": renamed[name]}
    return {sent: own for own, sent in renamed.items()}


_TOOLS = ("custom", "function")
_CALLS = ("custom_tool_call", "function_call")


def _items(given: Raw) -> list[Raw]:
    return items_of(given) if bytes(memoryview(given)[:1]) == b"[" else []


def _read(raw: Raw) -> _Named:
    try:
        return _named(raw)
    except msgspec.ValidationError:
        return _Named()  # the host says best what is wrong with it


def _names_in(items: list[Raw], types: tuple[str, ...]) -> Iterator[str]:
    for item in items:
        named = _read(item)
        if named.type in types and not named.namespace and isinstance(named.name, str):
            yield named.name


def _renamed(raw: Raw, renamed: Mapping[str, str], types: tuple[str, ...]) -> Any:
    named = _read(raw)
    name = named.name
    if named.type not in types or named.namespace or not isinstance(name, str) or name not in renamed:
        return raw
    return {**fields_of(raw), "name": renamed[name]}


def _fitted(raw: Raw, renamed: Mapping[str, str], lost: set[str]) -> Any:
    tool, named = _renamed(raw, renamed, _TOOLS), _read(raw)
    if named.type != "function" or named.parameters == _NULL:
        return tool
    schema = _decode(named.parameters) if named.strict is True or not is_rooted(named.parameters) else None
    if not isinstance(schema, dict):
        return tool
    changed: dict[str, Any] = {}
    if not is_rooted(named.parameters):
        schema = changed["parameters"] = rooted(schema)
    if named.strict is True and not closed(schema):
        changed["strict"] = False
        lost.add("tools.strict")
    return {**(tool if isinstance(tool, dict) else fields_of(raw)), **changed} if changed else tool
