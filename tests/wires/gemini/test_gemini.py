"""What Gemini is asked, in its own words, and what its errors and its odd streams mean."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from asking import asking

from infron.catalog.definitions import Provider, Quirks, RequestQuirks
from infron.errors import InfronError, InvalidRequest, ProviderError, ProviderMisconfigured, Unsupported
from infron.events import Failed, TextDelta, ThinkingDelta, ToolCallDelta, ToolCallStarted, UsageReported
from infron.request import Outgoing
from infron.wires import gemini
from infron.wires.gemini.models import generation_of
from infron.wires.openai.chat.choices import delta_of
from infron.wires.pairing import answered_before

STUDIO = msgspec.convert({"id": "studio", "name": "Studio", "chat_path": "/models/{model}:stream?alt=sse"}, Provider)
VERTEX = msgspec.structs.replace(STUDIO, id="vertex", quirks=Quirks(request=RequestQuirks(vertex=True)))
NEW, OLD = "gemini-3.8-flash", "gemini-2.5-flash"
MARK = "skip_thought_signature_validator"


def sent(fields: dict[str, Any], provider_model: str = NEW, provider: Provider = STUDIO) -> Outgoing:
    return gemini.encode_request(asking(**fields), provider, provider_model, True)


def asked(fields: dict[str, Any], provider_model: str = NEW, provider: Provider = STUDIO) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sent(fields, provider_model, provider).body)
    return found


def contents(
    messages: list[dict[str, Any]], provider_model: str = OLD, provider: Provider = STUDIO
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = asked({"messages": messages}, provider_model, provider)["contents"]
    return found


def call(id: str, name: str = "f", arguments: str = '{"a": 1}', **more: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


# ---- what was said


def test_the_smallest_request_is_one_turn_and_nothing_else() -> None:
    outgoing = sent({})
    assert json.loads(outgoing.body) == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    assert (outgoing.url, outgoing.headers, outgoing.dropped) == ("", (), ())


def test_system_messages_stand_apart_and_turns_of_the_same_side_are_one() -> None:
    body = asked(
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "One"},
                {"role": "user", "content": [{"type": "text", "text": "Two"}]},
                {"role": "assistant", "content": "Three"},
                {"role": "assistant", "content": ""},
                {"role": "developer", "content": "Be kind."},
                {"role": "user", "content": "Four"},
            ]
        }
    )
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]}
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": "One"}, {"text": "Two"}]},
        {"role": "model", "parts": [{"text": "Three"}]},
        {"role": "user", "parts": [{"text": "Four"}]},
    ]


@pytest.mark.parametrize("provider_model", ["gemma-3-27b-it", "models/gemma-4-31b-it"])
def test_gemma_has_no_system_instruction_so_the_user_says_it_first(provider_model: str) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    body = asked({"messages": messages}, provider_model)
    assert "systemInstruction" not in body
    assert body["contents"] == [{"role": "user", "parts": [{"text": "Be brief."}, {"text": "Hi"}]}]


def test_system_messages_alone_are_what_the_user_says_since_something_must_be_said() -> None:
    body = asked({"messages": [{"role": "system", "content": "Tell a joke."}]})
    assert body == {"contents": [{"role": "user", "parts": [{"text": "Tell a joke."}]}]}


def test_media_go_inline_or_by_their_address_and_always_with_a_type() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "https://h.example/a.webp?x=1.gif"}},
        {"type": "image_url", "image_url": {"url": "https://h.example/picture"}},
        {"type": "image_url", "image_url": {"url": "gs://bucket/b.png"}},
        {"type": "input_audio", "input_audio": {"data": "BBBB", "format": "mp3"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_id": "files/abc-123"}},
        {"type": "file", "file": {"file_data": "data:text/plain;base64,SGk=", "filename": "a.txt"}},
        {"type": "video_url", "video_url": {"url": "https://www.youtube.com/watch?v=1"}},
    ]
    assert contents([{"role": "user", "content": parts}])[0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"fileData": {"mimeType": "image/webp", "fileUri": "https://h.example/a.webp?x=1.gif"}},
        {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://h.example/picture"}},
        {"fileData": {"mimeType": "image/png", "fileUri": "gs://bucket/b.png"}},
        {"inlineData": {"mimeType": "audio/mpeg", "data": "BBBB"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}},
        {
            "fileData": {
                "mimeType": "application/pdf",
                "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc-123",
            }
        },
        {"text": "Hi"},
        {"fileData": {"mimeType": "video/mp4", "fileUri": "https://www.youtube.com/watch?v=1"}},
    ]


def test_a_file_that_another_provider_keeps_cannot_be_sent_and_is_named() -> None:
    content = [{"type": "text", "text": "a"}, {"type": "file", "file": {"file_id": "file-abc"}}]
    with pytest.raises(Unsupported, match=r"messages\[0\].*files/"):
        sent({"messages": [{"role": "user", "content": content}]})


HISTORY = [
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": "Looking.", "tool_calls": [call("1"), call("2", "g", "")]},
    {"role": "tool", "tool_call_id": "2", "content": '{"rain": [1, 2.50]}'},
    {"role": "tool", "tool_call_id": "1", "content": "sunny"},
    {"role": "user", "content": "And?"},
]


def test_calls_and_results_carry_names_and_ids_and_results_come_in_one_turn() -> None:
    assert contents(HISTORY)[1:] == [
        {
            "role": "model",
            "parts": [
                {"text": "Looking."},
                {"functionCall": {"id": "1", "name": "f", "args": {"a": 1}}},
                {"functionCall": {"id": "2", "name": "g", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "1", "name": "f", "response": {"output": "sunny"}}},
                {"functionResponse": {"id": "2", "name": "g", "response": {"rain": [1, 2.5]}}},
                {"text": "And?"},
            ],
        },
    ]


def test_the_json_of_arguments_and_results_is_sent_as_it_was_written() -> None:
    outgoing = sent({"messages": [*HISTORY[:1], {"role": "assistant", "tool_calls": [call("1", "f", '{"a":1.50}')]}]})
    assert b'"args":{"a":1.50}' in outgoing.body
    assert b'{"rain": [1, 2.50]}' in sent({"messages": HISTORY}).body


def test_vertex_gets_no_ids_of_calls() -> None:
    assert '"id"' not in json.dumps(contents(HISTORY, OLD, VERTEX))


def test_results_stand_before_what_the_user_said_meanwhile() -> None:
    messages = [*HISTORY[:2], HISTORY[4], *HISTORY[2:4]]
    assert [next(iter(part)) for part in contents(messages)[2]["parts"]] == [
        "functionResponse",
        "functionResponse",
        "text",
    ]


def test_a_failed_result_is_an_error_and_broken_json_is_text() -> None:
    results = [
        {"role": "tool", "tool_call_id": "1", "content": '{"no": "json', "is_error": False},
        {"role": "tool", "tool_call_id": "2", "content": '{"code": 5}', "is_error": True},
    ]
    found = contents([*HISTORY[:2], *results])[2]["parts"]
    assert [part["functionResponse"]["response"] for part in found] == [
        {"output": '{"no": "json'},
        {"error": '{"code": 5}'},
    ]


def test_media_in_a_result_are_inside_it_where_the_model_knows_that() -> None:
    content = [
        {"type": "text", "text": "a map"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    called = {"role": "assistant", "tool_calls": [call("1", "f")]}
    messages = [HISTORY[0], called, {"role": "tool", "tool_call_id": "1", "content": content}]
    picture = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    result = {"id": "1", "name": "f", "response": {"output": "a map"}}
    assert contents(messages, OLD)[2]["parts"] == [{"functionResponse": result}, picture]
    assert contents(messages, NEW)[2]["parts"] == [{"functionResponse": {**result, "parts": [picture]}}]


def test_a_result_without_its_call_is_told_as_text() -> None:
    # Google wants its name, which nobody knows.
    (found,) = contents([HISTORY[0], {"role": "tool", "tool_call_id": "9", "content": "x"}])
    assert found["parts"][1:] == [{"text": answered_before("")}, {"text": "x"}]


@pytest.mark.parametrize("arguments", ["[1]", "{broken", "word"])
def test_arguments_that_are_no_object_are_wrapped(arguments: str) -> None:
    # A session in whose history they stood could never go on.
    (part,) = contents([HISTORY[0], {"role": "assistant", "tool_calls": [call("1", "f", arguments)]}])[1]["parts"]
    assert part["functionCall"]["args"] == {"arguments": arguments}


@pytest.mark.parametrize(
    "result",
    [
        {"$defs": {"T": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/T"}}},
        {"tools": [{"inputSchema": {"properties": {"a": {"$ref": "#/x"}}}}]},
        {"paths": {"/a": {"schema": {"\u0024ref": "#/components/schemas/A"}}}},
    ],
)
def test_results_that_hold_references_go_as_text(result: dict[str, Any]) -> None:
    # Google takes them for references of its own, and answers 400.
    text = json.dumps(result)
    history = [HISTORY[0], {"role": "assistant", "tool_calls": [call("1")]}]
    (part,) = contents([*history, {"role": "tool", "tool_call_id": "1", "content": text}])[2]["parts"]
    assert part["functionResponse"]["response"] == {"output": text}
    (part,) = contents([*history, {"role": "tool", "tool_call_id": "1", "content": '{"price": "$5"}'}])[2]["parts"]
    assert part["functionResponse"]["response"] == {"price": "$5"}


# ---- thinking and signatures


def parts_of(message: dict[str, Any], provider_model: str = NEW) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = contents([HISTORY[0], {"role": "assistant", **message}], provider_model)[1]["parts"]
    return found


def test_the_signature_of_a_call_goes_back_on_that_call() -> None:
    google = {"extra_content": {"google": {"thought_signature": "s1"}}}
    detail = {"type": "reasoning.encrypted", "id": "1", "data": "s1", "format": "google-gemini-v1"}
    for message in (
        {"tool_calls": [call("1", **google), call("2")]},
        {"tool_calls": [call("1"), call("2")], "reasoning_details": [detail]},
    ):
        first, second = parts_of(message)
        assert first["thoughtSignature"] == "s1"
        assert "thoughtSignature" not in second


def test_only_the_first_call_of_an_unsigned_answer_gets_the_mark_and_only_where_it_is_needed() -> None:
    message = {"tool_calls": [call("1"), call("2")]}
    assert [part.get("thoughtSignature") for part in parts_of(message)] == [MARK, None]
    for provider_model in (OLD, "gemini-3-pro-image-preview", "gemma-4-31b-it"):
        assert [part.get("thoughtSignature") for part in parts_of(message, provider_model)] == [None, None]


def test_each_step_of_a_history_that_others_made_gets_the_mark() -> None:
    messages = [
        *HISTORY[:4],
        {"role": "assistant", "tool_calls": [call("3")]},
        {"role": "tool", "tool_call_id": "3", "content": "x"},
    ]
    found = [part for turn in contents(messages, NEW) for part in turn["parts"] if "functionCall" in part]
    assert [part.get("thoughtSignature") for part in found] == [MARK, None, MARK]


def test_a_signature_on_an_answer_goes_back_behind_it_and_signed_thoughts_before() -> None:
    details = [
        {"type": "reasoning.text", "text": "Hm.", "signature": "s0", "format": "google-gemini-v1", "index": 0},
        {"type": "reasoning.encrypted", "data": "s1", "format": "google-gemini-v1", "index": 1},
    ]
    assert parts_of({"content": "4", "reasoning_details": details}) == [
        {"text": "Hm.", "thought": True, "thoughtSignature": "s0"},
        {"text": "4"},
        {"text": "", "thoughtSignature": "s1"},
    ]


def test_thoughts_without_a_signature_and_those_of_others_stay_out() -> None:
    details = [
        {"type": "reasoning.text", "text": "Hm.", "format": "google-gemini-v1", "index": 0},
        {"type": "reasoning.text", "text": "Ah.", "signature": "a", "format": "anthropic-claude-v1", "index": 1},
        {"type": "reasoning.encrypted", "data": "b", "format": "openai-responses-v1", "index": 2},
    ]
    assert parts_of({"content": "4", "reasoning_details": details}) == [{"text": "4"}]
    assert parts_of({"content": "4", "reasoning": "Hm."}) == [{"text": "4"}]


def as_history(stream: bytes) -> dict[str, Any]:
    """The message that a client of the chat wire keeps of an answer, piece by piece."""
    content, details, calls = "", [], []
    for event in gemini.Decoder(STUDIO, 1 << 20, "").feed(stream):
        if isinstance(event, TextDelta | ThinkingDelta | ToolCallStarted | ToolCallDelta):
            delta = delta_of(event)["delta"]
            content += delta.get("content", "")
            details += delta.get("reasoning_details", [])
            for piece in delta.get("tool_calls", []):
                if "id" in piece:
                    calls.append(piece)
                else:
                    calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]
    return {"content": content, "reasoning_details": details, "tool_calls": calls}


@pytest.mark.parametrize(
    "parts",
    [
        [
            {"text": "Hm.", "thought": True, "thoughtSignature": "s0"},
            {"text": "Looking."},
            {"functionCall": {"id": "1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "s1"},
            {"functionCall": {"id": "2", "name": "g", "args": {}}},
        ],
        [{"text": "It is 4."}, {"text": "", "thoughtSignature": "s2"}],
    ],
)
def test_signatures_come_back_unharmed_on_their_way_through_the_chat_wire(parts: list[dict[str, Any]]) -> None:
    frames = [{"candidates": [{"content": {"role": "model", "parts": [part]}}], "responseId": "r"} for part in parts]
    stream = b"".join(b"data: " + json.dumps(frame).encode() + b"\r\n\r\n" for frame in frames)
    assert parts_of(as_history(stream)) == parts


# ---- tools


def tool(name: str = "f", **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **more}}


SCHEMA = {"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "additionalProperties": False}


def test_functions_are_declared_with_json_schema_which_is_left_away_where_it_is_empty() -> None:
    tools = [tool(description="does", parameters=SCHEMA), tool("g"), tool("h", parameters={"type": "object"})]
    assert asked({"tools": tools})["tools"] == [
        {
            "functionDeclarations": [
                {"name": "f", "description": "does", "parametersJsonSchema": SCHEMA},
                {"name": "g"},
                {"name": "h"},
            ]
        }
    ]


@pytest.mark.parametrize(
    ("choice", "strict", "calling"),
    [
        (None, False, None),
        ("auto", False, {"mode": "AUTO"}),
        ("none", False, {"mode": "NONE"}),
        ("required", False, {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "f"}}, False, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (None, True, {"mode": "VALIDATED"}),
        ("auto", True, {"mode": "VALIDATED"}),
        ("required", True, {"mode": "ANY"}),
    ],
)
def test_how_tools_are_chosen(choice: Any, strict: bool, calling: dict[str, Any] | None) -> None:
    body = asked({"tools": [tool(strict=strict)], **({"tool_choice": choice} if choice else {})})
    assert body.get("toolConfig", {}).get("functionCallingConfig") == calling


def test_googles_own_tools_go_as_they_are_and_beside_functions_with_what_allows_that() -> None:
    both = {"tools": [{"googleSearch": {}}, tool()]}
    body = asked(both)
    assert body["tools"] == [{"googleSearch": {}}, {"functionDeclarations": [{"name": "f"}]}]
    assert body["toolConfig"] == {"includeServerSideToolInvocations": True}
    assert "toolConfig" not in asked(both, provider=VERTEX)
    assert asked({"tools": [{"url_context": {}}]})["tools"] == [{"url_context": {}}]


def test_tools_of_other_providers_are_refused_by_their_place() -> None:
    with pytest.raises(Unsupported, match=r"tools\[1\]"):
        sent({"tools": [tool(), {"type": "web_search_20250305", "name": "web_search"}]})


def test_arguments_in_pieces_cannot_be_asked_for() -> None:
    given = {"functionCallingConfig": {"streamFunctionCallArguments": True}, "retrievalConfig": {"languageCode": "de"}}
    body = asked({"tools": [tool()], "toolConfig": given}, provider=VERTEX)
    assert body["toolConfig"] == {"retrievalConfig": {"languageCode": "de"}}


# ---- how the answer shall be


def test_limits_and_sampling_have_other_names() -> None:
    fields = {
        "max_completion_tokens": 64,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "seed": 7,
        "stop": ["\n", "END"],
        "n": 2,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "modalities": ["text", "image"],
        "image_config": {"aspect_ratio": "16:9"},
    }
    outgoing = sent(fields)
    assert json.loads(outgoing.body)["generationConfig"] == {
        "maxOutputTokens": 64,
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 40,
        "seed": 7,
        "stopSequences": ["\n", "END"],
        "candidateCount": 2,
        "presencePenalty": 0.1,
        "frequencyPenalty": 0.2,
        "responseModalities": ["TEXT", "IMAGE"],
        "imageConfig": {"aspectRatio": "16:9"},
    }
    assert outgoing.dropped == ()


def test_what_gemini_does_not_know_is_left_out_by_name() -> None:
    fields = {"logit_bias": {"1": 1}, "logprobs": True, "user": "u", "x_vendor": 1, "n": 1, "temperature": None}
    outgoing = sent(fields)
    assert outgoing.dropped == ("logit_bias", "logprobs", "user", "x_vendor")
    assert "generationConfig" not in json.loads(outgoing.body)


@pytest.mark.parametrize(
    ("provider_model", "provider", "dropped"),
    [
        (NEW, STUDIO, ()),
        (OLD, VERTEX, ()),
        (OLD, STUDIO, ("frequency_penalty", "presence_penalty")),
        ("gemini-4-argon", VERTEX, ("frequency_penalty", "n", "presence_penalty")),
        ("gemini-flash-latest", STUDIO, ("frequency_penalty", "n", "presence_penalty")),
    ],
)
def test_a_generation_that_refuses_a_parameter_does_not_get_it(
    provider_model: str, provider: Provider, dropped: tuple[str, ...]
) -> None:
    outgoing = sent({"n": 3, "presence_penalty": 0.5, "frequency_penalty": 0.5}, provider_model, provider)
    assert outgoing.dropped == dropped
    assert len(json.loads(outgoing.body).get("generationConfig", {})) == 3 - len(dropped)


def test_structured_output_is_json_schema_without_const() -> None:
    schema = {
        "type": "object",
        "properties": {"const": {"const": "a"}, "b": {"anyOf": [{"const": 1}, {"type": "null"}]}},
        "$defs": {"c": {"type": "array", "items": {"const": None}}},
        "required": ["const"],
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    assert asked({"response_format": wanted})["generationConfig"] == {
        "responseMimeType": "application/json",
        "responseJsonSchema": {
            "type": "object",
            "properties": {"const": {"enum": ["a"]}, "b": {"anyOf": [{"enum": [1]}, {"type": "null"}]}},
            "$defs": {"c": {"type": "array", "items": {"enum": [None]}}},
            "required": ["const"],
        },
    }
    json_only = {"response_format": {"type": "json_object"}}
    assert asked(json_only)["generationConfig"] == {"responseMimeType": "application/json"}


@pytest.mark.parametrize(
    ("provider_model", "reasoning", "thinking"),
    [
        (OLD, {"effort": "low"}, {"includeThoughts": True, "thinkingBudget": 1024}),
        (OLD, {"effort": "medium"}, {"includeThoughts": True, "thinkingBudget": 8192}),
        (OLD, {"effort": "max"}, {"includeThoughts": True, "thinkingBudget": 24_576}),
        (OLD, {"effort": "none"}, {"thinkingBudget": 0}),
        (OLD, {"enabled": True}, {"includeThoughts": True}),
        (OLD, {"max_tokens": 99_999}, {"includeThoughts": True, "thinkingBudget": 24_576}),
        (OLD, {"effort": "low", "exclude": True}, {"thinkingBudget": 1024}),
        ("gemini-2.5-pro", {"effort": "none"}, {"thinkingBudget": 128}),
        ("gemini-2.5-pro", {"effort": "xhigh"}, {"includeThoughts": True, "thinkingBudget": 32_768}),
        ("gemini-2.5-flash-lite", {"max_tokens": 1}, {"includeThoughts": True, "thinkingBudget": 512}),
        ("gemini-3.1-pro-preview", {"effort": "minimal"}, {"includeThoughts": True, "thinkingLevel": "low"}),
        ("gemini-3.6-flash", {"effort": "minimal"}, {"includeThoughts": True, "thinkingLevel": "minimal"}),
        ("gemini-3.6-flash", {"effort": "none"}, {"thinkingLevel": "minimal"}),
        ("gemini-3.7-flash", {"effort": "none"}, {"thinkingLevel": "low"}),
        ("models/gemini-3.8-flash-lite", {"effort": "none"}, {"thinkingLevel": "minimal"}),
        ("gemini-3.8-flash", {"effort": "max"}, {"includeThoughts": True, "thinkingLevel": "high"}),
        ("gemini-3.8-flash", {"max_tokens": 500}, {"includeThoughts": True, "thinkingBudget": 500}),
        ("gemini-4-argon", {"max_tokens": 500}, {"includeThoughts": True, "thinkingLevel": "low"}),
        ("gemini-4-argon", {"max_tokens": 9000}, {"includeThoughts": True, "thinkingLevel": "medium"}),
        ("gemini-4-argon", {"max_tokens": 50_000}, {"includeThoughts": True, "thinkingLevel": "high"}),
    ],
)
def test_thinking_is_a_budget_or_a_level_by_generation(
    provider_model: str, reasoning: dict[str, Any], thinking: dict[str, Any]
) -> None:
    outgoing = sent({"reasoning": reasoning}, provider_model)
    assert json.loads(outgoing.body)["generationConfig"] == {"thinkingConfig": thinking}
    assert outgoing.dropped == ()


@pytest.mark.parametrize("provider_model", ["gemini-2.0-flash", "gemini-1.5-pro", "gemini-pro", "gemma-3-27b-it"])
def test_a_model_that_does_not_think_is_not_told_to(provider_model: str) -> None:
    outgoing = sent({"reasoning_effort": "high"}, provider_model)
    assert "generationConfig" not in json.loads(outgoing.body)
    assert outgoing.dropped == ("reasoning_effort",)


@pytest.mark.parametrize(
    ("provider_model", "same"),
    [
        ("gemini-2.5-flash-preview-09-2025", OLD),
        ("gemini-3-flash-preview", "gemini-3.6-flash"),
        ("publishers/google/models/gemini-4-argon-002", "gemini-4-argon"),
        ("gemini-pro-latest", "gemini-5"),
        ("nano-banana", "gemini-5"),
    ],
)
def test_names_of_one_generation_are_taken_alike(provider_model: str, same: str) -> None:
    assert generation_of(provider_model) is generation_of(same)


def test_members_of_googles_own_pass_and_win() -> None:
    settings = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}]
    fields = {
        "safety_settings": settings,
        "cachedContent": "cachedContents/a",
        "labels": {"team": "a"},
        "temperature": 1,
        "generationConfig": {"temperature": 0.1, "mediaResolution": "MEDIA_RESOLUTION_LOW"},
    }
    body = asked(fields, provider=VERTEX)
    assert (body["safetySettings"], body["cachedContent"], body["labels"]) == (
        settings,
        "cachedContents/a",
        {"team": "a"},
    )
    assert body["generationConfig"] == {"temperature": 0.1, "mediaResolution": "MEDIA_RESOLUTION_LOW"}
    studio = sent(fields)
    assert "labels" not in json.loads(studio.body)
    assert studio.dropped == ("labels",)


def test_whether_google_keeps_the_request_can_be_said_at_the_gemini_api() -> None:
    assert asked({"store": False})["store"] is False
    assert "store" not in asked({"store": False}, provider=VERTEX)


def test_a_service_tier_is_a_member_at_the_gemini_api_and_a_header_at_vertex() -> None:
    assert asked({"service_tier": "flex"})["serviceTier"] == "flex"
    vertex = sent({"service_tier": "priority"}, provider=VERTEX)
    assert vertex.headers == (("X-Vertex-AI-LLM-Shared-Request-Type", "priority"),)
    assert "serviceTier" not in json.loads(vertex.body)
    usual, unknown = sent({"service_tier": "auto"}), sent({"service_tier": "scale"})
    assert (usual.dropped, unknown.dropped) == ((), ("service_tier",))
    assert "serviceTier" not in json.loads(usual.body)


def test_an_own_id_may_bring_its_path() -> None:
    assert sent({}, "gemini-2.5-pro").url == ""
    assert sent({}, "models/gemini-2.5-pro").url == "/models/gemini-2.5-pro:stream?alt=sse"
    assert sent({}, "publishers/google/models/gemini-2.5-pro").url == "/models/gemini-2.5-pro:stream?alt=sse"
    assert sent({}, "tunedModels/a b?c").url == "/tunedModels/a%20b%3Fc:stream?alt=sse"


def test_malformed_messages_are_the_callers_fault() -> None:
    with pytest.raises(InvalidRequest, match=r"messages\[0\]"):
        sent({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]})


# ---- errors


def parsed(status: int, error: dict[str, Any] | list[Any], headers: list[tuple[bytes, bytes]] | None = None) -> Any:
    body = json.dumps(error if isinstance(error, list) else {"error": error}).encode()
    return gemini.parse_error(status, headers or [], body, STUDIO, "key-of-ours-1", 0.0)


QUOTA = {
    "code": 429,
    "message": "You exceeded your current quota for key-of-ours-1.",
    "status": "RESOURCE_EXHAUSTED",
    "details": [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "PerMinute"}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"},
    ],
}


@pytest.mark.parametrize("body", [QUOTA, [{"error": QUOTA}]])
def test_how_long_to_wait_stands_in_the_details(body: Any) -> None:
    error = parsed(429, body)
    assert isinstance(error, ProviderError)
    assert (error.status, error.error_type, error.retry_after) == (429, "rate_limit_exceeded", 34.4)
    assert error.metadata["provider_code"] == "RESOURCE_EXHAUSTED"
    assert error.message == "You exceeded your current quota for [key]."
    assert error.safe_to_retry


def test_a_header_says_it_better() -> None:
    assert parsed(429, QUOTA, [(b"retry-after", b"7")]).retry_after == 7


@pytest.mark.parametrize("delay", ["soon", "-1s", "nans", "12", 3, None])
def test_a_delay_that_is_none_is_ignored(delay: Any) -> None:
    assert parsed(429, {**QUOTA, "details": [{"retryDelay": delay}]}).retry_after is None


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"code": 400, "message": "API key not valid. Please pass a valid one.", "status": "INVALID_ARGUMENT"}),
        (400, {"code": 400, "message": "API key expired. Please renew the API key.", "status": "INVALID_ARGUMENT"}),
        (400, {"code": 400, "message": "User location is not supported for the API use."}),
        (401, {"code": 401, "message": "Request had invalid credentials.", "status": "UNAUTHENTICATED"}),
        (403, {"code": 403, "message": "Vertex AI API has not been used.", "status": "PERMISSION_DENIED"}),
    ],
)  # fmt: skip
def test_what_only_the_operator_can_mend_is_told_so(status: int, error: dict[str, Any]) -> None:
    found = parsed(status, error)
    assert isinstance(found, ProviderMisconfigured)
    assert found.provider == "studio"
    assert f"HTTP {status}" in found.message


@pytest.mark.parametrize(
    ("status", "name", "blame"),
    [(400, "INVALID_ARGUMENT", "caller"), (404, "NOT_FOUND", "caller"), (500, "INTERNAL", "provider"),
     (503, "UNAVAILABLE", "provider"), (504, "DEADLINE_EXCEEDED", "provider")],
)  # fmt: skip
def test_other_errors_keep_status_and_words(status: int, name: str, blame: str) -> None:
    error = parsed(status, {"code": status, "message": "Words.", "status": name})
    assert (error.status, error.message, error.blame, error.metadata["provider_code"]) == (
        status,
        "Words.",
        blame,
        name,
    )


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error": "text"}', b'{"error": {"details": 3}}', b"\xff"])
def test_an_error_of_any_shape_is_an_error(body: bytes) -> None:
    error = gemini.parse_error(500, [], body, STUDIO, "", 0.0)
    assert (error.status, error.provider) == (500, "studio")


# ---- streams, beside the byte cases


@pytest.mark.parametrize(
    ("header", "traffic", "tier"),
    [("priority", None, "priority"), ("standard", None, "default"), ("", None, ""),
     ("", "ON_DEMAND_FLEX", "flex"), ("", "PROVISIONED_THROUGHPUT", "")],
)  # fmt: skip
def test_the_tier_served_is_read_from_the_head_or_the_counts(header: str, traffic: str | None, tier: str) -> None:
    decoder = gemini.Decoder(STUDIO)
    decoder.headers = [(b"x-gemini-service-tier", header.encode())] if header else []
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 1} | ({"trafficType": traffic} if traffic else {})
    events = decoder.feed(b"data: " + json.dumps({"usageMetadata": usage}).encode() + b"\n\n")
    assert [event.tier for event in events if isinstance(event, UsageReported)] == [tier]


def test_searches_of_a_model_before_gemini_3_are_billed_as_one() -> None:
    grounded = {"candidates": [{"index": 0, "groundingMetadata": {"webSearchQueries": ["a", "b"]}}]}
    for model, searches in (("gemini-2.5-flash", 1), ("gemini-3.8-flash", 2)):
        frame = {**grounded, "usageMetadata": {"promptTokenCount": 1}, "modelVersion": model}
        events = gemini.Decoder(STUDIO).feed(b"data: " + json.dumps(frame).encode() + b"\n\n")
        assert [event.usage.searches for event in events if isinstance(event, UsageReported)] == [searches]


def fed(*pieces: bytes, most: int = 1 << 20) -> list[Any]:
    decoder = gemini.Decoder(STUDIO, most, "key-of-ours-1")
    return [event for piece in pieces for event in decoder.feed(piece)] + decoder.close()


def test_an_error_without_framing_that_breaks_off_or_never_ends_is_a_failure_and_bounded() -> None:
    cut = fed(b'{\n  "error": {\n    "code": 500,')
    endless = fed(b"{\n", *[b'  "a": "' + b"x" * 9000 + b'",\n'] * 8)
    for events, words in ((cut, "broke off"), (endless, "does not end")):
        assert isinstance(events[-1], Failed)
        assert words in events[-1].error.message
        assert events[-1].error.provider == "studio"


def test_deep_nesting_in_an_unframed_error_is_no_crash() -> None:
    (event,) = fed(b"[" * 60_000 + b"]" * 60_000)
    assert isinstance(event, Failed)


def test_a_frame_above_the_bound_is_refused_in_our_words() -> None:
    with pytest.raises(InfronError) as refused:
        fed(b"data: " + b"x" * 200, most=100)
    assert refused.value.provider == "studio"
    with pytest.raises(InfronError):
        fed(b"data: " + b" " * 200 + b"{}\r\n\r\n", most=100)


def test_the_key_is_never_repeated_from_a_stream() -> None:
    (event,) = fed(b'data: {"error":{"code":500,"message":"bad key-of-ours-1"}}\r\n\r\n')
    assert event.error.message == "bad [key]"


def test_the_ids_that_calls_get_differ_between_answers() -> None:
    frame = b'data: {"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]}}],"responseId":"%b"}\r\n\r\n'
    ids = {fed(frame % name)[1].id for name in (b"a", b"b")}
    assert len(ids) == 2
    assert all(id.startswith("call_") and id.isascii() for id in ids)


def test_the_end_of_choices_is_known_and_taken_back_when_another_one_appears() -> None:
    decoder = gemini.Decoder(STUDIO, 1 << 20, "")
    decoder.feed(b'data: {"candidates":[{"finishReason":"STOP","index":0}],"responseId":"r1"}\r\n\r\n')
    assert (decoder.finished, decoder.upstream_id, decoder.cancel) == (True, "r1", None)
    decoder.feed(b'data: {"candidates":[{"content":{"parts":[{"text":"x"}]},"index":1}]}\r\n\r\n')
    assert not decoder.finished


def test_many_frames_in_one_read_give_all_their_events() -> None:
    frame = b'data: {"candidates":[{"content":{"parts":[{"text":"a"}]}}]}\r\n\r\n'
    assert sum(isinstance(event, TextDelta) for event in fed(frame * 3 + frame[:20], frame[20:])) == 4


def test_a_whole_body_that_is_no_json_raises() -> None:
    with pytest.raises(InfronError, match="neither a stream nor JSON"):
        gemini.Decoder(STUDIO, 1 << 20, "").whole(b"<html>")
    (event,) = gemini.Decoder(STUDIO, 1 << 20, "").whole(b"[{]")
    assert isinstance(event, Failed)
