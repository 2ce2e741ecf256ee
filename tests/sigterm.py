"""SIGTERM at random moments of a gateway's start, run and end: what its exit code is, and what its ledger says.

`make sigterm` does so 200 times (COUNT=20 for fewer). Every client that saw content must have one entry, settled, and
the exit code is 0, whatever the moment. The suite runs a few of them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))

from process import Gateway, starting
from rawclient import Client, ask

from infron.testing import DONE, FINISH, USAGE, Pause, ScriptedProvider, text

MOMENTS = ("start", "run", "end")
START_SECONDS = 1.5  # about what a start takes, or more
END_SECONDS = 0.5
SCRIPT = [*(step for number in range(20) for step in (text(f"{number} "), Pause(0.02))), FINISH, USAGE, DONE]


class Broken(Exception):
    """What a run has broken, in a sentence."""


async def once(folder: Path, provider: ScriptedProvider, moment: str, workers: int, dice: random.Random) -> str:
    """One gateway, signalled at a moment of that kind; what came of it. Raises Broken."""
    settings = f"[server]\nworkers = {workers}\ngrace_seconds = {dice.choice((0.05, 0.3, 30))}\n"
    async with starting(folder, provider, settings) as gateway:
        if moment == "start":
            await asyncio.sleep(dice.uniform(0, START_SECONDS))
            obeys = gateway.obeys()
            gateway.signal(signal.SIGTERM)
            return await ended(gateway, obeys)
        await gateway.ready()
        seen: set[str] = set()
        clients = [asyncio.create_task(read(gateway.port, seen)) for _ in range(12)]
        await asyncio.sleep(dice.uniform(0, 0.5))
        gateway.signal(signal.SIGTERM)
        if moment == "end":
            for _ in range(dice.randrange(1, 5)):
                await asyncio.sleep(dice.uniform(0, END_SECONDS))
                with contextlib.suppress(ProcessLookupError):
                    gateway.signal(signal.SIGTERM)
        code = await ended(gateway)
        await asyncio.gather(*clients)
        rows = gateway.rows("id, outcome, orphaned")
        ids = {id for id, _, _ in rows}
        if not seen <= ids or len(ids) < len(rows):
            raise Broken(f"of {len(seen)} that clients saw {len(seen - ids)} have no entry; there are {len(rows)}")
        if wrong := [row for row in rows if row[1] is None or row[2]]:
            raise Broken(f"entries are not settled: {wrong}")
        return code


async def ended(gateway: Gateway, obeys: bool = True) -> str:
    """The exit code, judged. `obeys`: our code was there to hear the signal. Raises Broken."""
    begun = time.monotonic()
    code = await gateway.ended()
    if "Traceback" in gateway.said():
        raise Broken(gateway.said())
    if code == -signal.SIGTERM and not obeys:
        return "ended by the system, before our code"
    if code:
        raise Broken(f"exit code {code} after {time.monotonic() - begun:.1f} s: {gateway.said()}")
    return "exit code 0"


async def read(port: int, seen: set[str]) -> None:
    """Ask again and again until nobody answers; remember who saw content."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
        while True:
            client: Client = await (await ask(port)).head()
            if client.status != 200:
                return
            await client.until(b"0 ")
            seen.add(client.id)
            await client.rest()
            client.close()


async def many(count: int, seed: int) -> Counter[tuple[int, str, str]]:
    """`count` gateways. Raises Broken."""
    dice = random.Random(seed)
    found: Counter[tuple[int, str, str]] = Counter()
    async with ScriptedProvider(SCRIPT) as provider:
        for number in range(count):
            workers, moment = 1 + number % 2, MOMENTS[number // 2 % 3]
            with tempfile.TemporaryDirectory() as folder:
                try:
                    result = await once(Path(folder), provider, moment, workers, dice)
                except Exception as error:
                    raise Broken(f"run {number} of seed {seed} ({workers} workers, {moment}): {error!r}") from error
                found[workers, moment, result] += 1
            if (number + 1) % 20 == 0:
                print(f"{number + 1:5} gateways, each of which ended as it should", flush=True)
    return found


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--count", type=int, default=200)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    try:
        results = asyncio.run(many(given.count, given.seed))
    except Broken as broken:
        sys.exit(f"BROKEN  {broken}")
    for (workers, moment, result), times in sorted(results.items()):
        print(f"{workers} workers, {moment:5}: {times:4} × {result}")
    print("every promise held")
