"""Each case of docs/billing.md happens as it says, to the last figure."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ledgers import opened, running
from rawclient import ask, deaf_host, gateway, get, settled, true, within

from infron.testing import (
    CUT,
    DONE,
    FINISH,
    ROLE,
    Answer,
    Call,
    RunningGateway,
    Script,
    ScriptedProvider,
    Step,
    Wait,
    frame,
    speak,
    text,
)

PRICES = {"*": {"prompt": "1", "completion": "10"}}  # USD per million tokens
REPORT = frame(choices=[], usage={"prompt_tokens": 100, "completion_tokens": 500, "total_tokens": 600})
HELLO: list[Step] = [ROLE, text("Once upon a time")]
END: list[Step] = [FINISH, REPORT, DONE]

DOCUMENT = (Path(__file__).parents[3] / "docs" / "billing.md").read_text(encoding="utf-8")
EXCERPTS = re.findall(r"<!-- case: ([a-z ]+) -->\n```json\n(.*?)```", DOCUMENT, re.DOTALL)
DOCUMENTED = {name: json.loads(excerpt) for name, excerpt in EXCERPTS}


class Stage(NamedTuple):
    """`hold`: what the provider waits for in some scripts."""

    running: RunningGateway
    provider: ScriptedProvider
    hold: asyncio.Event


async def read(stage: Stage) -> None:
    client = await (await ask(stage.running.port, models=["second/any"])).head()
    await client.rest()


async def leave(stage: Stage) -> None:
    client = await (await ask(stage.running.port, model="mock/owner/name")).head()
    await client.until(b"time")
    client.close()
    await true(lambda: all(exchange.departure.at for exchange in stage.running.context.registry.running()))
    stage.hold.set()


async def leave_early(stage: Stage) -> None:
    client = await ask(stage.running.port)
    await within(stage.provider.called())
    client.close()


async def leave_unsent(stage: Stage) -> None:
    client = await ask(stage.running.port)
    await true(lambda: len(stage.running.context.registry))
    client.close()


def says(*steps: Step, hold: bool = False, end: list[Step] | None = None) -> Callable[[asyncio.Event], Script]:
    """The same answer for each request; `hold`: waits for the stage's event before its `end`."""
    return lambda event: [*steps, *([Wait(event)] if hold else []), *(end or [])]


def told_to_stop(event: asyncio.Event) -> Callable[[Call], Script]:
    voice = speak("replicate")

    def script(call: Call) -> Script:
        here = f"http://{call.headers['host']}/v1/predictions/p1"
        if call.path.endswith("/stream"):
            return [Answer(), voice.start(), voice.text("Once upon a time"), Wait(asyncio.Event())]
        urls = {"get": here, "cancel": f"{here}/cancel", "stream": f"{here}/stream"}
        body = json.dumps({"id": "p1", "status": "starting", "urls": urls, "metrics": {}}).encode()
        return [Answer(200 if call.path.endswith("/cancel") else 201, (("content-type", "application/json"),), body)]

    return script


def first_fails(event: asyncio.Event) -> Callable[[Call], Script]:
    fails = [Answer(503, (("content-type", "application/json"),), b'{"error": {"message": "no room"}}')]
    return lambda call: fails if "/first/" in call.path else [*HELLO, *END]


class Case(NamedTuple):
    """`script`: of the provider, made with the stage's event; `row`: further fields of its definition."""

    script: Callable[[asyncio.Event], Any]
    act: Callable[[Stage], Awaitable[None]]
    row: dict[str, Any] | None = None
    settings: dict[str, Any] | None = None


CASES = {
    "completed": Case(says(*HELLO, end=END), read),
    "unreported": Case(says(*HELLO, FINISH, DONE), read),
    "unpriced": Case(says(*HELLO, end=END), read, {"prices": {}}),
    "cancelled": Case(says(*HELLO, hold=True), leave),
    "cancelled early": Case(says(hold=True), leave_early),
    "cancelled unsent": Case(says(), leave_unsent, {"base_url": "deaf"}),
    "drained": Case(says(*HELLO, hold=True, end=END), leave, {"on_disconnect": "drain"}),
    "cut short": Case(
        says(*HELLO, Wait(asyncio.Event())), leave, {"on_disconnect": "drain"}, {"drain": {"seconds": 0.1}}
    ),
    "called": Case(told_to_stop, leave, speak("replicate").definition),
    "timed out": Case(says(*HELLO, hold=True), read, None, {"timeouts": {"stall_seconds": 0.2}}),
    "timed out early": Case(says(hold=True), read, None, {"timeouts": {"first_token_seconds": 0.2}}),
    "failed": Case(says(*HELLO, CUT), read),
    "failed over": Case(first_fails, read),
}


@pytest.mark.parametrize("name", CASES)
async def test_documented_case_is_billed_as_it_says(name: str) -> None:
    case, hold = CASES[name], asyncio.Event()
    async with ScriptedProvider(case.script(hold)) as provider:
        with deaf_host() as deaf:
            row = provider.definition(**{"prices": PRICES, "on_disconnect": "cancel", **(case.row or {})})
            row["base_url"] = deaf if row["base_url"] == "deaf" else row["base_url"]
            providers = {"mock": row}
            if name == "failed over":
                providers = {"mock": {**row, "base_url": f"{provider.base_url}/first"}, "second": row}
            async with gateway(providers=providers, **(case.settings or {})) as running_gateway:
                await within(case.act(Stage(running_gateway, provider, hold)))
                assert_as_documented(name, await settled(running_gateway))


async def test_documented_case_of_a_killed_gateway_is_billed_as_it_says(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1")  # and never settled
    async with gateway(ledger={"url": url}) as running_gateway:
        client = await get(running_gateway.port, "/v1/generation?id=gen-1")
        assert_as_documented("orphaned", json.loads(client.received)["data"])


def test_documented_cases_are_all_tried() -> None:
    assert DOCUMENTED.keys() == CASES.keys() | {"orphaned"}


def assert_as_documented(name: str, found: Any) -> None:
    assert excerpt(DOCUMENTED[name], found) == DOCUMENTED[name]


def excerpt(documented: Any, found: Any) -> Any:
    """As much of what was found as is documented."""
    if isinstance(documented, dict) and isinstance(found, dict):
        return {name: excerpt(value, found.get(name)) for name, value in documented.items()}
    if isinstance(documented, list) and isinstance(found, list) and len(documented) == len(found):
        return [excerpt(*pair) for pair in zip(documented, found, strict=True)]
    return found
