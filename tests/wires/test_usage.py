"""Usage reports of the chat API in every shape, and what a provider says that it bills."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from amounts import usages
from hypothesis import given
from hypothesis import strategies as st

from infron.catalog.definitions import AnswerQuirks, Provider, Quirks
from infron.catalog.load import load_catalog
from infron.money import MEDIA, Usage
from infron.wires import PROVIDER_WIRES
from infron.wires.usage import chat_usage, cost_in, read_usage, report_of

CATALOG = load_catalog(environ={}, wires=PROVIDER_WIRES)
PLAIN = Provider(id="plain", name="Plain", base_url="http://h")
XAI = CATALOG.providers["xai"]


def read(raw: object, provider: Provider, headers: list[tuple[bytes, bytes]] | None = None) -> Usage | None:
    return read_usage(raw, provider.quirks.answer, headers or [])


def cached(count: str) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", b"text/event-stream"), (b"fireworks-cached-prompt-tokens", count.encode())]


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}, Usage(prompt=9, completion=4)),
        ({"prompt_tokens": 9, "completion_tokens": None}, Usage(prompt=9)),
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "prompt_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 20, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 30},
            },
            Usage(prompt=100, completion=50, cached=64, cache_write=20, reasoning=30),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 2},
            Usage(prompt=10, completion=5, cached=8),
        ),
        ({"prompt_tokens": 10, "completion_tokens": 5, "cached_tokens": 3}, Usage(prompt=10, completion=5, cached=3)),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "num_cached_tokens": 2},
            Usage(prompt=10, completion=5, cached=2),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "reasoning_tokens": 4, "prompt_tokens_details": None},
            Usage(prompt=10, completion=5, reasoning=4),
        ),
        (
            {
                "prompt_tokens": 40,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 8, "cache_creation_input_tokens": 16, "cache_type": "x"},
            },
            Usage(prompt=40, completion=5, cached=8, cache_write=16),
        ),
        (
            {
                "prompt_tokens": 40,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cache_write_tokens": 16, "cache_write_1h_tokens": 9},
            },
            Usage(prompt=40, completion=5, cache_write=16, cache_write_1h=9),
        ),
        ({"prompt_tokens": 9.0, "completion_tokens": 500.0}, Usage(prompt=9, completion=500)),
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "prompt_tokens_details": {"text_tokens": 20, "audio_tokens": 50, "image_tokens": 30, "video_tokens": 0},
                "completion_tokens_details": {"audio_tokens": 40, "text_tokens": 10},
            },
            Usage(prompt=100, completion=50, prompt_audio=50, prompt_image=30, completion_audio=40),
        ),
        (  # what of the cached tokens can be no text is sound
            {
                "prompt_tokens": 100,
                "completion_tokens": 1,
                "prompt_tokens_details": {"audio_tokens": 80, "cached_tokens": 50},
            },
            Usage(prompt=100, completion=1, cached=50, prompt_audio=80, cached_audio=30),
        ),
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 1,
                "prompt_tokens_details": {
                    "audio_tokens": 80,
                    "cached_tokens": 50,
                    "cached_tokens_details": {"audio_tokens": 45, "text_tokens": 5},
                },
            },
            Usage(prompt=100, completion=1, cached=50, prompt_audio=80, cached_audio=45),
        ),
        (  # Perplexity's deep research: citations and reasoning are billed beside the completion
            {
                "prompt_tokens": 33,
                "completion_tokens": 7163,
                "total_tokens": 7196,
                "citation_tokens": 20016,
                "num_search_queries": 18,
                "reasoning_tokens": 73997,
            },
            Usage(prompt=33, completion=7163 + 20016 + 73997, reasoning=73997, citation=20016, searches=18),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 1, "server_tool_use": {"web_search_requests": 2}},
            Usage(prompt=9, completion=1, searches=2),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 1, "prompt_audio_seconds": 4},
            Usage(prompt=9, completion=1, audio_seconds=4),
        ),
    ],
)
def test_each_shape_of_a_usage_report_is_read(raw: dict[str, Any], usage: Usage) -> None:
    assert read(raw, PLAIN) == usage


@pytest.mark.parametrize("bad", [-1, "12", True, 3.5, 2**63, float("inf"), float("nan"), [], {}, None])
def test_what_is_not_a_count_is_taken_for_absent(bad: object) -> None:
    assert read({"prompt_tokens": bad, "completion_tokens": 5}, PLAIN) == Usage(completion=5)
    assert read({"prompt_tokens": bad, "completion_tokens": bad}, PLAIN) is None
    details = {"prompt_tokens": 3, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": bad}}
    assert read(details, PLAIN) == Usage(prompt=3, completion=5)


@pytest.mark.parametrize("raw", [None, {}, [], "usage", 7, {"total_tokens": 12}])
def test_a_report_that_counts_nothing_is_no_report(raw: object) -> None:
    assert read(raw, PLAIN) is None


def test_a_part_never_exceeds_its_whole() -> None:
    raw = {
        "prompt_tokens": 5,
        "completion_tokens": 2,
        "cached_tokens": 9,
        "cache_write_tokens": 9,
        "reasoning_tokens": 9,
    }
    assert read(raw, PLAIN) == Usage(prompt=5, completion=2, cached=5, reasoning=2)
    written = {"cache_write_tokens": 3, "cache_write_1h_tokens": 9}
    assert read({"prompt_tokens": 5, "prompt_tokens_details": written}, PLAIN) == Usage(
        prompt=5, cache_write=3, cache_write_1h=3
    )


def test_xai_leaves_reasoning_out_of_the_completion_and_it_is_added() -> None:
    reasoning = {"completion_tokens_details": {"reasoning_tokens": 340}}
    raw = {"prompt_tokens": 12, "completion_tokens": 2, "total_tokens": 354, **reasoning}
    assert read(raw, XAI) == Usage(prompt=12, completion=342, reasoning=340)


def test_xai_reasoning_is_not_added_where_the_total_says_that_it_is_in() -> None:
    reasoning = {"completion_tokens_details": {"reasoning_tokens": 340}}
    raw = {"prompt_tokens": 12, "completion_tokens": 342, "total_tokens": 354, **reasoning}
    assert read(raw, XAI) == Usage(prompt=12, completion=342, reasoning=340)


def test_xai_cached_tokens_above_the_prompt_were_left_out_of_it() -> None:
    cached = {"prompt_tokens_details": {"cached_tokens": 150}}
    raw = {"prompt_tokens": 12, "completion_tokens": 2, "total_tokens": 14, **cached}
    assert read(raw, XAI) == Usage(prompt=162, completion=2, cached=150)


def test_fireworks_counts_cached_tokens_in_a_header() -> None:
    fireworks = CATALOG.providers["fireworks"]
    raw = {"prompt_tokens": 100, "completion_tokens": 5}
    assert read(raw, fireworks, cached("64")) == Usage(prompt=100, completion=5, cached=64)
    for value in ("", "-1", "6 4", "٣", "9" * 5_000):
        assert read(raw, fireworks, cached(value)) == Usage(prompt=100, completion=5)


@pytest.mark.parametrize(
    ("provider", "raw", "picodollars"),
    [
        ("perplexity", {"cost": {"total_cost": 0.006}}, 6_000_000_000),
        ("xai", {"cost_in_usd_ticks": 37_756_000}, 3_775_600_000),
        ("deepinfra", {"estimated_cost": 1.5e-05}, 15_000_000),
        ("openrouter", {"cost": 0}, 0),
        ("openrouter", {"cost": -1}, None),
        ("openrouter", {"cost": "1"}, None),
        ("openrouter", {"cost": True}, None),
        ("openrouter", {"cost": float("nan")}, None),
        ("openrouter", {"cost": float("inf")}, None),
        ("openrouter", {"cost": 1e300}, None),
        ("openai", {"cost": 1}, None),
    ],
)
def test_what_a_provider_says_it_bills_is_read_exactly(provider: str, raw: object, picodollars: int | None) -> None:
    assert cost_in(raw, CATALOG.providers[provider].quirks.answer) == picodollars


@pytest.mark.parametrize(
    ("tier", "served"), [("priority", "priority"), (None, ""), (7, ""), ("x" * 41, ""), ({"a": 1}, "")]
)
def test_the_tier_that_was_served_is_told_with_the_counts(tier: object, served: str) -> None:
    report = report_of({"prompt_tokens": 1, "completion_tokens": 1}, PLAIN, tier=tier)
    assert report is not None
    assert report.tier == served


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = [
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "prompt_tokens_details",
    "completion_tokens_details",
    "prompt_cache_hit_tokens",
    "audio_tokens",
    "image_tokens",
    "cached_tokens_details",
    "citation_tokens",
    "num_search_queries",
    "server_tool_use",
    "cost",
    "cost_in_usd_ticks",
]
COUNTS = st.integers(-5, 500)
REPORTS = JSON | st.dictionaries(
    st.sampled_from(MEMBERS), JSON | COUNTS | st.dictionaries(st.sampled_from(MEMBERS), JSON | COUNTS)
)


@given(REPORTS, st.sampled_from([PLAIN, XAI, *CATALOG.providers.values()]))
def test_no_report_can_break_the_meter_or_count_a_token_twice(raw: object, provider: Provider) -> None:
    usage = read(raw, provider)
    if usage is not None:
        assert all(type(count) is int and count >= 0 for count in (usage.prompt, usage.completion))
        assert 0 <= usage.cached + usage.cache_write <= usage.prompt
        assert 0 <= usage.cache_write_1h <= usage.cache_write
        assert 0 <= usage.reasoning <= usage.completion
    cost = cost_in(raw, provider.quirks.answer)
    assert cost is None or (type(cost) is int and cost >= 0)


def test_the_last_report_stands_and_quirks_do_not_leak_between_providers() -> None:
    other = Provider(id="o", name="O", quirks=Quirks(answer=AnswerQuirks(usage_excludes_reasoning=True)))
    raw = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 6, "reasoning_tokens": 3}
    assert read(raw, other) == Usage(prompt=1, completion=5, reasoning=3)
    assert read(raw, PLAIN) == Usage(prompt=1, completion=2, reasoning=2)


@given(usages(media=True))
def test_counts_in_the_names_of_the_chat_api_are_read_back_as_they_were(usage: Usage) -> None:
    usage = msgspec.structs.replace(usage, citation=0, audio_seconds=0)  # which have no name there
    assert read_usage(chat_usage(usage)) == usage


@given(usages(media=True))
def test_media_leave_room_for_the_text_of_each_side(usage: Usage) -> None:
    fresh = usage.prompt - usage.cached - usage.cache_write
    cached, said = usage.cached, usage.completion - usage.reasoning - usage.citation
    for kind in MEDIA:
        read, kept, told = (getattr(usage, f"{side}_{kind}") for side in ("prompt", "cached", "completion"))
        assert 0 <= kept <= read
        fresh, cached, said = fresh - (read - kept), cached - kept, said - told
    assert min(fresh, cached, said) >= 0


@given(
    st.dictionaries(
        st.sampled_from(["prompt_tokens", "completion_tokens", "total_tokens", "cost"]), st.integers(-1, 99) | st.none()
    ),
    *[st.dictionaries(st.sampled_from(["cached_tokens", "reasoning_tokens", "audio_tokens"]), st.integers(-1, 99))] * 2,
)
def test_a_report_is_read_alike_whether_it_says_more_or_not(
    raw: dict[str, Any], prompt: dict[str, Any], completion: dict[str, Any]
) -> None:
    raw = {**raw, "prompt_tokens_details": prompt, "completion_tokens_details": completion}
    assert read_usage(raw) == read_usage({**raw, "queue_time": 0.5})
