"""Honest streams beside thirty kinds of hostile client: how late their frames come, what is held, what stays unsettled.

`bench/soak.py --seconds 300 --streams 200`. It never judges: the figures are printed, first without hostile clients.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "src")]

from hostile import KINDS  # noqa: E402
from rawconnection import chat, connected  # noqa: E402

from infron.runtime.ledger.administration import create_key  # noqa: E402
from infron.testing import DONE, FINISH, ROLE, USAGE, Pause, ScriptedProvider, text  # noqa: E402

GAP = 0.05  # seconds between two frames
FRAMES = 100
LOOKS = 5  # at its memory
PAUSE = 0.2  # seconds between two attacks of one kind
SCRIPT = [ROLE, *[step for n in range(FRAMES) for step in (text(f"{n};"), Pause(GAP))], FINISH, USAGE, DONE]


async def honest(port: int, key: str, until: float, gaps: list[float], wrong: list[str]) -> None:
    """One stream after the other; `gaps`: between two frames, beyond what the provider takes."""
    while time.monotonic() < until:
        async with connected(port) as connection:
            connection.send(chat(key))
            if (await connection.head()).status != 200:
                wrong.append("refused")
                continue
            body, before = b"", 0.0
            while chunk := await connection.chunk():
                body, now = body + chunk, time.monotonic()
                if before and b"content" in chunk:
                    gaps.append(now - before - GAP)
                before = now
            if not body.endswith(b"data: [DONE]\n\n"):
                wrong.append("cut")


async def attack(port: int, key: str, seconds: float) -> None:
    async def one(name: str) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await KINDS[name](port, key)
            await asyncio.sleep(PAUSE)

    await asyncio.gather(*map(one, KINDS))


async def phase(gateway: int, port: int, key: str, streams: int, seconds: float, hostile: bool) -> float:
    """`gateway`: the id of its process."""
    gaps: list[float] = []
    wrong: list[str] = []
    attacker = None
    if hostile:
        command = (sys.executable, __file__, "--attack", str(port), "--key", key, "--seconds", str(seconds))
        attacker = await asyncio.create_subprocess_exec(*command)
    until, waited, held = time.monotonic() + seconds, _waited(gateway), []
    clients = asyncio.gather(*[honest(port, key, until, gaps, wrong) for _ in range(streams)])
    for _ in range(LOOKS):
        await asyncio.sleep(seconds / LOOKS)
        held.append(f"{_held(gateway):.0f}")
    waited = 100 * (_waited(gateway) - waited) / seconds
    await clients
    if attacker is not None:
        await attacker.wait()
    gaps.sort()
    p50, p99 = (1000 * gaps[int(len(gaps) * share)] for share in (0.5, 0.99))
    beside = f"{len(KINDS)} kinds of hostile client" if hostile else "nobody else"
    print(
        f"beside {beside}: {len(gaps):,} frames, late by p50 {p50:.1f} ms, p99 {p99:.1f} ms; wrong: {wrong or 'none'}\n"
        f"    memory {', '.join(held)} MB; the gateway waited {waited:.0f} % of the time for a processor"
    )
    return p99


async def main(streams: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledger, file = Path(folder) / "infron.db", Path(folder) / "infron.toml"
        key = f"Authorization: Bearer {create_key(f'sqlite:///{ledger}', 'soak')[1]}"
        async with ScriptedProvider(SCRIPT) as provider:
            row = "\n".join(f"{name} = {json.dumps(value)}" for name, value in provider.row().items())
            file.write_text(f"[server]\nport = 0\n[local]\nenabled = false\n[providers.mock]\n{row}\n")
            serve = "import sys; from infron.config import load; from infron.runtime.process import serve;"
            serve += "sys.exit(serve(load(sys.argv[1], {}), ready=lambda url: print(url, flush=True)))"
            gateway = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                serve,
                str(file),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                assert gateway.stdout is not None
                port = int((await gateway.stdout.readline()).decode().strip().rpartition(":")[2])
                alone = await phase(gateway.pid, port, key, streams, seconds, hostile=False)
                beside = await phase(gateway.pid, port, key, streams, seconds, hostile=True)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    gateway.send_signal(signal.SIGTERM)
                code = await gateway.wait()
        with contextlib.closing(sqlite3.connect(ledger)) as connection:
            entries, unsettled = connection.execute("SELECT count(*), sum(outcome IS NULL) FROM entries").fetchone()
    print(f"added to p99: {beside - alone:.1f} ms; exit code {code}; {entries:,} entries, {unsettled or 0} unsettled")


def _held(pid: int) -> float:
    """Resident memory in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6


def _waited(pid: int) -> float:
    """Seconds for which the thread of its loop could have run, and had no processor: those are the machine's."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--attack", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--key", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    asyncio.run(attack(asked.attack, asked.key, asked.seconds) if asked.attack else main(asked.streams, asked.seconds))
