"""What is set aside for an answer: never less than it may be charged, and no more than it must be."""

from __future__ import annotations

import random

import pytest

from infron.catalog.definitions import Fact, Provider
from infron.conversation import Conversation, Media, Message, Reasoning, Text
from infron.money import Price, Usage
from infron.policy import holding
from infron.policy.holding import Hold, Wanted, affordable, bound, dearest, hides_thoughts, hold_of, is_watched
from infron.policy.prices import charge_of

PLAIN = Price(prompt=3, completion=15)
DEAR = Price(
    prompt=3, completion=15, cached=1, cache_write=4, reasoning=20, request=1000,
    tier_from=1000, tier=Price(prompt=6, completion=22, cache_write=8, reasoning=30),
)  # fmt: skip


@pytest.mark.parametrize("price", [PLAIN, DEAR], ids=["plain", "dear"])
def test_hold_covers_every_kind_of_token_that_an_answer_may_turn_out_to_have(price: Price):
    chance = random.Random(1)
    for _ in range(500):
        prompt, said = chance.randrange(1, 3000), chance.randrange(0, 3000)
        held = dearest(Wanted(prompt=prompt), said, price)
        prompt, said = chance.randrange(0, prompt + 1), chance.randrange(0, said + 1)
        cached = chance.randrange(0, prompt + 1)
        usage = Usage(
            prompt=prompt,
            completion=said,
            cached=cached,
            cache_write=chance.randrange(0, prompt - cached + 1),
            reasoning=chance.randrange(0, said + 1),
        )
        charge = charge_of(usage, price)
        assert charge is not None
        assert charge.total <= held


@pytest.mark.parametrize("price", [PLAIN, DEAR], ids=["plain", "dear"])
@pytest.mark.parametrize("choices", [1, 3])
def test_affordable_is_the_last_number_that_is_within_the_hold(price: Price, choices: int):
    wanted = Wanted(prompt=1200, choices=choices)
    for hold in (0, 3_599, 3_600, 100_000, 123_457):
        tokens = affordable(wanted, hold, 2000, price)
        assert tokens == 0 or dearest(wanted, tokens, price) <= hold
        assert tokens == 2000 or dearest(wanted, tokens + 1, price) > hold
    assert affordable(wanted, 10**9, 2000, price) == 2000


def test_hold_of_an_answer_without_a_price_or_a_cost_is_nothing():
    wanted = Wanted(prompt=10)
    assert hold_of(wanted, None, most_output=None, completes=True, watched=False) == Hold()
    free = hold_of(wanted, Price(prompt=0, completion=0), most_output=None, completes=True, watched=False)
    assert (free.least, free.most) == (0, 0)


@pytest.mark.parametrize(
    ("said", "of_model", "tokens"),
    [(None, None, 8192), (None, 500, 500), (70, 500, 70), (9000, 500, 500), (9000, None, 9000)],
)
def test_hold_is_of_what_is_asked_else_of_what_the_model_can_say(said: int | None, of_model: int | None, tokens: int):
    held = hold_of(Wanted(prompt=10, most=said), PLAIN, most_output=of_model, completes=True, watched=False)
    assert held == Hold(least=30 + min(256, tokens) * 15, most=30 + tokens * 15, tokens=tokens)


def test_embeddings_hold_their_prompt():
    held = hold_of(Wanted(prompt=10), PLAIN, most_output=None, completes=False, watched=False)
    assert held == Hold(least=30, most=30)


def test_bound_is_exact_for_openai_and_wide_for_others():
    assert bound(100, 50, "gpt") == 100
    assert bound(100, 0, "claude") == 130
    assert bound(100, 200, "claude") == 250


@pytest.mark.parametrize(
    ("leaving", "stops", "streamed", "hidden", "watched"),
    [
        ("cancel", "yes", True, False, True),
        ("cancel", "yes", True, True, False),
        ("cancel", "yes", False, False, False),
        ("cancel", "unknown", True, False, False),
        ("call", "unknown", True, False, True),
        ("drain", "yes", True, False, False),
    ],
)
def test_answer_is_watched_where_stopping_it_stops_its_bill(
    leaving: str, stops: str, streamed: bool, hidden: bool, watched: bool
):
    provider = Provider(id="p", name="P", on_disconnect=leaving, stops_billing=Fact(value=stops))  # type: ignore[arg-type]
    assert is_watched(provider, streamed=streamed, hidden=hidden) == watched


@pytest.mark.parametrize(
    ("model", "hidden"),
    [
        ("o3-mini", True), ("openai/o1", True), ("gpt-5", True), ("gpt-5-nano-2025-08-07", True),
        ("gpt-5-chat-latest", False), ("gpt-4o", False), ("gpt-4.1-mini", False), ("grok-4", True),
        ("grok-3-mini-non-reasoning", False), ("gemini-2.5-pro", True), ("gemini-2.0-flash", False),
        ("claude-sonnet-4-5", False), ("deepseek-reasoner", False), ("llama-3.3-70b", False), ("foo1", False),
    ],
)  # fmt: skip
def test_models_that_hide_what_they_think_are_known_by_their_names(model: str, hidden: bool):
    assert hides_thoughts(model, None) == hidden


def test_claude_hides_what_it_thinks_where_it_is_asked_to():
    messages = (Message("user", (Text("Hi"),)),)
    assert hides_thoughts("any", Conversation(messages=messages, reasoning=Reasoning(exclude=True)))
    asked = Conversation(messages=messages, reasoning=Reasoning(max_tokens=2000))
    assert hides_thoughts("claude-sonnet-4-5", asked)
    assert not hides_thoughts("claude-sonnet-4-5", Conversation(messages=messages))


def test_media_count_as_much_as_any_may():
    message = Message("user", (Text("What is it?"), Media(kind="image", url="https://example.com"),
                               Media(kind="audio", data="A" * 4_000_000)))  # fmt: skip
    assert holding.media_tokens((message,), 3000) == 3000 + 6000
