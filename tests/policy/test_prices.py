"""Prices of the list and of definitions, and charges that add up: plain values, no IO."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import genai_prices
import msgspec
import pytest
from amounts import AMOUNTS, PRICES, usages
from genai_prices import data_snapshot
from genai_prices.types import ModelInfo
from hypothesis import assume, given
from hypothesis import strategies as st

from infron.catalog.definitions import Provider, Rate, price_from
from infron.catalog.load import load_catalog
from infron.money import MEDIA, Charge, Price, Usage
from infron.policy import prices
from infron.policy.prices import charge_of, price_of
from infron.wires import PROVIDER_WIRES

CATALOG = load_catalog(environ={}, wires=PROVIDER_WIRES)
PLAIN = Provider(id="plain", name="Plain", base_url="http://h")
XAI = CATALOG.providers["xai"]
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


# ---- prices


def test_the_price_list_gives_picodollars_and_its_tiers() -> None:
    price = price_of(CATALOG.providers["openai"], "gpt-6-sol", None, NOW)
    assert price is not None
    assert (price.prompt, price.completion, price.cached, price.cache_write) == (
        2_000_000,
        10_000_000,
        200_000,
        2_500_000,
    )
    assert price.tier_from == 272_000
    assert price.tier is not None
    assert (price.tier.prompt, price.tier.completion, price.tier.tier) == (4_000_000, 15_000_000, None)
    assert price.source.startswith("genai-prices ")


def test_a_price_that_changed_is_the_one_of_its_time() -> None:
    def of(year: int, month: int, day: int) -> int:
        price = price_of(CATALOG.providers["openai"], "o3", None, datetime(year, month, day, tzinfo=UTC))
        assert price is not None
        return price.prompt

    assert (of(2025, 6, 9), of(2025, 6, 10)) == (10_000_000, 2_000_000)


def test_a_service_tier_has_its_own_price() -> None:
    openai = CATALOG.providers["openai"]
    usual, priority, unknown = (price_of(openai, "gpt-6.1-sol", None, NOW, tier) for tier in ("", "priority", "gold"))
    assert usual is not None
    assert priority is not None
    assert priority.prompt == 2 * usual.prompt
    assert unknown == usual


def test_a_price_per_request_is_kept() -> None:
    price = price_of(CATALOG.providers["perplexity"], "sonar", None, NOW)
    assert price is not None
    assert price.request == 12_000_000_000  # 12 USD for a thousand


def test_an_override_wins_and_an_unknown_price_is_unknown_not_zero() -> None:
    own = Price(prompt=1, completion=2, source="mine")
    assert price_of(CATALOG.providers["openai"], "gpt-6-sol", own, NOW) is own
    assert price_of(CATALOG.providers["openai"], "no-such-model", None, NOW) is None
    assert price_of(CATALOG.providers["openai"], "text-embedding-3-large", None, NOW) is None  # no completion price
    assert price_of(PLAIN, "gpt-6-sol", None, NOW) is None
    assert price_of(CATALOG.providers["openai"], "x" * 10_000_000, None, NOW) is None


def test_every_listed_offer_has_a_known_price() -> None:
    for model in CATALOG.models.values():
        for offer in model.served_by:
            override = CATALOG.price(offer.provider, offer.id)
            assert price_of(CATALOG.serving(model, offer), offer.id, override, NOW) is not None, (model.id, offer)


def test_callers_cannot_fill_memory_with_model_names() -> None:
    for number in range(5_000):
        price_of(CATALOG.providers["deepseek"], f"deepseek-v4-flash-{number}", None, NOW + timedelta(seconds=number))
    assert prices._listed.cache_info().currsize <= 4_096
    assert len(prices._converted) < 1_000


# ---- charges


@given(usages(media=True), PRICES)
def test_the_parts_are_whole_and_sum_to_the_total(usage: Usage, price: Price) -> None:
    charge = charge_of(usage, price)
    if charge is not None:
        parts = msgspec.structs.astuple(charge)
        assert all(type(part) is int and part >= 0 for part in parts)
        assert charge.total == sum(parts)


@given(usages(media=True), PRICES)
def test_a_price_that_states_each_kind_charges_each_token_once(usage: Usage, price: Price) -> None:
    flat = Price(prompt=1, completion=1, covers_media=True, search=1, audio_second=1)
    charge = charge_of(usage, flat)
    assert charge is not None
    assert charge.total == usage.prompt + usage.completion + usage.searches + usage.audio_seconds


@given(usages(), PRICES)
def test_text_is_charged_alike_in_few_steps_and_in_many(usage: Usage, price: Price) -> None:
    searched = charge_of(msgspec.structs.replace(usage, searches=1), with_searches(price))
    assert searched is not None
    assert charge_of(usage, price) == msgspec.structs.replace(searched, search=0)


def with_searches(price: Price) -> Price:
    tier = None if price.tier is None else with_searches(price.tier)
    return msgspec.structs.replace(price, search=1, tier=tier)


@given(usages(media=True), PRICES)
def test_a_charge_is_unknown_exactly_where_something_that_was_used_has_no_price(usage: Usage, price: Price) -> None:
    tier = price
    while tier.tier is not None and usage.prompt > tier.tier_from:
        tier = tier.tier
    unpriced = (usage.searches and tier.search is None) or (usage.audio_seconds and tier.audio_second is None)
    for kind in MEDIA:
        read, cached, said = (getattr(usage, f"{side}_{kind}") for side in ("prompt", "cached", "completion"))
        own, own_cached, own_said = (getattr(tier, f"{side}_{kind}") for side in ("prompt", "cached", "completion"))
        if not tier.covers_media:
            unpriced |= read > cached and own is None
            unpriced |= bool(cached and own is None and own_cached is None)
            unpriced |= bool(said and own_said is None)
    assert (charge_of(usage, price) is None) == bool(unpriced)


@given(usages(), PRICES, st.integers(0, 10**6))
def test_more_completion_never_costs_less(usage: Usage, price: Price, more: int) -> None:
    longer = Usage(
        prompt=usage.prompt,
        completion=usage.completion + more,
        cached=usage.cached,
        cache_write=usage.cache_write,
        cache_write_1h=usage.cache_write_1h,
        reasoning=usage.reasoning,
    )
    low, high = charge_of(usage, price), charge_of(longer, price)
    assert low is not None
    assert high is not None
    assert low.total <= high.total


@given(usages(), AMOUNTS, AMOUNTS, st.integers(0, 10**6))
def test_more_prompt_never_costs_less_within_a_tier(usage: Usage, prompt: int, completion: int, more: int) -> None:
    price = Price(prompt=prompt, completion=completion, cached=prompt // 10)
    longer = Usage(prompt=usage.prompt + more, completion=usage.completion, cached=usage.cached)
    low = charge_of(Usage(prompt=usage.prompt, completion=usage.completion, cached=usage.cached), price)
    high = charge_of(longer, price)
    assert low is not None
    assert high is not None
    assert low.total <= high.total


@given(usages(), PRICES)
def test_without_prices_of_their_own_cached_and_reasoning_tokens_cost_as_the_others(usage: Usage, price: Price) -> None:
    flat = Price(prompt=price.prompt, completion=price.completion)
    charge = charge_of(usage, flat)
    assert charge is not None
    assert charge.total == usage.prompt * flat.prompt + usage.completion * flat.completion


def test_each_kind_of_token_is_charged_once() -> None:
    usage = Usage(prompt=1_000, completion=100, cached=600, cache_write=300, reasoning=40)
    price = Price(prompt=10, completion=20, cached=1, cache_write=12, reasoning=30, request=7)
    assert charge_of(usage, price) == Charge(
        prompt=100 * 10, cached=600 * 1, cache_write=300 * 12, completion=60 * 20 + 40 * 30, request=7
    )


@pytest.mark.parametrize(
    ("price", "charge"),
    [
        (Price(prompt=10, completion=0, cache_write=13, cache_write_1h=19), 200 * 13 + 100 * 19),
        (Price(prompt=10, completion=0, cache_write=13), 200 * 13 + 100 * 20),  # an hour is twice the prompt
        (Price(prompt=10, completion=0), 300 * 10),
    ],
)
def test_what_is_cached_for_an_hour_costs_more_than_what_is_for_five_minutes(price: Price, charge: int) -> None:
    usage = Usage(prompt=300, cache_write=300, cache_write_1h=100)
    assert charge_of(usage, price) == Charge(cache_write=charge)


def test_a_tier_prices_the_whole_answer_and_only_above_its_start() -> None:
    top = Price(prompt=5, completion=50)
    price = Price(prompt=1, completion=10, tier_from=100, tier=Price(prompt=2, completion=20, tier_from=200, tier=top))
    charges = {tokens: charge_of(Usage(prompt=tokens, completion=1), price) for tokens in (100, 101, 200, 201)}
    assert {tokens: charge.total for tokens, charge in charges.items() if charge} == {
        100: 100 + 10,
        101: 202 + 20,
        200: 400 + 20,
        201: 1005 + 50,
    }


# What the list prices of a chat. Other units are of APIs that are priced otherwise: a new one has to be thought about.
COUNTED = {*prices._OF_TOKENS.values(), *(name for name, _ in prices._OF_OTHERS.values())}
OF_OTHER_APIS = {
    "audio_hours", "input_document_kpages", "input_annotated_document_kpages", "input_mchars",
    "input_text_messages_kcount", "storage_searches_kcount",
}  # fmt: skip


def listed() -> list[tuple[str, ModelInfo]]:
    return [(listed.id, model) for listed in data_snapshot.get_snapshot().providers for model in listed.models]


def test_every_unit_of_the_price_list_is_known() -> None:
    units = {name for _, model in listed() for name, amount in model.get_prices(NOW).__dict__.items() if amount}
    assert units <= COUNTED | OF_OTHER_APIS


@given(usages(media=True), st.sampled_from(listed()))
def test_a_charge_is_what_the_price_list_itself_computes(usage: Usage, model: tuple[str, ModelInfo]) -> None:
    stated = model[1].get_prices(NOW)
    price = prices._price(stated, covers_media=True, completes=True)
    assume(price is not None)
    usage = msgspec.structs.replace(usage, cache_write_1h=0, reasoning=0, citation=0, searches=0, audio_seconds=0)
    charge = charge_of(usage, price)
    assert charge is not None
    expected = stated.calc_price(
        genai_prices.Usage(
            input_tokens=usage.prompt,
            output_tokens=usage.completion,
            cache_read_tokens=usage.cached,
            cache_write_tokens=usage.cache_write,
            **{f"input_{kind}_tokens": getattr(usage, f"prompt_{kind}") for kind in MEDIA},
            **{f"cache_{kind}_read_tokens": getattr(usage, f"cached_{kind}") for kind in MEDIA},
            **{f"output_{kind}_tokens": getattr(usage, f"completion_{kind}") for kind in MEDIA},
        )
    )["total_price"]
    rounded = Decimal(usage.prompt + usage.completion + 1) / 2  # half a picodollar a token
    assert abs(charge.total - expected * 10**12) <= rounded


def test_sound_costs_what_the_list_says_of_sound() -> None:
    # Charged as text an answer of gpt-realtime-mini cost 3 dollars where OpenAI bills 30.
    usage = Usage(prompt=10**6, completion=10**6, prompt_audio=10**6, completion_audio=10**6)
    charge = charge_of(usage, price_of(CATALOG.providers["openai"], "gpt-realtime-mini", None, NOW))
    assert charge is not None
    assert charge.total == 30 * 10**12


def test_searches_cost_what_the_list_says_of_them() -> None:
    price = price_of(CATALOG.providers["anthropic"], "claude-sonnet-4-5", None, NOW)
    charge = charge_of(Usage(searches=3), price)
    assert charge is not None
    assert (charge.search, charge.total) == (30 * 10**9, 30 * 10**9)


@pytest.mark.parametrize("name", ["prompt_audio", "prompt_image", "prompt_video", "completion_audio", "searches"])
def test_media_and_searches_without_a_stated_price_cost_what_nobody_knows(name: str) -> None:
    stated = price_from(Rate(prompt="1", completion="1"), "row")
    usage = Usage(prompt=10, completion=10, **{name: 5})
    assert charge_of(usage, stated) is None
    own = "search" if name == "searches" else name
    known = charge_of(usage, price_from(Rate(prompt="1", completion="1", **{own: "2"}), "row"))
    assert known is not None


def test_a_provider_that_tells_its_costs_itself_is_not_priced_for_media_by_text() -> None:
    openrouter = price_of(CATALOG.providers["openrouter"], "openai/gpt-audio", None, NOW)
    assert charge_of(Usage(prompt=5), openrouter) is not None
    assert charge_of(Usage(prompt=5, prompt_audio=5), openrouter) is None


def test_an_unknown_price_charges_nothing_that_could_be_taken_for_zero() -> None:
    assert charge_of(Usage(prompt=5), None) is None


@given(st.decimals(0, 1_000, places=9), st.integers(0, 10**6))
def test_a_stated_price_is_right_to_half_a_picodollar_a_token(usd: Decimal, tokens: int) -> None:
    charge = charge_of(Usage(prompt=tokens), price_from(Rate(prompt=str(usd), completion="0"), "row"))
    assert charge is not None
    assert abs(Decimal(charge.total) - usd * 1_000_000 * tokens) <= Decimal(tokens) / 2


def test_prices_can_be_asked_for_from_several_threads_at_once() -> None:
    found: list[Price | None] = []

    def ask() -> None:
        found.extend(
            price_of(CATALOG.providers["openai"], f"gpt-4o-mini{'' if n % 2 else '-x'}", None, NOW) for n in range(200)
        )

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 800
    assert len({price.prompt for price in found if price}) == 1
