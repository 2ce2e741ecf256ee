"""Recorded shapes of chat streams: each `cases/openai_chat/NAME.bytes` with the events that it must give beside it."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from asking import asking
from counts import NOTHING, billed
from hypothesis import given, settings
from hypothesis import strategies as st

from infron.catalog.definitions import Provider
from infron.errors import InfronError, ProviderError, ProviderUnavailable
from infron.events import Done, Event, Failed, Finished, UsageReported, Verbatim
from infron.wires.openai import chat as openai_chat
from infron.wires.openai.chat.delta import fields_of

CASES = Path(__file__).parents[1] / "cases" / "openai_chat"
NAMES = sorted(path.stem for path in CASES.glob("*.bytes"))


def provider(case: dict[str, Any]) -> Provider:
    return msgspec.convert({"id": "mock", "name": "Mock", "quirks": case.get("quirks", {})}, Provider)


def decoded(pieces: list[bytes], row: Provider, whole: bool = False, key: str = "") -> list[Event]:
    decoder = openai_chat.Decoder(row, key=key)
    if whole:
        return decoder.whole(b"".join(pieces))
    events = [event for piece in pieces for event in decoder.feed(piece)] + decoder.close()
    return sorted(events, key=lambda event: isinstance(event, Done))  # but for Done, after which counts may come


def shown(events: list[Event]) -> list[Any]:
    """Events as JSON values; the fields of a chunk as their text, byte for byte."""
    return [_shown(event) for event in events]


def _shown(event: Event) -> Any:
    match event:
        case Verbatim(_, content, text):
            texts = {name: bytes(raw).decode() for name, raw in fields_of(event).items()}
            return {"chunk": texts, "content": content, "text": text}
        case UsageReported(_, raw):
            return {"usage": raw}
        case Finished(reason):
            return {"finished": reason}
        case Done():
            return "done"
        case Failed(error):
            assert error.provider == "mock"
            return {"failed": [error.status, error.error_type, error.message]}


def case_of(name: str) -> tuple[bytes, dict[str, Any]]:
    return (CASES / f"{name}.bytes").read_bytes(), json.loads((CASES / f"{name}.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_gives_its_events_however_it_is_cut(name: str) -> None:
    data, case = case_of(name)
    row, whole = provider(case), case.get("whole", False)
    assert shown(decoded([data], row, whole)) == case["events"]
    pieces = [data[i : i + 1] for i in range(len(data))]
    assert shown(decoded(pieces, row, whole)) == case["events"]
    chance = random.Random(name)
    for _ in range(10):
        edges = [0, *sorted(chance.randrange(len(data) + 1) for _ in range(5)), len(data)]
        pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
        assert shown(decoded(pieces, row, whole)) == case["events"]


@pytest.mark.parametrize("name", NAMES)
def test_a_client_of_another_api_gets_no_frame_and_each_end_once(name: str) -> None:
    data, case = case_of(name)
    decoder = openai_chat.Decoder(provider(case), verbatim=False)
    events = decoder.whole(data) if case.get("whole") else decoder.feed(data) + decoder.close()
    assert not [event for event in events if isinstance(event, Verbatim)]
    ends = [event.choice for event in events if isinstance(event, Finished) and not event.told]
    assert len(ends) == len(set(ends))
    assert bool(ends) == any("finished" in event for event in case["events"] if isinstance(event, dict))
    kept = [event for event in shown(events) if event and "finished" not in event]
    assert kept == [event for event in case["events"] if "chunk" not in event and "finished" not in event]


ENDED = [name for name in NAMES if set(map(str, case_of(name)[1]["events"][-1])) & {"d", "failed"}]


@pytest.mark.parametrize("name", [name for name in ENDED if not case_of(name)[1].get("whole")])
@pytest.mark.parametrize("trailing", [b"\n\ndata: {}\n\n", b"data: {\n\n", b"\xff", b'\n\n{"error": "late"}\n'])
def test_nothing_that_follows_the_end_changes_it(name: str, trailing: bytes) -> None:
    data, case = case_of(name)
    if name == "error_bare_json":
        trailing = b"\n" + trailing
    assert shown(decoded([data + trailing], provider(case))) == case["events"]
    assert shown(decoded([data, trailing], provider(case))) == case["events"]


# ---- what the client gets


def encoded(events: list[Event]) -> list[dict[str, msgspec.Raw]]:
    encoder = openai_chat.Encoder("gen-1", 123, asking(model="author/slug"))
    frames = [encoder.encode(event) for event in events if isinstance(event, Verbatim)]
    for frame in frames:
        assert frame.startswith(b"data: {")
        assert frame.endswith(b"}\n\n")
        assert frame.count(b"\n") == 2
        assert b"\r" not in frame
    return [msgspec.json.decode(frame[6:], type=dict[str, msgspec.Raw]) for frame in frames]


OWN = ("id", "object", "created", "model")


@pytest.mark.parametrize("name", NAMES)
def test_client_gets_the_frames_that_stand_beside_the_case(name: str) -> None:
    data, case = case_of(name)
    row, whole = provider(case), case.get("whole", False)
    pieces = [data[i : i + 1] for i in range(len(data))]
    for reads in ([data], [data] if whole else pieces):
        frames = [json.loads(msgspec.json.encode(frame)) for frame in encoded(decoded(reads, row, whole))]
        assert [{name: frame[name] for name in frame if name not in OWN} for frame in frames] == case["client"]


def assert_readable(frames: list[dict[str, Any]]) -> None:
    """What client libraries rely on, whichever host the frames are of."""
    roles: list[int] = []
    ended: list[int] = []
    calls: dict[int, list[str]] = {}
    entries: dict[tuple[int, str], int] = {}
    for frame in frames:
        assert frame["object"] == "chat.completion.chunk"
        assert frame["choices"]
        for choice in frame["choices"]:
            index, delta, finish = choice["index"], choice["delta"], choice.get("finish_reason")
            assert isinstance(delta, dict)
            assert finish in (None, "stop", "length", "tool_calls", "content_filter", "function_call")
            assert index not in ended, "something follows the end of a choice"
            roles += [index] * ("role" in delta and bool(delta["role"]))
            ended += [index] * (finish is not None)
            assert isinstance(delta.get("content"), str | None)
            for call in delta.get("tool_calls") or ():
                known = calls.setdefault(index, [])
                place, part = call["index"], call.get("function") or call.get("custom") or {}
                assert 0 <= place <= len(known)
                if place == len(known):
                    assert part["name"]
                    known.append(call["id"])
                else:
                    assert call.get("id") is None
                    assert part.get("name") is None
                assert call.get("type") != ""
                assert isinstance(part.get("arguments", part.get("input", "")), str)
            for kind in ("annotations", "images", "reasoning_details"):
                for entry in delta.get(kind) or ():
                    assert entry["index"] <= entries.get((index, kind), 0)
                    entries[index, kind] = max(entries.get((index, kind), 0), entry["index"] + 1)
    assert len(roles) == len(set(roles)), "a role is told twice"
    assert all(len(ids) == len(set(ids)) for ids in calls.values())
    assert all(id for ids in calls.values() for id in ids)


@pytest.mark.parametrize("name", NAMES)
def test_client_libraries_can_read_every_frame(name: str) -> None:
    data, case = case_of(name)
    frames = encoded(decoded([data], provider(case), case.get("whole", False)))
    assert_readable([json.loads(msgspec.json.encode(frame)) for frame in frames])


UNCHANGED = [name for name in NAMES if not case_of(name)[1].keys() & {"quirks", "whole", "repaired"}]


@pytest.mark.parametrize("name", UNCHANGED)
def test_choices_that_are_right_arrive_byte_for_byte(name: str) -> None:
    data, case = case_of(name)
    lines = [line.removeprefix(b"data:").strip() for line in data.splitlines() if line.startswith(b"data:")]
    sent = []
    for line in lines:
        try:
            sent.append(bytes(msgspec.json.decode(line, type=dict[str, msgspec.Raw]).get("choices", b"")))
        except msgspec.DecodeError:
            continue
    received = [bytes(frame["choices"]) for frame in encoded(decoded([data], provider(case)))]
    ours = [choices for choices in received if choices not in sent]
    assert all(b'"delta":{"role":"assistant","content":""}' in choices for choices in ours)  # a first role, supplied
    assert all(received.count(choices) <= sent.count(choices) for choices in received if choices in sent)


@pytest.mark.parametrize("name", NAMES)
def test_root_members_are_ours_or_unchanged(name: str) -> None:
    data, case = case_of(name)
    for frame in encoded(decoded([data], provider(case), case.get("whole", False))):
        assert bytes(frame["id"]) == b'"gen-1"'
        assert bytes(frame["created"]) == b"123"
        assert bytes(frame["model"]) == b'"author/slug"'
        assert bytes(frame["object"]) == b'"chat.completion.chunk"'
        assert not frame.keys() & {"usage", "error"}
        for field, raw in frame.items():
            if field not in ("id", "created", "model", "object", "choices", "x_groq"):
                assert bytes(raw) in data


@pytest.mark.parametrize("name", NAMES)
def test_what_is_encoded_is_decoded_to_the_same_chunks(name: str) -> None:
    data, case = case_of(name)
    chunks = [
        event for event in decoded([data], provider(case), case.get("whole", False)) if isinstance(event, Verbatim)
    ]
    encoder = openai_chat.Encoder("gen-1", 123, asking(model="author/slug"))
    stream = b"".join([*map(encoder.encode, chunks), encoder.close()])
    again = [event for event in decoded([stream], provider({})) if isinstance(event, Verbatim)]
    assert shown([*again]) == [
        {**chunk, "chunk": {**chunk["chunk"], "id": '"gen-1"', "created": "123", "model": '"author/slug"'}}
        for chunk in shown([*chunks])
    ]


def test_the_frames_that_are_ours() -> None:
    encoder = openai_chat.Encoder("gen-1", 123, asking(model='a"b'))
    assert encoder.keep_alive() == b": Infron AI PROCESSING\n\n"
    assert encoder.close() == b"data: [DONE]\n\n"
    frame, done, rest = encoder.fail(ProviderUnavailable("It broke.\nNow.", provider="mock")).split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    error = json.loads(frame.removeprefix(b"data: "))
    assert error == {
        "id": "gen-1",
        "object": "chat.completion.chunk",
        "created": 123,
        "model": 'a"b',
        "error": {
            "code": "provider_unavailable",
            "message": "Server error: It broke.\nNow.",
            "type": "server_error",
            "param": None,
            "metadata": {"error_type": "provider_unavailable", "status": 502, "provider": "mock"},
        },
    }
    usage = json.loads(encoder.usage(billed(prompt=1)).removeprefix(b"data: "))
    assert usage["choices"] == [{"index": 0, "delta": {}, "finish_reason": None}]
    assert (usage["usage"]["prompt_tokens"], usage["cost"], usage["provider"]) == (1, None, "mock")


# ---- whatever comes, only our error


PIECES = st.sampled_from(
    [
        b"data: ",
        b"\n\n",
        b"\n",
        b"\r",
        b"{",
        b"}",
        b"[",
        b"]",
        b'"choices":',
        b'"delta":',
        b'"content":',
        b'"x"',
        b"null",
        b":",
        b",",
        b"[DONE]",
        b'{"choices":[{"index":0,"delta":{"content":"x"}}]}',
        b'{"error":',
        b'{"error":{"code":"\\ud800"}}',
        b'"finish_reason":"stop"',
        b'"usage":{}',
        b"\xff",
        b"\\ud800",
        b"1e999",
        b"-",
        b"event: error\n",
        b'{"choices":[null]}',
        b'{"choices":[{"delta":{"tool_calls":[null,{"function":{"name":7}}]}}]}',
        b'{"usage":7,"choices":null}',
        b'{"detail":{}}',
        b'{"choices":[{"delta":{"content":[null,{"type":"thinking","thinking":7},[]]}}],"x":{"y":[]}}',
        b'{"x":7}',
        b'{"x":{"y":"z"}}',
    ]
)
ROWS = [
    provider({}),
    provider(
        {
            "quirks": {
                "answer": {
                    "usage_path": "x.y",
                    "error_path": "x.z",
                    "error_message_path": "x.w",
                    "drop_choice": ["message"],
                    "finish": {"": "stop"},
                    "error_finish": ["bad"],
                    "skip_frames": ["p"],
                    "drop": ["q"],
                }
            }
        }
    ),
]


@settings(deadline=None, max_examples=300)
@given(st.lists(PIECES | st.binary(max_size=8), max_size=14), st.sampled_from(ROWS), st.booleans())
def test_garbage_raises_only_our_error(pieces: list[bytes], row: Provider, whole: bool) -> None:
    encoder = openai_chat.Encoder("gen-1", 1, asking(model="m"))
    folder = openai_chat.Accumulator("gen-1", 1, asking())
    try:
        for event in decoded(pieces, row, whole):
            if isinstance(event, Failed):
                openai_chat.render_error(event.error)
            elif isinstance(event, Verbatim):
                folder.add(event)
                encoder.encode(event)
    except InfronError as error:
        openai_chat.render_error(error)
    folder.answer(NOTHING)


def test_a_whole_answer_that_is_neither_a_stream_nor_json_is_our_error() -> None:
    for body in (b"<html>", b"", b"hello", b"\xff"):
        with pytest.raises(ProviderUnavailable):
            decoded([body], provider({}), whole=True)


def test_a_frame_over_the_bound_names_the_provider() -> None:
    decoder = openai_chat.Decoder(provider({}), 1000)
    with pytest.raises(ProviderUnavailable) as raised:
        decoder.feed(b"data: " + b"x" * 2000)
    assert raised.value.provider == "mock"


def test_an_error_in_a_stream_never_repeats_our_key() -> None:
    for frame in (
        b'data: {"error": {"message": "key sk-secret is over its limit", "code": "sk-secret"}}\n\n',
        b'{"detail": "sk-secret"}\n',
        b"event: error\ndata: sk-secret\n\n",
    ):
        (failed,) = decoded([frame], provider({}), key="sk-secret")
        assert isinstance(failed, Failed)
        assert isinstance(failed.error, ProviderError)
        assert b"sk-secret" not in openai_chat.render_error(failed.error)


def test_the_upstream_id_is_the_first_that_is_not_empty() -> None:
    decoder = openai_chat.Decoder(provider({}))
    decoder.feed(b'data: {"id":"","choices":[]}\n\ndata: {"id":"a","choices":[]}\n\ndata: {"id":"b","choices":[]}\n\n')
    assert decoder.upstream_id == "a"


def test_an_answer_is_not_finished_while_a_choice_that_came_later_speaks() -> None:
    decoder = openai_chat.Decoder(provider({}))
    decoder.feed(b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n')
    assert decoder.finished
    decoder.feed(b'data: {"choices":[{"index":1,"delta":{"content":"b"}}]}\n\n')
    assert not decoder.finished
    decoder.feed(b'data: {"choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}\n\n')
    assert decoder.finished


def test_the_tier_is_the_one_that_the_frames_say_was_served() -> None:
    frame = (
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","service_tier":"flex","choices":['
    )
    word, end = b'{"index":0,"delta":{"content":"a"}}]}\n\n', b'{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    counts = b'{"prompt_tokens":1,"completion_tokens":1}'
    for last in (frame + b'],"usage":' + counts + b"}\n\n", b'data: {"choices":[],"usage":' + counts + b"}\n\n"):
        events = decoded([frame + word, frame + word, frame + end, last], Provider(id="mock", name="Mock"))
        assert [event.tier for event in events if isinstance(event, UsageReported)] == ["flex"]


# ---- thinking


THOUGHTS = {
    "one name": b'{"role":"assistant","reasoning_content":"a \\"delta\\":{ \\u00e9"}',
    "the other": b'{"reasoning":"a \\"delta\\":{ \\u00e9"}',
    "beside null": b'{"content":null,"reasoning_content":"a \\"delta\\":{ \\u00e9","reasoning":null}',
    "with spaces": b'{ "reasoning" : "a \\"delta\\":{ \\u00e9" }',
    "both": b'{"reasoning":"a \\"delta\\":{ \\u00e9","reasoning_content":"a \\"delta\\":{ \\u00e9"}',
}


@pytest.mark.parametrize("delta", THOUGHTS.values(), ids=THOUGHTS)
@pytest.mark.parametrize("between", [b'"delta":', b'"delta": '])
def test_thought_stands_under_both_names(delta: bytes, between: bytes) -> None:
    # aider and Vibe read `reasoning_content` alone, opencode, Qwen Code, Cline and pi `reasoning` alone.
    root = b'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,'
    frame = root + between + delta + b',"finish_reason":null}]}\n\n'
    deltas = [
        msgspec.json.decode(frame["choices"])[0]["delta"]
        for frame in encoded(decoded([frame, frame, frame], provider({})))
    ]
    thinking = [told for told in deltas if told != {"role": "assistant", "content": ""}]  # a first role, supplied
    assert len(thinking) == 3
    for told in thinking:
        assert (told["reasoning"], told["reasoning_content"]) == ('a "delta":{ \u00e9',) * 2


# ---- fields of the root


def test_null_members_of_a_chunk_stay_out() -> None:
    # OpenRouter's libraries refuse a chunk whose `system_fingerprint` is null, as some hosts send it.
    root = b'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m","system_fingerprint":null,'
    frames = [
        root + b'"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n',
        root + b'"choices":[{"index":0,"delta":{"content":"b"},"finish_reason":null}]}\n\n',
        root + b'"choices":[{"index":0,"delta":{"content":["c"]},"finish_reason":"stop"}]}\n\n',
        b"data: [DONE]\n\n",
    ]
    told = encoded(decoded(frames, provider({})))
    assert "".join(msgspec.json.decode(frame["choices"])[0]["delta"].get("content", "") for frame in told) == "abc"
    assert all(frame.keys() == {*OWN, "choices"} for frame in told)
