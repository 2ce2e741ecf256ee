"""Anthropic's wire towards providers: what a request becomes for each generation of Claude, and errors.

The provider's streams are the byte cases of `cases/anthropic`, run by test_conformance.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infron.catalog.definitions import Provider
from infron.catalog.load import load_catalog
from infron.conversation import (
    CLAUDE,
    Conversation,
    Message,
    Part,
    Text,
    Thinking,
    ToolCall,
)
from infron.errors import (
    InfronError,
    InvalidRequest,
    ProviderError,
    ProviderMisconfigured,
    Unsupported,
)
from infron.events import Failed
from infron.policy.prices import price_of
from infron.wires import PROVIDER_WIRES, anthropic, sse
from infron.wires.anthropic.models import NEWEST, generation_of
from infron.wires.anthropic.request import encode, encode_request
from infron.wires.anthropic.words import counts_of, tier_served
from infron.wires.json_answer import ANSWER_TOOL
from infron.wires.openai.chat import request as openai_request
from infron.wires.schemas import for_claude
from infron.wires.session import GO_ON

ROW = load_catalog(environ={}, wires=PROVIDER_WIRES).providers["anthropic"]
MOCK = Provider(id="mock", name="Mock", wire="anthropic")
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n...").decode()
PDF = base64.b64encode(b"%PDF-1.7").decode()
HELLO = {"role": "user", "content": "Hello"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def sent(model: str = "claude-sonnet-5", **fields: Any) -> dict[str, Any]:
    return asked(model, **fields)[0]


def asked(model: str, **fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body for a chat request, and what was left out."""
    body = {"model": "any", "messages": [HELLO], **fields}
    request = openai_request.parse(json.dumps(body).encode(), [])
    outgoing = encode_request(request, ROW, model, False)
    return json.loads(outgoing.body), outgoing.dropped


def blocks(*messages: dict[str, Any], model: str = "claude-sonnet-5") -> list[Any]:
    return [(item["role"], item["content"]) for item in sent(model, messages=list(messages))["messages"]]


# ---- generations


@pytest.mark.parametrize(
    ("model", "sampling", "thinking", "off", "forced", "prefill", "schema", "system", "max_output"),
    [
        ("claude-fable-5-2", "none", "adaptive", "low", "no", False, True, True, 128_000),
        ("claude-opus-5-5", "none", "adaptive", "low", "no", False, True, True, 128_000),
        ("claude-sonnet-5-5", "none", "adaptive", "between_tools", "no", False, True, True, 128_000),
        ("claude-haiku-5-5", "none", "adaptive", "disabled", "yes", False, True, True, 128_000),
        ("claude-fable-5", "none", "adaptive", "low", "yes", False, True, True, 128_000),
        ("claude-opus-5-20260724", "none", "adaptive", "disabled", "yes", False, True, True, 128_000),
        ("claude-sonnet-5", "none", "adaptive", "disabled", "yes", False, True, False, 128_000),
        ("claude-opus-4-8", "none", "adaptive", "", "unthinking", False, True, True, 128_000),
        ("claude-opus-4-7", "none", "adaptive", "", "unthinking", False, True, False, 128_000),
        ("claude-opus-4-6", "one", "both", "", "unthinking", False, True, False, 128_000),
        ("claude-sonnet-4-6", "one", "both", "", "unthinking", False, True, False, 64_000),
        ("claude-opus-4-5-20251101", "one", "budget", "", "unthinking", True, True, False, 64_000),
        ("claude-haiku-4-5", "one", "budget", "", "unthinking", True, True, False, 64_000),
        ("claude-opus-4-1-20250805", "one", "budget", "", "unthinking", True, True, False, 32_000),
        ("claude-sonnet-4-20250514", "one", "budget", "", "unthinking", True, False, False, 64_000),
        ("claude-3-7-sonnet-latest", "all", "budget", "", "unthinking", True, False, False, 64_000),
        ("claude-3-5-haiku-20241022", "all", "none", "", "yes", True, False, False, 8_192),
        ("claude-3-haiku-20240307", "all", "none", "", "yes", True, False, False, 4_096),
        ("claude-2.1", "all", "none", "", "yes", True, False, False, 4_096),
    ],
)
def test_each_generation_takes_what_its_documentation_says(
    model: str,
    sampling: str,
    thinking: str,
    off: str,
    forced: str,
    prefill: bool,
    schema: bool,
    system: bool,
    max_output: int,
) -> None:
    row = generation_of(model)
    assert (row.sampling, row.thinking, row.off, row.forced) == (sampling, thinking, off, forced)
    assert (row.prefill, row.schema, row.system, row.max_output) == (prefill, schema, system, max_output)


