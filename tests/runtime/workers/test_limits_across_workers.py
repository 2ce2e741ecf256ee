"""Four worker processes, one ledger: as many requests at once as clients like, and no limit is passed by one."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from ledgers import query
from limited import limited_key, organisation
from process import process
from rawclient import ask, true

from infron.runtime.ledger import invariants
from infron.runtime.ledger.stores import opened
from infron.testing import DONE, FINISH, ROLE, Call, Pause, ScriptedProvider, Step, frame, text

pytestmark = [pytest.mark.heavy, pytest.mark.asyncio(loop_scope="module")]

COMPLETION = 400
USAGE = {"prompt_tokens": 10, "completion_tokens": COMPLETION, "total_tokens": 410}
REPORT = frame(choices=[], usage=USAGE)
ANSWER = 10 * 10**6 + COMPLETION * 10**7  # picodollars
MOST = 22 * 10**6 + COMPLETION * 10**7  # that is held for one: its prompt is 22 by our count, at most
KEYS: dict[str, dict[str, Any]] = {
    "rate": {"requests_per_minute": 10},
    "slots": {"concurrent": 5},
    "budget": {"total": 7.5 * MOST / 10**12},
    "tokens": {"tokens_per_minute": 100},
    **{f"team {number}": {"requests_per_minute": 10} for number in range(3)},
}


class House(NamedTuple):
    port: int
    url: str
    keys: dict[str, str]
    at_once: Counter[str]  # model -> the most of its answers at once


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder: Path = tmp_path_factory.mktemp("workers")
    url = f"sqlite:///{folder / 'infron.db'}"
    team = organisation(url, requests_per_minute=20)
    keys = {
        name: limited_key(url, team if name.startswith("team") else None, name, **limits)
        for name, limits in KEYS.items()
    }
    at_once: Counter[str] = Counter()
    calls: list[Call] = []

    def script(call: Call) -> list[Step]:
        model = json.loads(call.body)["model"]
        calls.append(call)
        running = [c for c in calls if not c.finished.is_set() and json.loads(c.body)["model"] == model]
        at_once[model] = max(at_once[model], len(running))
        pause = 0.05 if model == "slots" else 0.01
        return [ROLE, text("Hello"), Pause(pause), FINISH, REPORT, DONE]

    async with ScriptedProvider(script) as provider:
        prices = 'on_disconnect = "drain"\nprices = { "*" = { prompt = "1", completion = "10" } }'
        async with process(folder, provider, '[server]\nworkers = 4\n[log]\nlevel = "error"', prices) as gateway:
            yield House(gateway.port, url, keys, at_once)


async def burst(house: House, keys: list[str], model: str, **fields: Any) -> tuple[Counter[int], float]:
    """All at once, each on a connection of its own: the statuses, and how long it took."""
    began = time.monotonic()

    async def one(key: str) -> int:
        client = await ask(house.port, house.keys[key], model=f"mock/{model}", **fields)
        await client.head()
        await client.rest()
        client.close()
        return client.status

    statuses = Counter(await asyncio.gather(*map(one, keys)))
    return statuses, time.monotonic() - began


async def all_given_back(house: House) -> None:
    """Everything is settled, and adds up."""
    await true(lambda: query(house.url, "SELECT count(*) FROM entries WHERE outcome IS NULL") == [(0,)])
    assert query(house.url, "SELECT sum(live), sum(held) FROM holders") == [(0, 0)]
    with opened(house.url) as store:
        store.reach()
        with store.view() as rows:
            assert invariants.check(rows, ceilings=True) == []


async def test_rate_lets_exactly_its_number_begin(house: House) -> None:
    statuses, took = await burst(house, ["rate"] * 200, "rate")
    assert statuses.keys() <= {200, 429}
    assert 10 <= statuses[200] <= 10 + math.floor(took / 6)
    await all_given_back(house)


async def test_rate_of_an_organisation_holds_over_its_keys(house: House) -> None:
    statuses, took = await burst(house, [f"team {number % 3}" for number in range(120)], "team")
    assert 20 <= statuses[200] <= 20 + math.floor(took / 3)
    await all_given_back(house)


async def test_slots_are_never_passed(house: House) -> None:
    async def again_and_again() -> int:
        served = 0
        for _ in range(6):
            statuses, _ = await burst(house, ["slots"], "slots")
            served += statuses[200]
            await asyncio.sleep(0.01)
        return served

    served = sum(await asyncio.gather(*(again_and_again() for _ in range(20))))
    assert served >= 5
    assert house.at_once["slots"] <= 5
    await all_given_back(house)


async def test_budget_for_seven_and_a_half_answers_pays_for_seven_at_once(house: House) -> None:
    statuses, _ = await burst(house, ["budget"] * 60, "budget", max_tokens=COMPLETION)
    assert statuses == {200: 7, 402: 53}
    await all_given_back(house)
    spent = query(
        house.url,
        "SELECT charge FROM spend WHERE period = 'ever' AND holder = (SELECT id FROM keys WHERE name = 'budget')",
    )
    assert spent == [(7 * ANSWER,)]


async def test_ask_for_more_tokens_than_a_minute_has_passes_once(house: House) -> None:
    statuses, _ = await burst(house, ["tokens"] * 20, "tokens", max_tokens=3000)
    assert statuses == {200: 1, 429: 19}
    await all_given_back(house)
    [(filled,)] = query(house.url, "SELECT tokens_filled FROM holders WHERE tokens_per_minute = 100")
    assert filled < 0, "what was used beyond the rate is a debt"
