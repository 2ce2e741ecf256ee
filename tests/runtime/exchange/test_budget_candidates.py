"""Budgets and candidates: what the next one costs is set aside first; one that cannot be stopped gets a limit."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from ledgers import query
from limited import limited_key
from rawclient import ask, gateway, get, locked, true, within

from infron.testing import DONE, FINISH, ROLE, Answer, ScriptedProvider, Wait, frame, text

NEVER = asyncio.Event
CHEAP = {"*": {"prompt": "1", "completion": "10"}}  # USD per million tokens
DEAR = {"*": {"prompt": "10", "completion": "1000"}}
STOPS = {"value": "yes", "source": "a test", "date": "2026-11-28"}
WATCHED = {"on_disconnect": "cancel", "stops_billing": STOPS, "tokenizer": "gpt"}
BROKEN = [Answer(503, body=b"{}")]
LENGTH = frame(choices=[{"index": 0, "delta": {}, "finish_reason": "length"}])


def usage(prompt: int, completion: int) -> bytes:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return frame(choices=[], usage=counts)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'infron.db'}"


def charged(url: str) -> int:
    found = query(url, "SELECT charge FROM spend WHERE period = 'ever' AND holder LIKE 'key_%'")
    return int(found[0][0]) if found else 0


async def all_given_back(url: str) -> None:
    await true(lambda: query(url, "SELECT live, held FROM holders") == [(0, 0)])


@pytest.mark.parametrize(
    ("budget", "row", "served", "sent"),
    [
        (1.0, WATCHED, "dear", None),
        (0.003, WATCHED, "cheap", None),  # 64 tokens of the dear one are more than that
        (100.0, {"on_disconnect": "drain"}, "dear", 8192),
        (0.5, {"on_disconnect": "drain"}, "dear", 499),  # as many as are paid for
        (0.1, {"on_disconnect": "drain"}, "cheap", None),  # 256 of them are not
    ],
)
async def test_next_candidate_is_tried_where_it_can_be_paid(
    url: str, budget: float, row: dict[str, Any], served: str, sent: int | None
) -> None:
    key = limited_key(url, total=budget)
    script = [ROLE, text("Hello"), FINISH, usage(8, 3), DONE]
    async with (
        ScriptedProvider(BROKEN) as broken,
        ScriptedProvider(script) as dear,
        ScriptedProvider(script) as cheap,
        gateway(
            providers={
                "broken": broken.definition(prices=CHEAP, **WATCHED),
                "dear": dear.definition(prices=DEAR, **row),
                "cheap": cheap.definition(prices=CHEAP, **WATCHED),
            },
            ledger={"url": url},
        ) as running,
    ):
        client = await (await ask(running.port, key, model="broken/x", models=["dear/x", "cheap/x"])).head()
        await client.rest()
        assert client.words() == "Hello"
        await all_given_back(url)
        told = json.loads((await get(running.port, f"/v1/generation?id={client.id}", key)).received)["data"]
        failed = [(each["provider"], each["error_type"]) for each in told["attempts"]]
        assert told["provider_name"] == served
        assert failed == [
            ("broken", "provider_overloaded"),
            *([("dear", "payment_required")] if served == "cheap" else []),
        ]
        assert charged(url) == (8 * 1 + 3 * 10 if served == "cheap" else 8 * 10 + 3 * 1000) * 1_000_000
        calls = dear.calls if served == "dear" else cheap.calls
        assert len(dear.calls) == (served == "dear")
        limit = json.loads(calls[0].body).get("max_tokens")
        assert limit is None if sent is None else abs(limit - sent) < 10


async def test_last_candidate_that_cannot_be_paid_is_a_402(url: str) -> None:
    key = limited_key(url, total=0.003)
    async with (
        ScriptedProvider(BROKEN) as broken,
        ScriptedProvider([Wait(NEVER())]) as dear,
        gateway(
            providers={
                "broken": broken.definition(prices=CHEAP, **WATCHED),
                "dear": dear.definition(prices=DEAR, **WATCHED),
            },
            ledger={"url": url},
        ) as running,
    ):
        client = await (await ask(running.port, key, model="broken/x", models=["dear/x"])).head()
        error = await client.error()
        assert (client.status, error["code"]) == (402, "insufficient_quota")
        assert error["metadata"]["reason"] == "budget_exhausted"
        assert dear.calls == []
        await all_given_back(url)
        assert charged(url) == 0


@pytest.mark.parametrize("budget", [0.003, 1.0])
async def test_stream_that_a_budget_cut_ends_with_its_error(url: str, budget: float) -> None:
    """A provider that cannot be stopped was asked for no more than is paid: its `length` looked like the model's."""
    key = limited_key(url, total=budget)
    script = [ROLE, text("Hello"), text(" world"), LENGTH, usage(8, 290), DONE]
    async with (
        ScriptedProvider(script) as provider,
        gateway(
            providers={"mock": provider.definition(prices=CHEAP, on_disconnect="drain")}, ledger={"url": url}
        ) as running,
    ):
        client = await (await ask(running.port, key)).head()
        await client.rest()
        assert client.words() == "Hello world"
        reasons = [choice["finish_reason"] for each in client.frames()[:-1] for choice in each.get("choices", ())]
        if budget == 1.0:  # ours was no lower than what the model may say
            assert "length" in reasons
        else:
            assert not any(reasons)
            error = client.frames()[-2]["error"]
            assert (error["code"], error["metadata"]["status"]) == ("insufficient_quota", 402)
            assert (error["metadata"]["reason"], error["metadata"]["holder"]) == ("budget_exhausted", "key")
        await all_given_back(url)
        assert charged(url) == 8 * 1_000_000 + 290 * 10_000_000
        [(outcome,)] = query(url, "SELECT outcome FROM entries")
        assert outcome == ("completed" if budget == 1.0 else "cancelled")