@pytest.mark.parametrize(
    "model", ["claude-opus-6", "claude-opus-5-6", "claude-saga-1", "claude-opus-latest", "kimi-k3"]
)
def test_a_model_that_nobody_knows_is_one_of_the_newest(model: str) -> None:
    assert generation_of(model) == NEWEST


@pytest.mark.parametrize(
    "model",
    ["us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5@20250929", "anthropic/claude-sonnet-4.5"],
)
def test_other_clouds_names_of_a_model_mean_the_same(model: str) -> None:
    assert generation_of(model) == generation_of("claude-sonnet-4-5")


# ---- messages


def test_a_plain_request_is_complete() -> None:
    body = sent(messages=[{"role": "system", "content": "Be brief."}, HELLO], max_tokens=50)
    assert body == {
        "model": "claude-sonnet-5",
        "max_tokens": 50,
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
        "stream": True,
    }


def test_the_longest_answer_is_asked_for_where_no_limit_is_given() -> None:
    assert sent("claude-haiku-4-5")["max_tokens"] == 64_000
    assert sent("claude-haiku-4-5", max_completion_tokens=7)["max_tokens"] == 7


def test_limit_beyond_the_longest_answer_of_a_model_is_the_longest() -> None:
    """Clients that ask each model for the same refused an older Claude for good: it answers 400."""
    body, dropped = asked("claude-opus-4-1", max_completion_tokens=100_000)
    assert (body["max_tokens"], dropped) == (32_000, ("max_completion_tokens",))
    body, dropped = asked("claude-opus-9", max_tokens=500_000)
    assert (body["max_tokens"], dropped) == (500_000, ())


def test_empty_texts_are_not_sent_and_turns_of_one_side_are_joined() -> None:
    said = blocks(
        HELLO,
        {"role": "user", "content": [{"type": "text", "text": " "}, {"type": "text", "text": "More"}]},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "And?"},
    )
    assert said == [
        ("user", [{"type": "text", "text": text} for text in ("Hello", "More", "And?")]),
    ]


def test_pictures_and_documents_go_in_whichever_way_they_come() -> None:
    text = base64.b64encode("Grüße".encode()).decode()
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "high"}},
        {"type": "image_url", "image_url": {"url": f"data:image/jpg;base64,{PNG}"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.webp"}},
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": f"data:text/plain;base64,{text}"}},
        {"type": "file", "file": {"file_id": "file_1"}},
    ]
    request = openai_request.parse(
        json.dumps({"model": "m", "messages": [{"role": "user", "content": parts}]}).encode(), []
    )
    outgoing = encode_request(request, ROW, "claude-opus-5", False)
    assert outgoing.headers == (("anthropic-beta", "files-api-2025-04-14"),)
    png = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    assert json.loads(outgoing.body)["messages"][0]["content"] == [
        png,
        png,  # what it is, not what it is called
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.webp"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
            "title": "a.pdf",
        },
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Grüße"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
    ]


@pytest.mark.parametrize(
    ("part", "what"),
    [
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, "audio"),
        ({"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}}, "video"),
        ({"type": "image_url", "image_url": {"url": "data:image/tiff;base64,SUkq"}}, "image/tiff"),
        ({"type": "file", "file": {"file_data": "data:application/zip;base64,UEsD"}}, "application/zip"),
    ],
)
def test_what_claude_cannot_see_is_refused_by_its_place(part: dict[str, Any], what: str) -> None:
    with pytest.raises(Unsupported) as caught:
        sent(messages=[HELLO, {"role": "assistant", "content": "?"}, {"role": "user", "content": [part]}])
    assert caught.value.param == "messages[2]"
    assert "messages[2]" in caught.value.message
    assert what in caught.value.message


def test_all_results_of_a_turn_stand_first_in_one_message() -> None:
    calls = [
        {"id": f"toolu_{n}", "type": "function", "function": {"name": "weather", "arguments": arguments}}
        for n, arguments in enumerate(('{"city": "Oslo",  "n": 1.0}', ""))
    ]
    said = blocks(
        HELLO,
        {"role": "assistant", "content": "Both.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "toolu_0", "content": "rain"},
        {
            "role": "tool",
            "tool_call_id": "toolu_1",
            "is_error": True,
            "content": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}],
        },
        {"role": "user", "content": "Well?"},
    )
    assert said[1:] == [
        (
            "assistant",
            [
                {"type": "text", "text": "Both."},
                {"type": "tool_use", "id": "toolu_0", "name": "weather", "input": {"city": "Oslo", "n": 1.0}},
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}},
            ],
        ),
        (
            "user",
            [
                {"type": "tool_result", "tool_use_id": "toolu_0", "content": [{"type": "text", "text": "rain"}]},
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
                    ],
                    "is_error": True,
                },
                {"type": "text", "text": "Well?"},
            ],
        ),
    ]


