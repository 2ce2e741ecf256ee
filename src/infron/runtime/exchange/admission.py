"""Who may start an exchange, and with which candidates.

It never touches the bytes of a request or of an answer.
"""

from __future__ import annotations

import time
from functools import partial

from msgspec.structs import replace

from infron.errors import Overloaded, RateLimited, ShuttingDown
from infron.policy import routing
from infron.policy.access import Key, KeyRing
from infron.policy.asked import Asked
from infron.policy.disconnect import may_drain
from infron.policy.limit_answers import limit_headers, refusal_error
from infron.policy.limits import Refused
from infron.policy.permissions import EVERYTHING, Permissions
from infron.policy.routing import Candidate
from infron.records import Opening
from infron.request import NO_WISHES, Request
from infron.runtime.exchange.context import Context
from infron.runtime.exchange.delivery import Responder
from infron.runtime.exchange.exchange import Exchange
from infron.runtime.exchange.refusals import Refusals
from infron.runtime.exchange.waiting import Waiting

MOST_ROUTES = 10_000  # model ids come from callers


class ExchangeAdmission:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._refusals = Refusals()
        self._routes: dict[tuple[str, str, frozenset[str]], tuple[Candidate, ...]] = {}

    def begin(self, request: Request, key: Key | None, responder: Responder, asked: Asked) -> Exchange | Waiting:
        """The exchange, to be begun; one with limits is to wait for the ledger first.

        Raises InfronError where the request can be served by nobody, or not now.
        """
        context, running = self._context, len(self._context.registry)
        if request.include_usage is None and context.config.chat.usage == "asked":
            request = replace(request, include_usage=False)
        if context.registry.closing:
            raise ShuttingDown("The gateway is shutting down; try again in a moment.", retry_after=5)
        if running >= context.config.server.max_streams:
            raise Overloaded(f"The gateway runs {running:,} streams already.", retry_after=5)
        limited = key is not None and key.limited
        counts_money = limited and key is not None and key.limited_money
        candidates = self._route(request, key.permissions if key else EVERYTHING)
        unpriced = context.config.limits.unpriced
        if unpriced == "refuse-all" or (unpriced == "refuse" and counts_money):
            tier = request.service_tier
            candidates = routing.priced(candidates, lambda candidate: context.prices.of(candidate, tier) is not None)
        key_id = key.id if key else None
        cap = context.config.drain.max_per_key
        if (
            cap
            and context.ledger.drains_of(key_id) >= cap
            and may_drain(
                (candidate.provider for candidate in candidates), asked.on_disconnect, streamed=request.stream
            )
        ):
            what = f"{cap} answers that you disconnected from are still being read to their end; wait for them."
            raise RateLimited(what, retry_after=10)
        opening = self._opening(request, key, candidates[0])
        exchange: Exchange | Waiting
        if limited and key is not None:
            self._check_remembered(key, opening, responder)
            remember = partial(self._remember, key, context.ledger.keys)
            exchange = Waiting(context, request, opening, candidates, responder, asked, key, remember)
        else:
            exchange = Exchange(context, request, opening, candidates, responder, asked)
        context.registry.add(exchange)
        return exchange

    def _check_remembered(self, key: Key, opening: Opening, responder: Responder) -> None:
        """Raises RateLimited or PaymentRequired where it was refused just now, and nothing can have changed."""
        context, price = self._context, opening.price
        free = price is None or not (price.prompt or price.completion or price.request)
        refused = self._refusals.of(key, context.ledger.keys, context.loop.time(), free=free)
        if refused is not None:
            responder.headers = limit_headers(refused, ietf=context.config.limits.ietf_headers)
            raise refusal_error(refused, time.time())

    def _remember(self, key: Key, ring: KeyRing, refused: Refused) -> None:
        self._refusals.remember(key, ring, refused, self._context.loop.time())

    def _opening(self, request: Request, key: Key | None, first: Candidate) -> Opening:
        now = time.time()
        return Opening(
            id=self._context.registry.new_id(now),
            key_id=key.id if key else None,
            limited=key is not None and key.limited,
            organisation=key.organisation.id if key and key.organisation else None,
            model=request.model,
            provider=first.provider.id,
            provider_model=first.provider_model,
            streamed=request.stream,
            created_at=now,
            price=self._context.prices.of(first, request.service_tier),
            user=request.user,
            session_id=request.session_id,
        )

    def _route(self, request: Request, permitted: Permissions) -> tuple[Candidate, ...]:
        """The candidates. Of a request without wishes they depend on this key alone, and nothing of it changes."""
        plain = not request.models and request.preferences is NO_WISHES and permitted is EVERYTHING
        key = request.model, request.api, request.kinds
        known = self._routes.get(key) if plain else None
        if known is None:
            providers = self._context.providers
            found = routing.route(request, providers.catalog, providers.why_not, permitted)
            known = routing.spoken(found, request, providers.catalog)
            if plain:
                if len(self._routes) > MOST_ROUTES:
                    self._routes.clear()
                self._routes[key] = known
        return known
