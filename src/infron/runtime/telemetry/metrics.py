"""The numbers at `/metrics`, and the one place where they are counted.

It never knows a prompt, a key or a model's words. Counting happens once an exchange, not once a frame.
"""

from __future__ import annotations

import contextlib
import os
from bisect import bisect_left
from collections.abc import Callable, Iterable
from itertools import accumulate
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from infron.records import Settlement

disable_created_metrics()  # type: ignore[no-untyped-call]
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
GONE = ".gone"  # in the names of files of workers that have ended
_CLOSE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)


class _Durations:
    """A histogram under way: how many fell into each bucket, and their sum in seconds."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    def family(self, name: str, help: str) -> HistogramMetricFamily:
        bounds = [*map(floatToGoString, self.bounds), "+Inf"]
        buckets = [*zip(bounds, accumulate(self.counts), strict=True)]
        return HistogramMetricFamily(name, help, buckets=buckets, sum_value=self.sum)


class _Exchanges(Collector):
    """What is counted of each exchange. `sums` by outcome and provider: exchanges, frames, prompt, completion."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, str], list[int]] = {}
        self.first = _Durations(_SECONDS)
        self.closed = _Durations(_CLOSE_SECONDS)

    def collect(self) -> Iterable[Metric]:
        exchanges = CounterMetricFamily("infron_exchanges", "Exchanges settled.", labels=["outcome", "provider"])
        frames = CounterMetricFamily("infron_frames", "Frames received from providers.", labels=["provider"])
        tokens = CounterMetricFamily("infron_tokens", "Tokens recorded.", labels=["provider", "kind"])
        totals: dict[str, list[int]] = {}
        for (outcome, provider), (count, *rest) in self.sums.items():
            exchanges.add_metric([outcome, provider], count)
            known = totals.setdefault(provider, [0, 0, 0])
            totals[provider] = [old + new for old, new in zip(known, rest, strict=True)]
        for provider, (seen, prompt, completion) in totals.items():
            frames.add_metric([provider], seen)
            tokens.add_metric([provider, "prompt"], prompt)
            tokens.add_metric([provider, "completion"], completion)
        yield from (exchanges, frames, tokens)
        yield self.first.family("infron_first_token_seconds", "Request to first content.")
        yield self.closed.family("infron_upstream_close_seconds", "Client noticed gone to provider connection closed.")


class Metrics:
    """`directory`: where the workers of one gateway leave their numbers for each other; None for a single process."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self.registry = CollectorRegistry()
        self._exchanges = _Exchanges()
        self.registry.register(self._exchanges)
        self.comments = Counter("infron_keep_alive_comments", "Keep-alive comments sent.", registry=self.registry)
        self._refused = Counter("infron_refused", "Requests refused.", ["error_type"], registry=self.registry)

    def watch(self, name: str, help: str, read: Callable[[], float]) -> None:
        """A gauge that is read when it is asked for."""
        Gauge(name, help, registry=self.registry).set_function(read)

    def refused(self, error_type: str) -> None:
        self._refused.labels(error_type).inc()

    def settled(self, settlement: Settlement) -> None:
        """Count one exchange."""
        exchanges, usage = self._exchanges, settlement.bill.usage
        name = (settlement.outcome, settlement.provider)
        sums = exchanges.sums.get(name)
        if sums is None:
            sums = exchanges.sums[name] = [0, 0, 0, 0]
        sums[0] += 1
        sums[1] += settlement.frames
        sums[2] += usage.prompt
        sums[3] += usage.completion
        if settlement.latency_ms is not None:
            exchanges.first.add(settlement.latency_ms / 1000)
        if settlement.upstream_closed_ms is not None:
            exchanges.closed.add(settlement.upstream_closed_ms / 1000)

    # ---- showing

    def publish(self) -> None:
        """Leave this worker's numbers for its siblings."""
        if self._directory is not None:
            part = self._directory / f"{os.getpid()}.part"
            part.write_bytes(generate_latest(self.registry))
            part.rename(self._directory / f"{os.getpid()}.prom")

    def text(self) -> bytes:
        """All numbers in Prometheus' text format, summed over the workers."""
        if self._directory is None:
            return generate_latest(self.registry)
        self.publish()
        pages = [(path.read_text(), not path.stem.endswith(GONE)) for path in sorted(self._directory.glob("*.prom"))]
        return generate_latest(_Summed(pages))


def forget(directory: Path, pid: int) -> None:
    """This worker has ended: what it counted stays, what it held is nobody's any more."""
    with contextlib.suppress(FileNotFoundError):
        (directory / f"{pid}.prom").rename(directory / f"{pid}{GONE}.prom")


class _Summed(CollectorRegistry):
    """Pages of several workers as one: samples of the same name and labels are added.

    `pages`: each with whether its worker lives, else its gauges are left out.
    """

    def __init__(self, pages: list[tuple[str, bool]]) -> None:
        super().__init__()
        self._pages = pages

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for page, lives in self._pages:
            for family in text_string_to_metric_families(page):
                if family.type == "gauge" and not lives:
                    continue
                known = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                known.samples.extend(family.samples)
        for family in families.values():
            sums: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
            for sample in family.samples:
                place = (sample.name, tuple(sorted(sample.labels.items())))
                sums[place] = sums.get(place, 0.0) + sample.value
            family.samples = []
            for (name, labels), value in sums.items():
                family.add_sample(name, dict(labels), value)
            yield family
