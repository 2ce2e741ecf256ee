"""Requests to Converse and its errors; its streams are `cases/bedrock`, run by `test_conformance`."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import msgspec
import pytest
from asking import asking
from hypothesis import given
from hypothesis import strategies as st

from infron.catalog.definitions import Provider
from infron.conversation import (
    Conversation,
    Media,
    Message,
    NativeTool,
    Part,
    Reasoning,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from infron.errors import InfronError, ProviderError, ProviderMisconfigured, Unsupported
from infron.events import Event, Failed
from infron.wires.bedrock import encode_request
from infron.wires.bedrock import request as bedrock_request
from infron.wires.bedrock.decoder import Decoder, parse_error
from infron.wires.bedrock.models import traits_of
from infron.wires.bedrock.request import TAKES, rules_of
from infron.wires.json_answer import ANSWER_TOOL
from infron.wires.session import GO_ON, fit

ROW = msgspec.convert({"id": "amazon-bedrock", "name": "Amazon Bedrock", "wire": "bedrock"}, Provider)
HAIKU = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
OPUS = "global.anthropic.claude-opus-4-7"
NOVA = "amazon.nova-pro-v1:0"
MISTRAL = "mistral.mistral-large-3-675b-instruct"
LLAMA = "meta.llama3-3-70b-instruct-v1:0"
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
WEATHER = Tool(name="weather", description="By city", schema={"type": "object", "properties": {"city": {}}})


def encode(asked: Conversation, provider_model: str) -> tuple[dict[str, Any], frozenset[str]]:
    return bedrock_request.encode(fit(asked, rules_of(provider_model)).conversation, provider_model)


def said(*parts: Part, who: Any = "user") -> Message:
    return Message(who, parts)


def body_of(provider_model: str, *messages: Message, **asked: Any) -> dict[str, Any]:
    """The request as JSON tells it."""
    conversation = Conversation(messages=messages or (said(Text("hi")),), **asked)
    body: dict[str, Any] = json.loads(msgspec.json.encode(encode(conversation, provider_model)[0]))
    return body


def dropped_of(provider_model: str, **asked: Any) -> frozenset[str]:
    return encode(Conversation(messages=(said(Text("hi")),), **asked), provider_model)[1]


def blocks_of(provider_model: str, *messages: Message, **asked: Any) -> list[list[dict[str, Any]]]:
    return [turn["content"] for turn in body_of(provider_model, *messages, **asked)["messages"]]


# ---- the whole request


def test_a_request_of_the_chat_wire_becomes_one_of_converse():
    outgoing = encode_request(
        asking(
            model="m",
            stream=True,
            stream_options={"include_usage": True},
            messages=[
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "a:1",
                            "type": "function",
                            "function": {"name": "weather", "arguments": '{"city":"Rome"}'},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "a:1", "content": "rain"},
            ],
            tools=[{"type": "function", "function": {"name": "weather", "description": "By city"}}],
            max_completion_tokens=64,
            temperature=1.5,
            seed=7,
            user="u",
            n=1,
            stop="END",
        ),
        ROW,
        NOVA,
        True,
    )
    assert (outgoing.method, outgoing.url, outgoing.headers) == ("POST", "", ())
    assert outgoing.dropped == ("seed", "user")
    assert json.loads(outgoing.body) == {
        "system": [{"text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [{"text": "Weather?"}]},
            {
                "role": "assistant",
                "content": [{"toolUse": {"toolUseId": "a:1", "name": "weather", "input": {"city": "Rome"}}}],
            },
            {"role": "user", "content": [{"toolResult": {"toolUseId": "a:1", "content": [{"text": "rain"}]}}]},
        ],
        "inferenceConfig": {"temperature": 1, "maxTokens": 64, "stopSequences": ["END"]},
        "toolConfig": {
            "tools": [
                {
                    "toolSpec": {
                        "name": "weather",
                        "description": "By city",
                        "inputSchema": {"json": {"type": "object", "properties": {}}},
                    }
                }
            ]
        },
    }


def test_members_of_converse_itself_pass_by_their_own_names():
    given = {
        "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1", "trace": "enabled"},
        "performanceConfig": {"latency": "optimized"},
        "requestMetadata": {"team": "a"},
        "additionalModelResponseFieldPaths": ["/delta/stop_sequence"],
        "additionalModelRequestFields": {"anthropic_beta": ["x"], "thinking": {"type": "disabled"}},
        "inferenceConfig": {"maxTokens": 9},
        "outputConfig": {"effort": "low"},
    }
    body = body_of(OPUS, max_tokens=64, reasoning=Reasoning(effort="high"), fields=given)
    for name in ("guardrailConfig", "performanceConfig", "requestMetadata", "additionalModelResponseFieldPaths"):
        assert body[name] == given[name]
    assert body["inferenceConfig"] == {"maxTokens": 9}
    assert body["outputConfig"] == {"effort": "low"}
    assert body["additionalModelRequestFields"] == {
        "anthropic_beta": ["x"],
        "thinking": {"type": "disabled"},
        "output_config": {"effort": "high"},
    }


@pytest.mark.parametrize(
    ("tier", "sent"), [("flex", {"type": "flex"}), ("priority", {"type": "priority"}), ("auto", None), ("scale", None)]
)
def test_a_service_tier_is_passed_where_the_service_has_it(tier: str, sent: Any):
    assert body_of(NOVA, fields={"service_tier": tier}).get("serviceTier") == sent
    assert ("service_tier" in dropped_of(NOVA, fields={"service_tier": tier})) == (tier == "scale")


# ---- turns and their parts


def test_results_come_first_in_one_turn_of_the_user_and_empty_texts_are_gone():
    messages = (
        said(Text("Both?")),
        said(
            Text(" "),
            ToolCall(id="a", name="f", arguments=""),
            ToolCall(id="b", name="f", arguments="{}"),
            who="assistant",
        ),
        said(ToolResult(call_id="a", parts=(Text("1"),)), who="tool"),
        said(ToolResult(call_id="b", parts=(), failed=True), who="tool"),
        said(Text("\n"), Text("Well?")),
    )
    body = body_of(NOVA, *messages, tools=(WEATHER,))
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert [list(block) for block in body["messages"][1]["content"]] == [["toolUse"], ["toolUse"]]
    assert body["messages"][1]["content"][0]["toolUse"]["input"] == {}
    assert body["messages"][2]["content"] == [
        {"toolResult": {"toolUseId": "a", "content": [{"text": "1"}]}},
        {"toolResult": {"toolUseId": "b", "content": [{"text": "(empty)"}], "status": "error"}},
        {"text": "Well?"},
    ]


def test_turns_around_one_that_came_to_nothing_are_joined():
    unsigned = said(Thinking(text="hm"), who="assistant")
    assert blocks_of(NOVA, said(Text("a")), unsigned, said(Text("b"))) == [[{"text": "a"}, {"text": "b"}]]


def test_a_beginning_of_the_answer_loses_the_white_space_at_its_end():
    assert blocks_of(HAIKU, said(Text("x")), said(Text("It is \n"), who="assistant"))[-1] == [{"text": "It is"}]


def test_without_tools_calls_and_results_become_text():
    messages = (
        said(Text("Weather?")),
        said(ToolCall(id="a", name="weather", arguments='{"city":"Rome"}'), who="assistant"),
        said(ToolResult(call_id="a", name="weather", parts=(Text("rain"),)), who="tool"),
    )
    for asked in ({}, {"tools": (WEATHER,), "tool_choice": "none"}):
        body = body_of(NOVA, *messages, **asked)
        assert "toolConfig" not in body
        assert [turn["content"] for turn in body["messages"][1:]] == [
            [{"text": '[Called the tool weather with {"city":"Rome"}]'}],
            [{"text": "[The tool weather answered: rain]"}],
        ]


@pytest.mark.parametrize("arguments", ['{"city":', "[1]", '"Rome"', "nonsense"])
def test_arguments_that_are_no_object_are_wrapped(arguments: str):
    call = said(ToolCall(id="a", name="f", arguments=arguments), who="assistant")
    (block,) = blocks_of(NOVA, said(Text("x")), call, tools=(WEATHER,))[1]
    assert block["toolUse"]["input"] == {"arguments": arguments}


def test_arguments_stay_digit_for_digit():
    call = ToolCall(id="a", name="f", arguments='{"id":12345678901234567890123, "x":1.10}')
    body, _ = encode(Conversation(messages=(said(Text("x")), said(call, who="assistant")), tools=(WEATHER,)), NOVA)
    assert b'{"id":12345678901234567890123, "x":1.10}' in msgspec.json.encode(body)


@pytest.mark.parametrize(
    ("provider_model", "id", "form"),
    [
        (NOVA, "tooluse_a.b:c-1", r"tooluse_a\.b:c-1"),
        (NOVA, "call/1", r"[0-9a-zA-Z]{24}"),
        (NOVA, "x" * 65, r"[0-9a-zA-Z]{24}"),
        (MISTRAL, "tooluse_a", r"[0-9a-zA-Z]{9}"),
        (MISTRAL, "abcDEF123", r"abcDEF123"),
    ],
)
def test_ids_of_calls_are_of_the_form_that_is_taken_and_meet_their_results(provider_model: str, id: str, form: str):
    messages = (
        said(Text("x")),
        said(ToolCall(id=id, name="a b", arguments="{}"), who="assistant"),
        said(ToolResult(call_id=id, parts=(Text("1"),)), who="tool"),
    )
    _, (call,), (result,) = blocks_of(provider_model, *messages, tools=(WEATHER,))
    assert call["toolUse"]["name"] == "a_b"
    assert call["toolUse"]["toolUseId"] == result["toolResult"]["toolUseId"]
    assert re.fullmatch(form, call["toolUse"]["toolUseId"])


def test_thoughts_go_back_unharmed_if_they_prove_themselves():
    thinking = (
        Thinking(text="Two.", signature="Ep0C", format="anthropic-claude-v1"),
        Thinking(text="No format.", signature="Ep0D"),
        Thinking(text="Unsigned."),
        Thinking(text="Of another.", signature="s", format="google-gemini-v1"),
        Thinking(data="cnNu", format="bedrock-converse-v1"),
        Thinking(data="EmwK", format="anthropic-claude-v1"),
        Thinking(data="x", format="openai-responses-v1"),
    )
    assert blocks_of(HAIKU, said(Text("x")), said(*thinking, Text("4"), who="assistant"))[1] == [
        {"reasoningContent": {"reasoningText": {"text": "Two.", "signature": "Ep0C"}}},
        {"reasoningContent": {"reasoningText": {"text": "No format.", "signature": "Ep0D"}}},
        {"reasoningContent": {"redactedContent": "cnNu"}},
        {"reasoningContent": {"redactedContent": base64.b64encode(b"EmwK").decode()}},
        {"text": "4"},
    ]


# ---- media


@pytest.mark.parametrize(
    ("media", "block"),
    [
        (
            Media(kind="image", mime="image/jpg", data="/9j/"),
            {"image": {"format": "jpeg", "source": {"bytes": "/9j/"}}},
        ),
        (Media(kind="image", data=PNG), {"image": {"format": "png", "source": {"bytes": PNG}}}),
        (
            Media(kind="image", url="s3://bucket/a/b.webp"),
            {"image": {"format": "webp", "source": {"s3Location": {"uri": "s3://bucket/a/b.webp"}}}},
        ),
        (
            Media(kind="audio", mime="audio/mpeg", data="AA=="),
            {"audio": {"format": "mp3", "source": {"bytes": "AA=="}}},
        ),
        (
            Media(kind="audio", mime="audio/x-m4a; codecs=aac", data="AA=="),
            {"audio": {"format": "m4a", "source": {"bytes": "AA=="}}},
        ),
        (
            Media(kind="video", mime="video/quicktime", data="AA=="),
            {"video": {"format": "mov", "source": {"bytes": "AA=="}}},
        ),
        (
            Media(kind="document", mime="application/pdf", data="JVBERi0=", name="Q3: report_v2.final.pdf"),
            {"document": {"format": "pdf", "name": "Q3 report v2 final", "source": {"bytes": "JVBERi0="}}},
        ),
        (
            Media(kind="document", mime="text/x-python", text="pass"),
            {"document": {"format": "txt", "name": "document", "source": {"bytes": "cGFzcw=="}}},
        ),
    ],
)
def test_media_are_carried(media: Media, block: dict[str, Any]):
    assert blocks_of(NOVA, said(Text("Look:"), media)) == [[{"text": "Look:"}, block]]


def test_documents_have_names_of_their_own_and_a_text_beside_them():
    document = Media(kind="document", mime="text/csv", text="a,b", name="a.csv")
    (blocks,) = blocks_of(NOVA, said(document, document))
    assert [block["document"]["name"] for block in blocks[:2]] == ["a", "a 2"]
    assert "text" in blocks[2]


def test_a_picture_in_a_result_is_carried():
    result = ToolResult(call_id="a", parts=(Text("Here:"), Media(kind="image", data=PNG)))
    messages = (
        said(Text("x")),
        said(ToolCall(id="a", name="f", arguments=""), who="assistant"),
        said(result, who="tool"),
    )
    content = blocks_of(NOVA, *messages, tools=(WEATHER,))[2][0]["toolResult"]["content"]
    assert [list(block) for block in content] == [["text"], ["image"]]


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (said(Media(kind="image", mime="image/png", url="https://example.com/a.png")), "by its URL"),
        (said(Media(kind="document", mime="application/pdf", file_id="file-1")), "by the id of a file"),
        (said(Media(kind="image", mime="image/tiff", data="SUkq")), "image/tiff"),
        (said(Media(kind="document", mime="application/zip", data="UEsD")), "application/zip"),
    ],
)
def test_what_cannot_be_carried_is_refused_by_name(message: Message, what: str):
    with pytest.raises(Unsupported, match=what):
        body_of(NOVA, message)


def test_a_beginning_of_the_answer_is_asked_to_go_on_where_the_model_does_not_by_itself():
    found = body_of(OPUS, said(Text("x")), said(Text("It is"), who="assistant"))["messages"]
    assert found[-1] == {"role": "user", "content": [{"text": GO_ON}]}


# ---- cache points


def test_cache_points_stand_behind_what_is_to_be_kept():
    asked = Conversation(
        messages=(
            said(Text("Be brief.", "1h"), who="system"),
            said(Text("long", "5m"), Text("short")),
            said(ToolCall(id="a", name="f", arguments="", cache="5m"), who="assistant"),
            said(ToolResult(call_id="a", parts=(Text("1"),), cache="5m"), who="tool"),
        ),
        tools=(Tool(name="f", cache="1h"),),
    )
    point = {"cachePoint": {"type": "default"}}
    hour = {"cachePoint": {"type": "default", "ttl": "1h"}}
    body, _ = encode(asked, HAIKU)
    assert body["system"] == [{"text": "Be brief."}, hour]
    assert body["messages"][0]["content"] == [{"text": "long"}, point, {"text": "short"}]
    assert body["messages"][1]["content"][1] == body["messages"][2]["content"][1] == point
    assert body["toolConfig"]["tools"][1] == hour
    body, _ = encode(asked, NOVA)  # takes none among tools, and none for an hour
    assert body["system"] == [{"text": "Be brief."}, point]
    assert len(body["toolConfig"]["tools"]) == 1
    assert b"cachePoint" not in msgspec.json.encode(encode(asked, LLAMA.replace("meta", "qwen"))[0])


# ---- tools


@pytest.mark.parametrize(
    ("asked", "choice"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, None),
        ({"tool_choice": "required"}, {"any": {}}),
        ({"tool_choice": "tool", "tool_name": "weather"}, {"tool": {"name": "weather"}}),
    ],
)
def test_the_choice_among_tools_is_carried(asked: dict[str, Any], choice: Any):
    assert body_of(HAIKU, tools=(WEATHER,), **asked)["toolConfig"].get("toolChoice") == choice


def test_a_forced_choice_is_left_out_where_the_model_refuses_it():
    asked: dict[str, Any] = {"tools": (WEATHER,), "tool_choice": "required"}
    assert "toolChoice" not in body_of("us.anthropic.claude-opus-5-5", **asked)["toolConfig"]
    assert "tool_choice" in dropped_of("us.anthropic.claude-opus-5-5", **asked)
    assert "tool_choice" not in dropped_of(HAIKU, **asked)


def test_one_call_at_a_time_is_asked_for_in_claudes_own_words():
    body = body_of(HAIKU, tools=(WEATHER,), tool_choice="required", parallel_tool_calls=False)
    assert "toolChoice" not in body["toolConfig"]
    assert body["additionalModelRequestFields"] == {"tool_choice": {"type": "any", "disable_parallel_tool_use": True}}
    assert "parallel_tool_calls" in dropped_of(NOVA, tools=(WEATHER,), parallel_tool_calls=False)


def test_tools_are_strict_only_where_that_is_known_to_work():
    strict = Tool(name="f", schema={"type": "object"}, strict=True)
    assert body_of(HAIKU, tools=(strict,))["toolConfig"]["tools"][0]["toolSpec"]["strict"] is True
    for provider_model in (OPUS, NOVA, LLAMA):
        assert "strict" not in body_of(provider_model, tools=(strict,))["toolConfig"]["tools"][0]["toolSpec"]


def test_tools_of_converse_itself_pass_and_those_of_others_do_not():
    own = NativeTool({"systemTool": {"name": "nova_grounding"}})
    assert body_of(NOVA, tools=(own,))["toolConfig"]["tools"] == [own.raw]
    with pytest.raises(Unsupported, match="tools"):
        body_of(NOVA, tools=(NativeTool({"type": "web_search_20250305"}),))


# ---- an answer in JSON

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
WANTED = ResponseFormat(kind="schema", name="answer", schema=SCHEMA)


def test_a_schema_goes_as_a_string_where_the_model_can_be_held_to_it():
    for provider_model in (HAIKU, MISTRAL, "openai.gpt-oss-120b-1:0"):
        structure = body_of(provider_model, response_format=WANTED)["outputConfig"]["textFormat"]["structure"][
            "jsonSchema"
        ]
        assert json.loads(structure["schema"]) == SCHEMA
        assert structure["name"] == "answer"


def test_elsewhere_a_tool_that_must_be_called_takes_the_answer():
    for provider_model in (OPUS, NOVA):
        config = body_of(provider_model, response_format=WANTED)["toolConfig"]
        assert [tool["toolSpec"]["name"] for tool in config["tools"]] == [ANSWER_TOOL]
        assert config["toolChoice"] == {"tool": {"name": ANSWER_TOOL}}
        config = body_of(provider_model, response_format=WANTED, tools=(WEATHER,))["toolConfig"]
        assert [tool["toolSpec"]["name"] for tool in config["tools"]] == ["weather", ANSWER_TOOL]
        assert config["toolChoice"] == {"any": {}}


@pytest.mark.parametrize(
    ("provider_model", "asked"),
    [
        (LLAMA, {}),
        ("us.anthropic.claude-opus-5-5", {}),
        (OPUS, {"reasoning": Reasoning(effort="low")}),
        (OPUS, {"tools": (WEATHER,), "tool_choice": "required"}),
    ],
)
def test_where_no_tool_can_be_forced_the_schema_is_asked_for(provider_model: str, asked: dict[str, Any]):
    body = body_of(provider_model, response_format=WANTED, **asked)
    assert json.dumps(SCHEMA, separators=(",", ":")) in body["system"][-1]["text"]
    assert ANSWER_TOOL not in json.dumps(body)
    assert "response_format" not in dropped_of(provider_model, response_format=WANTED, **asked)


def test_any_json_is_asked_for_behind_the_system_messages():
    body = body_of(
        HAIKU, said(Text("Be brief."), who="system"), said(Text("x")), response_format=ResponseFormat(kind="json")
    )
    assert [block["text"] for block in body["system"]] == ["Be brief.", body["system"][1]["text"]]
    assert "one JSON object" in body["system"][1]["text"]


# ---- thinking


SONNET = "anthropic.claude-sonnet-4-6"
OLD = "us.anthropic.claude-3-7-sonnet-20250219-v1:0"
NOVA_2 = "us.amazon.nova-2-lite-v1:0"
SHOWN = {"type": "adaptive", "display": "summarized"}
HIDDEN = {"type": "adaptive", "display": "omitted"}
OFF = {"thinking": {"type": "disabled"}}


def budget(tokens: int) -> dict[str, Any]:
    return {"thinking": {"type": "enabled", "budget_tokens": tokens}}


def level(name: str) -> dict[str, Any]:
    return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": name}}


@pytest.mark.parametrize(
    ("provider_model", "reasoning", "fields"),
    [
        (OPUS, Reasoning(effort="high"), {"thinking": SHOWN, "output_config": {"effort": "high"}}),
        (OPUS, Reasoning(effort="minimal", exclude=True), {"thinking": HIDDEN, "output_config": {"effort": "low"}}),
        (OPUS, Reasoning(max_tokens=2000), {"thinking": SHOWN}),
        (OPUS, Reasoning(effort="none"), None),
        (SONNET, Reasoning(effort="xhigh"), {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
        (SONNET, Reasoning(exclude=True), {"thinking": HIDDEN}),
        (SONNET, Reasoning(max_tokens=2000), budget(2000)),
        ("us.anthropic.claude-opus-5", Reasoning(effort="none"), OFF),
        ("us.anthropic.claude-opus-5", Reasoning(max_tokens=0), OFF),
        (HAIKU, Reasoning(effort="low"), budget(12_800)),
        (HAIKU, Reasoning(), budget(32_000)),
        (HAIKU, Reasoning(max_tokens=10), budget(1024)),
        (OLD, Reasoning(effort="minimal"), budget(6400)),
        (NOVA_2, Reasoning(effort="medium"), level("medium")),
        (NOVA_2, Reasoning(effort="max"), level("high")),
        (NOVA_2, Reasoning(effort="none"), None),
        ("openai.gpt-oss-120b-1:0", Reasoning(effort="none"), {"reasoning_effort": "low"}),
        ("us.openai.gpt-5.6-sol", Reasoning(effort="minimal"), {"reasoning": {"effort": "low"}}),
        ("global.openai.gpt-6-luna", Reasoning(effort="none"), {"reasoning": {"effort": "none"}}),
        ("deepseek.v3.2", Reasoning(effort="xhigh"), {"reasoning_config": "high"}),
    ],
)
def test_thoughts_are_asked_for_in_the_words_of_the_family(provider_model: str, reasoning: Reasoning, fields: Any):
    assert body_of(provider_model, reasoning=reasoning).get("additionalModelRequestFields") == fields
    assert "reasoning" not in dropped_of(provider_model, reasoning=reasoning)


def test_a_model_that_always_thinks_thinks_least_where_it_shall_not_and_that_is_told():
    asked: dict[str, Any] = {"reasoning": Reasoning(effort="none")}
    for provider_model in ("us.anthropic.claude-opus-5-5", "us.anthropic.claude-fable-5-1-v1:0"):
        assert body_of(provider_model, **asked)["additionalModelRequestFields"] == {"output_config": {"effort": "low"}}
        assert "reasoning" in dropped_of(provider_model, **asked)


@pytest.mark.parametrize(
    ("reasoning", "limit", "budgeted", "whole"),
    [
        (Reasoning(effort="high"), 2000, 1600, 2000),
        (Reasoning(max_tokens=9000), 2000, 9000, 11_000),  # the limit is raised: thinking is a part of the answer
        (Reasoning(effort="low"), 1000, 1024, 2024),
        (Reasoning(max_tokens=90_000), 2000, 63_999, 64_000),
    ],
)
def test_a_budget_leaves_something_of_the_limit_for_the_answer(
    reasoning: Reasoning, limit: int, budgeted: int, whole: int
):
    body = body_of(HAIKU, reasoning=reasoning, max_tokens=limit)
    assert body["additionalModelRequestFields"] == budget(budgeted)
    assert body["inferenceConfig"]["maxTokens"] == whole


def test_nova_thinks_less_rather_than_without_the_callers_limit():
    asked: dict[str, Any] = {"reasoning": Reasoning(effort="high"), "max_tokens": 500, "fields": {"temperature": 0.5}}
    body = body_of(NOVA_2, **asked)
    assert body["additionalModelRequestFields"]["reasoningConfig"]["maxReasoningEffort"] == "medium"
    assert body["inferenceConfig"] == {"maxTokens": 500, "temperature": 0.5}
    asked["max_tokens"] = None
    assert "inferenceConfig" not in body_of(NOVA_2, **asked)
    assert dropped_of(NOVA_2, **asked) >= {"temperature"}


@pytest.mark.parametrize(
    "provider_model", [NOVA, LLAMA, "qwen.qwen3-32b-v1:0", "anthropic.claude-3-haiku-20240307-v1:0"]
)
def test_thoughts_of_models_that_take_no_such_wish_are_left_out_by_name(provider_model: str):
    assert "additionalModelRequestFields" not in body_of(provider_model, reasoning=Reasoning(effort="high"))
    assert "reasoning" in dropped_of(provider_model, reasoning=Reasoning(effort="high"))
    assert "reasoning" not in dropped_of(provider_model, reasoning=Reasoning(effort="none"))


def test_claude_does_not_think_where_it_must_call_a_tool():
    asked: dict[str, Any] = {"tools": (WEATHER,), "tool_choice": "required", "reasoning": Reasoning(effort="high")}
    for provider_model in (HAIKU, OPUS):
        assert "additionalModelRequestFields" not in body_of(provider_model, **asked)
        assert "reasoning" in dropped_of(provider_model, **asked)
    assert body_of("us.anthropic.claude-opus-5", **asked)["additionalModelRequestFields"]["thinking"] == SHOWN


def test_claude_does_not_go_on_thinking_after_calls_whose_thoughts_are_lost():
    call = ToolCall(id="a", name="f", arguments="{}")
    result = said(ToolResult(call_id="a", parts=(Text("1"),)), who="tool")
    asked: dict[str, Any] = {"tools": (WEATHER,), "reasoning": Reasoning(effort="high")}
    lost = (said(Text("x")), said(Text("Let me look."), call, who="assistant"), result)
    kept = (said(Text("x")), said(Thinking(text="t", signature="s"), call, who="assistant"), result)
    assert "additionalModelRequestFields" not in body_of(HAIKU, *lost, **asked)
    assert body_of(HAIKU, *kept, **asked)["additionalModelRequestFields"]["thinking"]["type"] == "enabled"
    assert body_of(OPUS, *lost, **asked)["additionalModelRequestFields"]["thinking"]["type"] == "adaptive"


# ---- sampling


@pytest.mark.parametrize(
    ("provider_model", "config", "fields", "dropped"),
    [
        (HAIKU, {"temperature": 0.5}, {"top_k": 5}, {"top_p"}),
        ("anthropic.claude-3-haiku-20240307-v1:0", {"temperature": 0.5, "topP": 0.9}, {"top_k": 5}, set()),
        (OPUS, None, None, {"temperature", "top_p", "top_k"}),
        ("anthropic.claude-sonnet-5", None, None, {"temperature", "top_p", "top_k"}),
        (NOVA, {"temperature": 0.5, "topP": 0.9}, {"inferenceConfig": {"topK": 5}}, set()),
        (LLAMA, {"temperature": 0.5, "topP": 0.9}, None, {"top_k"}),
        ("us.openai.gpt-5.6-sol", None, None, {"temperature", "top_p", "top_k"}),
        ("openai.gpt-oss-20b-1:0", {"temperature": 0.5, "topP": 0.9}, None, {"top_k"}),
    ],
)
def test_sampling_is_carried_as_far_as_the_model_takes_it(
    provider_model: str, config: Any, fields: Any, dropped: set[str]
):
    given = {"temperature": 0.5, "top_p": 0.9, "top_k": 5}
    body = body_of(provider_model, fields=given)
    assert body.get("inferenceConfig") == config
    assert body.get("additionalModelRequestFields") == fields
    assert dropped_of(provider_model, fields=given) & given.keys() == dropped


def test_a_model_that_thinks_takes_no_sampling():
    asked: dict[str, Any] = {"fields": {"temperature": 0.5, "top_k": 5}, "reasoning": Reasoning(effort="low")}
    assert "inferenceConfig" not in body_of(HAIKU, **asked)
    assert dropped_of(HAIKU, **asked) >= {"temperature", "top_k"}


@pytest.mark.parametrize("provider_model", ["openai.gpt-oss-20b-1:0", "us.openai.gpt-5.6-sol"])
def test_stop_sequences_are_left_out_by_name_at_models_of_openai(provider_model: str):
    assert "inferenceConfig" not in body_of(provider_model, stop=("END",))
    assert "stop" in dropped_of(provider_model, stop=("END",))


@pytest.mark.parametrize(
    ("provider_model", "family"),
    [
        ("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-opus-5", "claude"),
        ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3", ""),
        ("apac.amazon.nova-lite-v1:0", "nova"),
        ("jp.amazon.nova-2-lite-v1:0", "nova2"),
        (LLAMA, ""),
    ],
)
def test_a_family_is_found_behind_prefixes_and_in_arns(provider_model: str, family: str):
    assert traits_of(provider_model).family == family


EFFORTS = st.none() | st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh", "max"])


@given(
    provider_model=st.text(max_size=30),
    temperature=st.floats(allow_nan=False, allow_infinity=False),
    effort=EFFORTS,
    limit=st.none() | st.integers(1, 1 << 20),
)
def test_every_request_can_be_written_and_says_what_it_left_out(
    provider_model: str, temperature: float, effort: Any, limit: int | None
) -> None:
    for name in (provider_model, f"anthropic.claude-{provider_model}", f"amazon.nova-2{provider_model}"):
        asked: dict[str, Any] = {"reasoning": Reasoning(effort=effort), "max_tokens": limit, "tools": (WEATHER,)}
        asked["fields"] = {"temperature": temperature}
        body = body_of(name, **asked)
        assert dropped_of(name, **asked) <= TAKES
        assert 0 <= body.get("inferenceConfig", {}).get("temperature", 0) <= 1


# ---- errors


@pytest.mark.parametrize(
    ("status", "header", "body", "expected"),
    [
        (429, "ThrottlingException:http://internal.amazon.com/", {"message": "Too many"}, (429, "rate_limit_exceeded")),
        (400, "ValidationException", {"message": "bad"}, (400, "invalid_request")),
        (400, "ValidationException", {"message": "Input is too long for it."}, (400, "context_length_exceeded")),
        (404, "ResourceNotFoundException", {"message": "no model"}, (404, "not_found")),
        (408, "ModelTimeoutException", {"message": "slow"}, (504, "timeout")),
        (424, "ModelErrorException", {"message": "boom", "originalStatusCode": 500}, (502, "provider_unavailable")),
        (429, "ModelNotReadyException", {"message": "warming"}, (429, "rate_limit_exceeded")),
        (500, "InternalServerException", {"message": "oops"}, (500, "server")),
        (503, "ServiceUnavailableException", {"Message": "busy"}, (503, "provider_overloaded")),
        (400, "com.amazon#ServiceQuotaExceededException", {"message": "quota"}, (429, "rate_limit_exceeded")),
        (418, "", {"message": "teapot"}, (418, "invalid_request")),
    ],
)  # fmt: skip
def test_an_error_is_named_by_its_header(status: int, header: str, body: dict[str, Any], expected: tuple[int, str]):
    headers = [(b"x-amzn-errortype", header.encode())] if header else []
    error = parse_error(status, headers, json.dumps(body).encode(), ROW, "", 0.0)
    assert isinstance(error, ProviderError)
    assert (error.status, error.error_type) == expected
    assert error.message == body.get("message", body.get("Message"))
    assert error.provider == "amazon-bedrock"
    assert error.safe_to_retry == (error.status not in (400, 418))


@pytest.mark.parametrize(
    "name",
    ["AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException"],
)
def test_refused_credentials_are_the_operators_to_mend(name: str):
    said = json.dumps({"message": "The security token included in the request is invalid."}).encode()
    error = parse_error(403, [(b"x-amzn-errortype", name.encode())], said, ROW, "", 0.0)
    assert isinstance(error, ProviderMisconfigured)
    assert error.metadata["provider_code"] == name


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"[]", b'{"message":5}', b'{"message":"\\ud800"}', b"\xff"])
def test_any_body_gives_an_error_that_can_be_written(body: bytes):
    error = parse_error(500, [], body, ROW, "", 0.0)
    assert error.message.encode()


def test_the_key_is_never_repeated():
    said = b'{"message":"the key bedrock-api-key-of-ours is wrong"}'
    assert "of-ours" not in parse_error(400, [], said, ROW, "bedrock-api-key-of-ours", 0.0).message


@pytest.mark.parametrize("body", [b'{"message":"no"}', b'[{"message":"no"}]', b'{"output":{}}'])
def test_json_in_the_place_of_a_stream_is_a_failure(body: bytes):
    (event,) = Decoder(ROW, 1 << 20, "").whole(body)
    assert isinstance(event, Failed)


def test_something_else_in_the_place_of_a_stream_raises_our_error():
    with pytest.raises(InfronError, match="neither an event stream nor JSON"):
        Decoder(ROW, 1 << 20, "").whole(b"<html>")


def test_a_message_above_the_limit_fails_the_answer():
    events: list[Event] = Decoder(ROW, 100, "").feed((1000).to_bytes(4) + b"\0" * 4 + bytes.fromhex("00000000") + b"x")
    (event,) = events
    assert isinstance(event, Failed)
    assert event.error.provider == "amazon-bedrock"


# ---- beside the SDK

EXAMPLES: dict[str, Conversation] = {
    "parts": Conversation(
        messages=(
            said(Text("Be brief.", "1h"), who="system"),
            said(
                Text("Look:"),
                Media(kind="image", data=PNG),
                Media(kind="document", mime="text/csv", text="a", name="a b.csv"),
            ),
            said(
                Thinking(text="t", signature="s"),
                Text("Hm."),
                ToolCall(id="a", name="f", arguments='{"x":[1]}'),
                who="assistant",
            ),
            said(
                ToolResult(call_id="a", parts=(Text("1"), Media(kind="image", url="s3://bucket/a.png")), failed=True),
                who="tool",
            ),
            said(Thinking(data="cnNu"), Text("Done."), who="assistant"),
            said(
                Text("Go on."),
                Media(kind="audio", mime="audio/wav", data="AA=="),
                Media(kind="video", mime="video/mp4", data="AA=="),
            ),
        ),
        tools=(
            WEATHER,
            Tool(name="g", cache="5m", strict=True),
            NativeTool({"systemTool": {"name": "nova_grounding"}}),
        ),
        tool_choice="tool",
        tool_name="g",
        max_tokens=64,
        stop=("END",),
        fields={"temperature": 2, "top_p": 0.5, "top_k": 5, "service_tier": "flex", "requestMetadata": {"team": "a"}},
    ),
    "format": Conversation(messages=(said(Text("x")),), response_format=WANTED, reasoning=Reasoning(effort="high")),
    "tools": Conversation(
        messages=(said(Text("x")),), tools=(WEATHER,), tool_choice="required", parallel_tool_calls=False
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("provider_model", [HAIKU, OPUS, NOVA, NOVA_2, MISTRAL, LLAMA, "us.openai.gpt-5.6-sol"])
def test_botocore_finds_nothing_wrong_with_our_requests(name: str, provider_model: str):
    loaders, model = pytest.importorskip("botocore.loaders"), pytest.importorskip("botocore.model")
    validate = pytest.importorskip("botocore.validate")
    service = model.ServiceModel(loaders.Loader().load_service_model("bedrock-runtime", "service-2"))
    shape = service.operation_model("ConverseStream").input_shape
    body = json.loads(msgspec.json.encode(encode(EXAMPLES[name], provider_model)[0]))
    assert validate.ParamValidator().validate({"modelId": provider_model, **body}, shape).generate_report() == ""
    # Nor is there anything in it that the service does not know.
    unknown = body.keys() - shape.members.keys()
    assert not unknown


def test_limit_beyond_the_longest_answer_of_a_claude_is_the_longest() -> None:
    model = "anthropic.claude-3-5-haiku-20241022-v1:0"
    assert body_of(model, max_tokens=100_000)["inferenceConfig"] == {"maxTokens": 8_192}
    assert "max_tokens" in dropped_of(model, max_tokens=100_000)
    assert body_of("amazon.nova-pro-v1:0", max_tokens=100_000)["inferenceConfig"] == {"maxTokens": 100_000}


def test_betas_that_a_claude_knows_go_on_in_the_body() -> None:
    """They came in a header that Converse does not have, and were left out: thinking stopped between calls."""
    model, betas = "us.anthropic.claude-sonnet-4-5-20250929-v1:0", ["claude-code-20250219", "context-1m-2025-08-07"]
    body = body_of(model, fields={"betas": betas})
    assert body["additionalModelRequestFields"] == {"anthropic_beta": ["context-1m-2025-08-07"]}
    assert "betas" in dropped_of(model, fields={"betas": betas})
    assert "betas" not in dropped_of(model, fields={"betas": betas[1:]})
    for other in ("anthropic.claude-3-haiku-20240307-v1:0", "amazon.nova-pro-v1:0"):
        assert "additionalModelRequestFields" not in body_of(other, fields={"betas": betas})
        assert "betas" in dropped_of(other, fields={"betas": betas})
