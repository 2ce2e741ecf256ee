"""A request of a client of the Messages API to Anthropic itself: what it would refuse is put right, nothing else."""

from __future__ import annotations

import base64
import json
import re
from itertools import pairwise
from typing import Any

import pytest
from asking import asking
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from infron.catalog.definitions import Provider
from infron.request import Outgoing
from infron.testing import speak
from infron.wires import anthropic
from infron.wires.anthropic.words import marked, unmarked
from infron.wires.json_guard import items_of
from infron.wires.pairing import NOT_RUN, answered_before
from infron.wires.session import CUT_OFF, GO_ON

MOCK = Provider(id="mock", name="Mock", wire="anthropic")
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n...").decode()
EPHEMERAL = {"type": "ephemeral"}
FOREIGN = (
    "google-gemini-v1",
    "google-gemini-v1:call",
    "openai-responses-v1",
    "bedrock-converse-v1",
    "xai-responses-v1",
)
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
STOP = {"role": "user", "content": "Stop."}


def outgoing(*messages: Any, model: str = "claude-opus-5", **fields: Any) -> Outgoing:
    request = asking("anthropic", messages=list(messages), **{"max_tokens": 9, **fields})
    return anthropic.encode_request(request, MOCK, model, False)


def sent(*messages: Any, **fields: Any) -> list[Any]:
    found: list[Any] = json.loads(outgoing(*messages, **fields).body)["messages"]
    return found


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def answer(*content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(content)}


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


def call(id: str, name: str = "f") -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": name, "input": {"b": 1.50}}


def result(id: str, content: Any = "r", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id, "content": content, **more}


def made(id: str) -> dict[str, Any]:
    return result(id, NOT_RUN, is_error=True)


def image(mime: str) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": mime, "data": PNG}}


HI = user(text("Hi"))


# ---- what is right