def test_arguments_go_back_byte_for_byte() -> None:
    arguments = '{"b": 1e3,  "a": [1.50]}'
    call = ToolCall(id="toolu_1", name="f", arguments=arguments)
    turns = (Message("user", (Text("?"),)), Message("assistant", (call,)))
    body = encode(Conversation(messages=turns), "claude-opus-5").body
    assert f'"input":{arguments}'.encode() in msgspec.json.encode(body)


@pytest.mark.parametrize("arguments", ['{"a": ', '{"a": 1 "b": 2}', "null", "[1]", '"x"'])
def test_arguments_that_are_no_object_are_wrapped(arguments: str) -> None:
    # A session in whose history they stood could never go on.
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    assert blocks(HELLO, {"role": "assistant", "tool_calls": [call]})[1][1][0]["input"] == {"arguments": arguments}


def test_ids_that_the_wire_does_not_allow_are_replaced_the_same_in_call_and_result() -> None:
    call = {"id": "functions.f:0", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    said = blocks(
        HELLO,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "functions.f:0", "content": ""},
    )
    id = said[1][1][0]["id"]
    assert id.replace("_", "").isalnum()
    assert said[2][1] == [{"type": "tool_result", "tool_use_id": id}]


def test_signed_and_encrypted_thoughts_go_back_first_and_unharmed_and_foreign_ones_do_not() -> None:
    details = [
        {"type": "reasoning.text", "text": "Hm. ", "signature": "c2ln", "format": CLAUDE, "index": 0},
        {"type": "reasoning.encrypted", "data": "EmwK", "format": CLAUDE, "index": 1},
        {"type": "reasoning.text", "text": "unsigned", "format": CLAUDE, "index": 2},
        {"type": "reasoning.encrypted", "data": "gAAA", "format": "openai-responses-v1", "index": 3},
        {"type": "reasoning.text", "text": "", "signature": "bm8=", "format": CLAUDE, "index": 4},
    ]
    said = blocks(HELLO, {"role": "assistant", "content": "Yes.", "reasoning_details": details}, HELLO)
    assert said[1][1] == [
        {"type": "thinking", "thinking": "Hm. ", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "EmwK"},
        {"type": "thinking", "thinking": "", "signature": "bm8="},
        {"type": "text", "text": "Yes."},
    ]


def test_thoughts_between_the_blocks_of_a_turn_keep_their_place() -> None:
    first, second = Thinking(text="a", signature="s", format=CLAUDE), Thinking(text="b", signature="t", format=CLAUDE)
    call = ToolCall(id="c", name="f", arguments="{}")

    def order(*answers: list[Part]) -> list[str]:
        turns = (Message("user", (Text("?"),)), *(Message("assistant", tuple(parts)) for parts in answers))
        answer = encode(Conversation(messages=turns), "claude-opus-5").body["messages"][1]
        return [block["type"] for block in answer["content"]]

    assert order([first, Text("x"), second, call]) == ["thinking", "text", "thinking", "tool_use"]
    assert order([call, second, Text("x")]) == ["tool_use", "thinking", "text"]
    # What several messages say is one turn, which begins with thinking if it has any.
    assert order([Text("x")], [second, call]) == ["thinking", "text", "tool_use"]


