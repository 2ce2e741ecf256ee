"""What an answer costs, through the whole gateway: reports that say half, other tiers, kinds without a price."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from rawclient import Client, ask, gateway, get, settled

from infron.runtime.ledger.administration import create_key
from infron.testing import DONE, FINISH, ROLE, Answer, Script, ScriptedProvider, Step, Wait, frame, speak, text
from infron.testing.scripts import dump

PRICES = {"*": {"prompt": "1", "completion": "10"}}
WORDS = text("word " * 500)


def counted(prompt: Any = None, completion: Any = None, **more: Any) -> bytes:
    return frame(choices=[], usage={"prompt_tokens": prompt, "completion_tokens": completion, **more})


async def billed(steps: Script, row: dict[str, Any] | None = None, **asked: Any) -> dict[str, Any]:
    """The receipt of an answer at a provider with PRICES, or what `row` says instead."""
    async with (
        ScriptedProvider(steps) as provider,
        gateway(
            providers={"mock": provider.definition(tokenizer="gpt", **({"prices": PRICES} if row is None else row))}
        ) as running,
    ):
        client = await (await ask(running.port, **asked)).head()
        await client.rest()
        return await settled(running, client.id)


# ---- half a report

NOT_COUNTED = {
    "a text": "500",
    "a fraction": 500.5,
    "negative": -1,
    "null": None,
    "absurd": 2**41,
    "more than fits": 2**64,
    "zero": 0,
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("completion", NOT_COUNTED.values(), ids=NOT_COUNTED)
async def test_report_without_a_usable_completion_is_completed_by_our_count(completion: Any, stream: bool) -> None:
    # Such an answer was free, and not even called estimated.
    found = await billed([ROLE, WORDS, FINISH, counted(10, completion), DONE], stream=stream)
    assert (found["outcome"], found["estimated"]) == ("completed", True)
    assert (found["tokens_prompt"], found["tokens_completion"]) == (10, 501)
    assert found["total_cost"] == pytest.approx(10e-6 + 5010e-6)


HALVES: dict[str, list[Step]] = {
    "only a prompt": [ROLE, WORDS, FINISH, frame(choices=[], usage={"prompt_tokens": 10}), DONE],
    "whole, then empty": [ROLE, WORDS, FINISH, counted(10, 501), counted(10, 0), DONE],
    "whole, then zeros": [ROLE, WORDS, FINISH, counted(10, 501), counted(0, 0), DONE],
    "a prompt, then a completion": [ROLE, WORDS, FINISH, counted(10), counted(None, 501), DONE],
    "whole floats": [ROLE, WORDS, FINISH, counted(10.0, 501.0), DONE],
    "before the last words": [ROLE, counted(10, 1), WORDS, FINISH, DONE],
    "zeros before the last words": [ROLE, counted(10, 0), WORDS, FINISH, DONE],
}


@pytest.mark.parametrize("steps", HALVES.values(), ids=HALVES)
async def test_report_is_the_last_usable_one_or_our_count(steps: list[Step]) -> None:
    found = await billed(steps)
    assert (found["tokens_prompt"], found["tokens_completion"]) == (10, 501)
    assert found["total_cost"] == pytest.approx(10e-6 + 5010e-6)


async def test_report_of_a_completion_alone_is_completed_by_our_count_of_the_prompt() -> None:
    found = await billed([ROLE, WORDS, FINISH, frame(choices=[], usage={"completion_tokens": 500}), DONE])
    assert (found["tokens_completion"], found["estimated"]) == (500, True)
    assert found["tokens_prompt"] > 0


async def test_report_of_zeros_at_the_end_is_the_providers_word_that_nothing_is_billed() -> None:
    found = await billed([ROLE, WORDS, FINISH, counted(0, 0, total_tokens=0), DONE])
    assert (found["tokens_prompt"], found["tokens_completion"], found["estimated"]) == (0, 0, False)
    assert found["total_cost"] == 0


def anthropic_at_the_start() -> list[Step]:
    usage = {"input_tokens": 10, "output_tokens": 1}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "m", "type": "message", "content": [], "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "word " * 500}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    ]
    return [Answer(), *(b"event: %b\ndata: %b\n\n" % (event["type"].encode(), dump(event)) for event in events)]


def gemini_of_the_prompt() -> list[Step]:
    frames: list[dict[str, Any]] = [
        {
            "candidates": [{"content": {"parts": [{"text": "word " * 500}]}, "index": 0}],
            "usageMetadata": {"promptTokenCount": 10},
        },
        {"candidates": [{"finishReason": "STOP", "index": 0}]},
    ]
    return [Answer(), *(b"data: %b\r\n\r\n" % dump(fields) for fields in frames)]


@pytest.mark.parametrize(
    ("wire", "steps"), [("anthropic", anthropic_at_the_start()), ("gemini", gemini_of_the_prompt())]
)
async def test_report_of_the_prompt_alone_is_half_a_report_on_native_wires_too(wire: str, steps: list[Step]) -> None:
    found = await billed(steps, {**speak(wire).definition, "prices": PRICES})
    assert (found["outcome"], found["estimated"], found["tokens_prompt"]) == ("completed", True, 10)
    assert found["tokens_completion"] > 400


# ---- the tier that was served

ONE = 10**6  # tokens


@pytest.mark.parametrize(
    ("asked", "served", "dollars"),
    [
        ("priority", "default", 2.25),  # was charged twice as much, by what was asked for
        ("auto", "priority", 4.5),
        (None, "priority", 4.5),
        ("flex", "default", 2.25),
        ("flex", None, 1.125),
        (None, None, 2.25),
    ],
)
async def test_charge_follows_the_tier_that_was_served(asked: str | None, served: str | None, dollars: float) -> None:
    fields = {} if served is None else {"service_tier": served}
    last = frame(choices=[], usage={"prompt_tokens": ONE, "completion_tokens": ONE // 10}, **fields)
    steps = [frame(choices=[{"index": 0, "delta": {"content": "hi"}}], **fields), FINISH, last, DONE]
    async with (
        ScriptedProvider(steps) as provider,
        gateway(providers={"openai": {"base_url": provider.base_url, "api_key": "k"}}) as running,
    ):
        tier = {} if asked is None else {"service_tier": asked}
        client = await (await ask(running.port, model="openai/gpt-5", **tier)).head()
        await client.rest()
        found = await settled(running, client.id)
    assert found["total_cost"] == pytest.approx(dollars)


# ---- what is no text


async def test_charge_of_sound_is_the_one_of_the_price_list() -> None:
    sound = {"prompt_tokens_details": {"audio_tokens": ONE}, "completion_tokens_details": {"audio_tokens": ONE}}
    async with (
        ScriptedProvider([ROLE, text("hi"), FINISH, counted(ONE, ONE, **sound), DONE]) as provider,
        gateway(providers={"openai": {"base_url": provider.base_url, "api_key": "k"}}) as running,
    ):
        client = await (await ask(running.port, model="openai/gpt-realtime-mini")).head()
        await client.rest()
        found = await settled(running, client.id)
    assert found["total_cost"] == pytest.approx(30)  # 3 if it were text


@pytest.mark.parametrize("field", ["prompt_tokens_details", "completion_tokens_details"])
async def test_charge_of_sound_is_unknown_where_the_definition_has_no_price_for_it(field: str) -> None:
    usage = counted(100, 100, **{field: {"audio_tokens": 50}})
    found = await billed([ROLE, text("hi"), FINISH, usage, DONE])
    assert found["total_cost"] is None
    prices = {"*": {**PRICES["*"], "prompt_audio": "100", "completion_audio": "200"}}
    known = await billed([ROLE, text("hi"), FINISH, usage, DONE], {"prices": prices})
    extra = 50 * (99e-6 if field.startswith("prompt") else 190e-6)
    assert known["total_cost"] == pytest.approx(1100e-6 + extra)


async def test_charge_is_the_reported_cost_where_no_price_is_known() -> None:
    told = counted(100, 100, cost=0.25)
    row = {"quirks": {"answer": {"cost_path": "cost"}}}
    found = await billed([ROLE, text("hi"), FINISH, told, DONE], row)
    assert (found["total_cost"], found["provider_cost"]) == (0.25, 0.25)


# ---- keys with a limit


@pytest.mark.parametrize(
    ("unpriced", "limit", "model", "status"),
    [
        ("refuse", 1.0, "mock/Big-1", 403),  # an id that the definition does not price was free, and never refused
        ("refuse", 1.0, "mock/big-1", 200),
        ("refuse", None, "mock/Big-1", 200),
        ("refuse-all", None, "mock/Big-1", 403),
        ("allow", 1.0, "mock/Big-1", 200),
    ],
)
async def test_key_with_a_limit_may_not_use_a_model_of_unknown_price(
    tmp_path: Path, unpriced: str, limit: float | None, model: str, status: int
) -> None:
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    _, secret = create_key(url, "one", limit)
    async with (
        ScriptedProvider([ROLE, text("hi"), FINISH, counted(1, 1), DONE]) as provider,
        gateway(
            providers={"mock": provider.definition(prices={"big-1": PRICES["*"]})},
            limits={"unpriced": unpriced},
            ledger={"url": url},
        ) as running,
    ):
        client = await (await ask(running.port, f"authorization: Bearer {secret}", model=model)).head()
        assert client.status == status
        await client.rest()
        if status == 403:
            error = json.loads(client.received)["error"]
            assert error["metadata"]["error_type"] == "permission_denied"
            assert error["param"] == "model"
            assert "limits.unpriced" in error["message"]
            assert not provider.calls


async def test_key_with_a_limit_is_served_by_the_candidates_whose_price_is_known(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    _, secret = create_key(url, "one", 1.0)
    served = [{"provider": "dear", "id": "x"}, {"provider": "mock", "id": "big-1"}]
    async with (
        ScriptedProvider([ROLE, text("hi"), FINISH, counted(1, 1), DONE]) as provider,
        gateway(
            providers={
                "dear": {"wire": "openai-chat", "base_url": "http://127.0.0.1:1/v1"},
                "mock": provider.definition(prices={"big-1": PRICES["*"]}),
            },
            models={"acme/big": {"served_by": served}},
            ledger={"url": url},
        ) as running,
    ):
        client = await (await ask(running.port, f"authorization: Bearer {secret}", model="acme/big")).head()
        await client.rest()
        found = await receipt_of(running.port, client, secret)
    assert (found["provider_name"], found["attempts"]) == ("mock", [])


async def receipt_of(port: int, client: Client, secret: str) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while True:
            answer = await get(port, f"/v1/generation?id={client.id}", f"authorization: Bearer {secret}")
            found: dict[str, Any] = json.loads(answer.received)["data"]
            if found["outcome"] is not None:
                return found
            await asyncio.sleep(0.01)


# ---- what we count ourselves

STORY = "Once upon a time there was a very long prompt. " * 200
FUNCTION = {"name": "f", "description": STORY, "parameters": {"type": "object", "properties": {}}}
SCHEMA = {"type": "object", "description": STORY, "properties": {}}
BESIDE: dict[str, dict[str, Any]] = {
    "tools": {"tools": [{"type": "function", "function": FUNCTION}]},
    "functions": {"functions": [FUNCTION]},
    "response_format": {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
    "prediction": {"prediction": {"type": "content", "content": STORY}},
    "documents": {"documents": [{"id": "1", "data": {"text": STORY}}]},
    "a field of the provider's own": {"x_context": {"pages": [STORY]}},
    "a name": {"x_context": {STORY: True}},
}


@pytest.mark.parametrize("fields", BESIDE.values(), ids=BESIDE)
async def test_client_that_leaves_owes_all_text_that_went_to_the_provider(fields: dict[str, Any]) -> None:
    # What stood outside of messages and tools was free to whoever left after the last word.
    async with (
        ScriptedProvider([ROLE, text("END"), Wait(asyncio.Event())]) as provider,
        gateway(providers={"mock": provider.definition(tokenizer="gpt", prices=PRICES)}) as running,
    ):
        client = await (await ask(running.port, **fields)).head()
        await client.until(b"END")
        client.close()
        found = await settled(running, client.id)
    assert (found["outcome"], found["estimated"]) == ("cancelled", True)
    assert found["tokens_prompt"] > 2_000
    assert found["total_cost"] > 2_000e-6


async def test_each_choice_that_was_delivered_is_counted() -> None:
    one = [frame(choices=[{"index": index, "delta": {"content": "word " * 100}}]) for index in (0, 1)]
    async with (
        ScriptedProvider([*one, text("END"), Wait(asyncio.Event())]) as provider,
        gateway(providers={"mock": provider.definition(tokenizer="gpt", prices=PRICES)}) as running,
    ):
        client = await (await ask(running.port, n=2)).head()
        await client.until(b"END")
        client.close()
        found = await settled(running, client.id)
    assert 200 <= found["tokens_completion"] <= 205
