"""Whose turn it is in a chat history, brought into the order that a host takes."""

from __future__ import annotations

import base64
import json
from itertools import pairwise
from typing import Any

import pytest
from asking import HI, asking

from infron.catalog.definitions import MessageQuirks, Provider, Quirks
from infron.catalog.load import load_catalog
from infron.wires import PROVIDER_WIRES
from infron.wires.openai.chat.request import encode_request
from infron.wires.openai.chat.turns import NOTHING
from infron.wires.pairing import NOT_RUN, answered_before
from infron.wires.session import CUT_OFF, GO_ON, HEARD, MADE

SHIPPED = load_catalog(environ={}, wires=PROVIDER_WIRES).providers
PLAIN = Provider(id="mock", name="Mock")
STOP = {"role": "user", "content": "Stop."}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n...").decode()
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}


def sent(*messages: Any, provider: Provider = PLAIN, api: str = "openai-chat") -> tuple[list[Any], tuple[str, ...]]:
    """The messages that go out, and what the receipt names."""
    outgoing = encode_request(asking(api, messages=list(messages)), provider, "m", False)
    return json.loads(outgoing.body)["messages"], outgoing.dropped


def quirks(**fields: Any) -> Provider:
    return Provider(id="mock", name="Mock", quirks=Quirks(message=MessageQuirks(**fields)))


