"""Replicate: predictions of a chat request, from being made to being counted, and where our key may go meanwhile."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from infron.catalog.load import load_catalog
from infron.errors import ProviderError, ProviderMisconfigured, Unsupported
from infron.events import Done, Event, Failed, Finished, Onward, Started, TextDelta, UsageReported
from infron.money import Usage
from infron.request import Outgoing
from infron.wires import PROVIDER_WIRES
from infron.wires.openai.chat.request import parse
from infron.wires.replicate import encode_request, parse_error
from infron.wires.replicate.decoder import MOST_BARREN, MOST_LATE, Decoder, is_trusted

ROW = load_catalog({}, {}, {}, wires=PROVIDER_WIRES).providers["replicate"]
LLAMA = "meta/meta-llama-3-70b-instruct"
ID = "gm3qorzdhgbfurvjtvhg6dckhu"
STREAM = "https://stream-b.svc.ric1.c.replicate.net/v1/streams/7s4pmisef625"
PIXEL = "data:image/png;base64,AAAA"
TOOL = {"type": "function", "function": {"name": "now"}}


def outgoing(provider_model: str = LLAMA, **fields: Any) -> Outgoing:
    body = {"model": f"replicate/{provider_model}", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return encode_request(parse(json.dumps(body).encode(), []), ROW, provider_model, False)


def given(provider_model: str = LLAMA, **fields: Any) -> Any:
    body = json.loads(outgoing(provider_model, **fields).body)
    assert body["stream"] is True
    return body["input"]


def turns(*texts: str) -> list[dict[str, Any]]:
    return [{"role": role, "content": text} for role, text in zip(itertools.cycle(("user", "assistant")), texts)]


# ---- where a prediction is made


@pytest.mark.parametrize(
    ("provider_model", "path", "version"),
    [
        (LLAMA, f"/models/{LLAMA}/predictions", None),
        ("owner/name:" + "0a" * 32, "/predictions", "owner/name:" + "0a" * 32),
        ("0a" * 32, "/predictions", "0a" * 32),
        ("deployments/acme/chat", "/deployments/acme/chat/predictions", None),
        ("ow?ner/na#me", "/models/ow%3Fner/na%23me/predictions", None),
    ],
)
def test_the_name_of_a_model_says_where_its_predictions_are_made(
    provider_model: str, path: str, version: str | None
) -> None:
    made = outgoing(provider_model)
    assert (made.method, made.url) == ("POST", path)
    assert json.loads(made.body).get("version") == version


@pytest.mark.parametrize("provider_model", ["", "llama", "../account", "a/..", "a/b/c", "/a", "deployments/./x"])
def test_a_name_that_is_no_model_leads_nowhere(provider_model: str) -> None:
    with pytest.raises(Unsupported) as caught:
        outgoing(provider_model)
    assert caught.value.param == "model"


# ---- its input


def test_one_turn_is_the_prompt_as_it_is() -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi  there\n"}]
    assert given(messages=messages) == {"prompt": "Hi  there\n", "system_prompt": "Be brief."}


def test_several_turns_are_told_one_after_the_other() -> None:
    assert given(messages=turns("Hi", "Hello.", "More")) == {
        "prompt": "User: Hi\n\nAssistant: Hello.\n\nUser: More\n\nAssistant:"
    }


def test_an_answer_that_was_begun_is_gone_on_with() -> None:
    assert given(messages=turns("Hi", "Once upon"))["prompt"] == "User: Hi\n\nAssistant: Once upon"


def test_a_model_without_a_system_prompt_has_it_before_the_prompt() -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert given("deepseek-ai/deepseek-v3.1", messages=messages) == {"prompt": "Be brief.\n\nHi"}
    assert given("google/gemini-2.5-flash", messages=messages) == {"prompt": "Hi", "system_instruction": "Be brief."}
    assert given(messages=messages[:1]) == {"prompt": "Be brief."}


def test_models_that_take_messages_get_the_turns_too() -> None:
    values = given("openai/gpt-5-mini", messages=turns("Hi", "Hello.", "More"))
    assert values["messages"] == turns("Hi", "Hello.", "More")
    assert values["prompt"].startswith("User: Hi")
    assert "messages" not in given("openai/gpt-oss-120b", messages=turns("Hi", "Hello.", "More"))
    assert "messages" not in given("openai/gpt-5-mini")


@pytest.mark.parametrize(
    ("provider_model", "name", "value"),
    [
        ("openai/gpt-5-mini", "image_input", [PIXEL]),
        ("google/gemini-2.5-flash", "images", [PIXEL]),
        ("anthropic/claude-4.5-sonnet", "image", PIXEL),
        ("owner/unknown:1", "image", PIXEL),
    ],
)
def test_pictures_go_where_the_models_of_an_owner_take_them(provider_model: str, name: str, value: Any) -> None:
    parts = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    values = given(provider_model, messages=[{"role": "user", "content": parts}])
    assert values == {"prompt": "What?", name: value}


def test_more_pictures_than_a_model_takes_are_refused() -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    both = [{"role": "user", "content": [picture, picture]}]
    with pytest.raises(Unsupported, match="one image"):
        given("anthropic/claude-4.5-sonnet", messages=both)
    with pytest.raises(Unsupported, match="no images"):
        given("deepseek-ai/deepseek-v3.1", messages=both)
    assert len(given("openai/gpt-5-mini", messages=both)["image_input"]) == 2


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}]},
            "audio",
        ),
    ],
)
def test_content_that_no_input_can_carry_is_refused_by_its_place(message: dict[str, Any], what: str) -> None:
    with pytest.raises(Unsupported, match=what) as caught:
        given(messages=[*turns("Hi"), message])
    assert caught.value.param == "messages[1]"


def test_calls_and_results_are_told_as_text() -> None:
    # A session that had called tools elsewhere could not go on here.
    image = {"type": "image_url", "image_url": {"url": "https://x/a.png"}}
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    result = {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "r"}, image]}
    found = given(messages=[*turns("Hi"), {"role": "assistant", "content": None, "tool_calls": [call]}, result])
    assert found["prompt"].split("\n\n") == [
        "User: Hi",
        'Assistant: [Called the tool f with {"x":1}]',
        "User: [The tool f answered: r]",
        "Assistant:",
    ]
    assert "https://x/a.png" in found.values()


def test_tools_that_no_model_can_be_told_of_are_left_out_by_name() -> None:
    assert given(tools=[TOOL], tool_choice="required") == {"prompt": "Hi"}
    assert outgoing(tools=[TOOL], tool_choice="required").dropped == ("tool_choice", "tools")


@pytest.mark.parametrize(
    ("provider_model", "name"),
    [
        (LLAMA, "max_tokens"),
        ("meta/llama-2-70b-chat", "max_new_tokens"),
        ("openai/gpt-5-mini", "max_completion_tokens"),
        ("openai/gpt-oss-120b", "max_tokens"),
        ("google/gemini-2.5-flash", "max_output_tokens"),
    ],
)
def test_the_limit_has_the_name_that_the_models_of_an_owner_give_it(provider_model: str, name: str) -> None:
    assert given(provider_model, max_completion_tokens=99) == {"prompt": "Hi", name: 99}


def test_sampling_keeps_its_names_and_stops_are_one_string() -> None:
    values = given(temperature=0.5, top_p=0.9, top_k=40, seed=1, presence_penalty=0.1, stop=["</s>", "END"])
    assert values == {
        "prompt": "Hi",
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "seed": 1,
        "presence_penalty": 0.1,
        "stop_sequences": "</s>,END",
    }


def test_a_stop_with_a_comma_cannot_be_said_and_is_named() -> None:
    assert "stop_sequences" not in given(stop=["a,b"])
    assert outgoing(stop=["a,b"]).dropped == ("stop",)
    assert outgoing(stop=["a"]).dropped == ()


@pytest.mark.parametrize(
    ("provider_model", "reasoning", "expected"),
    [
        ("openai/gpt-5-mini", {"effort": "low"}, {"reasoning_effort": "low"}),
        ("openai/gpt-5-mini", {"effort": "max"}, {"reasoning_effort": "high"}),
        ("anthropic/claude-4.5-sonnet", {"effort": "high"}, {"extended_thinking": True}),
        (
            "anthropic/claude-4.5-sonnet",
            {"max_tokens": 9},
            {"extended_thinking": True, "thinking_budget_tokens": 1024},
        ),
        ("anthropic/claude-4.5-sonnet", {"effort": "none"}, {"extended_thinking": False}),
        ("google/gemini-2.5-flash", {"max_tokens": 9}, {"thinking_budget": 9}),
        ("google/gemini-2.5-flash", {"effort": "none"}, {"thinking_budget": 0}),
        ("google/gemini-2.5-flash", {"effort": "low"}, {"dynamic_thinking": True}),
        (LLAMA, {"effort": "low"}, {}),
    ],
)
def test_reasoning_is_asked_for_in_the_words_of_the_owner(provider_model: str, reasoning: Any, expected: Any) -> None:
    assert given(provider_model, reasoning=reasoning) == {"prompt": "Hi", **expected}
    assert outgoing(provider_model, reasoning=reasoning).dropped == (() if expected else ("reasoning",))


def test_inputs_that_only_one_model_has_are_taken_as_they_are() -> None:
    assert given(temperature=1, input={"temperature": 0.6, "min_tokens": 5}) == {
        "prompt": "Hi",
        "temperature": 0.6,
        "min_tokens": 5,
    }


def test_what_replicate_cannot_take_is_left_out_by_name() -> None:
    fields: dict[str, Any] = {"n": 2, "logprobs": True, "response_format": {"type": "json_object"}, "user": "u"}
    assert outgoing(**fields).dropped == ("logprobs", "n", "response_format", "user")
    assert given(**fields) == {"prompt": "Hi"}


# ---- where our key may go


@pytest.mark.parametrize(
    "url",
    [
        STREAM,
        "https://stream.replicate.com/v1/files/abc",
        "https://streaming.api.replicate.com:443/v1/predictions/abc",
        "https://x.replicate.delivery/abc?a=b",
    ],
)
def test_streams_are_read_from_replicates_own_hosts(url: str) -> None:
    assert is_trusted(url, ROW)


@pytest.mark.parametrize(
    "url",
    [
        "http://stream.replicate.com/v1",
        "https://replicate.com.example.net/v1",
        "https://evilreplicate.com/v1",
        "https://stream.replicate.com@example.net/v1",
        "https://stream.replicate.com:8443/v1",
        "https://example.net/.replicate.com",
        "https://example.net\\.replicate.com/",
        "https://example.net#.replicate.com",
        "https://stream.replicate.com/a b",
        "https://stream.replicate.com/\r\nx: y",
        "https://stream.replicate.com:x/",
        "https://[::1/",
        "https://ｅxample.replicate.com/",
        "//stream.replicate.com/",
        "/v1/streams",
        "",
    ],
)
def test_no_other_address_gets_our_key(url: str) -> None:
    assert not is_trusted(url, ROW)


def test_a_row_trusts_its_own_origin_only_as_a_whole() -> None:
    row = load_catalog({"replicate": {"base_url": "http://127.0.0.1:9901/v1"}}, {}, {}, wires=PROVIDER_WIRES).providers[
        "replicate"
    ]
    assert is_trusted("http://127.0.0.1:9901/x", row)
    assert not is_trusted("http://127.0.0.1:9902/x", row)
    assert not is_trusted("https://127.0.0.1:9901/x", row)


# ---- from being made to being counted


def prediction(status: str, stream: str | None = STREAM, **fields: Any) -> bytes:
    urls = {"get": f"https://api.replicate.com/v1/predictions/{ID}", **({"stream": stream} if stream else {})}
    return json.dumps({"id": ID, "status": status, "urls": urls, "output": None, **fields}).encode()


def output(text: str, id: str = "1690212292:0") -> bytes:
    return f"event: output\nid: {id}\ndata: {text}\n\n".encode()


LOOK = Onward(Outgoing(method="GET", url=f"/predictions/{ID}", headers=(("Accept", "application/json"),)))
COUNTED = {"input_token_count": 11, "output_token_count": 2, "predict_time": 0.5}
USAGE = UsageReported(Usage(prompt=11, completion=2))
DONE = b"event: done\ndata: {}\n\n"


def later(seconds: float) -> Onward:
    request = LOOK.request
    return Onward(Outgoing(method=request.method, url=request.url, headers=request.headers, delay=seconds))


def streaming(last_id: str = "") -> Onward:
    headers = [("Accept", "text/event-stream"), ("Cache-Control", "no-store")]
    if last_id:
        headers.append(("Last-Event-ID", last_id))
    return Onward(Outgoing(method="GET", url=STREAM, headers=tuple(headers)))


def begun() -> Decoder:
    decoder = Decoder(ROW)
    assert decoder.whole(prediction("starting")) == [Started(ID), streaming()]
    return decoder


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_prediction_is_made_streamed_and_counted(size: int) -> None:
    decoder = begun()
    assert decoder.upstream_id == ID
    data = output("Once") + output(" upon") + DONE
    events = [event for at in range(0, len(data), size) for event in decoder.feed(data[at : at + size])]
    assert events == [TextDelta("Once"), TextDelta(" upon"), Finished("stop", "done"), LOOK]
    assert decoder.close() == []
    counted = decoder.whole(prediction("succeeded", output=["Once", " upon"], metrics=COUNTED))
    assert counted == [USAGE, Done()]


def test_it_can_be_told_to_stop_until_it_has_ended() -> None:
    decoder = Decoder(ROW)
    assert decoder.cancel is None
    decoder.whole(prediction("starting"))
    stop = Outgoing(url=f"/predictions/{ID}/cancel", headers=(("Accept", "application/json"),))
    assert decoder.cancel == stop
    decoder.feed(output("Once"))
    assert decoder.cancel == stop
    decoder.feed(DONE)
    assert decoder.cancel is None


@pytest.mark.parametrize(
    "end", [b'event: error\ndata: {"detail":"x"}\n\n', b'event: done\ndata: {"reason":"canceled"}\n\n']
)
def test_what_has_failed_need_not_be_told_to_stop(end: bytes) -> None:
    decoder = begun()
    assert kinds(decoder.feed(end)) == ["Failed"]
    assert decoder.cancel is None


def test_counts_that_come_late_are_looked_for_a_few_times() -> None:
    decoder = begun()
    decoder.feed(DONE)
    for _ in range(MOST_LATE - 1):
        assert decoder.whole(prediction("processing")) == [later(0.5)]
    assert decoder.whole(prediction("processing")) == [Done()]


def test_an_answer_that_was_complete_is_not_spoilt_by_what_is_said_afterwards() -> None:
    decoder = begun()
    decoder.feed(output("Once") + DONE)
    assert decoder.whole(prediction("failed", error="too late")) == [Done()]


def test_what_went_wrong_is_read_from_the_prediction() -> None:
    decoder = begun()
    assert decoder.feed(output("Once") + b'event: done\ndata: {"reason": "error"}\n\n') == [TextDelta("Once"), LOOK]
    events = decoder.whole(prediction("failed", error="CUDA out of memory", metrics=COUNTED))
    assert kinds(events) == ["UsageReported", "Failed"]
    assert isinstance(events[1], Failed)
    assert (events[1].error.message, events[1].error.provider) == ("CUDA out of memory", "replicate")
    assert not decoder.finished


def test_a_stream_that_timed_out_is_taken_up_after_its_last_event() -> None:
    decoder = begun()
    assert decoder.feed(output("Once", "1690212292:7") + b":408: 408 Request Timeout\n\n") == [TextDelta("Once"), LOOK]
    assert decoder.feed(output(" lost")) == []
    assert decoder.whole(prediction("processing", output=["Once"])) == [streaming("1690212292:7")]
    assert decoder.feed(output(" upon", "1690212293:0") + DONE)[:1] == [TextDelta(" upon")]


def test_a_stream_whose_end_was_missed_is_completed_from_the_prediction() -> None:
    decoder = begun()
    decoder.feed(output("Once") + b":408: 408 Request Timeout\n\n")
    events = decoder.whole(prediction("succeeded", output=["Once", " upon", " a time"], metrics=COUNTED))
    assert events == [TextDelta(" upon a time"), Finished("stop", "succeeded"), USAGE, Done()]
    assert decoder.finished


def test_a_stream_that_breaks_off_is_taken_up_again_after_a_moment() -> None:
    decoder = begun()
    decoder.feed(output("Once", "1:1") + b"event: output\nid: 1:2\ndata:  up")
    assert decoder.close() == [later(0.5)]
    assert decoder.whole(prediction("processing")) == [streaming("1:1")]
    assert decoder.feed(output(" upon", "1:2")) == [TextDelta(" upon")]


def test_an_event_id_that_no_header_can_carry_is_not_sent() -> None:
    decoder = begun()
    decoder.feed("event: output\nid: ä\x7f\ndata: Once\n\n".encode() + b":408: 408 Request Timeout\n\n")
    assert decoder.whole(prediction("processing")) == [streaming()]


def test_streams_that_never_say_anything_are_given_up_for_looking() -> None:
    decoder = begun()
    for _ in range(MOST_BARREN - 1):
        assert decoder.close() == [later(0.5)]
        assert decoder.whole(prediction("starting")) == [streaming()]
    decoder.close()
    assert decoder.whole(prediction("processing", output=["Once"])) == [TextDelta("Once"), later(0.5)]


def test_a_model_that_cannot_be_streamed_is_looked_at_until_it_has_ended() -> None:
    decoder = Decoder(ROW)
    assert decoder.whole(prediction("starting", None)) == [Started(ID), later(0.5)]
    assert decoder.whole(prediction("processing", None, output=[])) == [later(0.5)]
    assert decoder.whole(prediction("processing", None, output=["Once", " up"])) == [TextDelta("Once up"), later(0.5)]
    assert decoder.whole(prediction("processing", None, output=["Once", " up"])) == [later(0.5)]
    events = decoder.whole(prediction("succeeded", None, output=["Once", " up", "on"], metrics=COUNTED))
    assert events == [TextDelta("on"), Finished("stop", "succeeded"), USAGE, Done()]


def test_a_status_that_nobody_knows_is_one_of_a_prediction_that_runs() -> None:
    assert Decoder(ROW).whole(prediction("booting", None)) == [Started(ID), later(0.5)]


@pytest.mark.parametrize(
    "metrics",
    [
        None,
        [],
        {"input_token_count": "1", "output_token_count": 2},
        {"input_token_count": 1},
        {"output_token_count": -1, "input_token_count": 1},
    ],
)
def test_counts_that_are_none_are_not_reported(metrics: Any) -> None:
    events = Decoder(ROW).whole(prediction("succeeded", output="Hi", metrics=metrics))
    assert kinds(events) == ["Started", "TextDelta", "Finished", "Done"]


# ---- errors


def test_a_throttled_request_keeps_its_message_and_its_wait() -> None:
    body = b'{"detail":"Request was throttled. Your rate limit resets in ~30s."}'
    error = parse_error(429, [(b"retry-after", b"30")], body, ROW, "", 0.0)
    assert isinstance(error, ProviderError)
    assert (error.error_type, error.retry_after, error.safe_to_retry) == ("rate_limit_exceeded", 30.0, True)
    assert error.message.startswith("Request was throttled")


def test_a_problem_is_told_by_its_detail() -> None:
    body = b'{"title":"Input validation failed","detail":"- input: prompt is required","status":422}'
    error = parse_error(422, [], body, ROW, "", 0.0)
    assert (error.status, error.error_type, error.message) == (422, "unprocessable", "- input: prompt is required")


@pytest.mark.parametrize("status", [401, 402])
def test_an_account_that_is_refused_is_the_operators_matter(status: int) -> None:
    error = parse_error(status, [], b'{"title":"Unauthenticated","detail":"No token","status":401}', ROW, "", 0.0)
    assert isinstance(error, ProviderMisconfigured)
