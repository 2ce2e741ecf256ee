"""Kill -9 under load, again and again on one ledger, and what must hold all the same.

`make kill` does so 1,000 times (KILLS=50 for fewer), half of them with one worker and half with two, where now one of
them dies and now all. The promises: each exchange of which a client saw content has exactly one entry; after the next
start none is open and none drains; what is complete and reported is charged to the picodollar; the totals of keys, by
day and by month, are the sums of their entries; `infron audit` finds nothing, and no budget was passed. It tells how
many answers that a client saw to their end are charged nothing: those of the last moments before a kill, whose
settlement was not written yet.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))

from limited import limited_key, organisation
from process import Gateway, process
from rawclient import ask, close_all

from infron.policy.holders import PERIODS, period_name
from infron.runtime.ledger import invariants
from infron.runtime.ledger.administration import create_key
from infron.runtime.ledger.statements import MILLION
from infron.runtime.ledger.stores import opened as opened_store
from infron.testing import CUT, DONE, FINISH, ROLE, Call, Pause, ScriptedProvider, Step, frame, text

CLIENTS = 25
PROMPT, COMPLETION = 100, 50
CHARGE = PROMPT * 10**6 + COMPLETION * 10**7  # picodollars
REPORT = frame(choices=[], usage={"prompt_tokens": PROMPT, "completion_tokens": COMPLETION, "total_tokens": 150})
PRICE = 'any = { prompt = "1", completion = "10" }'  # USD per million


class Seen:
    """What clients saw: the ids of which content came, and of which the end came. `refused`: statuses but 200.

    `slow_starts`: gateways that were killed before they were ready.
    """

    def __init__(self) -> None:
        self.content: set[str] = set()
        self.done: set[str] = set()
        self.refused: Counter[int] = Counter()
        self.slow_starts = 0


async def kill_often(folder: Path, kills: int, workers: int, chance: random.Random, tell: bool = False) -> Seen:
    """Start a gateway and kill it, so many times; then start it once more, so that it puts its ledger in order."""
    seen = Seen()
    url = f"sqlite:///{folder / 'infron.db'}"
    secrets = [create_key(url, name)[1] for name in ("one", "two")]
    above = organisation(url, concurrent=CLIENTS // 2, month=10.0, total=1000.0)  # now and then too little of either
    limits = ({"requests_per_minute": 100_000, "tokens_per_minute": 10**8}, {"concurrent": 6, "day": 1.0})
    secrets += [limited_key(url, above, **each).split()[-1] for each in limits]

    def script(call: Call) -> list[Step]:
        parts = [(text("word " * 20), Pause(chance.random() * 0.08)) for _ in range(chance.randrange(1, 6))]
        said: list[Step] = [ROLE, *(step for part in parts for step in part)]
        return [*said, CUT] if chance.random() < 0.05 else [*said, FINISH, REPORT, DONE]

    async with ScriptedProvider(script) as provider:
        began = time.monotonic()
        for number in range(kills):
            try:
                await _kill(folder, provider, workers, secrets, seen, chance)
            except TimeoutError:  # a busy machine, on which the start took too long
                seen.slow_starts += 1
            if tell and number % 50 == 49:
                took = time.monotonic() - began
                print(f"{number + 1:5} kills, {len(seen.content):,} exchanges with content, {took:,.0f} s", flush=True)
        async with _gateway(folder, provider, 1):
            pass
    return seen


async def _kill(
    folder: Path, provider: ScriptedProvider, workers: int, secrets: list[str], seen: Seen, chance: random.Random
) -> None:
    async with _gateway(folder, provider, workers) as gateway:
        clients = [asyncio.create_task(_client(gateway.port, secrets, seen, chance)) for _ in range(CLIENTS)]
        await asyncio.sleep(0.05 + chance.random() * 0.5)
        if workers > 1 and chance.random() < 0.5:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(_workers(gateway)), signal.SIGKILL)
            await asyncio.sleep(chance.random() * 0.5)
        os.killpg(gateway.process.pid, signal.SIGKILL)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        close_all()


def _gateway(folder: Path, provider: ScriptedProvider, workers: int) -> contextlib.AbstractAsyncContextManager[Gateway]:
    slow = f'[providers.slow]\nwire = "openai-chat"\nbase_url = "{provider.base_url}"\napi_key = "provider-key"\n'
    row = f'on_disconnect = "cancel"\nprices = {{ {PRICE} }}\n{slow}on_disconnect = "drain"\nprices = {{ {PRICE} }}'
    return process(folder, provider, f'[server]\nworkers = {workers}\n[log]\nlevel = "error"', row)


def _workers(gateway: Gateway) -> list[int]:
    pid = gateway.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def _client(port: int, secrets: list[str], seen: Seen, chance: random.Random) -> None:
    """Ask, and ask again; now and then leave in the middle, or have the answer whole."""
    while True:
        leaves, stream = chance.random() < 0.2, chance.random() < 0.9
        try:
            key = f"authorization: Bearer {chance.choice(secrets)}"
            client = await ask(port, key, model=chance.choice(("mock/any", "slow/any")), stream=stream)
            await client.head()
            if client.status != 200:
                seen.refused[client.status] += 1
                await asyncio.sleep(0.01)
            elif not stream:
                await client.rest()
                seen.content.add(client.id)
                seen.done.add(client.id)
            else:
                while await client.piece():
                    if b"word" in client.received:
                        seen.content.add(client.id)
                        if leaves:
                            break
                if b"[DONE]" in client.received and b'"error"' not in client.received:
                    seen.done.add(client.id)
            client.close()
        except (OSError, EOFError, TimeoutError, ValueError, IndexError):
            await asyncio.sleep(0.01)


def broken(ledger: Path, seen: Seen) -> list[str]:
    """Each promise that the ledger does not keep, in a sentence."""
    return list(_broken(ledger, seen))


def _broken(ledger: Path, seen: Seen) -> Iterator[str]:
    with closing(sqlite3.connect(ledger)) as connection:
        query = connection.execute
        if (found := query("PRAGMA integrity_check").fetchone()[0]) != "ok":
            yield f"the file is damaged: {found}"
        entries = {id: rest for id, *rest in query("SELECT id, outcome, estimated, orphaned, charge FROM entries")}
        if missing := seen.content - entries.keys():
            yield f"{len(missing)} exchanges with content have no entry, such as {min(missing)}"
        if lasting := query("SELECT count(*) FROM entries WHERE outcome IS NULL OR draining = 1").fetchone()[0]:
            yield f"{lasting} entries are open or drain, though nothing runs"
        wrong = [
            id
            for id, (outcome, estimated, orphaned, charge) in entries.items()
            if charge != (0 if orphaned or outcome == "failed" else CHARGE) and not estimated
        ]
        if wrong:
            yield f"{len(wrong)} entries are not charged by their report, such as {min(wrong)}"
        begun = "SELECT coalesce(key_id, ''), created_ms / 86400000, charge FROM entries WHERE charge > 0"
        of_organisations = "SELECT organisation, created_ms / 86400000, charge FROM entries WHERE charge > 0"
        owed: Counter[tuple[str, str]] = Counter()
        for key, day, charge in [*query(begun), *query(f"{of_organisations} AND organisation IS NOT NULL")]:
            for period in PERIODS:
                owed[key, period_name(period, date(1970, 1, 1) + timedelta(days=day))] += charge
        spend = "SELECT holder, period, millions, charge FROM spend"
        told = {(key, period): millions * MILLION + charge for key, period, millions, charge in query(spend)}
        if owed != told:
            yield f"the totals of keys are {told}, the sums of their entries {owed}"
    with opened_store(f"sqlite:///{ledger}") as store, store.view() as rows:
        if found := invariants.check(rows, ceilings=True):
            yield f"{len(found)} sums do not add up, such as {found[0]}"


def story(ledger: Path, seen: Seen) -> str:
    """What became of all exchanges, and of those whose end a client saw."""
    with closing(sqlite3.connect(ledger)) as connection:
        rows = connection.execute("SELECT id, CASE orphaned WHEN 1 THEN 'orphaned' ELSE outcome END FROM entries")
        outcomes: dict[str, str] = dict(rows.fetchall())
    ends = Counter(outcomes.get(id, "missing") for id in seen.done)
    return (
        f"{len(outcomes):,} entries: {_counts(Counter(outcomes.values()))}\n"
        f"{len(seen.content):,} of which a client saw content; {len(seen.done):,} to their end: {_counts(ends)}"
    )


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.most_common())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9)
    asked = parser.parse_args()
    print(f"seed {asked.seed}")
    worst = 0
    for workers in asked.workers:
        with tempfile.TemporaryDirectory(prefix="infron-kill-") as folder:
            chance = random.Random(f"{asked.seed}:{workers}")
            kills = asked.kills // len(asked.workers)
            seen = asyncio.run(kill_often(Path(folder), kills, workers, chance, tell=True))
            ledger = Path(folder) / "infron.db"
            print(f"{kills - seen.slow_starts:,} kills, workers = {workers}\n{story(ledger, seen)}")
            for promise in broken(ledger, seen):
                print(f"BROKEN  {promise}")
                worst = 1
    print("a promise was broken" if worst else "every promise held")
    return worst


if __name__ == "__main__":
    sys.exit(main())
