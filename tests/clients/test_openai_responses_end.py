"""The end of a stream of the Responses API: complete with its counts, whoever leaves as it is read."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from rawclient import Client, ask, gateway, settled

from infron.testing import FINISH, ROLE, USAGE, ScriptedProvider, Wait, speak, text

LAST = b"event: response.completed\n"


def counts_in(client: Client) -> Any:
    last = client.received.split(LAST)[1].split(b"\n\n")[0].removeprefix(b"data: ")
    return json.loads(last)["response"]["usage"]["total_tokens"]


@pytest.mark.parametrize("leave", ["close", "reset"])
@pytest.mark.parametrize("wire", ["openai-chat", "openai-responses", "anthropic"])
async def test_client_that_leaves_at_the_last_event_leaves_a_complete_exchange(wire: str, leave: str) -> None:
    """Codex does, without reading the end of the body."""
    voice = speak(wire)
    async with (
        ScriptedProvider(voice.plays(voice.answer("Hel", "lo"))) as provider,
        gateway(providers={"mock": provider.definition(**voice.definition)}) as running,
    ):
        client = await (
            await ask(running.port, path="/v1/responses", input="Hi", model="mock/claude-sonnet-4-5")
        ).head()
        await client.until(LAST)
        getattr(client, leave)()
        found = await settled(running)
    assert counts_in(client) == 10
    assert found["outcome"] == "completed"
    assert (found["native_tokens_prompt"], found["native_tokens_completion"]) == (7, 3)


async def test_last_event_waits_for_counts_that_come_after_the_finish_reason() -> None:
    """Where they are null, opencode asks again for ever."""
    counts = asyncio.Event()
    async with (
        ScriptedProvider([ROLE, text("Hello"), FINISH, Wait(counts), USAGE]) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
    ):
        client = await (await ask(running.port, path="/v1/responses", input="Hi")).head()
        received = await client.until(b"event: response.output_text.delta\n")
        assert LAST not in received
        counts.set()
        await client.until(LAST)
        await settled(running)
    assert counts_in(client) == 10
