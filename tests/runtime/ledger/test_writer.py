from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from typing import Any

import pytest
from ledgers import claimed, opened, opening, query, running, settlement, until, verdict

from infron.errors import LedgerUnavailable
from infron.runtime.ledger import sqlite, writer
from infron.runtime.ledger.administration import create_key
from infron.runtime.ledger.inbox import Inbox
from infron.runtime.ledger.store import Rows
from infron.runtime.ledger.verdict import Recorded, Unavailable, Verdict


async def test_a_callback_that_raises_does_not_keep_the_others_from_being_called(url: str):
    wrong: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: wrong.append(context))

    def raises(_: Verdict) -> None:
        raise RuntimeError("mine")

    async with running(url) as ledger:
        ledger.open(opening("gen-1"), raises)
        assert await opened(ledger, "gen-2")
    assert [str(context["exception"]) for context in wrong] == ["mine"]


async def test_a_read_that_raises_ends_itself_alone(url: str, monkeypatch: pytest.MonkeyPatch):
    def read(rows: Rows, id: str) -> None:
        raise RuntimeError("mine")

    async with running(url) as ledger:
        with monkeypatch.context() as patched:
            patched.setattr("infron.runtime.ledger.ledger.read_entry", read)
            with pytest.raises(RuntimeError, match="mine"):
                await ledger.receipt("gen-1", None)
        assert await opened(ledger, "gen-1")
        assert await ledger.receipt("gen-1", None) is not None


async def test_what_is_queued_together_is_written_in_few_transactions(url: str):
    async with running(url) as ledger:
        before = ledger.counts.transactions
        assert all(await asyncio.gather(*(opened(ledger, f"gen-{number}") for number in range(500))))
        for number in range(500):
            ledger.settled(settlement(f"gen-{number}"))
        assert await ledger.receipt("gen-499", None)
        assert (ledger.counts.opened, ledger.counts.settled) == (500, 500)
        assert ledger.counts.transactions - before <= 6


async def test_openings_that_follow_each_other_one_by_one_wait_for_no_gap(url: str, monkeypatch: pytest.MonkeyPatch):
    """A client that asked one question after the other waited 4 ms before each first token, for others to come."""
    monkeypatch.setattr(writer, "GAP_SECONDS", 60.0)
    async with running(url) as ledger:
        for number in range(50):
            assert await opened(ledger, f"gen-{number}")
            ledger.settled(settlement(f"gen-{number}"))


async def test_settlements_for_which_nobody_waits_are_written_soon_all_the_same(url: str):
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1")
        ledger.settled(settlement("gen-1"))
        await until(lambda: ledger.counts.settled == 1, 1.0)


async def test_stopping_writes_everything_that_is_queued(url: str):
    async with running(url) as ledger:
        answers: list[Verdict] = []
        for number in range(3000):
            ledger.open(opening(f"gen-{number}"), answers.append)
            ledger.settled(settlement(f"gen-{number}"))
    await asyncio.sleep(0)
    assert answers == [Recorded()] * 3000
    assert query(url, "SELECT count(*), sum(charge) FROM entries WHERE outcome = 'completed'") == [(3000, 21000)]
    assert query(url, "SELECT count(*) FROM owners") == [(0,)]


async def test_a_stopped_ledger_refuses_and_can_be_stopped_again(url: str):
    async with running(url) as ledger:
        pass
    assert await verdict(ledger, "gen-1") == Unavailable("The ledger is closed.")
    assert await claimed(ledger, "gen-1", 5) == "Unavailable: The ledger is closed."
    with pytest.raises(LedgerUnavailable):
        await ledger.receipt("gen-1", None)
    await ledger.stop()
    assert ledger.left_open == 0


async def test_stopping_tells_how_many_entries_are_left_open(url: str):
    async with running(url) as ledger:
        for number in range(5):
            assert await opened(ledger, f"gen-{number}")
        ledger.settled(settlement("gen-0"))
        ledger.settled(settlement("gen-1", frames="many"))  # which cannot be written
    assert ledger.left_open == 4
    assert query(url, "SELECT count(*) FROM entries WHERE outcome IS NULL") == [(4,)]


