"""A settlement is made once, and whoever listens is told of it: the ledger, the numbers, the log."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from process import process
from rawclient import Client, ask, true

from infron.testing import CUT, DONE, FINISH, ROLE, USAGE, Call, Script, ScriptedProvider, Wait, text

NEVER = asyncio.Event
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
