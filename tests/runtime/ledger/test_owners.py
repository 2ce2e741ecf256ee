from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest
from ledgers import HOLDER, admitted, child, line, opened, query, running, settlement, until

from infron.policy.limits import Granted
from infron.records import Outcome
from infron.runtime.ledger import entries, owners, receipts, writer
from infron.runtime.ledger.administration import create_key
from infron.runtime.ledger.limited import LimitedRound
from infron.runtime.ledger.store import Rows


async def test_an_exchange_that_two_processes_settle_is_settled_and_charged_once(url: str):
    body = """
async def main(ledger):
    say("up")
    await heard()
    for number in range(400):
        ledger.settled(settlement(f"gen-{number}", charge=1))
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
            ledger.settled(settlement(id))
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
            sum(charge for (charge,) in query(url, "SELECT charge FROM spend WHERE period = 'ever'"))
            == (charged["completed"])
        )


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
            query(
                url,
                "INSERT INTO owners (boot, place, pid, started, lease_until) VALUES (?, 'elsewhere', 1, 1, ?)",
                name,
                until_ms,
            )
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
        one.settled(settlement("gen-1"))
        receipt = await asked
        assert receipt is not None
        assert receipt.outcome == "completed"


async def test_process_that_was_taken_for_dead_corrects_what_was_recorded_of_it_once(url: str):
    """A process that had stood still came back with the true bill, and it was thrown away as a duplicate."""
    key, _ = create_key(url, "one", 1000e-12)
    async with running(url) as stopped, running(url) as other:
        assert await admitted(stopped, "gen-1", key_id=key.id, least=5, most=50) == Granted(hold=50)

        def bury(rows: Rows) -> int:
            round = LimitedRound(rows, other.boot, time.time_ns() // 1000)
            round.orphaned(stopped.boot)
            settled = entries.settle_orphans(rows, [stopped.boot], int(time.time() * 1000), charge_failed=False)
            round.save()
            return settled

        assert await other.change(bury) == 1
        orphan = await other.receipt("gen-1", key.id)
        assert (orphan.outcome, orphan.orphaned, orphan.total_cost) == ("failed", True, 0)
        assert query(url, "SELECT live, held FROM holders") == [(0, 0)]
        for charge in (7, 9):  # the second time it is a duplicate
            stopped.settled(settlement("gen-1", charge=charge, key_id=key.id))
            found = await stopped.receipt("gen-1", key.id)
        assert (found.outcome, found.orphaned, found.error) == ("completed", False, None)
        assert query(url, "SELECT charge FROM entries") == [(7,)]
        assert query(url, "SELECT charge FROM spend WHERE holder = ?1 AND period = 'ever'", key.id) == [(7,)]
        assert query(url, "SELECT live, held FROM holders") == [(0, 0)]
        assert stopped.counts.duplicates == 1
