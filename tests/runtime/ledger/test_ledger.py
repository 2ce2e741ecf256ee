from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infron.errors import ConfigError, InvalidRequest, LedgerUnavailable, NotFound
from infron.money import PICODOLLARS, Price, Usage
from infron.records import FailedAttempt, Opening, Outcome, Settlement
from infron.runtime.ledger import entries, owners, receipts, sqlite, usage, writer
from infron.runtime.ledger.entries import DrainCaps
from infron.runtime.ledger.inbox import Inbox
from infron.runtime.ledger.ledger import Ledger, create_key, list_keys, revoke_key, usage_rows
from infron.runtime.ledger.store import Rows
from infron.runtime.ledger.stores import opened as opened_store
from infron.runtime.ledger.stores import store_of
from infron.runtime.ledger.verdict import Recorded, Refused, Unavailable, Verdict

FAILED = FailedAttempt(
    provider="other", provider_model="m", status=504, error_type="timeout", started_ms=0.0, ended_ms=9.5
)
PRICE = Price(prompt=150_000, completion=600_000, source="a price list")


def opening(id: str, **more: Any) -> Opening:
    values: dict[str, Any] = {
        "key_id": None,
        "model": "author/model",
        "provider": "host",
        "provider_model": "model-1",
        "streamed": True,
        "created_at": time.time(),
        "price": PRICE,
    }
    return Opening(id=id, **(values | more))


def settlement(id: str, **more: Any) -> Settlement:
    values: dict[str, Any] = {
        "outcome": Outcome.COMPLETED,
        "provider": "host",
        "provider_model": "model-1",
        "price": PRICE,
        "usage": Usage(prompt=10, completion=20, cached=3, reasoning=4),
        "cost": 5,
        "charge": 7,
    }
    return Settlement(id=id, **(values | more))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


@contextlib.asynccontextmanager
async def running(url: str, **options: Any) -> AsyncIterator[Ledger]:
    ledger = Ledger(url, **options)
    await ledger.start()
    try:
        yield ledger
    finally:
        await ledger.stop()


async def called(call: Callable[[Callable[[Verdict], None]], None]) -> Verdict:
    answer: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
    call(answer.set_result)
    return await answer


async def verdict(ledger: Ledger, id: str, **more: Any) -> Verdict:
    return await called(lambda done: ledger.open(opening(id, **more), done))


async def opened(ledger: Ledger, id: str, **more: Any) -> bool:
    return isinstance(await verdict(ledger, id, **more), Recorded)


async def claimed(ledger: Ledger, id: str, most: int, of_key: int = 0) -> str:
    """Why not; empty if it may drain."""
    found = await called(lambda done: ledger.claim_drain(id, DrainCaps(in_all=most, of_key=of_key), done))
    return "" if isinstance(found, Recorded) else f"{type(found).__name__}: {found.reason}"


