"""The cancel experiment against a real account: what a disconnect does to the work and to the bill of a long answer.

It never guesses: where nothing proves a fact, the fact is `unknown`, with the reason.
"""

from __future__ import annotations

import asyncio
import datetime
import difflib
import json
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import msgspec
from msgspec import Struct

from infron.catalog.definitions import Provider
from infron.catalog.load import Catalog, load_catalog
from infron.cli.probe.accounts import MOST_BYTES, SECONDS, Account, Unknowable, account_of
from infron.cli.probe.findings import Finding, Report, Trial, find
from infron.errors import InfronError, NotFound, ProviderClosed, ProviderMisconfigured, ProviderUnavailable
from infron.policy import prices, tokens
from infron.policy.routing import did_you_mean
from infron.runtime.exchange.context import Context
from infron.runtime.local import model as local
from infron.runtime.process import running
from infron.runtime.upstream.client import Client, Target
from infron.runtime.upstream.fetch import fetch
from infron.runtime.workers.sockets import listen
from infron.settings import Config, LedgerSection, ServerSection
from infron.wires import PROVIDER_WIRES, sse

PROMPT = (
    "Write a very long story about a dragon and a village, in many chapters, with every detail. "
    "Do not stop before you have written several thousand words."
)
SILENCE_SECONDS = 120.0
SETTLE_SECONDS = 30.0
Say = Callable[[str], None]


class Options(Struct, frozen=True, kw_only=True):
    """`after`, `max_tokens`: tokens. `control`: run the same request to its end first. `wait`: seconds, at most."""

    model: str = ""
    after: int = 20
    max_tokens: int = 400
    control: bool = True
    wait: float = 60.0


async def run(name: str, settings: Config, options: Options, environ: Mapping[str, str], say: Say) -> Finding:
    """The experiment at the provider of this name. `say`: told each step. Raises InfronError with one sentence."""
    catalog = load_catalog(
        settings.providers, settings.models, environ, settings.aliases, wires=PROVIDER_WIRES, path=settings.path
    )
    provider = provider_of(name, catalog, settings)
    model = model_of(provider, catalog, options.model)
    # Only this provider may be asked, and a disconnect must reach it, whatever its definition says so far.
    how: Literal["cancel", "call"] = "call" if provider.on_disconnect == "call" else "cancel"
    asked = catalog.providers[provider.id] = msgspec.structs.replace(provider, on_disconnect=how)
    catalog.models.clear()
    bundled = local.LocalModel.prepare(settings.local) if provider.bundled else None
    listener = listen("127.0.0.1", 0)
    with tempfile.TemporaryDirectory() as folder:
        ledger = LedgerSection(url=f"sqlite:///{Path(folder) / 'probe.db'}")
        inner = msgspec.structs.replace(settings, ledger=ledger, server=ServerSection())
        try:
            async with running(inner, catalog, listener, bundled) as context:
                experiment = Experiment(context, asked, model, listener.getsockname()[1], options, say)
                return await experiment.run(
                    await _account(context.upstream, bundled, provider, catalog, model, environ)
                )
        finally:
            listener.close()
            if bundled is not None:
                bundled.close()


def provider_of(name: str, catalog: Catalog, settings: Config) -> Provider:
    """The provider to be probed. Raises NotFound, ProviderClosed or ProviderMisconfigured."""
    provider = catalog.find_provider(name)
    if provider is None:
        names = difflib.get_close_matches(name.lower(), catalog.alias)
        near = list(dict.fromkeys(catalog.alias[found] for found in names))
        raise NotFound(f"No provider `{name[:100]}`.{did_you_mean(near)} `infron providers` lists them.")
    if provider.bundled:
        reason = local.missing(settings.local)
    else:
        found = catalog.usable(provider)
        reason = found if isinstance(found, str) else None
    if reason is not None:
        raise (ProviderClosed if provider.status == "closed" else ProviderMisconfigured)(reason)
    return provider


