"""Requests that a limit refuses, as client libraries take it: which error, what it says, and when they come again."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
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
from rawclient import gateway

from infron.testing import DONE, FINISH, ROLE, USAGE, ScriptedProvider, text

PRICES = {"*": {"prompt": "1", "completion": "10"}}
ASKED: Any = [{"role": "user", "content": "Hi"}]
SLOTS = "This API key may have 0 answers under way at once, and has; try again in 1 s."
BUDGET = "This API key has used up its $0.00 in all; raise it."


async def chat(url: str, secret: str, retries: int = 0) -> None:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=secret, max_retries=retries) as client:
        await client.chat.completions.create(model="mock/any", messages=ASKED)


async def responses(url: str, secret: str, retries: int = 0) -> None:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=secret, max_retries=retries) as client:
        await client.responses.create(model="mock/any", input="Hi")


async def messages(url: str, secret: str, retries: int = 0) -> None:
    async with anthropic.AsyncAnthropic(base_url=url, api_key=secret, max_retries=retries) as client:
        await client.messages.create(model="mock/any", max_tokens=300, messages=ASKED)


async def gemini(url: str, secret: str) -> None:
    client = genai.Client(api_key=secret, http_options={"base_url": url})
    try:
        await client.aio.models.generate_content(model="mock/any", contents="Hi")
    finally:
        await client.aio.aclose()
        client.close()


async def of_ollama(url: str, secret: str) -> None:
    client = ollama.AsyncClient(host=url, headers={"Authorization": f"Bearer {secret}"})
    try:
        await client.chat(model="mock/any", messages=ASKED)
    finally:
        await client._client.aclose()


Ask = Callable[[str, str], Awaitable[None]]


@pytest.mark.parametrize(
    ("ask", "limit", "error", "status", "words"),
    [
        (chat, {"concurrent": 0}, openai.RateLimitError, 429, SLOTS),
        (responses, {"concurrent": 0}, openai.RateLimitError, 429, SLOTS),
        (messages, {"concurrent": 0}, anthropic.RateLimitError, 429, SLOTS),
        (gemini, {"concurrent": 0}, google.ClientError, 429, SLOTS),
        (of_ollama, {"concurrent": 0}, ollama.ResponseError, 429, SLOTS),
        (chat, {"total": 0.0}, openai.APIStatusError, 402, BUDGET),
        (responses, {"total": 0.0}, openai.APIStatusError, 402, BUDGET),
        (messages, {"total": 0.0}, anthropic.APIStatusError, 402, BUDGET),
        (gemini, {"total": 0.0}, google.ClientError, 402, BUDGET),
        (of_ollama, {"total": 0.0}, ollama.ResponseError, 402, BUDGET),
    ],
)
async def test_refusal_is_the_library_s_own_error(
    tmp_path: Path, ask: Ask, limit: dict[str, Any], error: type[Exception], status: int, words: str
) -> None:
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    secret = limited_key(url, **limit).split()[-1]
    async with (
        ScriptedProvider([ROLE, text("Hello"), FINISH, USAGE, DONE]) as provider,
        gateway(providers={"mock": provider.definition(prices=PRICES)}, ledger={"url": url}) as running,
    ):
        with pytest.raises(error) as caught:
            await ask(running.url, secret)
        assert words in str(caught.value)
        assert status in (getattr(caught.value, "status_code", 0), getattr(caught.value, "code", 0))
        assert not provider.calls


@pytest.mark.parametrize("ask", [chat, responses, messages])
async def test_library_comes_again_when_the_rate_has_room(tmp_path: Path, ask: Callable[..., Awaitable[None]]) -> None:
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    secret = limited_key(url, requests_per_minute=60).split()[-1]
    async with (
        ScriptedProvider([ROLE, text("Hello"), FINISH, USAGE, DONE]) as provider,
        gateway(providers={"mock": provider.definition()}, ledger={"url": url}) as running,
    ):
        now = time.time_ns() // 1000
        query(url, "UPDATE holders SET requests_filled = 0, filled_us = ?1", now)
        await ask(running.url, secret, 5)
        assert len(provider.calls) == 1