async def test_whole_answer_that_a_budget_cut_says_so(url: str) -> None:
    key = limited_key(url, total=0.003)
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "length"}
    counts = {"prompt_tokens": 8, "completion_tokens": 290, "total_tokens": 298}
    body = json.dumps({"id": "x", "object": "chat.completion", "choices": [choice], "usage": counts}).encode()
    headers = (("content-type", "application/json"),)
    async with (
        ScriptedProvider([Answer(200, headers, body)]) as provider,
        gateway(providers={"mock": provider.definition(prices=CHEAP, **WATCHED)}, ledger={"url": url}) as running,
    ):
        client = await (await ask(running.port, key, stream=False)).head()
        [told] = json.loads(await client.rest())["choices"]
        assert client.status == 200
        assert (told["finish_reason"], told["native_finish_reason"]) == ("length", "budget_exhausted")
        assert told["message"]["content"] == "Hello"
        await all_given_back(url)
        assert charged(url) == 8 * 1_000_000 + 290 * 10_000_000
        [(outcome, native)] = query(url, "SELECT outcome, native_finish_reason FROM entries")
        assert (outcome, native) == ("completed", "budget_exhausted")


async def test_stop_while_the_next_candidate_is_paid_for_tries_none(url: str, tmp_path: Path) -> None:
    key = limited_key(url, total=1.0)
    fail = asyncio.Event()
    async with (
        ScriptedProvider([Wait(fail), *BROKEN]) as broken,
        ScriptedProvider([Wait(NEVER())]) as dear,
        gateway(
            providers={
                "broken": broken.definition(prices=CHEAP, **WATCHED),
                "dear": dear.definition(prices=DEAR, **WATCHED),
            },
            ledger={"url": url, "timeout_seconds": 60.0},
        ) as running,
    ):
        client = await ask(running.port, key, model="broken/x", models=["dear/x"])
        await within(broken.called())
        (exchange,) = running.context.registry.running()
        with locked(tmp_path / "infron.db"):
            fail.set()
            await true(lambda: exchange.attempts.current.error)
            client.close()
            await true(lambda: exchange.outcome)
        await all_given_back(url)
        assert dear.calls == []
        assert query(url, "SELECT outcome, charge FROM entries") == [("cancelled", 0)]
