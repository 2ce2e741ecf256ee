from __future__ import annotations

import asyncio
import contextlib
import sqlite3

import pytest
from ledgers import HOLDER, child, claimed, line, opened, running, settlement, until

from infron.runtime.ledger import sqlite


async def test_drains_are_capped_over_all_processes(url: str):
    with child(url, HOLDER) as other:
        assert await line(other) == "granted"
        async with running(url) as ledger:
            for number in range(3):
                assert await opened(ledger, f"gen-{number}")
            assert not await claimed(ledger, "gen-0", 2)
            assert await claimed(ledger, "gen-1", 2)
            ledger.settled(settlement("gen-0"))
            assert not await claimed(ledger, "gen-1", 2)
            assert await claimed(ledger, "gen-2", 2)
            other.kill()
            other.wait()
            assert not await claimed(ledger, "gen-2", 2)  # the dead do not drain


async def test_only_an_open_exchange_can_drain(url: str):
    async with running(url) as ledger:
        assert await claimed(ledger, "gen-never", 5) == "Refused: its entry is settled already"
        assert await opened(ledger, "gen-1")
        ledger.settled(settlement("gen-1"))
        assert await claimed(ledger, "gen-1", 5) == "Refused: its entry is settled already"
        assert await opened(ledger, "gen-2")
        assert await claimed(ledger, "gen-2", 0) == "Refused: too many answers are being read on already (0)"
        assert ledger.drains_of(None) == 0


@pytest.mark.parametrize("key_id", ["key_a", None])
async def test_drains_of_one_key_are_capped_over_all_processes_and_leave_room_for_others(url: str, key_id: str | None):
    # A burst of one key's disconnects took the whole cap: each other key's answers were cut short.
    async with running(url) as one, running(url) as two:
        for number in range(4):
            assert await opened((one, two)[number % 2], f"gen-{number}", key_id=key_id)
        assert await opened(two, "gen-other", key_id="key_b")
        assert not await claimed(one, "gen-0", 3, of_key=2)
        assert not await claimed(two, "gen-1", 3, of_key=2)
        refusal = "Refused: too many answers of this key are being read on already (2)"
        assert [await claimed(one, "gen-2", 3, of_key=2), await claimed(two, "gen-3", 3, of_key=2)] == [refusal] * 2
        assert not await claimed(two, "gen-other", 3, of_key=2)
        assert not await claimed(one, "gen-0", 1, of_key=1)  # it drains already
        one.settled(settlement("gen-0"))
        await one.receipt("gen-0", key_id)
        assert not await claimed(two, "gen-3", 3, of_key=2)
        assert await claimed(one, "gen-2", 3, of_key=5) == "Refused: too many answers are being read on already (3)"


async def test_a_drain_is_claimed_when_the_ledger_can_be_written_again(url: str):
    # While another program held the lock for 2 s, all answers were cut short, as if too many were being read on.
    async with running(url) as ledger:
        for number in range(3):
            assert await opened(ledger, f"gen-{number}")
        with contextlib.closing(sqlite3.connect(sqlite.path_of(url), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            claims = [asyncio.ensure_future(claimed(ledger, f"gen-{number}", 2)) for number in range(3)]
            await until(lambda: ledger.healthy is not None, 5.0)
            assert not any(claim.done() for claim in claims)
            assert ledger.drains_of(None) == 3
            ledger.settled(settlement("gen-0"))
            other.execute("ROLLBACK")
        assert await asyncio.gather(*claims) == ["Refused: its entry is settled already", "", ""]
        assert ledger.drains_of(None) == 2


async def test_the_drains_of_a_key_are_known_here_at_once_and_elsewhere_within_a_second(url: str):
    async with running(url) as one, running(url) as two:
        assert await opened(one, "gen-1", key_id="key_a")
        assert await opened(one, "gen-2", key_id="key_b")
        assert not await claimed(one, "gen-1", 5)
        assert not await claimed(one, "gen-2", 5)
        assert (one.drains_of("key_a"), one.drains_of("key_b"), one.drains_of(None)) == (1, 1, 0)
        await until(lambda: two.drains_of("key_a") == 1, 1.0)
        one.settled(settlement("gen-1"))
        assert one.drains_of("key_a") == 0
        await until(lambda: two.drains_of("key_a") == 0, 1.0)
