"""Tool calls and thinking that hosts tell in odd ways: each piece is repaired as it comes, for clients to join."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infron.catalog.definitions import AnswerQuirks, Provider, Quirks
from infron.events import Event, Verbatim
from infron.wires.decoding import UNNAMED
from infron.wires.openai import chat as openai_chat
from infron.wires.openai.chat.calls import MAX_HELD, MOST_CALLS, ToolCalls
from infron.wires.openai.chat.delta import fields_of


def repaired(*pieces: Any) -> list[list[dict[str, Any]]]:
    """What is told of each list of pieces."""
    calls = ToolCalls("x")
    return [calls.take(piece) for piece in pieces]


def call(id: str | None, name: str | None, arguments: Any, **more: Any) -> dict[str, Any]:
    said = {"name": name, "arguments": arguments}
    return {**({"id": id} if id is not None else {}), **more, "function": said}


def indexes(found: list[list[dict[str, Any]]]) -> list[list[int]]:
    return [[call["index"] for call in calls] for calls in found]


def joined(*pieces: Any) -> list[tuple[str, str, str]]:
    """(id, name, arguments) of each call in a stream of these pieces, put together as client libraries do."""
    row = Provider(id="mock", name="Mock")
    frames = [{"choices": [{"index": 0, "delta": {"tool_calls": piece}, "finish_reason": None}]} for piece in pieces]
    frames.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    decoder = openai_chat.Decoder(row)
    events: list[Event] = []
    for frame in frames:
        events += decoder.feed(b"data: %b\n\n" % json.dumps(frame).encode())
    calls: list[list[str]] = []
    for event in [*events, *decoder.close()]:
        if isinstance(event, Verbatim):
            for choice in json.loads(bytes(fields_of(event)["choices"])):
                for item in choice["delta"].get("tool_calls") or ():
                    if item["index"] == len(calls):
                        calls.append(["", "", ""])
                    mine, part = calls[item["index"]], item.get("function", {})
                    mine[0] += item.get("id") or ""
                    mine[1] += part.get("name") or ""
                    mine[2] += part.get("arguments") or ""
    return [(id, name, arguments) for id, name, arguments in calls]


def test_calls_without_an_index_are_counted() -> None:
    found = repaired([call("a", "f", "{}"), call("b", "g", "{}")], [call("c", "h", "{}")])
    assert indexes(found) == [[0, 1], [2]]
    assert all(each["type"] == "function" for calls in found for each in calls)


def test_piece_without_an_index_belongs_to_the_call_of_its_id_else_to_the_last() -> None:
    found = repaired([call("a", "f", "")], [call("b", "g", "")], [call("a", None, "{")], [call("", "", "}")])
    assert indexes(found) == [[0], [1], [0], [1]]


def test_calls_are_counted_from_zero_however_the_host_counts() -> None:
    # The list of openai-python is filled by index: a first call at 1 was taken for two.
    found = repaired([call("a", "f", "", index=1)], [call(None, None, "{}", index=1)], [call("b", "g", "{}", index=7)])
    assert indexes(found) == [[0], [0], [1]]


def test_new_id_or_name_at_a_known_index_is_a_new_call() -> None:
    assert joined([call("a", "f", "{}", index=0)], [call("b", "f", "{}", index=0)]) == [
        ("a", "f", "{}"),
        ("b", "f", "{}"),
    ]
    names = [name for _, name, _ in joined([call(None, "f", '{"x":', index=0)], [call(None, "g", "{}", index=0)])]
    assert names == ["f", "g"]
    again = joined([call(None, "f", '{"x":1}', index=0)], [call(None, "f", '{"x":2}', index=0)])
    assert [arguments for _, _, arguments in again] == ['{"x":1}', '{"x":2}']


def test_id_and_name_that_are_said_with_each_piece_are_one_call() -> None:
    pieces = [[call("a", "f", piece, index=0, type="function")] for piece in ("", '{"x"', ":1}", "")]
    assert joined(*pieces) == [("a", "f", '{"x":1}')]
    nameless = [[call(None, "f", piece, index=0)] for piece in ("", '{"x"', ":1}")]
    assert [(name, arguments) for _, name, arguments in joined(*nameless)] == [("f", '{"x":1}')]


def test_calls_that_share_an_id_get_ids_of_their_own() -> None:
    found = joined(
        [call("c", "f", "{}", index=0)], [call("c", "g", '{"x"', index=1)], [call("c", None, ":1}", index=1)]
    )
    assert [(name, arguments) for _, name, arguments in found] == [("f", "{}"), ("g", '{"x":1}')]
    assert len({id for id, _, _ in found}) == 2


@pytest.mark.parametrize("id", [None, "", "null"])
def test_call_without_an_id_gets_one_of_its_own(id: str | None) -> None:
    (first, second), (later,) = repaired([call(id, "f", "{}"), call(id, "g", "{}")], [call(id, "h", "{}")])
    ids = [each["id"] for each in (first, second, later)]
    assert len(set(ids)) == 3
    other = ToolCalls("another answer").take([call(id, "f", "{}")])
    assert other[0]["id"] not in ids


def test_arguments_that_are_an_object_become_its_text() -> None:
    assert repaired([call("a", "f", {"x": [1]})])[0][0]["function"]["arguments"] == '{"x":[1]}'


def test_arguments_wait_for_the_name_of_their_call() -> None:
    first, second = repaired([call("a", None, '{"x"', index=0)], [call(None, "f", ":1}", index=0)])
    assert first == []
    assert second == [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
    ]


def test_call_that_never_gets_a_name_is_told_at_the_end_or_when_too_much_is_held() -> None:
    calls = ToolCalls("x")
    assert calls.take([call("a", None, "{}", index=0)]) == []
    assert [(each["id"], each["function"]) for each in calls.rest()] == [("a", {"name": UNNAMED, "arguments": "{}"})]
    assert len(ToolCalls("x").take([call("a", None, "x" * (MAX_HELD + 1), index=0)])) == 1


def test_entry_that_says_nothing_is_left_out() -> None:
    nothing = {"index": 0, "id": None, "type": None, "function": {"name": None, "arguments": None}}
    assert repaired([call("a", "f", "{}", index=0)], [nothing])[1] == []


@pytest.mark.parametrize("odd", [7, "x", None, {"index": 0}, {"function": 7}, {"index": -1, "type": "function"}, []])
def test_what_is_no_call_is_left_out(odd: Any) -> None:
    assert repaired([odd]) == [[]]


def test_no_more_calls_are_remembered_than_anybody_makes() -> None:
    pieces = [[call(f"c{n}", "f", "{}", index=n)] for n in range(MOST_CALLS + 5)]
    assert sum(map(len, repaired(*pieces))) == MOST_CALLS


maybe = st.none() | st.sampled_from(["", "a", "b", "null"])
pieces = st.fixed_dictionaries(
    {},
    optional={
        "index": st.none() | st.integers(-1, 2) | st.sampled_from(["0", 1.5]),
        "id": maybe,
        "type": st.none() | st.sampled_from(["", "function"]),
        "function": st.none()
        | st.fixed_dictionaries({}, optional={"name": maybe, "arguments": maybe | st.just({}) | st.just("{}")}),
        "custom": st.none() | st.fixed_dictionaries({}, optional={"name": maybe, "input": maybe}),
    },
)


@settings(deadline=None)
@given(st.lists(st.lists(pieces | st.none() | st.integers(), max_size=3), max_size=8))
def test_whatever_hosts_tell_of_calls_can_be_put_together(told: list[list[Any]]) -> None:
    calls, ids = ToolCalls("x"), []
    for item in [*(item for piece in told for item in calls.take(piece)), *calls.rest()]:
        part = item.get("function") or item.get("custom") or {}
        assert 0 <= item["index"] <= len(ids)
        if item["index"] == len(ids):
            assert item["id"]
            assert item["type"]
            assert "name" in part
            ids.append(item["id"])
        else:
            assert "id" not in item
            assert "name" not in part
        assert isinstance(part.get("arguments", part.get("input", "")), str)
    assert len(set(ids)) == len(ids)


# ---- thinking

# Each: the texts that one detail has, frame by frame -> what is passed on of each.
DETAILS: list[tuple[list[str], list[str]]] = [
    (["Let me", " think", "."], ["Let me", " think", "."]),
    (["Let me", "Let me think", "Let me think."], ["Let me", " think", "."]),
    (["Let me", "Let me think", "Let me think"], ["Let me", " think"]),
    (["", "Hm"], ["", "Hm"]),
]


def details_of(*told: list[Any]) -> list[Any]:
    """The details that are told of these, from a host that repeats them."""
    quirks = Quirks(answer=AnswerQuirks(cumulative_details=True))
    decoder = openai_chat.Decoder(Provider(id="mock", name="Mock", quirks=quirks))
    events: list[Event] = []
    for details in told:
        frame = {"choices": [{"index": 0, "delta": {"reasoning_details": details}, "finish_reason": None}]}
        events += decoder.feed(b"data: %b\n\n" % json.dumps(frame).encode())
    chunks = [json.loads(bytes(fields_of(event)["choices"])) for event in events if isinstance(event, Verbatim)]
    return [each for (choice,) in chunks for each in choice["delta"].get("reasoning_details", ())]


@pytest.mark.parametrize(("told", "passed"), DETAILS)
def test_thoughts_that_are_told_from_the_start_each_time_are_passed_on_once(told: list[str], passed: list[str]) -> None:
    found = details_of(*([{"type": "reasoning.text", "index": 0, "text": text}] for text in told))
    assert [each["text"] for each in found] == passed


def test_thoughts_that_are_no_text_stay() -> None:
    assert details_of([{"type": "reasoning.encrypted", "index": 0, "data": "x"}, 7]) == [
        {"type": "reasoning.encrypted", "index": 0, "data": "x"},
    ]
