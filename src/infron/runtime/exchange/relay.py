"""What all exchanges of a process share: who may start one, where it goes, and how it is billed and settled.

It never touches the bytes of a stream.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial

from infron.catalog.definitions import Model, Provider
from infron.catalog.load import Catalog
from infron.config import Config
from infron.errors import (
    InfronError,
    NotFound,
    Overloaded,
    ProviderError,
    ProviderMisconfigured,
    RateLimited,
    ShuttingDown,
)
from infron.money import Price, Usage
from infron.policy import access, prices, routing
from infron.policy.access import Key
from infron.policy.routing import Candidate
from infron.records import Outcome, Settlement
from infron.request import NO_WISHES, Outgoing, Request
from infron.runtime.exchange.clock import Clock
from infron.runtime.exchange.exchange import Exchange, Responder
from infron.runtime.exchange.providers import ProviderHandle
from infron.runtime.exchange.settlement import Bill, Meter, bill
from infron.runtime.ledger.ledger import Ledger
from infron.runtime.local.model import LocalModel
from infron.runtime.telemetry.metrics import Metrics
from infron.runtime.upstream.client import Client, Target

logger = logging.getLogger("infron")
PRICE_SECONDS = 60.0


class Relay:
    """Built once the loop runs. `active`: every exchange that is not settled yet."""

    def __init__(
        self,
        config: Config,
        catalog: Catalog,
        ledger: Ledger,
        local: LocalModel | None,
        metrics: Metrics,
    ) -> None:
        self.config = config
        self.catalog = catalog
        self.ledger = ledger
        self.local = local
        self.metrics = metrics
        self.loop = asyncio.get_running_loop()
        self.clock = Clock(self.loop)
        self.upstream = Client(connect_seconds=config.timeouts.connect_seconds)
        self.active: set[Exchange] = set()
        self.shutting_down = False
        self.idle = asyncio.Event()  # set whenever nothing is active
        self.idle.set()
        self.random = random.Random(secrets.token_bytes(32))  # of this process alone: workers are forked before
        self._routes: dict[str, tuple[tuple[Candidate, ...], bool]] = {}
        self._counter = ThreadPoolExecutor(1, thread_name_prefix="count")
        self._servings: dict[str, ProviderHandle] = {}
        self._missing = local.missing() if local else None
        self._prices: dict[tuple[str, str, str], tuple[float, Price | None]] = {}
        # After how many seconds an exchange has something due at the earliest.
        timeouts = config.timeouts
        clocks = (config.keepalive.first_seconds, timeouts.first_token_seconds, timeouts.total_seconds)
        self.first_look = min((seconds for seconds in clocks if seconds), default=60.0)

    # ---- admission

    def begin(self, request: Request, key: Key | None, responder: Responder, asked: str | None) -> Exchange:
        """Start the exchange. Raises InfronError where the request can be served by nobody, or not now."""
        if self.shutting_down:
            raise ShuttingDown("The gateway is shutting down; try again in a moment.", retry_after=5)
        if len(self.active) >= self.config.server.max_streams:
            raise Overloaded(f"The gateway runs {len(self.active):,} streams already.", retry_after=5)
        access.check_limit(self.ledger.keys, key)
        candidates, drains = self._route(request)
        key_id = key.id if key else None
        cap = self.config.drain.max_per_key
        if drains and cap and self.ledger.drains_of(key_id) >= cap:
            raise RateLimited(
                f"{cap} answers that you hung up on are still running at providers that cannot be stopped; "
                "wait for them to end.",
                retry_after=10,
            )
        exchange = Exchange(self, request, key_id, candidates, responder, asked)
        self.active.add(exchange)
        self.idle.clear()
        return exchange

    def _route(self, request: Request) -> tuple[tuple[Candidate, ...], bool]:
        """The candidates, and whether one of them goes on when its connection closes.

        Of a request without wishes they depend on the model alone, and nothing of it changes.
        """
        plain = not request.models and request.preferences is NO_WISHES
        known = self._routes.get(request.model) if plain else None
        if known is None:
            candidates = routing.route(request, self.catalog, self.why_not)
            known = candidates, any(candidate.provider.on_disconnect == "drain" for candidate in candidates)
            if plain:
                if len(self._routes) > 10_000:
                    self._routes.clear()
                self._routes[request.model] = known
        return known

    # ---- providers

    def why_not(self, provider: Provider) -> str | None:
        """None where requests can be sent there, else the sentence that says why not."""
        if provider.id == "local":
            return "The bundled model is switched off ([local] enabled)." if self.local is None else self._missing
        found = self.catalog.usable(provider)
        return found if isinstance(found, str) else None

    def offered(self) -> list[Model]:
        """The models that somebody can serve with what is configured."""
        usable = {row.id for row in self.catalog.providers.values() if self.why_not(row) is None}
        return [model for model in self.catalog.models.values() if any(o.provider in usable for o in model.served_by)]

    def serving(self, provider: Provider) -> ProviderHandle:
        """What the requests to a provider have in common."""
        serving = self._servings.get(provider.id)
        if serving is None:
            serving = self._servings[provider.id] = ProviderHandle.of(provider, self.catalog.usable(provider))
        return serving

    async def endpoint_when_ready(self, candidate: Candidate, outgoing: Outgoing) -> Target:
        """Where a request goes, once what is missing is there: the bundled model, a token. Raises InfronError."""
        provider = candidate.provider
        serving = self.serving(provider)
        if provider.id == "local":
            if self.local is None:
                raise NotFound("The bundled model is switched off.")
            serving.reached(*await self.local.ensure())
        endpoint = serving.endpoint(candidate.provider_model, outgoing)
        if endpoint is None:
            await serving.refresh()
            endpoint = serving.endpoint(candidate.provider_model, outgoing)
        if endpoint is None:
            raise ProviderMisconfigured(f"{provider.name}: there are no valid credentials.", provider=provider.id)
        return endpoint

    # ---- money

    def price(self, candidate: Candidate, request: Request) -> Price | None:
        """What this candidate's tokens cost now. Prices depend on the hour, so none is kept for long."""
        tier = request.service_tier or ""
        name = (candidate.provider.id, candidate.provider_model, tier)
        now = self.loop.time()
        known = self._prices.get(name)
        if known is None or now > known[0]:
            if len(self._prices) > 10_000:
                self._prices.clear()
            override = self.catalog.price(candidate.provider.id, candidate.provider_model)
            price = prices.price_of(candidate.provider, candidate.provider_model, override, datetime.now(UTC), tier)
            known = self._prices[name] = (now + PRICE_SECONDS, price)
        return known[1]

    def count(self, meter: Meter, done: Callable[[Usage | None], None]) -> None:
        """Count prompt and delivered text in a thread; `done` comes on the loop, with None if it failed."""

        def counted(future: asyncio.Future[Usage]) -> None:
            if future.exception() is not None:
                self.report_bug("counting tokens", future.exception())
                done(None)
            else:
                done(future.result())

        self.loop.run_in_executor(self._counter, meter.count).add_done_callback(counted)

    def bill_of(self, exchange: Exchange, outcome: Outcome) -> Bill:
        return bill(
            outcome,
            exchange.meter,
            exchange.route.price,
            slow_reader=exchange.slow_reader,
            charge_failed=self.config.billing.charge_failed,
        )

    # ---- the end

    def settle_when_known(self, exchange: Exchange) -> None:
        """Settle once the outcome, the counts and the moment of the upstream's closing are all known."""
        outcome = exchange.outcome
        if outcome is None or exchange.closed_at < 0:
            return
        meter = exchange.meter
        if exchange.bill is None and meter.needs_count(outcome):
            self.count(meter, partial(self._counted, exchange))
            return
        if exchange not in self.active:
            return
        self.active.remove(exchange)
        settlement = self._settlement(exchange, outcome, exchange.bill or self.bill_of(exchange, outcome))
        self.ledger.settle(settlement)
        self.metrics.settled(
            outcome,
            settlement.provider,
            frames=settlement.frames,
            prompt=settlement.usage.prompt,
            completion=settlement.usage.completion,
            first_s=None if settlement.latency_ms is None else settlement.latency_ms / 1000,
            closed_s=None if settlement.upstream_closed_ms is None else settlement.upstream_closed_ms / 1000,
        )
        exchange.route.let_go()
        if not self.active:
            self.idle.set()

    def _counted(self, exchange: Exchange, usage: Usage | None) -> None:
        exchange.meter.counted = usage or Usage()
        self.settle_when_known(exchange)

    def _settlement(self, exchange: Exchange, outcome: Outcome, due: Bill) -> Settlement:
        first, error = exchange.first_content, exchange.error
        closed = exchange.closed_at - exchange.left_at if exchange.closed_at > 0 and exchange.left_at else None
        if outcome in (Outcome.COMPLETED, Outcome.DRAINED):
            error = None
        return Settlement(
            id=exchange.id,
            outcome=outcome,
            provider=exchange.route.candidate.provider.id,
            provider_model=exchange.route.candidate.provider_model,
            price=due.price,
            usage=due.usage,
            estimated=due.estimated,
            cost=due.cost,
            charge=None if due.charge is None else due.charge.total,
            finish_reason=exchange.meter.finish_reason,
            native_finish_reason=exchange.meter.native_finish_reason,
            error_type=error.error_type if error else None,
            # A provider's own words may repeat the prompt, so they are told to the caller and not kept.
            error=None if error is None else _kept(error),
            upstream_id=exchange.route.decoder.upstream_id,
            latency_ms=(first - exchange.started) * 1000 if first else None,
            generation_ms=(exchange.ended - first) * 1000 if first else None,
            upstream_closed_ms=None if closed is None else max(0.0, closed * 1000),
            frames=exchange.meter.frames,
            on_disconnect=exchange.leaving,
            attempts=tuple(exchange.attempts),
            dropped=exchange.route.dropped,
        )

    def begin_shutdown(self) -> None:
        self.shutting_down = True

    def end_all(self) -> None:
        """End every exchange that still runs: with an error for its client, and settled."""
        for exchange in list(self.active):
            exchange.shut_down()

    async def close(self) -> None:
        await self.upstream.close()
        self._counter.shutdown(wait=False)

    def report_bug(self, doing: str, error: BaseException | None = None) -> None:
        """Log a failure of our own, with its place in the code and nothing of what was said."""
        logger.error("a bug while %s", doing, exc_info=error or True)


def _kept(error: InfronError) -> str:
    if isinstance(error, ProviderError):
        return f"{error.provider or 'the provider'} answered with HTTP {error.status} ({error.error_type})."
    return error.message
