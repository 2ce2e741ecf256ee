"""The tool calls of one choice as hosts tell them, in the form that client libraries can put together.

It never knows which frame a piece came in, nor who reads it.

Libraries match the pieces of calls by `index`, use it as the place in a list, and join every other string that is said
again. So each call gets a place of its own, counted from 0; its id, type and name once, with its first piece; arguments
that are strings; and no field that says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from infron.wires.decoding import UNNAMED, made_id

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

MOST_CALLS = 1000  # of one choice
MAX_HELD = 1 << 20  # characters of arguments that are remembered
_PARTS = {"function": "arguments", "custom": "input"}  # what a call is made of, and where its text stands in it
_BESIDE = ("id", "index", *_PARTS)
_MEMBERS = ("name", "arguments", "parameters")  # of a function


class _Call:
    """A call as far as it was told. `place`: among those told of its choice. `said`: its arguments, if remembered."""

    __slots__ = ("argued", "first", "given", "id", "name", "place", "said", "started")

    def __init__(self) -> None:
        self.place = -1
        self.given = ""  # the id that the host gave
        self.id = ""  # the one that is told
        self.name = ""
        self.started = False
        self.argued = False
        self.said: list[str] = []
        self.first: dict[str, Any] = {}  # what came before the name

    @property
    def complete(self) -> bool:
        """Whether the arguments so far are all: an object that is closed."""
        try:
            return isinstance(_decode("".join(self.said)), dict)
        except (msgspec.DecodeError, RecursionError):
            return False


class ToolCalls:
    """Of one choice. `seed`: what makes the ids of calls that have none their own, in this answer and among others.

    `names`: of tools that the request renamed: the host's -> the caller's own.
    """

    def __init__(self, seed: str, names: Mapping[str, str] | None = None) -> None:
        self._seed = seed
        self._names = names or {}
        self._calls: list[_Call] = []
        self._at: dict[int, _Call] = {}  # by the index that the host gives, the latest of each
        self._ids: dict[str, _Call] = {}
        self._held = self._told = 0

    def __bool__(self) -> bool:
        return bool(self._calls)

    def go_on(self, items: Any) -> str | None:
        """The arguments in these, if they are what nearly all are, and fit to be handed on as they came: one more piece
        of one call.
        """
        if items.__class__ is not list or len(items) != 1 or items[0].__class__ is not dict:
            return None
        item: dict[str, Any] = items[0]
        index, function = item.get("index"), item.get("function")
        if index.__class__ is not int or function.__class__ is not dict:
            return None
        call, arguments = self._at.get(index), function.get("arguments")
        if call is None or not call.started or call.place != index or not isinstance(arguments, str):
            return None
        if len(item) != 2 or len(function) != 1:  # null says nothing, and a type may be said again
            if any(item[name] is not None for name in item if name not in ("index", "function", "type")):
                return None
            if item.get("type", "function") != "function":  # libraries take null for the type, too
                return None
            if any(function[name] is not None for name in function if name != "arguments"):
                return None
        self._add(call, arguments)
        return arguments

    def take(self, items: list[Any]) -> list[dict[str, Any]]:
        """The items as they are to be told; those that say nothing, and what must wait for a name, are left out."""
        told = (self._take(item) for item in items if isinstance(item, dict))
        return [item for item in told if item is not None]

    def rest(self) -> list[dict[str, Any]]:
        """What the calls still lack at the end: those that never got a name, and arguments for those without."""
        told = []
        for call in self._calls:
            if not call.started and (call.name or call.said):
                told.append(self._start(call, call.first))
            elif call.started and not call.argued:
                kind = "custom" if "custom" in call.first else "function"
                if kind == "function":
                    told.append({"index": call.place, kind: {_PARTS[kind]: "{}"}})
                call.argued = True
        return told

    # ---- one item

    def _take(self, item: dict[str, Any]) -> dict[str, Any] | None:
        kind = "custom" if isinstance(item.get("custom"), dict) else "function"
        given, beside = item.get(kind), _BESIDE
        if not isinstance(given, dict):  # some hosts leave the object out, and say its fields beside the id
            given, beside = {key: item[key] for key in _MEMBERS if key in item}, (*_BESIDE, *_MEMBERS)
        part: dict[str, Any] = given
        id, name = _word(item.get("id")), _word(part.get("name"))
        text = _text(part.get(_PARTS[kind], part.get("parameters")))
        told_apart = ("name", "parameters", _PARTS[kind])
        more = {key: value for key, value in item.items() if key not in beside and not _empty(value)}
        inner = {key: value for key, value in part.items() if key not in told_apart and not _empty(value)}
        if not (id or name or text or inner or more.keys() - {"type"}):
            return None
        index = item.get("index")
        index = index if index.__class__ is int else None
        call = self._find(index, id, name)
        if call is None:
            if len(self._calls) >= MOST_CALLS:
                return None
            call = _Call()
            self._calls.append(call)
        if index is not None:
            self._at[index] = call
        if id and not call.given:
            call.given = id
            call.id = call.id or ("" if id in self._ids else id)
            self._ids[id] = call
        call.name = call.name or name
        self._add(call, text)
        if call.started:
            told = {"index": call.place, **more}
            if text or inner:
                told[kind] = {**inner, _PARTS[kind]: text}
            return told if len(told) > 1 and told.keys() != {"index", "type"} else None
        call.first = {**call.first, **more, kind: {**call.first.get(kind, {}), **inner}}
        return self._start(call, call.first) if call.name or self._held > MAX_HELD else None

    def _start(self, call: _Call, first: dict[str, Any]) -> dict[str, Any]:
        """The first piece that is told of a call, with all that was said of it."""
        call.started, call.place = True, self._told
        self._told += 1
        if not call.id:
            call.id = made_id(self._seed, call.place)
        kind = "custom" if "custom" in first else "function"
        name = self._names.get(call.name, call.name) or UNNAMED
        part = {"name": name, **first.get(kind, {}), _PARTS[kind]: "".join(call.said)}
        more = {key: value for key, value in first.items() if key not in ("type", kind)}
        return {"index": call.place, "id": call.id, "type": kind, kind: part, **more}

    def _find(self, index: int | None, id: str, name: str) -> _Call | None:
        """The call that this goes on with. A new id, or a name where one is known already, is a new call, whatever the
        index says; but some hosts say id and name again with each piece.
        """
        known = (self._calls[-1] if self._calls else None) if index is None else self._at.get(index)
        elsewhere = self._ids.get(id) if known is None or known.given != id else None
        if elsewhere is not None:
            known = elsewhere
        elif known is None or (id and known.given not in ("", id)):
            return None
        if name and known.name:
            same = bool(id) and known.given == id and (index is None or elsewhere is None)
            if name != known.name or (known.complete and not same):
                return None
        return known

    def _add(self, call: _Call, text: str) -> None:
        if text:
            call.argued = True
            if not call.started or self._held <= MAX_HELD:
                call.said.append(text)
                self._held += len(text)


def _word(value: Any) -> str:
    if value.__class__ is int:
        return str(value)
    return value if isinstance(value, str) and value != "null" else ""


def _text(value: Any) -> str:
    """Arguments as text: some hosts give the object itself."""
    return value if isinstance(value, str) else "" if value is None else _encode(value).decode()


def _empty(value: Any) -> bool:
    return value is None or value == ""
