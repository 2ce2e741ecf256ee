"""Budgets under fire: fleets of streams on several workers, whose clients leave and whose workers are killed.

After all the ledger must add up, and no key may have spent more than its budget and what its provider counted beyond
what was held. Some streams are stopped by their ids, through whichever worker hears it: how long that takes is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from infron.policy import tokens
from infron.policy.editing import KeyEdit
from infron.runtime.ledger import invariants
from infron.runtime.ledger.administration import administration
from infron.runtime.ledger.stores import opened
from infron.testing import DONE, FINISH, ROLE, Call, Pause, Script, ScriptedProvider, frame, text

WORKERS = 4
AT_ONCE = 5  # fleets
SAID = ("the", "answer", "größer", "переход", "回答", "of")
WORDS = [f" {word}{number}" for number, word in enumerate(SAID * 50)]
# What a provider counts of a text, beside what we count of its family: OpenAI's the same, others up to so much more.
PROVIDERS = {"exact": ("gpt", 1.0, 1.0), "other": ("other", 0.8, 1.35)}
CONFIG = """
[server]
port = {port}
workers = {workers}
[local]
enabled = false
[ledger]
url = "sqlite:///{folder}/overspend.db"
"""
PROVIDER = """
[providers.{name}]
wire = "openai-chat"
base_url = "{url}"
api_key = "x"
on_disconnect = "cancel"
stops_billing = {{ value = "yes", source = "this file", date = "2026-11-28" }}
tokenizer = "{family}"
prices = {{ "*" = {{ prompt = "1", completion = "10" }} }}
"""


async def measure(folder: Path, fleets: int, port: int, seed: int = 1) -> dict[str, Any]:
    """USD: the `worst` and the `sum` of what was charged beyond budgets, and `beyond` what was held. `wrong`: what does
    not add up. `stops`: milliseconds from asking for a stop to the end of the stream, sorted.
    """
    fate = random.Random(seed)
    found: dict[str, Any] = {"streams": 0, "killed": 0, "stops": [], "wrong": []}
    async with contextlib.AsyncExitStack() as stack:
        hosts = {name: await stack.enter_async_context(ScriptedProvider(_script(name, fate))) for name in PROVIDERS}
        settings = CONFIG.format(port=port, workers=WORKERS, folder=folder) + "".join(
            PROVIDER.format(name=name, url=host.base_url, family=PROVIDERS[name][0]) for name, host in hosts.items()
        )
        _write(folder / "infron.toml", settings)
        url = f"sqlite:///{folder / 'overspend.db'}"
        with administration(url, "bench") as administrator:
            keys = [
                administrator.create_key(
                    KeyEdit(name=f"fleet {n}", budgets_usd={"day": Decimal(fate.randint(2, 60)) / 1000})
                )
                for n in range(fleets)
            ]
        pid = await stack.enter_async_context(_gateway(folder, port))
        for first in range(0, fleets, AT_ONCE):
            kill = asyncio.create_task(_kill(pid, fate, found)) if fate.random() < 0.5 else None
            await asyncio.gather(*(_fleet(port, secret, fate, found) for _, secret in keys[first : first + AT_ONCE]))
            if kill is not None:
                await kill
        await _settled(url)
    _judge(url, found)
    return found


def _script(name: str, fate: random.Random) -> Any:
    """Answers of any length and pace, with counts at the end."""
    family, least, most = PROVIDERS[name]

    def script(call: Call) -> Script:
        said = fate.choices(WORDS, k=fate.randint(1, 900))
        limit = call.json.get("max_tokens", 1 << 20)
        while tokens.count_text("".join(said), family) * most > limit and len(said) > 1:
            said = said[: len(said) // 2]
        pieces: list[Any] = []
        while said:
            size = fate.choice((1, 1, 1, 3, 40))
            pieces.append(text("".join(said[:size])))
            said = said[size:]
            if fate.random() < 0.1:
                pieces.append(Pause(fate.random() * 0.02))
        whole = "".join(
            json.loads(piece[6:])["choices"][0]["delta"]["content"] for piece in pieces if type(piece) is bytes
        )
        count = min(limit, round(tokens.count_text(whole, family) * fate.uniform(least, most)))
        usage = {"prompt_tokens": 9, "completion_tokens": count, "total_tokens": count + 9}
        return [ROLE, *pieces, FINISH, frame(choices=[], usage=usage), DONE]

    return script


@contextlib.asynccontextmanager
async def _gateway(folder: Path, port: int) -> AsyncIterator[int]:
    command = [sys.executable, "-m", "infron", "serve", "--config", str(folder / "infron.toml")]
    environ = {**os.environ, "PYTHONPATH": sys.path[0]}
    with _said(folder / "said") as said:
        process = await asyncio.create_subprocess_exec(*command, env=environ, stdout=said, stderr=said)
    try:
        async with asyncio.timeout(60):
            while not _serves(folder / "said"):
                if process.returncode is not None:
                    sys.exit(f"The gateway ended with exit code {process.returncode}.")
                await asyncio.sleep(0.05)
        yield process.pid
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def _kill(pid: int, fate: random.Random, found: dict[str, Any]) -> None:
    await asyncio.sleep(fate.uniform(0.1, 1.0))
    if workers := _workers(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(fate.choice(workers)), signal.SIGKILL)
            found["killed"] += 1


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _said(path: Path) -> BinaryIO:
    return path.open("wb")


def _serves(said: Path) -> bool:
    """Whether all of its workers do."""
    return b"Infron serves at" in said.read_bytes()


def _workers(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


async def _fleet(port: int, secret: str, fate: random.Random, found: dict[str, Any]) -> None:
    await asyncio.gather(*(_stream(port, secret, fate, found) for _ in range(fate.randint(1, 12))))


async def _stream(port: int, secret: str, fate: random.Random, found: dict[str, Any]) -> None:
    """Read to the end, leave at some moment, or stop it by its id."""
    await asyncio.sleep(fate.random() * 0.5)
    fields: dict[str, Any] = {"model": f"{fate.choice(list(PROVIDERS))}/m", "stream": True}
    fields["messages"] = [{"role": "user", "content": "Hi"}]
    if fate.random() < 0.3:
        fields["max_tokens"] = fate.randint(1, 600)
    what = fate.choice(("read", "read", "leave", "stop"))
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
        async with asyncio.timeout(30):
            reader, writer = await _ask(port, secret, "/v1/chat/completions", json.dumps(fields).encode())
            found["streams"] += 1
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if what == "leave":
                await asyncio.sleep(fate.random() * 0.5)
            elif what == "stop" and b"x-generation-id: " in head:
                id = head.partition(b"x-generation-id: ")[2].partition(b"\r\n")[0].decode()
                asked = time.monotonic()
                _, other = await _ask(port, secret, f"/v1/generations/{id}/cancel", b"")
                if b'"code":"cancelled"' in await reader.read():
                    found["stops"].append((time.monotonic() - asked) * 1000)
                other.close()
            else:
                await reader.read()
            writer.close()


async def _ask(port: int, secret: str, path: str, body: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {secret}\r\n"
        f"connection: close\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    return reader, writer


async def _settled(url: str) -> None:
    """Nothing runs any more: what killed workers left is settled by the others."""
    async with asyncio.timeout(60):
        while True:
            with opened(url) as store:
                if store.reach().read("SELECT count(*) FROM entries WHERE outcome IS NULL") == [(0,)]:
                    return
            await asyncio.sleep(0.2)


def _judge(url: str, found: dict[str, Any]) -> None:
    with opened(url) as store:
        store.reach()
        with store.view() as rows:
            found["wrong"] += [str(each) for each in invariants.check(rows, ceilings=True)]
            beyond = dict(
                rows.read(
                    "SELECT key_id, sum(CASE WHEN charge > hold THEN charge - hold ELSE 0 END) FROM entries GROUP BY 1"
                )
            )
            spent = rows.read(
                "SELECT budgets.holder, budgets.ceiling, coalesce(sum(entries.charge), 0) FROM budgets"
                " LEFT JOIN entries ON entries.key_id = budgets.holder GROUP BY 1, 2"
            )
    over = [charge - ceiling for _, ceiling, charge in spent]
    found["wrong"] += [
        f"{holder} spent {charge} of {ceiling}, and {beyond.get(holder, 0)} beyond holds"
        for holder, ceiling, charge in spent
        if charge > ceiling + beyond.get(holder, 0)
    ]
    found["worst"] = max(0, *over) / 10**12
    found["sum"] = sum(max(0, each) for each in over) / 10**12
    found["beyond"] = sum(beyond.values()) / 10**12
    found["spent"] = sum(charge for *_, charge in spent) / 10**12
    found["stopped"] = sum(charge > 0.5 * ceiling for _, ceiling, charge in spent)
    found["stops"].sort()


if __name__ == "__main__":
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # of sockets whose other side was killed
    with tempfile.TemporaryDirectory() as folder:
        told = asyncio.run(measure(Path(folder), int(sys.argv[1]), 8953))
    stops = told.pop("stops")
    told["stop_ms"] = (
        {"n": len(stops), "p50": stops[len(stops) // 2], "p99": stops[int(len(stops) * 0.99)]} if stops else {}
    )
    print(json.dumps(told, indent=2))
