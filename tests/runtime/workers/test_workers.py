"""Several workers are one gateway: a start that fails, a worker that dies, a signal at any moment, equal shares."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from process import Gateway, process, starting
from rawclient import ask, get, send, true, within

import sigterm
from infron.testing import DONE, FINISH, USAGE, ScriptedProvider, Wait, text

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and the kernel spreads connections"),
]
TWO = "[server]\nworkers = 2\n"
ANYWHERE = '[server]\nworkers = {}\nhost = "0.0.0.0"\n'


async def replaced(gateway: Gateway, gone: int) -> list[int]:
    """The two workers, once there is another one for one that is `gone`, and it answers."""
    await true(lambda: len(gateway.workers()) == 2 and gone not in gateway.workers(), 30)
    return gateway.workers()


# ---- the start


@pytest.mark.parametrize("workers", [1, 2])
async def test_start_that_is_refused_ends_at_once_with_its_sentence(tmp_path: Path, workers: int) -> None:
    """Two workers hung for minutes, and held the port."""
    begun = time.monotonic()
    async with starting(tmp_path, settings=ANYWHERE.format(workers)) as gateway:
        assert await gateway.ended() == 1
    assert time.monotonic() - begun < 15
    assert gateway.said().count("infron: ") == 1
    assert "infron keys create" in gateway.said()


async def test_start_on_a_port_that_workers_share_is_refused(tmp_path: Path) -> None:
    """What lets workers share a port must not let two gateways have one."""
    async with ScriptedProvider([DONE]) as provider, process(tmp_path, provider, TWO) as first:
        (tmp_path / "other").mkdir()
        async with starting(tmp_path / "other", provider, TWO, port=first.port) as second:
            assert await second.ended() == 1
        assert "Cannot listen" in second.said()


async def come(gateway: Gateway, moment: str) -> None:
    """Wait for a moment of its start."""
    await true(gateway.obeys, 30)
    if moment == "its workers are there":
        await true(gateway.workers, 30)
    elif moment == "the ledger is opened":
        await true(gateway.ledger.exists, 30)
    elif moment == "it is ready":
        await gateway.ready()


@pytest.mark.parametrize(
    ("workers", "moment"),
    [
        *((1, moment) for moment in ("it has begun", "the ledger is opened", "it is ready")),
        *((2, moment) for moment in ("it has begun", "its workers are there", "the ledger is opened", "it is ready")),
    ],
)
async def test_sigterm_ends_a_start_at_any_moment(tmp_path: Path, workers: int, moment: str) -> None:
    """Two workers that were still starting went on for good."""
    async with starting(tmp_path, settings=f"[server]\nworkers = {workers}\n") as gateway:
        await come(gateway, moment)
        gateway.signal(signal.SIGTERM)
        assert await gateway.ended() == 0
        assert "Traceback" not in gateway.said()


async def test_sigterm_at_random_moments_leaves_exit_code_0_and_no_open_entry() -> None:
    found = await sigterm.many(6, seed=20_25)
    assert sum(found.values()) == 6


# ---- a worker that dies


async def test_worker_that_cannot_be_replaced_ends_nothing(tmp_path: Path) -> None:
    """The refusal of one new worker sent SIGTERM to the healthy one, and the gateway was gone."""
    go_on = asyncio.Event()
    script = [text("Hello"), Wait(go_on), FINISH, USAGE, DONE]
    async with ScriptedProvider(script) as provider, process(tmp_path, provider, TWO) as gateway:
        first, second = gateway.workers()
        files = [*tmp_path.glob("infron.db*")]
        for file in files:
            file.rename(f"{file}.away")
        gateway.ledger.mkdir()  # no new worker can start
        os.kill(first, signal.SIGKILL)
        await true(lambda: gateway.said().count("takes its place") >= 2)
        assert second in gateway.workers()
        assert (await get(gateway.port, "/healthz")).status == 200
        assert "SIGKILL" in gateway.said()
        assert "is a directory" in gateway.said() or "ledger" in gateway.said().lower()
        gateway.ledger.rmdir()
        for file in files:
            Path(f"{file}.away").rename(file)
        await replaced(gateway, first)
        client = await (await ask(gateway.port)).head()
        go_on.set()
        await client.rest()
        assert client.frames()[-1] == "[DONE]"
        gateway.signal(signal.SIGTERM)
        assert await gateway.ended() == 0


async def test_workers_that_cannot_start_are_tried_again_with_growing_pauses(tmp_path: Path) -> None:
    """258 forks a second, until the descriptors were there again."""
    async with ScriptedProvider([DONE]) as provider, starting(tmp_path, provider, TWO) as gateway:
        await gateway.ready()
        first, second = gateway.workers()
        most = resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, (11, most[1]))
        os.kill(first, signal.SIGKILL)
        await true(lambda: gateway.said().count("takes its place") >= 3)
        await asyncio.sleep(1)
        assert gateway.said().count("takes its place") <= 5
        resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, most)
        await replaced(gateway, first)
        os.kill(second, signal.SIGKILL)
        await replaced(gateway, second)
        gateway.signal(signal.SIGTERM)
        assert await gateway.ended() == 0


CRASHING = """
import logging, sys
from infron.runtime.workers.signals import Signals
from infron.runtime.workers.supervisor import Workers
logging.basicConfig(format="%(message)s")
generations = iter(range(100))
def work(line, listener, signals):
    if generation:
        raise ZeroDivisionError("the reason")
    line.ready()
    sys.exit(7)
