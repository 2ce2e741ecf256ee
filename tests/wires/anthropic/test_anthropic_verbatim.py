"""A host of the Messages API in front of a client that speaks it: frames as they came, metered, and put right."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from asking import asking
from counts import NOTHING

from infron.catalog.definitions import Provider
from infron.events import Done, Event, Failed, Finished, TextDelta, UsageReported, Verbatim
from infron.wires import anthropic, sse
from infron.wires.decoding import made_id

CASES = Path(__file__).parents[1] / "cases" / "anthropic"
NAMES = sorted(path.stem for path in CASES.glob("*.bytes"))
MOCK = Provider(id="mock", name="Mock", wire="anthropic")


def case_of(name: str) -> tuple[bytes, dict[str, Any]]:
    return (CASES / f"{name}.bytes").read_bytes(), json.loads((CASES / f"{name}.json").read_text())


def decoded(data: bytes, *, whole: bool = False, verbatim: bool = True, cuts: list[int] | None = None) -> list[Event]:
    decoder = anthropic.Decoder(MOCK, verbatim=verbatim)
    if whole:
        return decoder.whole(data)
    edges = [0, *(cuts or []), len(data)]
    return [event for a, b in pairwise(edges) for event in decoder.feed(data[a:b])] + decoder.close()


def told(events: list[Event]) -> list[dict[str, Any]]:
    """The frames that a client gets, after the shape that its library needs was checked."""
    encoder = anthropic.Encoder("gen-1", 1, asking(model="our/model"))
    data = b"".join(encoder.encode(event) for event in events if isinstance(event, Verbatim))
    frames = []
    for block in data.decode().split("\n\n")[:-1]:
        name, line = block.split("\n")
        frame = json.loads(line.removeprefix("data: "))
        assert name == f"event: {frame['type']}"
        frames.append(frame)
    return frames


def frame(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


START = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": [], "stop_reason": None,
         "stop_sequence": None, "usage": {"input_tokens": 9, "output_tokens": 1}}  # fmt: skip
END = frame("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 5})
STOP = frame("message_stop")


def answer(*frames: bytes) -> bytes:
    return b"".join([frame("message_start", message=START), *frames, END, STOP])


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> bytes:
    frames = [frame("content_block_delta", index=index, delta=delta) for delta in deltas]
    opened = frame("content_block_start", index=index, content_block=start)
    return b"".join([opened, *frames, frame("content_block_stop", index=index)])


SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"encrypted_content": "Eo" * 99}]}
RICH = answer(
    block(0, {"type": "thinking", "thinking": "", "signature": ""}, {"type": "thinking_delta", "thinking": "Hm."},
          {"type": "signature_delta", "signature": "c2ln"}),
    block(1, SEARCH, {"type": "input_json_delta", "partial_json": '{"query":'},
          {"type": "input_json_delta", "partial_json": '"x"}'}),
    block(2, FOUND),
    block(3, {"type": "hologram", "depth": 1.50}, {"type": "hologram_delta", "light": "ab"},
          {"type": "hologram_delta", "light": "cd"}),
    block(4, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Höher\u2028"},
          {"type": "citations_delta", "citation": {"type": "char_location", "cited_text": "h"}}),
    frame("aurora", colour="green"),
)  # fmt: skip


def test_messages_frames_go_on_as_they_came_but_for_id_and_model() -> None:
    given = [json.loads(block.partition("data: ")[2]) for block in RICH.decode().split("\n\n")[:-1]]
    given[0]["message"] |= {"id": "gen-1", "model": "our/model"}
    assert told(decoded(RICH)) == given[:-1]  # the end is ours to say
    raw = b"".join(
        anthropic.Encoder("gen-1", 1, asking(model="m")).encode(e) for e in decoded(RICH) if isinstance(e, Verbatim)
    )
    assert b'"depth": 1.5' in raw  # byte for byte, with its spaces
    assert "\u2028" not in raw.decode()


def test_messages_frames_are_metered_as_any_other_answer() -> None:
    events = decoded(RICH)
    neutral = decoded(RICH, verbatim=False)
    text = "".join(event.text for event in events if isinstance(event, Verbatim))
    assert text == "".join(event.text for event in neutral if not isinstance(event, UsageReported | Done))
    assert [e for e in events if isinstance(e, UsageReported)] == [e for e in neutral if isinstance(e, UsageReported)]
    assert events[-2:] == [Finished("stop", "end_turn", told=True), Done()]
    first = [event.content for event in events if isinstance(event, Verbatim)]
    assert first[:3] == [False, False, True]  # the message and its first block commit to nothing
    found = next(event for event in events if isinstance(event, Verbatim) and b"srvtoolu_1" in event.rest)
    assert found.content  # but what the provider's own tools do is an answer


def test_a_whole_message_is_its_frames_folded() -> None:
    accumulator = anthropic.Accumulator("gen-1", 1, asking(model="our/model"))
    for event in decoded(RICH):
        if isinstance(event, Verbatim):
            accumulator.add(event)
    message = json.loads(accumulator.answer(NOTHING))
    assert message["content"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {**SEARCH, "input": {"query": "x"}},
        FOUND,
        {"type": "hologram", "depth": 1.5, "light": "abcd"},
        {"type": "text", "text": "Höher\u2028", "citations": [{"type": "char_location", "cited_text": "h"}]},
    ]
    assert (message["id"], message["model"], message["stop_reason"]) == ("gen-1", "our/model", "end_turn")
    assert message["usage"] == {"input_tokens": 9, "output_tokens": 5}


@pytest.mark.parametrize("name", NAMES)
def test_recorded_streams_say_the_same_to_a_client_of_their_own_api(name: str) -> None:
    data, case = case_of(name)
    whole = case.get("whole", False)
    events, neutral = decoded(data, whole=whole), decoded(data, whole=whole, verbatim=False)
    kinds = (UsageReported, Done)
    assert [e for e in events if isinstance(e, kinds)] == [e for e in neutral if isinstance(e, kinds)]
    assert [e.error.message for e in events if isinstance(e, Failed)] == [
        e.error.message for e in neutral if isinstance(e, Failed)
    ]
    ends = [(e.reason, e.native) for e in neutral if isinstance(e, Finished)]
    assert [(e.reason, e.native, e.told) for e in events if isinstance(e, Finished)] == [(*end, True) for end in ends]
    again = b"".join(b"data: %b\n\n" % json.dumps(frame).encode() for frame in told(events))
    if ends and name != "json_by_tool":
        read = decoded(again + STOP, verbatim=False)
        texts = [[e for e in found if isinstance(e, TextDelta)] for found in (read, neutral)]
        assert texts[0] == texts[1]
    if not whole:
        chance = random.Random(name)
        cuts = sorted(chance.randrange(len(data) + 1) for _ in range(20))
        assert told(decoded(data, cuts=cuts)) == told(events)


def test_an_answer_in_one_piece_is_streamed_to_a_client_of_the_same_api() -> None:
    content = [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "text", "text": "Hi", "citations": [{"type": "char_location"}]},
        SEARCH,
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
    ]
    message = {**START, "content": content, "stop_reason": "tool_use", "usage": {"input_tokens": 9, "output_tokens": 5}}
    events = decoded(json.dumps(message).encode(), whole=True)
    frames = told(events)
    assert [frame["type"] for frame in frames][:2] == ["message_start", "content_block_start"]
    assert frames[0]["message"]["content"] == []
    accumulator = anthropic.Accumulator("gen-1", 1, asking(model="our/model"))
    for event in events:
        if isinstance(event, Verbatim):
            accumulator.add(event)
    assert json.loads(accumulator.answer(NOTHING))["content"] == content


def test_frames_have_the_members_that_libraries_read_without_looking() -> None:
    bare = {"id": "msg_1", "model": "x"}
    data = b"".join(
        [
            frame("message_start", message=bare),
            frame("message_start", message=bare),  # it is said twice at times
            frame("content_block_start", index=0, content_block={"type": "text"}),
            frame("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hi"}),
            frame("content_block_stop", index=0),
            frame("content_block_start", index=1, content_block={"type": "tool_use", "name": "f"}),
            frame("content_block_stop", index=1),
            b'event: message_delta\ndata: {"delta":{"stop_reason":"stop"}}\n\n',
            b"data: [DONE]\n\n",
        ]
    )
    frames = told(decoded(data))
    assert [frame["type"] for frame in frames].count("message_start") == 1
    message = frames[0]["message"]
    assert (message["type"], message["role"], message["content"]) == ("message", "assistant", [])
    assert message["usage"] == {"input_tokens": 0, "output_tokens": 0}
    assert frames[1]["content_block"] == {"type": "text", "text": ""}
    id = made_id("", "msg_1", 0, 0, "f")
    assert frames[4]["content_block"] == {"type": "tool_use", "name": "f", "input": {}, "id": id}
    # A host that says the chat API's word for an end, and forgets its calls.
    assert frames[-1] == {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 0},
    }


def test_a_stream_without_its_beginning_gets_one() -> None:
    data = block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hi"}) + END + STOP
    assert told(decoded(data))[0]["type"] == "message_start"


def test_json_that_is_nearly_right_is_put_right() -> None:
    data = answer(block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "A"}))
    data = data.replace(b'"A"', b'"a\tb\\ud83d"')
    (said,) = [frame["delta"]["text"] for frame in told(decoded(data)) if frame["type"] == "content_block_delta"]
    assert said == "a\tb\ufffd"


def test_sse_lines_of_a_frame_are_one() -> None:
    data = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,\ndata: "delta":{}}\n\n'
    encoder = anthropic.Encoder("gen-1", 1, asking(model="m"))
    *_, event = [event for event in decoded(data) if isinstance(event, Verbatim)]
    sent = encoder.encode(event).split(b"\n\n")[-2]
    assert len(sent.split(b"\n")) == 2
    (read,) = sse.Decoder().feed(sent + b"\n\n")
    assert json.loads(read.data)["delta"] == {}
