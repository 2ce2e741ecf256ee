"""The published figures: what is measured, how often, and where the bar lies. `make bench` runs this file.

It never starts a process itself nor reads /proc: `rig.py` does. Nothing is published without its bar and its neighbour.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import admission
import overspend as beyond
import rig

Run = dict[str, Any]


class Row(NamedTuple):
    """One line of the table. `value` is judged: by `at_most`, `at_least`, or not at all. `beside`: measured with it."""

    name: str
    value: float
    unit: str
    beside: dict[str, float]
    at_most: float | None = None
    at_least: float | None = None
    wrong: str = ""  # answers that were not what the provider sent: the figure does not count

    @property
    def bar(self) -> str:
        if self.at_most is not None:
            return f"<= {self.at_most:g}"
        return f">= {self.at_least:g}" if self.at_least is not None else ""

    @property
    def met(self) -> bool:
        above = self.at_most is not None and self.value > self.at_most
        below = self.at_least is not None and self.value < self.at_least
        return not (above or below or self.wrong)


class Plan(NamedTuple):
    """How long to look. `pairs`, of `window` seconds: for ratios of CPU time; `tries`, of `seconds`: for all else."""

    pairs: int
    window: float
    warmup: float
    tries: int
    seconds: float
    starts: int
    held: int


FULL = Plan(pairs=7, window=5, warmup=4, tries=3, seconds=8, starts=5, held=8000)
QUICK = Plan(pairs=1, window=3, warmup=2, tries=1, seconds=3, starts=3, held=1000)
STEPS = (100, 200, 400, 600, 800, 1000, 1200, 1600, 2000, 2500, 3000)
APIS = ("chat", "Messages", "Responses", "Gemini", "Ollama", "embeddings")
GAP_US = 10_000  # a frame that comes this much later after the one before than it was sent is a stall


@contextmanager
def both() -> Iterator[tuple[rig.Subject, rig.Subject]]:
    """nginx and the gateway, freshly started, side by side; only one at a time is under load."""
    with workplace() as folder, rig.nginx(folder) as nginx, rig.gateway(folder) as gateway:
        yield nginx, gateway


@contextmanager
def workplace() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=rig.BUILD, prefix="run-") as folder:
        yield Path(folder)


def note(subject: rig.Subject, run: Run, text: str) -> None:
    """One line of progress. Shares are of one core: the load tool's, and of strangers on the two cores together."""
    tool, strangers = (run[what] / run["seconds"] / 1e6 for what in ("tool_cpu_us", "strangers_us"))
    wrong = f"   WRONG {run['wrong']}" if run["wrong"] else ""
    print(f"  {subject.name:8}{text}   (load tool {tool:.0%}, strangers {strangers:.0%}){wrong}", flush=True)


def wrongs(runs: list[Run]) -> str:
    return ", ".join(sorted({f"{count} {name}" for run in runs for name, count in run["wrong"].items()}))


def ratio(
    name: str, per: str, at_most: float, plan: Plan, asks: dict[str, dict[str, str]] | None = None, **options: float
) -> Row:
    """CPU time per unit of work, gateway over nginx, in pairs; the median of the pairs' ratios.

    `asks`: options of the load tool that are a subject's own.
    """
    costs: dict[str, list[float]] = {"nginx": [], "gateway": []}
    runs = []
    with both() as subjects:
        for _ in range(plan.pairs):
            for subject in subjects:
                run = rig.load(subject, "closed", **options, **(asks or {}).get(subject.name, {}))
                runs.append(run)
                costs[subject.name].append(run["cpu_us"] / max(run[per], 1))
                rate = run[per] / run["seconds"]
                note(subject, run, f"{costs[subject.name][-1]:8.1f} us CPU each, {rate:8.0f} {per}/s")
    times = median(ours / floor for floor, ours in zip(costs["nginx"], costs["gateway"], strict=True))
    beside = {f"{who}_us": median(values) for who, values in costs.items()}
    return Row(name, times, "x nginx", beside, at_most=at_most, wrong=wrongs(runs))


