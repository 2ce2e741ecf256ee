"""Neutral events as chunks of the chat wire and back: through real bytes, for every kind, and as hosts write them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from asking import asking
from counts import NOTHING
from hypothesis import given
from hypothesis import strategies as st

from infron.catalog.definitions import Provider
from infron.events import (
    Annotated,
    Done,
    Failed,
    Finished,
    MediaDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    Verbatim,
)
from infron.wires.decoding import UNNAMED
from infron.wires.openai.chat import Decoder
from infron.wires.openai.chat.answer import Accumulator
from infron.wires.openai.chat.calls import MAX_HELD
from infron.wires.openai.chat.choices import cited, delta_of, encode_delta
from infron.wires.openai.chat.encoder import Encoder

Neutral = TextDelta | RefusalDelta | ThinkingDelta | ToolCallStarted | ToolCallDelta | MediaDelta | Annotated | Finished


def frame(choices: bytes) -> bytes:
    return b'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":%b}\n\n' % choices


def chunks(data: bytes) -> list[Verbatim]:
    decoder = Decoder(Provider(id="mock", name="Mock"))
    return [event for event in decoder.feed(data) + decoder.close() if isinstance(event, Verbatim)]


def neutral(data: bytes) -> list[Any]:
    """What is told of this stream to a client of another API."""
    decoder = Decoder(Provider(id="mock", name="Mock"), verbatim=False)
    events = decoder.feed(data) + decoder.close()
    return [event for event in events if not (isinstance(event, Finished) and event.told)]


def read(*deltas: Any, finish: str | None = None, **more: Any) -> list[Any]:
    """What is made of these deltas of an OpenAI host; the last with `finish` and further fields."""
    stream = b""
    for number, delta in enumerate(deltas, 1):
        last = {"finish_reason": finish, **more} if number == len(deltas) else {"finish_reason": None}
        stream += frame(json.dumps([{"index": 0, "delta": delta, **last}]).encode())
    return neutral(stream)


# ---- to a chunk

CASES: list[tuple[Neutral, dict[str, Any]]] = [
    (TextDelta("hi"), {"index": 0, "delta": {"content": "hi"}, "finish_reason": None}),
    (TextDelta("hi", 2), {"index": 2, "delta": {"content": "hi"}, "finish_reason": None}),
    (RefusalDelta("no", 1), {"index": 1, "delta": {"refusal": "no"}, "finish_reason": None}),
    (
        ThinkingDelta("hm", index=3, format="f"),
        {
            "index": 0,
            "delta": {
                "reasoning": "hm",
                "reasoning_content": "hm",
                "reasoning_details": [{"type": "reasoning.text", "text": "hm", "format": "f", "index": 3}],
            },
            "finish_reason": None,
        },
    ),
    (
        ThinkingDelta("hm", summary=True, id="rs"),
        {
            "index": 0,
            "delta": {
                "reasoning": "hm",
                "reasoning_content": "hm",
                "reasoning_details": [
                    {"type": "reasoning.summary", "summary": "hm", "format": None, "id": "rs", "index": 0}
                ],
            },
            "finish_reason": None,
        },
    ),
    (
        ThinkingDelta(signature="s", format="f"),
        {
            "index": 0,
            "delta": {"reasoning_details": [{"type": "reasoning.text", "signature": "s", "format": "f", "index": 0}]},
            "finish_reason": None,
        },
    ),
    (
        ThinkingDelta(data="D", index=1),
        {
            "index": 0,
            "delta": {"reasoning_details": [{"type": "reasoning.encrypted", "data": "D", "format": None, "index": 1}]},
            "finish_reason": None,
        },
    ),
    (
        ToolCallStarted(1, "c", "f", "SIG"),
        {
            "index": 0,
            "delta": {
                "tool_calls": [{"index": 1, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}],
                "reasoning_details": [
                    {"type": "reasoning.encrypted", "data": "SIG", "format": "google-gemini-v1", "id": "c"}
                ],
            },
            "finish_reason": None,
        },
    ),
    (
        ToolCallDelta(1, '{"a":', 4),
        {
            "index": 4,
            "delta": {"tool_calls": [{"index": 1, "function": {"arguments": '{"a":'}}]},
            "finish_reason": None,
        },
    ),
    (
        MediaDelta("image/png", "AAAA"),
        {
            "index": 0,
            "delta": {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
            "finish_reason": None,
        },
    ),
    (
        MediaDelta("audio/wav", "AAAA"),
        {"index": 0, "delta": {"audio": {"data": "AAAA", "format": "wav"}}, "finish_reason": None},
    ),
    (
        Annotated(cited({})),
        {"index": 0, "delta": {"annotations": [cited({})]}, "finish_reason": None},
    ),
    (
        Finished("stop", "end_turn", 1),
        {"index": 1, "delta": {}, "finish_reason": "stop", "native_finish_reason": "end_turn"},
    ),
    (Finished("length"), {"index": 0, "delta": {}, "finish_reason": "length"}),
]


@pytest.mark.parametrize(("event", "choice"), CASES, ids=lambda value: type(value).__name__)
def test_an_event_is_a_choice_of_a_chunk(event: Neutral, choice: dict[str, Any]) -> None:
    assert delta_of(event) == choice
    assert json.loads(encode_delta(event, first=False)) == [choice]


@pytest.mark.parametrize(("event", "choice"), CASES, ids=lambda value: type(value).__name__)
def test_the_first_delta_of_a_choice_tells_the_role(event: Neutral, choice: dict[str, Any]) -> None:
    (first,) = json.loads(encode_delta(event, first=True))
    delta = first.pop("delta")
    assert delta.pop("role") == "assistant"
    assert delta == (choice["delta"] or {"content": ""})
    assert first == {name: value for name, value in choice.items() if name != "delta"}


@pytest.mark.parametrize("kind", [TextDelta, RefusalDelta, ThinkingDelta])
def test_line_ends_that_naive_clients_break_at_are_escaped(kind: Any) -> None:
    out = encode_delta(kind("a\u2028b\u2029c\u0085d\ne\u00e9"), first=False)
    assert len(out.decode().splitlines()) == 1
    assert out.count(b"a\\u2028b\\u2029c\\u0085d\\ne\xc3\xa9") == (3 if kind is ThinkingDelta else 1)


# ---- there and back

letters = st.characters(codec="utf-8")
text = st.text(letters, min_size=1, max_size=10)
names = text.filter(lambda name: name != "null")  # which hosts say for none
maybe = st.just("") | text
choice = st.integers(0, 2)
formats = st.sampled_from(["", "anthropic-claude-v1", "google-gemini-v1"])
block = st.integers(0, 3)
data = st.binary(min_size=1, max_size=5).map(lambda raw: base64.b64encode(raw).decode())
mimes = st.sampled_from(
    ["image/png", "image/svg+xml", "audio/wav", "audio/mpeg", "audio/mp3", "audio/l16;rate=24000", ""]
)
raws = st.dictionaries(text, st.none() | st.booleans() | st.integers(-9, 9) | text | st.lists(text, max_size=2))
kinds = st.one_of(
    st.builds(TextDelta, text, choice),
    st.builds(RefusalDelta, text, choice),
    st.builds(ThinkingDelta, text=text, signature=maybe, format=formats, index=block, choice=choice,
              summary=st.booleans(), id=maybe),
    st.builds(ThinkingDelta, signature=text, format=formats, index=block, choice=choice, summary=st.booleans()),
    st.builds(ThinkingDelta, data=text, format=formats, index=block, choice=choice, id=maybe),
    st.builds(ThinkingDelta, text=text, data=text, index=block, choice=choice, summary=st.booleans(), id=maybe),
    st.builds(MediaDelta, mimes, data, choice),
    st.builds(Annotated, raws.map(cited), choice),
    st.tuples(text, names, maybe, st.lists(text, min_size=1, max_size=3), choice),  # a tool call
)  # fmt: skip
finishes = st.builds(Finished, st.sampled_from(["stop", "length", "tool_calls", "content_filter"]), maybe)


@st.composite
def answers(draw: st.DrawFn) -> list[Neutral]:
    """Events of several choices; the pieces of a tool call may come later, between others."""
    queues: list[list[Neutral]] = []
    calls = [0, 0, 0]
    for item in draw(st.lists(kinds, max_size=8)):
        if not isinstance(item, tuple):
            queues.append([item])
            continue
        id, name, signature, pieces, where = item
        place = calls[where]
        calls[where] += 1
        queues.append(
            [
                ToolCallStarted(place, f"{place}-{id}", name, signature, where),
                *(ToolCallDelta(place, piece, where) for piece in pieces),
            ]
        )
    events: list[Neutral] = []
    late: list[Neutral] = []
    for queue in queues:
        events.append(queue[0])
        cut = draw(st.integers(1, len(queue)))
        events += queue[1:cut]
        late += queue[cut:]
    events += late
    for where in sorted({event.choice for event in events}):
        ended = draw(finishes)
        normal = "tool_calls" if calls[where] else "stop"
        reason = normal if ended.reason in ("stop", "tool_calls") else ended.reason
        events.append(Finished(reason, ended.native, where))
    return events


@given(answers())
def test_events_survive_the_bytes_of_the_chat_wire(events: list[Neutral]) -> None:
    begun: set[int] = set()
    stream = b""
    for event in events:
        stream += frame(encode_delta(event, event.choice not in begun))
        begun.add(event.choice)
    assert neutral(stream) == events


@given(answers())
def test_a_whole_answer_is_the_folded_stream(events: list[Neutral]) -> None:
    straight, through = Accumulator("gen-1", 1, asking()), Accumulator("gen-1", 1, asking())
    for event in [Started("x"), *events, Finished("stop", told=True)]:
        straight.add(event)
    encoder = Encoder("gen", 1, asking(model="m"))
    for chunk in chunks(b"".join(encoder.encode(event) for event in events)):
        through.add(chunk)
    ours = json.loads(straight.answer(NOTHING))
    theirs = json.loads(through.answer(NOTHING))
    for folded in [*ours["choices"], *theirs["choices"]]:
        for detail in folded["message"].get("reasoning_details", ()):
            detail.pop("index", None)  # the signatures of calls are counted among the blocks of thinking of a stream
    assert ours["choices"] == theirs["choices"]
    for folded in ours["choices"]:
        told = [event.text for event in events if isinstance(event, TextDelta) and event.choice == folded["index"]]
        assert folded["message"]["content"] == ("".join(told) if told else None)


def test_an_answer_of_all_kinds_is_folded_to_its_message() -> None:
    folder = Accumulator("gen-1", 1, asking())
    events: list[Any] = [
        ThinkingDelta("Let ", format="anthropic-claude-v1"),
        ThinkingDelta("me.", format="anthropic-claude-v1"),
        ThinkingDelta(signature="sig", format="anthropic-claude-v1"),
        ThinkingDelta(data="AA", index=1),
        ThinkingDelta(data="BB", index=1),
        ThinkingDelta("In short", index=1, summary=True),
        TextDelta("Yes"),
        TextDelta("!"),
        MediaDelta("image/png", "AAAA"),
        MediaDelta("image/png", "BBBB"),
        MediaDelta("audio/wav", "QQ=="),
        MediaDelta("audio/wav", "QkM="),
        Annotated(cited({"type": "url_citation", "url_citation": {"url": "https://x.test/1"}})),
        Annotated(cited({"type": "url_citation", "url_citation": {"url": "https://x.test/2"}})),
        ToolCallStarted(0, "c0", "f", "SIG"),
        ToolCallDelta(0, '{"a"'),
        ToolCallStarted(1, "c1", "g"),
        ToolCallDelta(0, ":1}"),
        ToolCallDelta(1, "{}"),
        Finished("tool_calls", "tool_use"),
    ]
    for event in events:
        folder.add(event)
    (choice,) = json.loads(folder.answer(NOTHING))["choices"]
    assert choice == {
        "index": 0,
        "finish_reason": "tool_calls",
        "native_finish_reason": "tool_use",
        "message": {
            "role": "assistant",
            "content": "Yes!",
            "reasoning": "Let me.In short",
            "reasoning_content": "Let me.In short",
            "reasoning_details": [
                {
                    "type": "reasoning.text",
                    "text": "Let me.",
                    "signature": "sig",
                    "format": "anthropic-claude-v1",
                    "index": 0,
                },
                {"type": "reasoning.encrypted", "data": "AA", "format": None, "id": "at_0_0", "index": 1},
                {"type": "reasoning.encrypted", "data": "BB", "format": None, "index": 1},
                {"type": "reasoning.summary", "summary": "In short", "format": None, "index": 1},
                {"type": "reasoning.encrypted", "data": "SIG", "format": "google-gemini-v1", "id": "c0"},
            ],
            "images": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,BBBB"}},
            ],
            "audio": {"data": base64.b64encode(b"ABC").decode(), "format": "wav"},
            "annotations": [
                cited({"type": "url_citation", "url_citation": {"url": "https://x.test/1"}}),
                cited({"type": "url_citation", "url_citation": {"url": "https://x.test/2"}}),
            ],
            "tool_calls": [
                {"id": "c0", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
                {"id": "c1", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        },
    }


# ---- from the chunks of other hosts


def test_a_role_alone_says_nothing() -> None:
    assert read({"role": "assistant", "content": ""}, {"content": None}, {"refusal": None}, {}) == []


def test_plain_reasoning_is_one_block_of_thoughts() -> None:
    assert read({"reasoning_content": "a"}, {"reasoning": "b"}, {"content": "c"}) == [
        ThinkingDelta("a"),
        ThinkingDelta("b"),
        TextDelta("c"),
    ]


def test_reasoning_that_details_repeat_is_told_once() -> None:
    details = [{"type": "reasoning.text", "text": "a"}]
    assert read({"reasoning": "a", "reasoning_content": "a", "reasoning_details": details}) == [ThinkingDelta("a")]
    hidden = [{"type": "reasoning.encrypted", "data": "X", "index": 1}]
    assert read({"reasoning": "a", "reasoning_details": hidden}) == [
        ThinkingDelta("a"),
        ThinkingDelta(data="X", index=1),
    ]


def test_details_without_an_index_go_on_until_their_kind_changes_or_a_signature_ends_them() -> None:
    assert read(
        {"reasoning_details": [{"type": "reasoning.text", "text": "a"}]},
        {"reasoning_details": [{"type": "reasoning.text", "text": "b", "signature": "s", "index": "x"}]},
        {"reasoning_details": [{"type": "reasoning.text", "text": "c", "index": -1}]},
        {"reasoning_details": [{"type": "reasoning.summary", "summary": "d"}]},
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "E"}]},
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "F"}, 5, {"type": "reasoning.text"}]},
    ) == [
        ThinkingDelta("a"),
        ThinkingDelta("b", "s"),
        ThinkingDelta("c", index=1),
        ThinkingDelta("d", index=2, summary=True),
        ThinkingDelta(data="E", index=3),
        ThinkingDelta(data="F", index=4),
    ]


def call(arguments: Any = None, name: Any = None, **fields: Any) -> dict[str, Any]:
    function = {} if name is None else {"name": name}
    return {"tool_calls": [{**fields, "function": {**function, "arguments": arguments}}]}


def test_a_call_whose_id_and_name_are_repeated_starts_once() -> None:
    assert read(
        call("", "f", index=0, id="c", type="function"),
        call('{"a"', "f", index=0, id="c"),
        call(":1}", "", index=0, id=""),
        finish="tool_calls",
    ) == [
        ToolCallStarted(0, "c", "f"),
        ToolCallDelta(0, '{"a"'),
        ToolCallDelta(0, ":1}"),
        Finished("tool_calls"),
    ]


def test_arguments_wait_for_the_name_of_their_call() -> None:
    assert read(call('{"a"', index=0), call(":1", index=0, id="c"), call("}", "f", index=0)) == [
        ToolCallStarted(0, "c", "f"),
        ToolCallDelta(0, '{"a":1}'),
    ]


def test_a_call_that_never_gets_a_name_is_told_at_the_end_or_when_too_much_is_held() -> None:
    told = [ToolCallStarted(0, "c", UNNAMED), ToolCallDelta(0, "{}"), Finished("tool_calls", "stop")]
    assert read(call("{}", index=0, id="c"), {}, finish="stop") == told
    piece = "x" * MAX_HELD
    assert read(call(piece, index=0, id="c"), call("y", index=0), call("z", index=0)) == [
        ToolCallStarted(0, "c", UNNAMED),
        ToolCallDelta(0, piece + "y"),
        ToolCallDelta(0, "z"),
    ]


def test_calls_without_an_index_are_told_apart_by_their_ids() -> None:
    assert read(call("{", "f", id="a"), call("}"), call("{}", "g", id="b"), call(" ", id="a")) == [
        ToolCallStarted(0, "a", "f"),
        ToolCallDelta(0, "{"),
        ToolCallDelta(0, "}"),
        ToolCallStarted(1, "b", "g"),
        ToolCallDelta(1, "{}"),
        ToolCallDelta(0, " "),
    ]


def test_calls_are_counted_from_zero_however_the_host_counts() -> None:
    assert read(call("{}", "f", index=1, id="a"), call("{}", "g", index=7, id="b")) == [
        ToolCallStarted(0, "a", "f"),
        ToolCallDelta(0, "{}"),
        ToolCallStarted(1, "b", "g"),
        ToolCallDelta(1, "{}"),
    ]


def test_a_call_without_arguments_has_an_empty_object_once() -> None:
    assert read(call("", "f", index=0, id="a"), {}, finish="tool_calls") == [
        ToolCallStarted(0, "a", "f"),
        ToolCallDelta(0, "{}"),
        Finished("tool_calls"),
    ]
    assert read(call({"a": 1}, "f", index=0, id="a"), {}, finish="stop")[1:] == [
        ToolCallDelta(0, '{"a":1}'),
        Finished("tool_calls", "stop"),
    ]


def test_the_old_function_call_is_the_first_tool_call() -> None:
    started, *rest = read(
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": "{}"}},
        finish="function_call",
    )
    assert isinstance(started, ToolCallStarted)
    assert (started.index, started.name, started.id[:5]) == (0, "f", "call_")
    assert rest == [ToolCallDelta(0, "{}"), Finished("tool_calls", "function_call")]


def test_the_signature_of_a_call_stands_beside_it_in_either_shape() -> None:
    google = call("{}", "f", index=0, id="a", extra_content={"google": {"thought_signature": "S"}})
    assert read(google)[0] == ToolCallStarted(0, "a", "f", "S")
    detail = {"type": "reasoning.encrypted", "data": "S", "id": "a", "index": 0}
    assert read({**call("{}", "f", index=0, id="a"), "reasoning_details": [detail]}) == [
        ToolCallStarted(0, "a", "f", "S"),
        ToolCallDelta(0, "{}"),
    ]


def test_content_that_is_a_list_of_parts_is_told_apart() -> None:
    parts = [
        "a",
        {"type": "text", "text": "b"},
        {"type": "thinking", "thinking": [{"type": "text", "text": "c"}]},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    assert read({"content": parts}) == [
        ThinkingDelta("c"),
        TextDelta("ab"),
        MediaDelta("image/png", "AAAA"),
    ]


def test_pictures_come_as_data_or_as_an_address() -> None:
    items = [
        {"type": "image_url", "image_url": {"url": "data:image/webp;base64,AAAA"}, "index": 0},
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}, "index": 1},
        {"type": "image_url", "image_url": {"url": "data:broken"}},
        {"type": "image_url"},
    ]
    assert read({"images": items}) == [MediaDelta("image/webp", "AAAA"), TextDelta("![](https://x.test/a.png)")]


def test_sound_of_openai_is_raw_and_its_transcript_is_text() -> None:
    assert read({"audio": {"id": "a", "transcript": "Hi"}}, {"audio": {"data": "AAAA"}}) == [
        TextDelta("Hi"),
        MediaDelta("audio/pcm", "AAAA"),
    ]


@pytest.mark.parametrize(
    ("told", "native", "expected"),
    [
        ("stop", None, Finished("stop")),
        ("stop", "STOP", Finished("stop", "STOP")),
        ("eos", None, Finished("stop", "eos")),
        ("MAX_TOKENS", None, Finished("length", "MAX_TOKENS")),
        ("SAFETY", 5, Finished("content_filter", "SAFETY")),
        ("who knows", None, Finished("stop", "who knows")),
    ],
)
def test_a_finish_reason_is_one_of_four(told: str, native: Any, expected: Finished) -> None:
    assert read({"content": "a"}, {}, finish=told, native_finish_reason=native) == [TextDelta("a"), expected]


def test_a_choice_finishes_once() -> None:
    assert neutral(frame(b'[{"index":0,"delta":{},"finish_reason":"stop"}]') * 2) == [Finished("stop")]


def test_several_choices_keep_apart() -> None:
    choices = [{"index": n, "delta": call("{}", "f", index=0, id=f"c{n}"), "finish_reason": "stop"} for n in (0, 1)]
    assert neutral(frame(json.dumps(choices).encode())) == [
        *(event for n in (0, 1) for event in (ToolCallStarted(0, f"c{n}", "f", "", n), ToolCallDelta(0, "{}", n))),
        *(Finished("tool_calls", "stop", n) for n in (0, 1)),
    ]


def test_a_whole_completion_is_read_like_a_stream() -> None:
    message = {
        "role": "assistant",
        "content": "Hi",
        "reasoning": "hm",
        "reasoning_content": "hm",
        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        "annotations": [cited({})],
    }
    body = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}).encode()
    events = Decoder(Provider(id="m", name="M"), verbatim=False).whole(body)
    assert [event for event in events if not (isinstance(event, Finished) and event.told)] == [
        ThinkingDelta("hm"),
        TextDelta("Hi"),
        Annotated(cited({})),
        ToolCallStarted(0, "a", "f"),
        ToolCallDelta(0, "{}"),
        Finished("tool_calls"),
        Done(),
    ]


names = st.sampled_from(
    ["content", "reasoning", "reasoning_details", "tool_calls", "function_call", "images", "audio", "annotations",
     "refusal", "function", "name", "id", "index", "arguments", "type", "text", "data", "image_url", "url",
     "extra_content", "google"]
)  # fmt: skip
odd = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats(allow_nan=False, allow_infinity=False) | text | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(st.tuples(st.dictionaries(names, odd, max_size=3), odd), max_size=3))
def test_whatever_stands_in_a_delta_is_read_or_passed_over(deltas: list[tuple[Any, Any]]) -> None:
    choices = [[{"index": 0, "delta": delta, "finish_reason": finish}] for delta, finish in deltas]
    for event in neutral(b"".join(frame(json.dumps(one).encode()) for one in choices)):
        assert isinstance(event, Neutral | Failed)
        if not isinstance(event, Failed):
            encode_delta(event, first=False)
