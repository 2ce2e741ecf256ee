"""Gemini's API towards clients: what they say, read and sent on; what they get, in frames and whole."""

from __future__ import annotations

import base64
import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from asking import asking
from counts import NOTHING
from hypothesis import given
from hypothesis import strategies as st

from infron.catalog.definitions import Provider
from infron.conversation import CLAUDE, GEMINI, Media, Message, Text, Thinking, Tool, ToolCall, ToolResult
from infron.errors import InvalidRequest, ProviderUnavailable, RateLimited, Unsupported
from infron.events import (
    Annotated,
    Done,
    Event,
    Failed,
    Finished,
    MediaDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
    Verbatim,
)
from infron.request import Request, Target
from infron.wires import gemini
from infron.wires.gemini.schema import json_schema
from infron.wires.gemini.thinking import UNSIGNED, opened, sealed

MOCK = Provider(id="mock", name="Mock", wire="gemini")
SSE = Target(path="/v1beta/models/{model:path}:streamGenerateContent", params={"model": "m"}, query={"alt": "sse"})
ARRAY = Target(path=SSE.path, params=SSE.params)
HI = {"role": "user", "parts": [{"text": "Hi"}]}
CALL = {"functionCall": {"name": "f", "args": {"a": 1}}}


def said(target: Target = SSE, **fields: Any) -> Request:
    body = {"contents": [HI], **fields}
    return gemini.parse(json.dumps(body).encode(), [], target)


def messages(*contents: dict[str, Any], **fields: Any) -> tuple[Message, ...]:
    return said(contents=list(contents), **fields).conversation.messages


def model(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts)}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "parts": list(parts)}


# ---- requests


@pytest.mark.parametrize("id", ["mock/any", "models/mock/any", "/models/mock/any"])
def test_gemini_request_takes_its_model_from_the_path(id: str) -> None:
    request = said(Target(path="/v1/models/{model:path}:generateContent", params={"model": id}))
    assert (request.model, request.stream) == ("mock/any", False)


def test_gemini_request_is_streamed_in_the_form_that_its_query_asks_for() -> None:
    assert (said(SSE).stream, said(SSE).form, said(ARRAY).stream, said(ARRAY).form) == (True, "sse", True, "array")


def test_gemini_request_is_read_in_both_spellings() -> None:
    blob, film = {"mimeType": "image/png", "data": "AAAA"}, {"mimeType": "video/mp4", "fileUri": "https://x/y.mp4"}
    config = {"maxOutputTokens": 9, "topK": 3, "stopSequences": ["x"], "thinkingConfig": {"thinkingBudget": 0}}
    camel = said(
        systemInstruction={"parts": [{"text": "Be brief."}]},
        generationConfig=config,
        contents=[user({"inlineData": blob}, {"fileData": film})],
    ).conversation
    blob, film = {"mime_type": "image/png", "data": "AAAA"}, {"mime_type": "video/mp4", "file_uri": "https://x/y.mp4"}
    config = {"max_output_tokens": 9, "top_k": 3, "stop_sequences": ["x"], "thinking_config": {"thinking_budget": 0}}
    snake = said(
        system_instruction={"parts": {"text": "Be brief."}},
        generation_config=config,
        contents={"parts": [{"inline_data": blob}, {"file_data": film}]},
    ).conversation
    assert camel.messages == snake.messages
    assert camel.messages == (
        Message("system", (Text("Be brief."),)),
        Message("user", (
            Media(kind="image", mime="image/png", data="AAAA"),
            Media(kind="video", mime="video/mp4", url="https://x/y.mp4"),
        )),
    )  # fmt: skip
    for found in (camel, snake):
        assert (found.max_tokens, found.stop, found.fields) == (9, ("x",), {"top_k": 3})
        assert found.reasoning is not None
        assert found.reasoning.effort == "none"
    assert camel.asked["top_k"] == ("generationConfig.topK",)
    assert snake.asked["top_k"] == ("generation_config.topK",)