def frame(plan: Plan) -> list[Row]:
    return [ratio("CPU per relayed frame, 200 streams x 50 frames/s", "frames", 1.6, plan, **steady(plan))]


def steady(plan: Plan) -> dict[str, float]:
    return {"clients": 200, "frames": 250, "interval_ms": 20, "warmup": plan.warmup, "seconds": plan.window}


def translated(plan: Plan) -> list[Row]:
    """nginx hands on what the gateway makes chunks of the chat wire from."""
    anthropic = {"nginx": {"path": "/v1/messages"}, "gateway": {"model": "claude/bench"}}
    bedrock = {"nginx": {"path": "/model/bench/converse-stream"}, "gateway": {"model": "bedrock/bench"}}
    return [
        ratio("CPU per frame, Anthropic to OpenAI", "frames", 1.9, plan, anthropic, **steady(plan)),
        ratio("CPU per frame, Bedrock to OpenAI", "frames", 2.2, plan, bedrock, **steady(plan)),
    ]


def apis(plan: Plan) -> list[Row]:
    """The gateway alone, in front of a provider of the chat wire: clients of other APIs beside clients of that one."""
    rows = []
    for name, path in (("Messages", "/v1/messages"), ("Responses", "/v1/responses")):
        steps = {"frame": ("frames", steady(plan)), "short stream": ("completed", brief(plan))}
        for what, (per, options) in steps.items():
            rows.append(beside_chat(f"CPU per {what}, {name} from the chat wire", path, per, plan, **options))
    return rows


def beside_chat(name: str, path: str, per: str, plan: Plan, **options: float) -> Row:
    costs: dict[str, list[float]] = {"/v1/chat/completions": [], path: []}
    runs = []
    with workplace() as folder, rig.gateway(folder) as gateway:
        for _ in range(plan.pairs):
            for asked, cost in costs.items():
                run = rig.load(gateway, "closed", path=asked, **options)
                runs.append(run)
                cost.append(run["cpu_us"] / max(run[per], 1))
                note(gateway, run, f"{cost[-1]:8.1f} us CPU each at {asked}")
    chat, other = costs.values()
    times = median(theirs / floor for floor, theirs in zip(chat, other, strict=True))
    beside = {"chat_us": median(chat), "us": median(other)}
    return Row(name, times, "x chat", beside, at_most=1.25, wrong=wrongs(runs))


LIMITS = {
    "no limit": (),
    "rates, slots": ("--requests-per-minute", "99999999", "--tokens-per-minute", "999999999", "--concurrent", "9999"),
    "a budget too": (
        "--requests-per-minute", "99999999", "--tokens-per-minute", "999999999", "--concurrent", "9999",
        "--budget", "1000000/month",
    ),
}  # fmt: skip


def limits(plan: Plan) -> list[Row]:
    """Keys with limits beside one without, at the same gateway and the same priced model."""
    rows = []
    with workplace() as folder, rig.gateway_of_keys(folder, LIMITS) as subjects:
        for what, per, options, at_most in (
            ("frame", "frames", steady(plan), 1.03),
            ("short stream", "completed", brief(plan), 1.25),
        ):
            costs: dict[str, list[float]] = {subject.name: [] for subject in subjects}
            runs = []
            for _ in range(plan.pairs):
                for subject in subjects:
                    runs.append(rig.load(subject, "closed", model="priced/bench", **options))
                    costs[subject.name].append(runs[-1]["cpu_us"] / max(runs[-1][per], 1))
                    note(subject, runs[-1], f"{costs[subject.name][-1]:8.1f} us CPU a {what}")
            floor, *others = costs.items()
            for name, values in others:
                times = median(ours / base for base, ours in zip(floor[1], values, strict=True))
                beside = {"us": median(values), "no limit us": median(floor[1])}
                title = f"CPU per {what} of a key with {name}"
                rows.append(Row(title, times, "x no limit", beside, at_most=at_most, wrong=wrongs(runs)))
    return rows


