"""What chat clients send back of earlier turns, in the form that a host of the same API takes."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from asking import HI, asking
from hypothesis import given
from hypothesis import strategies as st

from infron.catalog.definitions import MessageQuirks, Provider, Quirks
from infron.catalog.load import load_catalog
from infron.request import Outgoing
from infron.wires import PROVIDER_WIRES
from infron.wires.openai.chat.request import encode_request
from infron.wires.session import ATTACHED

ROWS = load_catalog(environ={}, wires=PROVIDER_WIRES).providers
PLAIN = Provider(id="mock", name="Mock")
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n...").decode()
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}


def outgoing(messages: list[Any], row: Provider = PLAIN, **fields: Any) -> Outgoing:
    return encode_request(asking(messages=messages, **fields), row, "m", False)


def sent(*messages: Any, row: Provider = PLAIN, **fields: Any) -> list[Any]:
    found: list[Any] = json.loads(outgoing(list(messages), row, **fields).body)["messages"]
    return found


def quirks(**fields: Any) -> Provider:
    return Provider(id="mock", name="Mock", quirks=Quirks(message=MessageQuirks(**fields)))


def call(id: str = "c1", name: str = "f", arguments: Any = "{}") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def calling(*calls: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls), **more}


def result(id: str = "c1", content: Any = "r") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content}


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


# ---- what is right goes on byte for byte

RIGHT = [
    {"role": "system", "content": "S"},
    HI,
    {**calling(call(arguments='{"b": 1.50,  "a": 1e3}'), call("c2")), "x_vendor": 1.50},
    result(),
    result("c2", [{"type": "text", "text": "2"}]),
    {"role": "developer", "content": "D"},
]


@pytest.mark.parametrize("size", [0, 70_000])
def test_a_history_that_is_right_goes_on_byte_for_byte(size: int) -> None:
    messages = [*RIGHT, {"role": "user", "content": "x" * size}]
    request = asking(messages=messages, tools=[tool("f")])
    body = encode_request(request, PLAIN, "m", False).body
    assert bytes(request.fields["messages"]) in body
    assert bytes(request.fields["tools"]) in body


def test_of_a_history_that_is_not_right_only_what_has_to_be_is_changed() -> None:
    request = asking(messages=[*RIGHT, calling(call("c3", arguments="{")), result("c3")])
    body = encode_request(request, PLAIN, "m", False).body
    for message in msgspec.json.decode(request.fields["messages"], type=list[msgspec.Raw])[: len(RIGHT)]:
        assert bytes(message) in body


# ---- arguments, ids, names


@pytest.mark.parametrize("arguments", ['{"path": "half', '{"a": 1 "b": 2}', "null", "[1]", '"x"'])
def test_arguments_that_are_no_object_are_wrapped(arguments: str) -> None:
    found = sent(HI, calling(call(arguments=arguments)), result())[1]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(found) == {"arguments": arguments}


@pytest.mark.parametrize(("given", "expected"), [({"a": 1}, '{"a":1}'), ("", "{}"), (None, "{}")])
def test_arguments_are_a_string(given: Any, expected: str) -> None:
    assert sent(HI, calling(call(arguments=given)), result())[1]["tool_calls"][0]["function"]["arguments"] == expected


def test_ids_stay_as_they_are_but_for_those_that_no_host_takes() -> None:
    long = "call_1__thought__" + "x" * 2000
    turn = [calling(call(long)), result(long)]
    found = sent(HI, *turn, calling(call()), result(), calling(call()), result())
    assert found[1]["tool_calls"][0]["id"] == found[2]["tool_call_id"] != long
    assert len(found[2]["tool_call_id"]) <= 40
    assert [m["tool_calls"][0]["id"] for m in found[3::2]] == ["c1", "c1"]  # hosts number anew in each answer


def test_ids_of_a_length_are_unique() -> None:
    turn = [calling(call("call_0"), call("call_1")), result("call_0"), result("call_1")]
    found = sent(HI, *turn, *turn, row=quirks(tool_id_length=9))
    calls = [c["id"] for m in found if m["role"] == "assistant" for c in m["tool_calls"]]
    assert calls == [m["tool_call_id"] for m in found if m["role"] == "tool"]
    assert len(set(calls)) == 4
    assert all(len(id) == 9 and id.isalnum() for id in calls)


@pytest.mark.parametrize("name", ["files.read", "srv/tool", "Größe_lesen", "mcp__" + "x" * 80])
@pytest.mark.parametrize("size", [0, 70_000])
def test_names_are_brought_within_the_rule_everywhere_and_back(name: str, size: int) -> None:
    choice = {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": name}}]},
    }
    messages = [{"role": "user", "content": "x" * size}, calling(call(name=name)), {**result(), "name": name}]
    tools = [{**tool(name), "description": "x" * size}, tool("f")]
    found = outgoing(messages, tools=tools, tool_choice=choice)
    body = json.loads(found.body)
    ((host, own),) = found.names.items()
    assert own == name
    assert name not in json.dumps(body, ensure_ascii=False)
    assert [tool["function"]["name"] for tool in body["tools"]] == [host, "f"]
    assert body["messages"][1]["tool_calls"][0]["function"]["name"] == body["messages"][2]["name"] == host
    assert body["tool_choice"]["allowed_tools"]["tools"][0]["function"]["name"] == host


def test_what_a_host_refuses_by_itself_is_left_to_it() -> None:
    for messages in (
        [HI, calling("x", {"id": 1}, {"function": []})],
        [{"role": "x"}],
    ):
        assert sent(*messages) == messages
    assert outgoing([HI], tools=[1, {"function": 2}]).names == {}


# ---- media in results


def test_media_in_a_result_are_shown_by_the_user_behind_the_last_one() -> None:
    # Only messages of the user may hold pictures; a session with a screenshot could not go on.
    file = {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0="}}
    messages = [
        HI,
        calling(call(), call("c2"), call("c3")),
        result("c1", [{"type": "text", "text": "here"}, PICTURE]),
        result("c2", [file]),
        result("c3"),
        HI,
    ]
    assert sent(*messages) == [
        *messages[:2],
        result("c1", [{"type": "text", "text": "here"}]),
        result("c2", ATTACHED),
        result("c3"),
        {"role": "user", "content": [PICTURE, file]},
        HI,
    ]
    assert sent(*messages[:4])[-1] == {"role": "user", "content": [PICTURE, file]}


# ---- system messages

S, D, E = ({"role": role, "content": text} for role, text in (("system", "s"), ("developer", "d"), ("developer", "e")))
A = {"role": "assistant", "content": "a"}
LATER = {"role": "system", "content": "later"}


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([D, HI], [{"role": "system", "content": "d"}, HI]),
        ([D, E, HI], [{"role": "system", "content": "d\n\ne"}, HI]),
        ([S, D, HI], [{"role": "system", "content": "s\n\nd"}, HI]),
        ([S, HI, A, D, HI], [{"role": "system", "content": "s\n\nd"}, HI, A, HI]),
        ([HI, A, D, HI], [{"role": "system", "content": "d"}, HI, A, HI]),
        (
            [S, HI, {"role": "developer", "content": [{"type": "text", "text": "d"}]}],
            [{"role": "system", "content": [{"type": "text", "text": "s"}, {"type": "text", "text": "d"}]}, HI],
        ),
        ([S, HI, LATER, HI], [S, HI, LATER, HI]),  # what the client calls so itself stays
        ([S, HI], [S, HI]),
    ],
)
def test_developer_messages_go_into_the_system_message_where_there_are_none(messages: list[Any], expected: Any) -> None:
    assert sent(*messages, row=quirks(roles={"developer": "system"})) == expected


def test_system_messages_all_stand_at_the_beginning_where_templates_want_that() -> None:
    assert sent(S, HI, LATER, HI, row=ROWS["fireworks"]) == [{"role": "system", "content": "s\n\nlater"}, HI, HI]
    assert sent(HI, LATER, row=ROWS["alibaba"]) == [LATER, HI]


# ---- thinking that is wanted back


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ""),
        ({"reasoning_content": "t"}, "t"),
        ({"reasoning_content": None, "reasoning": "t"}, "t"),
        ({"reasoning": "t"}, "t"),
        ({"reasoning_details": [{"type": "reasoning.text", "text": "t", "index": 0}]}, "t"),
        ({"reasoning": "t", "reasoning_details": [{"type": "reasoning.summary", "summary": "t"}, {"data": "x"}]}, "t"),
    ],
)
def test_thoughts_go_back_in_the_member_that_the_host_wants(given: dict[str, Any], expected: str) -> None:
    # DeepSeek refuses the session without: the client's library has lost them, or another host called them otherwise.
    found = sent(HI, calling(call(), **given), result(), row=ROWS["deepseek"])[1]
    assert found == calling(call(), reasoning_content=expected)
    assert sent(HI, calling(call(), **given), result())[1] == calling(call())


# ---- fields that are other hosts' own

OURS = {**calling({**call(), "index": 0, "extra_content": {"google": {}}}), "refusal": None, "function_call": None}
THEIRS = {
    "reasoning": "t",
    "reasoning_content": "t",
    "reasoning_details": [{"type": "reasoning.text", "text": "t"}],
    "provider_specific_fields": {"citations": None},
    "annotations": [],
    "images": [],
    "parsed": {"a": 1},
    "cache_control": {"type": "ephemeral"},
}
CACHED = {"type": "text", "text": "r", "cache_control": {"type": "ephemeral"}}


@pytest.mark.parametrize("size", [0, 70_000])
def test_members_of_other_hosts_answers_stay_out(size: int) -> None:
    # Mistral, Groq, Fireworks and Cerebras answer 4xx to a message with a field that they do not know.
    said = {"role": "user", "content": "x" * size}
    turn = [said, {**OURS, **THEIRS}, {**result(content=[CACHED]), "cache_control": {"type": "ephemeral"}}]
    assert sent(*turn) == [said, calling(call()), result(content=[{"type": "text", "text": "r"}])]


@pytest.mark.parametrize("name", THEIRS)
def test_each_member_stays_out_by_itself_and_goes_to_the_host_that_takes_it(name: str) -> None:
    answer = {"role": "assistant", "content": "a", name: THEIRS[name]}
    outgoing = encode_request(asking(messages=[HI, answer, HI]), PLAIN, "m", False)
    assert json.loads(outgoing.body)["messages"] == [HI, {"role": "assistant", "content": "a"}, HI]
    assert outgoing.dropped == (("messages.thinking",) if name.startswith("reasoning") else ())
    assert sent(HI, answer, HI, row=quirks(takes=[name])) == [HI, answer, HI]


# ---- whatever comes

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "text", "tool", "assistant", "{}", "a.b"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "content", "role", "id", "name", "function", "arguments", "tool_calls", "text"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["assistant", "tool", "developer", "system", "user"])},
    optional={"tool_calls": JSON, "reasoning_details": JSON, "tool_call_id": JSON, "name": JSON},
)


@given(
    st.lists(MESSAGE, min_size=1, max_size=4), JSON, st.sampled_from([PLAIN, *map(ROWS.get, ("mistral", "deepseek"))])
)
def test_no_history_breaks_the_writing_of_a_request(messages: list[Any], tools: Any, row: Provider) -> None:
    json.loads(outgoing(messages, row, **({"tools": tools} if isinstance(tools, list) else {})).body)
