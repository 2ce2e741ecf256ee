"""A budget that is used up while an answer comes: it stops at the end of a frame, and what was delivered is charged."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ledgers import query
from limited import limited_key, set_limits
from rawclient import Client, ask, gateway, get, locked, true, within

from infron.policy import tokens
from infron.testing import DONE, FINISH, ROLE, RunningGateway, ScriptedProvider, Wait, frame, text

NEVER = asyncio.Event
SAID = [f" word{number}" for number in range(2000)]
WORDS = [text(word) for word in SAID]
PRICES = {"*": {"prompt": "1", "completion": "10"}}  # USD per million tokens
COMPLETION = 10_000_000  # picodollars a token
STOPS = {"value": "yes", "source": "a test", "date": "2026-11-28"}
LENGTH = frame(choices=[{"index": 0, "delta": {}, "finish_reason": "length"}])


def usage(prompt: int, completion: int) -> bytes:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return frame(choices=[], usage=counts)


def watched(provider: ScriptedProvider, **more: Any) -> dict[str, Any]:
    fields = {"on_disconnect": "cancel", "stops_billing": STOPS, "prices": PRICES, "tokenizer": "gpt", **more}
    return provider.definition(**fields)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'infron.db'}"


@pytest.fixture
def quiet() -> Iterator[None]:
    """The ledger's complaints are meant."""
    logging.getLogger("infron").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("infron").setLevel(logging.NOTSET)


def charged(url: str) -> int:
    found = query(url, "SELECT charge FROM spend WHERE period = 'ever' AND holder LIKE 'key_%'")
    return int(found[0][0]) if found else 0


async def all_given_back(url: str) -> None:
    await true(lambda: query(url, "SELECT live, held FROM holders") == [(0, 0)])


def assert_stopped(client: Client) -> dict[str, Any]:
    """Whole words, then the error by itself, then the end; what it tells beside its message."""
    *_, error, done = client.frames()
    assert done == "[DONE]"
    assert "choices" not in error
    assert error["error"]["code"] == "insufficient_quota"
    told: dict[str, Any] = error["error"]["metadata"]
    assert (told["status"], told["reason"], told["error_type"]) == (402, "budget_exhausted", "payment_required")
    words = client.words().split()
    assert words == [f"word{number}" for number in range(len(words))], "a word is missing, or was cut"
    return told


async def stopped_at(running: RunningGateway, *headers: str, **fields: Any) -> Client:
    client = await (await ask(running.port, *headers, **fields)).head()
    await client.rest()
    assert client.status == 200
    return client


@pytest.mark.parametrize(("tokenizer", "least"), [("gpt", 0.98), ("other", 0.7)])
async def test_stream_stops_at_a_frame_boundary_where_its_budget_is_used_up(
    url: str, tokenizer: str, least: float
) -> None:
    key = limited_key(url, total=0.02)  # 2,000 tokens of an answer
    async with (
        ScriptedProvider([ROLE, *WORDS, Wait(NEVER())]) as provider,
        gateway(providers={"mock": watched(provider, tokenizer=tokenizer)}, ledger={"url": url}) as running,
    ):
        client = await stopped_at(running, key)
        told = assert_stopped(client)
        assert (told["holder"], told["period"], told["resets_at"]) == ("key", "total", None)
        await all_given_back(url)
        assert least * 0.02 * 10**12 < charged(url) <= 0.02 * 10**12
        await within((await provider.called()).closed.wait(), 5)
        [(outcome, reason, hold)] = query(url, "SELECT outcome, on_disconnect, hold FROM entries")
        assert outcome == "cancelled"
        assert reason == "stopped: its budget is used up; cancel: closing the connection stops mock"
        assert charged(url) <= hold <= 0.02 * 10**12
        if tokenizer == "other":  # of which we count more than comes, so that something is left
            return
        refused = await (await ask(running.port, key)).head()
        assert (refused.status, (await refused.error())["metadata"]["reason"]) == (402, "budget_exhausted")
        set_limits(url, query(url, "SELECT id FROM keys")[0][0], total=10.0)  # topped up: it goes on
        again = await (await ask(running.port, key)).head()
        await again.until(b"word1999")


async def test_budget_for_seven_answers_and_a_half_gives_seven_and_stops_the_eighth(url: str) -> None:
    answer = SAID[:300]
    came = tokens.count_text("".join(answer), "gpt")
    each = 20 * 1_000_000 + came * COMPLETION
    key = limited_key(url, day=7.5 * each / 10**12)
    script = [ROLE, *map(text, answer), FINISH, usage(20, came), DONE]
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": watched(provider)}, ledger={"url": url}) as running,
    ):
        for _ in range(7):
            client = await stopped_at(running, key)
            assert len(client.words().split()) == 300
            await all_given_back(url)
        client = await stopped_at(running, key)
        told = assert_stopped(client)
        assert told["period"] == "day"
        assert told["resets_at"] > 1.7e9
        assert 120 < len(client.words().split()) < 160
        await all_given_back(url)
        assert 7.3 * each < charged(url) <= 7.5 * each