def brief(plan: Plan) -> dict[str, float]:
    return {"clients": 32, "frames": 1, "warmup": 1.5, "seconds": plan.window}


def short(plan: Plan) -> list[Row]:
    return [ratio("CPU per stream of 1 frame, 32 clients", "completed", 4.5, plan, **brief(plan))]


def smooth(subject: rig.Subject, streams: int, plan: Plan) -> bool:
    run = rig.load(subject, "closed", clients=streams, frames=64, interval_ms=20, warmup=3, seconds=plan.seconds * 0.75)
    gap, lag = (run[what]["p99"] / 1e3 for what in ("gap_us", "lag_us"))
    note(subject, run, f"{streams:6} streams: p99 of the added gap {gap:8.2f} ms, of the way through {lag:8.2f} ms")
    return bool(run["gap_us"]["p99"] <= GAP_US and not run["wrong"])


def climb(subjects: tuple[rig.Subject, ...], plan: Plan, steps: tuple[int, ...] = STEPS) -> dict[str, float]:
    """The largest number of streams without stalls, each in turn. Three tries a step: the machine may be shared."""
    reached: dict[str, float] = {subject.name: 0 for subject in subjects}
    going = list(subjects)
    for streams in steps:
        going = [subject for subject in going if any(smooth(subject, streams, plan) for _ in range(3))]
        reached |= {subject.name: streams for subject in going}
        if not going or going[-1] != subjects[-1]:  # nobody needs to know how far the others would have come
            break
    return reached


def stalls(plan: Plan) -> list[Row]:
    with both() as subjects:
        reached = climb(subjects, plan)
    ours = reached.pop("gateway")
    return [Row("streams without stalls (64 frames, 20 ms)", ours, "streams", reached, at_least=400)]


def large(plan: Plan) -> list[Row]:
    """How much later the frames of 200 streams come beside large requests and answers, for clients of each API."""
    streams = {"clients": 200, "frames": 100, "interval_ms": 50, "warmup": 1, "seconds": plan.seconds}
    rows = []
    with workplace() as folder, rig.gateway(folder) as gateway:
        alone = rig.load(gateway, "closed", **streams)
        note(gateway, alone, f"{alone['gap_us']['p99'] / 1000:8.1f} ms late at p99, nothing beside it")
        for api in APIS:
            with rig.large(gateway, api):
                run = rig.load(gateway, "closed", **streams)
            note(gateway, run, f"{run['gap_us']['p99'] / 1000:8.1f} ms late at p99 beside {api}")
            beside = {"most_ms": run["gap_us"]["max"] / 1000, "alone_ms": alone["gap_us"]["p99"] / 1000}
            added = (run["gap_us"]["p99"] - alone["gap_us"]["p99"]) / 1000
            name = f"lateness added at p99 by large {api} requests and answers"
            rows.append(Row(name, added, "ms", beside, at_most=20, wrong=wrongs([alone, run])))
    return rows


def memory(plan: Plan) -> list[Row]:
    """Half of the streams wait for their first byte, half have had eight frames and then silence."""
    each: dict[str, float] = {}
    with both() as subjects:
        for subject in subjects:
            rig.load(subject, "closed", clients=16, frames=8, warmup=0.5, seconds=1)
            idle = rig.rss_kib(subject.pid)
            held = rig.hold(subject, 12, clients=plan.held, rate=500, frames=8, prompt_bytes=1024, warmup=1)
            each[subject.name] = (held - idle) / plan.held
            print(f"  {subject.name:8}{idle / 1024:7.1f} MiB idle, {held / 1024:7.1f} MiB holding", flush=True)
    name = f"memory per held stream, {plan.held // 2} waiting + {plan.held // 2} streaming"
    return [Row(name, each["gateway"], "KiB", {"nginx": each["nginx"]}, at_most=40)]


