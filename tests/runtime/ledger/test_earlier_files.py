"""Ledgers as earlier versions left them, made by their own code: all that was recorded is there afterwards.

Each has three keys (one with a limit of $2.50, one free, one revoked), eight exchanges of two of them and of no key,
over forty days and a turn of the year, and one that ran when its process was killed.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ledgers import query, running

from infron.policy.holders import PERIODS, Budget, Limits, period_name
from infron.runtime.ledger.administration import administration

EARLIER = Path(__file__).parent / "earlier"
SECRETS = {
    "second-tables": {
        "limited": "sk-infron-ODJTfmgkhHMCigZkfWPc6sRCspnr_pfX807bi5gDdVk",
        "free": "sk-infron-3c4E8cV_3fx5rQwqbN8hsI3UhpNkDPRsGIImPKYcBPk",
        "revoked": "sk-infron-UrRbwXQ2982g1moMxzrwkMwn-VkrSgzlOGyw8c4qslc",
    },
    "third-tables": {
        "limited": "sk-infron-J6y2wWv5LFAqxR4r3DpD1ZocofQ62dkr3KgFvi1RYBU",
        "free": "sk-infron-zNp8eHsNolXx2l__n8BhRM5DtaaKr5I8hViLytgwMjc",
        "revoked": "sk-infron-kYQ__vM6ozaySJZXtM-hZGc9epVPUtJAb2YJwdW_Xfg",
    },
}


@pytest.mark.parametrize("made", sorted(SECRETS))
async def test_ledger_of_an_earlier_version_keeps_keys_limits_and_sums(made: str, url: str, tmp_path: Path):
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.executescript((EARLIER / f"{made}.sql").read_text())
    async with running(url) as ledger:
        found = {name: ledger.keys.find(secret) for name, secret in SECRETS[made].items()}
        limited, free = found["limited"], found["free"]
        assert limited is not None
        assert free is not None
        assert found["revoked"] is None
        assert limited.limits == Limits(budgets=(Budget("total", 25 * 10**11),))
        assert (limited.limited, free.limited) == (True, False)
        assert (await ledger.spend(limited.id)).ever == sum(range(1, 9)) * 10**10
        assert (await ledger.spend(free.id)).ever == 8 * 2**56 + sum(range(9, 17))
        orphan = await ledger.receipt("gen-1767744000-00000000000000000000", limited.id)
        assert orphan is not None
        assert (orphan.orphaned, orphan.total_cost) == (True, 0)
    owed: Counter[tuple[str, str]] = Counter()
    for key_id, created, charge in query(url, "SELECT coalesce(key_id, ''), created_ms, charge FROM entries"):
        for period in PERIODS:
            owed[key_id, period_name(period, datetime.fromtimestamp(created / 1000, UTC).date())] += charge
    told = {
        (holder, period): millions * 10**18 + charge
        for holder, period, millions, charge in query(url, "SELECT holder, period, millions, charge FROM spend")
    }
    assert {place: charge for place, charge in owed.items() if charge} == told
    assert any(period == "2026-W01" for _, period in told)
    with administration(url, "test") as admin:
        assert [(key.name, key.kind, key.revoked_at is None) for key in admin.list_keys()] == [
            ("limited", "caller", True), ("free", "caller", True), ("revoked", "caller", False)
        ]  # fmt: skip
        [row] = admin.usage("model")
        ever = sum(charge for (_, period), charge in told.items() if period == "ever")
        assert (row.exchanges, row.charge) == (25, ever)
