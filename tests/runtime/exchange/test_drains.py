"""Answers that are read on after their client left: how many at once, who makes room, and what a cut one costs."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ledgers import query
from rawclient import Client, ask, entries, gateway, locked, settled, true, within

from infron.runtime.ledger.administration import create_key
from infron.testing import DONE, FINISH, ROLE, RunningGateway, ScriptedProvider, Wait, frame, text

NEVER = asyncio.Event
PRICES = {"*": {"prompt": "1", "completion": "10"}}  # USD per million tokens
REPORT = frame(choices=[], usage={"prompt_tokens": 10, "completion_tokens": 5000, "total_tokens": 5010})
WHOLE = 10e-6 + 5000 * 10e-6  # USD


async def left_at_hello(running: RunningGateway, *headers: str, **fields: Any) -> Client:
    client = await ask(running.port, *headers, **fields)
    if fields.get("stream", True):
        await (await client.head()).until(b"Hello")
    return client


def receipts(running: RunningGateway, columns: str) -> list[tuple[Any, ...]]:
    return query(running.context.config.ledger_url(), f"SELECT {columns} FROM entries ORDER BY created_ms, id")


async def test_drains_of_one_key_leave_room_for_those_of_others(tmp_path: Path) -> None:
    # A burst passed the cap of its key, as it was asked for at the start only, and took the cap of all for itself.
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    greedy, other = (f"authorization: Bearer {create_key(url, name)[1]}" for name in ("greedy", "other"))
    hold = asyncio.Event()
    async with (
        ScriptedProvider([ROLE, text("Hello"), Wait(hold), FINISH, REPORT, DONE]) as provider,
        gateway(
            providers={"mock": provider.definition(on_disconnect="drain", prices=PRICES)},
            ledger={"url": url},
            drain={"max_concurrent": 8, "max_per_key": 3},
        ) as running,
    ):
        burst = [await left_at_hello(running, greedy) for _ in range(12)]
        for client in burst:
            client.close()
        await true(lambda: len(running.context.registry) == 3)
        late = await left_at_hello(running, other)
        late.close()
        await true(lambda: running.context.ledger.drains_of(late_key(url)) == 1)
        hold.set()
        await within(running.context.registry.idle.wait())
        await entries(running)
        found = Counter(receipts(running, "(SELECT name FROM keys WHERE id = key_id), outcome, cost IS NULL"))
        assert found == {("greedy", "drained", 0): 3, ("greedy", "cancelled", 1): 9, ("other", "drained", 0): 1}
        [(cut,)] = set(query(url, "SELECT on_disconnect FROM entries WHERE outcome = 'cancelled'"))
        assert cut.endswith("; cut short: too many answers of this key are being read on already (3)")


def late_key(url: str) -> str:
    [(id,)] = query(url, "SELECT id FROM keys WHERE name = 'other'")
    return str(id)


@pytest.mark.parametrize(
    ("row", "headers", "fields", "status"),
    [
        ("drain", (), {}, 429),
        ("cancel", (), {}, 200),
        ("cancel", (), {"stream": False}, 429),
        ("cancel", ("x-infron-on-disconnect: drain",), {}, 429),
    ],
)
async def test_a_key_with_too_many_drains_is_refused_whatever_may_drain(
    row: str, headers: tuple[str, ...], fields: dict[str, Any], status: int
) -> None:
    hold = asyncio.Event()
    async with (
        ScriptedProvider([ROLE, text("Hello"), Wait(hold), FINISH, REPORT, DONE]) as provider,
        gateway(providers={"mock": provider.definition(on_disconnect=row)}, drain={"max_per_key": 1}) as running,
    ):
        client = await left_at_hello(running, "x-infron-on-disconnect: drain")
        client.close()
        await true(lambda: running.context.ledger.drains_of(None) == 1)
        second = await ask(running.port, *headers, **fields)
        if status == 200:
            await second.head()
        else:
            assert (await second.head()).status == status
            assert "still being read to their end" in (await second.error())["message"]
        hold.set()


async def test_a_drain_goes_on_while_the_ledger_cannot_be_written(tmp_path: Path) -> None:
    # While a backup held the lock, every answer was cut short, and the receipt said that there were too many.
    hold = asyncio.Event()
    path = tmp_path / "infron.db"
    async with (
        ScriptedProvider([ROLE, text("Hello"), Wait(hold), FINISH, REPORT, DONE]) as provider,
        gateway(
            providers={"mock": provider.definition(on_disconnect="drain", prices=PRICES)},
            ledger={"url": f"sqlite:///{path}"},
        ) as running,
    ):
        clients = [await left_at_hello(running) for _ in range(3)]
        ledger = running.context.ledger
        with locked(path):
            for client in clients:
                client.close()
            await true(lambda: ledger.healthy is not None)
            assert len(running.context.registry) == 3
        await true(lambda: ledger.healthy is None)
        hold.set()
        await within(running.context.registry.idle.wait())
        await entries(running)
        assert receipts(running, "outcome, charge") == [("drained", round(WHOLE * 10**12))] * 3


@pytest.mark.parametrize(
    ("row", "settings", "headers"),
    [
        ("drain", {"drain": {"max_concurrent": 0}}, ()),
        ("drain", {"drain": {"seconds": 0.1}}, ()),
        ("drain", {"billing": {"allow_cancel_override": True}}, ("x-infron-on-disconnect: cancel",)),
        ("drain", {"timeouts": {"total_seconds": 0.3}}, ()),
        ("drain", {"timeouts": {"stall_seconds": 0.3}}, ()),
        ("cancel", {"drain": {"seconds": 0.1}}, ("x-infron-on-disconnect: drain",)),
        ("cancel", {}, ()),
    ],
)
async def test_a_cut_answer_costs_what_nobody_knows_where_the_provider_bills_on(
    row: str, settings: dict[str, Any], headers: tuple[str, ...]
) -> None:
    # The operator's cost was recorded as what had been delivered, though the provider went on and billed all of it.
    async with (
        ScriptedProvider([ROLE, text("Hello"), Wait(NEVER())]) as provider,
        gateway(providers={"mock": provider.definition(on_disconnect=row, prices=PRICES)}, **settings) as running,
    ):
        client = await left_at_hello(running, *headers)
        if "timeouts" not in settings:
            client.close()
        found = await settled(running, client.id)
    assert found["outcome"] == ("timed_out" if "timeouts" in settings else "cancelled")
    assert found["total_cost"] > 0
    assert found["estimated"] is True
    assert found["provider_cost"] == (None if row == "drain" else found["total_cost"])
