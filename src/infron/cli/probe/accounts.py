"""What a provider's own API says, afterwards, of one answer: how much of it was made, and how much was billed.

It never judges what that proves: `findings` does.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

import msgspec

from infron.catalog.definitions import Provider
from infron.cli.probe.findings import Report, Trial
from infron.errors import InfronError
from infron.runtime.upstream.client import Client
from infron.runtime.upstream.fetch import fetch

SECONDS = 20.0  # for each question
MOST_BYTES = 1 << 20


class Unknowable(Exception):
    """Why nothing can be learned there; one sentence."""


class Account:
    """Where one provider is asked. `pause`: seconds between two looks."""

    pause: ClassVar[float] = 1.0

    def __init__(self, client: Client, provider: Provider, base_url: str, headers: Mapping[str, str]) -> None:
        """`headers`: what proves to the provider who asks."""
        self._client = client
        self._base = base_url
        self._headers = dict(headers)
        self._name = provider.name

    async def prepare(self) -> None:
        """Before anything is asked for. Raises Unknowable."""

    async def during(self) -> None:
        """While the answer streams, right before the disconnect. Raises Unknowable."""

    async def look(self, cut: Trial, whole: Trial | None) -> Report | None:
        """What it says by now; None: nothing yet. Raises Unknowable."""
        raise NotImplementedError

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """(status, body). Raises Unknowable."""
        try:
            found = await fetch(self._client, url, headers or self._headers, seconds=SECONDS, most_bytes=MOST_BYTES)
        except InfronError as error:
            raise Unknowable(f"{self._name} could not be asked: {error.message.rstrip('.')}") from error
        return found.status, found.body

    async def get_json(self, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        """None: there is nothing yet (404, 429, 5xx). Raises Unknowable."""
        status, body = await self.get(url, headers)
        if status in (404, 409, 429) or status >= 500:
            return None
        if status != 200:
            raise Unknowable(f"{self._name} answered {urlsplit(url).path} with status {status}")
        return _object(body)


class Generations(Account):
    """OpenRouter, `GET /generation?id=`: written a moment after the answer is over."""

    async def look(self, cut: Trial, whole: Trial | None) -> Report | None:
        found = await self.get_json(f"{self._base}/generation?id={quote(cut.upstream_id or '')}")
        data = (found or {}).get("data")
        if not isinstance(data, dict):
            return None
        tokens = _count(data.get("native_tokens_completion"), data.get("tokens_completion"))
        cancelled = {True: "cancelled", False: "not cancelled"}.get(data.get("cancelled") is True)
        return Report(words=f"its generation record says {cancelled}, {tokens} completion tokens, and bills these",
                    tokens=tokens, billed=True)  # fmt: skip


class Predictions(Account):
    """Replicate, `GET /predictions/{id}`: its status, and the time and tokens that it took."""

    async def look(self, cut: Trial, whole: Trial | None) -> Report | None:
        found = await self._prediction(cut.upstream_id)
        status = found.get("status")
        if status in ("starting", "processing"):
            return Report(words=f"its prediction is still {status}", billed=True, working=True, final=False)
        if not isinstance(status, str):
            return None
        other = await self._prediction(whole.upstream_id) if whole is not None else {}
        seconds, whole_seconds = (_seconds(each.get("metrics")) for each in (found, other))
        metrics = found.get("metrics")
        tokens = _count(metrics.get("output_token_count")) if isinstance(metrics, dict) else None
        took = "" if seconds is None else f" after {seconds:.1f} s of work"
        made = "" if tokens is None else f" and {tokens} tokens"
        return Report(words=f"its prediction is {status}{took}{made}", tokens=tokens, billed=True, seconds=seconds,
                    whole_seconds=whole_seconds, stopped=status in ("canceled", "aborted"))  # fmt: skip

    async def _prediction(self, id: str | None) -> dict[str, Any]:
        return await self.get_json(f"{self._base}/predictions/{quote(id or '')}") or {}


class OrganizationUsage(Account):
    """OpenAI, `GET /organization/usage/completions` by the minute: what the organization used, some minutes later.

    Only an admin key may ask, and it tells sums: they are the experiment's where nobody else used the model meanwhile.
    """

    pause = 10.0

    def __init__(
        self, client: Client, provider: Provider, base_url: str, headers: Mapping[str, str], key: str, model: str
    ) -> None:
        super().__init__(client, provider, base_url, headers)
        self._key = key
        self._model = model

    async def prepare(self) -> None:
        if not self._key:
            raise Unknowable(f"{self._name} tells what it billed only to an admin key: set OPENAI_ADMIN_KEY")

    async def look(self, cut: Trial, whole: Trial | None) -> Report | None:
        runs = [run for run in (cut, whole) if run is not None]
        first, last = (int(edge(run.asked for run in runs)) // 60 * 60 for edge in (min, max))
        minutes = (last - first) // 60 + 1 + int(max(run.seconds for run in runs)) // 60 + 1
        where = f"start_time={first}&end_time={first + 60 * minutes}&bucket_width=1m&limit={minutes}&group_by=model"
        url = f"{self._base}/organization/usage/completions?{where}"
        found = await self.get_json(url, {"authorization": f"Bearer {self._key}", "accept": "application/json"})
        buckets = (found or {}).get("data")
        results = [
            result
            for bucket in (buckets if isinstance(buckets, list) else ())
            for result in (bucket.get("results") or () if isinstance(bucket, dict) else ())
            if isinstance(result, dict) and str(result.get("model")).startswith(self._model)
        ]
        requests = sum(_count(result.get("num_model_requests")) or 0 for result in results)
        if requests < len(runs):
            return None
        if requests > len(runs):
            raise Unknowable(f"{requests} requests used {self._model} in these minutes, {len(runs)} of them ours: "
                             "its usage cannot be told apart")  # fmt: skip
        used = sum(_count(result.get("output_tokens")) or 0 for result in results)
        tokens = used - (whole.tokens if whole is not None else 0)
        return Report(words=f"its usage API counts {tokens} output tokens for it", tokens=tokens, billed=True)


class Engine(Account):
    """A server of one's own: the slots of llama.cpp, or the number of running requests among an engine's metrics."""

    pause = 0.01
    # vLLM, SGLang, Text Generation Inference, llama.cpp
    _RUNNING = re.compile(
        rb"^(?:vllm:num_requests_running|sglang:num_running_reqs|tgi_batch_current_size|llamacpp:requests_processing)"
        rb"(?:\{[^\n]*\})? ([0-9.e+]+)",
        re.MULTILINE,
    )

    async def prepare(self) -> None:
        running, _ = await self._state()
        if running:
            raise Unknowable(f"{self._name} is at work for somebody else, so nothing can be told apart")

    async def during(self) -> None:
        running, _ = await self._state()
        if running != 1:
            raise Unknowable(f"{self._name} said that it has {running} answers under way, where it was one")

    async def look(self, cut: Trial, whole: Trial | None) -> Report | None:
        running, tokens = await self._state()
        after = time.monotonic() - cut.left
        if running:
            return Report(words=f"it is still at work {after:.1f} s after the disconnect", working=True, final=False)
        made = "" if tokens is None else f", with {tokens} tokens made"
        return Report(words=f"it was idle {after * 1000:.0f} ms after the disconnect{made}", tokens=tokens, freed=after)

    async def _state(self) -> tuple[int, int | None]:
        """How many answers are under way, and how many tokens the last one has, if that is told."""
        origin = self._base.removesuffix("/v1")
        status, body = await self.get(f"{origin}/slots")
        if status == 200 and (slots := _slots(body)):
            last = max(slots, key=lambda slot: _count(slot.get("id_task")) or -1)
            progress = last.get("next_token")
            progress = progress[0] if isinstance(progress, list) and progress else progress
            tokens = _count(progress.get("n_decoded")) if isinstance(progress, dict) else None
            return sum(slot.get("is_processing") is True for slot in slots), tokens
        status, body = await self.get(f"{origin}/metrics")
        if status == 200 and (found := self._RUNNING.findall(body)):
            return round(sum(float(value) for value in found)), None
        raise Unknowable(f"{self._name} has no API that tells what it did or billed")


def account_of(
    provider: Provider,
    client: Client,
    base_url: str,
    headers: Mapping[str, str],
    model: str,
    environ: Mapping[str, str],
) -> Account | None:
    """Where this provider can be asked; None where it offers nothing. `model`: the provider's id of it."""
    if provider.id == "openai":
        key = environ.get("OPENAI_ADMIN_KEY", "").strip()
        return OrganizationUsage(client, provider, base_url, headers, key, model)
    if provider.id == "openrouter":
        return Generations(client, provider, base_url, headers)
    if provider.wire == "replicate":
        return Predictions(client, provider, base_url, headers)
    if provider.wire == "openai-chat" and base_url.startswith("http://"):  # on this machine, or in one's own network
        return Engine(client, provider, base_url, headers)
    return None


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
    return found if isinstance(found, dict) else None


def _slots(body: bytes) -> list[dict[str, Any]]:
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return []
    slots = found if isinstance(found, list) else []
    return [slot for slot in slots if isinstance(slot, dict) and "is_processing" in slot]


def _count(*values: object) -> int | None:
    """The first that is a number."""
    return next((int(value) for value in values if isinstance(value, int | float)), None)


def _seconds(metrics: object) -> float | None:
    value = metrics.get("predict_time") if isinstance(metrics, dict) else None
    return float(value) if isinstance(value, int | float) else None
