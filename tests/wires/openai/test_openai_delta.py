"""Tool calls that a host leaves unfinished: each delta is mended as it comes, so that clients can put them together."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from infron.catalog.definitions import AnswerQuirks
from infron.wires.openai.chat.delta import Seen, rewrites, rewritten

LOOSE = AnswerQuirks(loose_tool_calls=True)


def mended(*deltas: list[Any], choices: tuple[int, ...] = ()) -> list[Any]:
    """The `tool_calls` of each delta after it, [] where none are left. `choices`: the choice that each belongs to."""
    seen = Seen()
    found = []
    for place, tool_calls in enumerate(deltas):
        choice = {"index": choices[place] if choices else 0, "delta": {"tool_calls": tool_calls}}
        raw = rewritten(Raw(json.dumps([choice]).encode()), LOOSE, seen)
        found.append(json.loads(bytes(raw))[0]["delta"].get("tool_calls", []))
    return found


def call(id: str | None, name: str | None, arguments: Any, **more: Any) -> dict[str, Any]:
    said = {"name": name, "arguments": arguments}
    return {**({"id": id} if id is not None else {}), **more, "function": said}


def indexes(found: list[Any]) -> list[list[int]]:
    return [[call["index"] for call in calls] for calls in found]


def test_whole_calls_without_an_index_are_counted() -> None:
    found = mended([call("a", "f", "{}"), call("b", "g", "{}")], [call("c", "h", "{}")])
    assert indexes(found) == [[0, 1], [2]]
    assert all(each["type"] == "function" for calls in found for each in calls)


def test_a_piece_without_an_index_belongs_to_the_call_of_its_id_else_to_the_last() -> None:
    found = mended([call("a", "f", "")], [call("b", "g", "")], [call("a", None, "{")], [call("", "", "}")])
    assert indexes(found) == [[0], [1], [0], [1]]


def test_each_choice_counts_its_own_calls() -> None:
    assert indexes(mended([call("a", "f", "{}")], [call("a", "f", "{}")], choices=(0, 1))) == [[0], [0]]


def test_an_index_that_is_there_stays() -> None:
    found = mended([call("a", "f", "", index=1)], [call(None, None, "{}", index=1)], [call("b", "g", "{}")])
    assert indexes(found) == [[1], [1], [2]]


def test_arguments_that_are_an_object_become_its_text() -> None:
    assert mended([call("a", "f", {"x": [1]})])[0][0]["function"]["arguments"] == '{"x":[1]}'


@pytest.mark.parametrize("id", [None, "", "null"])
def test_a_call_without_an_id_gets_one(id: str | None) -> None:
    first, second = mended([call(id, "f", "{}"), call(id, "g", "{}")])[0]
    assert (first["id"], second["id"]) == ("call_0", "call_1")


def test_an_entry_that_says_nothing_is_left_out() -> None:
    nothing = {"index": 0, "id": None, "type": None, "function": {"name": None, "arguments": None}}
    assert mended([call("a", "f", "{}", index=0)], [nothing])[1] == []


@pytest.mark.parametrize("odd", [7, "x", None, {"index": 0}, {"function": 7}, {"index": -1, "function": {"name": "f"}}])
def test_what_is_no_call_is_passed_on(odd: Any) -> None:
    found = mended([odd])[0][0]
    assert found == odd or found == {**odd, "type": "function"}


def test_nothing_is_rewritten_where_the_row_asks_for_nothing() -> None:
    raw = Raw(b'[{"index": 0, "delta": {"tool_calls": [{"function": {"name": "f"}}]}}]')
    assert rewritten(raw, AnswerQuirks()) is raw
    assert not rewrites(AnswerQuirks())
    assert rewrites(LOOSE)


# Each: the texts that one detail has, frame by frame -> what is passed on of each.
DETAILS: list[tuple[list[str], list[str]]] = [
    (["Let me", " think", "."], ["Let me", " think", "."]),
    (["Let me", "Let me think", "Let me think."], ["Let me", " think", "."]),
    (["Let me", "Let me think", "Let me think"], ["Let me", " think"]),
    (["", "Hm"], ["", "Hm"]),
]


@pytest.mark.parametrize(("told", "passed"), DETAILS)
def test_thoughts_that_are_told_from_the_start_each_time_are_passed_on_once(told: list[str], passed: list[str]) -> None:
    quirks, seen, found = AnswerQuirks(cumulative_details=True), Seen(), []
    for text in told:
        detail = {"type": "reasoning.text", "index": 0, "text": text}
        raw = Raw(json.dumps([{"index": 0, "delta": {"reasoning_details": [detail]}}]).encode())
        delta = json.loads(bytes(rewritten(raw, quirks, seen)))[0]["delta"]
        found += [each["text"] for each in delta.get("reasoning_details", [])]
    assert found == passed


def test_thoughts_that_are_no_text_stay() -> None:
    details = [{"type": "reasoning.encrypted", "data": "x"}, 7]
    raw = Raw(json.dumps([{"delta": {"reasoning_details": details}}]).encode())
    delta = json.loads(bytes(rewritten(raw, AnswerQuirks(cumulative_details=True))))[0]["delta"]
    assert delta["reasoning_details"] == details