async def test_two_streams_share_the_last_cent(url: str) -> None:
    key = limited_key(url, total=0.01)
    start = asyncio.Event()
    async with (
        ScriptedProvider([ROLE, *WORDS[:10], Wait(start), *WORDS[10:], Wait(NEVER())]) as provider,
        gateway(providers={"mock": watched(provider)}, ledger={"url": url}) as running,
    ):
        clients = [await (await ask(running.port, key)).head() for _ in range(2)]
        for client in clients:
            await client.until(b"word9")
        start.set()
        for client in clients:
            await client.rest()
            assert_stopped(client)
        await all_given_back(url)
        assert 0.95 * 0.01 * 10**12 < charged(url) <= 0.01 * 10**12
        assert all(len(client.words().split()) > 100 for client in clients)


async def test_one_huge_frame_does_not_pass_a_budget_that_it_does_not_fit(url: str) -> None:
    key = limited_key(url, total=0.01)
    async with (
        ScriptedProvider([ROLE, text("Hello"), text(" word" * 20_000), Wait(NEVER())]) as provider,
        gateway(providers={"mock": watched(provider)}, ledger={"url": url}) as running,
    ):
        client = await stopped_at(running, key)
        assert client.words() == "Hello"
        await all_given_back(url)
        assert charged(url) < 100 * COMPLETION


@pytest.mark.parametrize("most", [40, 400])
async def test_answer_that_its_caller_limits_to_what_is_paid_is_not_stopped_by_our_own_count(
    url: str, most: int
) -> None:
    """We count no less than the provider does: an answer as long as it may be looked longer than what was held."""
    key = limited_key(url, total=0.0001 + most * 0.00001 + 0.00002)
    script = [ROLE, *WORDS[: most // 2], LENGTH, usage(10, most), DONE]
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": watched(provider, tokenizer="other")}, ledger={"url": url}) as running,
    ):
        client = await stopped_at(running, key, max_tokens=most)
        assert len(client.words().split()) == most // 2
        assert client.frames()[-3]["choices"][0]["finish_reason"] == "length"
        await all_given_back(url)
        assert charged(url) == 10 * 1_000_000 + most * COMPLETION
        assert json.loads(provider.calls[0].body)["max_tokens"] == most


async def test_stream_whose_reader_is_slow_is_stopped_all_the_same(url: str) -> None:
    key = limited_key(url, total=0.5)
    async with (
        ScriptedProvider([text(" word" * 600)] * 500) as provider,
        gateway(providers={"mock": watched(provider)}, ledger={"url": url}) as running,
    ):
        client = await (await ask(running.port, key, buffer=4096)).head()
        (exchange,) = running.context.registry.running()
        await true(lambda: exchange.pace.paused_at or not len(running.context.registry))
        await client.rest()
        assert client.frames()[-2]["error"]["metadata"]["reason"] == "budget_exhausted"
        await all_given_back(url)
        assert charged(url) <= 0.5 * 10**12


# ---- the ledger is away


@pytest.mark.usefixtures("quiet")
async def test_stream_waits_for_a_ledger_that_is_away_and_goes_on(tmp_path: Path, url: str) -> None:
    key = limited_key(url, total=1.0)
    start = asyncio.Event()
    script = [ROLE, *WORDS[:10], Wait(start), *WORDS[10:1000], FINISH, usage(20, 2000), DONE]
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": watched(provider)}, ledger={"url": url, "timeout_seconds": 60.0}) as running,
    ):
        client = await (await ask(running.port, key)).head()
        await client.until(b"word9")
        (exchange,) = running.context.registry.running()
        with locked(tmp_path / "infron.db"):
            start.set()
            await true(lambda: exchange.attempts.current.paused)
            before = len(exchange.attempts.current.meter.text)
            assert before < 300
        await client.rest()
        assert len(client.words().split()) == 1000
        assert client.frames()[-1] == "[DONE]"
        await all_given_back(url)


@pytest.mark.usefixtures("quiet")
async def test_stream_ends_with_503_where_the_ledger_stays_away(tmp_path: Path, url: str) -> None:
    key = limited_key(url, total=1.0)
    start = asyncio.Event()
    async with (
        ScriptedProvider([ROLE, *WORDS[:10], Wait(start), *WORDS[10:], Wait(NEVER())]) as provider,
        gateway(providers={"mock": watched(provider)}, ledger={"url": url, "timeout_seconds": 3.0}) as running,
    ):
        client = await (await ask(running.port, key)).head()
        await client.until(b"word9")
        with locked(tmp_path / "infron.db"):
            start.set()
            await client.rest()
            error = client.frames()[-2]["error"]
            assert (error["code"], error["metadata"]["status"]) == ("ledger_unavailable", 503)
            await within((await provider.called()).closed.wait(), 5)
        await all_given_back(url)
        found = await receipt_of(running, key, client.id)
        assert found["outcome"] == "cancelled"
        assert found["on_disconnect"].startswith("stopped: the ledger could not be asked for more of its budget; ")


async def receipt_of(running: RunningGateway, key: str, id: str) -> dict[str, Any]:
    client = await get(running.port, f"/v1/generation?id={id}", key)
    found: dict[str, Any] = json.loads(client.received)["data"]
    return found
