"""Tools of the Responses API as functions that any provider takes, and the names of their calls back again.

It never knows a provider: a function, a custom tool and a function inside a namespace all become functions, each under
a name of its own; what only OpenAI's own servers can run (`web_search` and its like) has no such name.

Codex gives a custom tool's call back only as `custom_tool_call`, and one of a namespace only under its bare name with
the namespace beside it: so the way back is part of the answer's encoder. (Measured with Codex 0.171.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Raw, Struct

from infron.conversation import Tool
from infron.errors import InvalidRequest
from infron.request import Request
from infron.wires import lenient_json
from infron.wires.json_guard import LARGE
from infron.wires.json_steps import value_in
from infron.wires.naming import Names, renamings
from infron.wires.request_fields import object_of, objects_of, string_of, wrong

NAMES = Names("A-Za-z0-9_-", 64)  # of functions, at OpenAI and most hosts
INPUT = "input"  # the one argument of the function that stands for a custom tool

_encode = msgspec.json.Encoder().encode


class Offered(NamedTuple):
    """What a function stands for. `namespace`: "" outside of one."""

    kind: Literal["function", "custom"]
    name: str
    namespace: str = ""


class Toolbox:
    """The tools of one request. `left_out`: the types of those that no other provider can run."""

    def __init__(self, tools: Any, more: Iterable[Any] = (), place: str = "tools") -> None:
        """`tools`: the root field; `more`: the lists of its `additional_tools` items. Raises InvalidRequest."""
        self.tools: list[Tool] = []
        self.left_out: list[str] = []
        self._offered: dict[str, Offered] = {}
        self._names: dict[tuple[str, str], str] = {}
        for offered in (tools, *more):
            for inner, item in objects_of(offered, place):
                self._add(item, inner, "")

    def _add(self, item: Mapping[str, Any], place: str, namespace: str) -> None:
        kind = string_of(item, "type", place, required=True)
        if kind == "function":
            self._offer(Offered("function", string_of(item, "name", place, required=True), namespace), item, place)
        elif kind == "custom":
            self._offer(Offered("custom", string_of(item, "name", place, required=True), namespace), item, place)
        elif kind == "namespace" and not namespace:
            name = string_of(item, "name", place, required=True)
            for inner, tool in objects_of(item.get("tools"), f"{place}.tools"):
                self._add(tool, inner, name)
        elif kind not in self.left_out:
            self.left_out.append(kind)

    def _offer(self, offered: Offered, item: Mapping[str, Any], place: str) -> None:
        name = self._free_name(offered)
        if name in self._offered:
            return  # the same tool once more
        self._offered[name] = offered
        description = string_of(item, "description", place)
        if offered.kind == "custom":
            self.tools.append(Tool(name=name, description=_with_format(description, item), schema=_TEXT))
            return
        schema, strict = item.get("parameters"), item.get("strict")
        if not isinstance(strict, bool | None):
            raise wrong(f"{place}.strict", "true or false")
        read = None if schema is None else object_of(schema, f"{place}.parameters")
        self.tools.append(Tool(name=name, description=description, schema=read, strict=strict or None))

    def _free_name(self, offered: Offered) -> str:
        known = self._names.get((offered.namespace, offered.name))
        if known is not None:
            return known
        name = flat_name(offered)
        if name in self._offered:  # two tools whose names differ only in what a host refuses
            another = f"{name}/{offered.namespace}/{offered.name}"
            name = renamings([*self._offered, another], NAMES)[another]
        self._names[offered.namespace, offered.name] = name
        return name

    def name_of(self, name: str, namespace: str) -> str:
        """The function's name of a tool that a call in the history names; also where the tool is offered no more."""
        known = self._names.get((namespace, name))
        return known or flat_name(Offered("function", name, namespace))

    def offered(self, name: str) -> Offered:
        """What a function's name stands for; the function itself where it is none of ours."""
        return self._offered.get(name) or Offered("function", name)


def flat_name(offered: Offered) -> str:
    """A function's name that every host takes, also of a tool inside a namespace."""
    whole = f"{offered.namespace}__{offered.name}" if offered.namespace else offered.name
    return renamings([whole], NAMES).get(whole, whole)


_TEXT = {
    "type": "object",
    "properties": {INPUT: {"type": "string", "description": "The whole input of the tool, as it takes it."}},
    "required": [INPUT],
    "additionalProperties": False,
}


def _with_format(description: str, item: Mapping[str, Any]) -> str:
    """A grammar that no other host enforces is at least told to the model."""
    format = item.get("format")
    if not isinstance(format, dict) or format.get("type") != "grammar":
        return description
    definition, syntax = format.get("definition"), format.get("syntax")
    if not isinstance(definition, str):
        return description
    return f"{description}\n\n`{INPUT}` must follow this {syntax or 'lark'} grammar:\n{definition}".strip()


# ---- the input of a custom tool


def as_arguments(text: str) -> str:
    """The arguments of the function that stands for a custom tool."""
    return _encode({INPUT: text}).decode()


def as_input(arguments: str) -> str:
    """The input of a custom tool in the arguments of its function; a model that wrote plain text meant just that."""
    read = lenient_json.value_of(arguments.encode())
    if not isinstance(read, dict):
        return arguments
    value = read.get(INPUT)
    if isinstance(value, str):
        return value
    texts = [text for text in read.values() if isinstance(text, str)]
    return texts[0] if len(texts) == 1 else arguments


# ---- those of a request


def toolbox_of(request: Request) -> Toolbox:
    """The names of its tools: made on first use, and kept with it. Raises InvalidRequest."""
    kept = vars(request)
    if _KEPT not in kept:
        fields = request.fields
        items = value_in(fields["input"]) if "additional_tools" in request.kinds else None
        made = Toolbox(value_in(fields["tools"]) if "tools" in fields else None, additional_tools(items))
        made.tools.clear()  # names are all that is asked for here
        kept[_KEPT] = made
    toolbox: Toolbox = kept[_KEPT]
    return toolbox


_KEPT = "toolbox"


def with_tools(request: Request) -> Request:
    """The same; of a large one the tools are read now, by the thread that reads it."""
    if request.size > LARGE:
        with suppress(InvalidRequest):  # a host of this API may know what is wrong here
            toolbox_of(request)
    return request


# ---- what not every host of this API knows

_SIGNS = {
    b'"additional_tools"': "additional_tools",
    b'"custom_tool_call': "custom",
    b'"namespace"': "namespace",
    b'"tool_search_': "tool_search",
}


class _Tool(Struct, gc=False):
    type: Any = None


_tools = msgspec.json.Decoder(list[_Tool]).decode


def kinds_in(fields: Mapping[str, Raw]) -> frozenset[str]:
    """The types of the tools in a request, and of those that its history speaks of."""
    kinds: set[str] = set()
    if "tools" in fields:
        with suppress(msgspec.DecodeError):  # whoever reads them says what is wrong
            kinds.update(tool.type for tool in _tools(fields["tools"]) if isinstance(tool.type, str))
    said = items_said(fields)
    if said:
        kinds.update(kind for sign, kind in _SIGNS.items() if said.find(sign) >= 0)
    return frozenset(kinds)


def items_said(fields: Mapping[str, Raw]) -> bytes:
    """The `input` as it came, where it is of items; b"" where it is a text."""
    given = memoryview(fields["input"])
    return bytes(given) if bytes(given[:1]) == b"[" else b""


def additional_tools(items: Any) -> Iterator[Any]:
    """The lists of tools that stand among the input items, as Codex sends them for its newest models."""
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and item.get("type") == "additional_tools":
            yield item.get("tools")
