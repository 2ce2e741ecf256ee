"""A chat request as a conversation and back: each mapping, what is refused and where, what a wire leaves out."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from asking import asking
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from infron.conversation import (
    CLAUDE,
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
from infron.errors import InvalidRequest, Unsupported
from infron.wires.openai.chat.messages import conversation_of, fields_of

HI = {"role": "user", "content": "hi"}


def raw(**fields: Any) -> dict[str, Raw]:
    return {name: Raw(json.dumps(value).encode()) for name, value in fields.items()}


def conversation(**fields: Any) -> Conversation:
    return conversation_of(raw(**{"messages": [HI], **fields}))


def said(*messages: dict[str, Any]) -> tuple[Message, ...]:
    return conversation(messages=list(messages)).messages


def part_of(item: dict[str, Any]) -> Any:
    (message,) = said({"role": "user", "content": [item]})
    (part,) = message.parts
    return part


def answer(**fields: Any) -> Message:
    (message,) = said({"role": "assistant", **fields})
    return message


def call(id: str = "c1", name: str = "f", arguments: Any = "{}", **fields: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}, **fields}


# ---- messages


def test_each_message_of_the_request_is_one_message_with_its_role() -> None:
    assert said(
        {"role": "system", "content": "S"},
        {"role": "developer", "content": [{"type": "text", "text": "D"}]},
        {"role": "user", "content": "U", "name": "ann"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": ""},
    ) == (
        Message("system", (Text("S"),)),
        Message("system", (Text("D"),)),
        Message("user", (Text("U"),), "ann"),
        Message("assistant", ()),
        Message("user", ()),
    )


def test_empty_texts_are_no_parts() -> None:
    assert said({"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "x"}]}) == (
        Message("user", (Text("x"),)),
    )


@pytest.mark.parametrize(
    ("item", "part"),
    [
        ({"type": "input_text", "text": "x"}, Text("x")),
        ({"type": "refusal", "refusal": "no"}, Text("no")),
        (
            {"type": "image_url", "image_url": {"url": "data:image/PNG;base64,AAAA", "detail": "low"}},
            Media(kind="image", mime="image/png", data="AAAA", detail="low"),
        ),
        ({"type": "image_url", "image_url": "https://x.test/a"}, Media(kind="image", url="https://x.test/a")),
        (
            {"type": "input_image", "image_url": "https://x.test/a", "detail": "high"},
            Media(kind="image", url="https://x.test/a", detail="high"),
        ),
        ({"type": "input_image", "file_id": "f1"}, Media(kind="image", file_id="f1")),
        (
            {"type": "image_url", "image_url": {"url": "gs://b/x", "format": "image/webp"}},
            Media(kind="image", mime="image/webp", url="gs://b/x"),
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/svg+xml,%3Csvg%2F%3E"}},
            Media(kind="image", mime="image/svg+xml", data=base64.b64encode(b"<svg/>").decode()),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
            Media(kind="audio", mime="audio/mpeg", data="AAAA"),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "amr"}},
            Media(kind="audio", mime="audio/amr", data="AAAA"),
        ),
        ({"type": "audio_url", "audio_url": {"url": "https://x.test/a"}}, Media(kind="audio", url="https://x.test/a")),
        ({"type": "video_url", "video_url": {"url": "https://x.test/v"}}, Media(kind="video", url="https://x.test/v")),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0x", "filename": "a.pdf"}},
            Media(kind="document", mime="application/pdf", data="JVBERi0x", name="a.pdf"),
        ),
        (
            {"type": "file", "file": {"file_data": "JVBERi0x"}},
            Media(kind="document", mime="application/pdf", data="JVBERi0x"),
        ),
        (
            {"type": "file", "file": {"file_data": "https://x.test/a.pdf"}},
            Media(kind="document", url="https://x.test/a.pdf"),
        ),
        (
            {"type": "input_file", "file_url": "https://x.test/a.pdf"},
            Media(kind="document", url="https://x.test/a.pdf"),
        ),
        ({"type": "file", "file": {"file_id": "file-1"}}, Media(kind="document", file_id="file-1")),
        (
            {"type": "file", "file": {"file_data": "data:image/png;base64,AAAA"}},
            Media(kind="image", mime="image/png", data="AAAA"),
        ),
        (
            {"type": "file", "file": {"file_data": "aGVsbG8=", "filename": "Notes.TXT"}},
            Media(kind="document", mime="text/plain", text="hello", name="Notes.TXT"),
        ),
        (
            {"type": "file", "file": {"file_data": "data:text/csv;charset=utf-8;base64,YSxi"}},
            Media(kind="document", mime="text/csv", text="a,b"),
        ),
        (
            {"type": "file", "file": {"file_data": "data:text/plain;base64,/w=="}},
            Media(kind="document", mime="text/plain", data="/w=="),
        ),
    ],
)
def test_a_part_of_content_is_a_neutral_part(item: dict[str, Any], part: Any) -> None:
    assert part_of(item) == part


def test_cache_marks_stand_on_parts_messages_calls_and_tools() -> None:
    mark = {"type": "ephemeral"}
    long = {"type": "ephemeral", "ttl": "1h"}
    assert part_of({"type": "text", "text": "x", "cache_control": mark}) == Text("x", "5m")
    picture = {"type": "image_url", "image_url": {"url": "https://x.test"}, "cache_control": long}
    assert part_of(picture) == Media(kind="image", url="https://x.test", cache="1h")
    (message,) = said({"role": "user", "content": "x", "cache_control": {"type": "ephemeral", "ttl": "5m"}})
    assert message.parts == (Text("x", "5m"),)
    assert answer(reasoning="t", cache_control=mark).parts == (Thinking(text="t"),)
    assert answer(content="x", tool_calls=[call(cache_control=long)]).parts[1].cache == "1h"  # type: ignore[union-attr]
    (_, result) = said({"role": "assistant", "tool_calls": [call()]},
                       {"role": "tool", "tool_call_id": "c1", "content": "r", "cache_control": mark})  # fmt: skip
    assert result.parts == (ToolResult(call_id="c1", name="f", parts=(Text("r"),), cache="5m"),)
    function = {"type": "function", "function": {"name": "f"}, "cache_control": mark}
    assert conversation(tools=[function]).tools == (Tool(name="f", cache="5m"),)


def test_an_answer_holds_thoughts_content_and_calls_in_this_order() -> None:
    message = answer(
        content="Sure.",
        refusal="No.",
        reasoning_content="Hm",
        images=[{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}],
        audio={"id": "audio_1"},
        tool_calls=[call(arguments='{"a":1}'), {"id": "c2", "function": {"name": "g"}}, call("c3", arguments={"b": 2})],
    )
    assert message.parts == (
        Thinking(text="Hm"),
        Text("Sure."),
        Text("No."),
        Media(kind="image", mime="image/png", data="AAAA"),
        Media(kind="audio", file_id="audio_1"),
        ToolCall(id="c1", name="f", arguments='{"a":1}'),
        ToolCall(id="c2", name="g", arguments="{}"),
        ToolCall(id="c3", name="f", arguments='{"b":2}'),
    )


def test_reasoning_details_are_replayed_in_order_and_over_the_plain_text() -> None:
    claude = "anthropic-claude-v1"
    message = answer(
        reasoning="ab",
        reasoning_details=[
            {"type": "reasoning.text", "text": "a", "signature": "s1", "format": claude, "index": 0, "id": None},
            {"type": "reasoning.encrypted", "data": "XX", "format": claude, "index": 1},
            {"type": "reasoning.summary", "summary": "b", "id": "rs_1", "format": "openai-responses-v1", "index": 2},
            {"type": "reasoning.text", "text": "", "signature": "s2", "index": 3},
            {"type": "reasoning.text", "text": "", "index": 4},
        ],
    )
    assert message.parts == (
        Thinking(text="a", signature="s1", format=claude),
        Thinking(data="XX", format=claude),
        Thinking(text="b", id="rs_1", format="openai-responses-v1"),
        Thinking(signature="s2"),
    )


def test_pieces_of_a_stream_that_a_client_kept_as_they_came_are_one_block() -> None:
    message = answer(
        reasoning_details=[
            {"type": "reasoning.text", "text": "Let ", "format": "x", "index": 0},
            {"type": "reasoning.text", "text": "me", "format": "x", "index": 0},
            {"type": "reasoning.text", "signature": "s", "format": "x", "index": 0},
            {"type": "reasoning.text", "text": "next", "format": "x", "index": 0},
            {"type": "reasoning.text", "text": "no index"},
            {"type": "reasoning.text", "text": "another"},
        ],
    )
    assert message.parts == (
        Thinking(text="Let me", signature="s", format="x"),
        Thinking(text="next", format="x"),
        Thinking(text="no index"),
        Thinking(text="another"),
    )


def test_an_encrypted_detail_of_a_call_is_the_signature_of_that_call() -> None:
    detail = {"type": "reasoning.encrypted", "data": "SIG", "format": "google-gemini-v1", "id": "c1", "index": 0}
    message = answer(reasoning="why", reasoning_details=[detail], tool_calls=[call(), call("c2")])
    assert message.parts == (
        Thinking(text="why"),
        ToolCall(id="c1", name="f", arguments="{}", signature="SIG"),
        ToolCall(id="c2", name="f", arguments="{}"),
    )
    other = answer(tool_calls=[call(extra_content={"google": {"thought_signature": "S2"}})])
    assert other.parts == (ToolCall(id="c1", name="f", arguments="{}", signature="S2"),)


def test_thinking_parts_of_content_are_thoughts() -> None:
    message = answer(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]},
                              {"type": "thinking", "thinking": "b", "signature": "s"},
                              {"type": "text", "text": "c"}])  # fmt: skip
    assert message.parts == (Thinking(text="a"), Thinking(text="b", signature="s"), Text("c"))


def test_a_tool_result_finds_the_name_of_its_tool_in_the_history() -> None:
    messages = said(
        {"role": "assistant", "tool_calls": [call("c1", "f"), call("c2", "g")]},
        {"role": "tool", "tool_call_id": "c2", "content": "G", "is_error": True},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "F"}]},
        {"role": "tool", "tool_call_id": "c9", "content": "?"},
        {"role": "tool", "tool_call_id": "c8", "content": "", "name": "h"},
    )
    assert [message.parts[0] for message in messages[1:]] == [
        ToolResult(call_id="c2", name="g", parts=(Text("G"),), failed=True),
        ToolResult(call_id="c1", name="f", parts=(Text("F"),)),
        ToolResult(call_id="c9", parts=(Text("?"),)),
        ToolResult(call_id="c8", name="h"),
    ]


def test_the_old_function_calls_are_tool_calls() -> None:
    found = conversation(
        messages=[
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "42"},
        ],
        functions=[{"name": "f", "parameters": {"type": "object"}}],
        function_call={"name": "f"},
    )
    assert found.messages == (
        Message("assistant", (ToolCall(id="call_0", name="f", arguments="{}"),)),
        Message("tool", (ToolResult(call_id="call_0", name="f", parts=(Text("42"),)),)),
    )
    assert found.tools == (Tool(name="f", schema={"type": "object"}),)
    assert (found.tool_choice, found.tool_name) == ("tool", "f")
    assert found.fields == {}


# ---- tools, and how the answer shall be


def test_functions_are_tools_and_all_others_are_native() -> None:
    found = conversation(
        tools=[
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"x": 1}, "strict": True}},
            {"type": "function", "name": "flat"},
            {"type": "web_search", "filters": {}},
            {"google_search": {}},
        ]
    )
    assert found.tools == (
        Tool(name="f", description="d", schema={"x": 1}, strict=True),
        Tool(name="flat"),
        NativeTool({"type": "web_search", "filters": {}}),
        NativeTool({"google_search": {}}),
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("auto", ("auto", "")),
        ("none", ("none", "")),
        ("required", ("required", "")),
        ("any", ("required", "")),
        ({"type": "auto"}, ("auto", "")),
        ({"type": "function", "function": {"name": "f"}}, ("tool", "f")),
        ({"type": "tool", "name": "f"}, ("tool", "f")),
    ],
)
def test_a_tool_choice_is_a_word_or_names_a_tool(value: Any, expected: tuple[str, str]) -> None:
    found = conversation(tool_choice=value)
    assert (found.tool_choice, found.tool_name) == expected


def test_allowed_tools_are_the_only_ones_left() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in "abc"]
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "b"}}]}
    found = conversation(tools=tools, tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    assert (found.tools, found.tool_choice) == ((Tool(name="b"),), "required")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, ResponseFormat(kind="json")),
        ({"type": "json_object", "schema": {"a": 1}}, ResponseFormat(kind="schema", schema={"a": 1})),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"a": 1}, "strict": True}},
            ResponseFormat(kind="schema", name="n", schema={"a": 1}, strict=True),
        ),
        ({"type": "json_schema", "json_schema": {"name": "n"}}, ResponseFormat(kind="json")),
    ],
)
def test_a_response_format_is_none_json_or_a_schema(value: Any, expected: ResponseFormat | None) -> None:
    assert conversation(response_format=value).response_format == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"reasoning": {}}, None),
        ({"reasoning": {"exclude": False}}, None),
        ({"reasoning": {"enabled": True}}, Reasoning()),
        ({"reasoning": {"enabled": False}}, Reasoning(effort="none")),
        ({"reasoning": {"effort": "high", "exclude": True}}, Reasoning(effort="high", exclude=True)),
        ({"reasoning": {"max_tokens": 2000.0}}, Reasoning(max_tokens=2000)),
        ({"reasoning_effort": "xhigh"}, Reasoning(effort="xhigh")),
        ({"reasoning_effort": "low", "reasoning": {"effort": "low"}}, Reasoning(effort="low")),
        ({"reasoning_effort": "low", "reasoning": {"max_tokens": 9}}, Reasoning(effort="low", max_tokens=9)),
        ({"include_reasoning": False}, Reasoning(exclude=True)),
        ({"include_reasoning": True}, None),
    ],
)
def test_reasoning_is_said_by_an_object_or_by_its_effort(fields: dict[str, Any], expected: Reasoning | None) -> None:
    found = conversation(**fields)
    assert found.reasoning == expected
    assert found.fields == {}


def test_limits_have_two_names_and_stops_two_shapes() -> None:
    assert conversation(max_tokens=5).max_tokens == 5
    assert conversation(max_completion_tokens=6, max_tokens=5).max_tokens == 6
    assert conversation(stop="a").stop == ("a",)
    assert conversation(stop=["a", "b"]).stop == ("a", "b")
    assert conversation(parallel_tool_calls=False).parallel_tool_calls is False


def test_other_members_are_kept_as_they_are_and_null_is_absent() -> None:
    found = conversation(
        model="m", stream=True, stream_options={}, temperature=0.5, x_vendor={"a": [1]}, top_p=None, max_tokens=None,
        tools=None, stop=None, reasoning=None, tool_choice=None, response_format=None, parallel_tool_calls=None,
    )  # fmt: skip
    assert found.asked == {"temperature": ("temperature",), "x_vendor": ("x_vendor",)}
    assert replace(found, asked={}) == Conversation(
        messages=(Message("user", (Text("hi"),)),), fields={"temperature": 0.5, "x_vendor": {"a": [1]}}
    )


# ---- what is refused, and where


def user(*parts: Any) -> dict[str, Any]:
    return {"messages": [HI, {"role": "user", "content": list(parts)}]}


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"messages": "x"}, "messages"),
        ({"messages": ["x"]}, "messages[0]"),
        ({"messages": [{"role": "robot"}]}, "messages[0].role"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "name": 5}]}, "messages[0].name"),
        (user("x"), "messages[1].content[0]"),
        (user({"text": "x"}), "messages[1].content[0].type"),
        (user({"type": "text", "text": 5}), "messages[1].content[0].text"),
        (user({"type": "text", "text": "x", "cache_control": "x"}), "messages[1].content[0].cache_control"),
        (
            user({"type": "text", "text": "x", "cache_control": {"type": "forever"}}),
            "messages[1].content[0].cache_control.type",
        ),
        (
            user({"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "2h"}}),
            "messages[1].content[0].cache_control.ttl",
        ),
        (user({"type": "image_url", "image_url": 5}), "messages[1].content[0].image_url"),
        (user({"type": "image_url", "image_url": {}}), "messages[1].content[0].image_url"),
        (user({"type": "image_url", "image_url": {"url": "data:image/png"}}), "messages[1].content[0].image_url"),
        (user({"type": "image_url", "image_url": {"url": 5}}), "messages[1].content[0].image_url.url"),
        (
            user({"type": "file", "file": {"file_data": "data:text/plain;base64,A"}}),
            "messages[1].content[0].file",
        ),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]}, "messages[0].tool_calls[0].function"),
        ({"messages": [{"role": "assistant", "tool_calls": [call(id=5)]}]}, "messages[0].tool_calls[0].id"),  # type: ignore[arg-type]
        (
            {"messages": [{"role": "assistant", "tool_calls": [call(arguments=5)]}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"messages": [{"role": "assistant", "reasoning_details": [5]}]}, "messages[0].reasoning_details[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].name"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].name"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"parallel_tool_calls": "yes"}, "parallel_tool_calls"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"stop": [1]}, "stop"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {}}, "response_format.type"),
        ({"reasoning": "high"}, "reasoning"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"reasoning": {"max_tokens": -1}}, "reasoning.max_tokens"),
        ({"reasoning": {"enabled": False, "effort": "low"}}, "reasoning"),
        ({"reasoning": {"effort": "low"}, "reasoning_effort": "high"}, "reasoning_effort"),
        ({"reasoning": {"enabled": False}, "reasoning_effort": "high"}, "reasoning_effort"),
    ],
)
def test_what_is_malformed_is_refused_with_its_place(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        conversation(**fields)
    assert refused.value.param == place
    assert place.split(".")[0] in refused.value.message


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        (user({"type": "hologram"}), "messages[1].content[0].type"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "type": "custom", "custom": {}}]}]},
            "messages[0].tool_calls[0]",
        ),
        ({"response_format": {"type": "grammar", "grammar": "x"}}, "response_format"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice"),
    ],
)
def test_what_only_one_host_knows_is_unsupported_so_that_another_candidate_may_take_it(
    fields: dict[str, Any], place: str
) -> None:
    with pytest.raises(Unsupported) as refused:
        conversation(**fields)
    assert refused.value.param == place


def test_raw_members_that_are_no_json_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="`seed` is not valid JSON"):
        conversation_of({**raw(messages=[HI]), "seed": Raw(b"{")})


WORDS = """
    role content type text image_url url file file_data input_audio data tool_calls id function name arguments user
    assistant tool tool_call_id reasoning_details reasoning.text thinking cache_control ephemeral json_schema