def test_a_system_message_between_the_turns_stays_there_where_the_model_allows_it() -> None:
    later = {"role": "system", "content": "Now in French."}
    answer = {"role": "assistant", "content": "Hi"}
    leading = {"role": "system", "content": "Be brief."}
    told = ("system", [{"type": "text", "text": "Now in French."}])
    assert blocks(leading, HELLO, later, model="claude-opus-5-5")[1] == told
    assert blocks(HELLO, later, later, answer, HELLO, model="claude-opus-5-5")[1] == ("system", told[1] * 2)
    for messages, model in (
        ([HELLO, later, HELLO], "claude-opus-5-5"),  # before the user's turn
        ([HELLO, answer, later, HELLO], "claude-opus-5-5"),  # behind the model's
        ([HELLO, later], "claude-sonnet-5"),
    ):
        body = sent(model, messages=[leading, *messages])
        assert [block["text"] for block in body["system"]] == ["Be brief.", "Now in French."]
        assert "system" not in [message["role"] for message in body["messages"]]


def test_a_request_of_a_system_message_alone_becomes_the_user() -> None:
    body = sent(messages=[{"role": "system", "content": "Say hi."}])
    assert "system" not in body
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Say hi."}]}]


def test_the_beginning_of_an_answer_is_trimmed_or_asked_to_go_on() -> None:
    begun = [HELLO, {"role": "assistant", "content": "It is \n"}]
    assert sent("claude-opus-4-5", messages=begun)["messages"][1]["content"] == [{"type": "text", "text": "It is"}]
    for model in ("claude-opus-4-6", "claude-haiku-5-5"):  # which refuse it with HTTP 400
        assert sent(model, messages=begun)["messages"][2] == {
            "role": "user",
            "content": [{"type": "text", "text": GO_ON}],
        }
    thinking = sent("claude-opus-4-5", messages=begun, reasoning={"max_tokens": 2000})
    assert thinking["messages"][-1]["role"] == "user"


def test_several_answers_are_refused() -> None:
    assert "n" not in sent(n=1)
    with pytest.raises(Unsupported) as caught:
        sent(n=2)
    assert caught.value.param == "n"


# ---- marks of the cache


def test_marks_stand_where_they_were_set() -> None:
    hour = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    short = {"cache_control": {"type": "ephemeral"}}
    body = sent(
        tools=[{**WEATHER, **hour}],
        messages=[
            {"role": "system", "content": [{"type": "text", "text": "S", **hour}]},
            {"role": "user", "content": [{"type": "text", "text": "U", **short}]},
        ],
    )
    assert body["tools"][0]["cache_control"] == hour["cache_control"]
    assert body["system"] == [{"type": "text", "text": "S", **hour}]
    assert body["messages"][0]["content"] == [{"type": "text", "text": "U", **short}]


@pytest.mark.parametrize("automatic", [False, True])
def test_of_more_than_four_marks_the_last_are_kept(automatic: bool) -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": str(n), **mark} for n in range(6)]}]
    body = sent(messages=messages, tools=[{**WEATHER, **mark}], **(mark if automatic else {}))
    kept = [block["text"] for block in body["messages"][0]["content"] if "cache_control" in block]
    assert kept == (["3", "4", "5"] if automatic else ["2", "3", "4", "5"])
    assert "cache_control" not in body["tools"][0]
    assert ("cache_control" in body) is automatic


# ---- thinking and sampling

TOLD = {"type": "adaptive", "display": "summarized"}


