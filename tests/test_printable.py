"""What a terminal would obey never reaches it, and what people write is left alone."""

from __future__ import annotations

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infron import printable

ORDERS = [
    "\x1b]52;c;cm0=\x07", "\x1b[2J", "\x9b31m", "\x85", "\x7f", "a\rb", "\u202e", "\u2066", "\ud83d", "\U000e0041",
    "\x00",
]  # fmt: skip
WRITTEN = ["plain", "Grüße", "日本語\u3000です", "👩\u200d🚀", "می\u200cخواهم", "🏴", "a\u00a0b", "שלום", "e\u0301"]


@pytest.mark.parametrize("text", ORDERS, ids=ascii)
def test_orders_are_shown_and_not_given(text: str) -> None:
    for shown in (printable.line(text), printable.prose(text)):
        assert shown.replace("\\", "").isprintable()
        assert "\\" in shown


@pytest.mark.parametrize("text", WRITTEN, ids=ascii)
def test_what_people_write_is_left_alone(text: str) -> None:
    assert printable.line(text) == printable.prose(text) == text


def test_a_line_is_one_line_and_prose_keeps_its_lines() -> None:
    assert printable.line("a\nb\tc\u200b") == "a\\nb\\tc\\u200b"
    assert printable.prose("a\r\nb\tc\u200f") == "a\nb\tc\u200f"


@given(st.text(max_size=40))
def test_json_and_toml_mean_the_same_as_before(text: str) -> None:
    document = json.dumps({"name": text}, ensure_ascii=False, indent=2).encode()
    shown = printable.in_json(document).decode()
    assert json.loads(shown) == {"name": text}
    assert all(character == "\n" or printable.line(character) == character for character in shown)
    quoted = printable.line(json.dumps(text, ensure_ascii=False))
    assert tomllib.loads(f"a = {quoted}") == {"a": text}
