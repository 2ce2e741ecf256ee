"""What is metered, shown and recorded of an exchange: usage wherever it comes, once, and the ledger's row first."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rawclient import Client, ask, deaf_host, entries, gateway, get, locked, receipt, settled, true, within

from infron.policy.lifecycle import Input
from infron.testing import DONE, FINISH, ROLE, USAGE, Answer, Pause, Script, ScriptedProvider, Wait, frame, text

NEVER = asyncio.Event
COUNTS = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
PRICES = {"*": {"prompt": "1", "completion": "10"}}


def last_with_usage(content: str, counts: dict[str, int], finish_reason: str | None = None) -> bytes:
    return frame(choices=[{"index": 0, "delta": {"content": content}, "finish_reason": finish_reason}], usage=counts)


def running_count(completion: int) -> dict[str, int]:
    return {"prompt_tokens": 7, "completion_tokens": completion, "total_tokens": 7 + completion}


PLACES: dict[str, Script] = {
    "a frame of its own": [ROLE, text("One two three"), FINISH, USAGE, DONE],
    "the finish frame": [ROLE, text("One two three"), last_with_usage("", COUNTS, "stop"), DONE],
    "the last content frame": [ROLE, text("One two "), last_with_usage("three", COUNTS), FINISH, DONE],
    "every frame, cumulative": [
        last_with_usage("One ", running_count(1)),
        last_with_usage("two ", running_count(2)),
        last_with_usage("three", running_count(3)),
        last_with_usage("", running_count(3), "stop"),
        DONE,
    ],
    "null until the end": [frame(choices=[], usage=None), text("One two three"), FINISH, USAGE, DONE],
    "twice, the last one wins": [text("One two three"), FINISH, frame(choices=[], usage=running_count(1)), USAGE, DONE],
}


def usages(client: Client) -> list[dict[str, Any]]:
    return [one["usage"] for one in client.frames()[:-1] if one.get("usage")]


@pytest.mark.parametrize("script", PLACES.values(), ids=PLACES)
async def test_usage_is_metered_wherever_it_comes_and_shown_once_and_last(script: Script) -> None:
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition(prices=PRICES)}) as running,
    ):
        client = await (await ask(running.port, stream_options={"include_usage": True})).head()
        await client.rest()
        found = await settled(running, client.id)
    (usage,) = usages(client)
    last = client.frames()[-2]
    assert last["usage"] == usage
    assert last["choices"] == []
    assert {name: usage[name] for name in COUNTS} == COUNTS
    assert "estimated" not in usage
    assert usage["cost"] == last["cost"] == pytest.approx(37e-6)
    assert last["cost_details"]["prompt_cost"] == pytest.approx(7e-6)
    assert last["cost_details"]["completion_cost"] == pytest.approx(30e-6)
    assert client.words() == "One two three"
    assert (found["tokens_prompt"], found["tokens_completion"], found["estimated"]) == (7, 3, False)
    assert found["total_cost"] == pytest.approx(37e-6)


@pytest.mark.parametrize("script", PLACES.values(), ids=PLACES)
async def test_usage_that_nobody_asked_for_comes_with_a_choice_that_says_nothing(script: Script) -> None:
    # Ten client libraries never ask, and show no counts; loops without care read the choice of every frame.
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition(prices=PRICES)}) as running,
    ):
        client = await (await ask(running.port)).head()
        await client.rest()
    (usage,) = usages(client)
    last = client.frames()[-2]
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": None}]
    assert {name: usage[name] for name in COUNTS} == COUNTS
    assert (last["usage"], last["cost"]) == (usage, pytest.approx(37e-6))


@pytest.mark.parametrize("script", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize(
    ("setting", "fields"),
    [
        ("always", {"stream_options": {"include_usage": False}}),
        ("always", {"usage": {"include": False}}),
        ("asked", {}),
        ("asked", {"stream_options": {"include_obfuscation": False}}),
    ],
)
async def test_usage_that_is_declined_is_metered_all_the_same(
    script: Script, setting: str, fields: dict[str, Any]
) -> None:
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition()}, chat={"usage": setting}) as running,
    ):
        client = await (await ask(running.port, **fields)).head()
        await client.rest()
        found = await settled(running, client.id)
        assert provider.calls[0].json["stream_options"]["include_usage"] is True
    assert usages(client) == []
    assert not any("usage" in one for one in client.frames())
    assert (found["tokens_prompt"], found["tokens_completion"]) == (7, 3)


@pytest.mark.parametrize("script", PLACES.values(), ids=PLACES)
async def test_a_whole_answer_always_has_its_usage(script: Script) -> None:
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition(prices=PRICES)}) as running,
    ):
        client = await (await ask(running.port, stream=False)).head()
        answer = json.loads(await client.rest())
        found = await settled(running, client.id)
    assert answer["system_fingerprint"] is None  # OpenRouter's libraries refuse an answer without it
    assert (answer["object"], answer["id"], answer["model"]) == ("chat.completion", client.id, "mock/any")
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "One two three"}
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert {name: answer["usage"][name] for name in COUNTS} == COUNTS
    assert answer["cost"] == pytest.approx(37e-6)
    assert (found["streamed"], found["outcome"], found["tokens_completion"]) == (False, "completed", 3)


async def test_an_answer_without_usage_is_counted_and_flagged() -> None:
    async with (
        ScriptedProvider([ROLE, text("One two three"), FINISH, DONE]) as provider,
        gateway(providers={"mock": provider.definition(prices=PRICES)}) as running,
    ):
        client = await (await ask(running.port, usage={"include": True})).head()
        await client.rest()
        found = await settled(running, client.id)
    (usage,) = usages(client)
    assert usage["estimated"] is True
    assert usage["prompt_tokens"] > 0
    assert 1 <= usage["completion_tokens"] <= 6
    assert found["estimated"] is True
    assert (found["tokens_prompt"], found["tokens_completion"]) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert found["total_cost"] == pytest.approx(usage["cost"])


async def test_an_unknown_price_is_unknown_and_not_zero() -> None:
    async with (
        ScriptedProvider([text("Hi"), FINISH, USAGE, DONE]) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
    ):
        client = await (await ask(running.port, usage={"include": True})).head()
        await client.rest()
        found = await settled(running, client.id)
    assert usages(client)[0]["cost"] is None
    assert client.frames()[-2]["cost"] is None
    assert found["total_cost"] is None


async def test_a_cancelled_answer_with_early_figures_costs_what_was_delivered() -> None:
    """The first frame's usage knows the prompt; its one completion token is a placeholder."""
    long = "several words that are more than one token " * 10
    script = [last_with_usage("", running_count(1)), text(long), Wait(NEVER())]
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition(prices=PRICES)}) as running,
    ):
        client = await (await ask(running.port)).head()
        await client.until(b"several")
        client.close()
        found = await settled(running, client.id)
    assert (found["outcome"], found["tokens_prompt"], found["estimated"]) == ("cancelled", 7, True)
    assert found["tokens_completion"] > 50
    assert found["total_cost"] == pytest.approx(7e-6 + found["tokens_completion"] * 10e-6)