@pytest.mark.parametrize(
    ("model", "fields", "thinking", "effort", "max_tokens"),
    [
        ("claude-opus-5-5", {"reasoning_effort": "high"}, TOLD, "high", 128_000),
        ("claude-opus-5-5", {"reasoning_effort": "minimal"}, TOLD, "low", 128_000),
        ("claude-opus-5-5", {"reasoning": {"max_tokens": 5000}}, TOLD, None, 128_000),
        ("claude-opus-5-5", {"reasoning": {"exclude": True}}, {**TOLD, "display": "omitted"}, None, 128_000),
        ("claude-opus-5-5", {}, None, None, 128_000),
        ("claude-opus-5", {"reasoning_effort": "none"}, {"type": "disabled"}, None, 128_000),
        ("claude-sonnet-5-5", {"reasoning_effort": "none"}, {"type": "between_tools"}, None, 128_000),
        ("claude-opus-5-5", {"reasoning_effort": "none"}, None, "low", 128_000),
        ("claude-opus-4-8", {"reasoning_effort": "none"}, None, None, 128_000),
        ("claude-opus-4-6", {"reasoning_effort": "xhigh"}, TOLD, "high", 128_000),
        ("claude-opus-4-6", {"reasoning_effort": "max"}, TOLD, "max", 128_000),
        (
            "claude-opus-4-6",
            {"reasoning": {"max_tokens": 5000}},
            {"type": "enabled", "budget_tokens": 5000},
            None,
            128_000,
        ),
        (
            "claude-sonnet-4-5",
            {"reasoning_effort": "medium", "max_tokens": 8000},
            {"type": "enabled", "budget_tokens": 4000},
            None,
            8000,
        ),
        (
            "claude-sonnet-4-5",
            {"reasoning_effort": "low", "max_tokens": 1000},
            {"type": "enabled", "budget_tokens": 1024},
            None,
            2024,
        ),
        (
            "claude-sonnet-4-5",
            {"reasoning": {"max_tokens": 90_000, "exclude": True}},
            {"type": "enabled", "budget_tokens": 63_999, "display": "omitted"},
            None,
            64_000,
        ),
        ("claude-3-5-haiku-latest", {"reasoning_effort": "high"}, None, None, 8192),
        # In Anthropic's own words
        ("claude-opus-5-5", {"thinking": {"type": "adaptive"}}, {"type": "adaptive"}, None, 128_000),
        ("claude-opus-5-5", {"thinking": {"type": "enabled", "budget_tokens": 9}}, TOLD, None, 128_000),
        ("claude-opus-5-5", {"thinking": {"type": "disabled"}}, None, "low", 128_000),
        ("claude-sonnet-5-5", {"thinking": {"type": "disabled"}}, {"type": "between_tools"}, None, 128_000),
        (
            "claude-opus-4-5",
            {"thinking": {"type": "adaptive"}, "max_tokens": 4000},
            {"type": "enabled", "budget_tokens": 2000},
            None,
            4000,
        ),
        (
            "claude-opus-4-5",
            {"thinking": {"type": "enabled", "budget_tokens": 2048}},
            {"type": "enabled", "budget_tokens": 2048},
            None,
            64_000,
        ),
        (
            "claude-sonnet-5-5",
            {"thinking": {"type": "between_tools"}, "reasoning_effort": "low"},
            {"type": "between_tools"},
            "low",
            128_000,
        ),
    ],
)
def test_thinking_is_asked_for_in_the_words_of_the_generation(
    model: str, fields: dict[str, Any], thinking: Any, effort: str | None, max_tokens: int
) -> None:
    body = sent(model, **fields)
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == effort
    assert body["max_tokens"] == max_tokens


