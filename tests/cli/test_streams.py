"""`infron streams`: what runs in all processes of a gateway, and stopping one of it."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import Infron, Terminal
from rawclient import BOUND, ask, gateway, true, within

from infron.cli import streams
from infron.testing import ROLE, ScriptedProvider, Wait, text

NEVER = asyncio.Event


async def listed(infron: Infron) -> list[dict[str, Any]]:
    """What runs, once each process has told how far it is: a busy one may take its time."""
    async with asyncio.timeout(BOUND):
        while True:
            code, out, _ = await asyncio.to_thread(infron, "streams", "--json")
            assert code == 0
            found: list[dict[str, Any]] = json.loads(out)
            if all(each["tokens"] is not None for each in found):
                return found


async def test_streams_of_two_processes_are_listed_with_how_far_they_are_and_one_is_stopped(
    tmp_path: Path, infron: Infron
) -> None:
    ledger = {"url": f"sqlite:///{tmp_path / 'infron.db'}"}
    async with (
        ScriptedProvider([ROLE, text("word " * 100), Wait(NEVER())]) as provider,
        gateway(providers={"mock": provider.definition()}, ledger=ledger) as one,
        gateway(providers={"mock": provider.definition()}, ledger=ledger) as two,
    ):
        clients = [await (await ask(running.port)).head() for running in (one, two)]
        for client in clients:
            await client.until(b"word")
        found = await listed(infron)
        assert [each["id"] for each in found] == sorted(client.id for client in clients)
        for each in found:
            assert (each["state"], each["tokens"], each["model"]) == ("streaming", 125, "mock/any")
            assert each["tokens_per_second"] > 0 < each["age_seconds"]
        code, out, _ = await asyncio.to_thread(infron, "streams")
        assert "2 running" in out
        code, _, err = await asyncio.to_thread(infron, "streams", "--cancel", clients[0].id)
        assert (code, err) == (0, f"{clients[0].id} is being stopped.\n")
        await within(clients[0].rest())
        assert clients[0].frames()[-2]["error"]["message"] == "This generation was cancelled by the gateway's operator."
        await within(one.context.registry.idle.wait())
        code, _, err = await asyncio.to_thread(infron, "streams", "--cancel", clients[0].id)
        assert (code, err) == (0, f"{clients[0].id} is over already: cancelled.\n")
        assert len(two.context.registry) == 1


async def test_nothing_is_written_of_a_stream_that_nobody_looks_at(tmp_path: Path) -> None:
    ledger = tmp_path / "infron.db"
    async with (
        ScriptedProvider([ROLE, text("Hello"), Wait(NEVER())]) as provider,
        gateway(providers={"mock": provider.definition()}, ledger={"url": f"sqlite:///{ledger}"}) as running,
    ):
        client = await (await ask(running.port)).head()
        await client.until(b"Hello")
        writer: Any = running.context.ledger._writer
        looks = writer._poll_at
        await true(lambda: writer._poll_at > looks)
        with sqlite3.connect(ledger) as connection:
            assert connection.execute("SELECT completion, frames FROM entries").fetchall() == [(None, None)]


def test_streams_where_none_runs_says_so(infron: Infron) -> None:
    assert infron("streams") == (1, "", "infron: There is no ledger here yet: no gateway has run with these settings.")
    infron("keys", "create")
    assert infron("streams") == (0, "", "Nothing runs now.\n")
    assert infron("streams", "--json")[1].strip() == "[]"
    code, _, err = infron("streams", "--cancel", "gen-1")
    assert (code, err) == (1, "infron: There is no stream 'gen-1'; `infron streams` shows those that run.")


def test_streams_are_watched_in_a_terminal_alone(infron: Infron, terminal: Callable[..., Terminal]) -> None:
    infron("keys", "create")
    assert infron("streams", "--watch")[0] == 1
    watching = terminal("streams", "--watch")
    watching.until("Nothing runs now")
    watching.process.send_signal(signal.SIGINT)
    watching.rest()
    assert watching.process.wait(10) == 0


@pytest.mark.parametrize(("seconds", "shown"), [(-1, "0:00"), (4.9, "0:04"), (751, "12:31"), (3730, "1:02:10")])
def test_age_is_told_as_clocks_do(seconds: float, shown: str) -> None:
    assert streams.age(seconds) == shown