def test_own_request_that_is_right_goes_on_byte_for_byte() -> None:
    said = [
        {"role": "user", "content": "Hi"},
        answer(THOUGHT, call("a"), call("b")),
        user(result("b", [image("image/png"), text("x")]), result("a"), text("And?", cache_control=EPHEMERAL)),
        answer({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, text("So.")),
        {"role": "user", "content": [{"type": "vendor", "x": 1}, 7, "odd"]},
    ]
    tools = [
        {"name": "f", "input_schema": {"type": "object"}, "strict": True},
        {"type": "bash_20250124", "name": "bash"},
    ]
    request = asking("anthropic", max_tokens=9, messages=said, tools=tools, system=[text("S")], metadata={"a": 1.50})
    body = anthropic.encode_request(request, MOCK, "claude-opus-5", False).body
    for name in ("messages", "tools", "system", "metadata"):
        assert bytes(request.fields[name]) in body
    # Of a session that is not right the rest stays as it is.
    again = anthropic.encode_request(
        asking("anthropic", max_tokens=9, messages=[*said, answer(call("z"))]), MOCK, "m", False
    )
    for message in items_of(Raw(bytes(request.fields["messages"]))):
        assert bytes(message) in again.body


# ---- calls and their results


def test_own_call_without_a_result_is_answered_and_named() -> None:
    # "`tool_use` ids were found without `tool_result` blocks immediately after: a"
    found = outgoing(HI, answer(call("a"), call("b")), user(result("b"), text("Go on.")))
    assert json.loads(found.body)["messages"][2:] == [user(made("a"), result("b")), user(text("Go on."))]
    assert found.dropped == ("messages.tool_calls",)
    assert sent(HI, answer(call("a")))[2:] == [user(made("a"))]
    assert sent(HI, answer(call("a")), STOP)[2:] == [user(made("a")), STOP]


def test_own_result_without_a_call_becomes_text_and_is_named() -> None:
    # "unexpected `tool_use_id` found in `tool_result` blocks"
    found = outgoing(HI, user(result("x", [text("r"), image("image/png")]), text("Go on.")))
    told = [text(answered_before("")), text("r"), image("image/png"), text("Go on.")]
    assert json.loads(found.body)["messages"] == [HI, user(*told)]
    assert found.dropped == ("messages.tool_results",)
    (repaired,) = sent(user(result("x", [image("image/webp")])))
    assert repaired == user(text(answered_before("")), image("image/png"))


@pytest.mark.parametrize("format", FOREIGN)
def test_marks_of_whose_thoughts_they_are_come_off_again(format: str) -> None:
    assert unmarked(marked("a+/=", format)) == ("a+/=", format)
    assert unmarked("a+/=") == ("a+/=", "anthropic-claude-v1")


@pytest.mark.parametrize("said", [
    [user(text("Wait."), result("a"), result("b"))],
    [user(text("Wait.")), user(result("a"), result("b"))],
    [user(result("a"), text("Wait."), result("b"))],
    [user(result("a")), answer(text("Wait.")), user(result("b"), text("Go on."))],
])  # fmt: skip
def test_own_results_come_first_behind_their_calls(said: list[Any]) -> None:
    # "tool_result blocks must come first in the content"
    found = sent(HI, answer(call("a"), call("b")), *said)
    assert found[2] == user(result("a"), result("b"))
    assert b"Wait." in json.dumps(found[3:]).encode()


# ---- blocks


def test_own_thoughts_of_others_and_at_the_end_of_a_turn_stay_out() -> None:
    for foreign in (
        {"type": "thinking", "thinking": "x", "signature": ""},
        *({"type": "redacted_thinking", "data": marked("d", format)} for format in FOREIGN),
    ):
        found = outgoing(HI, answer(foreign, text("a")), STOP)
        assert json.loads(found.body)["messages"][1] == answer(text("a"))
        assert found.dropped == ("messages.thinking",)
    assert sent(HI, answer(THOUGHT), STOP) == [HI, STOP]
    assert sent(HI, answer(text("a"), THOUGHT), STOP)[1] == answer(text("a"))
    assert sent(HI, answer(THOUGHT), answer(call("a")), user(result("a")))[1] == answer(THOUGHT)


def test_own_blank_texts_and_messages_stay_out_and_their_mark_moves() -> None:
    # "text content blocks must contain non-whitespace text", "cache_control cannot be set for empty text blocks"
    marked_text = text("Hi", cache_control=EPHEMERAL)
    assert sent(user(text("Hi"), text(" ", cache_control=EPHEMERAL)))[0] == user(marked_text)
    assert sent(HI, {"role": "assistant", "content": ""}, user(text("")), STOP) == [HI, STOP]
    inner = result("a", [text(""), text("r")])
    assert sent(HI, answer(call("a")), user(inner))[2] == user(result("a", [text("r")]))
    body = json.loads(outgoing(HI, system=[text("S"), text("", cache_control=EPHEMERAL)]).body)
    assert body["system"] == [text("S", cache_control=EPHEMERAL)]
    assert "system" not in json.loads(outgoing(HI, system=[text("")]).body)


@pytest.mark.parametrize("mime", ["image/jpeg", "image/webp", "application/octet-stream"])
def test_own_image_goes_out_as_what_its_bytes_show(mime: str) -> None:
    found = sent(user(image(mime)), answer(call("a")), user(result("a", [text("x"), image(mime)])))
    assert found[0] == user(image("image/png"))
    assert found[2] == user(result("a", [text("x"), image("image/png")]))


def test_own_marks_beyond_four_go_from_the_beginning() -> None:
    # "A maximum of 4 blocks with cache_control may be provided. Found 6."
    tools = [{"name": "f", "input_schema": {"type": "object"}, "cache_control": EPHEMERAL}]
    blocks = [text(str(n), cache_control=EPHEMERAL) for n in range(4)]
    body = json.loads(outgoing(user(*blocks), tools=tools, system=[text("S", cache_control=EPHEMERAL)]).body)
    assert json.dumps(body["messages"]).count("cache_control") == 4
    assert "cache_control" not in json.dumps([body["tools"], body["system"]])
    rooted = json.loads(outgoing(user(*blocks), cache_control=EPHEMERAL).body)
    assert [("cache_control" in block) for block in rooted["messages"][0]["content"]] == [False, True, True, True]


def test_own_citations_of_others_stay_out() -> None:
    own = {"type": "web_search_result_location", "url": "u", "cited_text": "", "title": "", "encrypted_index": "x"}
    said = text("a", citations=[own, {**own, "encrypted_index": ""}])
    assert sent(HI, answer(said), STOP)[1] == answer(text("a", citations=[own]))
    assert sent(HI, answer(text("a", citations=[{**own, "encrypted_index": ""}])), STOP)[1] == answer(text("a"))


# ---- who speaks


def test_own_session_begins_and_ends_with_the_user() -> None:
    begun = answer(text("It is"))
    assert sent(begun, STOP) == [user(text(CUT_OFF)), begun, STOP]
    found = outgoing(HI, begun)
    assert json.loads(found.body)["messages"] == [HI, begun, user(text(GO_ON))]
    assert found.dropped == ("messages.prefill",)
    assert sent(HI, begun, model="claude-opus-4-5") == [HI, begun]
    thinking = {"type": "enabled", "budget_tokens": 2000}
    assert sent(HI, begun, model="claude-opus-4-5", thinking=thinking)[2] == user(text(GO_ON))


# ---- tools


def test_own_tools_have_names_that_are_taken_everywhere_and_back() -> None:
    long = "mcp__" + "x" * 150
    tools = [{"name": name, "input_schema": {"type": "object"}} for name in (long, "files.read", "f")]
    said = [HI, answer(call("a", "files.read")), user(result("a"))]
    found = outgoing(*said, tools=tools, tool_choice={"type": "tool", "name": long})
    body = json.loads(found.body)
    names = [tool["name"] for tool in body["tools"]]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,128}", name) for name in names)
    assert [found.names.get(name, name) for name in names] == [long, "files.read", "f"]
    assert body["tool_choice"]["name"] == names[0]
    assert body["messages"][1]["content"][0]["name"] == names[1]
    voice = speak("anthropic")
    decoder = anthropic.Decoder(MOCK, verbatim=True)
    decoder.rename(found.names)
    told = repr(decoder.feed(voice.start() + voice.tool_call(names[1], "{}") + voice.finish("tool_calls")))
    assert '"name":"files.read"' in told
    assert names[1] not in told