"""
words = st.sampled_from(WORDS.split())
nearly = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | words | st.sampled_from(["data:x", "data:;base64,A", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["tools", "tool_choice", "stop", "response_format", "reasoning", "functions", "function_call"]),
        nearly,
        max_size=2,
    ),
    st.lists(
        st.dictionaries(words, nearly, max_size=3).flatmap(
            lambda item: st.sampled_from(["user", "assistant", "tool"]).map(lambda role: {**item, "role": role})
        ),
        max_size=2,
    ),
)
def test_any_json_gives_a_conversation_or_our_error(fields: dict[str, Any], messages: list[Any]) -> None:
    try:
        found = conversation(**fields, messages=messages)
    except (InvalidRequest, Unsupported):
        return
    assert len(found.messages) == len(messages)


# ---- back again

letters = st.characters(codec="utf-8", exclude_characters="")
text = st.text(letters, min_size=1, max_size=12)
maybe = st.just("") | text
cache = st.sampled_from(["", "5m", "1h"])
base64s = st.binary(min_size=1, max_size=6).map(lambda data: base64.b64encode(data).decode())
url = text.map(lambda tail: "https://x.test/" + tail)
texts = st.builds(Text, text, cache)
medias = st.one_of(
    st.builds(
        Media,
        kind=st.just("image"),
        mime=st.sampled_from(["image/png", "image/jpeg", ""]),
        data=base64s,
        name=maybe,
        detail=maybe,
        cache=cache,
    ),
    st.builds(
        Media,
        kind=st.just("audio"),
        mime=st.sampled_from(["audio/wav", "audio/mpeg", "audio/mp3", "audio/x-odd", "audio/l16;rate=24000"]),
        data=base64s,
        cache=cache,
    ),
    st.builds(Media, kind=st.just("video"), mime=st.sampled_from(["video/mp4", ""]), data=base64s, cache=cache),
    st.builds(
        Media,
        kind=st.just("document"),
        mime=st.sampled_from(["application/pdf", "application/x-odd"]),
        data=base64s,
        name=maybe,
        cache=cache,
    ),
    st.builds(
        Media,
        kind=st.just("document"),
        mime=st.sampled_from(["text/plain", "text/markdown"]),
        text=text,
        name=maybe,
        cache=cache,
    ),
    st.builds(
        Media,
        kind=st.sampled_from(["image", "audio", "video", "document"]),
        url=url,
        mime=st.sampled_from(["", "image/png", "application/pdf"]),
        name=maybe,
        cache=cache,
    ),
    st.builds(
        Media, kind=st.sampled_from(["image", "audio", "video", "document"]), file_id=text, name=maybe, cache=cache
    ),
)
content = st.lists(texts | medias, max_size=3).map(tuple)
formats = st.sampled_from(["", "anthropic-claude-v1", "openai-responses-v1"])
thinking = st.one_of(
    st.builds(Thinking, text=text, signature=maybe, format=formats, id=maybe),
    st.builds(Thinking, signature=text, format=formats),
    st.builds(Thinking, data=text, format=formats, id=st.just("") | text.map("thought-".__add__)),
)
ids = text.map("call-".__add__)
calls = st.lists(
    st.builds(ToolCall, id=ids, name=text, arguments=text, signature=maybe, cache=cache),
    max_size=3,
    unique_by=lambda call: call.id,
).map(tuple)
answers = st.builds(
    lambda thinking, content, calls, name: Message("assistant", (*thinking, *content, *calls), name),
    st.lists(thinking, max_size=3),
    content,
    calls,
    maybe,
)
results = st.builds(ToolResult, call_id=ids, name=maybe, parts=content, failed=st.booleans(), cache=cache)
json_values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | st.text(letters),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(letters, max_size=5), inner, max_size=2),
    max_leaves=4,
)
objects = st.dictionaries(st.text(letters, max_size=5), json_values, max_size=2)


def named(messages: list[Message]) -> tuple[Message, ...]:
    """Tool results carry the name that the history has for their call."""
    names: dict[str, str] = {}
    done = []
    for message in messages:
        names.update({part.id: part.name for part in message.parts if isinstance(part, ToolCall)})
        done.append(Message(message.role, tuple(
            ToolResult(call_id=part.call_id, name=names.get(part.call_id, part.name), parts=part.parts,
                       failed=part.failed, cache=part.cache) if isinstance(part, ToolResult) else part
            for part in message.parts), message.name))  # fmt: skip
    return tuple(done)


messages = st.lists(
    st.one_of(
        st.builds(Message, st.just("system"), st.lists(texts, max_size=2).map(tuple), maybe),
        st.builds(Message, st.just("user"), content, maybe),
        answers,
        results.map(lambda result: Message("tool", (result,))),
    ),
    max_size=4,
).map(named)
conversations = st.builds(
    lambda choice, **fields: Conversation(tool_choice=choice[0], tool_name=choice[1], **fields),
    choice=st.sampled_from([None, "auto", "none", "required"]).map(lambda word: (word, ""))
    | text.map(lambda name: ("tool", name)),
    messages=messages,
    tools=st.lists(
        st.builds(
            Tool,
            name=text,
            description=maybe,
            schema=st.none() | objects,
            strict=st.none() | st.booleans(),
            cache=cache,
        )
        | st.builds(NativeTool, objects.map(lambda raw: {"type": "web_search", **raw})),
        max_size=2,
    ).map(tuple),
    parallel_tool_calls=st.none() | st.booleans(),
    max_tokens=st.none() | st.integers(1, 10**6),
    stop=st.lists(text, max_size=2).map(tuple),
    response_format=st.none()
    | st.just(ResponseFormat(kind="json"))
    | st.builds(ResponseFormat, kind=st.just("schema"), name=text, schema=objects, strict=st.none() | st.booleans()),
    reasoning=st.none()
    | st.builds(
        Reasoning,
        effort=st.none() | st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh", "max"]),
        max_tokens=st.none() | st.integers(0, 10**5),
        exclude=st.booleans(),
    ),
    fields=st.dictionaries(st.sampled_from(["temperature", "seed", "x_vendor", "user"]), json_values, max_size=2),
)


@given(conversations)
def test_a_conversation_survives_the_chat_wire(before: Conversation) -> None:
    assert same(conversation_of(fields_of(before)), before)


def same(after: Conversation, before: Conversation) -> bool:
    return replace(after, asked={}) == before


def shape(parts: Sequence[Part]) -> list[Any]:
    """The thinking in order, each with the calls and the number of characters before it; then all that is said."""
    calls, characters, found, text = 0, 0, [], ""
    for part in parts:
        if isinstance(part, Thinking):
            found.append((part, calls, characters))
        elif isinstance(part, ToolCall):
            calls += 1
        elif isinstance(part, Text):
            characters += len(part.text)
            text += part.text
    return [*found, text, [part for part in parts if isinstance(part, ToolCall)]]


def once(parts: list[Part]) -> list[Part]:
    """Each call once: an id stands for one."""
    seen: set[str] = set()
    return [p for p in parts if not isinstance(p, ToolCall) or not (p.id in seen or seen.add(p.id))]


SIGNED = st.builds(Thinking, text=text, signature=text, format=st.just(CLAUDE))
CALLS = st.builds(ToolCall, id=ids, name=text, arguments=text)
REDACTED = st.builds(Thinking, data=text, format=st.just(CLAUDE))


@given(st.lists(SIGNED | REDACTED | texts | CALLS, max_size=8).map(once))
def test_signed_thoughts_keep_their_place_among_texts_and_calls(parts: list[Part]) -> None:
    # They came back as thinking, thinking, call, call, and Anthropic refuses thinking in another order.
    before = Message("assistant", tuple(parts))
    (after,) = conversation_of(fields_of(Conversation(messages=(before,)))).messages
    assert shape(after.parts) == shape(parts)


def test_thoughts_whose_place_is_not_known_stay_out() -> None:
    details = [{"type": "reasoning.text", "text": t, "signature": t, "format": CLAUDE} for t in "ab"]
    message = {"role": "assistant", "content": None, "reasoning_details": details, "tool_calls": [call(), call("c2")]}
    found = asking(messages=[HI, message]).conversation
    assert [type(part) for part in found.messages[1].parts] == [ToolCall, ToolCall]
    assert found.lost == ("messages.thinking",)
    details[1]["id"] = "at_3_0"  # of three calls the client has kept two
    assert asking(messages=[HI, message]).conversation.lost == ("messages.thinking",)


def test_a_format_that_a_library_has_put_together_from_pieces_is_still_known() -> None:
    detail = {"type": "reasoning.text", "text": "a", "signature": "s", "format": CLAUDE * 3, "index": 0}
    (thought,) = answer(reasoning_details=[detail]).parts
    assert thought == Thinking(text="a", signature="s", format=CLAUDE)


def test_several_results_of_a_message_are_one_message_each() -> None:
    results = (ToolResult(call_id="a", parts=(Text("x"),)), ToolResult(call_id="b"))
    fields = fields_of(Conversation(messages=(Message("tool", results),)))
    assert msgspec.json.decode(fields["messages"]) == [
        {"role": "tool", "tool_call_id": "a", "content": "x"},
        {"role": "tool", "tool_call_id": "b", "content": ""},
    ]


def test_plain_things_are_written_as_every_host_knows_them() -> None:
    said = fields_of(
        Conversation(
            messages=(
                Message("system", (Text("S"),)),
                Message("user", (Text("U"), Media(kind="image", mime="image/png", data="AAAA"))),
                Message("assistant", (Thinking(text="T"), ToolCall(id="c", name="f", arguments="{}"))),
                Message("tool", (ToolResult(call_id="c", name="f", parts=(Text("R"),)),)),
            ),
            max_tokens=5,
            reasoning=Reasoning(effort="low"),
            fields={"temperature": 0},
        )
    )
    assert {name: msgspec.json.decode(value) for name, value in said.items()} == {
        "temperature": 0,
        "max_tokens": 5,
        "reasoning_effort": "low",
        "messages": [
            {"role": "system", "content": "S"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "U"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "T",
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "c", "content": "R"},
        ],
    }


# ---- what a wire leaves out


def left_out(takes: set[str], **fields: Any) -> tuple[str, ...]:
    return asking(**fields).conversation.left_out(takes)


def test_what_a_wire_does_not_take_is_named_in_order() -> None:
    asked = {"stream_options": {}, "seed": 1, "temperature": 0, "logit_bias": {"1": 2}, "top_k": None}
    assert left_out({"temperature"}, **asked) == ("logit_bias", "seed")
    assert left_out({"temperature", "seed", "logit_bias"}, **asked) == ()


def test_two_names_of_one_wish_are_taken_together() -> None:
    asked = {"max_completion_tokens": 5, "reasoning_effort": "low", "include_reasoning": False}
    asked["functions"] = [{"name": "f"}]
    assert left_out({"max_tokens", "reasoning", "tools"}, **asked) == ()
    assert left_out(set(), **asked) == (
        "functions",
        "include_reasoning",
        "max_completion_tokens",
        "reasoning_effort",
    )


def test_what_asks_for_nothing_is_never_missed() -> None:
    idle = {"n": 1, "presence_penalty": 0.0, "frequency_penalty": 0, "logprobs": False}
    assert left_out(set(), **idle, response_format={"type": "text"}) == ()
    assert left_out(set(), n=2, logprobs=True) == ("logprobs", "n")
