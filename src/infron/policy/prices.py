"""What a model's tokens cost at a provider, and what counts of them come to.

It never knows how an answer ended, never reads a clock, and never asks the network for a price.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

import genai_prices
from genai_prices import data_snapshot
from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

from infron.catalog.definitions import Provider, per_token
from infron.money import Charge, Price, Usage
from infron.policy import tokens

_SOURCE = f"genai-prices {genai_prices.__version__}"
_converted: dict[int, tuple[ModelPrice, Price | None]] = {}  # by identity; the list's own objects live as long as it


def warm(families: Iterable[str] = ("gpt",)) -> None:
    """Read the price list and the vocabularies of these families now: a quarter of a second that stops every thread."""
    _price_list()
    for family in families:
        tokens.count_text("warm", family)


def price_of(
    provider: Provider, provider_model: str, override: Price | None, at: datetime, service_tier: str = ""
) -> Price | None:
    """What a model costs at a provider at the time `at` (with a time zone); None if nobody says.

    `override`: what the catalogue states for it (`Catalog.price`), which wins. `service_tier`: that of the request.
    """
    if override is not None:
        return override
    model = (
        _listed(provider.price_list, provider_model.lower())
        if provider.price_list and len(provider_model) <= 200
        else None
    )
    if model is None:
        return None
    if service_tier and model.price_variants:
        return _price(model.get_prices(at, {"service_tier": service_tier}))
    prices = model.get_prices(at)
    known = _converted.get(id(prices))
    if known is None:
        known = _converted[id(prices)] = (prices, _price(prices))
    return known[1]


@lru_cache(maxsize=1)
def _price_list() -> dict[str, Any]:
    return {provider.id: provider for provider in data_snapshot.get_snapshot().providers}


@lru_cache(maxsize=4096)  # ids come from callers, so it has to be bounded; genai-prices' own cache is not
def _listed(price_list: str, provider_model: str) -> ModelInfo | None:
    listed = _price_list().get(price_list)
    found: ModelInfo | None = (
        listed.find_model(provider_model, all_providers=list(_price_list().values())) if listed else None
    )
    return found


def _price(prices: ModelPrice) -> Price | None:
    """A price of the list in picodollars, its tiers nested; None without a price for both prompt and completion."""
    listed: dict[str, Decimal | TieredPrices | None] = prices.__dict__
    names = {
        "prompt": "input_mtok",
        "completion": "output_mtok",
        "cached": "cache_read_mtok",
        "cache_write": "cache_write_mtok",
        "cache_write_1h": "cache_write_1h_mtok",
        "reasoning": "output_reasoning_mtok",
    }
    amounts = {kind: amount for kind, name in names.items() if (amount := listed.get(name)) is not None}
    if "prompt" not in amounts or "completion" not in amounts:
        return None
    per_thousand = listed.get("requests_kcount")
    request = per_token(per_thousand * 1_000) if isinstance(per_thousand, Decimal) else 0
    tiered = [amount.tiers for amount in amounts.values() if isinstance(amount, TieredPrices)]
    starts = sorted({tier.start for tiers in tiered for tier in tiers})
    result: Price | None = None
    above = 0
    for start in reversed([0, *starts]):
        level = {kind: per_token(_in_tier(amount, start)) for kind, amount in amounts.items()}
        result = Price(**level, request=request, source=_SOURCE, tier_from=above, tier=result)
        above = start
    return result


def _in_tier(amount: Decimal | TieredPrices, start: int) -> Decimal:
    if isinstance(amount, Decimal):
        return amount
    return next((tier.price for tier in reversed(amount.tiers) if tier.start <= start and start), amount.base)


def charge_of(usage: Usage, price: Price | None) -> Charge | None:
    """What this usage costs, in parts that never overlap; None without a price."""
    if price is None:
        return None
    while price.tier is not None and usage.prompt > price.tier_from:
        price = price.tier
    cached = min(usage.cached, usage.prompt)
    written = min(usage.cache_write, usage.prompt - cached)
    hour = min(usage.cache_write_1h, written)
    reasoning = min(usage.reasoning, usage.completion) if price.reasoning is not None else 0
    return Charge(
        prompt=(usage.prompt - cached - written) * price.prompt,
        completion=(usage.completion - reasoning) * price.completion + reasoning * (price.reasoning or 0),
        cached=cached * (price.prompt if price.cached is None else price.cached),
        cache_write=(written - hour) * (price.prompt if price.cache_write is None else price.cache_write)
        + hour * _hour_price(price),
        request=price.request,
    )


def _hour_price(price: Price) -> int:
    """A token that is written to the cache for an hour. Where a list prices only the five minutes: twice the prompt.

    So Anthropic has it for all its models, and no other counts such tokens. (Pricing, "Prompt caching", 2026-11)
    """
    if price.cache_write_1h is not None:
        return price.cache_write_1h
    return price.prompt if price.cache_write is None else 2 * price.prompt
