"""Providers that close a kept connection in the moment of a request: it is sent once more, and billed once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rawclient import ask, entries, gateway, receipt, true, within

from infron.catalog.load import load_catalog
from infron.testing import CUT, RESET, Call, RunningGateway, Script, ScriptedProvider, Step, speak
from infron.wires import PROVIDER_WIRES

PRICE = {"*": {"prompt": "1", "completion": "10"}}


class Closing:
    """A provider that answers, and ends the connection of its second request without a word."""

    def __init__(self, wire: str, end: Step) -> None:
        self.voice, self.end, self.calls = speak(wire), end, 0

    def __call__(self, call: Call) -> Script:
        self.calls += 1
        if self.calls == 2:
            return [self.end]
        return self.voice.plays(self.voice.answer("Hello", prompt=7, completion=500))


async def twice(running: RunningGateway, *, stream: bool) -> tuple[Any, Any]:
    """Two requests, the second on the connection of the first, which its provider then closes."""
    for _ in range(2):
        client = await (await ask(running.port, stream=stream)).head()
        body = await client.rest()
        await within(running.context.registry.idle.wait())
        await true(lambda: all(stats.open == stats.idle for stats in running.context.upstream.stats().values()))
    return client, body


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("end", [CUT, RESET], ids=["closed", "reset"])
@pytest.mark.parametrize("wire", ["openai-chat", "anthropic", "gemini", "bedrock"])
async def test_request_that_crosses_with_the_end_of_its_connection_is_answered_and_billed_once(
    wire: str, end: Step, stream: bool
) -> None:
    """It was 502, though nothing was wrong but the moment. Providers close idle connections every few seconds."""
    script = Closing(wire, end)
    row = {**script.voice.definition, "prices": PRICE, "on_disconnect": "cancel"}
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition(**row)}) as running:
        client, body = await twice(running, stream=stream)
        found = await receipt(running.port, client.id)
        written = await entries(running)
    assert (client.status, b"Hello" in body) == (200, True)
    assert len(provider.calls) == 3
    assert provider.calls[1].body == provider.calls[2].body
    assert (found["outcome"], found["attempts"], found["tokens_completion"]) == ("completed", [], 500)
    assert len(written) == 2


async def test_request_is_not_sent_again_where_its_definition_forbids_it() -> None:
    script = Closing("openai-chat", CUT)
    row = {"prices": PRICE, "retry_unanswered": False}
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition(**row)}) as running:
        client, body = await twice(running, stream=True)
        found = await receipt(running.port, client.id)
    assert client.status == 502
    assert "closed the connection before it answered" in json.loads(body)["error"]["message"]
    assert (len(provider.calls), found["outcome"], found["total_cost"]) == (2, "failed", 0)


def test_predictions_of_replicate_are_not_made_twice() -> None:
    """They go on, and are billed, whoever hears of them."""
    catalog = load_catalog({}, {}, {}, wires=PROVIDER_WIRES)
    kept = [provider.id for provider in catalog.providers.values() if not provider.retry_unanswered]
    assert kept == ["replicate"]
