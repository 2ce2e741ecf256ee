"""The OpenAI library for Python against a gateway: what it shows its user."""

from __future__ import annotations

import asyncio
import json

import openai
import pytest
from openai import AsyncOpenAI

from infron.testing import CUT, DONE, FINISH, ROLE, USAGE, Answer, Pause, Wait, delta, frame, text

QUESTION = {"model": "mock/any", "messages": [{"role": "user", "content": "Hi"}]}
OFTEN = {"first_seconds": 0.1, "every_seconds": 0.1}


@pytest.fixture
async def client_of():
    """`client_of(stage)`: a client of that gateway."""
    clients: list[AsyncOpenAI] = []

    def make(there, **options):
        client = AsyncOpenAI(base_url=there.base_url, api_key="sk-any", **{"max_retries": 0, **options})
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close()


async def test_it_streams_text_with_one_id(stage, client_of):
    there = await stage([ROLE, text("Höher, "), text("高い 🏗️"), FINISH, USAGE, DONE])
    stream = await client_of(there).chat.completions.create(**QUESTION, stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Höher, 高い 🏗️"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert (chunks[-1].choices[0].delta.content, chunks[-1].usage.completion_tokens > 0) == (None, True)  # unasked
    assert {chunk.id for chunk in chunks} == {stream.response.headers["x-generation-id"]}
    assert {chunk.model for chunk in chunks} == {"mock/any"}
    assert all(chunk.usage is None for chunk in chunks[:-1])


async def test_it_shows_usage_once_and_last_where_it_asked(stage, client_of):
    there = await stage([ROLE, text("Hello"), FINISH, USAGE, DONE])
    stream = await client_of(there).chat.completions.create(
        **QUESTION, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].choices == []
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (7, 3)


async def test_it_puts_tool_calls_together(stage, client_of):
    def call(**function):
        return delta(tool_calls=[{"index": 0, "function": function}])

    first = delta(
        tool_calls=[{"index": 0, "id": "call_1", "type": "function", "function": {"name": "add", "arguments": ""}}]
    )
    there = await stage([ROLE, first, call(arguments='{"a": '), call(arguments="1}"), delta("tool_calls"), USAGE, DONE])
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
    async with client_of(there).chat.completions.stream(**QUESTION, tools=tools) as stream:
        final = await stream.get_final_completion()
    (made,) = final.choices[0].message.tool_calls
    assert (made.id, made.function.name, made.function.arguments) == ("call_1", "add", '{"a": 1}')
    assert final.choices[0].finish_reason == "tool_calls"
    call = await there.provider.called()
    assert call.json["tools"] == tools


async def test_it_gets_a_whole_answer_with_usage(stage, client_of):
    there = await stage([ROLE, text("Hello"), text(" world"), FINISH, USAGE, DONE])
    raw = await client_of(there).chat.completions.with_raw_response.create(**QUESTION)
    answer = raw.parse()
    assert answer.choices[0].message.content == "Hello world"
    assert answer.usage.total_tokens == 10
    assert raw.headers["x-generation-id"] == answer.id


@pytest.mark.parametrize("stream", [True, False])
async def test_client_reads_the_code_of_a_prompt_too_long(stage, client_of, stream):
    # `code` was the HTTP status, so programs that test for the word did not find it.
    said = {
        "message": "Too much.",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    }
    there = await stage([Answer(400, (("content-type", "application/json"),), json.dumps({"error": said}).encode())])
    with pytest.raises(openai.BadRequestError) as raised:
        await client_of(there).chat.completions.create(**QUESTION, stream=stream)
    assert (raised.value.code, raised.value.param) == ("context_length_exceeded", "messages")


async def test_client_reads_the_code_of_an_error_inside_the_stream(stage, client_of):
    said = {"message": "This model's maximum context length is 4096 tokens.", "code": 400}
    read = asyncio.Event()
    there = await stage([ROLE, text("one"), Wait(read), frame(error=said), DONE])
    stream = await client_of(there).chat.completions.create(**QUESTION, stream=True)
    chunks = aiter(stream)
    assert [(await anext(chunks)).choices[0].delta.content for _ in range(2)] == ["", "one"]
    read.set()
    with pytest.raises(openai.APIError) as raised:
        await anext(chunks)
    assert raised.value.code == "context_length_exceeded"


async def test_it_does_not_show_comments(stage, client_of):
    there = await stage([Pause(0.3), ROLE, text("one"), Pause(0.3), text("two"), FINISH, DONE], keepalive=OFTEN)
    stream = await client_of(there).chat.completions.create(**QUESTION, stream=True)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "onetwo"


async def test_leaving_the_loop_stops_the_provider(stage, client_of):
    there = await stage([ROLE, text("one"), Wait(asyncio.Event())])
    stream = await client_of(there).chat.completions.create(**QUESTION, stream=True)
    async with stream:
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
    call = await there.provider.called()
    await asyncio.wait_for(call.closed.wait(), 30)


async def test_a_timeout_of_its_own_before_the_first_token_stops_the_provider(stage, client_of):
    there = await stage([Wait(asyncio.Event())])
    with pytest.raises(openai.APITimeoutError):
        await client_of(there, timeout=0.3).chat.completions.create(**QUESTION, stream=True)
    call = await there.provider.called()
    await asyncio.wait_for(call.closed.wait(), 30)


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ([CUT], "Server error: connection reset; the answer ended without a finish.*in the middle of the answer"),
        ([DONE], "before the answer was finished"),
        ([frame(error={"message": "the model fell over", "code": 500})], "the model fell over"),
    ],
)
async def test_a_stream_that_fails_in_the_middle_raises(stage, client_of, last, said):
    read = asyncio.Event()
    there = await stage([ROLE, text("half"), Wait(read), *last])
    stream = await client_of(there).chat.completions.create(**QUESTION, stream=True)
    seen = ""
    with pytest.raises(openai.APIError, match=said):  # noqa: PT012
        async for chunk in stream:
            seen += chunk.choices[0].delta.content or ""
            if seen:
                read.set()
    assert seen == "half"