async def test_a_client_that_leaves_before_any_answer_owes_the_prompt() -> None:
    async with (
        ScriptedProvider([Wait(NEVER())]) as provider,
        gateway(providers={"mock": provider.definition(prices=PRICES)}) as running,
    ):
        client = await ask(running.port)
        await within(provider.called())
        client.close()
        found = await settled(running)
    assert (found["outcome"], found["tokens_completion"]) == ("cancelled", 0)
    assert found["total_cost"] == pytest.approx(found["tokens_prompt"] * 1e-6)
    assert found["total_cost"] > 0


async def test_a_client_that_leaves_while_we_connect_owes_nothing() -> None:
    with deaf_host() as base_url:
        row = {"wire": "openai-chat", "base_url": base_url, "api_key": "k", "prices": PRICES}
        async with gateway(providers={"mock": row}) as running:
            client = await ask(running.port)
            await true(lambda: running.context.registry.running())
            client.close()
            found = await settled(running)
    assert (found["outcome"], found["tokens_prompt"], found["total_cost"]) == ("cancelled", 0, 0)


async def test_the_receipt_of_a_running_exchange_has_no_outcome_yet() -> None:
    go_on = asyncio.Event()
    async with (
        ScriptedProvider([Pause(0.02), text("Hello"), Wait(go_on), FINISH, USAGE, DONE]) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
    ):
        client = await (await ask(running.port)).head()
        await client.until(b"Hello")
        assert (await receipt(running.port, client.id))["outcome"] is None
        go_on.set()
        await client.rest()
        # At once after [DONE], with nothing waited for.
        found = await receipt(running.port, client.id)
    assert (found["outcome"], found["id"]) == ("completed", client.id)
    assert found["latency"] > 19.9  # whole milliseconds of the loop, less what a float loses
    assert {one["id"] for one in client.frames()[:-1]} == {client.id}


