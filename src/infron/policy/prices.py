"""What a model's tokens cost at a provider, and what counts of them come to.

It never knows how an answer ended, never reads a clock, and never asks the network for a price.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

import genai_prices
from genai_prices import data_snapshot
from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

from infron.catalog.definitions import Provider, per_token
from infron.money import MEDIA, Charge, Price, Usage
from infron.policy import tokens

_SOURCE = f"genai-prices {genai_prices.__version__}"
# Tiers that cost what the list says of a model, in the words of providers; `auto` may be served on any.
STANDARD_TIERS = frozenset(("", "auto", "default", "standard", "standard_only", "on_demand"))
# By identity, for the list's own objects live as long as it does, and by whether they cover media, and tokens said.
_converted: dict[tuple[int, bool, bool], tuple[ModelPrice, Price | None]] = {}


def warm(families: Iterable[str] = ("gpt", "gpt-4")) -> None:
    """Read the price list and the vocabularies of these families now: half a second that stops every thread."""
    _price_list()
    for family in families:
        tokens.count_text("warm", family)


def tier_of(name: str | None) -> str:
    """A service tier as prices know it: "" for every name of the usual one."""
    return "" if name is None or name in STANDARD_TIERS else name


def price_of(
    provider: Provider, provider_model: str, override: Price | None, at: datetime, service_tier: str = ""
) -> Price | None:
    """What a model costs at a provider at the time `at` (with a time zone); None if nobody says.

    `override`: what the catalogue states for it (`Catalog.price`), which wins. `service_tier`: as asked for or served.
    A price of the list holds for media too, unless it says otherwise; of a provider that tells its costs itself the
    list knows those of text only.
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
    covers_media = not provider.quirks.answer.cost_path
    if service_tier and model.price_variants:
        tier = model.get_prices(at, {"service_tier": service_tier, "speed": service_tier})
        return _price(tier, covers_media, provider.completes)
    prices = model.get_prices(at)
    name = (id(prices), covers_media, provider.completes)
    known = _converted.get(name)
    if known is None:
        known = _converted[name] = (prices, _price(prices, covers_media, provider.completes))
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


# Our names of prices -> those of the list. Of a million tokens, and of a thousand or an hour of what is no token.
_OF_TOKENS = {
    "prompt": "input_mtok",
    "completion": "output_mtok",
    "cached": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "reasoning": "output_reasoning_mtok",
    "citation": "output_citation_mtok",
    "prompt_audio": "input_audio_mtok",
    "prompt_image": "input_image_mtok",
    "prompt_video": "input_video_mtok",
    "cached_audio": "cache_audio_read_mtok",
    "cached_image": "cache_image_read_mtok",
    "cached_video": "cache_video_read_mtok",
    "completion_audio": "output_audio_mtok",
    "completion_image": "output_image_mtok",
    "completion_video": "output_video_mtok",
}
_OF_OTHERS = {
    "request": ("requests_kcount", 1_000),
    "search": ("web_searches_kcount", 1_000),
    "audio_second": ("input_audio_hours", 3_600),
}


def _price(prices: ModelPrice, covers_media: bool, completes: bool) -> Price | None:
    """A price of the list in picodollars, its tiers nested; None without a price for both prompt and completion.

    `completes`: answers hold tokens; else no price for those is needed.
    """
    listed: dict[str, Decimal | TieredPrices | None] = prices.__dict__
    amounts = {kind: amount for kind, name in _OF_TOKENS.items() if (amount := listed.get(name)) is not None}
    if not completes:
        amounts["completion"] = Decimal(0)
    if "prompt" not in amounts or "completion" not in amounts:
        return None
    others = {
        kind: per_token(amount * 1_000_000 / unit)
        for kind, (name, unit) in _OF_OTHERS.items()
        if isinstance(amount := listed.get(name), Decimal)
    }
    tiered = [amount.tiers for amount in amounts.values() if isinstance(amount, TieredPrices)]
    starts = sorted({tier.start for tiers in tiered for tier in tiers})
    result: Price | None = None
    above = 0
    for start in reversed([0, *starts]):
        level = {kind: per_token(_in_tier(amount, start)) for kind, amount in amounts.items()}
        result = Price(**level, **others, covers_media=covers_media, source=_SOURCE, tier_from=above, tier=result)
        above = start
    return result