async def test_a_ledger_locked_by_another_program_refuses_opens_in_time_and_recovers_with_every_settlement(url: str):
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1")
        with contextlib.closing(sqlite3.connect(sqlite.path_of(url), isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            started = time.monotonic()
            refused = await verdict(ledger, "gen-2", key_id="key_a")
            assert refused == Unavailable(f"The ledger {sqlite.path_of(url)} is locked by another program.")
            assert time.monotonic() - started < 5
            assert ledger.healthy is not None
            assert "locked" in ledger.healthy
            ledger.settled(settlement("gen-1"))
            ledger.settled(settlement("gen-2"))
            waiting = await ledger.receipt("gen-1", None)  # reading goes on
            assert waiting is not None
            assert waiting.outcome is None
            assert ledger.counts.settled == 0
            other.execute("ROLLBACK")
        await until(lambda: ledger.healthy is None, 5.0)
        first, second = await ledger.receipt("gen-1", None), await ledger.receipt("gen-2", "key_a")
        assert first is not None
        assert second is not None
        assert (first.outcome, second.outcome) == ("completed", "completed")
        assert second.model == "author/model"


async def test_a_full_disk_refuses_opens_and_keeps_settlements_until_there_is_room(url: str):
    resource = pytest.importorskip("resource")
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1")
        size = os.stat(f"{sqlite.path_of(url)}-wal").st_size
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            assert not await opened(ledger, "gen-2")
            ledger.settled(settlement("gen-1"))
            assert ledger.healthy is not None
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await until(lambda: ledger.healthy is None, 5.0)
        receipt = await ledger.receipt("gen-1", None)
        assert receipt is not None
        assert receipt.outcome == "completed"
        assert await opened(ledger, "gen-3")


async def test_a_ledger_that_was_moved_away_is_missed_and_not_made_anew(url: str):
    path = sqlite.path_of(url)
    away = f"{path}.away"
    create_key(url, "one")
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1")
        await ledger.receipt("gen-1", None)
        os.rename(path, away)
        assert not await opened(ledger, "gen-2")
        ledger.settled(settlement("gen-1"))
        assert ledger.healthy is not None
        assert "gone" in ledger.healthy
        assert not path.exists()
        assert ledger.keys.required
        with pytest.raises(LedgerUnavailable, match="gone"):
            await ledger.receipt("gen-1", None)
        os.rename(away, path)
        await until(lambda: ledger.healthy is None, 5.0)
        receipt = await ledger.receipt("gen-1", None)
        assert receipt is not None
        assert receipt.outcome == "completed"


@pytest.mark.parametrize("pending", [False, True])
async def test_a_ledger_that_cannot_be_written_is_tried_now_and_then_and_not_all_the_time(
    url: str, monkeypatch: pytest.MonkeyPatch, pending: bool
):
    # The thread asked for a lease that was due, in vain, as often as the processor let it: half a core.
    monkeypatch.setattr(writer, "RENEW_SECONDS", 0.01)
    monkeypatch.setattr(writer, "SWEEP_SECONDS", 0.01)
    waits: list[float] = []
    wait = Inbox.wait
    monkeypatch.setattr(Inbox, "wait", lambda self, seconds: waits.append(seconds) or wait(self, seconds))
    path = sqlite.path_of(url)
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1")
        os.rename(path, f"{path}.away")
        if pending:
            ledger.settled(settlement("gen-1"))
        await until(lambda: ledger.healthy is not None, 5.0)
        waits.clear()
        await asyncio.sleep(1.0)
        assert len(waits) < 30
        os.rename(f"{path}.away", path)
        await until(lambda: ledger.healthy is None, 5.0)


async def test_an_empty_ledger_in_the_place_of_one_with_keys_does_not_open_the_door(url: str):
    create_key(url, "one")
    async with running(url) as ledger:
        assert ledger.keys.required
        for path in sqlite.path_of(url).parent.iterdir():
            path.unlink()
        async with running(url):
            pass
        assert await opened(ledger, "gen-1")
        assert query(url, "SELECT count(*) FROM keys") == [(0,)]
        assert ledger.keys.required


async def test_a_ledger_that_cannot_be_written_stops_in_bounded_time(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writer, "STOP_SECONDS", 0.2)
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1")
        other = sqlite3.connect(sqlite.path_of(url), isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        ledger.settled(settlement("gen-1"))
        started = time.monotonic()
    assert ledger.left_open == 1
    assert time.monotonic() - started < 8
    other.close()
    assert query(url, "SELECT outcome FROM entries") == [(None,)]  # the next start will find it
