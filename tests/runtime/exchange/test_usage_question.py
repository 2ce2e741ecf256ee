"""Hosts that refuse to be asked for token counts: what is learned of it, from whom, and for how long."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rawclient import Client, ask, gateway, receipt, settled

from infron.runtime.exchange import providers
from infron.testing import DONE, FINISH, ROLE, Answer, Call, Script, ScriptedProvider, speak, text

JSON = (("content-type", "application/json"),)
PRICE = {"any": {"prompt": "1", "completion": "10"}, "other": {"prompt": "1", "completion": "10"}}


def refused(status: int, body: Any) -> Script:
    return [Answer(status, JSON, json.dumps(body).encode())]


def answered(call: Call) -> Script:
    """42, after thinking that nobody sees; its count only if it is asked for."""
    counts = [speak("openai-chat").usage(10, 5000)] if call.json.get("stream_options", {}).get("include_usage") else []
    return [ROLE, text("42"), FINISH, *counts, DONE]


def strict(call: Call) -> Script:
    """It takes `include_usage` and no other field beside it."""
    if set(call.json.get("stream_options", {})) - {"include_usage"}:
        where = {"type": "extra_forbidden", "loc": ["body", "stream_options", "foo"], "msg": "Extra inputs"}
        return refused(422, {"detail": [where]})
    return answered(call)


def echoing(call: Call) -> Script:
    """It repeats what it does not take."""
    if isinstance(call.json.get("temperature"), str):
        return refused(400, {"error": {"message": f"temperature: {call.json['temperature']} is no number"}})
    return answered(call)


def without(*models: str) -> Any:
    """A host where these models cannot be asked for counts."""

    def script(call: Call) -> Script:
        if call.json["model"] in models and "stream_options" in call.json:
            return refused(400, {"error": {"message": "unknown field stream_options"}})
        return answered(call)

    return script


async def read(port: int, **fields: Any) -> Client:
    client = await (await ask(port, **fields)).head()
    await client.rest()
    return client


@pytest.mark.parametrize(
    ("script", "poison", "status"),
    [
        (strict, {"stream_options": {"foo": 1}}, 200),
        (strict, {"stream_options": {"include_usage": True, "foo": 1}}, 200),
        (echoing, {"temperature": "stream_options"}, 400),
        (echoing, {"temperature": "stream_options", "stream_options": {"foo": 1}}, 400),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_usage_is_asked_for_whatever_another_caller_sent(
    script: Any, poison: dict[str, Any], status: int, stream: bool
) -> None:
    """One caller's refused request switched usage reports off for everybody at the provider, until a restart."""
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition(prices=PRICE)}) as running,
    ):
        poisoner = await read(running.port, stream=stream, **poison)
        assert poisoner.status == status
        other = await read(running.port)
        found = await receipt(running.port, other.id)
        assert (found["tokens_completion"], found["estimated"]) == (5000, False)
        if status == 200:  # nor does it make the poisoner's own answer cheaper
            found = await receipt(running.port, poisoner.id)
            assert (found["tokens_completion"], found["estimated"]) == (5000, False)
            assert found["dropped_parameters"] == ["stream_options"]


async def test_usage_is_not_asked_for_of_a_model_that_was_seen_to_refuse_it() -> None:
    """The field is tried again for another model of the same host, and after a while."""
    async with (
        ScriptedProvider(without("any")) as provider,
        gateway(providers={"mock": provider.definition(prices=PRICE)}) as running,
    ):
        for model in ("mock/any", "mock/any", "mock/other"):
            assert (await read(running.port, model=model)).words() == "42"
    asked = [(call.json["model"], "stream_options" in call.json) for call in provider.calls]
    assert asked == [("any", True), ("any", False), ("any", False), ("other", True)]


async def test_usage_is_asked_for_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "REFUSAL_SECONDS", 0.0)
    async with (
        ScriptedProvider(without("any")) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
    ):
        for _ in range(2):
            assert (await read(running.port)).words() == "42"
    assert ["stream_options" in call.json for call in provider.calls] == [True, False, True, False]


async def test_usage_that_was_refused_is_counted_here_and_flagged() -> None:
    async with (
        ScriptedProvider(without("any")) as provider,
        gateway(providers={"mock": provider.definition(prices=PRICE)}) as running,
    ):
        client = await read(running.port, stream_options={"include_usage": True})
        found = await settled(running, client.id)
    assert (found["outcome"], found["estimated"]) == ("completed", True)
    assert found["tokens_completion"] > 0
    assert found["attempts"] == []
