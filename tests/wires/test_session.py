"""What clients send back of earlier turns, brought into the form that a host takes, and the names of tools back."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
from asking import HI, asking
from hypothesis import given
from hypothesis import strategies as st

from infron.catalog.definitions import Provider
from infron.conversation import (
    CLAUDE,
    Conversation,
    Media,
    Message,
    Part,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    turns_of,
)
from infron.request import Outgoing
from infron.testing import speak
from infron.wires import CLIENT_WIRES, PROVIDER_WIRES
from infron.wires.anthropic.request import RULES as ANTHROPIC
from infron.wires.bedrock.request import rules_of
from infron.wires.cohere.request import RULES as COHERE
from infron.wires.gemini.request import RULES as GOOGLE
from infron.wires.naming import ANY_ID, CallIds, Ids, Names, renamings
from infron.wires.pairing import NOT_RUN, answered_before
from infron.wires.session import ATTACHED, CUT_OFF, GO_ON, MADE, Rules, as_object, fit

BEDROCK = rules_of("us.anthropic.claude-sonnet-4-6")
MISTRAL = rules_of("mistral.mistral-large-2407-v1:0")
PLAIN = Rules(names=Names("A-Za-z0-9_-", 64), ids=ANY_ID)
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n...").decode()
SIGNED = Thinking(text="t", signature="s", format=CLAUDE)
PICTURE = Media(kind="image", mime="image/png", data=PNG)


def user(*parts: Part) -> Message:
    return Message("user", parts)


def assistant(*parts: Part) -> Message:
    return Message("assistant", parts)


def results(*parts: Part) -> Message:
    return Message("tool", parts)


def called(id: str = "c1", name: str = "f", arguments: str = "{}") -> ToolCall:
    return ToolCall(id=id, name=name, arguments=arguments)


def answered(id: str = "c1", *parts: Text | Media) -> ToolResult:
    return ToolResult(call_id=id, name="f", parts=parts or (Text("r"),))


def fitted(*messages: Message, rules: Rules = PLAIN, **fields: Any) -> Conversation:
    return fit(Conversation(messages=messages, **fields), rules).conversation


# ---- what is right stays


@given(st.lists(st.sampled_from([
    Text("a"), Text("b", "5m"), SIGNED, Thinking(data="d", format=CLAUDE),
    called("c1"), called("c2", arguments='{"b": 1e3,  "a": []}'),
]), max_size=6, unique=True))  # fmt: skip
def test_a_session_that_is_right_stays_as_it_is(parts: list[Part]) -> None:
    calls = [part.id for part in parts if isinstance(part, ToolCall)]
    said = [assistant(*parts, *([] if calls else [Text(".")]))]
    if calls:
        last = max(place for place, part in enumerate(parts) if isinstance(part, ToolCall))
        said = [assistant(*parts[: last + 1]), results(*map(answered, calls))]
    asked = Conversation(messages=(user(Text("?"), PICTURE), *said, user(Text("!"))))
    for rules in (ANTHROPIC, BEDROCK):
        assert fit(asked, rules) == (asked, {})


# ---- arguments


@pytest.mark.parametrize("arguments", ['{"path": "a.txt", "text": "half', '{"a": 1 "b": 2}', "null", "[1]", '"x"', "1"])
def test_arguments_that_are_no_object_are_wrapped_in_one(arguments: str) -> None:
    assert json.loads(as_object(arguments)) == {"arguments": arguments}


@pytest.mark.parametrize("arguments", ["{}", '{"b": 1e3,  "a": [1.50]}', ' {"a":1}\n'])
def test_arguments_that_are_an_object_stay_byte_for_byte(arguments: str) -> None:
    assert as_object(arguments) == arguments
    assert (as_object(""), as_object("  ")) == ("{}", "{}")


# ---- ids


def ids_of(*messages: Message, rules: Rules) -> list[tuple[list[str], list[str]]]:
    """(ids of calls, ids of results) of each message that has any."""
    found = []
    for message in fitted(*messages, rules=rules).messages:
        calls = [part.id for part in message.parts if isinstance(part, ToolCall)]
        answers = [part.call_id for part in message.parts if isinstance(part, ToolResult)]
        if calls or answers:
            found.append((calls, answers))
    return found


def check_ids(found: list[tuple[list[str], list[str]]], rules: Rules) -> None:
    calls = [id for ids, _ in found for id in ids]
    assert len(set(calls)) == len(calls)
    assert all(re.fullmatch(rules.ids.pattern, id) for id in calls)
    for (asked, _), (_, answers) in zip(found[::2], found[1::2], strict=True):
        assert answers == asked


@pytest.mark.parametrize("id", ["call_0", "functions.f:0", "x" * 70, "ü", ""])
@pytest.mark.parametrize("rules", [ANTHROPIC, BEDROCK, MISTRAL])
def test_ids_that_repeat_are_told_apart_the_same_in_call_and_result(id: str, rules: Rules) -> None:
    # Hosts number their calls anew in each answer; Anthropic refuses the session from then on.
    turn = [assistant(called(id)), results(answered(id))]
    check_ids(ids_of(*turn, *turn, *turn, rules=rules), rules)
    beside = [assistant(called(id), called(id, arguments='{"x":2}')), results(answered(id), answered(id))]
    check_ids(ids_of(*beside, *turn, rules=rules), rules)
    # An id that another call has by nature is not taken from it.
    first = ids_of(*turn, *turn, rules=rules)[2][0][0]
    check_ids(ids_of(*turn, *turn, assistant(called(first)), results(answered(first)), rules=rules), rules)


def test_a_call_that_nobody_answered_does_not_take_the_result_of_the_next() -> None:
    turn = [assistant(called("c")), results(answered("c"))]
    ((lost,), _), (_, (made,)), ((next_one,), _), (_, (result,)) = ids_of(
        turn[0], user(Text("Stop.")), *turn, rules=ANTHROPIC
    )
    assert (lost, made, result) == ("c", "c", next_one)
    assert lost != next_one


def test_results_without_a_call_keep_their_id_as_far_as_it_is_taken() -> None:
    ids = CallIds(Ids("[a-z]+", 9))
    assert ids.of_result("abc") == "abc"
    assert re.fullmatch("[A-Za-z0-9]{9}", ids.of_result("a.b"))


# ---- names of tools

LONG = "mcp__plugin_office_suite_connector__batch_modify_message_labels_now"
NAMES = [
    LONG,
    LONG + "_2",
    "files.read",
    "files read",
    "files_read",
    "srv/tool",
    "Größe",
    "9x",
    "f",
    "",
    "_",
    "-",
    "x" * 300,
]


@pytest.mark.parametrize("rule", [ANTHROPIC.names, BEDROCK.names, GOOGLE.names, COHERE.names, PLAIN.names])
@given(st.lists(st.sampled_from(NAMES) | st.text(max_size=80), max_size=8))
def test_names_become_ones_that_are_taken_each_another_and_come_back(rule: Names, names: list[str]) -> None:
    renamed = renamings(names, rule)
    sent = [renamed.get(name, name) for name in dict.fromkeys(names)]
    assert all(rule.take(name) for name in sent)
    assert len(set(sent)) == len(sent)
    assert all(not rule.take(name) for name in renamed)


def test_names_stay_readable_and_the_same_from_request_to_request() -> None:
    assert renamings(["files.read", "f"], BEDROCK.names) == {"files.read": "files_read"}
    (short,) = renamings([LONG], BEDROCK.names).values()
    assert short.startswith(LONG[:55])
    assert renamings([LONG, "x.y"], BEDROCK.names)[LONG] == short


def test_names_are_the_same_in_definition_choice_and_history() -> None:
    tools = (Tool(name=LONG), Tool(name="files.read"), Tool(name="files_read"))
    call, result = called(name="files.read"), ToolResult(call_id="c1", name="files.read", parts=(Text("r"),))
    asked = Conversation(
        messages=(user(Text("?")), assistant(call), results(result)), tools=tools, tool_choice="tool", tool_name=LONG
    )
    found, names = fit(asked, BEDROCK)
    sent = [tool.name for tool in found.tools if isinstance(tool, Tool)]
    assert {names[sent[0]], names[sent[1]]} == {LONG, "files.read"}
    assert sent[2] == "files_read"
    assert found.tool_name == sent[0]
    assert [part.name for message in found.messages[1:] for part in message.parts] == [sent[1], sent[1]]  # type: ignore[union-attr]


# ---- thinking


def test_thoughts_of_another_model_stay_out_and_are_named() -> None:
    ours, foreign = (
        Thinking(text="a", signature="s", format=CLAUDE),
        Thinking(text="b", signature="t", format="google-gemini-v1"),
    )
    asked = user(Text("?"))
    found = fitted(asked, assistant(ours, Text("x"), foreign, Thinking()), rules=ANTHROPIC)
    assert found.messages == (asked, assistant(ours, Text("x")))
    assert found.lost == ("messages.thinking",)
    assert fitted(asked, assistant(ours, Text("x")), rules=ANTHROPIC).lost == ()


def test_turn_that_was_broken_off_in_a_thought_does_not_end_with_it() -> None:
    # "The final block in an assistant message cannot be `thinking`."
    asked, further = user(Text("?")), user(Text("Go on."))
    for said in ([], [Text("a")]):
        found = fitted(asked, assistant(*said, SIGNED), further, rules=ANTHROPIC)
        assert found.messages == (asked, *([assistant(*said)] if said else []), further)
        assert found.lost == ("messages.thinking",)
    split = (asked, assistant(SIGNED), assistant(called()), results(answered()))
    assert fitted(*split, rules=ANTHROPIC).messages == split


# ---- calls and their results

RIGHT = (user(Text("?")), assistant(called("a"), called("b")), results(answered("a"), answered("b")))
STOP = user(Text("Stop."))


@pytest.mark.parametrize("arranged", [
    (results(answered("b"), answered("a")),),
    (results(answered("b")), results(answered("a"))),
    (STOP, results(answered("a"), answered("b"))),
    (results(answered("a")), STOP, results(answered("b"))),
    (Message("system", (Text("Note."),)), results(answered("b"), answered("a"))),
])  # fmt: skip
def test_results_stand_behind_their_calls_in_the_order_of_these(arranged: tuple[Message, ...]) -> None:
    others = tuple(message for message in arranged if message.role != "tool")
    for rules in (ANTHROPIC, BEDROCK, GOOGLE, COHERE, PLAIN):
        found = fitted(*RIGHT[:2], *arranged, rules=rules)
        assert found.messages == (*RIGHT, *others)
        assert found.lost == ()


def test_call_without_a_result_is_answered_and_named() -> None:
    for rules in (ANTHROPIC, BEDROCK, GOOGLE, COHERE, PLAIN):
        found = fitted(*RIGHT[:2], results(answered("b")), STOP, rules=rules)
        (made, given) = found.messages[2].parts
        assert made == ToolResult(call_id="a", name="f", parts=(Text(NOT_RUN),), failed=True)
        assert given == answered("b")
        assert found.messages[3] == STOP
        assert found.lost == ("messages.tool_calls",)
        none = fitted(*RIGHT[:2], rules=rules)
        assert [part.call_id for part in none.messages[2].parts] == ["a", "b"]  # type: ignore[union-attr]


def test_result_without_a_call_becomes_text_and_is_named() -> None:
    for rules in (ANTHROPIC, BEDROCK, GOOGLE, COHERE, PLAIN):
        found = fitted(RIGHT[0], results(answered("x", Text("r"), PICTURE)), STOP, rules=rules)
        assert found.messages == (RIGHT[0], user(Text(answered_before("f")), Text("r"), PICTURE), STOP)
        assert found.lost == ("messages.tool_results",)
        twice = fitted(*RIGHT, results(answered("a", Text("later"))), rules=rules)
        assert twice.messages == (*RIGHT, user(Text(answered_before("f")), Text("later")))


def test_calls_in_messages_that_follow_each_other_are_one_turn() -> None:
    split = (RIGHT[0], assistant(SIGNED, called("a")), assistant(called("b")), RIGHT[2])
    assert fitted(*split, rules=ANTHROPIC).messages == split


@given(st.lists(st.sampled_from([
    user(Text("u")), Message("system", (Text("s"),)), assistant(Text("t")), assistant(called("a")), assistant(),
    assistant(called("a"), called("b")), results(answered("a")), results(answered("b"), answered("a")),
    assistant(SIGNED), user(Text(" ")),
]), min_size=1, max_size=8))  # fmt: skip
def test_whatever_is_left_of_a_session_is_brought_into_a_form_that_hosts_take(messages: list[Message]) -> None:
    for rules in (ANTHROPIC, BEDROCK, GOOGLE):
        found = fitted(*messages, rules=rules).messages
        turns = turns_of(found)
        if not any(part != Text(" ") for message in messages for part in message.parts if part != SIGNED):
            continue  # nothing was said
        assert turns[0][0] == "user"
        assert turns[-1][0] == "user" or rules.prefill
        due: list[str] = []
        for who, parts in turns:
            assert [part.call_id for part in parts if isinstance(part, ToolResult)] == due
            due = [part.id for part in parts if isinstance(part, ToolCall)]
            assert who == "user" or not isinstance(parts[-1], Thinking) or rules.thinking_last
        assert due == []


# ---- who speaks first and last


def test_session_whose_beginning_was_cut_off_begins_with_the_user() -> None:
    said = assistant(Text("a")), STOP
    system = Message("system", (Text("s"),))
    for rules in (ANTHROPIC, BEDROCK, GOOGLE):
        assert fitted(*said, rules=rules).messages == (user(Text(CUT_OFF)), *said)
        assert fitted(system, *said, rules=rules).messages == (system, user(Text(CUT_OFF)), *said)
        assert fitted(system, rules=rules).messages == (user(Text("s")),)
    assert fitted(*said).messages == said


def test_beginning_of_an_answer_is_asked_to_go_on_where_the_host_does_not_by_itself() -> None:
    said = user(Text("?")), assistant(Text("It is"))
    found = fitted(*said, rules=GOOGLE)
    assert found.messages == (*said, user(Text(GO_ON)))
    assert found.lost == ("messages.prefill",)
    assert fitted(*said, rules=ANTHROPIC).messages == said


def test_messages_that_say_nothing_stay_out() -> None:
    said = user(Text("?")), assistant(), user(), STOP
    assert fitted(*said).messages == (said[0], STOP)


def test_what_the_model_made_is_shown_by_the_user_where_answers_hold_no_media() -> None:
    # A session in which another model had painted could not go on.
    said = user(Text("?")), assistant(Text("Here."), PICTURE), STOP
    for rules in (ANTHROPIC, BEDROCK, PLAIN):
        assert fitted(*said, rules=rules).messages == (said[0], assistant(Text("Here.")), user(PICTURE), STOP)
        alone = fitted(said[0], assistant(PICTURE), STOP, rules=rules).messages
        assert alone == (said[0], assistant(Text(MADE)), user(PICTURE), STOP)
    assert fitted(*said, rules=GOOGLE).messages == said
    sound = Media(kind="audio", file_id="audio_1")
    found = fitted(said[0], assistant(Text("Hi."), sound), STOP, rules=ANTHROPIC)
    assert found.messages == (said[0], assistant(Text("Hi.")), STOP)
    assert found.lost == ("messages.audio",)


# ---- media


def test_media_in_a_result_go_into_a_message_behind_the_last_one_where_results_hold_none() -> None:
    session = [
        user(Text("?")),
        assistant(called("c1"), called("c2")),
        results(answered("c1", Text("here"), PICTURE)),
        results(answered("c2", PICTURE)),
        assistant(Text("I see.")),
    ]
    found = fitted(*session).messages
    assert found[2:] == (
        results(answered("c1", Text("here"))),
        results(answered("c2", Text(ATTACHED))),
        user(PICTURE, PICTURE),
        session[-1],
    )
    assert fitted(*session[:4]).messages[-1] == user(PICTURE, PICTURE)
    assert fitted(*session, rules=ANTHROPIC).messages == tuple(session)


@pytest.mark.parametrize("mime", ["image/webp", "image/jpeg", "application/octet-stream", ""])
def test_media_are_what_their_bytes_say(mime: str) -> None:
    wrong = Media(kind="image", mime=mime, data=PNG)
    found = fitted(user(wrong), assistant(called()), results(answered("c1", wrong)), rules=ANTHROPIC)
    assert found.messages[0] == user(PICTURE)
    assert found.messages[2] == results(answered("c1", PICTURE))


# ---- marks of the cache


def test_marks_on_blank_texts_move_to_the_part_before() -> None:
    marked = Text("a", "5m")
    assert fitted(user(Text("a"), Text(" \n", "5m"), Text("b")), rules=ANTHROPIC).messages == (user(marked, Text("b")),)
    session = [user(Text("a")), assistant(Text("", "1h"), called()), results(answered())]
    assert fitted(*session, rules=BEDROCK).messages == (user(Text("a", "1h")), assistant(called()), session[2])
    assert fitted(user(Text("", "5m")), rules=ANTHROPIC).messages == (user(),)
    assert fitted(user(Text(" ")), rules=PLAIN).messages == (user(Text(" ")),)


# ---- the way back


WITHOUT_TOOLS = {"replicate", *(wire for wire in PROVIDER_WIRES if wire.endswith(("-embeddings", "-completions")))}


def call_in_answer(wire: str, name: str) -> bytes:
    voice = speak(wire)
    return voice.start() + voice.tool_call(name, "{}") + voice.finish("tool_calls") + voice.done()


@pytest.mark.parametrize("wire", sorted(set(PROVIDER_WIRES) - WITHOUT_TOOLS))
@pytest.mark.parametrize("name", ["files read", "Größe.lesen", "mcp__" + "x" * 300])
def test_tools_are_called_back_by_the_callers_own_names_on_every_wire(wire: str, name: str) -> None:
    module = PROVIDER_WIRES[wire]
    definition = Provider(id="mock", name="Mock", wire=wire, chat_path="/models/{model}:x")
    request = asking(messages=[HI], tools=[{"type": "function", "function": {"name": name, "parameters": {}}}])
    outgoing: Outgoing = module.encode_request(request, definition, "m", False)
    assert name not in json.dumps(json.loads(outgoing.body), ensure_ascii=False)
    ((sent, own),) = outgoing.names.items()
    assert own == name
    for verbatim in (True, False) if wire in ("openai-chat", "anthropic") else (False,):
        decoder = module.Decoder(definition, 1 << 20, "", verbatim)
        decoder.rename(outgoing.names)
        told = repr(decoder.feed(call_in_answer(wire, sent)) + decoder.close())
        if not verbatim:
            assert repr(name) in told
            assert sent not in told


ODD_ARGUMENTS = [
    (None, "{}"),
    ([1], '{"arguments":"[1]"}'),
    ('{"x": 1', r'{"arguments":"{\"x\": 1"}'),
    (5, '{"arguments":"5"}'),
]
HISTORIES: dict[str, Any] = {
    "anthropic": lambda odd: {
        "max_tokens": 9,
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": odd}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "r"}]},
        ],
    },
    "gemini": lambda odd: {
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": odd}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "r"}}}]},
        ]
    },
    "ollama": lambda odd: {
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": odd}}]},
            {"role": "tool", "tool_name": "f", "content": "r"},
        ]
    },
}


@pytest.mark.parametrize(("odd", "whole"), ODD_ARGUMENTS)
@pytest.mark.parametrize("api", HISTORIES)
def test_call_whose_arguments_are_no_object_is_no_reason_to_refuse_a_session(api: str, odd: Any, whole: str) -> None:
    """A client that gave back what a model had written wrongly was refused for the rest of its session."""
    request = asking(api, **HISTORIES[api](odd))
    for wire in ("openai-chat", "anthropic", "gemini", "bedrock"):
        provider = Provider(id="mock", name="Mock", wire=wire)
        body = json.loads(PROVIDER_WIRES[wire].encode_request(request, provider, "m", False).body)
        told = {
            "openai-chat": lambda b: json.loads(b["messages"][1]["tool_calls"][0]["function"]["arguments"]),
            "anthropic": lambda b: b["messages"][1]["content"][0]["input"],
            "gemini": lambda b: b["contents"][1]["parts"][0]["functionCall"]["args"],
            "bedrock": lambda b: b["messages"][1]["content"],
        }[wire](body)
        if wire == "bedrock":  # without tools calls are told as text there
            assert whole in json.dumps(told) or json.dumps(whole)[1:-1] in json.dumps(told)
        else:
            assert told == json.loads(whole)


@pytest.mark.parametrize("api", ["openai-chat", "openai-responses", "anthropic", "ollama"])
def test_byte_order_mark_before_a_request_is_passed_over(api: str) -> None:
    """A body that was kept in a file by an editor that writes one was refused for its first character."""
    body = json.dumps({"model": "m", "max_tokens": 9, "messages": [HI], "input": "Hi"}).encode()
    marked, plain = (CLIENT_WIRES[api].parse(data, []) for data in (b"\xef\xbb\xbf" + body, body))
    assert (marked.model, marked.fields) == (plain.model, plain.fields)