@pytest.mark.parametrize("root", [
    {"anyOf": [{"type": "object", "properties": {"a": {}}}]}, {"oneOf": [{"properties": {"a": {}}}], "type": "object"},
    {"$ref": "#/$defs/T", "$defs": {"T": {"properties": {"a": {}}}}}, {"properties": {"a": {}}},
    {"type": ["object", "null"], "properties": {"a": {}}},
])  # fmt: skip
def test_own_schema_of_a_tool_has_an_object_at_its_root(root: dict[str, Any]) -> None:
    # "input_schema does not support oneOf, allOf, or anyOf at the top level"
    right = {"name": "g", "input_schema": {"type": "object"}, "x": 1.50}
    body = json.loads(outgoing(HI, tools=[{"name": "f", "input_schema": root}, right]).body)
    schema = body["tools"][0]["input_schema"]
    assert schema["type"] == "object"
    assert "a" in schema["properties"]
    assert not schema.keys() & {"anyOf", "oneOf", "allOf", "$ref"}
    assert body["tools"][1] == right


def test_own_strict_tools_beyond_what_claude_compiles_go_out_without() -> None:
    # "Too many strict tools (48). The maximum number of strict tools supported is 20."
    tools = [{"name": f"f{n}", "strict": True, "input_schema": {"type": "object"}} for n in range(48)]
    found = outgoing(HI, tools=tools)
    assert sum(tool.get("strict", False) for tool in json.loads(found.body)["tools"]) == 20
    assert found.dropped == ("tools.strict",)
    assert b"strict" not in outgoing(HI, tools=tools[:1], model="claude-3-5-haiku-20241022").body