async def until(condition: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def query(url: str, statement: str, *values: Any) -> list[Any]:
    with contextlib.closing(sqlite3.connect(sqlite.path_of(url), isolation_level=None, timeout=5)) as connection:
        return connection.execute(statement, values).fetchall()


CHILD = """
import asyncio, os, sys, time
from infron.money import *
from infron.records import *
from infron.runtime.ledger.ledger import *
def say(text):
    os.write(1, (text + "\\n").encode())
def opening(id, key_id=None):
    return Opening(id=id, key_id=key_id, model="m", provider="p", provider_model="m", streamed=True,
                   created_at=time.time(), price=None)
def settlement(id, charge=7):
    return Settlement(id=id, outcome=Outcome.COMPLETED, provider="p", provider_model="m", price=None,
                      usage=Usage(prompt=1, completion=1), cost=charge, charge=charge)
async def opened(ledger, id, key_id=None):
    future = asyncio.get_running_loop().create_future()
    ledger.open(opening(id, key_id), future.set_result)
    assert await future == Recorded()
async def heard():
    return (await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)).strip()
"""


@contextlib.contextmanager
def child(url: str, body: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs `async def main(ledger)`; it is killed at the end, if it still lives."""
    program = f"{CHILD}\n{body}\nasync def run():\n    ledger = Ledger({url!r})\n    await ledger.start()\n"
    program += "    await main(ledger)\n    await ledger.stop()\nasyncio.run(run())\n"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return (await asyncio.get_running_loop().run_in_executor(None, process.stdout.readline)).strip()


# ---- one exchange


async def test_a_receipt_shows_a_settlement_as_soon_as_it_was_handed_over(url: str):
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1", key_id="key_a", user="u", session_id="s", created_at=1_700_000_000.5)
        ledger.settle(
            settlement(
                "gen-1",
                outcome=Outcome.CANCELLED,
                estimated=True,
                cost=2 * PICODOLLARS,
                charge=3,
                finish_reason=None,
                error_type="x",
                error="why",
                upstream_id="up",
                latency_ms=1.5,
                generation_ms=2.5,
                upstream_closed_ms=3.5,
                frames=4,
                on_disconnect="cancel",
                attempts=(FAILED,),
            )
        )
        receipt = await ledger.receipt("gen-1", "key_a")
        assert receipt is not None
        assert (receipt.outcome, receipt.cancelled, receipt.estimated) == ("cancelled", True, True)
        assert (receipt.total_cost, receipt.usage, receipt.provider_cost) == (3e-12, 3e-12, 2.0)
        assert (receipt.tokens_prompt, receipt.native_tokens_prompt) == (10, 10)
        assert (receipt.tokens_completion, receipt.native_tokens_completion) == (20, 20)
        assert (receipt.native_tokens_cached, receipt.native_tokens_reasoning) == (3, 4)
        assert (receipt.latency, receipt.generation_time, receipt.upstream_closed_ms) == (1.5, 2.5, 3.5)
        assert receipt.created_at == "2023-11-14T22:13:20.500Z"
        assert receipt.error == {"type": "x", "message": "why"}
        assert [(one.provider, one.error_type, one.status) for one in receipt.attempts] == [("other", "timeout", 504)]
        assert (receipt.model, receipt.provider_name, receipt.provider_model) == ("author/model", "host", "model-1")
        assert (receipt.upstream_id, receipt.on_disconnect, receipt.frames) == ("up", "cancel", 4)
        assert (receipt.price_source, receipt.external_user, receipt.session_id) == ("a price list", "u", "s")
        assert receipt.orphaned is False


async def test_a_running_exchange_has_a_receipt_without_an_outcome(url: str):
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1")
        receipt = await ledger.receipt("gen-1", None)
        assert receipt is not None
        assert (receipt.outcome, receipt.cancelled, receipt.total_cost, receipt.error) == (None, None, None, None)
        assert receipt.tokens_prompt is None


async def test_an_unknown_price_is_an_unknown_cost_and_not_zero(url: str):
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1", price=None)
        ledger.settle(settlement("gen-1", price=None, cost=None, charge=None))
        receipt = await ledger.receipt("gen-1", None)
        assert receipt is not None
        assert (receipt.total_cost, receipt.usage, receipt.provider_cost) == (None, None, None)
    [row] = usage_rows(url, "model")
    assert (row.charge, row.unpriced) == (0, 1)


async def test_a_receipt_is_its_owners_only(url: str):
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1", key_id="key_a")
        assert await ledger.receipt("gen-1", "key_a") is not None
        assert await ledger.receipt("gen-1", "key_b") is None
        assert await ledger.receipt("gen-1", None) is None
        assert await ledger.receipt("gen-2", "key_a") is None
        assert await ledger.receipt("\ud800", "key_a") is None


async def test_the_provider_that_served_replaces_the_one_that_was_tried_first(url: str):
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1", provider="first")
        ledger.settle(settlement("gen-1", provider="second", provider_model="model-2"))
        receipt = await ledger.receipt("gen-1", None)
        assert receipt is not None
        assert (receipt.model, receipt.provider_name, receipt.provider_model) == ("author/model", "second", "model-2")


async def test_settling_twice_changes_nothing_and_is_counted(url: str):
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1")
        ledger.settle(settlement("gen-1", charge=7))
        ledger.settle(settlement("gen-1", charge=70))
        before = await ledger.receipt("gen-1", None)
        ledger.settle(settlement("gen-1", charge=700))
        assert await ledger.receipt("gen-1", None) == before
        assert before is not None
        assert before.total_cost == 7e-12
        assert (ledger.counts.settled, ledger.counts.duplicates) == (1, 2)
        assert (await ledger.spend(None)).ever == 7


async def test_opening_an_id_twice_is_refused_and_leaves_the_first_alone(url: str):
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1", model="first")
        assert await verdict(ledger, "gen-1", model="second") == Refused("there is an entry with this id already")
        receipt = await ledger.receipt("gen-1", None)
        assert receipt is not None
        assert receipt.model == "first"


async def test_a_settlement_without_an_opening_is_written_whole(url: str):
    async with running(url) as ledger:
        ledger.settle(settlement("gen-1", charge=9))
        receipt = await ledger.receipt("gen-1", None)
        assert receipt is not None
        assert (receipt.outcome, receipt.total_cost) == ("completed", 9e-12)
        assert (await ledger.spend(None)).ever == 9


async def test_values_that_no_database_takes_are_mended_instead_of_blocking_the_others(url: str):
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1", user="\ud800")
        assert await opened(ledger, "gen-2")
        ledger.settle(settlement("gen-1", error="a\udfffb\x00c", frames=2**70, charge=1))
        ledger.settle(settlement("gen-2", latency_ms=float("nan")))
        first, second = await ledger.receipt("gen-1", None), await ledger.receipt("gen-2", None)
        assert first is not None
        assert second is not None
        assert (first.external_user, first.total_cost) == ("?", 1e-12)
        assert first.error == {"type": None, "message": "a?b\x00c"}
        assert (second.outcome, second.latency) == ("completed", None)
        assert ledger.healthy is None


async def test_a_settlement_of_the_wrong_type_is_given_up_without_holding_up_the_rest(url: str):
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1")
        assert await opened(ledger, "gen-2")
        ledger.settle(settlement("gen-1", charge="much"))
        ledger.settle(settlement("gen-2"))
        receipt = await ledger.receipt("gen-2", None)
        assert receipt is not None
        assert receipt.outcome == "completed"
        assert ledger.counts.refused == 1


async def test_charges_and_totals_that_outgrow_64_bits_are_exact(url: str):
    # A charge of more than nine million dollars was cut to 64 bits and left the key's total, and its limit, at nothing.
    key, _ = create_key(url, "one", 9_000_000)
    charges = [2**62, 2**62, 2**62, 2**70 + 1, 1, 10**18, 10**18 - 1]
    async with running(url) as ledger:
        for number, charge in enumerate(charges):
            assert await opened(ledger, f"gen-{number}", key_id=key.id)
            ledger.settle(settlement(f"gen-{number}", charge=charge, cost=charge + 1))
            receipt = await ledger.receipt(f"gen-{number}", key.id)
            assert receipt is not None
            assert receipt.total_cost == charge / PICODOLLARS
            assert receipt.provider_cost == (charge + 1) / PICODOLLARS
            spend = await ledger.spend(key.id)
            assert spend.today == spend.month == spend.ever == sum(charges[: number + 1])
    [row] = usage_rows(url, "model")
    assert (row.charge, row.cost) == (sum(charges), sum(charges) + len(charges))
    async with running(url) as ledger:
        assert ledger.keys.exhausted == {key.id}


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


# ---- group commit


async def test_what_is_queued_together_is_written_in_few_transactions(url: str):
    async with running(url) as ledger:
        before = ledger.counts.transactions
        assert all(await asyncio.gather(*(opened(ledger, f"gen-{number}") for number in range(500))))
        for number in range(500):
            ledger.settle(settlement(f"gen-{number}"))
        assert await ledger.receipt("gen-499", None)
        assert (ledger.counts.opened, ledger.counts.settled) == (500, 500)
        assert ledger.counts.transactions - before <= 6


async def test_settlements_for_which_nobody_waits_are_written_soon_all_the_same(url: str):
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1")
        ledger.settle(settlement("gen-1"))
        await until(lambda: ledger.counts.settled == 1, 1.0)


async def test_stopping_writes_everything_that_is_queued(url: str):
    async with running(url) as ledger:
        answers: list[Verdict] = []
        for number in range(3000):
            ledger.open(opening(f"gen-{number}"), answers.append)
            ledger.settle(settlement(f"gen-{number}"))
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


# ---- when writing fails


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
            ledger.settle(settlement("gen-1"))
            ledger.settle(settlement("gen-2"))
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
            ledger.settle(settlement("gen-1"))
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
        ledger.settle(settlement("gen-1"))
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
            ledger.settle(settlement("gen-1"))
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
        ledger.settle(settlement("gen-1"))
        started = time.monotonic()
    assert time.monotonic() - started < 8
    other.close()
    assert query(url, "SELECT outcome FROM entries") == [(None,)]  # the next start will find it


# ---- starting


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: f"sqlite:///{path}/none/ledger.db", "there is no folder"),
        (lambda path: f"sqlite:///{path}", "is a folder"),
        (lambda path: "sqlite:////proc/ledger.db", "ledger /proc/ledger.db cannot be"),
        (lambda path: f"sqlite:///{written(path, b'no database, but long enough' * 99)}", "is not a database"),
        (lambda path: f"sqlite:///{foreign(path)}", "something else"),
        (lambda path: f"sqlite:///{newer(path)}", "newer version"),
        (lambda path: "postgresql://host/db", "PostgreSQL is not supported by this version yet"),
        (lambda path: "mysql://host/db", "not an address of the form sqlite:///"),
        (lambda path: "sqlite:///", "not an address of the form sqlite:///"),
    ],
)
async def test_a_ledger_that_cannot_be_used_is_refused_at_the_start_in_one_sentence(tmp_path: Path, make, says):
    url = make(tmp_path)
    ledger = Ledger(url)
    with pytest.raises(ConfigError) as error:
        await ledger.start()
    assert says in error.value.message
    assert "\n" not in error.value.message
    await ledger.stop()
    with pytest.raises(ConfigError):
        create_key(url, "one")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to root")
async def test_a_folder_that_is_not_writable_is_named(tmp_path: Path):
    os.chmod(tmp_path, 0o500)
    try:
        with pytest.raises(ConfigError, match="is not writable"):
            await Ledger(f"sqlite:///{tmp_path}/ledger.db").start()
    finally:
        os.chmod(tmp_path, 0o700)


async def test_a_start_waits_for_a_ledger_that_another_program_has_locked(url: str):
    # A worker that was replaced during a backup gave up after 1.5 s, and took the gateway with it.
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1")
    with contextlib.closing(sqlite3.connect(sqlite.path_of(url), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ledger = Ledger(url)
        starting = asyncio.ensure_future(ledger.start())
        await until(lambda: ledger.healthy is not None, 5.0)
        assert not starting.done()
        other.execute("ROLLBACK")
    await starting
    assert ledger.healthy is None
    assert await opened(ledger, "gen-2")
    await ledger.stop()


async def test_a_start_gives_up_on_a_ledger_that_stays_locked(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writer, "START_SECONDS", 0.1)
    async with running(url):
        pass
    with contextlib.closing(sqlite3.connect(sqlite.path_of(url), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConfigError, match="locked by another program"):
            await Ledger(url).start()


async def test_a_start_that_waits_can_be_called_off(url: str):
    async with running(url):
        pass
    with contextlib.closing(sqlite3.connect(sqlite.path_of(url), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ledger = Ledger(url)
        starting = asyncio.ensure_future(ledger.start())
        await until(lambda: ledger.healthy is not None, 5.0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await ledger.stop()


def written(path: Path, content: bytes) -> Path:
    (path / "file").write_bytes(content)
    return path / "file"


def foreign(path: Path) -> Path:
    query(f"sqlite:///{path}/file", "CREATE TABLE mine (a TEXT)")
    return path / "file"


def newer(path: Path) -> Path:
    with opened_store(f"sqlite:///{path}/file") as store:
        store.reach()
    query(f"sqlite:///{path}/file", "UPDATE meta SET value = '999' WHERE name IN ('schema', 'readable_by')")
    return path / "file"


async def test_processes_that_start_together_on_no_file_make_one_ledger(url: str):
    body = "async def main(ledger):\n    await opened(ledger, sys.argv[0] + str(os.getpid()))\n    say('up')\n"
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(child(url, body)) for _ in range(4)]
        assert [await line(process) for process in children] == ["up"] * 4
        assert [process.wait() for process in children] == [0] * 4
    assert query(url, "SELECT count(*) FROM entries") == [(4,)]


def test_full_durability_is_a_setting(url: str):
    for name, level in (("full", 2), ("normal", 1)):
        with contextlib.closing(store_of(url, synchronous=name)) as store:
            assert store.reach().read("PRAGMA synchronous") == [(level,)]
            assert store.reach().read("PRAGMA journal_mode") == [("wal",)]


# ---- several processes


async def test_an_exchange_that_two_processes_settle_is_settled_and_charged_once(url: str):
    body = """
async def main(ledger):
    say("up")
    await heard()
    for number in range(400):
        ledger.settle(settlement(f"gen-{number}", charge=1))
        if number % 20 == 0:
            await asyncio.sleep(0)
    await ledger.receipt("", None)
    say(f"{ledger.counts.settled} {ledger.counts.duplicates}")
"""
    async with running(url) as ledger:
        assert all(await asyncio.gather(*(opened(ledger, f"gen-{n}", key_id="key_a") for n in range(400))))
        with child(url, body) as one, child(url, body) as two:
            assert [await line(one), await line(two)] == ["up", "up"]
            for process in (one, two):
                assert process.stdin is not None
                process.stdin.write("go\n")
            counts = [tuple(map(int, (await line(process)).split())) for process in (one, two)]
        assert sum(settled for settled, _ in counts) == 400
        assert all(settled + duplicates == 400 for settled, duplicates in counts)
        assert (await ledger.spend("key_a")).ever == 400
        assert query(url, "SELECT count(*), count(outcome), sum(charge) FROM entries") == [(400, 400, 400)]


async def test_nothing_that_was_reported_durable_is_lost_when_the_writer_is_killed(url: str):
    body = """
async def main(ledger):
    number = 0
    while True:
        ids = [f"gen-{os.getpid()}-{number + more}" for more in range(7)]
        number += 7
        await asyncio.gather(*(opened(ledger, id) for id in ids))
        say(" ".join(ids))
        for id in ids[:5]:
            ledger.settle(settlement(id))
"""
    reported: set[str] = set()
    for lines in (1, 12, 40):
        with child(url, body) as process:
            for _ in range(lines):
                reported.update((await line(process)).split())
            process.send_signal(signal.SIGKILL)
            rest, _ = process.communicate()
            complete = rest[: rest.rfind("\n") + 1]
            reported.update(complete.split())
    stored = {id for (id,) in query(url, "SELECT id FROM entries")}
    assert len(reported) >= 7 * (1 + 12 + 40)
    assert reported <= stored
    async with running(url):
        rows = query(url, "SELECT outcome, orphaned, count(*), sum(charge) FROM entries GROUP BY 1, 2 ORDER BY 1")
        assert {(outcome, orphaned) for outcome, orphaned, *_ in rows} == {("completed", 0), ("failed", 1)}
        assert sum(count for _, _, count, _ in rows) == len(stored)
        charged = {outcome: charge for outcome, _, _, charge in rows}
        settled = {outcome: count for outcome, _, count, _ in rows}
        assert charged == {"completed": 7 * settled["completed"], "failed": 0}
        assert (
            sum(charge for (charge,) in query(url, "SELECT charge FROM spend WHERE length(period) = 7"))
            == (charged["completed"])
        )


HOLDER = """
async def main(ledger):
    await opened(ledger, f"gen-{os.getpid()}")
    future = asyncio.get_running_loop().create_future()
    ledger.claim_drain(f"gen-{os.getpid()}", DrainCaps(2, 0), future.set_result)
    say("granted" if await future == Recorded() else "refused")
    await heard()
"""


@pytest.mark.parametrize(("charge_failed", "owed"), [(False, 0.0), (True, None)])
async def test_rows_of_a_killed_process_are_settled_as_orphans_and_those_of_a_living_one_are_not(
    url: str, charge_failed: bool, owed: float | None
):
    with child(url, HOLDER) as dead, child(url, HOLDER) as alive:
        assert [await line(dead), await line(alive)] == ["granted", "granted"]
        dead.kill()
        dead.wait()
        async with running(url, charge_failed=charge_failed) as ledger:
            orphan = await ledger.receipt(f"gen-{dead.pid}", None)
            assert orphan is not None
            assert (orphan.outcome, orphan.orphaned, orphan.estimated) == ("failed", True, True)
            assert (orphan.total_cost, orphan.provider_cost) == (owed, None)
            assert orphan.error is not None
            assert orphan.error["type"] == "orphaned"
            sibling = await ledger.receipt(f"gen-{alive.pid}", None)
            assert sibling is not None
            assert sibling.outcome is None
            assert ledger.counts.orphaned == 1


async def test_orphans_are_found_while_running_too(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writer, "SWEEP_SECONDS", 0.05)
    async with running(url) as ledger:
        with child(url, HOLDER) as dead:
            assert await line(dead) == "granted"
        await until(lambda: ledger.counts.orphaned == 1, 5.0)
        receipt = await ledger.receipt(f"gen-{dead.pid}", None)
        assert receipt is not None
        assert receipt.orphaned


async def test_a_stopped_process_is_not_taken_for_dead_however_old_its_lease(url: str):
    if owners.start_time(os.getpid()) is None:
        pytest.skip("the start time of a process cannot be read here")
    with child(url, HOLDER) as process:
        assert await line(process) == "granted"
        process.send_signal(signal.SIGSTOP)
        async with running(url, clock=lambda: time.time() + 3600) as ledger:
            receipt = await ledger.receipt(f"gen-{process.pid}", None)
            assert receipt is not None
            assert receipt.outcome is None


async def test_where_a_process_cannot_be_seen_its_lease_decides(url: str):
    async with running(url) as ledger:
        for name in ("late", "punctual"):
            assert await opened(ledger, f"gen-{name}")
            query(url, "UPDATE entries SET owner = ? WHERE id = ?", name, f"gen-{name}")
            until_ms = int((time.time() + (60 if name == "punctual" else -1)) * 1000)
            query(url, "INSERT INTO owners VALUES (?, 'elsewhere', 1, 1, ?)", name, until_ms)
    async with running(url) as ledger:
        late, punctual = await ledger.receipt("gen-late", None), await ledger.receipt("gen-punctual", None)
        assert late is not None
        assert punctual is not None
        assert (late.orphaned, punctual.outcome) == (True, None)
    assert query(url, "SELECT boot FROM owners") == [("punctual",)]


async def test_rows_whose_owner_is_not_registered_are_orphans(url: str):
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1")  # and never settled before the stop
    async with running(url) as ledger:
        receipt = await ledger.receipt("gen-1", None)
        assert receipt is not None
        assert receipt.orphaned


async def test_a_lease_is_renewed(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writer, "RENEW_SECONDS", 0.05)
    async with running(url):
        [(first,)] = query(url, "SELECT lease_until FROM owners")
        await until(lambda: query(url, "SELECT lease_until FROM owners") > [(first,)], 5.0)


def test_a_reused_process_id_does_not_deceive():
    now, here = 1000, owners.here()
    mine = owners.Owner(
        boot="b", place=here, pid=os.getpid(), started=owners.start_time(os.getpid()) or 0, lease_until=now + 1
    )
    assert not owners.gone(mine, here, now)
    assert owners.gone(owners.Owner(boot="b", place="x", pid=1, started=1, lease_until=now - 1), here, now)
    if owners.start_time(os.getpid()) is None:
        pytest.skip("the start time of a process cannot be read here")
    older = owners.Owner(boot="b", place=here, pid=mine.pid, started=mine.started - 1, lease_until=now + 1)
    assert owners.gone(older, here, now)


def test_a_process_that_nobody_has_waited_for_yet_is_gone():
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None
    started = owners.start_time(process.pid)
    process.stdout.read()  # its end; it may take a moment more to become a zombie
    row = owners.Owner(boot="b", place=owners.here(), pid=process.pid, started=started or 0, lease_until=10)
    if started is not None:
        deadline = time.monotonic() + 5
        while not owners.gone(row, owners.here(), 5) and time.monotonic() < deadline:
            os.sched_yield()
        assert owners.gone(row, owners.here(), 5)
    process.wait()
    process.stdout.close()
    assert owners.gone(row, owners.here(), 5)


async def test_a_receipt_waits_a_moment_for_a_sibling_that_is_about_to_settle(
    url: str, monkeypatch: pytest.MonkeyPatch
):
    looked: list[Outcome | None] = []

    def read(rows: Rows, id: str) -> receipts.Found | None:
        found = receipts.read_entry(rows, id)
        looked.append(found.receipt.outcome if found else None)
        return found

    monkeypatch.setattr("infron.runtime.ledger.ledger.read_entry", read)
    monkeypatch.setattr("infron.runtime.ledger.ledger.SIBLING_SECONDS", 5.0)
    async with running(url) as one, running(url) as two:
        assert await opened(one, "gen-1")
        asked = asyncio.ensure_future(two.receipt("gen-1", None))
        await until(lambda: looked == [None], 5.0)
        one.settle(settlement("gen-1"))
        receipt = await asked
        assert receipt is not None
        assert receipt.outcome == "completed"


# ---- drains


async def test_drains_are_capped_over_all_processes(url: str):
    with child(url, HOLDER) as other:
        assert await line(other) == "granted"
        async with running(url) as ledger:
            for number in range(3):
                assert await opened(ledger, f"gen-{number}")
            assert not await claimed(ledger, "gen-0", 2)
            assert await claimed(ledger, "gen-1", 2)
            ledger.settle(settlement("gen-0"))
            assert not await claimed(ledger, "gen-1", 2)
            assert await claimed(ledger, "gen-2", 2)
            other.kill()
            other.wait()
            assert not await claimed(ledger, "gen-2", 2)  # the dead do not drain


async def test_only_an_open_exchange_can_drain(url: str):
    async with running(url) as ledger:
        assert await claimed(ledger, "gen-never", 5) == "Refused: its entry is settled already"
        assert await opened(ledger, "gen-1")
        ledger.settle(settlement("gen-1"))
        assert await claimed(ledger, "gen-1", 5) == "Refused: its entry is settled already"
        assert await opened(ledger, "gen-2")
        assert await claimed(ledger, "gen-2", 0) == "Refused: 0 answers are being read on already"
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
        refusal = "Refused: 2 answers of this key are being read on already"
        assert [await claimed(one, "gen-2", 3, of_key=2), await claimed(two, "gen-3", 3, of_key=2)] == [refusal] * 2
        assert not await claimed(two, "gen-other", 3, of_key=2)
        assert not await claimed(one, "gen-0", 1, of_key=1)  # it drains already
        one.settle(settlement("gen-0"))
        await one.receipt("gen-0", key_id)
        assert not await claimed(two, "gen-3", 3, of_key=2)
        assert await claimed(one, "gen-2", 3, of_key=5) == "Refused: 3 answers are being read on already"


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
            ledger.settle(settlement("gen-0"))
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
        one.settle(settlement("gen-1"))
        assert one.drains_of("key_a") == 0
        await until(lambda: two.drains_of("key_a") == 0, 1.0)


# ---- keys


async def test_keys_made_and_revoked_by_another_process_are_seen_within_a_second(url: str):
    program = "import sys; from infron.runtime.ledger.ledger import *; print(create_key(sys.argv[1], 'one')[1])"
    async with running(url) as ledger:
        assert not ledger.keys.required
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, url, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        secret = output.decode().strip()
        await until(lambda: ledger.keys.required, 1.0)
        key = ledger.keys.find(secret)
        assert key is not None
        assert (key.name, key.revoked_at) == ("one", None)
        revoke_key(url, "one")
        await until(lambda: ledger.keys.find(secret) is None, 1.0)
        assert ledger.keys.required


async def test_the_file_holds_no_secret(url: str):
    async with running(url):
        _, secret = create_key(url, "one")
        folder = sqlite.path_of(url).parent
        content = b"".join(path.read_bytes() for path in folder.iterdir())
    assert b"one" in content
    assert secret.encode() not in content
    assert secret.removeprefix("sk-infron-").encode() not in content


@pytest.mark.skipif(os.name != "posix", reason="files have modes on POSIX only")
async def test_the_files_are_their_owners_only(url: str):
    # They were readable by everybody on the machine: names of keys, what they asked for and when.
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1")
        files = sorted(sqlite.path_of(url).parent.iterdir())
        assert [file.name for file in files] == ["ledger.db", "ledger.db-shm", "ledger.db-wal"]
        assert [file.stat().st_mode & 0o777 for file in files] == [0o600] * 3


def test_a_key_is_revoked_by_id_secret_name_or_the_only_fitting_beginning(url: str):
    keys = [create_key(url, name) for name in ("one", "two", "three", "four", "five", "five")]
    assert revoke_key(url, keys[0][0].id).name == "one"
    assert revoke_key(url, keys[1][1]).name == "two"
    assert revoke_key(url, "three").name == "three"
    assert revoke_key(url, keys[3][0].id[:14]).name == "four"
    with pytest.raises(InvalidRequest, match="Several keys"):
        revoke_key(url, "five")
    with pytest.raises(InvalidRequest, match="Several keys"):
        revoke_key(url, "sk-infron-")
    assert revoke_key(url, keys[4][0].hint[:14]).id == keys[4][0].id
    again = revoke_key(url, "one")
    assert again.revoked_at == next(key.revoked_at for key in list_keys(url) if key.name == "one")
    for unknown in ("six", "", "\udcff"):
        with pytest.raises(NotFound):
            revoke_key(url, unknown)
    assert [key.name for key in list_keys(url) if key.revoked_at is None] == ["five"]


def test_asking_for_keys_or_usage_makes_no_ledger(url: str):
    assert list_keys(url) == []
    assert usage_rows(url, "day") == []
    with pytest.raises(NotFound):
        revoke_key(url, "one")
    assert not sqlite.path_of(url).exists()


@pytest.mark.parametrize("limit", [-1.0, float("nan"), float("inf"), 1e9])
def test_an_impossible_limit_is_refused(url: str, limit: float):
    with pytest.raises(InvalidRequest):
        create_key(url, "one", limit)


async def test_a_limit_is_reached_by_what_all_processes_charge_together(url: str):
    key, secret = create_key(url, "one", 10e-12)
    assert key.limit == 10
    async with running(url) as one, running(url) as two:
        for number, ledger in enumerate((one, two)):
            assert await opened(ledger, f"gen-{number}", key_id=key.id)
        one.settle(settlement("gen-0", charge=5))
        await one.spend(key.id)
        assert one.keys.find(secret) == key
        assert key.id not in one.keys.exhausted
        two.settle(settlement("gen-1", charge=5))
        await until(lambda: key.id in one.keys.exhausted and key.id in two.keys.exhausted, 1.0)
    async with running(url) as later:
        assert key.id in later.keys.exhausted


async def test_a_key_ring_is_replaced_and_never_changed(url: str):
    key, _ = create_key(url, "one", 10e-12)
    other, _ = create_key(url, "two", 10e-12)
    async with running(url) as ledger:
        before = ledger.keys
        for number, charge in enumerate((9, 1, 100)):
            assert await opened(ledger, f"gen-{number}", key_id=key.id)
            ledger.settle(settlement(f"gen-{number}", charge=charge))
            await ledger.spend(key.id)
            assert (ledger.keys is before) == (number == 0)
        assert (before.exhausted, ledger.keys.exhausted) == (frozenset(), {key.id})
        assert await opened(ledger, "gen-3", key_id=other.id)
        ledger.settle(settlement("gen-3", charge=10))
        await ledger.spend(key.id)
        assert ledger.keys.exhausted == {key.id, other.id}


# ---- spend and usage


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


async def test_spend_counts_the_day_the_week_from_monday_the_month_and_all(url: str):
    days = {
        "2025-11-30T12:00": 1,  # Sunday of the week before, and another month
        "2025-12-01T00:00": 10,  # Monday
        "2025-12-02T23:59": 100,
        "2025-12-03T00:00": 1_000,
        "2024-12-03T00:00": 10_000,
    }
    async with running(url, clock=lambda: at("2025-12-03T18:00")) as ledger:
        for day, charge in days.items():
            assert await opened(ledger, f"gen-{day}", key_id="key_a", created_at=at(day))
            ledger.settle(settlement(f"gen-{day}", charge=charge))
        spend = await ledger.spend("key_a")
        assert (spend.today, spend.week, spend.month, spend.ever) == (1_000, 1_110, 1_110, 11_111)
        assert (await ledger.spend("key_b")).ever == 0
        assert (await ledger.spend(None)).ever == 0


async def test_usage_is_summed_by_model_provider_key_and_day(url: str):
    key, _ = create_key(url, "mine")
    async with running(url) as ledger:
        for id, more in {
            "gen-1": {"model": "a", "key_id": key.id, "created_at": at("2025-12-01T01:00")},
            "gen-2": {"model": "b", "key_id": key.id, "created_at": at("2025-12-02T01:00")},
            "gen-3": {"model": "b", "created_at": at("2025-12-02T02:00")},
            "gen-4": {"model": "c", "created_at": at("2025-12-02T03:00")},
        }.items():
            assert await opened(ledger, id, **more)
        ledger.settle(settlement("gen-1", charge=1))
        ledger.settle(settlement("gen-2", charge=2, estimated=True))
        ledger.settle(settlement("gen-3", charge=4, provider="other"))
        await ledger.spend(None)
        assert [(row.name, row.charge) for row in usage_rows(url, "model")] == [("b", 6), ("a", 1)]
        assert [(row.name, row.charge) for row in usage_rows(url, "provider")] == [("other", 4), ("host", 3)]
        assert [(row.name, row.charge) for row in usage_rows(url, "key")] == [("(no key)", 4), ("mine", 3)]
        assert [(row.name, row.charge) for row in usage_rows(url, "day")] == [("2025-12-01", 1), ("2025-12-02", 6)]
        [row] = usage_rows(url, "day", since=at("2025-12-02T00:00"))
        assert (row.exchanges, row.prompt, row.completion, row.cost, row.estimated) == (2, 20, 40, 10, 1)
        with pytest.raises(InvalidRequest):
            usage_rows(url, "colour")  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.none() | st.integers(0, 2**63 - 1) | st.integers(0, 2**80), min_size=1, max_size=20))
def test_money_is_summed_exactly_whatever_its_size(charges: list[int | None]):
    with TemporaryDirectory() as folder, opened_store(f"sqlite:///{folder}/ledger.db") as store, store.round() as rows:
        for number, charge in enumerate(charges):
            began = opening(f"gen-{number}")
            assert entries.open_entries(rows, [began], "me") == [Recorded()]
            ended = settlement(began.id, charge=charge, cost=charge)
            [posted] = entries.settle_entries(rows, [(ended, began)], "me", 0)
            assert isinstance(posted, entries.Posted)
            assert posted.charge == (charge or 0)
            found = receipts.read_entry(rows, began.id)
            assert found is not None
            assert found.receipt.total_cost == (None if charge is None else charge / PICODOLLARS)
        [row] = usage.read_usage(rows, "model", None)
        assert row.charge == row.cost == sum(charge or 0 for charge in charges)
        assert row.unpriced == charges.count(None)


def test_a_receipt_is_plain_json(url: str):
    with opened_store(url) as store, store.round() as rows:
        entries.settle_entries(rows, [(settlement("gen-1"), opening("gen-1"))], "me", 0)
        found = receipts.read_entry(rows, "gen-1")
    assert found is not None
    shown = json.loads(msgspec.json.encode(found.receipt))
    assert shown["outcome"] == "completed"
    assert {name: shown[name] for name in ("is_byok", "cache_discount", "origin")} == {
        "is_byok": False,
        "cache_discount": None,
        "origin": None,
    }