class Counting(Workers):
    def _start(self, *given):
        global generation
        generation = next(generations)
        if generation > 2:
            return self._stop()
        super()._start(*given)
print(Counting(1, work, [None], Signals(), gone=lambda pid: None, last=lambda: None).run(lambda: print("ready")))
"""


def test_worker_that_dies_of_a_bug_leaves_its_traceback() -> None:
    """All that was said was `ended with code 1`."""
    done = subprocess.run([sys.executable, "-c", CRASHING], capture_output=True, text=True, check=False, timeout=15)
    assert done.stdout == "ready\n0\n"
    assert done.stderr.count("ZeroDivisionError: the reason") == 2
    assert done.stderr.count("another one takes its place") == 3


async def test_sigterm_ends_a_gateway_whose_workers_are_all_gone(tmp_path: Path) -> None:
    async with ScriptedProvider([DONE]) as provider, process(tmp_path, provider, TWO) as gateway:
        for file in tmp_path.glob("infron.db*"):
            file.unlink()
        gateway.ledger.mkdir()
        for pid in gateway.workers():
            os.kill(pid, signal.SIGKILL)
        await true(lambda: gateway.said().count("takes its place") >= 6 and not gateway.workers(), 30)
        begun = time.monotonic()
        gateway.signal(signal.SIGTERM)
        assert await gateway.ended() == 0
        assert time.monotonic() - begun < 10


async def test_gauges_of_a_killed_worker_are_forgotten(tmp_path: Path) -> None:
    """Its exchanges stayed active for good."""
    go_on = asyncio.Event()
    script = [text("Hello"), Wait(go_on), FINISH, USAGE, DONE]

    async def active(gateway: Gateway) -> list[str]:
        lines = (await get(gateway.port, "/metrics")).received.decode().splitlines()
        return [line for line in lines if line.startswith("infron_active_exchanges")]

    async with ScriptedProvider(script) as provider, process(tmp_path, provider, TWO) as gateway:
        clients = [await ask(gateway.port) for _ in range(16)]
        for client in clients:
            await (await client.head()).until(b"Hello")
        async with asyncio.timeout(30):
            while await active(gateway) != ["infron_active_exchanges 16.0"]:
                await asyncio.sleep(0.1)
        gone = gateway.workers()[0]
        os.kill(gone, signal.SIGKILL)
        await replaced(gateway, gone)
        go_on.set()  # those of the other worker end
        async with asyncio.timeout(30):
            while await active(gateway) != ["infron_active_exchanges 0.0"]:
                await asyncio.sleep(0.1)
        gateway.signal(signal.SIGTERM)
        assert await gateway.ended() == 0


# ---- equal shares, and the end


async def test_streams_are_spread_evenly_over_workers(tmp_path: Path) -> None:
    """One of two workers had three of four streams, or all of them."""
    go_on = asyncio.Event()
    script = [text("Hello"), Wait(go_on), FINISH, USAGE, DONE]
    async with ScriptedProvider(script) as provider, process(tmp_path, provider, TWO) as gateway:
        clients = [await (await ask(gateway.port)).head() for _ in range(200)]  # one after the other: both are idle
        for client in clients:
            await client.until(b"Hello")
        shares = Counter(owner for (owner,) in gateway.rows("owner"))
        sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        listening = [
            local for _, local, _, state, *_ in sockets if state == "0A" and local.endswith(f":{gateway.port:04X}")
        ]
        go_on.set()
        for client in clients:
            await client.rest()
        gateway.signal(signal.SIGTERM)
        assert await gateway.ended() == 0
    assert len(listening) == 2  # whose turn it is at one socket depends on how busy the machine is
    assert sum(shares.values()) == 200
    assert min(shares.values()) >= 65, shares  # chance alone: below it once in ten million


async def test_every_worker_answers_until_the_last_stream_of_any_has_ended(tmp_path: Path) -> None:
    """A worker that leaves early takes its share of the port along: its connections would be reset."""
    go_on = asyncio.Event()
    script = [text("Hello"), Wait(go_on), FINISH, USAGE, DONE]
    async with ScriptedProvider(script) as provider, process(tmp_path, provider, TWO) as gateway:
        client = await (await ask(gateway.port)).head()
        await client.until(b"Hello")
        gateway.signal(signal.SIGTERM)
        refusals = 0  # in a row: each worker has heard the signal, as sure as chance can make it
        async with asyncio.timeout(30):
            while refusals < 30:
                refusals = 0 if (await get(gateway.port, "/readyz")).status == 200 else refusals + 1
        for _ in range(30):
            refused = await (await ask(gateway.port)).head()
            assert (refused.status, json.loads(await refused.rest())["error"]["metadata"]["error_type"]) == (
                503,
                "shutting_down",
            )
        go_on.set()
        await client.rest()
        assert client.frames()[-1] == "[DONE]"
        assert await gateway.ended() == 0


async def test_worker_that_is_signalled_alone_ends_and_is_replaced(tmp_path: Path) -> None:
    async with ScriptedProvider([DONE]) as provider, process(tmp_path, provider, TWO) as gateway:
        first, _ = gateway.workers()
        os.kill(first, signal.SIGTERM)
        await replaced(gateway, first)
        assert (await within(get(gateway.port, "/healthz"))).status == 200
        gateway.signal(signal.SIGTERM)
        assert await gateway.ended() == 0


# ---- what one keeps


async def test_workers_go_on_from_what_another_one_answered(tmp_path: Path) -> None:
    """Every second request that referred to an earlier answer was refused: another worker kept that."""
    async with (
        ScriptedProvider([text("Hello"), FINISH, USAGE, DONE]) as provider,
        process(tmp_path, provider, TWO) as gateway,
    ):

        async def asked(method: str, path: str, **fields: Any) -> tuple[int, Any]:
            """On a connection of its own, which either worker may take."""
            body = json.dumps({"model": "mock/any", **fields}).encode() if fields else b""
            client = await send(gateway.port, method, path, body, "content-type: application/json")
            await client.head()
            told = json.loads(await client.rest())
            client.close()
            return client.status, told

        _, first = await asked("POST", "/v1/responses", input="Hi")
        for _ in range(12):
            on = await asked("POST", "/v1/responses", input="More", previous_response_id=first["id"])
            assert on[0] == 200, on
            assert (await asked("GET", f"/v1/responses/{first['id']}"))[1]["output"] == first["output"]
        assert [one["content"] for one in provider.calls[-1].json["messages"]] == ["Hi", "Hello", "More"]
        assert (await asked("DELETE", f"/v1/responses/{first['id']}"))[0] == 200
        for _ in range(6):
            assert (await asked("GET", f"/v1/responses/{first['id']}"))[0] == 404