async def test_an_unknown_receipt_is_404() -> None:
    async with gateway(providers={}) as running:
        assert (await get(running.port, "/v1/generation?id=gen-1-x")).status == 404


# ---- the ledger's row comes first


async def test_content_is_held_back_until_the_row_is_durable(tmp_path: Path) -> None:
    path = tmp_path / "infron.db"
    async with (
        ScriptedProvider([ROLE, text("Hello"), Wait(NEVER())]) as provider,
        gateway(
            providers={"mock": provider.definition()},
            ledger={"url": f"sqlite:///{path}"},
            keepalive={"first_seconds": 0.05, "every_seconds": 0.05},
        ) as running,
    ):
        with locked(path):
            client = await (await ask(running.port)).head()
            await client.until(b"PROCESSING", 2)
            (exchange,) = running.context.registry.running()
            await true(lambda: exchange.attempts.current.first_content)
            assert b"Hello" not in client.received
        await client.until(b"Hello")
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT id, outcome FROM entries").fetchall() == [(client.id, None)]


async def test_a_ledger_that_cannot_write_is_a_503_before_content(tmp_path: Path) -> None:
    path = tmp_path / "infron.db"
    async with (
        ScriptedProvider([text("Hello"), FINISH, USAGE, DONE]) as provider,
        gateway(
            providers={"mock": provider.definition()},
            ledger={"url": f"sqlite:///{path}"},
            keepalive={"first_seconds": 0},
        ) as running,
    ):
        aside = path.rename(tmp_path / "aside.db")
        client = await (await ask(running.port)).head()
        error = await client.error()
        assert (client.status, error["metadata"]["error_type"]) == (503, "ledger_unavailable")
        assert (await get(running.port, "/readyz")).status == 503
        aside.rename(path)
        await true(lambda: running.context.ledger.healthy is None)
        again = await (await ask(running.port)).head()
        await again.rest()
        assert again.words() == "Hello"
        assert (await receipt(running.port, again.id))["outcome"] == "completed"
        assert (await receipt(running.port, client.id))["outcome"] == "failed"
        assert len(await entries(running)) == 2


async def test_a_complete_answer_that_waits_for_the_row_is_billed_in_full_though_its_client_left(
    tmp_path: Path,
) -> None:
    """To leave before the ledger can write must not be a way to an answer for nothing."""
    path = tmp_path / "infron.db"
    async with (
        ScriptedProvider([text("Hello"), FINISH, USAGE, DONE]) as provider,
        gateway(providers={"mock": provider.definition()}, ledger={"url": f"sqlite:///{path}"}) as running,
    ):
        with locked(path):
            client = await ask(running.port)
            await (await within(provider.called())).finished.wait()
            (exchange,) = running.context.registry.running()
            await true(lambda: exchange.state.held is Input.ENDED)
            client.reset()
            await within(running.context.registry.idle.wait())
        found = await settled(running)
    assert (found["outcome"], found["tokens_completion"], found["estimated"]) == ("drained", 3, False)


async def test_a_large_answer_that_waits_for_the_row_pauses_the_provider_and_arrives_whole(tmp_path: Path) -> None:
    path = tmp_path / "infron.db"
    pieces = [text(f"{number:06d}" * 10_000) for number in range(400)]
    async with (
        ScriptedProvider([*pieces, FINISH, USAGE, DONE]) as provider,
        gateway(providers={"mock": provider.definition()}, ledger={"url": f"sqlite:///{path}"}) as running,
    ):
        with locked(path):
            client = await ask(running.port)
            call = await within(provider.called())
            (exchange,) = running.context.registry.running()
            await true(lambda: exchange.attempts.current.paused)
            assert exchange.delivery.size < 1 << 20
            assert call.sent < 20 << 20
        await client.head()
        await client.rest()
        assert (await receipt(running.port, client.id))["outcome"] == "completed"
    assert client.words() == "".join(f"{number:06d}" * 10_000 for number in range(400))


async def test_a_large_answer_in_one_json_arrives_whole_though_a_stream_was_asked_for() -> None:
    message = {"role": "assistant", "content": "x" * 1_000_000}
    answer = {"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": COUNTS}
    script = [Answer(200, (("content-type", "application/json"),), json.dumps(answer).encode())]
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        client = await (await ask(running.port)).head()
        await client.rest()
    assert client.words() == message["content"]
    assert client.frames()[-1] == "[DONE]"
