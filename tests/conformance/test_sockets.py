"""The same clients and voices with sockets between them: refusals, broken connections, clients that leave."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest
from rawclient import Client, gateway, receipt, send, within

from conformance.cases import APIS, WIRES, WORDS, expected, judged, script_of
from conformance.clients import CLIENTS
from conformance.play import MODELS
from conformance.said import Ask, Heard
from infron.testing import CUT, RESET, RunningGateway, ScriptedProvider, Step, Wait, speak
from infron.testing.scripts import Playable

RESUMES = TOLD_TO_STOP = ("replicate",)  # it streams again what broke, and works on until it is told


class Stage:
    """A gateway in front of a provider of one wire, that plays what it is told next."""

    def __init__(self, wire: str, provider: ScriptedProvider, running: RunningGateway) -> None:
        self.wire, self.provider, self.running = wire, provider, running

    async def ask(self, api: str, script: Playable) -> Client:
        self.provider.script = script if callable(script) else lambda call: script
        model = f"mock/{MODELS.get(self.wire, 'm')}"
        client, ask = CLIENTS[api], Ask()
        target = client.target(ask, model)
        path = target.path.replace("{model:path}", model)
        query = "&".join(f"{name}={value}" for name, value in target.query.items())
        body = json.dumps(client.body(ask, model)).encode()
        where = f"{path}?{query}" if query else path
        return await send(self.running.port, "POST", where, body, "content-type: application/json")

    async def heard(self, api: str, script: Playable) -> tuple[Heard, Client]:
        asked = await self.ask(api, script)
        client = await asked.head()
        await client.rest()
        read = CLIENTS[api]
        heard = read.stream(client.received) if client.status == 200 else read.problem(client.status, client.received)
        return heard, client


@contextlib.asynccontextmanager
async def staged(wire: str) -> AsyncIterator[Stage]:
    async with ScriptedProvider([]) as provider:
        definition = {"on_disconnect": "cancel", **speak(wire).definition}
        async with gateway(providers={"mock": provider.definition(**definition)}) as running:
            yield Stage(wire, provider, running)


@pytest.mark.parametrize("wire", WIRES)
async def test_refusal_is_heard_with_its_status_and_wait(wire: str) -> None:
    async with staged(wire) as stage:
        for name in (
            "refusal: invalid",
            "refusal: key",
            "refusal: rate limit",
            "refusal: server",
            "refusal: overloaded",
        ):
            for api in APIS:
                _, script = script_of(name, wire)
                heard, client = await stage.heard(api, script)
                assert judged(heard).said == expected(name, api, wire)
                if name == "refusal: rate limit":
                    assert client.headers["retry-after"] == "7"


@pytest.mark.parametrize("wire", [wire for wire in WIRES if wire not in RESUMES])
async def test_broken_answer_is_heard_as_a_failure(wire: str) -> None:
    async with staged(wire) as stage:
        for api in APIS:
            for cut in (CUT, RESET):
                voice = speak(wire)
                steps: list[Step] = [step for step in (voice.start(), *(say(voice) for say in WORDS)) if step]
                # A reset takes with it what was not read yet: it comes when all has been.
                read = asyncio.Event()
                asked = await stage.ask(api, voice.plays([*steps, Wait(read), cut]))
                client = await asked.head()
                await client.until("高い".encode())
                read.set()
                await client.rest()
                heard = CLIENTS[api].stream(client.received)
                assert judged(heard).said == expected("cut", api, wire)


@pytest.mark.parametrize("wire", WIRES)
async def test_client_that_leaves_ends_the_work_of_its_provider(wire: str) -> None:
    async with staged(wire) as stage:
        for api in APIS:
            before = len(stage.provider.calls)
            voice = speak(wire)
            steps = [step for step in (voice.start(), *(say(voice) for say in WORDS)) if step]
            asked = await stage.ask(api, voice.plays([*steps, Wait(asyncio.Event())]))
            client = await asked.head()
            await client.until("高い".encode())
            client.close()
            streaming = await stage.provider.called(before + (2 if wire in TOLD_TO_STOP else 1))
            await within(streaming.closed.wait())
            if wire in TOLD_TO_STOP:
                told = await within(stage.provider.called(before + 3))
                assert told.path.endswith("/cancel")
            await within(stage.running.context.registry.idle.wait())
            assert (await receipt(stage.running.port, client.id))["outcome"] == "cancelled"
