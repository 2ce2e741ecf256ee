"""Tools of a chat request, and the form of its answer, within what a host takes.

It never looks into the messages. What is right already goes on as it came.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw, Struct

from infron.wires.json_guard import LARGE, items_of

_decode = msgspec.json.Decoder().decode
_NULL = Raw(b"null")

# ---- names


class _Function(Struct, gc=False):
    name: Any = None


class _Tool(Struct, gc=False):
    function: _Function | None = None


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
