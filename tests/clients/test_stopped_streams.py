"""Streams that are stopped, by their id or by a budget, as client libraries read them: what came, then an error."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anthropic
import ollama
import openai
import pytest
from google import genai
from google.genai import errors as google
from ledgers import query
from limited import limited_key
from rawclient import gateway, send, true

from infron.testing import RunningGateway, ScriptedProvider, Wait, frame, text

STOPS = {"value": "yes", "source": "a test", "date": "2026-11-28"}
ROW = {
    "on_disconnect": "cancel",
    "stops_billing": STOPS,
    "tokenizer": "gpt",
    "prices": {"*": {"prompt": "1", "completion": "10"}},
}
ASKED = [{"role": "user", "content": "Hi"}]
Read = Callable[[str, str], AsyncIterator[str]]


async def chat(url: str, key: str) -> AsyncIterator[str]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=2) as client:
        async for chunk in await client.chat.completions.create(model="mock/any", messages=ASKED, stream=True):
            for choice in chunk.choices:
                yield choice.delta.content or ""


async def completions(url: str, key: str) -> AsyncIterator[str]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=2) as client:
        async for chunk in await client.completions.create(model="mock/any", prompt="Hi", stream=True):
            for choice in chunk.choices:
                yield choice.text


async def responses(url: str, key: str) -> AsyncIterator[str]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=2) as client:
        async for event in await client.responses.create(model="mock/any", input="Hi", stream=True):
            if event.type == "response.output_text.delta":
                yield event.delta
            elif event.type == "response.failed":
                raise RuntimeError(f"{event.response.error.code}: {event.response.error.message}")


async def messages(url: str, key: str) -> AsyncIterator[str]:
    async with (
        anthropic.AsyncAnthropic(base_url=url, api_key=key, max_retries=2) as client,
        client.messages.stream(model="mock/any", max_tokens=100_000, messages=ASKED) as stream,
    ):
        async for piece in stream.text_stream:
            yield piece


async def gemini(url: str, key: str) -> AsyncIterator[str]:
    client = genai.Client(api_key=key, http_options={"base_url": url})
    try:
        async for chunk in await client.aio.models.generate_content_stream(model="mock/any", contents="Hi"):
            yield chunk.text or ""
    finally:
        await client.aio.aclose()
        client.close()


async def ollamas(url: str, key: str) -> AsyncIterator[str]:
    client = ollama.AsyncClient(host=url, headers={"authorization": f"Bearer {key}"})
    try:
        async for part in await client.chat(model="mock/any", messages=ASKED, stream=True):
            yield part.message.content or ""
    finally:
        await client._client.aclose()


READERS: dict[str, tuple[Read, type[Exception]]] = {
    "chat": (chat, openai.APIError),
    "completions": (completions, openai.APIError),
    "responses": (responses, RuntimeError),
    "messages": (messages, anthropic.APIError),
    "gemini": (gemini, google.APIError),
    "ollama": (ollamas, ollama.ResponseError),
}


def said(api: str, word: str) -> bytes:
    """As its host says it."""
    if api == "completions":
        return frame(object="text_completion", choices=[{"index": 0, "text": word, "finish_reason": None}])
    return text(word)


async def read(pieces: AsyncIterator[str], seen: list[str]) -> None:
    async for piece in pieces:
        seen += [piece]


async def failure(running: RunningGateway, api: str, key: str, stop: Callable[[list[str]], Awaitable[None]]) -> Any:
    """What the library raises, and what it has shown by then."""
    reader, kind = READERS[api]
    seen: list[str] = []
    reading = asyncio.ensure_future(read(reader(running.url, key.rpartition(" ")[2]), seen))
    await stop(seen)
    with pytest.raises(kind) as raised:
        await asyncio.wait_for(reading, 30)
    return raised.value, "".join(seen)


@pytest.mark.parametrize("api", READERS)
async def test_library_tells_of_a_stream_that_was_stopped_by_its_id(api: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    key = limited_key(url)
    async with (
        ScriptedProvider([said(api, "Hello"), Wait(asyncio.Event())]) as provider,
        gateway(providers={"mock": provider.definition(**ROW)}, ledger={"url": url}) as running,
    ):

        async def stop(seen: list[str]) -> None:
            await true(lambda: "Hello" in "".join(seen))
            (exchange,) = running.context.registry.running()
            answer = await send(running.port, "POST", f"/v1/generations/{exchange.id}/cancel", b"", key)
            assert (await answer.head()).status == 202

        error, seen = await failure(running, api, key, stop)
        assert seen == "Hello"
        assert "This generation was cancelled by its caller." in str(error)
        assert len(provider.calls) == 1, "it was asked again"


@pytest.mark.parametrize("api", READERS)
async def test_library_tells_of_a_stream_whose_budget_was_used_up(api: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    key = limited_key(url, total=0.01)
    words = [said(api, f" word{number}") for number in range(2000)]

    async def nothing(seen: list[str]) -> None: ...

    async with (
        ScriptedProvider([*words, Wait(asyncio.Event())]) as provider,
        gateway(providers={"mock": provider.definition(**ROW)}, ledger={"url": url}) as running,
    ):
        error, seen = await failure(running, api, key, nothing)
        numbers = [int(number) for number in re.findall(r"word(\d+)", seen)]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > 200
        assert "has used up its $0.01" in str(error)
        assert len(provider.calls) == 1, "it was asked again"
        await true(lambda: query(url, "SELECT live, held FROM holders") == [(0, 0)])
        [(charge,)] = query(url, "SELECT charge FROM entries")
        assert 0.9 * 10**10 < charge <= 10**10


@pytest.mark.parametrize("api", READERS)
async def test_library_tells_of_a_request_that_was_stopped_before_it_was_answered(api: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    key = limited_key(url)
    async with (
        ScriptedProvider([Wait(asyncio.Event())]) as provider,
        gateway(providers={"mock": provider.definition(**ROW)}, ledger={"url": url}) as running,
    ):

        async def stop(seen: list[str]) -> None:
            await provider.called()
            (exchange,) = running.context.registry.running()
            answer = await send(running.port, "POST", f"/v1/generations/{exchange.id}/cancel", b"", key)
            assert (await answer.head()).status == 202

        reader, kind = READERS[api]
        READERS[api] = (reader, Exception)
        try:
            error, seen = await failure(running, api, key, stop)
        finally:
            READERS[api] = (reader, kind)
        assert seen == ""
        assert "This generation was cancelled by its caller." in str(error)
        assert len(provider.calls) == 1, "it was asked again"
