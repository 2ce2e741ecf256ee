"""Ollama's API towards clients: what they say, read; what they get, in lines and whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from counts import billed

from infron.conversation import Media, Message, Text, Thinking, Tool, ToolCall, ToolResult
from infron.errors import InvalidRequest, ProviderUnavailable, Unsupported
from infron.events import Event, Finished, Started, TextDelta, ThinkingDelta, ToolCallDelta, ToolCallStarted
from infron.request import Request, Target
from infron.wires import ollama

HI = {"role": "user", "content": "Hi"}
PNG = "iVBORw0KGgo="
CALL = {"function": {"name": "f", "arguments": {"a": 1}}}


def chat(**fields: Any) -> Request:
    body = {"model": "m:latest", "messages": [HI], **fields}
    return ollama.parse(json.dumps(body).encode(), [], Target(path="/api/chat"))


def generate(**fields: Any) -> Request:
    body = {"model": "m", "prompt": "Hi", **fields}
    return ollama.parse(json.dumps(body).encode(), [], Target(path="/api/generate"))


def test_ollama_request_is_streamed_unless_it_says_otherwise() -> None:
    assert (chat().stream, chat(stream=True).stream, chat(stream=False).stream) == (True, True, False)
    assert (chat().model, chat().form, generate().form) == ("m", "/api/chat", "/api/generate")


def test_ollama_history_is_read_with_its_calls_in_order() -> None:
    history = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Look.", "images": [PNG]},
        {"role": "assistant", "thinking": "Hm.", "content": "So:", "tool_calls": [CALL, {"function": {"name": "g"}}]},
        {"role": "tool", "tool_name": "g", "content": "of g"},
        {"role": "tool", "content": "of f"},
        {"role": "assistant", "content": "", "tool_calls": [{**CALL, "id": "own"}]},
        {"role": "tool", "tool_call_id": "own", "content": "2"},
    ]
    assert chat(messages=history).conversation.messages == (
        Message("system", (Text("Be brief."),)),
        Message("user", (Text("Look."), Media(kind="image", mime="image/png", data=PNG))),
        Message("assistant", (
            Thinking(text="Hm."), Text("So:"),
            ToolCall(id="call_1", name="f", arguments='{"a":1}'), ToolCall(id="call_2", name="g", arguments="{}"),
        )),
        Message("tool", (ToolResult(call_id="call_2", name="g", parts=(Text("of g"),)),)),
        Message("tool", (ToolResult(call_id="call_1", name="f", parts=(Text("of f"),)),)),
        Message("assistant", (ToolCall(id="own", name="f", arguments='{"a":1}'),)),
        Message("tool", (ToolResult(call_id="own", name="f", parts=(Text("2"),)),)),
    )  # fmt: skip


def test_ollama_options_are_fields_of_their_neutral_names() -> None:
    options = {"temperature": 0.5, "num_predict": 9, "stop": "x", "repeat_penalty": 1.1, "num_ctx": 4096, "seed": None}
    schema = {"type": "object", "properties": {}}
    tool = {"type": "function", "function": {"name": "f", "description": "F.", "parameters": schema}}
    asked = chat(options=options, format=schema, think="high", tools=[tool], keep_alive="5m").conversation
    assert (asked.max_tokens, asked.stop) == (9, ("x",))
    assert asked.fields == {"temperature": 0.5, "repetition_penalty": 1.1}
    assert asked.asked["ollama num_ctx"] == ("options.num_ctx",)
    assert asked.response_format is not None
    assert asked.response_format.schema == schema
    assert asked.reasoning is not None
    assert asked.reasoning.effort == "high"
    assert asked.tools == (Tool(name="f", description="F.", schema=schema),)
    assert chat(options={"num_predict": -1}).conversation.max_tokens is None
    assert chat(format="").conversation.response_format is None


@pytest.mark.parametrize(
    ("request_of", "fields", "place"),
    [
        (chat, {"messages": []}, "messages"),
        (chat, {"messages": [{"role": "owl", "content": ""}]}, "messages[0].role"),
        (chat, {"format": 1}, "format"),
        (chat, {"think": "sideways"}, "think"),
        (chat, {"options": [1]}, "options"),
        (generate, {"prompt": ""}, "prompt"),
        (generate, {"images": [1]}, "images"),
    ],
)
def test_ollama_request_that_is_malformed_is_refused_by_its_place(request_of: Any, fields: Any, place: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        _ = request_of(**fields).conversation
    assert raised.value.param == place


@pytest.mark.parametrize("fields", [{"raw": True}, {"suffix": "x"}, {"context": [1]}, {"template": "x"}])
def test_ollama_request_that_no_provider_could_answer_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Unsupported):
        _ = generate(**fields).conversation


EVENTS: list[Event] = [
    Started("x"), ThinkingDelta("H"), ThinkingDelta("m."), TextDelta("So"), TextDelta("\u2028:"), TextDelta("no", 1),
    ToolCallStarted(0, "t1", "f"), ToolCallStarted(1, "t2", "g"), ToolCallDelta(0, '{"a":'), ToolCallDelta(0, "1}"),
    ToolCallDelta(1, '{"cut'), Finished("length"),
]  # fmt: skip


def lines(request: Request, events: list[Event]) -> list[dict[str, Any]]:
    encoder = ollama.Encoder("gen-1", 1, request)
    told = [encoder.keep_alive() + encoder.encode(event) for event in events]  # type: ignore[arg-type]
    data = b"".join([*told, encoder.usage(billed(prompt=7, completion=3)), encoder.close()])
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.decode().splitlines()]  # as httpx splits them


def whole(request: Request, events: list[Event]) -> dict[str, Any]:
    accumulator = ollama.Accumulator("gen-1", 1, request)
    for event in events:
        accumulator.add(event)  # type: ignore[arg-type]
    return json.loads(accumulator.answer(billed(prompt=7, completion=3)))  # type: ignore[no-any-return]


def test_ollama_stream_and_whole_answer_tell_the_same() -> None:
    told = lines(chat(), EVENTS)
    calls = [
        {"id": "t1", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}},
        {"id": "t2", "function": {"index": 1, "name": "g", "arguments": {}}},
    ]
    assert [line["message"] for line in told] == [
        {"role": "assistant", "content": "", "thinking": "H"}, {"role": "assistant", "content": "", "thinking": "m."},
        {"role": "assistant", "content": "So"}, {"role": "assistant", "content": "\u2028:"},
        {"role": "assistant", "content": "", "tool_calls": calls}, {"role": "assistant", "content": ""},
    ]  # fmt: skip
    assert [line["done"] for line in told] == [False] * 5 + [True]
    found = whole(chat(), EVENTS)
    assert found["message"] == {"role": "assistant", "content": "So\u2028:", "thinking": "Hm.", "tool_calls": calls}
    for last in (told[-1], found):
        assert (last["done_reason"], last["prompt_eval_count"], last["eval_count"]) == ("length", 7, 3)
        assert (last["created_at"], last["model"]) == ("1970-01-01T00:00:01Z", "m")


def test_ollama_generates_text_under_its_own_name() -> None:
    told = lines(generate(), [ThinkingDelta("Hm."), TextDelta("a"), Finished("stop")])
    assert [(line["response"], line.get("thinking")) for line in told] == [("", "Hm."), ("a", None), ("", None)]
    found = whole(generate(), [TextDelta("a"), TextDelta("b"), Finished("tool_calls")])
    assert (found["response"], found["done_reason"]) == ("ab", "stop")


def test_ollama_error_is_a_sentence() -> None:
    assert json.loads(ollama.render_error(InvalidRequest("No."))) == {"error": "No."}
    encoder = ollama.Encoder("gen-1", 1, chat())
    encoder.encode(TextDelta("a"))
    assert "ended without a finish" in json.loads(encoder.fail(ProviderUnavailable("Gone.")))["error"]