def _in_tier(amount: Decimal | TieredPrices, start: int) -> Decimal:
    if isinstance(amount, Decimal):
        return amount
    return next((tier.price for tier in reversed(amount.tiers) if tier.start <= start and start), amount.base)


def charge_of(usage: Usage, price: Price | None) -> Charge | None:
    """What this usage costs, in parts that never overlap; None without a price for everything that was used."""
    if price is None:
        return None
    while price.tier is not None and usage.prompt > price.tier_from:
        price = price.tier
    if _is_plain(usage):
        return _plain_charge(usage, price)
    parts = {"prompt": 0, "completion": 0, "cached": 0, "cache_write": 0, "search": 0}
    for part, count, each in _lines(usage, price):
        if count:
            if each is None:
                return None
            parts[part] += count * each
    return Charge(**parts, request=price.request)


def _is_plain(usage: Usage) -> bool:
    """Whether it is text alone, as nearly all answers are."""
    return not (usage.citation or usage.searches or usage.audio_seconds or usage.has_media)


def _plain_charge(usage: Usage, price: Price) -> Charge:
    """What `_lines` come to, in fewer steps."""
    prompt, completion, each = usage.prompt, usage.completion, price.prompt
    cached = min(usage.cached, prompt)
    written = min(usage.cache_write, prompt - cached)
    reasoning = 0 if price.reasoning is None else min(usage.reasoning, completion)
    spent = (completion - reasoning) * price.completion
    if reasoning:
        spent += reasoning * (price.reasoning or 0)
    kept = 0
    if written:
        hour = min(usage.cache_write_1h, written)
        kept = (written - hour) * (each if price.cache_write is None else price.cache_write) + hour * _hour_price(price)
    return Charge(
        prompt=(prompt - cached - written) * each,
        completion=spent,
        cached=cached * (each if price.cached is None else price.cached),
        cache_write=kept,
        request=price.request,
    )


def _lines(usage: Usage, price: Price) -> Iterator[tuple[str, int, int | None]]:
    """(part of the charge, count, price of each), every token in one line."""
    cached = min(usage.cached, usage.prompt)
    written = min(usage.cache_write, usage.prompt - cached)
    hour = min(usage.cache_write_1h, written)
    reasoning = min(usage.reasoning, usage.completion)
    citation = min(usage.citation, usage.completion - reasoning)
    fresh, said = usage.prompt - cached - written, usage.completion - reasoning - citation
    for names in _MEDIA:
        heard, kept, told = (getattr(usage, name) for name in names)
        if not heard and not told:
            continue
        each, of_cached, of_told = _media_prices(price, *names)
        fresh, cached, said = fresh - heard + kept, cached - kept, said - told
        yield "prompt", heard - kept, each
        yield "cached", kept, of_cached
        yield "completion", told, of_told
    yield "prompt", fresh, price.prompt
    yield "cached", cached, price.prompt if price.cached is None else price.cached
    yield "cache_write", written - hour, price.prompt if price.cache_write is None else price.cache_write
    yield "cache_write", hour, _hour_price(price)
    yield "completion", said, price.completion
    yield "completion", reasoning, price.completion if price.reasoning is None else price.reasoning
    yield "completion", citation, price.completion if price.citation is None else price.citation
    yield "search", usage.searches, price.search
    yield "prompt", usage.audio_seconds, price.audio_second


_MEDIA = tuple((f"prompt_{kind}", f"cached_{kind}", f"completion_{kind}") for kind in MEDIA)


def _media_prices(price: Price, prompt: str, cached: str, completion: str) -> tuple[int | None, int | None, int | None]:
    """Of one kind of media, by the names of its prices: read afresh, read from the cache, said; None where unknown."""
    own, of_cached, of_said = getattr(price, prompt), getattr(price, cached), getattr(price, completion)
    if price.covers_media:
        of_cached = price.cached if of_cached is None and own is None else of_cached
        own = price.prompt if own is None else own
        of_said = price.completion if of_said is None else of_said
    return own, own if of_cached is None else of_cached, of_said


def _hour_price(price: Price) -> int:
    """A token that is written to the cache for an hour. Where a list prices only the five minutes: twice the prompt.

    So Anthropic has it for all its models, and no other counts such tokens. (Pricing, "Prompt caching", 2026-11)
    """
    if price.cache_write_1h is not None:
        return price.cache_write_1h
    return price.prompt if price.cache_write is None else 2 * price.prompt
