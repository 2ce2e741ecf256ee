"""A settlement is made once, and whoever listens is told of it: the ledger, the numbers, the log."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from process import process
from rawclient import Client, all_closed, ask, true

from infron.runtime import process as gateways
from infron.runtime.exchange.attempt import AttemptState
from infron.testing import (
    CUT,
    DONE,
    FINISH,
    ROLE,
    USAGE,
    Call,
    RunningGateway,
    Script,
    ScriptedProvider,
    Wait,
    gateway,
    text,
)

NEVER = asyncio.Event
PRICE = {"*": {"prompt": "1", "completion": "10"}}
SCRIPTS: dict[str, Script] = {
    "completed": [ROLE, text("Hello"), FINISH, USAGE, DONE],
    "failed": [ROLE, text("Hello"), CUT],
    "cancelled": [ROLE, text("Hello"), Wait(NEVER())],
}


async def _read(client: Client) -> None:
    await client.rest()


async def _leave(client: Client) -> None:
    await client.until(b"Hello")
    client.close()


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("outcome", "then", "reason"),
    [("completed", _read, "stop"), ("failed", _read, "provider_unavailable"), ("cancelled", _leave, "cancel")],
)
async def test_an_exchange_logs_its_end_once_with_its_reason(
    tmp_path: Path, outcome: str, then: Callable[[Client], object], reason: str
) -> None:
    """No end was logged: what became of an answer could only be asked for by its id."""
    log = tmp_path / "infron.log"

    def script(call: Call) -> Script:
        return SCRIPTS[outcome]

    async with (
        ScriptedProvider(script) as provider,
        process(tmp_path, provider, f'[log]\nfile = "{log}"\n') as gateway,
    ):
        client = await (await ask(gateway.port, messages=[{"role": "user", "content": "a secret"}])).head()
        await then(client)  # type: ignore[misc]
        await true(lambda: log.exists() and f"id={client.id}" in log.read_text())
        text = log.read_text()
    (line,) = [line for line in text.splitlines() if client.id in line]
    assert re.search(rf" outcome={outcome} reason=\"?{reason}", line), line
    assert not any(word in text for word in ("secret", "Hello", "provider-key"))


@pytest.fixture
def busy() -> Iterator[threading.Event]:
    """What the thread that counts waits for."""
    free = threading.Event()
    yield free
    free.set()


@contextlib.asynccontextmanager
async def ending(provider: ScriptedProvider, ledger: Path, **row: Any) -> AsyncIterator[RunningGateway]:
    """A gateway whose clients are still there when it ends."""
    providers = {"mock": provider.definition(**row, prices=PRICE)}
    try:
        async with gateway(providers=providers, ledger={"url": f"sqlite:///{ledger}"}) as running:
            yield running
    finally:
        await all_closed()


async def test_a_gateway_that_ends_completes_answers_that_wait_for_their_count_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: threading.Event
) -> None:
    """Its client was told that the gateway is shutting down, after the last word of its answer."""
    monkeypatch.setattr(gateways, "SETTLE_SECONDS", 0.1)
    ledger = tmp_path / "infron.db"
    async with ScriptedProvider([ROLE, text("Hello there"), FINISH, DONE]) as provider:
        async with ending(provider, ledger) as running:
            running.context.counter._threads.submit(busy.wait)
            client = await (await ask(running.port)).head()
            await client.until(b"Hello")
            (exchange,) = running.context.registry.running()
            await true(lambda: exchange.attempts.current.state is AttemptState.COMPLETE)
            reading = asyncio.create_task(client.rest())
        await reading
    assert client.frames()[-1] == "[DONE]"
    with closing(sqlite3.connect(ledger)) as connection:
        found = connection.execute("SELECT outcome, estimated, charge > 0 FROM entries").fetchall()
    assert found == [("completed", 1, 1)]
