"""JSON that is read and written in steps comes out as if it had been done in one go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from infron.wires import json_guard, json_steps, lenient_json

CHARACTERS = st.characters(exclude_categories=("Cs",))
TEXT, NAME = st.text(CHARACTERS, max_size=300), st.text(CHARACTERS, max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | TEXT,
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(NAME, inner, max_size=9),
    max_leaves=40,
)


@pytest.fixture(scope="module", autouse=True)
def _small_steps() -> Any:
    """So small that values of a test take many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_guard, "LARGE", 64)
        patch.setattr(json_steps, "LARGE", 64)
        patch.setattr(json_steps, "STEP", 64)
        yield


@settings(deadline=None)
@given(VALUES)
def test_value_is_read_and_written_in_steps_as_in_one_go(value: Any) -> None:
    text = msgspec.json.encode(value)
    assert json_steps.value_in(Raw(text)) == value
    assert json_steps.written(value, 1 << 30) == text
    nested = {"a": Raw(text), "b": [value, (value, 1.5)], "c": value}
    assert json_steps.written(nested, 1 << 30) == msgspec.json.encode(nested)


@settings(deadline=None)
@given(VALUES)
def test_value_with_spaces_and_escapes_is_read_in_steps(value: Any) -> None:
    text = msgspec.json.format(msgspec.json.encode(value), indent=3)
    escaped = b"".join(b"\\u%04x" % ord(c) if ord(c) in range(0x80, 0xD800) else c.encode() for c in text.decode())
    for spelled in (text, escaped):
        assert json_steps.value_in(Raw(spelled.strip())) == value


@pytest.mark.parametrize("text", ['"' + "a" * 200 + '\\ud800"', '"' + "b" * 100 + '\\q"'])
def test_string_that_is_none_is_told_so(text: str) -> None:
    with pytest.raises(lenient_json.BROKEN):
        json_steps.value_in(Raw(text.encode()))


@pytest.mark.parametrize(
    "value",
    [
        {"text": "word " * 2_000},
        {"messages": [{"role": "user", "content": f"{number}"} for number in range(500)]},
        [[{"a": ["x" * 30] * 50}] * 20],
        {"role": "user", "content": [{"type": "image", "data": "A" * 700}] * 9, "é": "\u00e9" * 900},
    ],
)
def test_no_step_is_much_larger_than_the_others(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """31 MB were read, and written, by one call into C, for which every stream waited."""
    text, largest = msgspec.json.encode(value), 0

    def seen(call: Callable[[Any], Any], size: Callable[[Any, Any], int]) -> Callable[[Any], Any]:
        def step(given: Any) -> Any:
            nonlocal largest
            made = call(given)
            largest = max(largest, size(given, made))
            return made

        return step

    monkeypatch.setattr(json_steps, "_decode", seen(json_steps._decode, lambda given, made: len(memoryview(given))))
    monkeypatch.setattr(json_steps, "_encode", seen(json_steps._encode, lambda given, made: len(made)))
    assert json_steps.written(json_steps.value_in(Raw(text)), len(text)) == text
    assert 0 < largest <= 4 * 64