def first(plan: Plan) -> list[Row]:
    """100 streams a second; every fourth reader hangs up at a random moment before the end."""
    late, at_once = arrivals(plan, delay_ms=100), arrivals(plan, delay_ms=0)
    name = "added time to first token, 100 streams/s, provider takes "
    return [
        tail(name + "100 ms", late, "ttft_us", 15),
        tail(name + "0 ms", at_once, "ttft_us", 15),
        tail("cancel: client's close to provider's close", late, "cancel_us", 50),
    ]


def arrivals(plan: Plan, delay_ms: int) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {"direct": [], "nginx": [], "gateway": []}
    options = {"rate": 100, "frames": 64, "interval_ms": 20, "delay_ms": delay_ms, "cancel_every": 4, "warmup": 2}
    with both() as subjects:
        for _ in range(plan.tries):
            for subject in (rig.DIRECT, *subjects):
                run = rig.load(subject, "open", seconds=plan.seconds * 2.75, **options)
                if run["cancel_unseen"]:
                    run["wrong"]["cancels unseen"] = run["cancel_unseen"]
                runs[subject.name].append(run)
                token, cancel = (
                    f"p50 {run[what]['p50'] / 1e3:6.2f} p99 {run[what]['p99'] / 1e3:6.2f} ms (n={run[what]['n']})"
                    for what in ("ttft_us", "cancel_us")
                )
                note(subject, run, f"provider takes {delay_ms:3} ms: first token later by {token}; cancel {cancel}")
    return runs


def tail(name: str, runs: dict[str, list[Run]], what: str, at_most: float) -> Row:
    """The 99th percentile through the gateway, the median over the pairs, with its neighbours."""
    p99 = {who: median(run[what]["p99"] / 1e3 for run in made) for who, made in runs.items()}
    p50 = median(run[what]["p50"] / 1e3 for run in runs["gateway"])
    beside = {"p50": p50, "nginx": p99["nginx"], "direct": p99["direct"]}
    return Row(name, p99["gateway"], "ms p99", beside, at_most=at_most, wrong=wrongs(runs["gateway"]))


def admit(plan: Plan) -> list[Row]:
    """How long the ledger takes to say that an exchange may begin, from the call to the callback."""
    rows = []
    for processes, most in ((1, 5), (4, 15)):
        with workplace() as folder:
            found = admission.measure(folder, processes, seconds=plan.seconds)
        print(
            f"  {processes} processes: p50 {found['p50']:.2f} p99 {found['p99']:.2f} ms (n={found['n']:.0f})",
            flush=True,
        )
        name = f"admission by the ledger, {admission.RATE} asks/s, {processes} process{'es' if processes > 1 else ''}"
        wrong = "" if found["exact"] else "sums that do not add up"
        rows.append(Row(name, found["p99"], "ms p99", {"p50": found["p50"]}, at_most=most, wrong=wrong))
    return rows


def overspend(plan: Plan) -> list[Row]:
    """What keys spend beyond their budgets while clients leave and workers are killed; how long a stop by id takes."""
    fleets = 200 if plan.pairs > 1 else 30
    with workplace() as folder:
        found = asyncio.run(beyond.measure(folder, fleets, rig.free_port()))
    stops, wrong = found["stops"], "; ".join(found["wrong"])
    p50, p99 = (stops[int(len(stops) * part)] if stops else 0.0 for part in (0.5, 0.99))
    beside = {"spent USD": found["spent"], "streams": found["streams"], "workers killed": found["killed"]}
    return [
        Row(f"spent beyond a budget at most, {fleets} fleets", found["worst"] * 100, "cents", beside, wrong=wrong),
        Row("stop by id, any of 4 workers", p99, "ms p99", {"p50": p50, "n": float(len(stops))}, at_most=600),
    ]


