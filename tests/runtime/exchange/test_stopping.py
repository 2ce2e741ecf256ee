"""A generation is stopped by its id: in whatever state it is, from any process, by its caller alone."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from rawclient import COMMENT, Client, ask, gateway, locked, receipt, send, settled, true, within

from infron.policy.stop import BY_ID, Stop
from infron.runtime.exchange.attempt import AttemptState
from infron.runtime.ledger.administration import create_key
from infron.testing import DONE, FINISH, ROLE, USAGE, Answer, RunningGateway, ScriptedProvider, Wait, text

NEVER = asyncio.Event
QUICK = {"first_seconds": 0.1, "every_seconds": 0.1}
PRICES = {"*": {"prompt": "1", "completion": "10"}}  # USD per million tokens


async def cancel(port: int, id: str, *headers: str) -> tuple[int, Any]:
    client = await (await send(port, "POST", f"/v1/generations/{id}/cancel", b"", *headers)).head()
    await client.rest()
    client.close()
    return client.status, json.loads(client.received)


async def exchange_of(running: RunningGateway) -> Any:
    await true(lambda: len(running.context.registry) == 1)
    (exchange,) = running.context.registry.running()
    return exchange


def assert_told(client: Client) -> None:
    """The error in the stream, by itself, and the end."""
    *_, error, done = client.frames()
    assert done == "[DONE]"
    assert "choices" not in error
    assert error["error"]["code"] == "cancelled"
    assert error["error"]["metadata"]["status"] == 499


async def test_cancel_in_mid_text_ends_the_stream_and_closes_the_upstream() -> None:
    async with (
        ScriptedProvider([ROLE, text("Once upon a time"), Wait(NEVER())]) as provider,
        gateway(providers={"mock": provider.definition(prices=PRICES)}) as running,
    ):
        client = await (await ask(running.port)).head()
        await client.until(b"upon")
        status, told = await cancel(running.port, client.id)
        assert (status, told["data"]["id"]) == (202, client.id)
        await client.rest()
        assert client.words() == "Once upon a time"
        assert_told(client)
        await within((await provider.called()).closed.wait(), 5)
        found = await settled(running, client.id)
        assert (found["outcome"], found["cancelled"], found["estimated"]) == ("cancelled", True, True)
        assert found["on_disconnect"] == "stopped by its caller; cancel: closing the connection stops mock"
        assert found["error"]["type"] == "cancelled"
        assert found["tokens_prompt"] > 0 < found["tokens_completion"]
        assert found["usage"] == found["provider_cost"] > 0
        assert await cancel(running.port, client.id) == (200, {"data": found})


async def test_cancel_before_the_head_is_answered_with_499() -> None:
    async with (
        ScriptedProvider([Wait(NEVER())]) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
    ):
        client = await ask(running.port)
        call = await within(provider.called())
        exchange = await exchange_of(running)
        assert (await cancel(running.port, exchange.id))[0] == 202
        assert (await client.head()).status == 499
        error = await client.error()
        assert (error["code"], client.headers["x-should-retry"]) == ("cancelled", "false")
        assert client.id == exchange.id
        await within(call.closed.wait(), 5)
        assert (await settled(running, client.id))["outcome"] == "cancelled"


async def test_cancel_while_comments_flow_is_told_in_the_stream() -> None:
    async with (
        ScriptedProvider([Answer(), ROLE, Wait(NEVER())]) as provider,
        gateway(providers={"mock": provider.definition()}, keepalive=QUICK) as running,
    ):
        client = await (await ask(running.port)).head()
        await client.until(COMMENT)
        assert (await cancel(running.port, client.id))[0] == 202
        await client.rest()
        assert len(client.frames()) == 2
        assert_told(client)
        await within((await provider.called()).closed.wait(), 5)
        assert (await settled(running, client.id))["outcome"] == "cancelled"


async def test_cancel_of_content_that_waits_for_the_ledger_tells_none_of_it(tmp_path: Path) -> None:
    ledger = tmp_path / "infron.db"
    async with (
        ScriptedProvider([ROLE, text("Hello"), Wait(NEVER())]) as provider,
        gateway(providers={"mock": provider.definition()}, ledger={"url": f"sqlite:///{ledger}"}) as running,
    ):
        with locked(ledger):
            client = await ask(running.port)
            exchange = await exchange_of(running)
            await true(lambda: exchange.state.held)
            assert await cancel(running.port, exchange.id) == (202, {"data": {"id": exchange.id, "outcome": None}})
            assert (await client.head()).status == 499
            assert b"Hello" not in await client.rest()
            await within((await provider.called()).closed.wait(), 5)
        await true(lambda: running.context.ledger.counts.settled)
        found = await settled(running, client.id)
        assert (found["outcome"], found["error"]["type"]) == ("cancelled", "cancelled")


@pytest.mark.parametrize("streamed", [True, False])
async def test_cancel_where_the_provider_goes_on_tells_the_reader_and_bills_in_full(streamed: bool) -> None:
    hold = asyncio.Event()
    script = [ROLE, text("Hello"), Wait(hold), text(" world"), FINISH, USAGE, DONE]
    row = {"prices": PRICES, "on_disconnect": "drain" if streamed else "cancel"}
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition(**row)}) as running,
    ):
        client = await ask(running.port, stream=streamed)
        exchange = await exchange_of(running)
        if streamed:
            await client.head()
            await client.until(b"Hello")  # which waits for the ledger; before it a stop is an answer with a status
        else:
            await true(lambda: exchange.attempts.current.meter.text)
        for _ in range(2):
            status, told = await cancel(running.port, exchange.id)
            assert (status, told["data"]["outcome"]) == (202, None)
        if not streamed:
            await client.head()
        await client.rest()
        if streamed:
            assert client.words() == "Hello"
            assert_told(client)
        else:
            assert (client.status, json.loads(client.received)["error"]["code"]) == (499, "cancelled")
        assert not (await provider.called()).closed.is_set()
        hold.set()
        found = await settled(running, exchange.id)
        why = "mock goes on when the connection closes" if streamed else "the request was not streamed"
        assert found["on_disconnect"] == f"stopped by its caller; drain: {why}"
        assert (found["outcome"], found["estimated"], found["error"]) == ("drained", False, None)
        assert found["usage"] == pytest.approx(7e-6 + 3 * 10e-6)
        assert await cancel(running.port, exchange.id) == (200, {"data": found})


async def test_cancel_at_the_second_candidate_tries_no_third() -> None:
    async with (
        ScriptedProvider([Answer(503, body=b"{}")]) as broken,
        ScriptedProvider([Wait(NEVER())]) as slow,
        ScriptedProvider([text("Hello"), FINISH, USAGE, DONE]) as third,
        gateway(providers={"a": broken.definition(), "b": slow.definition(), "c": third.definition()}) as running,
    ):
        client = await ask(running.port, model="a/x", models=["b/x", "c/x"])
        call = await within(slow.called())
        exchange = await exchange_of(running)
        assert (await cancel(running.port, exchange.id))[0] == 202
        assert (await client.head()).status == 499
        await within(call.closed.wait(), 5)
        found = await settled(running, exchange.id)
        assert (found["outcome"], found["provider_name"], len(found["attempts"])) == ("cancelled", "b", 1)
        assert third.calls == []


async def test_cancel_of_a_drain_that_its_caller_asked_for_ends_it() -> None:
    async with (
        ScriptedProvider([ROLE, text("Hello"), Wait(NEVER())]) as provider,
        gateway(providers={"mock": provider.definition(on_disconnect="cancel")}) as running,
    ):
        client = await (await ask(running.port, "x-infron-on-disconnect: drain")).head()
        await client.until(b"Hello")
        exchange = await exchange_of(running)
        client.close()
        await true(lambda: exchange.departure.at)
        assert not (await provider.called()).closed.is_set()
        assert (await cancel(running.port, exchange.id))[0] == 202
        await within((await provider.called()).closed.wait(), 5)
        found = await settled(running, exchange.id)
        assert found["outcome"] == "cancelled"
        assert found["on_disconnect"] == (
            "drain: asked for by the caller; then stopped by its caller; cancel: closing the connection stops mock"
        )


async def test_cancel_while_the_reader_takes_nothing_closes_the_upstream() -> None:
    async with (
        ScriptedProvider([text("x" * 60_000)] * 2_000) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
    ):
        client = await (await ask(running.port, buffer=4096)).head()
        exchange = await exchange_of(running)
        await true(lambda: exchange.pace.paused_at)
        assert (await cancel(running.port, client.id))[0] == 202
        await within((await provider.called()).closed.wait(), 5)
        await client.rest()
        assert_told(client)
        assert (await settled(running, client.id))["outcome"] == "cancelled"


async def test_cancel_of_an_answer_that_is_complete_leaves_it_whole() -> None:
    counter_is_free = threading.Event()
    async with (
        ScriptedProvider([text("Hello"), FINISH, DONE]) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
    ):
        running.context.counter._threads.submit(counter_is_free.wait)
        client = await (await ask(running.port)).head()
        exchange = await exchange_of(running)
        await true(lambda: exchange.attempts.current.state is AttemptState.COMPLETE)
        assert (await cancel(running.port, client.id))[0] == 202
        counter_is_free.set()
        await client.rest()
        assert (client.words(), client.frames()[-1]) == ("Hello", "[DONE]")
        assert (await settled(running, client.id))["outcome"] == "completed"


async def test_cancel_is_its_owner_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    mine, other = (f"authorization: Bearer {create_key(url, name)[1]}" for name in ("mine", "other"))
    hold = asyncio.Event()
    async with (
        ScriptedProvider([ROLE, text("Hello"), Wait(hold), FINISH, USAGE, DONE]) as provider,
        gateway(providers={"mock": provider.definition()}, ledger={"url": url}) as running,
        gateway(providers={"mock": provider.definition()}, ledger={"url": url}) as sibling,
    ):
        client = await (await ask(running.port, mine)).head()
        await client.until(b"Hello")
        for port in (running.port, sibling.port):
            for id in (client.id, "gen-1-none"):
                status, told = await cancel(port, id, other)
                assert (status, told["error"]["code"]) == (404, "not_found")
                assert told["error"]["message"] == "There is no generation with this id, or it is not yours."
        assert (await cancel(running.port, client.id))[0] == 401
        hold.set()
        await client.rest()
        await within(running.context.registry.idle.wait())
        assert client.words() == "Hello"


@pytest.mark.parametrize("stop", BY_ID)
async def test_stop_that_another_process_asks_for_comes_at_the_next_look(tmp_path: Path, stop: Stop) -> None:
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    async with (
        ScriptedProvider([ROLE, text("Hello"), Wait(NEVER())]) as provider,
        gateway(providers={"mock": provider.definition()}, ledger={"url": url}) as running,
        gateway(providers={"mock": provider.definition()}, ledger={"url": url}) as sibling,
    ):
        client = await (await ask(running.port)).head()
        await client.until(b"Hello")
        if stop is Stop.CALLER:
            status, told = await cancel(sibling.port, client.id)
            assert (status, told["data"]["outcome"]) == (202, None)
        else:
            assert await sibling.context.ledger.mark_stop(client.id, None, stop)
        await client.rest()
        error = client.frames()[-2]["error"]
        assert error["code"] == ("invalid_api_key" if stop is Stop.REVOKED else "cancelled")
        found = await settled(running, client.id)
        assert found["on_disconnect"].startswith("stopped")
        assert (await cancel(sibling.port, client.id))[0] == 200
        assert await receipt(sibling.port, client.id) == found


async def test_cancel_of_a_response_is_told_in_the_form_of_its_api() -> None:
    hold = asyncio.Event()
    async with (
        ScriptedProvider([ROLE, text("Hello"), Wait(hold), FINISH, USAGE, DONE]) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
    ):
        clients = [await (await ask(running.port, path="/v1/responses", input="Hi")).head() for _ in range(2)]
        for client in clients:
            await client.until(b"Hello")
        stopped, finished = clients
        answer = await (await send(running.port, "POST", f"/v1/responses/{stopped.id}/cancel")).head()
        told = json.loads(await answer.rest())
        assert (answer.status, told["id"], told["object"], told["status"]) == (200, stopped.id, "response", "cancelled")
        await stopped.rest()
        assert b"event: response.failed" in stopped.received
        hold.set()
        await finished.rest()
        await within(running.context.registry.idle.wait())
        answer = await (await send(running.port, "POST", f"/v1/responses/{finished.id}/cancel")).head()
        told = json.loads(await answer.rest())
        assert (answer.status, told["id"], told["status"]) == (200, finished.id, "completed")
        answer = await (await send(running.port, "POST", "/v1/responses/gen-none/cancel")).head()
        assert (answer.status, (await answer.error())["code"]) == (404, "not_found")
