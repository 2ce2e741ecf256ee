"""Neutral events as the stream of the Responses API, and folded to one response: the same in both."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infron.errors import InfronError, InvalidRequest, ProviderError, ProviderUnavailable
from infron.events import (
    AnyClientEvent,
    Billed,
    Finished,
    MediaDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from infron.money import Usage
from infron.request import Request
from infron.wires.openai.responses import Accumulator, Encoder, parse

BILLED = Billed(
    usage=Usage(prompt=20, completion=9, cached=4, reasoning=2), charge=None, estimated=False, provider="mock"
)
Frames = list[tuple[str, dict[str, Any]]]


def asked(**fields: Any) -> Request:
    return parse(json.dumps({"model": "m", "input": "Hi", **fields}).encode(), [])


def read(stream: bytes) -> Frames:
    frames = []
    for block in stream.split(b"\n\n")[:-1]:
        name, data = block.split(b"\n")
        value = json.loads(data.removeprefix(b"data: "))
        assert name == f"event: {value['type']}".encode()
        frames.append((value["type"].removeprefix("response."), value))
    assert [value["sequence_number"] for _, value in frames] == list(range(len(frames)))
    return frames


def told(*events: AnyClientEvent, error: InfronError | None = None, **fields: Any) -> Frames:
    """The stream of these events, which ends in a response that is the same as the folded one."""
    request = asked(**fields)
    encoder, accumulator = Encoder("gen-1-abc", 1, request), Accumulator("gen-1-abc", 1, request)
    stream = b"".join([encoder.encode(event) for event in events])
    if error is not None:
        return read(stream + encoder.fail(error))
    frames = read(stream + encoder.usage(BILLED) + encoder.close())
    for event in events:
        accumulator.add(event)
    assert json.loads(accumulator.answer(BILLED)) == frames[-1][1]["response"]
    return frames


def kinds(frames: Frames) -> list[str]:
    return [kind for kind, _ in frames]


def outputs(frames: Frames) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = frames[-1][1]["response"]["output"]
    return found


def test_each_item_is_added_before_it_grows_and_done_before_the_end() -> None:
    frames = told(
        ThinkingDelta("Hm."), TextDelta("a"), TextDelta("b"), RefusalDelta("c"), ToolCallStarted(0, "call_1", "f"),
        ToolCallDelta(0, "{}"), TextDelta("d"), MediaDelta("image/png", "AAAA"), Finished("tool_calls"),
    )  # fmt: skip
    open: set[str] = set()
    done: list[str] = []
    for kind, data in frames:
        if kind == "output_item.added":
            assert data["item"]["status"] == "in_progress"
            open.add(data["item"]["id"])
        elif kind == "output_item.done":
            open.remove(data["item"]["id"])
            done.append(data["item"]["id"])
        elif "item_id" in data:
            assert data["item_id"] in open
    assert not open
    assert sorted(done) == sorted(item["id"] for item in outputs(frames))
    assert len(set(done)) == 5
    assert [item["type"] for item in outputs(frames)] == [
        "reasoning", "message", "function_call", "message", "image_generation_call"
    ]  # fmt: skip
    assert [part["type"] for part in outputs(frames)[1]["content"]] == ["output_text", "refusal"]


def test_calls_whose_pieces_come_in_turn_are_told_apart() -> None:
    frames = told(
        ToolCallStarted(0, "call_x", "f"), ToolCallStarted(1, "call_y", "g"), ToolCallDelta(0, '{"a"'),
        ToolCallDelta(1, '{"b"'), ToolCallDelta(0, ":1}"), ToolCallDelta(1, ":2}"), Finished("tool_calls"),
    )  # fmt: skip
    pieces: dict[int, str] = {}
    for kind, data in frames:
        if kind == "function_call_arguments.delta":
            pieces[data["output_index"]] = pieces.get(data["output_index"], "") + data["delta"]
    assert pieces == {0: '{"a":1}', 1: '{"b":2}'}
    assert [(item["call_id"], item["arguments"]) for item in outputs(frames)] == [
        ("call_x", '{"a":1}'),
        ("call_y", '{"b":2}'),
    ]


@pytest.mark.parametrize(
    ("arguments", "wanted"), [('{"input": "*** Begin"}', "*** Begin"), ("plain text", "plain text"), ("", "")]
)
def test_call_of_a_custom_tool_has_its_text(arguments: str, wanted: str) -> None:
    tools = [{"type": "custom", "name": "apply_patch"}]
    deltas = [ToolCallDelta(0, arguments)] if arguments else []
    frames = told(ToolCallStarted(0, "call_1", "apply_patch"), *deltas, Finished("tool_calls"), tools=tools)
    (item,) = outputs(frames)
    assert (item["type"], item["name"], item["input"], item["id"][:4]) == (
        "custom_tool_call",
        "apply_patch",
        wanted,
        "ctc_",
    )
    assert kinds(frames)[-4:] == [
        "custom_tool_call_input.delta", "custom_tool_call_input.done", "output_item.done", "completed"
    ]  # fmt: skip


def test_call_of_a_tool_in_a_namespace_has_its_own_name() -> None:
    tools = [{"type": "namespace", "name": "agents", "tools": [{"type": "function", "name": "spawn"}]}]
    frames = told(ToolCallStarted(0, "call_1", "agents__spawn"), Finished("tool_calls"), tools=tools)
    (item,) = outputs(frames)
    assert (item["name"], item["namespace"], item["arguments"]) == ("spawn", "agents", "{}")


@pytest.mark.parametrize(("reason", "word"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_answer_that_is_cut_is_incomplete_and_so_is_what_was_cut(reason: str, word: str) -> None:
    """A call whose arguments are cut must not look like one to be run."""
    frames = told(TextDelta("Half"), Finished(reason))
    assert frames[-1][0] == "incomplete"
    response = frames[-1][1]["response"]
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": word})
    assert [item["status"] for item in response["output"]] == ["incomplete"]
    calls = told(
        TextDelta("I call."), ToolCallStarted(0, "call_1", "f"), ToolCallDelta(0, "{}"),
        ToolCallStarted(1, "call_2", "f"), ToolCallDelta(1, '{"a": "b'), Finished(reason),
    )  # fmt: skip
    assert [item["status"] for item in outputs(calls)] == ["completed", "completed", "incomplete"]


def test_failure_before_anything_begins_a_response_and_fails_it() -> None:
    frames = told(Started("x"), error=ProviderUnavailable("It is away."))
    assert kinds(frames) == ["created", "in_progress", "failed"]
    response = frames[-1][1]["response"]
    assert (response["status"], response["error"]["code"], response["output"]) == ("failed", "server_error", [])


def test_failure_in_the_stream_keeps_what_was_said() -> None:
    frames = told(TextDelta("Hel"), TextDelta("lo"), error=ProviderUnavailable("It broke off."))
    response = frames[-1][1]["response"]
    assert (kinds(frames)[-1], response["usage"]) == ("failed", None)
    (item,) = response["output"]
    assert (item["status"], item["content"][0]["text"]) == ("incomplete", "Hello")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (
            ProviderError("Wait.", status=429, error_type="rate_limit_exceeded", safe_to_retry=True),
            "rate_limit_exceeded",
        ),
        (ProviderError("Full.", status=503, error_type="provider_overloaded", safe_to_retry=True), "server_error"),
        (InvalidRequest("Too long.", code="context_length_exceeded"), "context_length_exceeded"),
    ],
)
def test_failure_has_a_code_that_agents_act_on(error: InfronError, code: str) -> None:
    """`server_is_overloaded` would end Codex's turn, where it tries again after `server_error`."""
    assert told(TextDelta("a"), error=error)[-1][1]["response"]["error"]["code"] == code


