"""Anthropic's library for Python against a gateway: what it shows its user."""

from __future__ import annotations

from types import SimpleNamespace

import anthropic
import pytest
from anthropic import AsyncAnthropic

from infron.testing import (
    CUT,
    DONE,
    FINISH,
    ROLE,
    USAGE,
    Answer,
    Pause,
    ScriptedProvider,
    delta,
    gateway,
    speak,
    text,
)

QUESTION = {"model": "mock/any", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]}
PICTURE = (
    b'data: {"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"}}]}}]}\r\n\r\n'
)
OFTEN = {"first_seconds": 0.1, "every_seconds": 0.1}


@pytest.fixture
async def client_of():
    """`client_of(stage)`: a client of that gateway."""
    clients: list[AsyncAnthropic] = []

    def make(there, **options):
        client = AsyncAnthropic(base_url=there.running.url, api_key="sk-any", **{"max_retries": 0, **options})
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close()


async def test_anthropic_streams_text_with_its_counts(stage, client_of):
    there = await stage([ROLE, text("Höher, "), text("高い 🏗️"), FINISH, USAGE, DONE])
    async with client_of(there).messages.stream(**QUESTION) as stream:
        pieces = [piece async for piece in stream.text_stream]
        message = await stream.get_final_message()
    assert pieces == ["Höher, ", "高い 🏗️"]
    assert message.content[0].text == "Höher, 高い 🏗️"
    assert (message.model, message.stop_reason) == ("mock/any", "end_turn")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 3)


async def test_anthropic_puts_thoughts_and_tool_calls_together(stage, client_of):
    first = delta(tool_calls=[{"index": 0, "id": "c1", "type": "function", "function": {"name": "add"}}])
    pieces = [delta(tool_calls=[{"index": 0, "function": {"arguments": part}}]) for part in ('{"a":', "1}")]
    script = [ROLE, delta(reasoning_content="Hm."), text("So:"), first, *pieces, delta("tool_calls"), USAGE, DONE]
    there = await stage(script)
    async with client_of(there).messages.stream(**QUESTION) as stream:
        message = await stream.get_final_message()
    thought, said, call = message.content
    assert (thought.type, thought.thinking) == ("thinking", "Hm.")
    assert said.text == "So:"
    assert (call.type, call.id, call.name, call.input) == ("tool_use", "c1", "add", {"a": 1})
    assert message.stop_reason == "tool_use"


async def test_anthropic_reads_a_whole_answer(stage, client_of):
    there = await stage([ROLE, text("Hello"), FINISH, USAGE, DONE])
    message = await client_of(there).messages.create(**QUESTION)
    assert message.content[0].text == "Hello"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 3)


async def test_anthropic_is_not_disturbed_by_pings(stage, client_of):
    there = await stage([Pause(0.35), ROLE, text("Hello"), FINISH, DONE], keepalive=OFTEN)
    stream = await client_of(there).messages.create(**QUESTION, stream=True)
    kinds = [event.type async for event in stream]
    assert kinds[-1] == "message_stop"
    assert "content_block_delta" in kinds


async def test_anthropic_raises_what_a_broken_stream_says(stage, client_of):
    there = await stage([Pause(0.35), ROLE, text("Hello"), CUT], keepalive=OFTEN)
    stream = await client_of(there).messages.create(**QUESTION, stream=True)
    with pytest.raises(anthropic.APIStatusError) as raised:
        _ = [event async for event in stream]
    assert raised.value.body["error"]["type"] == "api_error"


async def test_anthropic_tells_apart_what_was_wrong(stage, client_of):
    json = (("content-type", "application/json"),)
    there = await stage([Answer(429, json, b'{"error":{"message":"Slow down."}}')])
    client = client_of(there)
    with pytest.raises(anthropic.RateLimitError, match="Slow down"):
        await client.messages.create(**QUESTION)
    with pytest.raises(anthropic.NotFoundError):
        await client.messages.create(**{**QUESTION, "model": "nobody/has-this"})
    with pytest.raises(anthropic.BadRequestError, match="role"):
        await client.messages.create(**{**QUESTION, "messages": [{"role": "owl", "content": "Hu"}]})


