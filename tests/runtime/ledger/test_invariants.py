"""A ledger that adds up is left in peace; whatever is changed in it is told, and running exchanges are counted anew."""

from __future__ import annotations

import pytest
from ledgers import admitted, query, running, settlement
from limited import limited_key, organisation

from infron.runtime.ledger import invariants, retention, spend, statements
from infron.runtime.ledger.entries import EPOCH
from infron.runtime.ledger.stores import opened


def found(url: str) -> list[tuple[str, str, int, int]]:
    with opened(url) as store:
        store.reach()
        with store.view() as rows:
            return [(one.invariant, one.period, one.said, one.counted) for one in invariants.check(rows, ceilings=True)]


async def fill(url: str) -> None:
    """One exchange that was settled, one that runs: of a key with a budget, below an organisation with slots."""
    above = organisation(url, concurrent=5)
    limited_key(url, above, total=1.0, tokens_per_minute=100)
    [(key,)] = query(url, "SELECT id FROM keys")
    ledger = running(url)
    one = await ledger.__aenter__()
    for id in ("gen-1", "gen-2"):
        verdict = await admitted(one, id, key_id=key, organisation=above, least=1, most=9, tokens=4, created_at=1e9)
        assert verdict.hold == 9
    one.settled(settlement("gen-1", charge=7))
    await one.receipt("gen-1", key)
    await ledger.__aexit__(None, None, None)


async def test_ledger_that_adds_up_is_left_in_peace(url: str):
    await fill(url)
    assert query(url, "SELECT live, held FROM holders") == [(1, 9), (1, 9)]
    assert found(url) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("UPDATE holders SET live = 2 WHERE id LIKE 'key_%'", [("live", "", 2, 1)]),
        ("UPDATE holders SET held = 0 WHERE id LIKE 'org_%'", [("held", "", 0, 9)]),
        ("UPDATE entries SET hold = 8 WHERE id = 'gen-2'", [("held", "", 9, 8)] * 2),
        ("UPDATE entries SET counted = 0 WHERE id = 'gen-2'", [("live", "", 1, 0)] * 2),
        ("DELETE FROM entries WHERE id = 'gen-2'", [("live", "", 1, 0), ("held", "", 9, 0)] * 2),
        ("UPDATE spend SET charge = 8 WHERE period = 'ever' AND holder LIKE 'key_%'", [("spend", "ever", 8, 7)]),
        ("DELETE FROM spend WHERE period = '2001-W36' AND holder LIKE 'org_%'", [("spend", "2001-W36", 0, 7)]),
        ("INSERT INTO accounts (id, holder, balance) VALUES ('acc_1', 'key_1', 5)", [("balance", "", 5, 0)]),
        ("UPDATE entries SET settled_ms = NULL WHERE id = 'gen-1'", [("settled", "", 1, 0)]),
        ("UPDATE budgets SET ceiling = 15", [("ceiling", "ever", 15, 16)]),
        ("UPDATE budgets SET ceiling = 16", []),
    ],
)
async def test_ledger_that_was_changed_is_told_on(url: str, change: str, expected: list[tuple[str, str, int, int]]):
    await fill(url)
    query(url, change)
    assert found(url) == expected


async def test_repair_counts_what_runs_and_leaves_money_alone(url: str):
    await fill(url)
    query(url, "UPDATE holders SET live = 4, held = 0")
    query(url, "UPDATE spend SET charge = 8 WHERE period = 'ever' AND holder LIKE 'key_%'")
    with opened(url) as store, store.round() as rows:
        assert len(invariants.repair(rows)) == 4
    assert query(url, "SELECT live, held FROM holders") == [(1, 9), (1, 9)]
    assert found(url) == [("spend", "ever", 8, 7)]


async def test_ledger_whose_old_entries_were_removed_adds_up(url: str):
    # Totals and transfers stood on entries that were not there any more.
    await fill(url)
    limited_key(url, name="old")
    day = 1_000_000_000_000 // retention.DAY_MS
    for id, key, created in (("gen-3", "key_x", day - 40), ("gen-4", "key_x", day + 400)):
        statement = (
            "INSERT INTO entries (id, owner, key_id, model, provider, provider_model, streamed, created_ms, outcome,"
            " settled_ms, charge) VALUES (?1, 'o', ?2, 'm', 'p', 'm', 0, ?3, 'completed', 1, 5)"
        )
        query(url, statement, id, key, created * retention.DAY_MS)
        with opened(url) as store, store.round() as rows:
            spend.add_charges(rows, {(key, EPOCH + created): 5})
    assert found(url) == []
    query(url, "DELETE FROM entries WHERE id IN ('gen-1', 'gen-3')")
    assert found(url) != []
    with opened(url) as store, store.round() as rows:
        rows.change(statements.KEPT_FROM, str((day + 100) * retention.DAY_MS))
    assert found(url) == []
    query(url, "UPDATE spend SET charge = 6 WHERE holder = 'key_x' AND period LIKE '2001-%' AND length(period) = 7")
    assert found(url) == [("spend", "2001-07", 6, 5)]
