"""Ollama's library for Python against a gateway: what it shows its user."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import ollama
import pytest

from infron.testing import (
    CUT,
    DONE,
    FINISH,
    ROLE,
    USAGE,
    Answer,
    Pause,
    ScriptedProvider,
    Wait,
    gateway,
    speak,
    text,
)
from infron.testing.embeddings import EMBEDDING_HOSTS

JSON = (("content-type", "application/json"),)
OFTEN = {"first_seconds": 0.1, "every_seconds": 0.1}
ASKED = {"model": "mock/any", "messages": [{"role": "user", "content": "Hi"}]}
ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {}}}}}


@pytest.fixture
async def client_of():
    """`client_of(stage)`: a client of that gateway."""
    clients = []

    def make(there):
        client = ollama.AsyncClient(host=there.running.url)
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client._client.aclose()


async def test_ollama_streams_text_with_its_counts(stage, client_of):
    there = await stage([ROLE, text("Höher, "), text("高い\u2028🏗️"), FINISH, USAGE, DONE])
    lines = [line async for line in await client_of(there).chat(**ASKED, stream=True)]
    assert "".join(line.message.content for line in lines) == "Höher, 高い\u2028🏗️"
    assert [line.done for line in lines] == [False, False, True]
    last = lines[-1]
    assert (last.done_reason, last.prompt_eval_count, last.eval_count) == ("stop", 7, 3)
    assert last.total_duration >= last.prompt_eval_duration > 0
    whole = await client_of(there).chat(**ASKED)
    assert (whole.message.content, whole.done, whole.eval_count) == ("Höher, 高い\u2028🏗️", True, 3)


async def test_ollama_generates_from_a_prompt(stage, client_of):
    there = await stage([ROLE, text("Hel"), text("lo"), FINISH, USAGE, DONE])
    client = client_of(there)
    asked = {"model": "mock/any", "prompt": "Hi", "system": "Be brief.", "options": {"num_predict": 9, "num_ctx": 4096}}
    assert [line.response async for line in await client.generate(**asked, stream=True)] == ["Hel", "lo", ""]
    assert (await client.generate(**asked)).response == "Hello"
    sent = there.provider.calls[0].json
    assert [message["content"] for message in sent["messages"]] == ["Be brief.", "Hi"]
    assert sent["max_tokens"] == 9


@pytest.mark.parametrize("wire", ["openai-chat", "anthropic", "gemini"])
async def test_ollama_reads_thoughts_and_calls_of_every_wire(client_of, wire):
    voice = speak(wire)
    calls = [voice.tool_call("add", '{"a":1}', "t1")]
    steps = [voice.start(9), voice.thinking("Hm.", "c2ln"), voice.text("So:"), *calls, voice.usage(9, 5)]
    steps += [voice.finish("tool_calls"), voice.done()]
    async with (
        ScriptedProvider(voice.plays([step for step in steps if step])) as provider,
        gateway(providers={"mock": provider.definition(**voice.definition)}) as running,
    ):
        client = client_of(SimpleNamespace(running=running))
        streamed = [line.message async for line in await client.chat(**ASKED, tools=[ADD], think=True, stream=True)]
        whole = [(await client.chat(**ASKED, tools=[ADD], think=True)).message]
        for messages in (streamed, whole):
            assert "".join(message.thinking or "" for message in messages) == "Hm."
            assert "".join(message.content or "" for message in messages) == "So:"
            [call] = [call for message in messages for call in message.tool_calls or []]
            assert (call.function.name, call.function.arguments) == ("add", {"a": 1})
        history = [*ASKED["messages"], whole[0], {"role": "tool", "tool_name": "add", "content": "2"}]
        again = await client.chat(model="mock/any", messages=history, tools=[ADD])
    assert again.done


async def test_ollama_is_not_disturbed_by_signs_of_life(stage, client_of):
    # A line of nothing would be taken for JSON.
    there = await stage([Pause(0.35), ROLE, text("Hel"), Pause(0.35), text("lo"), FINISH, DONE], keepalive=OFTEN)
    lines = [line.message.content async for line in await client_of(there).chat(**ASKED, stream=True)]
    assert "".join(lines) == "Hello"


async def test_ollama_raises_what_was_wrong(stage, client_of):
    there = await stage([Answer(429, JSON, b'{"error":{"message":"Slow down."}}')])
    client = client_of(there)
    with pytest.raises(ollama.ResponseError, match="Slow down") as raised:
        await client.chat(**ASKED)
    assert raised.value.status_code == 429
    with pytest.raises(ollama.ResponseError) as raised:
        await client.chat(**{**ASKED, "model": "nobody/has-this"})
    assert raised.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="not offered"):
        await client.push(model="mock/any")


async def test_ollama_raises_what_a_broken_stream_says(stage, client_of):
    seen = asyncio.Event()
    there = await stage([ROLE, text("Hello"), Wait(seen), CUT])
    stream = await client_of(there).chat(**ASKED, stream=True)
    assert (await anext(stream)).message.content == "Hello"
    seen.set()
    with pytest.raises(ollama.ResponseError, match="the answer ended without a finish"):
        await anext(stream)


async def test_ollama_stream_that_is_left_is_cancelled(stage, client_of):
    there = await stage([ROLE, text("Hello"), Wait(asyncio.Event()), text("never"), FINISH, DONE])
    stream = await client_of(there).chat(**ASKED, stream=True)
    assert (await anext(stream)).message.content == "Hello"
    await stream.aclose()
    async with asyncio.timeout(10):
        await there.provider.calls[0].closed.wait()


async def test_ollama_lists_and_shows_models(stage, client_of):
    client = client_of(await stage([DONE], models={"discover": False}))
    assert all(model.model for model in (await client.list()).models)
    shown = await client.show("mock/any")
    assert "completion" in shown.capabilities
    assert (await client.ps()).models == []
    with pytest.raises(ollama.ResponseError) as raised:
        await client.show("nobody/has-this")
    assert raised.value.status_code == 404


def _vector(given: str) -> list[float]:
    return [len(given) / 4, -0.5]


@pytest.mark.parametrize("name", EMBEDDING_HOSTS)
async def test_ollama_embeds_with_models_of_every_host(client_of, name):
    host = EMBEDDING_HOSTS[name]
    vertex = {"also": {"openai-embeddings": {"wire": "vertex-embeddings", "path": "/models/{model}:predict"}}}
    own = vertex if ":predict" in host.path else {}
    async with (
        ScriptedProvider(host.plays(_vector)) as provider,
        gateway(providers={"mock": provider.definition(wire=host.wire, **own)}) as running,
    ):
        client = client_of(SimpleNamespace(running=running))
        model = f"mock/{host.model}"
        many = await client.embed(model, ["a", "ab 高い"], truncate=True, dimensions=2, options={"num_ctx": 9})
        one = await client.embed(model, "abc")
        before = await client.embeddings(model, "abc")
        sent = provider.calls[0].body.decode()
    assert many.embeddings == [_vector("a"), _vector("ab 高い")]
    assert (many.model, many.prompt_eval_count) == (model, 7 if host.most > 1 else 14)
    assert one.embeddings == [before.embedding] == [_vector("abc")]
    assert "num_ctx" not in sent
