"""The numbers at `/metrics`, and the one place where they are counted.

It never knows a prompt, a key or a model's words. Counting happens once an exchange, not once a frame.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

disable_created_metrics()  # type: ignore[no-untyped-call]
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_CLOSE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)


class Metrics:
    """`directory`: where the workers of one gateway leave their numbers for each other; None for a single process."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self.registry = CollectorRegistry()
        self._exchanges = Counter(
            "infron_exchanges", "Exchanges settled.", ["outcome", "provider"], registry=self.registry
        )
        self._frames = Counter("infron_frames", "Frames received from providers.", ["provider"], registry=self.registry)
        self.comments = Counter("infron_keep_alive_comments", "Keep-alive comments sent.", registry=self.registry)
        self._tokens = Counter("infron_tokens", "Tokens recorded.", ["provider", "kind"], registry=self.registry)
        self._first = Histogram(
            "infron_first_token_seconds", "Request to first content.", buckets=_SECONDS, registry=self.registry
        )
        self._closed = Histogram(
            "infron_upstream_close_seconds",
            "Client noticed gone to provider connection closed.",
            buckets=_CLOSE_SECONDS,
            registry=self.registry,
        )
        self._refused = Counter("infron_refused", "Requests refused.", ["error_type"], registry=self.registry)
        self._since: dict[tuple[str, str], list[int]] = {}  # exchanges, frames, prompt, completion since the last show

    def watch(self, name: str, help: str, read: Callable[[], float]) -> None:
        """A gauge that is read when it is asked for."""
        Gauge(name, help, registry=self.registry).set_function(read)

    def refused(self, error_type: str) -> None:
        self._refused.labels(error_type).inc()

    def settled(
        self,
        outcome: str,
        provider: str,
        *,
        frames: int,
        prompt: int,
        completion: int,
        first_s: float | None,
        closed_s: float | None,
    ) -> None:
        """Count one exchange. Times are seconds."""
        sums = self._since.get((outcome, provider))
        if sums is None:
            sums = self._since[outcome, provider] = [0, 0, 0, 0]
        sums[0] += 1
        sums[1] += frames
        sums[2] += prompt
        sums[3] += completion
        if first_s is not None:
            self._first.observe(first_s)
        if closed_s is not None:
            self._closed.observe(closed_s)

    # ---- showing

    def _page(self) -> bytes:
        for (outcome, provider), (exchanges, frames, prompt, completion) in self._since.items():
            self._exchanges.labels(outcome, provider).inc(exchanges)
            self._frames.labels(provider).inc(frames)
            self._tokens.labels(provider, "prompt").inc(prompt)
            self._tokens.labels(provider, "completion").inc(completion)
        self._since.clear()
        return generate_latest(self.registry)

    def publish(self) -> None:
        """Leave this worker's numbers for its siblings."""
        if self._directory is not None:
            part = self._directory / f"{os.getpid()}.part"
            part.write_bytes(self._page())
            part.rename(self._directory / f"{os.getpid()}.prom")

    def text(self) -> bytes:
        """All numbers in Prometheus' text format, summed over the workers."""
        if self._directory is None:
            return self._page()
        self.publish()
        pages = [path.read_text() for path in sorted(self._directory.glob("*.prom"))]
        return generate_latest(_Summed(pages))


class _Summed(CollectorRegistry):
    """Pages of several workers as one: samples of the same name and labels are added."""

    def __init__(self, pages: list[str]) -> None:
        super().__init__()
        self._pages = pages

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for page in self._pages:
            for family in text_string_to_metric_families(page):
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