def calling(*ids: str, **more: Any) -> dict[str, Any]:
    calls = [{"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}} for id in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls, **more}


def result(id: str, content: Any = "r", **more: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content, **more}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def answer(text: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


# ---- calls and their results


def test_call_without_a_result_is_answered_and_named() -> None:
    # "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'."
    assert sent(HI, calling("a", "b"), result("b"), STOP) == (
        [HI, calling("a", "b"), result("a", NOT_RUN), result("b"), STOP],
        ("messages.tool_calls",),
    )
    assert sent(HI, calling("a"))[0] == [HI, calling("a"), result("a", NOT_RUN)]


def test_result_without_a_call_becomes_text_and_is_named() -> None:
    # "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
    found, named = sent(HI, result("x", "r", name="f"), result("y", [{"type": "text", "text": "z"}]), STOP)
    assert found == [
        HI,
        user(f"{answered_before('f')}\nr"),
        {"role": "user", "content": [{"type": "text", "text": text} for text in (answered_before(""), "z")]},
        STOP,
    ]
    assert named == ("messages.tool_results",)
    assert sent(HI, calling("a"), result("a"), result("a", "later"))[0][3] == user(f"{answered_before('')}\nlater")


@pytest.mark.parametrize("between", [[STOP], [system("Note.")], [answer("Wait."), STOP]])
def test_results_stand_right_behind_their_calls(between: list[Any]) -> None:
    assert sent(HI, calling("a", "b"), result("a"), *between, result("b")) == (
        [HI, calling("a", "b"), result("a"), result("b"), *between],
        (),
    )


def test_messages_with_calls_that_follow_each_other_have_their_own_results() -> None:
    found, _ = sent(HI, calling("a"), calling("b"), result("b"), result("a"))
    assert found == [HI, calling("a"), result("a"), calling("b"), result("b")]


def test_order_of_results_of_one_message_is_not_touched() -> None:
    assert sent(HI, calling("a", "b"), result("b"), result("a"))[0][2:] == [result("b"), result("a")]


# ---- messages that say nothing


@pytest.mark.parametrize("content", [None, []])
def test_answer_that_says_nothing_stays_out(content: Any) -> None:
    # "Invalid value for 'content': expected a string, got null."
    assert sent(HI, answer(content), STOP)[0] == [HI, STOP]
    assert sent(HI, {"role": "assistant", "content": content, "refusal": "No."}, STOP)[0][1]["refusal"] == "No."
    assert sent(HI, {"role": "user", "content": content}, STOP)[0][1] == user("")
    assert sent(HI, calling("a"), result("a", content))[0][2] == result("a", "")


def test_answer_with_empty_lists_of_calls_has_none() -> None:
    # "[] is too short - 'messages.1.tool_calls'"; others fail on null.
    for calls in (None, []):
        said = {**answer("x"), "tool_calls": calls, "function_call": None, "audio": None}
        assert sent(HI, said, STOP)[0][1] == answer("x")


def test_messages_that_say_nothing_stay_out_where_the_host_refuses_them() -> None:
    host = quirks(no_empty=True)
    blank = [{"type": "text", "text": " "}]
    assert sent(HI, answer(""), answer(blank), user(""), STOP, provider=host)[0] == [HI, STOP]
    assert sent(HI, answer(""), user(""), STOP)[0] == [HI, answer(""), user(""), STOP]
    assert sent(HI, calling("a", content=""), result("a", ""), provider=host)[0][2] == result("a", NOTHING)


# ---- what the model made or thought


def test_what_the_model_made_is_shown_by_the_user() -> None:
    shown = {"role": "user", "content": [PICTURE]}
    text = {"type": "text", "text": "Here."}
    assert sent(HI, answer([text, PICTURE]), STOP)[0] == [HI, answer([text]), shown, STOP]
    assert sent(HI, answer([PICTURE]), STOP)[0] == [HI, answer(MADE), shown, STOP]


@pytest.mark.parametrize("thought", [
    {"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "redacted_thinking", "data": "d"},
    {"type": "reasoning", "text": "Hm."}, {"type": "tool_use", "id": "a", "name": "f", "input": {}},
])  # fmt: skip
def test_parts_of_other_apis_in_an_answer_stay_out(thought: dict[str, Any]) -> None:
    # "unknown variant `reasoning`, expected `text`"
    text = {"type": "text", "text": "So."}
    assert sent(HI, answer([thought, text]), STOP)[0] == [HI, answer([text]), STOP]
    own = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}  # as Mistral has them
    assert sent(HI, answer([own, text]), STOP)[0] == [HI, answer([own, text]), STOP]


# ---- who speaks


def test_turns_alternate_where_the_host_insists_on_it() -> None:
    host = quirks(alternate=True)
    said = [system("S"), answer("a"), answer("b"), HI, {"role": "user", "content": [PICTURE]}]
    assert sent(*said, provider=host)[0] == [
        system("S"),
        user(CUT_OFF),
        answer("a\n\nb"),
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, PICTURE]},
    ]
    right = [system("S"), HI, calling("a"), result("a"), answer("b"), STOP]
    assert sent(*right, provider=host)[0] == right


def test_beginning_of_an_answer_is_marked_or_asked_to_go_on() -> None:
    said = [HI, answer("It is")]
    assert sent(*said) == (said, ())
    assert sent(*said, provider=quirks(prefill="no")) == ([*said, user(GO_ON)], ("messages.prefill",))
    assert sent(*said, provider=quirks(prefill="prefix")) == ([HI, {**said[1], "prefix": True}], ())


def test_model_speaks_between_results_and_the_user_where_the_host_insists_on_it() -> None:
    # "Unexpected role 'user' after role 'tool'"
    turn = [HI, calling("a"), result("a")]
    assert sent(*turn, STOP, provider=quirks(speaks_after_results=True))[0] == [*turn, answer(HEARD), STOP]
    assert sent(*turn, answer("b"), STOP, provider=quirks(speaks_after_results=True))[0][3:] == [answer("b"), STOP]


ORDER = {  # mistralai/mistral-common, MistralRequestValidator: who may speak behind whom
    "system": {"user", "assistant", "system"},
    "user": {"assistant", "system", "user"},
    "assistant": {"assistant", "user", "tool"},
    "tool": {"assistant", "tool"},
}


@pytest.mark.parametrize("said", [
    [HI, calling("a"), result("a"), STOP],
    [HI, calling("a"), STOP, result("a")],
    [HI, result("a"), STOP],
    [HI, calling("a", "b"), result("b"), {"role": "developer", "content": "D"}, STOP],
    [system("S"), HI, answer(""), STOP, system("T"), answer("Well,")],
    [HI, calling("a"), result("a", [PICTURE]), STOP],
])  # fmt: skip
def test_mistral_takes_whatever_is_left_of_a_session(said: list[Any]) -> None:
    found, _ = sent(*said, provider=SHIPPED["mistral"])
    for before, after in pairwise(found):
        assert after["role"] in ORDER[before["role"]]
        if before.get("tool_calls"):
            answered = [m["tool_call_id"] for m in found if m["role"] == "tool"]
            assert sorted(answered) == sorted(call["id"] for call in before["tool_calls"])
    assert all(m["role"] != "assistant" or m.get("content") or m.get("tool_calls") for m in found)
    assert found[-1]["role"] in ("user", "tool") or found[-1]["prefix"] is True


def test_openai_gets_no_fields_of_other_hosts_answers() -> None:
    said = {**answer("a"), "reasoning": "t", "reasoning_content": "t", "reasoning_details": [{"type": "x"}]}
    assert sent(HI, said, STOP, provider=SHIPPED["openai"])[0] == [HI, answer("a"), STOP]
    assert sent(HI, said, STOP, provider=SHIPPED["cerebras"])[0] == [HI, answer("a"), STOP]