def test_gemini_calls_and_responses_are_paired_by_id_or_by_name_and_order() -> None:
    history = [
        HI,
        model(CALL, {"functionCall": {"name": "g"}}, {"functionCall": {"name": "f"}}),
        user({"functionResponse": {"name": "g", "response": {"output": "of g"}}},
             {"functionResponse": {"name": "f", "response": {"error": "no"}}},
             {"functionResponse": {"name": "f", "response": {"a": 1, "b": 2}}}),
        model({"functionCall": {"id": "own", "name": "f"}}),
        user({"functionResponse": {"id": "own", "name": "f", "response": {"result": {"x": [1]}}}}, {"text": "Go on."}),
    ]  # fmt: skip
    _, calls, results, again, own, then = messages(*history)
    ids = [part.id for part in calls.parts if isinstance(part, ToolCall)]
    assert len(set(ids)) == 3
    assert [(part.call_id, part.name, part.failed) for part in results.parts if isinstance(part, ToolResult)] == [
        (ids[1], "g", False), (ids[0], "f", True), (ids[2], "f", False),
    ]  # fmt: skip
    assert [part.parts for part in results.parts if isinstance(part, ToolResult)] == [
        (Text("of g"),), (Text("no"),), (Text('{"a":1,"b":2}'),),
    ]  # fmt: skip
    assert again.parts == (ToolCall(id="own", name="f", arguments="{}"),)
    assert own == Message("tool", (ToolResult(call_id="own", name="f", parts=(Text('{"x":[1]}'),)),))
    assert then == Message("user", (Text("Go on."),))


def test_gemini_answer_in_the_pieces_of_its_stream_is_one_message() -> None:
    # Libraries keep each chunk of a streamed answer as a content of its own.
    pieces = [
        model({"text": "H", "thought": True}), model({"text": "m.", "thought": True}),
        model({"text": "", "thought": True, "thoughtSignature": "c2ln"}),
        model({"text": "He"}), model({"text": "llo"}), model({"text": ""}),
        model({**CALL, "thoughtSignature": "c2ln"}),
    ]  # fmt: skip
    _, answer = messages(HI, *pieces)
    assert answer.parts == (
        Thinking(text="Hm.", signature="c2ln", format=GEMINI),
        Text("Hello"),
        ToolCall(id="call_1", name="f", arguments='{"a":1}', signature="c2ln"),
    )


@pytest.mark.parametrize("alphabet", ["standard", "urlsafe"])
def test_gemini_signature_brings_back_what_another_model_thought(alphabet: str) -> None:
    thinking = [Thinking(text="Hm>>>???", signature="s1", format=CLAUDE), Thinking(data="d+/", format=CLAUDE, id="x")]
    signature = sealed(thinking)
    base64.b64decode(signature, validate=True)  # libraries want it to be base64
    if alphabet == "urlsafe":  # as Google's library for Python writes it
        signature = signature.replace("+", "-").replace("/", "_")
    copy = {"text": "Hm>>>???", "thought": True}
    _, answer = messages(HI, model(copy, {**CALL, "thoughtSignature": signature}))
    assert answer.parts == (*thinking, ToolCall(id="call_1", name="f", arguments='{"a":1}'))
    assert opened(signature[:-9]) == []


def test_gemini_signature_that_is_none_is_left_out() -> None:
    _, answer = messages(HI, model({**CALL, "thoughtSignature": UNSIGNED}))
    assert answer.parts == (ToolCall(id="call_1", name="f", arguments='{"a":1}'),)


def test_gemini_tools_and_their_schemas_are_read() -> None:
    listed = {"type": "ARRAY", "items": {"type": "INTEGER"}, "minItems": "1"}
    either = {"type": "STRING", "nullable": True, "enum": ["a"]}
    given = {"type": "OBJECT", "properties": {"type": either, "n": listed}, "propertyOrdering": ["n"]}
    declared = [
        {"name": "f", "description": "F.", "parameters": given},
        {"name": "g", "parametersJsonSchema": {"a": 1}},
    ]
    asked = said(
        tools=[{"functionDeclarations": declared, "googleSearch": {}}],
        toolConfig={"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    ).conversation
    schema = {"type": "object", "properties": {"type": {"type": ["string", "null"], "enum": ["a", None]},
              "n": {"type": "array", "items": {"type": "integer"}, "minItems": 1}}}  # fmt: skip
    assert asked.tools[:2] == (Tool(name="f", description="F.", schema=schema), Tool(name="g", schema={"a": 1}))
    assert asked.tools[2].raw == {"googleSearch": {}}  # type: ignore[union-attr]
    assert (asked.tool_choice, asked.tool_name) == ("tool", "f")
    many = said(
        tools=[{"functionDeclarations": declared}],
        toolConfig={"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f", "x"]}},
    ).conversation
    assert [tool.name for tool in many.tools if isinstance(tool, Tool)] == ["f"]
    assert many.tool_choice == "required"


