"""Frames of a host of Gemini's API, folded to the one answer that it would have given whole.

It never knows what a field means that is not here: the last one of a name counts.
"""

from __future__ import annotations

from typing import Any

from infron.wires import lenient_json
from infron.wires.gemini.parts import Part, merged
from infron.wires.lenient_json import dict_in, dicts_in


class Folded:
    """Counts and feedback are totals so far, so that the last one stands; parts come one after the other."""

    def __init__(self) -> None:
        self.begun = False
        self._root: dict[str, Any] = {}
        self._candidates: dict[int, dict[str, Any]] = {}
        self._content: dict[int, dict[str, Any]] = {}
        self._parts: dict[int, list[Part]] = {}

    def add(self, frame: bytes) -> None:
        self.begun = True
        value = lenient_json.value_of(frame)
        values: dict[str, Any] = value if isinstance(value, dict) else {}
        for candidate in dicts_in(values, "candidates"):
            index = candidate.get("index")
            self._take(index if isinstance(index, int) else 0, candidate)
        self._root.update({name: value for name, value in values.items() if name != "candidates"})

    def _take(self, index: int, candidate: dict[str, Any]) -> None:
        content = dict_in(candidate, "content")
        self._parts.setdefault(index, []).extend(dicts_in(content, "parts"))
        self._content.setdefault(index, {}).update(content)
        known = self._candidates.setdefault(index, {})
        for name, value in candidate.items():
            before = known.get(name)
            known[name] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value

    def answer(self) -> dict[str, Any]:
        told = []
        for index, candidate in sorted(self._candidates.items()):
            parts = merged(self._parts[index])
            content = {"content": {**self._content[index], "parts": parts}} if self._content[index] else {}
            told.append({**content, **{name: value for name, value in candidate.items() if name != "content"}})
        return {**({"candidates": told} if told else {}), **self._root}
