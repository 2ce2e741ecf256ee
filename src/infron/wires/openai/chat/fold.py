"""Deltas folded to what they say together: strings and lists go on, objects are merged, items of a list matched.

It never knows a chunk, nor what a field means. Its time grows with the size of the deltas alone: strings are joined
once, and the item of a list that another one goes on with is looked up.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any


class Pieces:
    """A string that is still growing: joined once, when it is written."""

    def __init__(self, *parts: str) -> None:
        self.parts = list(parts)


class Items(list[Any]):
    """A list that is still growing. `_known`: its objects, by all that another piece may match them by."""

    def __init__(self, name: str, items: Iterable[Any]) -> None:
        super().__init__()
        self._name = name
        self._known: dict[Hashable, dict[str, Any]] = {}
        self._last: dict[str, Any] | None = None
        for item in items:
            self.add(item)

    def add(self, item: Any) -> None:
        if not isinstance(item, dict):
            self.append(item)
            return
        places = self._places(item)
        same = self._same(item, places)
        if same is None:
            self.append(item)
            self._last = same = item
        else:
            merge(same, item)
        for place in places:
            if self._name == "reasoning_details":
                self._known[place] = same
            else:
                self._known.setdefault(place, same)

    def _places(self, item: dict[str, Any]) -> list[Hashable]:
        """A block of thinking goes on with the last one of its `index` and type, all else with the first one."""
        index, id = item.get("index"), item.get("id")
        found: list[Hashable] = []
        if index is not None:
            found.append((index, item.get("type")) if self._name == "reasoning_details" else ("index", index))
        if id and self._name == "tool_calls":
            found.append(("id", id))
        return [place for place in found if _is_hashable(place)]

    def _same(self, item: dict[str, Any], places: list[Hashable]) -> dict[str, Any] | None:
        """The object that this one goes on with."""
        if self._name == "reasoning_details" and item.get("data"):
            return None  # what is encrypted comes whole
        if item.get("index") is not None or item.get("id"):
            return self._known.get(places[0]) if places else None
        return self._last if self._name == "tool_calls" else None


def _is_hashable(place: Hashable) -> bool:
    try:
        hash(place)
    except TypeError:  # an array or an object, where a number or a word should be
        return False
    return True


# Fields of a delta that are said again rather than continued.
_SAID_ONCE = frozenset(("role", "id", "type", "name", "index", "format", "signature"))


def merge(into: dict[str, Any], delta: dict[str, Any]) -> None:
    """Fold one delta into what came before."""
    for name, value in delta.items():
        old = into.get(name)
        if value is None:
            into.setdefault(name, None)
        elif isinstance(old, str | Pieces) and isinstance(value, str):
            if not value:
                continue
            if name in _SAID_ONCE:
                into[name] = value
            elif isinstance(old, str):
                into[name] = Pieces(old, value)
            else:
                old.parts.append(value)
        elif isinstance(old, dict) and isinstance(value, dict):
            merge(old, value)
        elif isinstance(value, list):
            items = into[name] = old if isinstance(old, Items) else Items(name, old if isinstance(old, list) else ())
            for item in value:
                items.add(item)
        else:
            into[name] = value
