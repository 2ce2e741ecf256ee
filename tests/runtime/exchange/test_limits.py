"""Limits at the gateway: who may begin, what the others are told, and what is given back when an exchange is over."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from ledgers import query
from limited import limited_key
from rawclient import ask, gateway, true

from infron.testing import DONE, FINISH, ROLE, USAGE, ScriptedProvider, Wait, frame, text


async def test_slot_of_a_key_is_taken_by_one_stream_at_once_and_given_back_when_it_is_settled(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    key = limited_key(url, concurrent=1)
    hold = asyncio.Event()
    async with (
        ScriptedProvider([ROLE, text("Hello"), Wait(hold), FINISH, USAGE, DONE]) as provider,
        gateway(providers={"mock": provider.definition()}, ledger={"url": url}) as running,
    ):
        first = await (await ask(running.port, key)).head()
        await first.until(b"Hello")
        second = await (await ask(running.port, key)).head()
        error = await second.error()
        assert (first.status, second.status, error["code"]) == (200, 429, "rate_limit_exceeded")
        assert error["metadata"]["limit"] == "concurrent"
        assert second.headers["retry-after"] == "1"
        hold.set()
        await first.rest()
        await true(lambda: query(url, "SELECT live, held FROM holders") == [(0, 0)])
        third = await (await ask(running.port, key)).head()
        await third.rest()
        assert third.status == 200
        assert [outcome for (outcome,) in query(url, "SELECT outcome FROM entries")][:1] == ["completed"]
        assert len(provider.calls) == 2


# Of 1 USD for a million tokens of a prompt and 10 for one of an answer.
PRICES = {"*": {"prompt": "1", "completion": "10"}}
REPORT = frame(choices=[], usage={"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15})


async def test_budget_holds_what_an_answer_may_come_to_and_charges_what_it_came_to(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    key = limited_key(url, total=1.0)
    hold = asyncio.Event()
    async with (
        ScriptedProvider([ROLE, text("Hello"), Wait(hold), FINISH, REPORT, DONE]) as provider,
        gateway(
            providers={"mock": provider.definition(on_disconnect="drain", prices=PRICES)}, ledger={"url": url}
        ) as running,
    ):
        client = await (await ask(running.port, key, max_tokens=1000)).head()
        await client.until(b"Hello")
        [(held, of_entry)] = query(url, "SELECT holders.held, entries.hold FROM holders, entries")
        assert held == of_entry
        assert 1000 * 10_000_000 < held < 1100 * 10_000_000
        hold.set()
        await client.rest()
        await true(lambda: query(url, "SELECT live, held FROM holders") == [(0, 0)])
        [(charge,)] = query(url, "SELECT charge FROM spend WHERE period = 'ever' AND holder LIKE 'key_%'")
        assert charge == 12 * 1_000_000 + 3 * 10_000_000


async def test_answer_that_nobody_can_stop_is_asked_for_no_more_than_its_budget_pays(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    key = limited_key(url, total=0.005)  # 500 tokens of an answer, less a prompt
    async with (
        ScriptedProvider([ROLE, text("Hello"), FINISH, REPORT, DONE]) as provider,
        gateway(
            providers={"mock": provider.definition(on_disconnect="drain", prices=PRICES)}, ledger={"url": url}
        ) as running,
    ):
        client = await (await ask(running.port, key, max_tokens=4000)).head()
        await client.rest()
        assert client.status == 200
        sent = json.loads(provider.calls[0].body)["max_tokens"]
        assert 450 <= sent < 500
        await true(lambda: query(url, "SELECT held, clamped FROM holders, entries") == [(0, sent)])