def lone(plan: Plan) -> list[Row]:
    """One client that asks one question after the other: nobody shares what is waited for."""
    runs: dict[str, list[Run]] = {"nginx": [], "gateway": []}
    with both() as subjects:
        for _ in range(plan.tries):
            for subject in subjects:
                run = rig.load(subject, "closed", clients=1, frames=1, warmup=1, seconds=plan.seconds)
                runs[subject.name].append(run)
                token = run["ttft_us"]
                note(subject, run, f"first token after p50 {token['p50'] / 1e3:6.2f} p99 {token['p99'] / 1e3:6.2f} ms")
    name, wrong = "first token of a lone client", wrongs(runs["gateway"])
    found = {what: {who: median(run["ttft_us"][what] / 1e3 for run in made) for who, made in runs.items()}
             for what in ("p50", "p99")}  # fmt: skip
    return [
        Row(f"{name}, {what}", found[what]["gateway"], "ms", {"nginx": found[what]["nginx"]}, at_most, wrong=wrong)
        for what, at_most in (("p50", 0.6), ("p99", 3.0))
    ]


def start(plan: Plan) -> list[Row]:
    taken = []
    with workplace() as folder:
        for _ in range(plan.starts):
            taken.append(rig.start_seconds(folder))
            print(f"  gateway {taken[-1]:7.2f} s", flush=True)
    return [Row("start to /readyz, without the local model", median(taken), "s", {"slowest": max(taken)}, at_most=1.5)]


def ceiling(plan: Plan) -> list[Row]:
    """The load tool against its own provider: nothing measured through it can be faster."""
    run = rig.load(rig.DIRECT, "closed", clients=32, frames=1, warmup=1, seconds=plan.seconds / 2)
    note(rig.DIRECT, run, f"{run['completed'] / run['seconds']:8.0f} streams/s of 1 frame")
    most = climb((rig.DIRECT,), plan, (800, 1600, 2000, 2400, 2800, 3200, 4000))["direct"]
    return [
        Row("load tool alone: streams of 1 frame", run["completed"] / run["seconds"], "streams/s", {}),
        Row("load tool alone: frames (streams without stalls x 50)", most * 50, "frames/s", {"streams": most}),
    ]


FIGURES: dict[str, Callable[[Plan], list[Row]]] = {
    "ceiling": ceiling,
    "frame": frame,
    "translated": translated,
    "short": short,
    "apis": apis,
    "limits": limits,
    "admit": admit,
    "overspend": overspend,
    "stalls": stalls,
    "large": large,
    "memory": memory,
    "first": first,
    "lone": lone,
    "start": start,
}


def table(rows: list[Row]) -> str:
    lines = [f"{'figure':66}{'value':>10} {'unit':10}{'bar':>8}  beside it"]
    for row in rows:
        verdict = "" if row.met else f"   MISSED {row.wrong}"
        beside = "  ".join(f"{name} {value:.4g}" for name, value in row.beside.items())
        lines.append(f"{row.name:66}{row.value:10.4g} {row.unit:10}{row.bar:>8}  {beside}{verdict}")
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    version = subprocess.run(["nginx", "-v"], capture_output=True, text=True).stderr.strip().rpartition("/")[2]
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "nginx": version,
        "date": time.strftime("%Y-%m-%d"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the gateway beside nginx. About 15 minutes; two idle cores.")
    parser.add_argument("--only", choices=FIGURES, action="append", help="this figure alone (may be repeated)")
    parser.add_argument("--quick", action="store_true", help="short windows and one pair: a look, not a figure")
    arguments = parser.parse_args()
    rows: list[Row] = []
    try:
        rig.prepare()
        for name in arguments.only or FIGURES:
            print(name, flush=True)
            rows += FIGURES[name](QUICK if arguments.quick else FULL)
    except rig.Broken as reason:
        print(f"bench: {reason}", file=sys.stderr)
        return 2
    figures = [{**row._asdict(), "met": row.met} for row in rows]
    result = {"machine": machine(), "quick": arguments.quick, "figures": figures}
    (rig.BUILD / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    print("\n" + table(rows))
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