@pytest.mark.parametrize(
    ("model", "fields", "kept", "dropped"),
    [
        ("claude-opus-5", {"temperature": 0.5, "top_p": 0.9, "top_k": 5}, {}, ("temperature", "top_k", "top_p")),
        ("claude-opus-4-6", {"temperature": 1.7, "top_p": 0.9, "top_k": 5}, {"temperature": 1, "top_k": 5}, ("top_p",)),
        ("claude-opus-4-6", {"top_p": 0.9}, {"top_p": 0.9}, ()),
        ("claude-3-haiku-20240307", {"temperature": 0, "top_p": 0.9}, {"temperature": 0, "top_p": 0.9}, ()),
        ("claude-opus-4-5", {"temperature": 0.5, "reasoning_effort": "low"}, {}, ("temperature",)),
        ("claude-3-haiku-20240307", {"reasoning_effort": "low"}, {}, ("reasoning_effort",)),
        ("claude-opus-5-5", {"reasoning_effort": "none"}, {}, ("reasoning_effort",)),
        ("claude-opus-5", {"seed": 1, "logit_bias": {"1": 2}}, {}, ("logit_bias", "seed")),
        ("claude-opus-5", {"frequency_penalty": 0, "logprobs": False, "store": False}, {}, ()),
    ],
)  # fmt: skip
def test_what_a_model_refuses_is_left_out_by_name(
    model: str, fields: dict[str, Any], kept: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    body, left_out = asked(model, **fields)
    assert {name: body[name] for name in ("temperature", "top_p", "top_k") if name in body} == kept
    assert left_out == dropped


# ---- tools

ANY = {"type": "any"}


@pytest.mark.parametrize(
    ("model", "fields", "choice", "dropped"),
    [
        ("claude-opus-5", {}, None, ()),
        ("claude-opus-5", {"tool_choice": "auto"}, {"type": "auto"}, ()),
        ("claude-opus-5", {"tool_choice": "none"}, {"type": "none"}, ()),
        ("claude-opus-5", {"tool_choice": "required"}, ANY, ()),
        ("claude-opus-5", {"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}, ()),
        (
            "claude-opus-5",
            {"tool_choice": {"type": "function", "function": {"name": "weather"}}, "parallel_tool_calls": False},
            {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
            (),
        ),
        ("claude-opus-5-5", {"tool_choice": "required"}, {"type": "auto"}, ("tool_choice",)),
        ("claude-opus-4-5", {"tool_choice": "required", "reasoning": {"effort": "low"}}, ANY, ("reasoning",)),
    ],
)  # fmt: skip
def test_a_choice_of_tools_is_said_in_the_words_of_the_wire(
    model: str, fields: dict[str, Any], choice: Any, dropped: tuple[str, ...]
) -> None:
    body, left_out = asked(model, tools=[WEATHER], **fields)
    assert body.get("tool_choice") == choice
    assert left_out == dropped
    assert body["tools"] == [
        {
            "name": "weather",
            "description": "Of a city",
            "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
        }
    ]


def test_tools_without_a_schema_strict_ones_and_anthropics_own() -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
    strict = {"name": "s", "strict": True, "parameters": {"properties": {"n": {"type": "integer", "minimum": 1}}}}
    body = sent(
        tools=[{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": strict}, search]
    )
    assert body["tools"] == [
        {"name": "f", "input_schema": {"type": "object", "properties": {}}},
        {
            "name": "s",
            "input_schema": {
                "type": "object",
                "properties": {"n": {"type": "integer", "description": "{minimum: 1}"}},
                "additionalProperties": False,
            },
            "strict": True,
        },
        search,
    ]
    assert "strict" not in sent("claude-3-haiku-20240307", tools=[{"type": "function", "function": strict}])["tools"][0]
    with pytest.raises(Unsupported, match="tools"):
        sent(tools=[{"type": "web_search", "search_context_size": "low"}])
    assert "tool_choice" not in sent(tool_choice="auto")


# ---- the form of the answer

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]}
AS_SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}


def test_a_schema_holds_the_answer_where_the_generation_can() -> None:
    body = sent("claude-opus-5-5", response_format=AS_SCHEMA, reasoning_effort="low")
    assert body["output_config"] == {
        "effort": "low",
        "format": {
            "type": "json_schema",
            "schema": {
                "type": "object",
                "properties": {"n": {"type": "integer", "description": "{minimum: 1}"}},
                "required": ["n"],
                "additionalProperties": False,
            },
        },
    }
    assert "tools" not in body


def test_elsewhere_a_tool_is_forced_whose_arguments_are_the_answer() -> None:
    body, dropped = asked("claude-sonnet-4-20250514", response_format=AS_SCHEMA, reasoning_effort="low")
    assert body["tools"][0]["name"] == ANSWER_TOOL
    assert body["tools"][0]["input_schema"] == SCHEMA
    assert body["tool_choice"] == {"type": "tool", "name": ANSWER_TOOL}
    assert "thinking" not in body
    assert dropped == ("reasoning_effort",)
    with_tools = sent("claude-sonnet-4-20250514", response_format=AS_SCHEMA, tools=[WEATHER])
    assert [tool["name"] for tool in with_tools["tools"]] == ["weather", ANSWER_TOOL]
    assert with_tools["tool_choice"] == {"type": "any"}


def test_any_json_comes_by_a_tool_or_else_by_words() -> None:
    wanted = {"response_format": {"type": "json_object"}}
    forced = sent("claude-opus-5", **wanted)
    assert forced["tool_choice"] == {"type": "tool", "name": ANSWER_TOOL}
    for model, more in (
        ("claude-opus-5-5", {}),
        ("claude-opus-5", {"tools": [WEATHER]}),
        ("claude-opus-4-5", {"reasoning_effort": "low"}),
    ):
        body = sent(model, **wanted, **more)
        assert "JSON" in body["system"][-1]["text"]
        assert "tool_choice" not in body


def test_a_schema_keeps_its_shape_and_tells_its_limits_in_words() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "description": "D",
        "minProperties": 1,
        "properties": {
            "pattern": {"type": "string", "pattern": "^a", "maxLength": 3},
            "when": {"type": ["string", "null"], "format": "date-time"},
            "odd": {"type": "string", "format": "isbn"},
            "many": {"type": "array", "items": {"$ref": "#/$defs/x"}, "minItems": 1, "maxItems": 4},
            "either": {"oneOf": [{"type": "integer"}, {"type": "object", "additionalProperties": True}]},
        },
        "$defs": {"x": {"enum": [1, 2]}},
    }
    before = json.dumps(schema)
    assert for_claude(schema) == {
        "type": "object",
        "description": "D\n\n{minProperties: 1}",
        "properties": {
            "pattern": {"type": "string", "description": '{pattern: "^a", maxLength: 3}'},
            "when": {"type": ["string", "null"], "format": "date-time"},
            "odd": {"type": "string", "description": '{format: "isbn"}'},
            "many": {
                "type": "array",
                "items": {"$ref": "#/$defs/x"},
                "minItems": 1,
                "description": "{maxItems: 4}",
            },
            "either": {"anyOf": [{"type": "integer"}, {"type": "object", "additionalProperties": False}]},
        },
        "$defs": {"x": {"enum": [1, 2]}},
        "additionalProperties": False,
    }
    assert json.dumps(schema) == before


# ---- the rest of the root


def test_stop_user_and_tier() -> None:
    body, dropped = asked(
        "claude-opus-5", stop=["END", " "], user="u-1", service_tier="default", metadata={"order": "7"}
    )
    assert body["stop_sequences"] == ["END"]
    assert body["metadata"] == {"user_id": "u-1"}
    assert body["service_tier"] == "standard_only"
    assert dropped == ("metadata",)
    assert asked("claude-opus-5", service_tier="flex")[1] == ("service_tier",)
    assert sent(metadata={"user_id": "x"}, user="y")["metadata"] == {"user_id": "x"}


def test_anthropics_own_members_go_on_with_the_betas_that_they_need() -> None:
    own = {"context_management": {"edits": []}, "container": "c_1", "output_config": {"task_budget": {"tokens": 9}}}
    body = {"model": "m", "messages": [HELLO], "betas": ["code-execution-2025-05-22"], **own, "speed": "fast"}
    request = openai_request.parse(json.dumps(body).encode(), [])
    outgoing = encode_request(request, ROW, "claude-opus-5", False)
    assert outgoing.headers == (("anthropic-beta", "code-execution-2025-05-22,context-management-2025-06-27"),)
    assert own.items() <= json.loads(outgoing.body).items()
    assert outgoing.dropped == ("speed",)  # it doubles the price, which is not ours to hide


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"betas": ["a\r\nx-evil: 1"]}, "betas"),
        ({"temperature": "hot"}, "temperature"),
        ({"output_config": 1}, "output_config"),
        ({"metadata": []}, "metadata"),
    ],
)
def test_malformed_members_are_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        sent("claude-opus-4-5", **fields)
    assert caught.value.param == param


