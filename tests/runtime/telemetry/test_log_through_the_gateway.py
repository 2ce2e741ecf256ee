"""Each end of an exchange and each answer in the log of a running gateway, and nothing of what was said."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from process import process
from rawclient import ask, gateway, get, settled, true

from infron.testing import CUT, DONE, FINISH, ROLE, USAGE, Pause, ScriptedProvider, Wait, text
from infron.testing.scripts import json_answer

NEVER = asyncio.Event
HELLO = [ROLE, text("Hello"), FINISH, USAGE, DONE]
SECRET = "tell nobody"


def lines(path: Path, event: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in found if line["event"] == event]


@pytest.mark.parametrize(
    ("script", "leaves", "outcome", "reason", "level"),
    [
        (HELLO, False, "completed", "stop", "info"),
        ([ROLE, text("Hello"), CUT], False, "failed", "provider_unavailable", "warning"),
        ([json_answer(429, {"error": {"message": SECRET}})], False, "failed", "rate_limit_exceeded", "warning"),
        ([ROLE, text("Hello"), Wait(NEVER())], True, "cancelled", "cancel: closing the connection stops mock", "info"),
        ([ROLE, text("Hello"), Pause(5), DONE], False, "timed_out", "timeout", "warning"),
    ],
    ids=["completed", "cut", "refused", "cancelled", "timed out"],
)
async def test_log_names_the_reason_of_every_end(
    tmp_path: Path, script: list[Any], leaves: bool, outcome: str, reason: str, level: str
) -> None:
    path = tmp_path / "infron.log"
    async with (
        ScriptedProvider(script) as provider,
        gateway(
            providers={"mock": provider.definition(on_disconnect="cancel")},
            log={"file": str(path), "format": "json", "level": "info", "access": True},
            timeouts={"stall_seconds": 0.3},
        ) as running,
    ):
        client = await (await ask(running.port, messages=[{"role": "user", "content": SECRET}])).head()
        if leaves:
            await client.until(b"Hello")
            client.close()
        else:
            await client.rest()
        receipt = await settled(running)
    (line,) = lines(path, "exchange")
    assert (line["outcome"], line["reason"], line["level"]) == (outcome, reason, level)
    assert line["id"] == receipt["id"]
    assert (line["model"], line["provider"], line["provider_model"]) == ("mock/any", "mock", "any")
    assert line["prompt_tokens"] == receipt["tokens_prompt"]
    answered = next(one for one in lines(path, "access") if one["method"] == "POST")
    assert (answered["path"], answered["status"]) == ("/v1/chat/completions", client.status)
    assert answered.get("cut", False) is leaves
    assert answered["client"] == "127.0.0.1"
    assert SECRET not in path.read_text()
    assert "provider-key" not in path.read_text()


async def test_log_of_answers_has_those_that_became_no_exchange_too(tmp_path: Path) -> None:
    path = tmp_path / "infron.log"
    async with (
        ScriptedProvider(HELLO) as provider,
        gateway(
            providers={"mock": provider.definition()},
            log={"file": str(path), "format": "json", "level": "error", "access": True},
        ) as running,
    ):
        await (await ask(running.port, model="nobody/x")).head()
        await get(running.port, "/v1/nothing?secret=1")
        await get(running.port, "/healthz")
    found = [(one["method"], one["path"], one["status"]) for one in lines(path, "access")]
    assert found == [
        ("POST", "/v1/chat/completions", 404),
        ("GET", "/v1/nothing", 404),
        ("GET", "/healthz", 200),
    ]
    assert not lines(path, "exchange")


async def test_log_of_several_workers_is_one_file_of_whole_lines_that_may_be_rotated(tmp_path: Path) -> None:
    path = tmp_path / "infron.log"
    settings = f'[server]\nworkers = 2\n[log]\nfile = "{path}"\nformat = "json"\naccess = true\n'
    async with ScriptedProvider(HELLO) as provider, process(tmp_path, provider, settings) as running:
        ids = []
        for _ in range(3):
            clients = [await (await ask(running.port)).head() for _ in range(20)]
            for client in clients:
                await client.rest()
            ids += [client.id for client in clients]
            await true(lambda: path.exists() and path.stat().st_size)
            path.rename(tmp_path / f"old-{len(ids)}.log")
        running.signal(signal.SIGTERM)
        assert await running.ended() == 0
    files = [*tmp_path.glob("old-*.log"), *tmp_path.glob("infron.log")]
    assert Counter(line["id"] for file in files for line in lines(file, "exchange")) == Counter(ids)
    assert sum(line["path"] == "/v1/chat/completions" for file in files for line in lines(file, "access")) == 60