def test_own_tool_that_is_there_twice_is_sent_once() -> None:
    # "tools: Tool names must be unique."
    tool = {"name": "f", "input_schema": {"type": "object"}}
    found = outgoing(HI, tools=[tool, tool])
    assert (json.loads(found.body)["tools"], found.dropped) == ([tool], ())
    assert outgoing(HI, tools=[tool, {**tool, "description": "x"}]).dropped == ("tools.duplicates",)


# ---- whatever is left of a session


@given(st.lists(st.sampled_from([
    HI, user(text(" ")), user(result("a"), text("x")), user(text("x"), result("b"), result("a")), answer(text("t")),
    answer(call("a")), answer(call("a"), call("b")), answer(THOUGHT), answer(text("t"), THOUGHT), answer(),
    {"role": "assistant", "content": ""}, user(result("c")),
]), min_size=1, max_size=8))  # fmt: skip
def test_whatever_is_left_of_a_session_is_taken_by_anthropic(said: list[Any]) -> None:
    found = sent(*said)
    if not any(block not in (THOUGHT, text(" ")) for message in said for block in message["content"]):
        return  # nothing was said
    assert found[0]["role"] == "user"
    assert found[-1]["role"] == "user"
    due: list[str] = []
    for before, message in pairwise([{"role": "", "content": []}, *found]):
        blocks = message["content"]
        assert blocks
        answers = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        if message["role"] == "assistant":
            due = [*due, *calls]
            assert before["role"] == "assistant" or due == calls
        elif due or answers:
            assert sorted(answers) == sorted(due)
            assert [block["type"] for block in blocks[: len(answers)]] == ["tool_result"] * len(answers)
            due = []
    assert due == []


# ---- what one generation takes and another refuses

ADAPTIVE = {"type": "adaptive"}
BUDGET = {"type": "enabled", "budget_tokens": 2048}
FORCED = {"type": "any", "disable_parallel_tool_use": True}