# ---- errors of the provider


@pytest.mark.parametrize(
    ("status", "type", "message", "wanted"),
    [
        (400, "invalid_request_error", "messages: at least one message is required", (400, "invalid_request", False)),
        (400, "invalid_request_error", "prompt is too long: 9 tokens > 8", (400, "context_length_exceeded", False)),
        (404, "not_found_error", "model: claude-9", (404, "not_found", True)),
        (413, "request_too_large", "Request exceeds the maximum of bytes.", (413, "payload_too_large", False)),
        (413, "request_too_large", "The prompt has too many tokens.", (400, "context_length_exceeded", False)),
        (429, "rate_limit_error", "Too many", (429, "rate_limit_exceeded", True)),
        (500, "api_error", "Internal server error", (500, "server", True)),
        (504, "timeout_error", "Timed out", (504, "timeout", True)),
        (529, "overloaded_error", "Overloaded", (503, "provider_overloaded", True)),
    ],
)  # fmt: skip
def test_an_error_of_anthropic_is_told_in_our_words(
    status: int, type: str, message: str, wanted: tuple[int, str, bool]
) -> None:
    body = json.dumps({"type": "error", "error": {"type": type, "message": message}, "request_id": "req_1"}).encode()
    error = anthropic.parse_error(status, [(b"retry-after", b"7")], body, MOCK, "", 0.0)
    assert isinstance(error, ProviderError)
    assert (error.status, error.error_type, error.safe_to_retry) == wanted
    assert (error.message, error.provider, error.retry_after) == (message, "mock", 7)


