"""Limits at the gateway: who may begin, what the others are told, and what is given back when an exchange is over."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ledgers import query
from limited import limited_key
from rawclient import ask, gateway, true

from infron.testing import DONE, FINISH, ROLE, USAGE, ScriptedProvider, Wait, text


async def test_slot_of_a_key_is_taken_by_one_stream_at_once_and_given_back_when_it_is_settled(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    key = limited_key(url, concurrent=1)
    hold = asyncio.Event()
    async with (
        ScriptedProvider([ROLE, text("Hello"), Wait(hold), FINISH, USAGE, DONE]) as provider,
        gateway(providers={"mock": provider.definition()}, ledger={"url": url}) as running,
    ):
        first = await (await ask(running.port, key)).head()
        await first.until(b"Hello")
        second = await (await ask(running.port, key)).head()
        error = await second.error()
        assert (first.status, second.status, error["code"]) == (200, 429, "rate_limit_exceeded")
        assert error["metadata"]["limit"] == "concurrent"
        assert second.headers["retry-after"] == "1"
        hold.set()
        await first.rest()
        await true(lambda: query(url, "SELECT live, held FROM holders") == [(0, 0)])
        third = await (await ask(running.port, key)).head()
        await third.rest()
        assert third.status == 200
        assert [outcome for (outcome,) in query(url, "SELECT outcome FROM entries")][:1] == ["completed"]
        assert len(provider.calls) == 2
