"""The command line of the fuzzer: `python -m fuzz`, which `make fuzz` runs."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import fuzz as package
from fuzz.runner import fuzz, replay


def main() -> int:
    parser = argparse.ArgumentParser(description=package.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9)
    parser.add_argument("--only", default="", help="targets whose name holds this")
    parser.add_argument("--folder", type=Path, default=Path("fuzz-broken"), help="for cases that break a promise")
    parser.add_argument("--replay", type=Path, help="the .json of such a case")
    asked = parser.parse_args()
    if asked.replay:
        return replay(asked.replay)
    print(f"seed {asked.seed}, {asked.seconds:,.0f} s")
    found = fuzz(asked.seconds, asked.seed, asked.folder, asked.only)
    print(f"{len(found)} promises broken" if found else "every promise held")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