@pytest.mark.parametrize(
    ("status", "type", "message"),
    [
        (401, "authentication_error", "invalid x-api-key"),
        (402, "billing_error", "Your account has no credit."),
        (403, "permission_error", "Your API key does not have permission to use the specified resource."),
        (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
    ],
)
def test_what_only_the_operator_can_mend_is_not_the_callers(status: int, type: str, message: str) -> None:
    body = json.dumps({"type": "error", "error": {"type": type, "message": message}}).encode()
    assert isinstance(anthropic.parse_error(status, [], body, MOCK, "", 0.0), ProviderMisconfigured)


def test_no_message_repeats_the_key() -> None:
    body = b'{"type":"error","error":{"type":"api_error","message":"no: secret-key!"}}'
    assert "secret" not in anthropic.parse_error(500, [], body, MOCK, "secret-key", 0.0).message
    decoder = anthropic.Decoder(MOCK, 1 << 20, "secret-key")
    (failed,) = decoder.feed(b"event: error\ndata: " + body + b"\n\n")
    assert isinstance(failed, Failed)
    assert "secret" not in failed.error.message


# ---- the stream of the provider


def test_frames_are_bounded_and_so_are_open_blocks() -> None:
    with pytest.raises(InfronError) as caught:
        anthropic.Decoder(MOCK, 100, "").feed(b"event: ping\ndata: " + b"x" * 200)
    assert caught.value.provider == "mock"
    decoder = anthropic.Decoder(MOCK)
    frame = b'data: {"type":"content_block_start","index":%d,"content_block":{"type":"thinking"}}\n\n'
    events = [event for index in range(2_000) for event in decoder.feed(frame % index)]
    assert [type(event) for event in events] == [Failed]


def test_what_neither_streams_nor_is_json_is_a_failure() -> None:
    with pytest.raises(InfronError, match="neither"):
        anthropic.Decoder(MOCK).whole(b"<html>")
    (failed,) = anthropic.Decoder(MOCK).whole(b'{"type":"message"}')
    assert isinstance(failed, Failed)


@given(
    st.lists(st.tuples(st.sampled_from(["a", "content_block_delta", ""]), st.text("{}: aé\u2028", max_size=6))),
    st.integers(0, 400),
)
def test_whole_frames_with_names_are_read_as_any_others(frames: list[tuple[str, str]], cut: int) -> None:
    data = b"".join(sse.encode(text.encode(), name) for name, text in frames)
    slow, fast = sse.Decoder(), sse.Decoder()
    expected = [event for i in range(len(data)) for event in slow.feed(data[i : i + 1])]
    found = fast.feed(data[:cut]) + fast.feed(data[cut:])
    assert found == expected


# ---- counts and prices


def test_the_counts_of_a_report_are_those_of_the_bill() -> None:
    usage = counts_of(
        {
            "input_tokens": 10,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 50,
            "cache_creation": {"ephemeral_1h_input_tokens": 20, "ephemeral_5m_input_tokens": 30},
            "output_tokens": 7,
            "output_tokens_details": {"thinking_tokens": 4},
        }
    )
    assert (usage.prompt, usage.cached, usage.cache_write, usage.cache_write_1h) == (160, 100, 50, 20)
    assert (usage.completion, usage.reasoning) == (7, 4)


@pytest.mark.parametrize(
    ("usage", "tier"),
    [({}, ""), ({"service_tier": "standard"}, "default"), ({"service_tier": "priority"}, "priority"),
     ({"service_tier": "standard", "speed": "fast"}, "fast"), ({"speed": "standard"}, "")],
)  # fmt: skip
def test_the_tier_served_is_told_in_the_words_of_the_price_list(usage: dict[str, Any], tier: str) -> None:
    assert tier_served(usage) == tier


NOW = datetime(2026, 11, 1, tzinfo=UTC)


def test_every_listed_claude_has_the_price_of_the_hour() -> None:
    for model in load_catalog(environ={}, wires=PROVIDER_WIRES).models.values():
        for offer in model.served_by:
            if offer.provider == "anthropic":
                price = price_of(ROW, offer.id, None, NOW)
                assert price is not None
                assert (price.cache_write, price.cache_write_1h) == (price.prompt * 5 // 4, price.prompt * 2), offer.id