def model_of(provider: Provider, catalog: Catalog, wanted: str) -> str:
    """The provider's id of the model to ask: that of a public id, as given, or of the cheapest that is known there."""
    offers = [(model.id, offer.id) for model in catalog.models.values() for offer in model.served_by
              if offer.provider == provider.id]  # fmt: skip
    if wanted:
        return dict(offers).get(wanted, wanted)
    if not offers:
        raise NotFound(f"No model of {provider.name} is known here: name one with --model.")
    now = datetime.datetime.now(datetime.UTC)

    def price(provider_model: str) -> float:
        found = prices.price_of(provider, provider_model, catalog.price(provider.id, provider_model), now)
        return found.completion if found is not None else float("inf")

    return min((provider_model for _, provider_model in offers), key=price)


async def _account(
    upstream: Client,
    bundled: local.LocalModel | None,
    provider: Provider,
    catalog: Catalog,
    model: str,
    environ: Mapping[str, str],
) -> Account | None:
    if bundled is not None:
        url, key = await bundled.ensure()
        return account_of(provider, upstream, url, {"authorization": f"Bearer {key}"}, model, environ)
    found = catalog.usable(provider)
    assert not isinstance(found, str), found  # `provider_of` leaves such providers out
    return account_of(provider, upstream, found.base_url, found.headers, model, environ)


