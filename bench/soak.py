"""Honest streams beside thirty kinds of hostile client: how late their frames come, what is held, what stays unsettled.

`bench/soak.py --seconds 300 --streams 200` takes twice as long: first without hostile clients, then with them. The
gateway has one core, all clients and the provider have the other.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import rig

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "tests" / "support")]

from hostile import KINDS  # noqa: E402

LOOKS = 10  # at its memory
PAUSE = 0.2  # seconds between two attacks of one kind
LATE_MS = 20  # that hostile clients may add to the p99 of the gaps between two frames
GROWTH = 1.1  # of the memory held, between both halves of the time beside hostile clients


async def attack(port: int, key: str, seconds: float) -> None:
    async def one(name: str) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await KINDS[name](port, key)
            await asyncio.sleep(PAUSE)

    await asyncio.gather(*map(one, KINDS))


def phase(subject: rig.Subject, streams: int, seconds: float, *, hostile: bool) -> tuple[dict[str, Any], list[float]]:
    """What the load tool saw, and the memory held on the way, in MB."""
    attacker = None
    if hostile:
        # They are many programs in fact. Here they give way to the load tool, whose clock must not wait for them.
        command = ("nice", "-n", "10", sys.executable, __file__, "--attack", str(subject.port))
        attacker = subprocess.Popen([*command, "--key", subject.headers[0], "--seconds", str(seconds)])
    waited, held = _waited(subject.pid), list[float]()

    def look() -> None:
        for _ in range(LOOKS):
            time.sleep(seconds / LOOKS)
            held.append(rig.rss_kib(subject.pid) / 1000)

    looking = threading.Thread(target=look)
    looking.start()
    run = rig.load(subject, "closed", clients=streams, frames=100, interval_ms=50, seconds=seconds)
    looking.join()
    waited = 100 * (_waited(subject.pid) - waited) / seconds
    if attacker is not None:
        attacker.wait()
    gap = {name: run["gap_us"][name] / 1000 for name in ("p50", "p99", "max")}
    beside = f"{len(KINDS)} kinds of hostile client" if hostile else "nobody else"
    print(
        f"beside {beside}: {run['frames']:,} frames, late by p50 {gap['p50']:.1f} ms, p99 {gap['p99']:.1f} ms,"
        f" at most {gap['max']:.1f} ms; wrong: {run['wrong'] or 'none'}\n"
        f"    memory {', '.join(f'{held_mb:.0f}' for held_mb in held)} MB; the gateway's CPU"
        f" {run['cpu_us'] / run['seconds'] / 1e4:.0f} %, strangers {run['strangers_us'] / run['seconds'] / 1e4:.0f} %;"
        f" its loop waited {waited:.0f} % of the time for a processor",
        flush=True,
    )
    return run, held


def main(streams: int, seconds: float) -> int:
    rig.prepare()
    with tempfile.TemporaryDirectory(dir=rig.BUILD, prefix="run-") as name:
        folder = Path(name)
        with rig.gateway(folder) as subject:
            alone, _ = phase(subject, streams, seconds, hostile=False)
            beside, held = phase(subject, streams, seconds, hostile=True)
        with contextlib.closing(sqlite3.connect(folder / "ledger.db")) as connection:
            entries, unsettled = connection.execute("SELECT count(*), sum(outcome IS NULL) FROM entries").fetchone()
    added = (beside["gap_us"]["p99"] - alone["gap_us"]["p99"]) / 1000
    first, second = median(held[: LOOKS // 2]), median(held[LOOKS // 2 :])
    verdicts = {
        f"added to p99: {added:.1f} ms, where {LATE_MS} are the bar": added <= LATE_MS,
        f"memory: {first:.0f} MB in the first half, {second:.0f} MB in the second": second <= GROWTH * first,
        f"{unsettled or 0} of {entries:,} entries unsettled": not unsettled,
        f"answers that were not whole: {alone['wrong'] | beside['wrong'] or 'none'}": not alone["wrong"]
        | beside["wrong"],
    }
    for sentence, holds in verdicts.items():
        print(f"{'held' if holds else 'MISSED':8}{sentence}")
    return 0 if all(verdicts.values()) else 1


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
    if asked.attack:
        asyncio.run(attack(asked.attack, asked.key, asked.seconds))
    else:
        sys.exit(main(asked.streams, asked.seconds))