def test_gemini_schema_stays_as_it_is_where_it_is_json_schema() -> None:
    schema = {"type": "object", "$defs": {"a": {"type": "string"}}, "properties": {"x": {"$ref": "#/$defs/a"}}}
    assert json_schema(schema) == schema


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"contents": []}, "contents"),
        ({"contents": [{"role": "owl", "parts": []}]}, "contents[0].role"),
        ({"contents": [user({"functionResponse": {}})]}, "contents[0].parts[0].functionResponse.name"),
        ({"contents": [user({"text": 1})]}, "contents[0].parts[0].text"),
        ({"generationConfig": []}, "generationConfig"),
        ({"generationConfig": {"maxOutputTokens": 0}}, "generationConfig.maxOutputTokens"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "SOMETIMES"}}}, "toolConfig.functionCallingConfig.mode"),
    ],
)
def test_gemini_request_that_is_malformed_is_refused_by_its_place(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        _ = said(**fields).conversation
    assert raised.value.param == place


def test_gemini_content_that_is_kept_at_google_is_refused_elsewhere() -> None:
    with pytest.raises(Unsupported, match="cachedContent"):
        _ = said(cachedContent="cachedContents/x").conversation


# ---- requests to hosts of the same API


def sent(model: str = "gemini-3-pro", vertex: bool = False, **fields: Any) -> dict[str, Any]:
    row = {"id": "v", "name": "V", "wire": "gemini", "quirks": {"request": {"vertex": vertex}}}
    provider = msgspec.convert(row, Provider)
    return json.loads(gemini.encode_request(said(**fields), provider, model, False).body)  # type: ignore[no-any-return]


def test_gemini_request_goes_to_google_as_it_came() -> None:
    body = (
        b'{"contents": [{"role":"user","parts":[{"text":"Hi","aurora":1.50}]}], '
        b'"generation_config": {"x": 1.0}, "aurora": [ ]}'
    )
    request = gemini.parse(body, [], SSE)
    told = gemini.encode_request(request, MOCK, "gemini-3-pro", False).body
    assert told == (
        b'{"contents":[{"role":"user","parts":[{"text":"Hi","aurora":1.50}]}],'
        b'"generation_config":{"x": 1.0},"aurora":[ ]}'
    )


def test_gemini_request_to_google_is_without_what_others_thought() -> None:
    signature = sealed([Thinking(text="Hm.", signature="s", format=CLAUDE)])
    kept = model({**CALL, "thoughtSignature": "c2ln"}, CALL)
    given = [
        HI,
        model({"text": "x", "thoughtSignature": signature}, {"text": "", "thoughtSignature": signature}),
        HI,
        kept,
        user({"functionResponse": {"id": "1", "name": "f"}}),
        model({**CALL, "thoughtSignature": signature}, CALL),
    ]
    found = sent(contents=given)["contents"]
    assert found[1]["parts"] == [{"text": "x"}]
    assert found[3] == kept
    assert found[5]["parts"] == [{**CALL, "thoughtSignature": UNSIGNED}, CALL]
    request = said(contents=given)
    assert gemini.encode_request(request, MOCK, "gemini-3-pro", False).dropped == ("contents.thoughtSignature",)
    assert sent("gemini-2.5-pro", contents=given)["contents"][5]["parts"] == [CALL, CALL]  # which wants none


def test_gemini_request_to_vertex_is_without_ids_of_calls() -> None:
    call = {"functionCall": {"id": "1", "name": "f"}, "thoughtSignature": "c2ln"}
    response = {"functionResponse": {"id": "1", "name": "f", "response": {"id": "7"}}}
    found = sent(vertex=True, contents=[HI, model(call), user(response)], serviceTier="flex")
    assert found["contents"][1]["parts"][0]["functionCall"] == {"name": "f"}
    assert found["contents"][2]["parts"][0]["functionResponse"] == {"name": "f", "response": {"id": "7"}}
    assert "serviceTier" not in found


PARTS = st.one_of(
    st.builds(lambda text: {"text": text}, st.text(min_size=1, max_size=5)),
    st.builds(
        lambda name, a, s: {"functionCall": {"id": f"id{a}", "name": name, "args": {"a": a}}, "thoughtSignature": s},
        st.sampled_from(["f", "g"]),
        st.integers(0, 99),
        st.sampled_from(["c2ln", "YQ=="]),
    ),
)


@given(st.lists(PARTS, min_size=1, max_size=6))
def test_gemini_answer_there_and_back_keeps_order_and_signatures(parts: list[dict[str, Any]]) -> None:
    """As parts of a stream to a client, and back from it to a host of the same API by way of the conversation."""
    _, answer = messages(HI, model(*parts))
    events: list[Event] = []
    for index, part in enumerate(answer.parts):
        if isinstance(part, Text):
            events.append(TextDelta(part.text))
        elif isinstance(part, ToolCall):
            events.append(ToolCallStarted(index, part.id, part.name, part.signature))
            events.append(ToolCallDelta(index, part.arguments))
    told = [part for frame in frames(events) for part in frame["candidates"][0]["content"]["parts"]]
    _, again = messages(HI, model(*told))
    assert again == answer
    assert [part for part in told if part != {"text": ""}] == [
        part for part in whole(events)["candidates"][0]["content"]["parts"] if part != {"text": ""}
    ]


# ---- answers


def encoded(events: list[Event], target: Target = SSE, **fields: Any) -> bytes:
    encoder = gemini.Encoder("gen-1", 1, said(target, **fields))
    told = [encoder.encode(event) for event in events]  # type: ignore[arg-type]
    return b"".join([*told, encoder.usage(NOTHING), encoder.close()])


def frames(events: list[Event], **fields: Any) -> list[dict[str, Any]]:
    blocks = encoded(events, **fields).decode().split("\r\n\r\n")
    assert blocks.pop() == ""
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def whole(events: list[Event], **fields: Any) -> dict[str, Any]:
    accumulator = gemini.Accumulator("gen-1", 1, said(**fields))
    for event in events:
        accumulator.add(event)  # type: ignore[arg-type]
    return json.loads(accumulator.answer(NOTHING))  # type: ignore[no-any-return]


THINKS = {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}
RICH: list[Event] = [
    Started("x"),
    ThinkingDelta("H", format=CLAUDE), ThinkingDelta("m.", format=CLAUDE), ThinkingDelta(signature="s1", format=CLAUDE),
    ToolCallStarted(0, "t1", "f"), ToolCallDelta(0, '{"a":'), ToolCallDelta(0, "1.50}"),
    ThinkingDelta(data="d", format=CLAUDE, index=1),
    ToolCallStarted(1, "t2", "g"), ToolCallDelta(1, "{}"),
    TextDelta("So"), TextDelta("\u2028:"), MediaDelta("image/png", "AAAA"),
    Annotated({"type": "url_citation", "url_citation": {"url": "https://x", "title": "X"}}),
    Finished("tool_calls", "tool_use"),
]  # fmt: skip


def test_gemini_stream_tells_everything_in_order() -> None:
    told = frames(RICH, **THINKS)
    parts = [part for frame in told for part in frame["candidates"][0]["content"]["parts"]]
    first = sealed([Thinking(text="Hm.", signature="s1", format=CLAUDE)])
    second = sealed([Thinking(data="d", format=CLAUDE)])
    assert parts == [
        {"text": "H", "thought": True}, {"text": "m.", "thought": True},
        {"functionCall": {"id": "t1", "name": "f", "args": {"a": 1.5}}, "thoughtSignature": first},
        {"functionCall": {"id": "t2", "name": "g", "args": {}}, "thoughtSignature": second},
        {"text": "So"}, {"text": "\u2028:"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}, {"text": ""},
    ]  # fmt: skip
    assert b'"args":{"a":1.50}' in encoded(RICH)
    assert "\u2028" not in encoded(RICH).decode()
    ends = [frame["candidates"][0].get("finishReason") for frame in told]
    assert ends == [None] * (len(told) - 1) + ["STOP"]
    assert told[-1]["usageMetadata"]["totalTokenCount"] == 0
    assert told[-1]["candidates"][0]["groundingMetadata"] == {
        "groundingChunks": [{"web": {"uri": "https://x", "title": "X"}}]
    }
    assert all((frame["modelVersion"], frame["responseId"]) == ("m", "gen-1") for frame in told)


def test_gemini_whole_answer_is_its_stream_folded() -> None:
    found = whole(RICH, **THINKS)["candidates"][0]
    parts = [part for frame in frames(RICH, **THINKS) for part in frame["candidates"][0]["content"]["parts"]]
    assert found["content"]["parts"] == [{"text": "Hm.", "thought": True}, *parts[2:4], {"text": "So\u2028:"}, parts[6]]
    assert found["finishReason"] == "STOP"


def test_gemini_thoughts_are_told_where_they_are_asked_for() -> None:
    parts = [part for frame in frames(RICH) for part in frame["candidates"][0]["content"]["parts"]]
    assert not any(part.get("thought") for part in parts)
    assert parts[0]["thoughtSignature"]  # but come back all the same


def test_gemini_thoughts_that_nothing_follows_come_back_too() -> None:
    events: list[Event] = [ThinkingDelta("Hm.", signature="s", format=CLAUDE), Finished("stop")]
    [frame] = frames(events)
    [part] = frame["candidates"][0]["content"]["parts"]
    assert part == {"text": "", "thoughtSignature": sealed([Thinking(text="Hm.", signature="s", format=CLAUDE)])}


@pytest.mark.parametrize(
    ("reason", "native", "told"),
    [
        ("stop", "end_turn", "STOP"),
        ("length", "length", "MAX_TOKENS"),
        ("content_filter", "refusal", "SAFETY"),
        ("content_filter", "PROHIBITED_CONTENT", "PROHIBITED_CONTENT"),
        ("tool_calls", "STOP", "STOP"),
    ],
)
def test_gemini_finish_reason_is_a_word_of_its_api(reason: str, native: str, told: str) -> None:
    events: list[Event] = [TextDelta("x"), Finished(reason, native)]
    assert frames(events)[-1]["candidates"][0]["finishReason"] == told
    assert whole(events)["candidates"][0]["finishReason"] == told


def test_gemini_answer_has_each_of_its_candidates() -> None:
    events: list[Event] = [TextDelta("a"), TextDelta("b", 1), Finished("stop"), Finished("length", "", 1)]
    last = frames(events)[-1]["candidates"]
    assert [(one["index"], one["finishReason"]) for one in last] == [(0, "STOP"), (1, "MAX_TOKENS")]
    assert [one["content"]["parts"] for one in whole(events)["candidates"]] == [[{"text": "a"}], [{"text": "b"}]]


def test_gemini_arguments_that_were_cut_off_are_none() -> None:
    events: list[Event] = [ToolCallStarted(0, "t", "f"), ToolCallDelta(0, '{"a":'), Finished("length")]
    assert frames(events)[-1]["candidates"][0]["content"]["parts"][0]["functionCall"]["args"] == {}


def test_gemini_stream_without_events_is_one_array() -> None:
    encoder = gemini.Encoder("gen-1", 1, said(ARRAY))
    told = [
        encoder.keep_alive(),
        encoder.encode(TextDelta("a")),
        encoder.keep_alive(),
        encoder.encode(Finished("stop")),
    ]
    found = json.loads(b"".join([*told, encoder.usage(NOTHING), encoder.close()]))
    assert [frame["candidates"][0]["content"]["parts"][0]["text"] for frame in found] == ["a", ""]
    assert encoder.media_type == b"application/json"
    for event in ((), (TextDelta("a"),)):
        broken = gemini.Encoder("gen-1", 1, said(ARRAY))
        before = b"".join([broken.encode(one) for one in event])
        failed = json.loads(before + broken.fail(ProviderUnavailable("Gone.")))
        assert failed[-1]["error"]["status"] == "UNAVAILABLE"


def test_gemini_error_is_google_s() -> None:
    told = json.loads(gemini.render_error(RateLimited("Slow down.", retry_after=6.6)))["error"]
    assert (told["code"], told["message"], told["status"]) == (429, "Slow down.", "RESOURCE_EXHAUSTED")
    assert {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"} in told["details"]


# ---- answers of hosts of the same API


def google(*values: Any) -> bytes:
    return b"".join(b"data: %b\r\n\r\n" % json.dumps(value).encode() for value in values)


GROUNDED = {"candidates": [{"content": {"role": "model", "parts": [{"text": "x", "aurora": 1.5}]}, "index": 0,
            "groundingMetadata": {"webSearchQueries": ["q"]}, "safetyRatings": []}], "responseId": "r"}  # fmt: skip
COUNTS = {"promptTokenCount": 3, "candidatesTokenCount": 2, "aurora": 1}
SIGNED = {"role": "model", "parts": [{**CALL, "thoughtSignature": "c2ln"}]}
ENDED = {"candidates": [{"content": SIGNED, "finishReason": "STOP"}], "usageMetadata": COUNTS}
STREAM = google(GROUNDED, ENDED)


def decoded(data: bytes, *, verbatim: bool = True, size: int = 0) -> list[Event]:
    decoder = gemini.Decoder(MOCK, verbatim=verbatim)
    edges = [*range(0, len(data), size or len(data)), len(data)]
    return [event for a, b in pairwise(edges) for event in decoder.feed(data[a:b])] + decoder.close()


@pytest.mark.parametrize("size", [0, 1, 7])
def test_gemini_frames_go_on_byte_for_byte(size: int) -> None:
    events = decoded(STREAM, size=size)
    encoder = gemini.Encoder("gen-1", 1, said())
    told = [encoder.encode(event) for event in events if isinstance(event, Verbatim | Finished)]
    assert b"".join([*told, encoder.usage(NOTHING), encoder.close()]) == STREAM


def test_gemini_frames_are_metered_as_any_other_answer() -> None:
    events, neutral = decoded(STREAM), decoded(STREAM, verbatim=False)
    text = "".join(event.text for event in events if isinstance(event, Verbatim))
    assert text == "".join(event.text for event in neutral if not isinstance(event, UsageReported | Done))
    assert [e for e in events if isinstance(e, UsageReported)] == [e for e in neutral if isinstance(e, UsageReported)]
    ends = [event for event in events if isinstance(event, Finished)]
    assert ends
    assert all(event.told for event in ends)
    assert [event.content for event in events if isinstance(event, Verbatim)] == [True, True]


def test_gemini_frames_folded_are_the_answer_that_google_gives_whole() -> None:
    accumulator = gemini.Accumulator("gen-1", 1, said())
    for event in decoded(STREAM):
        if isinstance(event, Verbatim):
            accumulator.add(event)
    found = json.loads(accumulator.answer(NOTHING))
    [candidate] = found["candidates"]
    assert candidate["content"]["parts"] == [{"text": "x", "aurora": 1.5}, {**CALL, "thoughtSignature": "c2ln"}]
    assert (candidate["finishReason"], candidate["groundingMetadata"]) == ("STOP", {"webSearchQueries": ["q"]})
    assert found["usageMetadata"]["aurora"] == 1


def test_gemini_frame_that_is_no_strict_json_is_put_right() -> None:
    events = decoded(b'data: {"candidates":[{"content":{"parts":[{"text":"a\x07\\u2028"}]}}],"x":NaN}\n\n')
    [frame] = [event.rest for event in events if isinstance(event, Verbatim)]
    assert json.loads(frame)["x"] is None


def test_gemini_prompt_that_was_blocked_is_told_as_it_was() -> None:
    events = decoded(google({"promptFeedback": {"blockReason": "SAFETY"}}))
    assert [json.loads(e.rest) for e in events if isinstance(e, Verbatim)] == [
        {"promptFeedback": {"blockReason": "SAFETY"}}
    ]
    assert [e.reason for e in events if isinstance(e, Finished)][-1:] == ["content_filter"]


def test_gemini_error_in_a_stream_is_no_frame() -> None:
    events = decoded(google(GROUNDED, {"error": {"code": 503, "status": "UNAVAILABLE", "message": "Busy."}}))
    assert sum(isinstance(event, Verbatim) for event in events) == 1
    assert [event.error.status for event in events if isinstance(event, Failed)] == [503]


def test_gemini_request_of_another_api_still_gets_neutral_events() -> None:
    assert asking().api == "openai-chat"
    assert not any(isinstance(event, Verbatim) for event in decoded(STREAM, verbatim=False))


def test_gemini_schema_of_a_tool_has_an_object_at_its_root() -> None:
    """Google refuses the whole request for one tool whose JSON Schema has none, as clients of MCP make them."""
    whole = {"type": "object", "properties": {"x": {"type": "string"}}}
    for spelling in (
        ("functionDeclarations", "parametersJsonSchema"),
        ("function_declarations", "parameters_json_schema"),
    ):
        functions, schema = spelling
        tools = [
            {functions: [{"name": "f", schema: {"properties": whole["properties"]}}, {"name": "g", schema: whole}]}
        ]
        told = sent(contents=[HI], tools=tools)["tools"]
        assert [function[schema] for function in told[0][functions]] == [whole, whole]