def refusal(status: int, *headers: tuple[str, str], body: bytes = b'{"error": {"message": "not now", "code": "x"}}'):
    return [Answer(status, (("content-type", "application/json"), *headers), body)]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("status", "raised", "told"),
    [
        (400, openai.BadRequestError, 400),
        (401, openai.InternalServerError, 502),
        (402, openai.InternalServerError, 502),
        (404, openai.NotFoundError, 404),
        (422, openai.UnprocessableEntityError, 422),
        (429, openai.RateLimitError, 429),
        (500, openai.InternalServerError, 500),
        (503, openai.InternalServerError, 503),
    ],
)
async def test_an_error_of_the_provider_is_raised_as_what_it_is(stage, client_of, status, raised, told, stream):
    there = await stage(refusal(status))
    with pytest.raises(raised) as caught:
        await client_of(there).chat.completions.create(**QUESTION, stream=stream)
    assert caught.value.status_code == told
    assert "not now" in caught.value.message or told == 502
    assert caught.value.body["metadata"]["provider"] == "mock"


async def test_it_waits_as_long_as_the_provider_said(stage, client_of):
    there = await stage(refusal(429, ("retry-after", "7")))
    with pytest.raises(openai.RateLimitError) as caught:
        await client_of(there).chat.completions.create(**QUESTION)
    assert caught.value.response.headers["retry-after"] == "7"


async def test_it_does_not_try_again_what_only_the_operator_can_mend(stage, client_of):
    there = await stage(refusal(401))
    with pytest.raises(openai.InternalServerError) as caught:
        await client_of(there, max_retries=2).chat.completions.create(**QUESTION)
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(there.provider.calls) == 1


async def test_it_tries_again_what_may_pass(stage, client_of):
    answers = iter([refusal(503, ("retry-after-ms", "1")), [ROLE, text("Hello"), FINISH, USAGE, DONE]])
    there = await stage(lambda call: next(answers))
    answer = await client_of(there, max_retries=1).chat.completions.create(**QUESTION)
    assert answer.choices[0].message.content == "Hello"


async def test_it_raises_for_models_and_keys_that_are_unknown(stage, client_of):
    there = await stage([])
    client = client_of(there)
    with pytest.raises(openai.NotFoundError, match="nobody/none"):
        await client.chat.completions.create(**{**QUESTION, "model": "nobody/none"}, stream=True)
    with pytest.raises(openai.BadRequestError):
        await client.chat.completions.create(model="mock/any", messages="no list")
    assert [model.object async for model in client.models.list()] == []
    assert [call.method for call in there.provider.calls] == ["GET"]  # it was asked for its models, and nothing else
