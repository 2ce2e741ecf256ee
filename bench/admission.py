"""How long admission takes: processes with a ledger each, on one file, that ask for exchanges and settle them.

It never goes through a gateway: what is measured is the ledger's round, its lock and its thread.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from infron.money import Usage
from infron.policy.editing import KeyEdit, OrganisationEdit
from infron.policy.limits import Ask, Granted
from infron.records import Bill, Opening, Outcome, Settlement
from infron.runtime.ledger import invariants
from infron.runtime.ledger.administration import administration
from infron.runtime.ledger.ledger import Ledger
from infron.runtime.ledger.limited import day_of
from infron.runtime.ledger.stores import opened

RATE = 500  # asks a second, of all processes together
KEYS = 20  # of one organisation, which every round locks
LASTS = 0.05  # seconds from being granted to being settled

LARGE = {
    "requests_per_minute": 10**9,
    "tokens_per_minute": 10**9,
    "concurrent": 10**6,
    "budgets_usd": {"month": Decimal(10**6)},
}


def measure(folder: Path, processes: int, seconds: float) -> dict[str, Any]:
    """Milliseconds, over all processes; `exact`: the ledger adds up afterwards."""
    url = f"sqlite:///{folder / 'admission.db'}"
    with administration(url, "bench") as administrator:
        above = administrator.create_organisation(OrganisationEdit(name="bench", **LARGE)).id
        edits = [KeyEdit(name=f"key {number}", organisation=above, **LARGE) for number in range(KEYS)]
        keys = [administrator.create_key(edit)[0].id for edit in edits]
    asked = json.dumps({"url": url, "keys": keys, "above": above, "rate": RATE / processes, "seconds": seconds})
    command = [sys.executable, str(Path(__file__).resolve()), asked]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    taken = sorted(ms for each in running for ms in json.loads(each.communicate()[0]))
    with opened(url) as store:
        store.reach()
        with store.view() as rows:
            exact = not invariants.check(rows, ceilings=True)
    return {"n": len(taken), "p50": _part(taken, 0.5), "p99": _part(taken, 0.99), "exact": exact}


def _part(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))]


async def _ask(url: str, keys: list[str], above: str, rate: float, seconds: float) -> list[float]:
    """Ask at random moments; each exchange that is granted is settled a little later. Milliseconds of each answer."""
    ledger, loop = Ledger(url), asyncio.get_running_loop()
    await ledger.start()
    chance, taken = random.Random(), []
    began = loop.time()
    at, number = began + 1.0, 0  # the first second is for all to be there

    def settle(id: str) -> None:
        bill = Bill(usage=Usage(prompt=10, completion=20), price=None, cost=10**9, charge=10**9)
        ended = Settlement(id=id, outcome=Outcome.COMPLETED, provider="p", provider_model="m", bill=bill)
        ledger.settled(ended)

    def answered(id: str, asked: float, verdict: object) -> None:
        taken.append((loop.time() - asked) * 1000)
        if isinstance(verdict, Granted):
            loop.call_later(LASTS, settle, id)

    while at < began + 1.0 + seconds:
        await asyncio.sleep(max(0.0, at - loop.time()))
        number += 1
        now = time.time()
        opening = Opening(
            id=f"gen-{int(now)}-{ledger.boot}{number:06}",
            key_id=chance.choice(keys),
            organisation=above,
            limited=True,
            model="m",
            provider="p",
            provider_model="m",
            streamed=True,
            created_at=now,
            price=None,
        )
        asked = loop.time()
        ask = Ask(day=day_of(now), least=10**8, most=10**10, tokens=1000)
        ledger.admit(opening, ask, lambda verdict, id=opening.id, asked=asked: answered(id, asked, verdict))
        at += chance.expovariate(rate)
    await asyncio.sleep(LASTS + 0.5)
    await ledger.stop()
    return taken


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_ask(**json.loads(sys.argv[1])))))
