"""Google's library for Python against a gateway: what it shows its user, whoever answers."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from google import genai
from google.genai import errors, types

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
ADD = types.FunctionDeclaration(
    name="add", parameters=types.Schema(type="OBJECT", properties={"a": types.Schema(type="NUMBER", nullable=True)})
)
CONFIG = types.GenerateContentConfig(
    thinking_config=types.ThinkingConfig(include_thoughts=True), tools=[types.Tool(function_declarations=[ADD])]
)


@pytest.fixture
async def client_of():
    """`client_of(stage)`: a client of that gateway."""
    clients = []

    def make(there, version=None):
        options = {"base_url": there.running.url, **({"api_version": version} if version else {})}
        client = genai.Client(api_key="sk-any", http_options=options)
        clients.append(client)
        return client.aio

    yield make
    for client in clients:
        await client.aio.aclose()
        client.close()


def asked(**more):
    return {"model": "mock/any", "contents": "Hi", **more}


@pytest.mark.parametrize("version", [None, "v1beta", "v1"])
async def test_genai_streams_text_with_its_counts(stage, client_of, version):
    there = await stage([ROLE, text("Höher, "), text("高い\u2028🏗️"), FINISH, USAGE, DONE])
    client = client_of(there, version)
    chunks = [chunk async for chunk in await client.models.generate_content_stream(**asked())]
    assert [chunk.text for chunk in chunks] == ["Höher, ", "高い\u2028🏗️", ""]
    last = chunks[-1]
    assert last.candidates[0].finish_reason == "STOP"
    assert (last.usage_metadata.prompt_token_count, last.usage_metadata.candidates_token_count) == (7, 3)
    assert last.model_version == "mock/any"
    whole = await client.models.generate_content(**asked())
    assert (whole.text, whole.usage_metadata.total_token_count) == ("Höher, 高い\u2028🏗️", 10)


@pytest.mark.parametrize("wire", ["openai-chat", "anthropic", "gemini", "bedrock"])
async def test_genai_reads_thoughts_and_calls_of_every_wire(client_of, wire):
    voice = speak(wire)
    calls = [voice.tool_call("add", '{"a":1}', "t1")]
    steps = [voice.start(9), voice.thinking("Hm.", "c2ln"), voice.text("So:"), *calls, voice.usage(9, 5)]
    steps += [voice.finish("tool_calls"), voice.done()]
    async with (
        ScriptedProvider(voice.plays([step for step in steps if step])) as provider,
        gateway(providers={"mock": provider.definition(**voice.definition)}) as running,
    ):
        client = client_of(SimpleNamespace(running=running))
        stream = await client.models.generate_content_stream(**asked(config=CONFIG))
        streamed = [part async for chunk in stream for part in _parts(chunk)]
        whole = _parts(await client.models.generate_content(**asked(config=CONFIG)))
    for parts in (streamed, whole):
        assert "".join(part.text for part in parts if part.text and part.thought) == "Hm."
        assert "".join(part.text for part in parts if part.text and not part.thought) == "So:"
        [call] = [part.function_call for part in parts if part.function_call]
        assert (call.name, call.args) == ("add", {"a": 1})
        assert call.id


def _parts(chunk):
    return [
        part for candidate in chunk.candidates or [] for part in (candidate.content and candidate.content.parts) or []
    ]


async def test_genai_chat_gives_back_calls_results_and_signed_thoughts(client_of):
    voice = speak("anthropic")
    first = [voice.start(9), voice.thinking("Hm.", "c2ln"), voice.tool_call("add", '{"a":1}', "t1"), voice.usage(9, 5)]
    second = [voice.start(9), voice.text("It is 2."), voice.usage(9, 5)]
    scripts = [[*first, voice.finish("tool_calls"), voice.done()], [*second, voice.finish(), voice.done()]]
    async with (
        ScriptedProvider(lambda call: scripts[b"tool_result" in call.body]) as provider,
        gateway(providers={"mock": provider.definition(**voice.definition)}) as running,
    ):
        chat = client_of(SimpleNamespace(running=running)).chats.create(model="mock/any", config=CONFIG)
        chunks = [chunk async for chunk in await chat.send_message_stream("Hi")]
        [call] = [part.function_call for chunk in chunks for part in _parts(chunk) if part.function_call]
        result = types.Part.from_function_response(name=call.name, response={"result": 2})
        chunks = [chunk async for chunk in await chat.send_message_stream(result)]
        assert "".join(chunk.text or "" for chunk in chunks) == "It is 2."
        sent = provider.calls[1].json["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "user"]
    thought, called = sent[1]["content"]
    assert (thought["thinking"], thought["signature"]) == ("Hm.", "c2ln")
    assert (called["id"], called["name"], called["input"]) == ("t1", "add", {"a": 1})
    [answer] = sent[2]["content"]
    assert answer["tool_use_id"] == "t1"


async def test_genai_is_held_to_a_schema(stage, client_of):
    there = await stage([ROLE, text('{"a":1}'), FINISH, USAGE, DONE])
    schema = types.Schema(type="OBJECT", properties={"a": types.Schema(type="INTEGER")}, required=["a"])
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=schema)
    answer = await client_of(there).models.generate_content(**asked(config=config))
    assert answer.parsed == {"a": 1}
    sent = there.provider.calls[0].json["response_format"]["json_schema"]["schema"]
    assert sent == {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


async def test_genai_is_not_disturbed_by_signs_of_life(stage, client_of):
    # A comment would be taken for JSON.
    there = await stage([Pause(0.35), ROLE, text("Hel"), Pause(0.35), text("lo"), FINISH, DONE], keepalive=OFTEN)
    stream = await client_of(there).models.generate_content_stream(**asked())
    assert "".join([chunk.text async for chunk in stream]) == "Hello"


async def test_genai_raises_what_a_broken_stream_says(stage, client_of):
    seen = asyncio.Event()
    there = await stage([ROLE, text("Hello"), Wait(seen), CUT])
    stream = await client_of(there).models.generate_content_stream(**asked())
    assert (await anext(stream)).text == "Hello"
    seen.set()
    with pytest.raises(errors.ServerError) as raised:
        await anext(stream)
    assert (raised.value.code, raised.value.status) == (502, "UNAVAILABLE")
    assert "the answer ended without a finish" in raised.value.message


async def test_genai_tells_apart_what_was_wrong(stage, client_of):
    there = await stage([Answer(429, (*JSON, ("retry-after", "7")), b'{"error":{"message":"Slow down."}}')])
    client = client_of(there)
    with pytest.raises(errors.ClientError, match="Slow down") as raised:
        await client.models.generate_content(**asked())
    assert (raised.value.code, raised.value.status) == (429, "RESOURCE_EXHAUSTED")
    details = raised.value.details["error"]["details"]
    assert "7s" in [detail.get("retryDelay") for detail in details]
    with pytest.raises(errors.ClientError, match="Slow down"):
        _ = [chunk async for chunk in await client.models.generate_content_stream(**asked())]
    with pytest.raises(errors.ClientError) as raised:
        await client.models.generate_content(**asked(model="nobody/has-this"))
    assert (raised.value.code, raised.value.status) == (404, "NOT_FOUND")


@pytest.mark.parametrize("version", [None, "v1beta"])
async def test_genai_counts_tokens_and_lists_models(stage, client_of, version):
    client = client_of(await stage([DONE], aliases={"nice": "mock/any"}), version)
    counted = await client.models.count_tokens(model="mock/any", contents="Hello, how are you?")
    assert 3 < counted.total_tokens < 20
    assert "models/nice" in [model.name async for model in await client.models.list()]
    found = await client.models.get(model="mock/any")
    assert found.name == "models/mock/any"
    assert "generateContent" in found.supported_actions


async def test_genai_stream_that_is_left_is_cancelled(stage, client_of):
    there = await stage([ROLE, text("Hello"), Wait(asyncio.Event()), text("never"), FINISH, DONE])
    seen = asyncio.Event()

    async def read():
        async for chunk in await client_of(there).models.generate_content_stream(**asked()):
            assert chunk.text == "Hello"
            seen.set()

    reading = asyncio.create_task(read())
    async with asyncio.timeout(10):
        await seen.wait()
        reading.cancel()
        await there.provider.calls[0].closed.wait()


def _vector(given: str) -> list[float]:
    return [len(given) / 4, -0.5]


@pytest.mark.parametrize("name", EMBEDDING_HOSTS)
async def test_genai_embeds_with_models_of_every_host(client_of, name):
    host = EMBEDDING_HOSTS[name]
    vertex = {"also": {"openai-embeddings": {"wire": "vertex-embeddings", "path": "/models/{model}:predict"}}}
    served = {"provider": "mock", "id": host.model}
    own = vertex if ":predict" in host.path else {}
    async with (
        ScriptedProvider(host.plays(_vector)) as provider,
        gateway(
            providers={"mock": provider.definition(wire=host.wire, **own)},
            models={"acme/e": {"name": "E", "output": ["embeddings"], "served_by": [served]}},
        ) as running,
    ):
        client = client_of(SimpleNamespace(running=running))
        config = types.EmbedContentConfig(task_type="CLUSTERING", output_dimensionality=2)
        many = await client.models.embed_content(model=f"mock/{host.model}", contents=["a", "ab 高い"], config=config)
        one = await client.models.embed_content(model="acme/e", contents="abc")
        shown = await client.models.get(model="acme/e")
        sent = provider.calls[0].body.decode()
    assert shown.supported_actions == ["embedContent", "batchEmbedContents"]
    assert [found.values for found in many.embeddings] == [_vector("a"), _vector("ab 高い")]
    assert [found.values for found in one.embeddings] == [_vector("abc")]
    assert ('"clustering"' in sent) is ("cohere" in name)
    assert ("CLUSTERING" in sent) is (host.wire in ("gemini-embeddings", "vertex-embeddings", "gemini"))


async def test_genai_is_told_why_there_are_no_vectors(stage, client_of):
    there = await stage([Answer(404, JSON, b'{"error": {"message": "No such model."}}')])
    with pytest.raises(errors.ClientError) as failed:
        await client_of(there).models.embed_content(model="mock/any", contents="Hi")
    assert (failed.value.code, failed.value.status) == (404, "NOT_FOUND")
    assert "No such model." in failed.value.message
