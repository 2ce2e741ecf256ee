from __future__ import annotations

from datetime import UTC, datetime
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import opened, opening, running, settlement

from infron.errors import InvalidRequest
from infron.money import PICODOLLARS
from infron.runtime.ledger import entries, receipts, usage
from infron.runtime.ledger.administration import create_key, usage_rows
from infron.runtime.ledger.stores import opened as opened_store
from infron.runtime.ledger.verdict import Recorded


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


async def test_spend_counts_the_day_the_week_from_monday_the_month_and_all(url: str):
    days = {
        "2025-11-30T12:00": 1,  # Sunday of the week before, and another month
        "2025-12-01T00:00": 10,  # Monday
        "2025-12-02T23:59": 100,
        "2025-12-03T00:00": 1_000,
        "2024-12-03T00:00": 10_000,
    }
    async with running(url, clock=lambda: at("2025-12-03T18:00")) as ledger:
        for day, charge in days.items():
            assert await opened(ledger, f"gen-{day}", key_id="key_a", created_at=at(day))
            ledger.settled(settlement(f"gen-{day}", charge=charge))
        spend = await ledger.spend("key_a")
        assert (spend.today, spend.week, spend.month, spend.ever) == (1_000, 1_110, 1_110, 11_111)
        assert (await ledger.spend("key_b")).ever == 0
        assert (await ledger.spend(None)).ever == 0


async def test_usage_is_summed_by_model_provider_key_and_day(url: str):
    key, _ = create_key(url, "mine")
    async with running(url) as ledger:
        for id, more in {
            "gen-1": {"model": "a", "key_id": key.id, "created_at": at("2025-12-01T01:00")},
            "gen-2": {"model": "b", "key_id": key.id, "created_at": at("2025-12-02T01:00")},
            "gen-3": {"model": "b", "created_at": at("2025-12-02T02:00")},
            "gen-4": {"model": "c", "created_at": at("2025-12-02T03:00")},
        }.items():
            assert await opened(ledger, id, **more)
        ledger.settled(settlement("gen-1", charge=1))
        ledger.settled(settlement("gen-2", charge=2, estimated=True))
        ledger.settled(settlement("gen-3", charge=4, provider="other"))
        await ledger.spend(None)
        assert [(row.name, row.charge) for row in usage_rows(url, "model")] == [("b", 6), ("a", 1)]
        assert [(row.name, row.charge) for row in usage_rows(url, "provider")] == [("other", 4), ("host", 3)]
        assert [(row.name, row.charge) for row in usage_rows(url, "key")] == [("(no key)", 4), ("mine", 3)]
        assert [(row.name, row.charge) for row in usage_rows(url, "day")] == [("2025-12-01", 1), ("2025-12-02", 6)]
        [row] = usage_rows(url, "day", since=at("2025-12-02T00:00"))
        assert (row.exchanges, row.prompt, row.completion, row.cost, row.estimated) == (2, 20, 40, 10, 1)
        with pytest.raises(InvalidRequest):
            usage_rows(url, "colour")  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.none() | st.integers(0, 2**63 - 1) | st.integers(0, 2**80), min_size=1, max_size=20))
def test_money_is_summed_exactly_whatever_its_size(charges: list[int | None]):
    with TemporaryDirectory() as folder, opened_store(f"sqlite:///{folder}/ledger.db") as store, store.round() as rows:
        for number, charge in enumerate(charges):
            began = opening(f"gen-{number}")
            assert entries.open_entries(rows, [began], "me") == [Recorded()]
            ended = settlement(began.id, charge=charge, cost=charge)
            [posted] = entries.settle_entries(rows, [(ended, began)], "me", 0)
            assert isinstance(posted, entries.Posted)
            assert posted.charge == (charge or 0)
            found = receipts.read_entry(rows, began.id)
            assert found is not None
            assert found.receipt.total_cost == (None if charge is None else charge / PICODOLLARS)
        [row] = usage.read_usage(rows, "model")
        assert row.charge == row.cost == sum(charge or 0 for charge in charges)
        assert row.unpriced == charges.count(None)
