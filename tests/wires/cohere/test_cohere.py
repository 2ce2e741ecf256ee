"""Cohere: what becomes of a chat request, what its errors mean, and that a stream costs only what it holds."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from infron.catalog.load import load_catalog
from infron.conversation import Conversation, Message, Text, Thinking, ToolCall, ToolResult
from infron.errors import InfronError, ProviderError, ProviderMisconfigured, ProviderUnavailable, Unsupported
from infron.events import TextDelta
from infron.request import Outgoing
from infron.wires import PROVIDER_WIRES
from infron.wires.cohere import encode_request
from infron.wires.cohere.decoder import Decoder, parse_error
from infron.wires.cohere.request import encode
from infron.wires.openai.chat.request import parse

ROW = load_catalog({}, {}, {}, wires=PROVIDER_WIRES).providers["cohere"]
TOOL = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": {"type": "object"}}}
OTHER = {"type": "function", "function": {"name": "now"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
PIXEL = "data:image/png;base64,AAAA"


def outgoing(**fields: Any) -> Outgoing:
    body = {"model": "cohere/command-a-03-2025", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return encode_request(parse(json.dumps(body).encode(), []), ROW, "command-a-03-2025", True)


def sent(**fields: Any) -> Any:
    return json.loads(outgoing(**fields).body)


def said(*messages: dict[str, Any]) -> Any:
    return sent(messages=list(messages))["messages"]


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


# ---- requests


def test_a_plain_request_is_the_model_a_stream_and_the_messages() -> None:
    assert sent(stream=True, stream_options={"include_usage": True}) == {
        "model": "command-a-03-2025",
        "stream": True,
        "messages": [{"role": "user", "content": "Hi"}],
    }
    assert outgoing(stream=True).dropped == ()


def test_system_and_developer_messages_stay_where_they_are() -> None:
    found = said(
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    )
    assert found == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]


def test_pictures_are_the_users_by_address_or_by_value() -> None:
    found = said(
        user(
            {"type": "text", "text": "What?"},
            {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        )
    )
    assert found[0]["content"] == [
        {"type": "text", "text": "What?"},
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]


@pytest.mark.parametrize(
    "message",
    [
        user({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}),
        user({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}),
        {"role": "system", "content": [{"type": "image_url", "image_url": {"url": PIXEL}}]},
    ],
)
def test_content_that_cohere_cannot_take_is_refused_by_its_place(message: dict[str, Any]) -> None:
    with pytest.raises(Unsupported) as caught:
        said({"role": "user", "content": "Hi"}, message)
    assert caught.value.param == "messages[1]"


def test_plain_text_documents_go_to_the_list_of_documents_so_that_they_are_cited() -> None:
    body = sent(
        messages=[
            user(
                {"type": "text", "text": "Sum up."},
                {"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,w6QgYg=="}},
            )
        ],
        documents=[{"id": "1", "data": {"text": "x"}}],
    )
    assert body["messages"] == [{"role": "user", "content": "Sum up."}]
    assert body["documents"] == [{"id": "1", "data": {"text": "x"}}, {"data": {"text": "ä b", "title": "a.txt"}}]


def test_text_before_a_tool_call_is_its_plan_and_an_absent_content_stays_absent() -> None:
    found = said(
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "I look.", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "20 degrees"},
        {"role": "assistant", "content": None, "tool_calls": [{**CALL, "id": "c2"}]},
    )
    assert found[1:4] == [
        {"role": "assistant", "tool_plan": "I look.", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "20 degrees"},
        {"role": "assistant", "tool_calls": [{**CALL, "id": "c2"}]},
    ]


def test_a_plan_that_was_told_as_thoughts_comes_back_as_the_plan() -> None:
    found = said({"role": "user", "content": "Hi"}, {"role": "assistant", "reasoning": "I look.", "tool_calls": [CALL]})
    assert found[1] == {"role": "assistant", "tool_plan": "I look.", "tool_calls": [CALL]}


def test_thoughts_are_replayed_and_those_of_others_are_not() -> None:
    conversation = Conversation(
        messages=(
            Message("user", (Text("Hi"),)),
            Message(
                "assistant",
                (Thinking(text="Hm."), Thinking(text="Ah.", format="anthropic-claude-v1", signature="s"), Text("Hi")),
            ),
        )
    )
    assert encode(conversation, "m")["messages"][1] == {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Hi"}],
    }


def test_results_that_are_json_objects_are_documents_and_others_text() -> None:
    results = (
        ToolResult(call_id="a", parts=(Text('{"t": 20.0, "t": 21}'),)),
        ToolResult(call_id="b", parts=(Text("[1]"),)),
        ToolResult(call_id="c", parts=(Text("{broken"), Text('{"ok":true}'))),
        ToolResult(call_id="d"),
    )
    call = ToolCall(id="a", name="f", arguments="{}")
    conversation = Conversation(messages=(Message("assistant", (call,)), Message("tool", results)))
    raw = encode_and_load(conversation)
    assert [message["content"] for message in raw[1:]] == [
        [{"type": "document", "document": {"data": {"t": 21}}}],
        "[1]",
        [{"type": "text", "text": "{broken"}, {"type": "document", "document": {"data": {"ok": True}}}],
        "",
    ]
    assert [message["tool_call_id"] for message in raw[1:]] == ["a", "b", "c", "d"]


def encode_and_load(conversation: Conversation) -> Any:
    return json.loads(msgspec.json.encode(encode(conversation, "m")["messages"]))


@pytest.mark.parametrize(
    ("choice", "expected", "names"),
    [
        ("auto", None, ["weather", "now"]),
        ("none", "NONE", ["weather", "now"]),
        ("required", "REQUIRED", ["weather", "now"]),
        ({"type": "function", "function": {"name": "now"}}, "REQUIRED", ["now"]),
    ],
)
def test_a_tool_that_is_named_is_the_only_one_that_is_offered(choice: Any, expected: Any, names: list[str]) -> None:
    body = sent(tools=[TOOL, OTHER], tool_choice=choice, parallel_tool_calls=False)
    assert body.get("tool_choice") == expected
    assert [tool["function"]["name"] for tool in body["tools"]] == names
    assert outgoing(tools=[TOOL], parallel_tool_calls=False).dropped == ("parallel_tool_calls",)


def test_tools_keep_their_schema_and_strictness_is_said_once_for_all() -> None:
    strict = {"type": "function", "function": {"name": "s", "strict": True, "parameters": {"type": "object"}}}
    body = sent(tools=[TOOL, OTHER, strict])
    assert body["strict_tools"] is True
    assert body["tools"] == [
        TOOL,
        {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
        {"type": "function", "function": {"name": "s", "parameters": {"type": "object"}}},
    ]


def test_tools_of_another_provider_are_refused() -> None:
    with pytest.raises(Unsupported, match=r"tools\[1\]"):
        sent(tools=[TOOL, {"type": "web_search"}])


def test_sampling_goes_under_coheres_names_and_within_its_limits() -> None:
    body = sent(
        temperature=1.7,
        top_p=1,
        top_k=900,
        seed=-3,
        frequency_penalty=-1.5,
        presence_penalty=0.5,
        stop=["a", "b"],
        max_completion_tokens=50,
    )
    del body["messages"], body["model"], body["stream"]
    assert body == {
        "temperature": 1,
        "p": 0.99,
        "k": 500,
        "seed": 0,
        "frequency_penalty": 0,
        "presence_penalty": 0.5,
        "stop_sequences": ["a", "b"],
        "max_tokens": 50,
    }


def test_what_only_cohere_knows_passes_as_it_is() -> None:
    own = {
        "citation_options": {"mode": "FAST"},
        "k": 3,
        "p": 0.5,
        "priority": 1,
        "safety_mode": "STRICT",
        "thinking": {"type": "enabled", "token_budget": 5},
    }
    body = sent(**own, top_p=0.9, reasoning={"effort": "none"})
    assert {name: body[name] for name in own} == own
    assert outgoing(**own).dropped == ()


@pytest.mark.parametrize(
    ("reasoning", "expected"),
    [
        ({"effort": "high"}, {"type": "enabled"}),
        ({"effort": "none"}, {"type": "disabled"}),
        ({"max_tokens": 0}, {"type": "disabled"}),
        ({"max_tokens": 512}, {"type": "enabled", "token_budget": 512}),
        ({"enabled": True}, {"type": "enabled"}),
        ({"exclude": True}, None),
    ],
)
def test_a_wish_to_reason_is_a_switch_and_a_budget(reasoning: dict[str, Any], expected: Any) -> None:
    assert sent(reasoning=reasoning).get("thinking") == expected


def test_a_schema_goes_without_its_envelope() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    asked = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": schema}}
    assert sent(response_format=asked)["response_format"] == {"type": "json_object", "json_schema": schema}
    assert sent(response_format={"type": "json_object"})["response_format"] == {"type": "json_object"}


def test_what_excludes_tools_gives_way_to_them_and_is_named() -> None:
    fields = {"tools": [TOOL], "response_format": {"type": "json_object"}, "safety_mode": "STRICT"}
    body = sent(**fields)
    assert "tools" in body
    assert not {"response_format", "safety_mode"} & body.keys()
    assert outgoing(**fields).dropped == ("response_format", "safety_mode")


def test_what_cohere_cannot_take_is_left_out_by_name() -> None:
    fields = {
        "n": 2,
        "logprobs": True,
        "logit_bias": {"1": 2},
        "user": "u",
        "metadata": {"a": "b"},
        "temperature": 0.2,
    }
    assert outgoing(**fields).dropped == ("logit_bias", "logprobs", "metadata", "n", "user")
    assert sent(**fields).keys() == {"model", "stream", "messages", "temperature"}


# ---- errors


def failure(status: int, body: str, headers: list[tuple[bytes, bytes]] | None = None, key: str = "") -> InfronError:
    return parse_error(status, headers or [], body.encode(), ROW, key, 0.0)


def test_a_rate_limit_before_the_stream_keeps_its_message_and_its_wait() -> None:
    error = failure(429, '{"id":"x","message":"Please wait and try again later"}', [(b"retry-after", b"7")])
    assert isinstance(error, ProviderError)
    assert (error.status, error.error_type, error.retry_after, error.safe_to_retry) == (
        429,
        "rate_limit_exceeded",
        7.0,
        True,
    )
    assert error.message == "Please wait and try again later"
    assert error.provider == "cohere"


@pytest.mark.parametrize(
    ("status", "expected", "again"),
    [(400, 400, False), (404, 404, True), (422, 422, False), (499, 502, True), (500, 500, True), (503, 503, True)],
)
def test_the_status_says_whose_fault_it_was(status: int, expected: int, again: bool) -> None:
    error = failure(status, '{"message":"invalid request: bad k1-secret"}', key="k1-secret")
    assert (error.status, error.safe_to_retry) == (expected, again)
    assert "k1-secret" not in error.message


@pytest.mark.parametrize("status", [401, 402, 403, 498])
def test_a_key_that_is_refused_or_blocked_is_the_operators_matter(status: int) -> None:
    error = failure(status, '{"message":"invalid api token"}')
    assert isinstance(error, ProviderMisconfigured)
    assert error.metadata["provider_status"] == status


# ---- streams


def test_the_id_of_the_answer_and_its_end_are_known() -> None:
    decoder = Decoder(ROW)
    decoder.feed(b'data: {"type":"message-start","id":"co-1","delta":{}}\n\n')
    assert (decoder.upstream_id, decoder.finished) == ("co-1", False)
    decoder.feed(b'data: {"type":"message-end","delta":{"finish_reason":"COMPLETE"}}\n\n')
    assert decoder.finished
    assert decoder.cancel is None


def test_a_frame_that_is_too_large_is_refused_in_the_providers_name() -> None:
    decoder = Decoder(ROW, 100)
    with pytest.raises(ProviderUnavailable) as caught:
        decoder.feed(b"data: " + b"x" * 200)
    assert caught.value.provider == "cohere"


def test_a_thousand_pieces_in_one_read_come_in_order() -> None:
    piece = 'data: {"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"%d "}}}}\n\n'
    events = Decoder(ROW).feed("".join(piece % n for n in range(1000)).encode())
    assert events == [TextDelta(f"{n} ") for n in range(1000)]
