"""The page's two lists of providers: each has a row, found by the name that the page uses, which keeps its promise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from infron.catalog.definitions import Provider
from infron.catalog.load import load_catalog
from infron.wires import PROVIDER_WIRES

CANCELS = [
    "OpenAI",
    "Azure",
    "Anthropic",
    "Fireworks",
    "Mancer",
    "Recursal",
    "AnyScale",
    "Lepton",
    "OctoAI",
    "Novita",
    "DeepInfra",
    "Together",
    "Cohere",
    "Hyperbolic",
    "Infermatic",
    "Avian",
    "XAI",
    "Cloudflare",
    "SFCompute",
    "Nineteen",
    "Liquid",
    "Friendli",
    "Chutes",
    "DeepSeek",
]
GOES_ON = [
    "AWS Bedrock",
    "Groq",
    "Modal",
    "Google",
    "Google AI Studio",
    "Minimax",
    "HuggingFace",
    "Replicate",
    "Perplexity",
    "Mistral",
    "AI21",
    "Featherless",
    "Lynn",
    "Lambda",
    "Reflection",
    "SambaNova",
    "Inflection",
    "ZeroOneAI",
    "AionLabs",
    "Alibaba",
    "Nebius",
    "Kluster",
    "Targon",
    "InferenceNet",
]
ROWS = load_catalog({}, {}, {}, wires=PROVIDER_WIRES)
PAGE = (Path(__file__).parents[2] / "docs/providers.md").read_text(encoding="utf-8")
# Where a provider's own word is another one than the page's, its row follows the provider, and its notes say so.
DEVIATES = {"Novita"}


def row_of(name: str) -> Provider:
    row = ROWS.find_provider(name)
    assert row is not None, name
    return row


def test_the_page_lists_forty_eight() -> None:
    assert len(CANCELS) == len(GOES_ON) == 24
    assert len({row_of(name).id for name in CANCELS + GOES_ON}) == 48


@pytest.mark.parametrize("name", CANCELS + GOES_ON)
def test_each_has_a_row_with_its_evidence(name: str) -> None:
    row = row_of(name)
    assert row.source
    assert row.wire in PROVIDER_WIRES
    for fact in (row.stops_work, row.stops_billing, row.reports_partial_usage):
        assert fact.value != "unknown"
        assert fact.source
        assert fact.date
    if row.status == "closed":
        assert row.since or "never had a public API" in row.notes
    else:
        assert row.base_url is not None
        assert row.base_url.startswith("https://")


@pytest.mark.parametrize("name", CANCELS)
def test_hanging_up_cancels_where_the_page_says_that_this_stops_the_bill(name: str) -> None:
    row = row_of(name)
    if name in DEVIATES:
        assert (row.on_disconnect, row.stops_billing.value) == ("drain", "no")
        assert "OpenRouter lists it as cancelling" in row.notes
    else:
        assert (row.on_disconnect, row.stops_work.value, row.stops_billing.value) == ("cancel", "yes", "yes")


@pytest.mark.parametrize("name", GOES_ON)
def test_nothing_is_lost_by_hanging_up_where_the_page_says_that_the_model_goes_on(name: str) -> None:
    row = row_of(name)
    if row.on_disconnect == "call":  # it has a request of its own for that
        assert row.stops_work.value == "yes"
    else:
        assert (row.on_disconnect, row.stops_billing.value) == ("drain", "no")


@pytest.mark.parametrize("name", CANCELS + GOES_ON)
def test_the_page_says_what_a_disconnect_does_there(name: str) -> None:
    row = row_of(name)
    table = PAGE.split("<!-- generated: disconnects -->")[1].split("<!-- end -->")[0]
    (line,) = re.findall(rf"^\| .* \| `{re.escape(row.id)}` \| .*$", table, re.MULTILINE)
    assert ("closed" if row.status == "closed" else f"| {row.on_disconnect} |") in line
