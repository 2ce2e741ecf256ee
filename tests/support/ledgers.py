"""Ledgers for tests: in this process and in others, what is recorded in them, and their files."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from infron.money import Price, Usage
from infron.policy.limits import Ask
from infron.records import Bill, FailedAttempt, Opening, Outcome, Settlement
from infron.runtime.ledger import sqlite
from infron.runtime.ledger.entries import DrainCaps
from infron.runtime.ledger.ledger import Ledger
from infron.runtime.ledger.limited import day_of
from infron.runtime.ledger.verdict import Recorded, Verdict

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
    """`more`: fields of it, and of its bill."""
    money: dict[str, Any] = {
        "price": PRICE,
        "usage": Usage(prompt=10, completion=20, cached=3, reasoning=4),
        "cost": 5,
        "charge": 7,
    }
    values: dict[str, Any] = {"outcome": Outcome.COMPLETED, "provider": "host", "provider_model": "model-1"}
    for name, value in more.items():
        (money if name in Bill.__struct_fields__ else values)[name] = value
    return Settlement(id=id, bill=Bill(**money), **values)


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


async def admitted(ledger: Ledger, id: str, *, least: int = 0, most: int = 0, tokens: int = 0, **more: Any) -> Any:
    """Granted, or why not."""
    wanted = opening(id, **{"limited": True, **more})
    ask = Ask(day=day_of(wanted.created_at), least=least, most=most, tokens=tokens)
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    ledger.admit(wanted, ask, answer.set_result)
    return await answer


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
    bill = Bill(price=None, usage=Usage(prompt=1, completion=1), cost=charge, charge=charge)
    return Settlement(id=id, outcome=Outcome.COMPLETED, provider="p", provider_model="m", bill=bill)
async def opened(ledger, id, key_id=None):
    future = asyncio.get_running_loop().create_future()
    ledger.open(opening(id, key_id), future.set_result)
    assert await future == Recorded()
async def heard():
    return (await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)).strip()
"""


HOLDER = """
async def main(ledger):
    await opened(ledger, f"gen-{os.getpid()}")
    future = asyncio.get_running_loop().create_future()
    ledger.claim_drain(f"gen-{os.getpid()}", DrainCaps(2, 0), future.set_result)
    say("granted" if await future == Recorded() else "refused")
    await heard()
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
