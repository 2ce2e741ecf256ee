"""A provider that goes on when its connection closes is told to stop, whoever gave the answer up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from rawclient import ask, failed_attempts, gateway, receipt, settled, true, within

from infron.runtime.exchange import cancel_call as calling
from infron.testing import CUT, Answer, Call, Script, ScriptedProvider, Step, Wait, speak

VOICE = speak("replicate")
SAID = [VOICE.start(), VOICE.text("Once upon")]
MODEL = "mock/owner/name"


def predictions(stream: list[Step], *, create: list[Step] | None = None, cancel: list[int] | None = None):
    """A host with one prediction. `create`: steps before its answer; `cancel`: statuses of the calls to stop it."""
    statuses = iter(cancel or [200])
    stopped = False

    def script(call: Call) -> Script:
        nonlocal stopped
        here = f"http://{call.headers['host']}/v1/predictions/p1"
        urls = {"get": here, "cancel": f"{here}/cancel", "stream": f"{here}/stream"}
        if call.path.endswith("/stream"):
            return [Answer(), *stream]
        if call.path.endswith("/cancel"):
            status = next(statuses)
            stopped = stopped or status == 200
            return [Answer(status, (("content-type", "application/json"),), b"{}")]
        state = "starting" if call.method == "POST" else "canceled" if stopped else "succeeded"
        body = json.dumps({"id": "p1", "status": state, "urls": urls, "metrics": {}}).encode()
        before = create if call.method == "POST" and create else []
        return [*before, Answer(201 if call.method == "POST" else 200, (("content-type", "application/json"),), body)]

    return script


def row(provider: ScriptedProvider, **fields: Any) -> dict[str, dict[str, Any]]:
    return {"mock": provider.definition(**VOICE.definition, **fields)}


def stops(provider: ScriptedProvider) -> list[Call]:
    return [call for call in provider.calls if call.path == "/v1/predictions/p1/cancel"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "PAUSE_SECONDS", 0.01)


async def test_a_client_that_leaves_in_mid_text_has_the_provider_told_to_stop() -> None:
    async with (
        ScriptedProvider(predictions([*SAID, Wait(asyncio.Event())])) as provider,
        gateway(providers=row(provider)) as running,
    ):
        client = await (await ask(running.port, model=MODEL)).head()
        await client.until(b"upon")
        client.close()
        found = await settled(running, client.id)
        assert found["outcome"] == "cancelled"
        assert found["on_disconnect"] == "cancel: mock is told to stop; it answered HTTP 200"
        assert found["tokens_prompt"] > 0
        assert found["tokens_completion"] > 0
        assert found["estimated"] is True
        assert 0 <= found["upstream_closed_ms"] < 2000
        (call,) = stops(provider)
        assert call.method == "POST"
        assert call.headers["authorization"] == "Bearer provider-key"
        stream = next(call for call in provider.calls if call.path.endswith("/stream"))
        await within(stream.closed.wait())


async def test_a_client_that_leaves_before_the_provider_can_be_told_is_waited_for_until_it_can() -> None:
    gate = asyncio.Event()
    async with (
        ScriptedProvider(predictions([Wait(asyncio.Event())], create=[Wait(gate)])) as provider,
        gateway(providers=row(provider)) as running,
    ):
        client = await ask(running.port, model=MODEL)
        await within(provider.called())
        client.close()
        await true(lambda: all(exchange.departure.at for exchange in running.context.registry.running()))
        assert not stops(provider)
        gate.set()
        found = await settled(running)
        assert found["outcome"] == "cancelled"
        assert found["on_disconnect"].endswith("; then told to stop; it answered HTTP 200")
        assert len(stops(provider)) == 1
        assert not any(call.path.endswith("/stream") for call in provider.calls)


@pytest.mark.parametrize(("status", "known"), [(200, True), (404, True), (403, False)])
async def test_what_an_answer_costs_is_known_only_if_its_provider_did_stop(status: int, known: bool) -> None:
    host = predictions([*SAID, Wait(asyncio.Event())], cancel=[status])
    prices = {"*": {"prompt": "1", "completion": "10"}}
    async with ScriptedProvider(host) as provider, gateway(providers=row(provider, prices=prices)) as running:
        client = await (await ask(running.port, model=MODEL)).head()
        await client.until(b"upon")
        client.close()
        found = await settled(running, client.id)
        assert (found["outcome"], found["estimated"]) == ("cancelled", True)
        assert found["total_cost"] > 0
        assert found["provider_cost"] == (found["total_cost"] if known else None)


async def test_a_call_that_fails_is_made_again(quick: None) -> None:
    host = predictions([*SAID, Wait(asyncio.Event())], cancel=[500, 429, 200])
    async with ScriptedProvider(host) as provider, gateway(providers=row(provider)) as running:
        client = await (await ask(running.port, model=MODEL)).head()
        await client.until(b"upon")
        client.close()
        found = await settled(running, client.id)
        assert found["on_disconnect"].endswith("it answered HTTP 200")
        assert len(stops(provider)) == 3


@pytest.mark.parametrize(
    ("statuses", "sentence"),
    [
        ([500, 500, 503], "it could not be told to stop: it answered HTTP 503, 3 times"),
        ([403], "it refused to stop (HTTP 403)"),
        ([404], "it answered HTTP 404"),
    ],
)
async def test_a_receipt_says_when_the_provider_would_not_stop(statuses: list[int], sentence: str, quick: None) -> None:
    host = predictions([*SAID, Wait(asyncio.Event())], cancel=statuses)
    async with ScriptedProvider(host) as provider, gateway(providers=row(provider)) as running:
        client = await (await ask(running.port, model=MODEL)).head()
        await client.until(b"upon")
        client.close()
        found = await settled(running, client.id)
        assert found["outcome"] == "cancelled"
        assert found["on_disconnect"].endswith(sentence)
        assert len(stops(provider)) == len(statuses)


async def test_an_answer_that_is_asked_to_be_drained_is_not_stopped() -> None:
    gate = asyncio.Event()
    rest = [Wait(gate), VOICE.text(" a time"), VOICE.finish(), VOICE.done()]
    async with (
        ScriptedProvider(predictions([*SAID, *rest])) as provider,
        gateway(providers=row(provider)) as running,
    ):
        client = await (await ask(running.port, "x-infron-on-disconnect: drain", model=MODEL)).head()
        await client.until(b"upon")
        client.close()
        await true(lambda: all(exchange.departure.at for exchange in running.context.registry.running()))
        gate.set()
        assert (await settled(running, client.id))["outcome"] == "drained"
        assert not stops(provider)


GAVE_UP: list[tuple[str, dict[str, Any]]] = [
    ("total", {"timeouts": {"total_seconds": 0.3}}),
    ("stall", {"timeouts": {"stall_seconds": 0.2}}),
]


@pytest.mark.parametrize(("clock", "sections"), GAVE_UP)
async def test_an_answer_that_a_clock_ends_is_stopped_too(clock: str, sections: dict[str, Any]) -> None:
    async with (
        ScriptedProvider(predictions([*SAID, Wait(asyncio.Event())])) as provider,
        gateway(providers=row(provider), **sections) as running,
    ):
        client = await (await ask(running.port, model=MODEL)).head()
        await client.rest()
        assert (await settled(running, client.id))["outcome"] == "timed_out"
        await true(lambda: len(stops(provider)) == 1)


async def test_a_stream_that_breaks_is_looked_after_and_its_answer_completed() -> None:
    """The prediction goes on without its stream: what is missing is taken from the prediction itself."""
    seen: list[str] = []

    def host(call: Call) -> Script:
        seen.append(call.path)
        here = f"http://{call.headers['host']}/v1/predictions/p1"
        prediction = {
            "id": "p1",
            "status": "starting" if call.method == "POST" else "succeeded",
            "urls": {"get": here, "cancel": f"{here}/cancel", "stream": f"{here}/stream"},
            "output": ["Once", " upon", " a", " time"],
            "metrics": {"input_token_count": 5, "output_token_count": 4},
        }
        if call.path.endswith("/stream"):
            return [Answer(), VOICE.text("Once"), CUT]
        body = json.dumps(prediction).encode()
        return [Answer(201 if call.method == "POST" else 200, (("content-type", "application/json"),), body)]

    async with ScriptedProvider(host) as provider, gateway(providers=row(provider)) as running:
        client = await (await ask(running.port, model=MODEL)).head()
        await client.rest()
        assert client.words() == "Once upon a time"
        found = await receipt(running.port, client.id)
        assert (found["outcome"], found["tokens_prompt"], found["tokens_completion"]) == ("completed", 5, 4)
        assert not stops(provider)


LEFT_OUT: dict[str, Callable[[dict[str, Any]], None]] = {
    "refused": lambda body: body.update(provider={"require_parameters": True}),
    "reported": lambda body: None,
}


@pytest.mark.parametrize("how", LEFT_OUT)
async def test_what_a_provider_cannot_take_is_reported_or_refused_as_the_caller_wishes(how: str) -> None:
    voice = speak("anthropic")
    async with (
        ScriptedProvider(voice.plays(voice.answer("Hi"))) as provider,
        gateway(providers={"mock": provider.definition(**voice.definition)}) as running,
    ):
        body: dict[str, Any] = {"seed": 7, "logit_bias": {"1": 2}}
        LEFT_OUT[how](body)
        client = await (await ask(running.port, model="mock/claude-haiku-4-5", **body)).head()
        if how == "reported":
            await client.rest()
            assert (await receipt(running.port, client.id))["dropped_parameters"] == ["logit_bias", "seed"]
        else:
            assert client.status == 400
            error = json.loads(await client.rest())["error"]
            assert error["metadata"]["error_type"] == "unsupported"
            assert "`logit_bias`, `seed`" in error["message"]
            assert not provider.calls


async def test_parameters_that_are_required_send_the_request_on_to_who_takes_them() -> None:
    voice, chat = speak("anthropic"), speak("openai-chat")
    async with (
        ScriptedProvider(voice.plays(voice.answer("No"))) as first,
        ScriptedProvider(chat.plays(chat.answer("Yes"))) as second,
        gateway(
            providers={"one": first.definition(**voice.definition), "two": second.definition()},
            models={"a/b": {"served_by": [{"provider": "one", "id": "x"}, {"provider": "two", "id": "y"}]}},
        ) as running,
    ):
        client = await ask(running.port, model="a/b", seed=7, provider={"require_parameters": True})
        await client.head()
        await client.rest()
        assert client.words() == "Yes"
        assert not first.calls
        found = await receipt(running.port, client.id)
        assert (found["provider_name"], found["dropped_parameters"]) == ("two", [])
        assert failed_attempts(found) == ["one: unsupported (400)"]
