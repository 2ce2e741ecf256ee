"""Chat histories that are known to be right by one reading: those that a slower one would leave as they are."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from infron.catalog.definitions import MessageQuirks
from infron.wires.openai.chat import history
from infron.wires.openai.chat.usual import is_usual


def call(id: str = "a", name: str = "f", arguments: str = "{}", **more: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def calls(*made: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(made), **more}


def result(id: str = "a", content: Any = "r", **more: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content, **more}


ASKED = {"role": "user", "content": "?"}
PARTS = {"role": "user", "content": [{"type": "text", "text": "?"}]}
SAID = {"role": "assistant", "content": "!"}
AGENT = [
    {"role": "system", "content": "s"}, PARTS, calls(call("a", arguments=' {"x": 1} '), call("b"), content="t"),
    result("b"), result("a"), SAID, ASKED, calls(call("a")), result("a"),
]  # fmt: skip


def raw(messages: list[Any]) -> Raw:
    return Raw(msgspec.json.encode(messages))


@pytest.mark.parametrize("messages", [[ASKED], [PARTS, SAID], AGENT, [*AGENT, SAID, ASKED]])
def test_usual_history_is_known(messages: list[Any]) -> None:
    assert is_usual(raw(messages))


@pytest.mark.parametrize("odd", [
    [calls(call())], [calls(call()), ASKED], [calls(call()), result("b")], [calls(call()), result(), result()],
    [result()], [calls(call(), call()), result(), result()], [calls(call(arguments="")), result()],
    [calls(call(arguments='{"a"')), result()], [calls(call(arguments="[]")), result()],
    [calls(call("x" * 41)), result("x" * 41)], [calls(call(name="a.b")), result()], [calls(), ASKED],
    [calls(call(extra_content={})), result()], [calls(call(), reasoning_content="t"), result()],
    [calls(call(), content=""), result()], [calls(call()), result(content="")], [{"role": "assistant"}],
    [{"role": "developer", "content": "d"}], [{"role": "user", "content": ""}], [{"role": "user", "content": []}],
    [{"role": "user", "content": [{"type": "text", "text": "t", "cache_control": {"type": "ephemeral"}}]}],
    [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}], [{**ASKED, "name": None}],
    [{**ASKED, "tool_calls": [call()]}, result()], [{**ASKED, "tool_call_id": "a"}],
])  # fmt: skip
def test_history_that_may_have_to_be_changed_is_none_of_the_usual(odd: list[Any]) -> None:
    assert not is_usual(raw([ASKED, *odd]))


MESSAGES = st.sampled_from([
    ASKED, PARTS, SAID, *AGENT, calls(call(arguments='{"a"')), calls(call("b")), calls(call(name="a b")),
    calls(call(), content=""), result("c"), result(content=[{"type": "text", "text": "r"}]), {**SAID, "refusal": "no"},
    {**SAID, "reasoning_content": "t"}, {"role": "system", "content": ""}, {**ASKED, "name": "n"},
])  # fmt: skip


@given(st.lists(MESSAGES, min_size=1, max_size=8))
def test_usual_history_is_what_a_slower_reading_leaves_as_it_is(messages: list[Any]) -> None:
    if not is_usual(raw(messages)):
        return
    fields: dict[str, Any] = {"messages": raw(messages)}
    with patch.object(history, "is_usual", lambda messages: False):
        assert history.fit(fields, MessageQuirks()) == ({}, set())
    assert fields == {"messages": raw(messages)}
