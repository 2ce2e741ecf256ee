"""Lists of one's own generations: those that run, those that are over, in pages."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from ledgers import opening, running, settlement
from limited import limited_key
from rawclient import ask, gateway, get, settled, within

from infron.runtime.ledger import listing
from infron.runtime.ledger.ledger import Recorded
from infron.testing import DONE, FINISH, ROLE, USAGE, ScriptedProvider, Wait, text


async def listed(port: int, query: str = "", *headers: str) -> Any:
    found = await get(port, f"/v1/generations{query}", *headers)
    return json.loads(found.received) if found.status == 200 else (found.status, json.loads(found.received)["error"])


async def test_generations_that_run_are_listed_with_how_far_they_are_and_past_ones_in_pages(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    mine, other = limited_key(url, name="mine"), limited_key(url, name="other")
    hold = asyncio.Event()
    async with (
        ScriptedProvider([ROLE, text("word " * 100), Wait(hold), FINISH, USAGE, DONE]) as provider,
        gateway(providers={"mock": provider.definition()}, ledger={"url": url}) as running,
        gateway(providers={"mock": provider.definition()}, ledger={"url": url}) as sibling,
    ):
        clients = [await (await ask(running.port, mine)).head() for _ in range(3)]
        foreign = await (await ask(running.port, other)).head()
        for client in (*clients, foreign):
            await client.until(b"word")
        ids = sorted((client.id for client in clients), reverse=True)
        page = await listed(running.port, "?state=live&limit=2", mine)
        assert (page["object"], page["has_more"], page["first_id"], page["last_id"]) == ("list", True, ids[0], ids[1])
        assert [(one["id"], one["outcome"], one["tokens_completion"]) for one in page["data"]] == [
            (ids[0], None, 125), (ids[1], None, 125),
        ]  # fmt: skip
        page = await listed(running.port, f"?state=live&after={ids[1]}", mine)
        assert ([one["id"] for one in page["data"]], page["has_more"]) == (ids[2:], False)
        assert [one["id"] for one in (await listed(sibling.port, "?state=live", mine))["data"]] == ids
        assert (await listed(running.port, "", mine))["data"] == []
        hold.set()
        for client in (*clients, foreign):
            await client.rest()
        await within(running.context.registry.idle.wait())
        assert (await listed(running.port, "?state=live", mine))["data"] == []
        for port in (running.port, sibling.port):
            page = await listed(port, "?limit=2", mine)
            assert [(one["id"], one["outcome"]) for one in page["data"]] == [(id, "completed") for id in ids[:2]]
            page = await listed(port, f"?limit=2&after={page['last_id']}", mine)
            assert ([one["id"] for one in page["data"]], page["has_more"]) == (ids[2:], False)
        [one] = (await listed(running.port, "", other))["data"]
        assert one["id"] == foreign.id
        assert (await get(running.port, "/api/v1/generations", mine)).status == 200
        for query in ("?limit=0", "?limit=x", "?limit=101", "?state=dead"):
            status, error = await listed(running.port, query, mine)
            assert (status, error["param"]) == (400, query[1:6])


async def test_generations_of_a_gateway_without_keys_are_everybodys() -> None:
    async with (
        ScriptedProvider([ROLE, text("Hello"), FINISH, USAGE, DONE]) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
    ):
        client = await (await ask(running.port)).head()
        await client.rest()
        await settled(running, client.id)
        page = await listed(running.port)
        assert [one["id"] for one in page["data"]] == [client.id]


async def test_page_says_from_where_on_there_may_be_more_though_it_is_empty(tmp_path: Path) -> None:
    """Of a key that is seldom used among others that are used often, no more is looked at than keeps a thread short."""
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    async with running(url) as ledger:
        for number in range(30):
            id, key = f"gen-{number:03}", "key_rare" if number == 3 else "key_often"
            recorded: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            ledger.open(opening(id, key_id=key), recorded.set_result)
            assert isinstance(await recorded, Recorded)
            ledger.settled(settlement(id, key_id=key))
        after, found, looks = None, [], 0
        while True:
            page = await ledger.ask(
                lambda rows, after=after: listing.read_past(rows, "key_rare", limit=5, after=after, looked_at=10)
            )
            found += [receipt.id for receipt in page.receipts]
            looks += 1
            if not page.more:
                break
            after = page.last
        assert found == ["gen-003"]
        assert looks <= 4
