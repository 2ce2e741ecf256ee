"""Instructions of the gateway per short stream and per frame, thread by thread, of this checkout and of others.

Valgrind counts what the process itself executes (not the kernel), so that no neighbour on the machine disturbs it: it
tells two checkouts apart where a clock does not. It never judges a figure.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import rig
from run import workplace

COUNTER = (
    "valgrind",
    "--tool=callgrind",
    "--instr-atstart=no",
    "--separate-threads=yes",
    "--callgrind-out-file=counted",
)
CLIENTS = 4  # so few that what is under way at the end does not count, and that each row is committed by itself
WARMUP, SECONDS = 8, 25  # everything takes fifty times as long here


class Load(NamedTuple):
    """`per`: what of the load tool's result is counted."""

    name: str
    per: str
    options: dict[str, float]


LOADS = (
    Load("short stream", "completed", {"clients": CLIENTS, "frames": 1}),
    Load("short stream that asks for counts", "completed", {"clients": CLIENTS, "frames": 1, "usage": 1}),
    Load("frame, in streams of 250", "frames", {"clients": CLIENTS, "frames": 250, "interval_ms": 20}),
)


class Counted(NamedTuple):
    """Thousands of instructions: of the event loop's thread, and of all others (ledger, log)."""

    loop: float
    others: float


def count(tree: Path, load: Load) -> Counted:
    with workplace() as folder, rig.gateway(folder, tree, COUNTER) as gateway:
        rig.load(gateway, "closed", warmup=1, seconds=WARMUP, **load.options)
        _control(gateway.pid, "-i", "on")
        done = rig.load(gateway, "closed", warmup=0, seconds=SECONDS, **load.options)
        _control(gateway.pid, "-i", "off")
        _control(gateway.pid, "-d")
        if wrong := done["wrong"].keys() - {"unanswered"}:  # at the end, so slow is everything here
            raise rig.Broken(f"answers were not what the provider sent: {', '.join(wrong)}.")
        threads = sorted(folder.glob("counted.*-*"))
        sums = {int(file.name.rpartition("-")[2]): _sum(file) for file in threads}
    each = done[load.per] * 1000
    return Counted(sums.get(1, 0) / each, sum(number for thread, number in sums.items() if thread != 1) / each)


def _control(pid: int, *command: str) -> None:
    subprocess.run(["callgrind_control", *command, str(pid)], capture_output=True, check=True)


def _sum(file: Path) -> int:
    return sum(int(number) for number in re.findall(r"^totals: (\d+)", file.read_text(), re.MULTILINE))


def main() -> int:
    parser = argparse.ArgumentParser(description="Count the gateway's instructions; some minutes a checkout.")
    parser.add_argument("trees", nargs="*", type=Path, help="other checkouts, whose src/ is run by this Python")
    trees = [Path(__file__).resolve().parent.parent, *parser.parse_args().trees]
    if not shutil.which("valgrind"):
        print("instructions: `valgrind` must be on PATH.", file=sys.stderr)
        return 2
    try:
        rig.prepare()
        for load in LOADS:
            print(f"thousand instructions per {load.name}: loop's thread + others", flush=True)
            for tree in trees:
                counted = count(tree.resolve(), load)
                whole = counted.loop + counted.others
                print(f"  {counted.loop:8.1f} + {counted.others:6.1f} = {whole:8.1f}   {tree}", flush=True)
    except rig.Broken as reason:
        print(f"instructions: {reason}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
