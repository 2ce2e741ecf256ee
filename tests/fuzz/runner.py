"""Mutants of all targets until the time is over, and what breaks a promise kept in as few bytes as still break it.

It never knows what the promises are.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

from fuzz import answers, client_requests, framing, heads, usage_reports
from fuzz.mutation import mutated
from fuzz.promises import Broken, Case, Target

SLOW = 20.0  # seconds that one case may take: a megabyte byte by byte, on a busy machine


def targets() -> dict[str, Target]:
    found: dict[str, Target] = {}
    for kind in (answers, framing, client_requests, usage_reports, heads):
        found |= kind.targets()
    return found


def broken_by(target: Target, case: Case, token: str) -> str:
    """What is broken, with its place; "" where all promises hold. `token`: of how the bytes are cut."""
    began = time.monotonic()
    try:
        target.check(case, random.Random(token))
    except Broken as error:
        return re.sub(r"\d+", "#", str(error))
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)
        at = next((frame for frame in reversed(where) if "infron" in frame.filename), where[-1])
        return f"{type(error).__name__} in {Path(at.filename).name}:{at.lineno} {at.name}"
    taken = time.monotonic() - began
    return f"it takes more than {SLOW} s" if taken > SLOW else ""


def minimised(target: Target, case: Case, token: str, what: str, seconds: float = 15.0) -> Case:
    """The case with all bytes removed that are not needed to break the same promise, as far as the time goes."""
    until = time.monotonic() + seconds
    size = len(case.data) // 2
    while size and time.monotonic() < until:
        at, shrunk = 0, False
        while at < len(case.data) and time.monotonic() < until:
            less = case._replace(data=case.data[:at] + case.data[at + size :])
            if broken_by(target, less, token) == what:
                case, shrunk = less, True
            else:
                at += size
        size = size if shrunk and size > 1 else size // 2
    return case


def keep(folder: Path, name: str, case: Case, token: str, what: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    number = hashlib.sha256(f"{name} {what}".encode()).hexdigest()[:8]
    path = folder / f"{name.replace(' ', '-')}-{number}.json"
    path.with_suffix(".bytes").write_bytes(case.data)
    path.write_text(json.dumps({"target": name, "what": what, "token": token, "about": case.about}, indent=1) + "\n")
    return path


def replay(path: Path) -> int:
    told = json.loads(path.read_text())
    case = Case(path.stem, path.with_suffix(".bytes").read_bytes(), told["about"])
    targets()[told["target"]].check(case, random.Random(told["token"]))
    print("every promise holds")
    return 0


def fuzz(seconds: float, seed: int, folder: Path, only: str = "", most: int = sys.maxsize) -> dict[str, Path]:
    """Mutants until the time is over, or there were `most`. What was broken -> the file of a case that breaks it."""
    wanted = {name: target for name, target in targets().items() if only in name}
    names = list(wanted)
    done: Counter[str] = Counter()
    found: dict[str, Path] = {}
    began = told = time.monotonic()
    for number in range(most):
        now = time.monotonic()
        if now - began > seconds:
            break
        if now - told > 10:
            told = now
            print(f"{now - began:6,.0f} s  {number:9,} cases  {len(found)} broken", flush=True)
        token = f"{seed}:{number}"
        chance = random.Random(token)
        name = chance.choice(names)
        target = wanted[name]
        case = mutated(target, chance.choice(target.corpus), chance)
        done[name] += 1
        what = broken_by(target, case, token)
        if what and f"{name}: {what}" not in found:
            path = keep(folder, name, minimised(target, case, token, what), token, what)
            found[f"{name}: {what}"] = path
            print(f"BROKEN  {name}: {what}\n        {path}", flush=True)
    print(f"{sum(done.values()):,} cases in {time.monotonic() - began:,.0f} s (seed {seed}): ", end="")
    print(", ".join(f"{name} {count:,}" for name, count in sorted(done.items())))
    return found
