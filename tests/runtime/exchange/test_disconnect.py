"""What happens when the client leaves: at once, at any moment, by any means; or when it may not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from rawclient import COMMENT, Client, ask, entries, gateway, settled, true, within

from infron.runtime.exchange.attempt import AttemptState
from infron.testing import DONE, FINISH, ROLE, USAGE, Answer, ScriptedProvider, Wait, text

NEVER = asyncio.Event
CLOSED_WITHIN = 1.0
QUICK = {"first_seconds": 0.1, "every_seconds": 0.1}
LEAVE: list[Callable[[Client], None]] = [Client.close, Client.half_close, Client.reset]


def assert_cancelled(found: dict, tokens: bool) -> None:
    assert found["outcome"] == "cancelled"
    assert found["cancelled"] is True
    assert found["tokens_prompt"] > 0
    assert (found["tokens_completion"] > 0) is tokens
    assert found["estimated"] is True
    assert 0 <= found["upstream_closed_ms"] < CLOSED_WITHIN * 1000
    assert found["on_disconnect"].startswith("cancel: ")


@pytest.mark.parametrize("leave", LEAVE)
async def test_a_client_that_leaves_before_the_head_closes_the_upstream(leave: Callable[[Client], None]) -> None:
    async with (
        ScriptedProvider([Wait(NEVER())]) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
    ):
        client = await ask(running.port)
        call = await within(provider.called())
        leave(client)
        await within(call.closed.wait(), CLOSED_WITHIN)
        assert_cancelled(await settled(running), tokens=False)


@pytest.mark.parametrize("leave", LEAVE)
async def test_a_client_that_leaves_while_comments_flow_closes_the_upstream(leave: Callable[[Client], None]) -> None:
    script = [Answer(), ROLE, Wait(NEVER())]
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition()}, keepalive=QUICK) as running,
    ):
        client = await (await ask(running.port)).head()
        assert await client.until(COMMENT) == COMMENT
        leave(client)
        await within((await provider.called()).closed.wait(), CLOSED_WITHIN)
        assert_cancelled(await settled(running, client.id), tokens=False)


@pytest.mark.parametrize("leave", LEAVE)
async def test_a_client_that_leaves_in_mid_text_closes_the_upstream(leave: Callable[[Client], None]) -> None:
    script = [ROLE, text("Once upon a time"), Wait(NEVER())]
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        client = await (await ask(running.port)).head()
        await client.until(b"upon")
        leave(client)
        await within((await provider.called()).closed.wait(), CLOSED_WITHIN)
        assert_cancelled(await settled(running, client.id), tokens=True)


@pytest.mark.parametrize("leave", [Client.close, Client.reset])
async def test_a_client_that_leaves_without_having_read_closes_the_upstream(leave: Callable[[Client], None]) -> None:
    """A write that blocks hears nothing of the reader; the hang-up has to be noticed all the same."""
    script = [text("x" * 60_000)] * 2_000
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        client = await (await ask(running.port, buffer=4096)).head()
        call = await provider.called()
        (exchange,) = running.context.registry.running()
        await true(lambda: exchange.pace.paused_at)
        leave(client)
        await within(call.closed.wait(), CLOSED_WITHIN)
        assert_cancelled(await settled(running, client.id), tokens=True)


async def test_a_client_that_leaves_after_the_end_leaves_a_completed_exchange() -> None:
    script = [text("Hello"), FINISH, USAGE, DONE]
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        client = await (await ask(running.port)).head()
        await client.until(b"[DONE]")
        client.reset()
        found = await settled(running, client.id)
    assert (found["outcome"], found["cancelled"], found["estimated"]) == ("completed", False, False)
    assert (found["tokens_prompt"], found["tokens_completion"]) == (7, 3)
    assert found["upstream_closed_ms"] is None


async def test_a_client_that_leaves_while_a_complete_answer_is_counted_pays_for_all_of_it() -> None:
    counter_is_free = threading.Event()
    async with (
        ScriptedProvider([text("Hello"), FINISH, DONE]) as provider,
        gateway(providers={"mock": provider.definition(on_disconnect="cancel")}) as running,
    ):
        running.context.counter._threads.submit(counter_is_free.wait)
        client = await (await ask(running.port)).head()
        await client.until(b"Hello")
        (exchange,) = running.context.registry.running()
        await true(lambda: exchange.attempts.current.state is AttemptState.COMPLETE)
        client.close()
        await true(lambda: exchange.departure.at)
        counter_is_free.set()
        found = await settled(running, client.id)
    assert (found["outcome"], found["estimated"], found["finish_reason"]) == ("drained", True, "stop")
    assert found["tokens_completion"] > 0
    assert found["on_disconnect"] == "drain: the answer was complete already"


# ---- draining


@pytest.mark.parametrize(
    ("row", "headers", "why"),
    [
        ({"on_disconnect": "drain"}, (), "goes on when the connection closes"),
        ({"on_disconnect": "cancel"}, ("x-infron-on-disconnect: drain",), "asked for by the caller"),
        ({"on_disconnect": "drain"}, ("x-infron-on-disconnect: cancel",), "does not stop the bill"),
    ],
)
async def test_a_drained_answer_is_read_to_its_end_and_billed_in_full(
    row: dict, headers: tuple[str, ...], why: str
) -> None:
    go_on = asyncio.Event()
    script = [text("Hello"), Wait(go_on), text(" world"), FINISH, USAGE, DONE]
    prices = {"*": {"prompt": "1", "completion": "10"}}
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition(prices=prices, **row)}) as running,
    ):
        client = await (await ask(running.port, *headers)).head()
        await client.until(b"Hello")
        call = await provider.called()
        (exchange,) = running.context.registry.running()
        client.close()
        await true(lambda: exchange.departure.at)
        go_on.set()
        await within(call.finished.wait())
        found = await settled(running, client.id)
    assert (found["outcome"], found["cancelled"], found["estimated"]) == ("drained", False, False)
    assert (found["tokens_prompt"], found["tokens_completion"]) == (7, 3)
    assert found["total_cost"] == pytest.approx(37e-6)
    assert why in found["on_disconnect"]
    assert found["on_disconnect"].startswith("drain: ")


async def test_cancel_is_honoured_on_a_draining_row_where_the_operator_allows_it() -> None:
    async with (
        ScriptedProvider([text("Hello"), Wait(NEVER())]) as provider,
        gateway(
            providers={"mock": provider.definition(on_disconnect="drain")}, billing={"allow_cancel_override": True}
        ) as running,
    ):
        client = await (await ask(running.port, "x-infron-on-disconnect: cancel")).head()
        await client.until(b"Hello")
        client.close()
        await within((await provider.called()).closed.wait(), CLOSED_WITHIN)
        found = await settled(running, client.id)
    assert_cancelled(found, tokens=True)
    assert "allowed by the operator" in found["on_disconnect"]


async def test_an_unknown_wish_for_leaving_is_refused() -> None:
    async with ScriptedProvider([DONE]) as provider, gateway(providers={"mock": provider.definition()}) as running:
        client = await (await ask(running.port, "x-infron-on-disconnect: explode")).head()
        assert client.status == 400
        assert "X-Infron-On-Disconnect" in (await client.error())["message"]
        assert await entries(running) == []
        assert provider.calls == []


async def test_a_request_that_is_not_streamed_is_drained_when_its_client_leaves() -> None:
    go_on = asyncio.Event()
    script = [text("Hello"), Wait(go_on), text(" world"), FINISH, USAGE, DONE]
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        client = await ask(running.port, stream=False)
        call = await within(provider.called())
        (exchange,) = running.context.registry.running()
        client.close()
        await true(lambda: exchange.departure.at)
        go_on.set()
        await within(call.finished.wait())
        found = await settled(running)
    assert (found["outcome"], found["tokens_completion"]) == ("drained", 3)
    assert "not streamed" in found["on_disconnect"]


async def test_a_drain_that_takes_too_long_is_cut_short() -> None:
    async with (
        ScriptedProvider([text("Hello"), Wait(NEVER())]) as provider,
        gateway(providers={"mock": provider.definition(on_disconnect="drain")}, drain={"seconds": 0.1}) as running,
    ):
        client = await (await ask(running.port)).head()
        await client.until(b"Hello")
        client.close()
        await within((await provider.called()).closed.wait(), CLOSED_WITHIN)
        found = await settled(running, client.id)
    assert (found["outcome"], found["estimated"]) == ("cancelled", True)
    assert found["on_disconnect"].endswith("cut short after 0.1 s")


async def test_no_more_answers_are_drained_at_once_than_allowed() -> None:
    async with (
        ScriptedProvider([text("Hello"), Wait(NEVER())]) as provider,
        gateway(providers={"mock": provider.definition(on_disconnect="drain")}, drain={"max_concurrent": 1}) as running,
    ):
        first = await (await ask(running.port)).head()
        second = await (await ask(running.port)).head()
        await first.until(b"Hello")
        await second.until(b"Hello")
        by_id = {exchange.id: exchange for exchange in running.context.registry.running()}
        first.close()
        await true(lambda: by_id[first.id].departure.at)
        second.close()
        await true(lambda: by_id[second.id] not in running.context.registry.running())
        assert "too many answers" in (by_id[second.id].departure.said or "")
        assert by_id[second.id].outcome == "cancelled"
        assert by_id[first.id] in running.context.registry.running()


async def test_a_cap_of_zero_drains_nothing() -> None:
    async with (
        ScriptedProvider([text("Hello"), Wait(NEVER())]) as provider,
        gateway(providers={"mock": provider.definition(on_disconnect="drain")}, drain={"max_concurrent": 0}) as running,
    ):
        client = await (await ask(running.port)).head()
        await client.until(b"Hello")
        client.close()
        await within((await provider.called()).closed.wait(), CLOSED_WITHIN)
        found = await settled(running, client.id)
    assert found["outcome"] == "cancelled"
    assert "too many answers" in found["on_disconnect"]


async def test_a_key_with_too_many_drains_gets_429_at_providers_that_drain() -> None:
    async with (
        ScriptedProvider([text("Hello"), Wait(NEVER())]) as provider,
        gateway(
            providers={
                "mock": provider.definition(on_disconnect="drain"),
                "other": provider.definition(on_disconnect="cancel"),
            },
            drain={"max_per_key": 1},
        ) as running,
    ):
        client = await (await ask(running.port)).head()
        await client.until(b"Hello")
        (exchange,) = running.context.registry.running()
        client.close()
        await true(lambda: exchange.departure.at)
        refused = await (await ask(running.port)).head()
        assert refused.status == 429
        assert "retry-after" in refused.headers
        welcome = await (await ask(running.port, model="other/any")).head()
        assert welcome.status == 200
        assert len(provider.calls) == 2