async def test_anthropic_reads_frames_that_a_host_of_its_api_sent(client_of):
    voice = speak("anthropic")
    script = [
        voice.start(9),
        voice.thinking("Hm.", "c2ln"),
        voice.text("So:"),
        voice.tool_call("add", '{"a":1}', "t1"),
        voice.usage(9, 5),
        voice.finish("tool_calls"),
        voice.done(),
    ]
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition(**voice.definition)}) as running,
    ):
        client = client_of(SimpleNamespace(running=running))
        async with client.messages.stream(**QUESTION) as stream:
            message = await stream.get_final_message()
        whole = await client.messages.create(**QUESTION)
    for found in (message, whole):
        thought, said, call = found.content
        assert (thought.thinking, thought.signature, said.text) == ("Hm.", "c2ln", "So:")
        assert (call.id, call.name, call.input) == ("t1", "add", {"a": 1})
        assert (found.model, found.stop_reason, found.usage.output_tokens) == ("mock/any", "tool_use", 5)


@pytest.mark.parametrize(
    ("wire", "silent"),
    [
        ("openai-chat", [delta(index=1, content="of another choice"), delta("stop", index=1)]),
        ("gemini", [PICTURE]),
    ],
)
async def test_messages_stream_goes_on_behind_content_that_the_api_has_no_place_for(stage, client_of, wire, silent):
    # It was written as a chunk of no bytes, which ends the body: all that followed was lost, or taken for more answers.
    voice = speak(wire)
    steps = [voice.start(), *silent, voice.text("one"), Pause(0.05), *silent, Pause(0.05), voice.text(" two")]
    steps += [voice.usage(7, 3), voice.finish(), voice.done()]
    async with (
        ScriptedProvider(voice.plays([step for step in steps if step])) as provider,
        gateway(providers={"mock": provider.definition(**voice.definition)}) as running,
    ):
        client = client_of(SimpleNamespace(running=running))
        for _ in range(2):
            async with client.messages.stream(**QUESTION) as stream:
                message = await stream.get_final_message()
            assert [block.text for block in message.content] == ["one two"]


async def test_anthropic_counts_tokens_that_are_not_sent(stage, client_of):
    there = await stage([CUT])
    client = client_of(there)
    few = await client.messages.count_tokens(model="mock/any", messages=QUESTION["messages"])
    many = await client.messages.count_tokens(model="mock/any", messages=QUESTION["messages"], system="Be brief. " * 50)
    assert 0 < few.input_tokens < 20 < many.input_tokens
    assert there.provider.calls == []


async def test_anthropic_knows_the_id_of_an_answer_and_of_an_error(stage, client_of):
    there = await stage([ROLE, text("Hello"), FINISH, USAGE, DONE])
    message = await client_of(there).messages.create(**QUESTION)
    assert message._request_id == message.id
    there.provider.script = lambda call: [Answer(400, (("content-type", "application/json"),), b'{"error": "No."}')]
    with pytest.raises(anthropic.BadRequestError) as failed:
        await client_of(there).messages.create(**QUESTION)
    assert failed.value.request_id.startswith("gen-")
    assert failed.value.body["request_id"] == failed.value.request_id


async def test_anthropic_runs_its_tools_without_threads(stage, client_of):
    @anthropic.beta_async_tool
    async def add(a: int, b: int) -> str:
        """Add two numbers."""
        return str(a + b)

    called = {"index": 0, "id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1,"b":2}'}}
    turns = [
        [ROLE, delta(tool_calls=[called]), delta("tool_calls"), USAGE, DONE],
        [ROLE, text("3"), FINISH, USAGE, DONE],
    ]
    there = await stage(lambda call: turns.pop(0))
    runner = client_of(there).beta.messages.tool_runner(**QUESTION, tools=[add])
    last = await runner.until_done()
    assert last.content[0].text == "3"
    asked = [call.json["messages"] for call in there.provider.calls]
    assert [message["role"] for message in asked[-1]] == ["user", "assistant", "tool"]
    assert asked[-1][-1]["content"] == "3"
