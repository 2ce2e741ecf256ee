"""Limits at the gateway: who may begin, what the others are told, and what is given back when an exchange is over."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from ledgers import query
from limited import limited_key, organisation, set_limits
from rawclient import ask, gateway, locked, true

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


async def test_refusal_that_lasts_is_told_again_without_a_look_at_the_ledger(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    above = organisation(url, requests_per_minute=1)
    one, other = (limited_key(url, above, name) for name in ("one", "other"))
    async with (
        ScriptedProvider([ROLE, text("Hello"), FINISH, REPORT, DONE]) as provider,
        gateway(providers={"mock": provider.definition()}, ledger={"url": url}) as running,
    ):
        asked = []
        admit = running.context.ledger.admit
        running.context.ledger.admit = lambda *words: asked.append(words) or admit(*words)  # type: ignore[method-assign]
        statuses, remaining = [], []
        for key in (one, one, one, other):
            client = await (await ask(running.port, key)).head()
            await client.rest()
            statuses.append(client.status)
            remaining.append(client.headers["x-ratelimit-remaining-requests"])
        assert (statuses, remaining) == ([200, 429, 429, 429], ["0"] * 4)
        assert len(asked) == 2
        assert 0 < int(client.headers["retry-after"]) <= 60
        id = above
        set_limits(url, id, requests_per_minute=600)
        await true(
            lambda: running.context.ledger.keys.find(one.split()[-1]).organisation.limits.requests_per_minute == 600
        )  # type: ignore[union-attr]
        await true_soon(running.port, other)


async def true_soon(port: int, key: str) -> None:
    """Wait until this key is served."""
    async with asyncio.timeout(30):
        while True:
            client = await (await ask(port, key)).head()
            await client.rest()
            if client.status == 200:
                return
            await asyncio.sleep(0.1)


async def test_ledger_that_does_not_answer_is_503_and_nothing_stays_taken(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    key = limited_key(url, concurrent=1)
    async with (
        ScriptedProvider([ROLE, text("Hello"), FINISH, REPORT, DONE]) as provider,
        gateway(providers={"mock": provider.definition()}, ledger={"url": url, "timeout_seconds": 0.2}) as running,
    ):
        with locked(tmp_path / "infron.db"):
            client = await (await ask(running.port, key)).head()
            error = await client.error()
            assert (client.status, error["metadata"]["error_type"]) == (503, "ledger_unavailable")
        await true(lambda: query(url, "SELECT outcome, charge FROM entries") == [("failed", 0)])
        assert query(url, "SELECT live, held FROM holders") == [(0, 0)]
        assert not provider.calls
        await true_soon(running.port, key)


async def test_client_that_leaves_while_it_waits_for_the_ledger_takes_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    key = limited_key(url, concurrent=1, total=1.0)
    async with (
        ScriptedProvider([ROLE, text("Hello"), FINISH, REPORT, DONE]) as provider,
        gateway(providers={"mock": provider.definition(prices=PRICES)}, ledger={"url": url}) as running,
    ):
        with locked(tmp_path / "infron.db"):
            client = await ask(running.port, key)
            await true(lambda: len(running.context.registry) == 1)
            client.close()
            [waiting] = running.context.registry.running()
            await true(lambda: waiting._gone)  # type: ignore[attr-defined]
        await true(lambda: query(url, "SELECT outcome, charge FROM entries") == [("cancelled", 0)])
        assert query(url, "SELECT live, held FROM holders") == [(0, 0)]
        [(reason,)] = query(url, "SELECT on_disconnect FROM entries")
        assert reason == "cancel: the request had not been sent to a provider"
        assert not provider.calls
