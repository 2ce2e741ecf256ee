from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from ledgers import opened, query, running, settlement, until
from rawclient import ask, gateway, get

from infron.policy.editing import KeyEdit
from infron.runtime.ledger import retention
from infron.runtime.ledger.administration import administration
from infron.testing import DONE, FINISH, ScriptedProvider, text

DAY = 86_400
NOW = 20_000 * DAY + 3600.0  # an hour into a day


def id_at(seconds: float, number: int) -> str:
    return f"gen-{int(seconds):010d}-{number:020x}"


async def test_settled_entries_older_than_so_many_days_go_in_steps_and_what_was_charged_stays(
    url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(retention, "STEP", 7)
    with administration(url, "test") as admin:
        key, _ = admin.create_key(KeyEdit(name="one"))
        admin.give_credits("one", Decimal(1))
    today = NOW // DAY * DAY
    ages = {"open": today - 9 * DAY, "last to go": today - 2 * DAY - 1, "first to stay": today - 2 * DAY, "now": NOW}
    async with running(url, clock=lambda: NOW) as ledger:
        for number in range(50):
            began = NOW - 10 * DAY + number
            assert await opened(ledger, id_at(began, number), key_id=key.id, created_at=began)
            ledger.settled(settlement(id_at(began, number), charge=3))
        for number, (_, began) in enumerate(ages.items(), 50):
            assert await opened(ledger, id_at(began, number), key_id=key.id, created_at=began)
            if number > 50:
                ledger.settled(settlement(id_at(began, number), charge=3))
        before = await ledger.spend(key.id)
        assert before.ever == 53 * 3
        async with running(url, clock=lambda: NOW, keep_days=2) as keeping:
            await until(lambda: query(url, "SELECT count(*) FROM entries") == [(3,)], 15.0)
            kept = {began for name, began in ages.items() if name != "last to go"}
            assert {created / 1000 for (created,) in query(url, "SELECT created_ms FROM entries")} == kept
            assert await keeping.spend(key.id) == before
            assert query(url, "SELECT value FROM meta WHERE name = 'kept_from_ms'") == [
                (str(int(today - 2 * DAY) * 1000),)
            ]
            assert keeping.removed(id_at(ages["last to go"], 1))
            assert not keeping.removed(id_at(ages["first to stay"], 1))
            assert not keeping.removed("gen-1")
        assert query(url, "SELECT count(*) FROM transfers") == [(1,)]
        # The check compared all totals with the entries, and called what is gone missing.
        with administration(url, "test") as admin:
            assert admin.check() == ([], [])
            early, late = "2024-09", (datetime.fromtimestamp(NOW, UTC).date().isoformat())
            for period in (early, late):
                query(url, "UPDATE spend SET charge = charge + 1 WHERE period = ?", period)
                assert [(one.invariant, one.period) for one in admin.check()[0]] == [("spend", period)]
                query(url, "UPDATE spend SET charge = charge - 1 WHERE period = ?", period)


async def test_entries_are_kept_for_ever_unless_the_settings_say_otherwise(url: str):
    async with running(url, clock=lambda: NOW) as ledger:
        assert await opened(ledger, id_at(1, 1), created_at=1.0)
        ledger.settled(settlement(id_at(1, 1)))
        assert await ledger.receipt(id_at(1, 1), None)
        assert not ledger.removed(id_at(1, 1))
    assert retention.keeps_from(int(NOW * 1000), 0) == 0


async def test_receipt_that_is_not_kept_any_longer_is_refused_in_a_sentence(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/ledger.db"
    async with (
        ScriptedProvider([text("Hello"), FINISH, DONE]) as provider,
        gateway(providers={"mock": provider.definition()}, ledger={"url": url, "keep_days": 30}) as running_gateway,
    ):
        port = running_gateway.port
        client = await (await ask(port)).head()
        await client.rest()
        assert (await get(port, f"/v1/generation?id={client.id}")).status == 200
        for id, words in ((id_at(1_700_000_000, 1), "kept for 30 days"), ("gen-1", "no generation with this id")):
            for path in (f"/v1/generation?id={id}",):
                found = await get(port, path)
                assert found.status == 404
                assert words in json.loads(found.received)["error"]["message"]