@pytest.mark.parametrize(
    ("model", "asked", "told", "lost"),
    [
        ("claude-opus-4-5", {"thinking": ADAPTIVE}, {"thinking": {"type": "enabled", "budget_tokens": 10000}}, []),
        (
            "claude-opus-4-5",
            {"thinking": ADAPTIVE, "output_config": {"effort": "low"}},
            {"thinking": {"type": "enabled", "budget_tokens": 4000}, "output_config": None},
            ["output_config.effort"],
        ),
        ("claude-opus-4-8", {"thinking": BUDGET}, {"thinking": {"type": "adaptive", "display": "summarized"}}, []),
        (
            "claude-opus-5",
            {"thinking": {**BUDGET, "display": "omitted"}, "output_config": {"effort": "low"}},
            {"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "low"}},
            [],
        ),
        ("claude-opus-4-6", {"output_config": {"effort": "xhigh"}}, {"output_config": {"effort": "high"}}, []),
        ("claude-3-5-haiku-20241022", {"thinking": ADAPTIVE, "max_tokens": 9}, {"thinking": None}, ["thinking"]),
        (
            "claude-fable-5-1",
            {"thinking": {"type": "disabled"}},
            {"thinking": None, "output_config": {"effort": "low"}},
            ["thinking"],
        ),
        ("claude-fable-5-1", {"tool_choice": FORCED}, {"tool_choice": {**FORCED, "type": "auto"}}, ["tool_choice"]),
        (
            "claude-opus-4-6",
            {"thinking": ADAPTIVE, "tool_choice": FORCED},
            {"thinking": None, "tool_choice": FORCED},
            ["thinking"],
        ),
        (
            "claude-opus-4-8",
            {"temperature": 1, "top_p": 0.9, "top_k": 5},
            {"temperature": None, "top_p": None, "top_k": None},
            ["temperature", "top_k", "top_p"],
        ),
        ("claude-sonnet-4-5", {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": None}, ["top_p"]),
        ("claude-sonnet-4-5", {"temperature": 0.5, "thinking": BUDGET}, {"temperature": None}, ["temperature"]),
        ("claude-opus-4-1", {"max_tokens": 64000}, {"max_tokens": 32000}, ["max_tokens"]),
        (
            "claude-opus-4-0",
            {"max_tokens": 64000, "thinking": {"type": "enabled", "budget_tokens": 40000}},
            {"max_tokens": 32000, "thinking": {"type": "enabled", "budget_tokens": 31999}},
            ["max_tokens"],
        ),
        (
            "claude-opus-4-6",
            {
                "thinking": ADAPTIVE,
                "tool_choice": FORCED,
                "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}, {"type": "x"}]},
            },
            {"thinking": None, "context_management": {"edits": [{"type": "x"}]}},
            ["thinking"],
        ),
    ],
)
def test_own_settings_of_another_generation_are_said_as_this_one_takes_them(
    model: str, asked: dict[str, Any], told: dict[str, Any], lost: list[str]
) -> None:
    """A client that was written for one Claude and asks another got 400 for each request."""
    out = outgoing(
        HI, model=model, tools=[{"name": "f", "input_schema": {"type": "object"}}], **{"max_tokens": 20_000, **asked}
    )
    body = json.loads(out.body)
    assert {name: body.get(name) for name in told} == told
    assert list(out.dropped) == lost


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("claude-opus-5", {"thinking": ADAPTIVE, "tool_choice": FORCED, "output_config": {"effort": "max"}}),
        ("claude-opus-4-6", {"thinking": BUDGET, "temperature": 1}),
        ("claude-opus-4-5", {"thinking": {"type": "disabled"}, "tool_choice": FORCED, "temperature": 0.5}),
        ("claude-opus-4-5", {"output_config": {"effort": "low"}, "betas": ["effort-2025-11-24"]}),
        ("claude-3-7-sonnet-20250219", {"max_tokens": 128_000, "betas": ["output-128k-2025-02-19"]}),
        ("claude-opus-9-9", {"max_tokens": 500_000, "thinking": ADAPTIVE}),
        ("kimi-k3", {"thinking": BUDGET, "temperature": 0.5, "top_p": 0.9, "top_k": 5, "tool_choice": FORCED}),
        ("claude-opus-5", {"thinking": None, "output_config": 7, "tool_choice": "odd", "max_tokens": "x"}),
    ],
)
def test_own_settings_that_are_right_or_of_no_claude_stay_as_they_came(model: str, asked: dict[str, Any]) -> None:
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    request = asking("anthropic", messages=[HI], tools=tools, **{"max_tokens": 20_000, **asked})
    out = anthropic.encode_request(request, MOCK, model, False)
    for name in asked.keys() - {"betas"}:
        if asked[name] is not None:
            assert b'"%b":%b' % (name.encode(), bytes(request.fields[name])) in out.body
    assert out.dropped == ()


def test_own_answer_is_held_to_a_schema_in_words_where_the_model_knows_none() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    form = {"format": {"type": "json_schema", "schema": schema}}
    for system, before in (("Be brief.", ["Be brief."]), ([text("S")], ["S"]), (None, [])):
        asked = {"system": system} if system else {}
        out = outgoing(HI, model="claude-sonnet-4-0", output_config=form, **asked)
        body = json.loads(out.body)
        *said, words = [block["text"] for block in body["system"]]
        assert said == before
        assert json.dumps(schema, separators=(",", ":")) in words
        assert "output_config" not in body
        assert out.dropped == ("output_config.format",)


def test_own_thinking_with_a_budget_is_off_where_the_model_goes_on_after_calls_without_any() -> None:
    """A session that another model began ended: Claude 4.5 wants its own thinking before calls."""
    said = [HI, answer(call("a")), user(result("a"))]
    out = outgoing(*said, model="claude-sonnet-4-5", max_tokens=9000, thinking=BUDGET)
    assert "thinking" not in json.loads(out.body)
    assert out.dropped == ("thinking",)
    said = [HI, answer(THOUGHT, call("a")), user(result("a"))]
    out = outgoing(*said, model="claude-sonnet-4-5", max_tokens=9000, thinking=BUDGET)
    assert json.loads(out.body)["thinking"] == BUDGET
