"""Whole answers: a stream folded to one JSON, and the fields that carry counts and money."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest
from asking import asking
from counts import NOTHING, billed
from msgspec import Raw

from infron.catalog.definitions import Provider
from infron.events import Billed, Verbatim
from infron.money import Charge, Usage
from infron.wires.openai.chat import Decoder
from infron.wires.openai.chat.answer import Accumulator, cost_fields, usage_object


def folded(*frames: dict[str, Any], used: Billed = NOTHING) -> dict[str, Any]:
    decoder, folder = Decoder(Provider(id="mock", name="Mock")), Accumulator("gen-1", 123, asking(model="a/b"))
    stream = b"".join(b"data: %b\n\n" % json.dumps(frame).encode() for frame in frames)
    for event in decoder.feed(stream) + decoder.close():
        if isinstance(event, Verbatim):
            folder.add(event)
    answer: dict[str, Any] = json.loads(folder.answer(used))
    return answer


def one(delta: dict[str, Any], finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    return {"id": "up-1", "choices": [{"index": index, "delta": delta, "finish_reason": finish, **more}]}


def choice(*frames: dict[str, Any]) -> dict[str, Any]:
    only: dict[str, Any]
    (only,) = folded(*frames)["choices"]
    return only


def test_text_is_joined_and_the_root_is_ours() -> None:
    answer = folded(
        one({"role": "assistant", "content": ""}),
        {**one({"content": "Hello"}), "system_fingerprint": "fp", "x_vendor": {"a": 1}},
        one({"content": " world"}),
        one({}, "stop"),
        used=billed(prompt=1),
    )
    counts = answer.pop("usage")
    assert (counts["prompt_tokens"], counts["completion_tokens"], counts["cost"]) == (1, 0, None)
    assert answer == {
        "id": "gen-1",
        "object": "chat.completion",
        "created": 123,
        "model": "a/b",
        "provider": "mock",
        "system_fingerprint": "fp",
        "x_vendor": {"a": 1},
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello world"}, "finish_reason": "stop"}],
        "cost": None,
        "cost_details": None,
    }


def call(index: int | None = None, **fields: Any) -> dict[str, Any]:
    return {"tool_calls": [{**({} if index is None else {"index": index}), **fields}]}


def test_tool_calls_are_merged_by_index_and_lose_it() -> None:
    found = choice(
        one(
            {
                "role": "assistant",
                "content": None,
                **call(0, id="a", type="function", function={"name": "f", "arguments": ""}),
            }
        ),
        one(call(1, id="b", type="function", function={"name": "g", "arguments": '{"y"'})),
        one(call(0, function={"arguments": '{"x"'})),
        one(call(1, function={"arguments": ":2}"})),
        one(call(0, id="a", type="function", function={"name": "f", "arguments": ":1}"})),
        one({}, "tool_calls"),
    )
    assert found["message"] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": '{"y":2}'}},
        ],
    }


def test_tool_calls_without_an_index_are_told_apart_by_their_ids() -> None:
    found = choice(
        one(call(id="a", function={"name": "f", "arguments": "{"})),
        one(call(function={"arguments": "}"})),
        one(call(id="b", function={"name": "g", "arguments": ""})),
        one({}, "tool_calls"),
    )
    assert found["message"]["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},  # clients parse the arguments
    ]


def test_logprobs_are_continued() -> None:
    first, last = ({"token": token, "logprob": -0.5, "top_logprobs": []} for token in "ac")
    found = choice(
        one({"content": "a"}, logprobs={"content": [first], "refusal": None}),
        one({"content": "b"}, logprobs=None),
        one({"content": "c"}, logprobs={"content": [last]}),
        one({}, "stop"),
    )
    assert found["logprobs"] == {"content": [first, last], "refusal": None}


def test_reasoning_is_continued_and_its_details_are_merged_by_index() -> None:
    found = choice(
        one({"reasoning": "Hm", "reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "Hm"}]}),
        one({"reasoning": ".", "reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "."}]}),
        one({"reasoning_details": [{"type": "reasoning.encrypted", "index": 1, "data": "AA"}]}),
        one({"content": "Yes"}, "stop"),
    )
    assert found["message"] == {
        "role": "assistant",
        "content": "Yes",
        "reasoning": "Hm.",
        "reasoning_content": "Hm.",
        "reasoning_details": [
            {"type": "reasoning.text", "index": 0, "text": "Hm."},
            {"type": "reasoning.encrypted", "index": 1, "data": "AA"},
        ],
    }


def test_a_long_answer_is_joined_once() -> None:
    # Each piece was added to all before it: an answer of n pieces cost n * n.
    folder = Accumulator("gen-1", 123, asking(model="a/b"))
    choices = b'[{"delta":{"content":"%b"},"logprobs":{"content":[{"token":"x"}]}}]'
    for n in range(20_000):
        folder.add(Verbatim({"choices": msgspec.Raw(choices % (b"%08d" % n))}, True, ""))
    pieces = folder._choices[0]["message"]["content"].parts
    assert len(pieces) == 20_000
    (choice,) = json.loads(folder.answer(NOTHING))["choices"]
    assert choice["message"]["content"] == "".join(f"{n:08}" for n in range(20_000))
    assert len(choice["logprobs"]["content"]) == 20_000


def test_two_choices_stay_apart_and_in_order() -> None:
    answer = folded(
        one({"content": "x"}, index=1),
        one({"content": "a"}),
        one({"content": "y"}, "length", index=1),
        one({"content": "b"}, "stop", native_finish_reason="eos"),
    )
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "ab"},
            "finish_reason": "stop",
            "native_finish_reason": "eos",
        },
        {"index": 1, "message": {"role": "assistant", "content": "xy"}, "finish_reason": "length"},
    ]


def test_a_refusal_stays_beside_null_content() -> None:
    found = choice(one({"role": "assistant", "content": None, "refusal": None}), one({"refusal": "No."}, "stop"))
    assert found["message"] == {"role": "assistant", "content": None, "refusal": "No."}


def test_usage_shows_the_counts_that_were_billed_over_the_providers_own() -> None:
    raw = {"prompt_tokens": 9, "total_tokens": 99, "prompt_tokens_details": {"audio_tokens": 1}, "queue_time": 0.5}
    usage = Usage(prompt=10, completion=5, cached=4, reasoning=2)
    charge = Charge(prompt=1_500_000_000_000)
    assert usage_object(Billed(usage=usage, charge=charge, estimated=False, provider="mock", raw=raw)) == {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"audio_tokens": 1, "cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2},
        "queue_time": 0.5,
        "cost": 1.5,
    }
    unknown = usage_object(Billed(usage=usage, charge=None, estimated=True, provider="mock"))
    assert (unknown["estimated"], unknown["cost"]) == (True, None)
    assert raw["prompt_tokens"] == 9


@pytest.mark.parametrize(
    ("charge", "expected"),
    [
        (None, {"cost": None, "cost_details": None}),
        (
            Charge(prompt=10**12, completion=2 * 10**12, cached=10**11, cache_write=0, request=1),
            {
                "cost": 3.100000000001,
                "cost_details": {
                    "prompt_cost": 1.0,
                    "completion_cost": 2.0,
                    "prompt_cache_read_cost": 0.1,
                    "prompt_cache_write_cost": 0.0,
                    "request_cost": 1e-12,
                },
            },
        ),
    ],
)
def test_money_is_shown_in_dollars(charge: Charge | None, expected: dict[str, Any]) -> None:
    assert cost_fields(charge) == expected


@pytest.mark.parametrize("name", ["tool_calls", "reasoning_details", "images", "annotations"])
def test_many_items_of_a_list_are_folded_in_time_that_grows_with_their_number(name: str) -> None:
    """One frame of 420 kB stopped the loop for 15 s: each item was compared with all before it."""

    def seconds(count: int) -> float:
        items = [{"index": index, "type": "t"} for index in range(count)]
        chunk = Verbatim({"choices": Raw(msgspec.json.encode([{"index": 0, "delta": {name: items}}]))}, True, "")
        folder = Accumulator("gen-1", 123, asking(model="a/b"))
        began = time.thread_time()
        folder.add(chunk)
        folder.add(chunk)
        return time.thread_time() - began

    assert seconds(40_000) < 40 * seconds(4_000) + 0.1


def test_items_inside_of_an_item_are_matched_too() -> None:
    found = choice(
        one({"images": [{"index": 0, "parts": [{"index": 0, "text": "a"}, "x"]}]}),
        one({"images": [{"index": 0, "parts": [{"index": 0, "text": "b"}, {"index": [], "text": "c"}]}]}),
        one({}, "stop"),
    )
    assert found["message"]["images"] == [{"parts": [{"index": 0, "text": "ab"}, "x", {"index": [], "text": "c"}]}]
