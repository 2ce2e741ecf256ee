"""While our own reader keeps the provider waiting no clock of its answer runs; then each goes on with what was left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from rawclient import ask, settled, true

from infron.policy.deadlines import USAGE_WAIT_SECONDS
from infron.runtime.exchange.exchange import Exchange
from infron.testing import DONE, FINISH, ROLE, USAGE, ScriptedProvider, Wait, gateway, text

SECONDS = USAGE_WAIT_SECONDS  # of each clock
CLOCKS = {
    "first_token_seconds": (SECONDS, [ROLE], lambda x: x.attempts.current.started),
    "stall_seconds": (SECONDS, [ROLE, text("Hi")], lambda x: x.attempts.current.last_frame),
    "usage": (SECONDS, [ROLE, text("Hi"), FINISH], lambda x: x.attempts.current.finished_at),
    "first_seconds": (SECONDS, [ROLE, text("Hi")], lambda x: x.delivery.last_write),
}


def _transport_is_full(exchange: Exchange) -> None:
    exchange.delivery.responder._connection.pause_writing()


def _transport_has_room(exchange: Exchange) -> None:
    exchange.delivery.responder._connection.resume_writing()


@pytest.mark.parametrize("clock", CLOCKS)
async def test_clock_stands_still_while_the_reader_takes_nothing_and_goes_on_with_what_was_left(clock: str) -> None:
    """The time of the pause was taken off what the provider had left, or off the silence before the next comment."""
    seconds, begins, since = CLOCKS[clock]
    timeouts = {clock: seconds} if clock in ("first_token_seconds", "stall_seconds") else {}
    keepalive = {"first_seconds": seconds if clock == "first_seconds" else 0}
    never = asyncio.Event()
    async with (
        ScriptedProvider([*begins, Wait(never)]) as provider,
        gateway(
            providers={"mock": provider.definition()},
            timeouts={"client_stall_seconds": 12, "first_token_seconds": 60, "stall_seconds": 60, **timeouts},
            keepalive=keepalive,
        ) as running,
    ):
        loop = asyncio.get_running_loop()
        client = await ask(running.port)
        await provider.called()
        (exchange,) = running.context.registry.running()
        reached: Callable[[], object] = {
            "first_token_seconds": lambda: exchange.attempts.current.last_frame > exchange.attempts.current.started,
            "usage": lambda: exchange.attempts.current.finished_at,
        }.get(clock, lambda: exchange.delivery.last_write > exchange._started)
        await true(reached)
        left = since(exchange) + seconds - loop.time()
        _transport_is_full(exchange)
        await asyncio.sleep(seconds + 1.5)
        assert exchange.outcome is None
        assert exchange.delivery.comments == 0
        _transport_has_room(exchange)
        resumed = loop.time()
        await true(lambda: exchange.outcome is not None or exchange.delivery.comments)
        assert loop.time() - resumed >= left - 0.1
        never.set()
        client.close()
        await asyncio.wait_for(running.context.registry.idle.wait(), 10)


async def test_report_that_comes_after_a_pause_is_waited_for() -> None:
    """An answer that had finished as the pause began was billed by estimate at its end."""
    paused = asyncio.Event()
    async with (
        ScriptedProvider([ROLE, text("Hi"), FINISH, Wait(paused), USAGE, DONE]) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
    ):
        client = await ask(running.port)
        await provider.called()
        (exchange,) = running.context.registry.running()
        await true(lambda: exchange.attempts.current.finished_at)
        _transport_is_full(exchange)
        await asyncio.sleep(SECONDS + 1.5)
        _transport_has_room(exchange)
        paused.set()
        await client.head()
        await client.rest()
        found = await settled(running, client.id)
        client.close()
    assert (found["tokens_prompt"], found["estimated"]) == (7, False)
