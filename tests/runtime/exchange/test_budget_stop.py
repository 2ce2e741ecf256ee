"""A budget that is used up while an answer comes: it stops at the end of a frame, and what was delivered is charged."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from ledgers import query
from limited import limited_key
from rawclient import ask, gateway, true, within

from infron.testing import ROLE, ScriptedProvider, Wait, text

NEVER = asyncio.Event
WORDS = [text(f" word{number}") for number in range(2000)]  # two tokens each at least, and six bytes
PRICES = {"*": {"prompt": "1", "completion": "10"}}  # USD per million tokens
COMPLETION = 10_000_000  # picodollars a token
STOPS = {"value": "yes", "source": "a test", "date": "2026-11-28"}


def watched(provider: ScriptedProvider, **more: Any) -> dict[str, Any]:
    return provider.definition(on_disconnect="cancel", stops_billing=STOPS, prices=PRICES, **more)


def charged(url: str) -> int:
    [(charge,)] = query(url, "SELECT charge FROM spend WHERE period = 'ever' AND holder LIKE 'key_%'")
    return int(charge)


async def test_stream_stops_at_a_frame_boundary_where_its_budget_is_used_up(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    budget = 0.02  # 2,000 tokens of an answer
    key = limited_key(url, total=budget)
    async with (
        ScriptedProvider([ROLE, *WORDS, Wait(NEVER())]) as provider,
        gateway(providers={"mock": watched(provider)}, ledger={"url": url}) as running,
    ):
        client = await (await ask(running.port, key)).head()
        await client.rest()
        assert client.status == 200
        *_, error, done = client.frames()
        assert done == "[DONE]"
        assert "choices" not in error
        assert error["error"]["code"] == "insufficient_quota"
        told = error["error"]["metadata"]
        assert (told["status"], told["reason"], told["holder"], told["period"], told["resets_at"]) == (
            402, "budget_exhausted", "key", "total", None,
        )  # fmt: skip
        words = client.words().split()
        assert words == [f"word{number}" for number in range(len(words))], "a word is missing, or was cut"
        await true(lambda: query(url, "SELECT live, held FROM holders") == [(0, 0)])
        ceiling = round(budget * 10**12)
        assert 0.6 * ceiling < charged(url) <= ceiling
        await within((await provider.called()).closed.wait(), 5)
        [(outcome, reason, hold)] = query(url, "SELECT outcome, on_disconnect, hold FROM entries")
        assert outcome == "cancelled"
        assert reason == "stopped: its budget is used up; cancel: closing the connection stops mock"
        assert charged(url) <= hold <= ceiling
