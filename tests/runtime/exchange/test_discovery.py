"""Models that providers list themselves: asked for now and then, and never waited for long."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from rawclient import gateway, get, true

from infron.runtime.exchange import discovery
from infron.testing import DONE, FINISH, ROLE, Answer, Call, Script, ScriptedProvider, Wait, speak, text

JSON = (("content-type", "application/json"),)
LIST = {"data": [{"id": "qwen3:30b", "context_length": 40960, "name": "Qwen"}, {"id": "org/llama"}]}


def lists(body: Any, status: int = 200) -> Any:
    """A provider that gives this list, and answers with a text."""

    def script(call: Call) -> Script:
        if call.method == "GET":
            data = json.dumps(body).encode() if not isinstance(body, bytes) else body
            return [Answer(status, JSON, data)]
        return [ROLE, text("hi"), FINISH, DONE]

    return script


async def models(port: int) -> dict[str, Any]:
    found = json.loads((await get(port, "/v1/models")).received)["data"]
    return {model["id"]: model for model in found}


async def test_models_of_ones_own_provider_are_listed_with_what_it_tells_of_them() -> None:
    # They could be asked for, but no program that offers what /v1/models lists knew of them.
    async with (
        ScriptedProvider(lists(LIST)) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
    ):
        found = await models(running.port)
        assert {"mock/qwen3:30b", "mock/org/llama"} <= found.keys()
        assert (found["mock/qwen3:30b"]["context_length"], found["mock/qwen3:30b"]["name"]) == (40960, "Qwen")
        assert found["mock/qwen3:30b"]["providers"] == [{"provider_slug": "mock", "model": "qwen3:30b"}]
        await models(running.port)
        (call,) = provider.calls
    assert (call.method, call.path, call.headers["authorization"]) == ("GET", "/v1/models", "Bearer provider-key")


@pytest.mark.parametrize("wire", ["anthropic", "gemini", "cohere"])
async def test_models_of_native_wires_are_asked_for_where_their_api_has_them(wire: str) -> None:
    listed = (
        {"models": [{"name": "models/own", "endpoints": ["chat"]}]}
        if wire != "anthropic"
        else {"data": [{"id": "own"}]}
    )
    async with (
        ScriptedProvider(lists(listed)) as provider,
        gateway(providers={"mock": provider.definition(**speak(wire).definition)}) as running,
    ):
        assert "mock/own" in await models(running.port)
        assert provider.calls[0].path.startswith("/v1/models")


async def test_model_is_found_by_any_id_that_can_be_asked_for() -> None:
    async with (
        ScriptedProvider(lists(LIST)) as provider,
        gateway(providers={"mock": provider.definition(aliases=["other"])}) as running,
    ):
        for id in ("mock/qwen3:30b", "other/qwen3:30b", "mock/qwen3%3A30b", "mock/on-no-list", "mock/org/llama"):
            answer = await get(running.port, f"/v1/models/{id}")
            assert answer.status == 200, id
            assert json.loads(answer.received)["id"] == id.replace("%3A", ":")
        told = json.loads((await get(running.port, "/v1/models/other/qwen3:30b")).received)
        assert told["context_length"] == 40960
        for id in ("nobody/x", "mock/", "anthropic/claude-x", "groq/x"):
            assert (await get(running.port, f"/v1/models/{id}")).status == 404, id


async def test_models_that_are_offered_under_a_public_id_are_listed_once() -> None:
    served = [{"provider": "mock", "id": "qwen3:30b"}]
    async with (
        ScriptedProvider(lists(LIST)) as provider,
        gateway(providers={"mock": provider.definition()}, models={"acme/qwen": {"served_by": served}}) as running,
    ):
        found = await models(running.port)
        assert found.keys() >= {"acme/qwen", "mock/org/llama"}
        assert "mock/qwen3:30b" not in found
        assert (await get(running.port, "/v1/models/mock/qwen3:30b")).status == 200


async def test_models_are_not_asked_for_where_the_setting_says_so() -> None:
    async with (
        ScriptedProvider(lists(LIST)) as provider,
        gateway(providers={"mock": provider.definition()}, models={"discover": False}) as running,
    ):
        assert "mock/qwen3:30b" not in await models(running.port)
        assert (await get(running.port, "/v1/models/mock/qwen3:30b")).status == 200
        assert not provider.calls


@pytest.mark.parametrize(
    ("body", "status"),
    [({"error": "no"}, 404), (b"<html>", 200), ({"data": 7}, 200), (b"x" * 3_000, 200), ({"error": {}}, 500)],
)
async def test_provider_without_a_list_costs_nobody_theirs(
    body: Any, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "MOST_BYTES", 2_000)
    async with (
        ScriptedProvider(lists(body, status)) as broken,
        ScriptedProvider(lists(LIST)) as provider,
        gateway(providers={"broken": broken.definition(), "mock": provider.definition()}) as running,
    ):
        found = await models(running.port)
        assert "mock/org/llama" in found
        assert not any(id.startswith("broken/") for id in found)
        await models(running.port)
        assert len(broken.calls) == 1


async def test_list_that_does_not_come_keeps_nobody_waiting_and_is_there_the_next_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(discovery, "WAIT_SECONDS", 0.1)
    late = asyncio.Event()
    answer = Answer(200, JSON, json.dumps(LIST).encode())
    async with (
        ScriptedProvider([Wait(late), answer]) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
    ):
        assert "mock/org/llama" not in await models(running.port)
        late.set()
        await true(lambda: not running.context.discovery._asking)
        assert "mock/org/llama" in await models(running.port)
        assert len(provider.calls) == 1


async def test_list_is_asked_for_again_after_a_while_and_the_last_one_stands_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(discovery, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(discovery, "FAILED_SECONDS", 0.0)
    answers = [lists({"data": [{"id": "one"}]}), lists({}, 500), lists({"data": [{"id": "two"}]})]

    def script(call: Call) -> Script:
        return answers[min(len(provider.calls) - 1, 2)](call)

    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        known = running.context.discovery
        assert "mock/one" in await models(running.port)
        assert "mock/one" in await models(running.port)  # while the second answer fails
        await true(lambda: not known._asking)
        assert "mock/one" in await models(running.port)
        await true(lambda: not known._asking)
        found = await models(running.port)
        assert "mock/two" in found
        assert "mock/one" not in found


async def test_list_of_a_provider_that_was_still_starting_is_seen_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looked before his own server was up saw none of its models for a minute."""
    monkeypatch.setattr(discovery, "FAILED_SECONDS", 0.0)
    answers = [lists({}, 503), lists(LIST)]

    def script(call: Call) -> Script:
        return answers[min(len(provider.calls) - 1, 1)](call)

    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        assert "mock/org/llama" not in await models(running.port)
        assert "mock/org/llama" in await models(running.port)


def test_list_that_fails_again_and_again_is_asked_for_ever_more_seldom() -> None:
    known = discovery._Known()
    assert [known.next_look("503") for _ in range(6)] == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    assert [known.next_look(""), known.next_look("503")] == [300.0, 5.0]


async def test_shutdown_does_not_wait_for_a_list() -> None:
    async with ScriptedProvider([Wait(asyncio.Event())]) as provider:
        async with gateway(providers={"mock": provider.definition()}) as running:
            asking = asyncio.create_task(get(running.port, "/v1/models"))
            await provider.called()
        asking.cancel()