class Experiment:
    """A whole answer, then one that is left early, both through a gateway of its own; then the provider is asked."""

    def __init__(self, context: Context, provider: Provider, model: str, port: int, options: Options, say: Say) -> None:
        self._registry = context.registry
        self._provider = provider
        self._model = model
        self._url = f"http://127.0.0.1:{port}/v1"
        self._options = options
        self._say = say
        self._family = tokens.family_of(provider, model)
        self._client = Client(environ={})  # never by a proxy: it goes no further than this machine
        self._why_not = ""

    async def run(self, account: Account | None) -> Finding:
        provider, options, say = self._provider, self._options, self._say
        paid = "" if provider.bundled else ", paid by your own key"
        say(f"{provider.name}, {self._model}: at most {options.max_tokens} tokens an answer{paid}.")
        if account is None:
            self._why_not = f"{provider.name} has no API that tells what it did or billed"
        else:
            await self._unless_unknowable(account.prepare())
        if self._why_not:
            say(f"{self._why_not}.")
        whole = None
        try:
            if options.control:
                say("First the whole answer, to compare with …")
                whole = await self._ask(account, leave=False)
                say(f"{whole.tokens} tokens in {whole.seconds:.1f} s, finish reason {whole.finish}.")
            say(f"Now the same again, and disconnect after {options.after} tokens …")
            cut = await self._ask(account, leave=True)
            closed = "" if cut.closed_ms is None else f", connection closed {cut.closed_ms:.1f} ms later"
            say(f"Disconnected after {cut.tokens} tokens and {cut.seconds:.1f} s{closed}.")
        finally:
            await self._client.close()
        seen = await self._watch(account, cut, whole) if account is not None else None
        return find(
            provider.id, self._model, provider.on_disconnect, cut=cut, whole=whole, seen=seen, why_not=self._why_not,
            waited=time.monotonic() - cut.left, most=options.max_tokens, free=provider.bundled,
            date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        )  # fmt: skip

    async def _unless_unknowable(self, step: Awaitable[None]) -> None:
        try:
            await step
        except Unknowable as reason:
            self._why_not = str(reason)

    async def _watch(self, account: Account, cut: Trial, whole: Trial | None) -> Report | None:
        """Ask until it has said its last word, or `wait` is over."""
        if self._why_not:
            return None
        wait, seen = self._options.wait, None
        self._say(f"Asking {self._provider.name} what became of it, for at most {wait:g} s …")
        try:
            while True:
                seen = await account.look(cut, whole) or seen
                if (seen is not None and seen.final) or time.monotonic() >= cut.left + wait:
                    break
                await asyncio.sleep(account.pause)
        except Unknowable as reason:
            self._why_not = str(reason)
            return None
        if seen is None:
            self._why_not = f"{self._provider.name} told nothing of it within {wait:g} s (a longer --wait may help)"
        else:
            self._say(f"{self._provider.name}: {seen.words}.")
        return seen

    # ---- one answer

    async def _ask(self, account: Account | None, *, leave: bool) -> Trial:
        """One answer, whole or left after so many tokens. Raises InfronError."""
        body = {
            "model": f"{self._provider.id}/{self._model}",
            "messages": [{"role": "user", "content": PROMPT}],
            "max_tokens": self._options.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        reader = _Stream()
        began, run = time.monotonic(), Trial(asked=time.time())
        endpoint = Target(f"{self._url}/chat/completions", (("content-type", "application/json"),))
        attempt = self._client.send(endpoint, json.dumps(body).encode(), reader)
        text, left = "", False
        try:
            async for frame in reader.frames():
                text += _text_of(frame)
                run.tokens = (frame.get("usage") or {}).get("completion_tokens", run.tokens)
                if leave and tokens.count_text(text, self._family) >= self._options.after:
                    if account is not None and not self._why_not:
                        await self._unless_unknowable(account.during())
                    running = self._registry.get(reader.id)
                    run.reported = running.reported_tokens() if running is not None else None
                    run.tokens = tokens.count_text(text, self._family)
                    left = True
                    break
        finally:
            run.left = time.monotonic()
            attempt.abort()
        run.seconds = run.left - began
        await self._settle(reader.id, run)
        if leave and (not left or run.closed_ms is None):
            raise ProviderUnavailable(
                f"The answer of {self._model} was over before we disconnected: "
                "try a smaller --after, a larger --max-tokens or another --model."
            )
        return run

    async def _settle(self, id: str, run: Trial) -> None:
        """Take from the gateway's receipt how the exchange ended."""
        async with asyncio.timeout(SETTLE_SECONDS):
            await self._registry.idle.wait()
        url = f"{self._url}/generation?id={quote(id)}"
        found = await fetch(self._client, url, {}, seconds=SECONDS, most_bytes=MOST_BYTES)
        receipt = json.loads(found.body)["data"]
        run.finish, run.upstream_id = receipt["finish_reason"], receipt["upstream_id"]
        run.closed_ms = receipt["upstream_closed_ms"]


class _Stream:
    """Reads a stream of the gateway's."""

    def __init__(self) -> None:
        self.id = ""
        self._status = 0
        self._body = bytearray()
        self._sse = sse.Decoder()
        self._waiting: asyncio.Queue[dict[str, Any] | InfronError | None] = asyncio.Queue()

    async def frames(self) -> AsyncIterator[dict[str, Any]]:
        """Each frame's JSON. Raises InfronError where the answer is an error, or breaks off, or is silent."""
        while True:
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    frame = await self._waiting.get()
            except TimeoutError:
                raise ProviderUnavailable(f"Nothing came for {SILENCE_SECONDS:g} s.") from None
            if frame is None:
                return
            if isinstance(frame, InfronError):
                raise frame
            if "error" in frame:
                raise ProviderUnavailable(f"The experiment failed: {frame['error']['message']}")
            yield frame

    def response_started(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._status = status
        self.id = dict(headers).get(b"x-generation-id", b"").decode()

    def data_received(self, data: bytes) -> None:
        if self._status != 200:
            self._body += data
            return
        for event in self._sse.feed(data):
            if event.data and event.data != b"[DONE]":
                self._waiting.put_nowait(json.loads(event.data))

    def response_ended(self) -> None:
        if self._status != 200:
            self._waiting.put_nowait(json.loads(self._body))
        self._waiting.put_nowait(None)

    def request_failed(self, error: InfronError) -> None:
        self._waiting.put_nowait(error)


def _text_of(frame: dict[str, Any]) -> str:
    deltas = [choice["delta"] for choice in frame.get("choices", ())]
    return "".join(d.get("content") or d.get("reasoning_content") or d.get("reasoning") or "" for d in deltas)
