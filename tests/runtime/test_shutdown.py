"""A deploy cuts no stream, a kill loses no entry, and two workers are one gateway."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import socket
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import process as support
import pytest
from ledgers import query
from process import Gateway, process
from rawclient import ask, gateway, get, locked, receipt, true, within

import infron.runtime.process
from infron.money import Usage
from infron.runtime.exchange.meter import Meter
from infron.testing import DONE, FINISH, USAGE, Answer, Call, Pause, Script, ScriptedProvider, Wait, speak, text

NEVER = asyncio.Event
pytestmark = pytest.mark.heavy


async def is_draining(gateway: Gateway) -> None:
    async with asyncio.timeout(30):
        while (ready := await get(gateway.port, "/readyz")).status == 200:
            pass
    assert ready.status == 503
    assert "retry-after" in ready.headers


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_running_streams_end_and_refuses_new_ones(tmp_path: Path, number: signal.Signals) -> None:
    go_on = asyncio.Event()
    script = [text("Hello"), Wait(go_on), text(" world"), FINISH, USAGE, DONE]
    async with ScriptedProvider(script) as provider, process(tmp_path, provider) as gateway:
        client = await (await ask(gateway.port)).head()
        await client.until(b"Hello")
        gateway.signal(number)
        await is_draining(gateway)
        refused = await (await ask(gateway.port)).head()
        error = await refused.error()
        assert (refused.status, error["metadata"]["error_type"]) == (503, "shutting_down")
        assert "retry-after" in refused.headers
        assert (await get(gateway.port, "/healthz")).status == 200
        assert len(provider.calls) == 1
        go_on.set()
        await client.rest()
        assert await gateway.ended() == 0
        assert gateway.rows("id, outcome, completion") == [(client.id, "completed", 3)]
    assert (client.words(), client.frames()[-1]) == ("Hello world", "[DONE]")


async def test_an_idle_gateway_ends_at_once(tmp_path: Path) -> None:
    async with ScriptedProvider([DONE]) as provider, process(tmp_path, provider) as gateway:
        begun = time.monotonic()
        gateway.signal(signal.SIGTERM)
        assert await gateway.ended() == 0
        assert time.monotonic() - begun < 10


async def test_an_answer_that_is_drained_is_read_to_its_end_before_the_process_ends(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    script = [text("Hello"), Wait(go_on), FINISH, USAGE, DONE]
    async with (
        ScriptedProvider(script) as provider,
        process(tmp_path, provider, row='on_disconnect = "drain"') as gateway,
    ):
        client = await (await ask(gateway.port)).head()
        await client.until(b"Hello")
        client.close()
        await true(lambda: gateway.rows("draining") == [(1,)])
        gateway.signal(signal.SIGTERM)
        await is_draining(gateway)
        go_on.set()
        assert await gateway.ended() == 0
        assert gateway.rows("outcome, completion") == [("drained", 3)]


@pytest.mark.parametrize("how", ["the time is over", "a second signal"])
async def test_what_still_runs_at_the_end_is_told_so_and_settled(tmp_path: Path, how: str) -> None:
    seconds = 0.3 if how == "the time is over" else 600
    async with (
        ScriptedProvider([text("Hello"), Wait(NEVER())]) as provider,
        process(tmp_path, provider, f"[server]\ngrace_seconds = {seconds}") as gateway,
    ):
        client = await (await ask(gateway.port)).head()
        await client.until(b"Hello")
        waiting = await ask(gateway.port, stream=False)
        await provider.called(2)
        gateway.signal(signal.SIGTERM)
        if how == "a second signal":
            await is_draining(gateway)
            gateway.signal(signal.SIGTERM)
        await client.rest()
        error = await (await waiting.head()).error()
        assert await gateway.ended() == 0
        rows = gateway.rows("outcome, error_type, estimated")
    *_, last, done = client.frames()
    assert (last["error"]["metadata"]["status"], last["error"]["metadata"]["error_type"], done) == (
        503,
        "shutting_down",
        "[DONE]",
    )
    assert "choices" not in last
    assert (waiting.status, error["metadata"]["error_type"]) == (503, "shutting_down")
    assert rows == [("timed_out", "shutting_down", 1)] * 2


async def test_two_workers_are_one_gateway(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    script = [text("Hello"), Wait(go_on), FINISH, USAGE, DONE]
    async with (
        ScriptedProvider(script) as provider,
        process(tmp_path, provider, "[server]\nworkers = 2") as gateway,
    ):
        clients = [await ask(gateway.port) for _ in range(8)]
        for client in clients:
            await (await client.head()).until(b"Hello")
        for client in clients[:4]:
            client.close()
        for call in range(1, 9):
            await provider.called(call)
        await true(lambda: sum(call.closed.is_set() for call in provider.calls) == 4)
        go_on.set()
        for client in clients[4:]:
            await client.rest()
            assert client.frames()[-1] == "[DONE]"
            for _ in range(4):  # at once, and each connection may reach either worker
                assert (await receipt(gateway.port, client.id))["outcome"] == "completed"
        await true(lambda: None not in [outcome for (outcome,) in gateway.rows("outcome")])
        for client in clients[:4]:
            found = await receipt(gateway.port, client.id)
            assert (found["outcome"], found["cancelled"]) == ("cancelled", True)
        assert len(gateway.rows()) == 8

        async def summed() -> dict[str, float]:
            lines = (await get(gateway.port, "/metrics")).received.decode().splitlines()
            found = [line.rpartition(" ") for line in lines if line.startswith("infron_exchanges_total")]
            return {name: float(value) for name, _, value in found}

        async with asyncio.timeout(30):
            while sum((await summed()).values()) < 8:
                await asyncio.sleep(0.1)
        assert sum((await summed()).values()) == 8
        gateway.signal(signal.SIGTERM)
        assert await gateway.ended() == 0


async def test_workers_whose_parent_was_killed_end_and_settle_what_runs(tmp_path: Path) -> None:
    """They would keep the port, and no supervisor could start the gateway again."""
    async with (
        ScriptedProvider([text("Hello"), Wait(NEVER())]) as provider,
        process(tmp_path, provider, "[server]\nworkers = 2") as gateway,
    ):
        client = await (await ask(gateway.port)).head()
        await client.until(b"Hello")
        gateway.process.send_signal(signal.SIGKILL)
        await client.rest()
        await true(lambda: gateway.rows("outcome, error_type") == [("timed_out", "shutting_down")])

        def refused() -> bool:
            with socket.socket() as peer:
                return peer.connect_ex(("127.0.0.1", gateway.port)) != 0

        await true(refused)
    assert client.frames()[-2]["error"]["metadata"]["error_type"] == "shutting_down"


async def load(gateway: Gateway, seen: dict[str, str], dice: random.Random) -> None:
    """Ask again and again; remember each exchange whose content came, and leave some of them early."""
    while True:
        client = await ask(gateway.port)
        await client.head()
        await client.until(b"0 ")
        seen[client.id] = "content"
        if dice.random() < 0.3:
            client.reset()
            continue
        await client.rest()
        seen[client.id] = "done"
        client.close()


async def grown(seen: dict[str, str], by: int) -> None:
    enough = len(seen) + by
    await true(lambda: len(seen) >= enough)


async def test_a_kill_at_any_moment_loses_no_entry_and_settles_none_twice(tmp_path: Path) -> None:
    dice = random.Random(20_25)
    tokens = [step for number in range(15) for step in (text(f"{number} "), Pause(0.005))]
    seen: dict[str, str] = {}
    async with ScriptedProvider([*tokens, FINISH, USAGE, DONE]) as provider:
        async with process(tmp_path, provider) as gateway:
            with closing(sqlite3.connect(gateway.ledger)) as connection:
                connection.executescript(
                    "CREATE TABLE settlements (id TEXT, before TEXT, after TEXT);"
                    "CREATE TRIGGER settling AFTER UPDATE OF outcome ON entries BEGIN"
                    " INSERT INTO settlements VALUES (new.id, old.outcome, new.outcome); END;"
                )
        for _ in range(3):
            async with process(tmp_path, provider) as gateway:
                clients = [asyncio.create_task(load(gateway, seen, dice)) for _ in range(8)]
                await grown(seen, 8)
                await asyncio.sleep(dice.uniform(0, 0.2))
                gateway.signal(signal.SIGKILL)
                await gateway.ended()
                await within(asyncio.gather(*clients, return_exceptions=True))
        async with process(tmp_path, provider) as gateway:
            rows = {id: rest for id, *rest in gateway.rows("id, outcome, orphaned, error_type")}
            assert len(rows) == len(gateway.rows("id"))
            with closing(sqlite3.connect(gateway.ledger)) as connection:
                settlements = connection.execute("SELECT id, before FROM settlements").fetchall()
            lost = next(id for id, (_, orphaned, _) in rows.items() if orphaned)
            assert (await receipt(gateway.port, lost))["orphaned"] is True
            gateway.signal(signal.SIGTERM)
            assert await gateway.ended() == 0
    assert len(seen) > 24
    assert seen.keys() <= rows.keys(), "content reached a client, and there is no entry"
    assert sorted(id for id, _ in settlements) == sorted(rows), "each entry is settled, and once"
    assert {before for _, before in settlements} == {None}
    for outcome, orphaned, error_type in rows.values():
        assert outcome in ("completed", "cancelled", "failed")
        assert (outcome == "failed") == bool(orphaned) == (error_type == "orphaned")


async def test_a_shutdown_settles_by_length_what_there_is_no_time_to_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1,200 streams with long prompts: what was not counted within 5 s stayed open, and was free after the next start.
    counting = threading.Event()
    count = Meter.count

    def slow(meter: Meter, family: str = "") -> Usage:
        if not family:
            counting.wait(10)
        return count(meter, family)

    monkeypatch.setattr(Meter, "count", slow)
    monkeypatch.setattr(infron.runtime.process, "SETTLE_SECONDS", 0.2)
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    prices = {"any": {"prompt": "1", "completion": "10"}}
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'A' * 100_000}"}}
    said = [{"role": "user", "content": [{"type": "text", "text": "word " * 800}, picture]}]
    async with ScriptedProvider([text("Hello" * 8), Wait(NEVER())]) as provider:
        async with gateway(providers={"mock": provider.definition(prices=prices)}, ledger={"url": url}) as running:
            for _ in range(5):
                client = await (await ask(running.port, messages=said)).head()
                await client.until(b"Hello")
        counting.set()
        assert running.context.ledger.left_open == 0
    rows = query(url, "SELECT outcome, estimated, orphaned, prompt, completion, charge FROM entries")
    assert len(rows) == 5
    for outcome, estimated, orphaned, prompt, completion, charge in rows:
        assert (outcome, estimated, orphaned, completion) == ("timed_out", 1, 0, 10)
        assert 1_000 <= prompt <= 1_200  # 4,000 letters; the picture is none
        assert charge == prompt * 10**6 + completion * 10**7


async def test_a_shutdown_settles_what_its_provider_was_told_to_stop_and_did_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Entries that waited for the provider's answer to being told to stop were left open, with exit code 0.
    monkeypatch.setattr(infron.runtime.process, "SETTLE_SECONDS", 0.2)
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    voice = speak("replicate")

    def script(call: Call) -> Script:
        here = f"http://{call.headers['host']}/v1/predictions/p1"
        if call.path.endswith("/stream"):
            return [Answer(), voice.start(), voice.text("Hello"), Wait(NEVER())]
        if call.path.endswith("/cancel"):
            return [Wait(NEVER())]
        urls = {"get": here, "cancel": f"{here}/cancel", "stream": f"{here}/stream"}
        body = json.dumps({"id": "p1", "status": "starting", "urls": urls, "metrics": {}}).encode()
        return [Answer(201, (("content-type", "application/json"),), body)]

    row = {"prices": {"*": {"prompt": "1", "completion": "10"}}, **voice.definition}
    async with ScriptedProvider(script) as provider:
        async with gateway(providers={"mock": provider.definition(**row)}, ledger={"url": url}) as running:
            client = await (await ask(running.port, model="mock/owner/name")).head()
            await client.until(b"Hello")
        assert running.context.ledger.left_open == 0
    [(outcome, orphaned, charge, cost, said)] = query(
        url, "SELECT outcome, orphaned, charge, cost, on_disconnect FROM entries"
    )
    assert (outcome, orphaned, cost) == ("timed_out", 0, None)
    assert charge > 0
    assert said == "it had not answered when the gateway ended"


async def test_a_shutdown_with_a_ledger_that_cannot_be_written_ends_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurried = "from infron.runtime.ledger import writer\nwriter.STOP_SECONDS = 0.1\n"
    monkeypatch.setattr(support, "SERVE", hurried + support.SERVE)
    async with (
        ScriptedProvider([text("Hello"), Wait(NEVER())]) as provider,
        process(tmp_path, provider, "[server]\ngrace_seconds = 0.1") as running,
    ):
        client = await (await ask(running.port)).head()
        await client.until(b"Hello")
        with locked(running.ledger):
            running.signal(signal.SIGTERM)
            assert await running.ended() == 1
        assert running.rows("outcome") == [(None,)]  # the next start will find it
