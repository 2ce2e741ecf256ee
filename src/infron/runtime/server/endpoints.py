"""Everything over HTTP that starts no exchange: the endpoints of `api/` are registered here.

It never answers anything itself.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from infron.catalog.definitions import Model, Offer
from infron.money import Price
from infron.policy.access import Key
from infron.policy.routing import Candidate
from infron.runtime.exchange.context import Context
from infron.runtime.exchange.prompt import count_contents, count_messages, count_prompt
from infron.runtime.ledger.receipts import Receipt
from infron.runtime.server.api import (
    count_tokens,
    gemini,
    generations,
    health,
    keys,
    models,
    ollama,
    pages,
    receipts,
    responses,
)
from infron.runtime.server.api.admin import credits, operation, organisations
from infron.runtime.server.api.admin import keys as admin_keys
from infron.runtime.server.api.endpoint import Endpoint
from infron.runtime.server.paths import Paths


def paths(context: Context) -> Paths:
    """What stands where callers ask: the client APIs, and the endpoints; the admin API only if it is shared."""
    return Paths([*endpoints(context), *(admin_endpoints(context) if context.config.admin.shared else ())])


def admin_paths(context: Context) -> Paths:
    """What stands where operators ask."""
    return Paths(admin_endpoints(context), {})


def admin_endpoints(context: Context) -> list[Endpoint]:
    office = context.office
    return [
        *admin_keys.endpoints(office),
        *organisations.endpoints(office),
        *credits.endpoints(office),
        *operation.endpoints(office, lambda: _providers(context)),
    ]


def _providers(context: Context) -> list[dict[str, Any]]:
    providers = context.providers
    return [
        {"id": one.id, "name": one.name, "wire": one.wire, "usable": why is None, "why_not": why}
        for one in providers.catalog.providers.values()
        for why in (providers.why_not(one),)
    ]


def endpoints(context: Context) -> list[Endpoint]:
    """All others. They are given what they tell of, never the context."""
    ledger, metrics, registry = context.ledger, context.metrics, context.registry

    async def stop(id: str, key: Key | None) -> Receipt | None:
        return (await generations.stop_generation(ledger, registry, id, key))[0]

    offered = models.Models(context.discovery, context.providers.catalog.aliases)
    return [
        # Before the models, whose ids may be anything.
        *gemini.endpoints(offered, partial(count_contents, context)),
        *models.endpoints(
            context.providers.catalog,
            offered,
            lambda model, offer: _price(context, model, offer),
            gemini.listing(offered),
        ),
        *receipts.endpoints(ledger),
        *generations.endpoints(ledger, registry, context.config.ledger_url(), context.readers),
        *keys.endpoints(ledger),
        *responses.endpoints(context.memory, partial(count_prompt, context), stop, context.readers),
        *ollama.endpoints(offered),
        *count_tokens.endpoints(partial(count_messages, context)),
        *pages.endpoints(context.config.pages.chat),
        *health.endpoints(lambda: _unready(context), lambda: metrics.text()),
    ]


def _price(context: Context, model: Model, offer: Offer) -> Price | None:
    provider = context.providers.catalog.serving(model, offer)
    return context.prices.of(Candidate(provider, offer.id, model.id), None)


def _unready(context: Context) -> str | None:
    """Why no new exchange should be sent here, in words that strangers may read: the log says more."""
    if context.registry.closing:
        return "shutting down"
    return "the ledger cannot be written" if context.ledger.healthy else None