def test_response_repeats_what_was_asked() -> None:
    said = {
        "instructions": "Be brief.", "max_output_tokens": 50, "max_tool_calls": 3, "metadata": {"a": "b"},
        "parallel_tool_calls": False, "reasoning": {"effort": "low", "summary": "auto"}, "safety_identifier": "s",
        "service_tier": "flex", "store": False, "temperature": 0.5, "top_p": 0.25, "truncation": "auto", "user": "ann",
        "text": {"format": {"type": "json_object"}, "verbosity": "low"}, "prompt_cache_key": "k",
        "tools": [{"type": "function", "name": "f", "parameters": None, "strict": None}], "tool_choice": "required",
    }  # fmt: skip
    frames = told(TextDelta("Hi"), Finished("stop"), **said)
    for kind, data in frames:
        if "response" in data:
            assert {name: data["response"][name] for name in said} == said, kind
    response = frames[-1][1]["response"]
    assert response["usage"] == {
        "input_tokens": 20,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 29,
    }


def test_reasoning_is_told_sealed_where_that_is_asked_for() -> None:
    events = [ThinkingDelta("Hm."), ThinkingDelta(signature="c2ln", format="x"), TextDelta("a"), Finished("stop")]
    open, sealed = told(*events), told(*events, include=["reasoning.encrypted_content"])
    assert outputs(open)[0]["encrypted_content"] is None
    assert outputs(sealed)[0]["encrypted_content"]
