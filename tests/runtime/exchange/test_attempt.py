"""One attempt: its states, what a late byte of it can do, and what its failure leaves in the receipt."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from rawclient import ask, gateway, settled, within

from infron.runtime.exchange.attempt import CHANGES, AttemptState, Change
from infron.testing import DONE, FINISH, ROLE, USAGE, Answer, Call, Script, ScriptedProvider, Wait, text

NEVER = asyncio.Event
PRICE = {"*": {"prompt": "1", "completion": "10"}}
OVER = (AttemptState.COMPLETE, AttemptState.FAILED, AttemptState.CLOSING, AttemptState.CLOSED)


def test_attempt_states_that_are_over_never_go_back_to_work():
    for (before, change), after in CHANGES.items():
        if before in OVER:
            assert after in OVER, (before, change)


def test_attempt_states_all_lead_to_an_end():
    """From each of those that are not over an attempt can complete, fail and be given up."""
    for state in AttemptState:
        if state not in OVER:
            assert CHANGES[state, Change.COMPLETE] is AttemptState.COMPLETE
            assert CHANGES[state, Change.FAIL] is AttemptState.FAILED
            assert CHANGES[state, Change.GIVE_UP] is AttemptState.CLOSING
    assert CHANGES[AttemptState.CLOSING, Change.CLOSE] is AttemptState.CLOSED
    assert not any(before in (AttemptState.FAILED, AttemptState.CLOSED) for before, _ in CHANGES)


async def test_a_late_byte_of_an_attempt_that_was_given_up_changes_nothing() -> None:
    """Whatever its reader still gets: the answer is that of the attempt at hand."""
    async with (
        ScriptedProvider([Wait(NEVER())]) as first,
        ScriptedProvider([ROLE, text("Hello"), Wait(NEVER())]) as second,
        gateway(
            providers={"mock": first.definition(), "other": second.definition()}, timeouts={"first_token_seconds": 0.1}
        ) as running,
    ):
        client = await ask(running.port, models=["other/any"])
        await within(first.called())
        (exchange,) = running.context.registry.running()
        before: Any = exchange.attempts.current
        await (await client.head()).until(b"Hello")
        assert before is not exchange.attempts.current
        for data in (text("late"), FINISH, USAGE, DONE):
            before.data_received(data)
        before.request_failed(ConnectionError())
        before.response_ended()
        assert exchange.outcome is None
        client.close()
        found = await settled(running, client.id)
    assert client.words() == "Hello"
    assert (found["outcome"], found["provider_name"]) == ("cancelled", "other")


async def test_a_failed_attempt_is_told_with_its_times_and_with_what_it_may_cost() -> None:
    """It was a sentence; what a provider bills for a request that it was given up at was in no receipt."""
    calls: list[Call] = []

    def refuses(call: Call) -> Script:
        calls.append(call)
        return [Answer(503, (), b'{"error":{"message":"overloaded"}}')]

    async with (
        ScriptedProvider([Wait(NEVER())]) as slow,
        ScriptedProvider(refuses) as busy,
        ScriptedProvider([ROLE, text("Hello"), FINISH, USAGE, DONE]) as last,
        gateway(
            providers={
                "mock": slow.definition(prices=PRICE),
                "busy": busy.definition(prices=PRICE),
                "last": last.definition(prices=PRICE),
            },
            timeouts={"first_token_seconds": 0.2},
        ) as running,
    ):
        client = await (await ask(running.port, models=["busy/any", "last/any"])).head()
        await client.rest()
        found = await settled(running, client.id)
    waited, refused = found["attempts"]
    assert (waited["provider"], waited["provider_model"], waited["status"]) == ("mock", "any", 504)
    assert (waited["error_type"], refused["error_type"]) == ("timeout", "provider_overloaded")
    assert (refused["provider"], refused["status"]) == ("busy", 503)
    assert 0 <= waited["started_ms"] < 100
    assert 200 <= waited["ended_ms"] <= refused["started_ms"] <= refused["ended_ms"]
    assert waited["prompt_tokens"] > 0
    assert waited["cost"] == pytest.approx(waited["prompt_tokens"] / 1e6)
    assert (refused["prompt_tokens"], refused["cost"]) == (0, 0)
    assert (found["outcome"], found["provider_name"], found["tokens_completion"]) == ("completed", "last", 3)
