"""Anthropic's wire towards clients: streams, whole answers, errors, and what a client's request becomes.

Most is said as a way there and back: what the one direction writes, the other reads.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from asking import asking
from counts import billed
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from infron.catalog.definitions import Provider
from infron.catalog.load import load_catalog
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
from infron.errors import (
    InfronError,
    InvalidRequest,
    Overloaded,
    PaymentRequired,
    ProviderError,
    ProviderMisconfigured,
    ProviderTimeout,
    Unsupported,
)
from infron.events import (
    Annotated,
    Billed,
    ClientEvent,
    Done,
    Event,
    Failed,
    Finished,
    MediaDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from infron.money import Usage
from infron.wires import PROVIDER_WIRES, anthropic
from infron.wires.anthropic.answer import Accumulator
from infron.wires.anthropic.client_request import parse
from infron.wires.anthropic.encoder import Encoder, render_error
from infron.wires.anthropic.request import RULES, encode, encode_request
from infron.wires.anthropic.words import REASONS, counts_of, messages_usage
from infron.wires.openai import chat as openai_chat
from infron.wires.session import fit

ROW = load_catalog(environ={}, wires=PROVIDER_WIRES).providers["anthropic"]
MOCK = Provider(id="mock", name="Mock", wire="anthropic")
HOST = Provider(id="mock", name="Mock")
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n...").decode()
PDF = base64.b64encode(b"%PDF-1.7").decode()


# ---- to the client: the stream

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
COUNT = st.integers(0, 10**6)


@st.composite
def usages(draw: st.DrawFn) -> UsageReported:
    read, written, rest = draw(COUNT), draw(COUNT), draw(st.integers(1, 10**6))
    hour = draw(st.integers(0, written))
    completion = draw(COUNT)
    return UsageReported(
        Usage(
            prompt=read + written + rest,
            completion=completion,
            cached=read,
            cache_write=written,
            cache_write_1h=hour,
            reasoning=draw(st.integers(0, completion)),
        )
    )


CITED = st.builds(
    lambda url, title: Annotated({"type": "url_citation", "url_citation": {"url": url, "title": title}}), WORDS, WORDS
) | st.builds(
    lambda text: Annotated({"type": "file_citation", "file_citation": {"type": "char_location", "cited_text": text}}),
    WORDS,
)


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    """An answer as the decoder gives it."""
    kinds = draw(st.lists(st.sampled_from(["text", "thinking", "redacted", "tool"]), max_size=6))
    events: list[Event] = [Started("gen-1")]
    thinking = calls = 0
    for kind in kinds:
        match kind:
            case "text":
                events += draw(st.lists(st.builds(TextDelta, WORDS) | CITED, min_size=1, max_size=3))
            case "thinking":
                said = draw(st.lists(WORDS, max_size=3))
                events += [ThinkingDelta(text, format=CLAUDE, index=thinking) for text in said]
                if draw(st.booleans()) or not said:
                    events.append(ThinkingDelta(signature=draw(WORDS), format=CLAUDE, index=thinking))
                thinking += 1
            case "redacted":
                events.append(ThinkingDelta(data=draw(WORDS), format=CLAUDE, index=thinking))
                thinking += 1
            case "tool":
                events.append(ToolCallStarted(calls, draw(WORDS), draw(WORDS)))
                events += [ToolCallDelta(calls, piece) for piece in draw(st.lists(WORDS, min_size=1, max_size=3))]
                calls += 1
    native = draw(st.sampled_from([word for word in REASONS if word != ("end_turn" if calls else "tool_use")]))
    return [*events, draw(usages()), Finished(REASONS[native], native), Done()]


def encoded(events: list[Event]) -> bytes:
    encoder = Encoder("gen-1", 1, asking(model="claude"))
    said = [encoder.encode(event) for event in events if isinstance(event, ClientEvent)]
    return b"".join([*said, encoder.usage(counted(events)), encoder.close()])


def counted(events: list[Event]) -> Billed:
    """The last report, as it is billed."""
    usage = next((event.usage for event in reversed(events) if isinstance(event, UsageReported)), Usage())
    return Billed(usage=usage, charge=None, estimated=False, provider="mock")


def decoded(data: bytes) -> list[Event]:
    decoder = anthropic.Decoder(MOCK)
    return decoder.feed(data) + decoder.close()


@given(answers())
def test_an_encoded_answer_decodes_to_itself(events: list[Event]) -> None:
    read = decoded(encoded(events))
    if len(events) == 4:  # nothing was said, so that the counts stand in the first frame too
        del read[1]
    assert read == events


@given(answers())
def test_a_folded_answer_says_the_same_as_its_stream(events: list[Event]) -> None:
    folder = Accumulator("gen-1", 1, asking())
    for event in events:
        if isinstance(event, ClientEvent):
            folder.add(event)
    body = folder.answer(counted(events))
    assert said(anthropic.Decoder(MOCK).whole(body)) == said(events)


def said(events: list[Event]) -> Any:
    """What an answer says, however it was cut."""
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    thought = "".join(e.text + e.signature + e.data for e in events if isinstance(e, ThinkingDelta))
    names = [event.name for event in events if isinstance(event, ToolCallStarted)]
    cited = [event.raw for event in events if isinstance(event, Annotated)]
    last = [event.usage for event in events if isinstance(event, UsageReported)][-1]
    return text, thought, names, cited, last, [event for event in events if isinstance(event, Finished)]


def test_the_stream_is_what_the_messages_api_sends() -> None:
    encoder = Encoder("gen-1", 1, asking(model="claude"))
    events = [TextDelta("a\u2028"), ToolCallStarted(0, "t", "f"), ToolCallDelta(0, "{}"), Finished("tool_calls")]
    data = b"".join(encoder.encode(event) for event in events)
    data += encoder.usage(billed(prompt=9, completion=2, cached=4)) + encoder.close()
    frames = [frame.split(b"\n") for frame in data.decode().encode().split(b"\n\n")[:-1]]
    names = [name.removeprefix(b"event: ").decode() for name, _ in frames]
    values = [json.loads(value.removeprefix(b"data: ")) for _, value in frames]
    assert names == [value["type"] for value in values]
    assert names == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert values[0]["message"]["model"] == "claude"
    assert values[4]["content_block"] == {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    assert values[7]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert (values[7]["usage"]["input_tokens"], values[7]["usage"]["cache_read_input_tokens"]) == (5, 4)
    assert "\u2028" not in data.decode()


def test_an_openai_hosts_chunks_become_blocks() -> None:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        return b"data: %b\n\n" % json.dumps({"id": "x", "choices": choices}).encode()

    told = openai_chat.Decoder(HOST, 1 << 20, "", False).feed(chunk({"content": "Hi"}) + chunk({}, "length"))
    events = decoded(encoded(told))
    assert TextDelta("Hi") in events
    assert Finished("length", "max_tokens") in events


def test_what_has_no_block_is_left_out_and_a_refusal_is_text() -> None:
    events = [MediaDelta("image/png", PNG), TextDelta("other", choice=1), RefusalDelta("No."), Finished("stop")]
    assert [event for event in decoded(encoded(events)) if isinstance(event, TextDelta)] == [TextDelta("No.")]


def test_pieces_of_calls_that_take_turns_reach_their_own_block() -> None:
    events: list[Event] = [ToolCallStarted(0, "a", "f"), ToolCallStarted(1, "b", "g"), ToolCallDelta(0, "{}")]
    data = encoded(events).decode()
    assert '"index":0,"delta":{"type":"input_json_delta"' in data


def test_pings_keep_a_stream_alive_and_an_error_ends_it() -> None:
    encoder = Encoder("gen-1", 1, asking(model="claude"))
    data = encoder.keep_alive() + encoder.encode(TextDelta("a")) + encoder.keep_alive()
    failed = decoded(data + encoder.fail(Overloaded("Full.")))
    assert isinstance(failed[-1], Failed)
    assert (failed[-1].error.status, failed[-1].error.message) == (503, "Server error: Full.")
    assert [event for event in failed if isinstance(event, TextDelta)] == [TextDelta("a")]


@pytest.mark.parametrize(
    ("error", "type"),
    [
        (InvalidRequest("x"), "invalid_request_error"),
        (Unsupported("x"), "invalid_request_error"),
        (PaymentRequired("x"), "billing_error"),
        (ProviderTimeout("x"), "timeout_error"),
        (ProviderMisconfigured("x"), "api_error"),
        (Overloaded("x"), "overloaded_error"),
        (ProviderError("x", status=503, error_type="provider_overloaded", safe_to_retry=True), "overloaded_error"),
        (ProviderError("x", status=429, error_type="rate_limit_exceeded", safe_to_retry=True), "rate_limit_error"),
    ],
)
def test_an_error_of_ours_has_a_type_of_the_wire(error: InfronError, type: str) -> None:
    assert json.loads(render_error(error)) == {"type": "error", "error": {"type": type, "message": "x"}}


def test_arguments_that_were_cut_off_fold_to_an_empty_object() -> None:
    folder = Accumulator("gen-1", 1, asking())
    for event in (ToolCallStarted(0, "t", "f"), ToolCallDelta(0, '{"a": '), Finished("length")):
        folder.add(event)
    answer = json.loads(folder.answer(billed(prompt=3)))
    assert answer["content"] == [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]
    assert answer["stop_reason"] == "max_tokens"
    assert answer["usage"]["input_tokens"] == 3


@given(usages())
def test_counts_survive_the_way_there_and_back(report: UsageReported) -> None:
    assert counts_of(messages_usage(report.usage)) == report.usage


# ---- from the client: the request

NAME = st.text("abcdefghij_-", min_size=1, max_size=6)
SAID = WORDS.filter(lambda text: bool(text.strip()))
TEXTS = st.builds(Text, SAID)
MEDIA = st.one_of(
    st.just(Media(kind="image", mime="image/png", data=PNG)),
    st.builds(lambda url: Media(kind="image", url=f"https://x/{url}"), NAME),
    st.builds(lambda name: Media(kind="document", mime="application/pdf", data=PDF, name=name), NAME),
    st.builds(lambda text: Media(kind="document", mime="text/plain", text=text), SAID),
    st.builds(lambda id: Media(kind="document", file_id=id), NAME),
)
THOUGHTS = st.builds(lambda t, s: Thinking(text=t, signature=s, format=CLAUDE), WORDS, WORDS) | st.builds(
    lambda data: Thinking(data=data, format=CLAUDE), WORDS
)
ARGUMENTS = st.dictionaries(NAME, st.integers(-9, 9) | WORDS, max_size=2).map(lambda v: msgspec.json.encode(v).decode())
MARKS = st.sampled_from(["", "5m", "1h"])
HELD = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}


@st.composite
def turns(draw: st.DrawFn) -> list[Message]:
    messages: list[Message] = [Message("user", tuple(draw(st.lists(TEXTS | MEDIA, min_size=1, max_size=3))))]
    for number in range(draw(st.integers(0, 3))):
        parts: list[Part] = [*draw(st.lists(THOUGHTS, max_size=2)), *draw(st.lists(TEXTS, max_size=2))]
        calls = [
            ToolCall(id=f"toolu_{number}_{place}", name=draw(NAME), arguments=draw(ARGUMENTS))
            for place in range(draw(st.integers(0 if parts else 1, 2)))
        ]
        messages.append(Message("assistant", (*parts, *calls)))
        if calls:
            results = tuple(
                ToolResult(
                    call_id=call.id,
                    name=call.name,
                    parts=tuple(draw(st.lists(TEXTS | MEDIA, max_size=2))),
                    failed=draw(st.booleans()),
                )
                for call in calls
            )
            messages.append(Message("tool", results))
        if not calls or draw(st.booleans()):
            messages.append(Message("user", tuple(draw(st.lists(TEXTS | MEDIA, min_size=1, max_size=2)))))
    return messages


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    system = draw(st.lists(st.builds(Text, SAID, MARKS), max_size=2))
    tools = draw(
        st.lists(
            st.builds(
                Tool, name=NAME, description=st.just("") | WORDS, schema=st.sampled_from([None, HELD]), cache=MARKS
            )
            | st.just(NativeTool({"type": "web_search_20250305", "name": "web_search"})),
            max_size=2,
        )
    )
    choice = draw(st.sampled_from([None, "auto", "none", "required", "tool"])) if tools else None
    return Conversation(
        messages=tuple([Message("system", tuple(system))] if system else []) + tuple(draw(turns())),
        tools=tuple(tools),
        tool_choice=choice,
        tool_name=draw(NAME) if choice == "tool" else "",
        parallel_tool_calls=draw(st.sampled_from([None, False])) if tools and choice not in (None, "none") else None,
        max_tokens=draw(st.integers(1, 9999)),
        stop=tuple(draw(st.lists(SAID, max_size=2))),
        response_format=draw(
            st.sampled_from([None, ResponseFormat(kind="schema", name="answer", schema=HELD, strict=True)])
        ),
        reasoning=draw(
            st.none()
            | st.just(Reasoning(effort="none"))
            | st.builds(Reasoning, effort=st.sampled_from([None, "low", "xhigh", "max"]), exclude=st.booleans())
        ),
        fields=draw(st.sampled_from([{}, {"user": "u-1"}, {"service_tier": "default"}])),
    )


@settings(max_examples=200)
@given(conversations())
def test_a_conversation_survives_the_way_to_the_wire_and_back(conversation: Conversation) -> None:
    body = msgspec.json.encode(encode(conversation, "claude-opus-5").body)
    assert replace(parse(body, []).conversation, asked={}) == conversation


@settings(max_examples=50)
@given(conversations())
def test_messages_request_that_is_right_goes_to_anthropic_as_it_came(conversation: Conversation) -> None:
    conversation = fit(conversation, msgspec.structs.replace(RULES, prefill=False)).conversation
    body = msgspec.json.encode(encode(conversation, "claude-opus-5").body)
    again = encode_request(parse(body, []), ROW, "claude-opus-5", False)
    assert again.body == body


def test_messages_request_is_a_conversation() -> None:
    body = {
        "model": "anthropic/claude-sonnet-4.5",
        "max_tokens": 3000,
        "stream": True,
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": "Hi"},
            {
                "role": "assistant",
                "content": [
                    {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                    {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
                    {"type": "text", "text": "Found."},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "search_result",
                        "source": "https://x/",
                        "title": "T",
                        "content": [{"type": "text", "text": "C"}],
                    }
                ],
            },
        ],
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "temperature": 0.3,
        "top_k": 4,
        "stop_sequences": ["X"],
        "metadata": {"user_id": "u-1"},
        "provider": {"order": ["anthropic"]},
        "session_id": "s-1",
    }
    request = parse(json.dumps(body).encode(), [])
    assert (request.model, request.stream, request.include_usage) == ("anthropic/claude-sonnet-4.5", True, True)
    assert (request.user, request.session_id, request.preferences.order) == ("u-1", "s-1", ("anthropic",))
    assert request.conversation == Conversation(
        messages=(
            Message("system", (Text("Be brief."),)),
            Message("user", (Text("Hi"),)),
            Message("assistant", (Text("Found."),)),
            Message("user", (Text("T\nhttps://x/\nC"),)),
        ),
        max_tokens=3000,
        stop=("X",),
        reasoning=Reasoning(max_tokens=2000),
        fields={"temperature": 0.3, "top_k": 4, "user": "u-1"},
        asked={
            "max_tokens": ("max_tokens",),
            "reasoning": ("thinking",),
            "stop": ("stop_sequences",),
            "temperature": ("temperature",),
            "top_k": ("top_k",),
            "user": ("metadata",),
        },
        lost=("messages.server_tool_use", "messages.web_search_tool_result"),
    )


def test_what_only_the_messages_api_can_say_is_named_where_it_stays_out() -> None:
    body = {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "Hi"}],
        "thinking": {"type": "between_tools"},
        "output_config": {"effort": "low", "task_budget": {"type": "tokens", "total": 9}},
        "context_management": {"edits": []},
    }
    request = parse(json.dumps(body).encode(), [(b"anthropic-beta", b"a-1, b-2"), (b"anthropic-beta", b"c-3")])
    outgoing = encode_request(request, ROW, "claude-opus-5", False)
    assert json.loads(outgoing.body) == {**body, "model": "claude-opus-5", "stream": True}
    assert outgoing.headers == (("anthropic-beta", "a-1,b-2,c-3"),)
    assert outgoing.dropped == ()
    left_out = ("context_management", "output_config", "thinking")
    for wire in ("bedrock", "gemini", "cohere", "openai-chat"):
        row = Provider(id="mock", name="Mock", wire=wire)
        assert PROVIDER_WIRES[wire].encode_request(request, row, "any", False).dropped == left_out, wire


def test_what_cannot_be_billed_never_goes_to_anthropic() -> None:
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], "speed": "fast"}
    outgoing = encode_request(parse(json.dumps(body).encode(), []), ROW, "claude-opus-5", False)
    assert "speed" not in json.loads(outgoing.body)
    assert outgoing.dropped == ("speed",)


BLANK = {"type": "image", "source": {"type": "url"}}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"model": ""}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [BLANK]}]}, "messages[0].content[0].source.url"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages[0].content[0].source"),
        ({"tool_choice": {"type": "maybe"}}, "tool_choice.type"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"system": [{"type": "text"}]}, "system[0].text"),
        ({"stop_sequences": "X"}, "stop_sequences"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort"),
        ({"thinking": {"type": "enabled", "budget_tokens": "x"}}, "thinking.budget_tokens"),
    ],
)  # fmt: skip
def test_a_malformed_request_of_a_client_names_its_place(change: dict[str, Any], param: str) -> None:
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}], **change}
    with pytest.raises(InvalidRequest) as caught:
        _ = parse(json.dumps(body).encode(), []).conversation
    assert caught.value.param == param


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from(["text", "user", "tool_use", "auto", "enabled", ""]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["type", "content", "role", "source", "input", "id", "name", "text", "input_schema", "effort"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(
    st.dictionaries(
        st.sampled_from(["system", "messages", "tools", "tool_choice", "thinking", "output_config", "stop_sequences"]),
        JSON,
    )
)
def test_no_body_breaks_the_reading_of_a_request(values: dict[str, Any]) -> None:
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}], **values}
    try:
        request = parse(json.dumps(body).encode(), [])
        encode(request.conversation, "claude-opus-4-5")
    except InfronError:
        pass


def test_thoughts_of_another_model_come_back_through_the_messages_api_to_their_own() -> None:
    events: list[Event] = [
        ThinkingDelta("a", format="google-gemini-v1", index=0),
        ThinkingDelta(signature="s", format="google-gemini-v1", index=0),
        ThinkingDelta("b", index=1),
        TextDelta("c"),
        Finished("stop", "end_turn"),
    ]
    accumulator = Accumulator("gen-1", 1, asking())
    for event in events:
        if isinstance(event, ClientEvent):
            accumulator.add(event)
    content = json.loads(accumulator.answer(billed()))["content"]
    hi = {"role": "user", "content": "Hi"}
    body = {"model": "m", "max_tokens": 9, "messages": [hi, {"role": "assistant", "content": content}, hi]}
    request = parse(json.dumps(body).encode(), [])
    signed, bare, _ = request.conversation.messages[1].parts
    assert signed == Thinking(text="a", signature="s", format="google-gemini-v1")
    assert bare == Thinking(text="b")
    # Anthropic refuses a session with signatures that are not its own.
    outgoing = encode_request(request, ROW, "claude-opus-5", False)
    assert json.loads(outgoing.body)["messages"][1] == {"role": "assistant", "content": [{"type": "text", "text": "c"}]}
    assert outgoing.dropped == ("messages.thinking",)


def test_signature_of_a_call_comes_back_through_the_messages_api_and_never_reaches_claude() -> None:
    # The API has no place for it; Gemini 3 then answers worse, or refuses the session.
    events: list[ClientEvent] = [
        ThinkingDelta("a", format="google-gemini-v1", index=0),
        ToolCallStarted(0, "c0", "f", "sig"),
        ToolCallDelta(0, "{}"),
        ToolCallStarted(1, "c1", "f"),
        ToolCallDelta(1, "{}"),
        Finished("tool_calls", "STOP"),
    ]
    accumulator, encoder = Accumulator("gen-1", 1, asking()), Encoder("gen-1", 1, asking())
    frames = []
    for event in events:
        accumulator.add(event)
        frames.append(encoder.encode(event))
    content = json.loads(accumulator.answer(billed()))["content"]
    assert [block["type"] for block in content] == ["thinking", "redacted_thinking", "tool_use", "tool_use"]
    assert content[1]["data"].encode() in b"".join(frames)
    hi = {"role": "user", "content": "Hi"}
    results = [{"type": "tool_result", "tool_use_id": id, "content": "r"} for id in ("c0", "c1")]
    turns = [hi, {"role": "assistant", "content": content}, {"role": "user", "content": results}]
    request = parse(json.dumps({"model": "m", "max_tokens": 9, "messages": turns}).encode(), [])
    calls = [part for part in request.conversation.messages[1].parts if isinstance(part, ToolCall)]
    assert [call.signature for call in calls] == ["sig", ""]
    for wire, model in (("anthropic", "claude-opus-5"), ("bedrock", "anthropic.claude-opus-4-5"), ("openai-chat", "m")):
        definition = Provider(id="mock", name="Mock", wire=wire)
        body = PROVIDER_WIRES[wire].encode_request(request, definition, model, False).body
        assert b'"sig"' not in body
        assert b"redacted" not in body
