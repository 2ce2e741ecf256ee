"""A few kills under load keep every promise of `make kill`, and a ledger that breaks one is told on."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest
from ledgers import opened, query, running, settlement


@pytest.fixture(scope="module")
def kill() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kill", Path(__file__).parents[1] / "kill.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["kill"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.heavy
@pytest.mark.parametrize("workers", [1, 2])
async def test_kills_under_load_lose_no_entry_and_charge_none_twice(kill: ModuleType, tmp_path: Path, workers: int):
    seen = await kill.kill_often(tmp_path, 1, workers, random.Random(workers))
    assert len(seen.content) > 3
    assert kill.broken(tmp_path / "infron.db", seen) == []


async def test_kills_that_broke_a_promise_are_told_on(kill: ModuleType, tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    seen = kill.Seen()
    async with running(url) as ledger:
        for number in range(4):
            id = f"gen-{number}"
            assert await opened(ledger, id)
            ledger.settled(settlement(id, charge=kill.CHARGE))
            seen.content.add(id)
    assert kill.broken(tmp_path / "infron.db", seen) == []
    query(url, "UPDATE entries SET outcome = NULL WHERE id = 'gen-0'")
    query(url, "DELETE FROM entries WHERE id = 'gen-1'")
    query(url, "UPDATE entries SET charge = 3 WHERE id = 'gen-2'")
    missing, unsettled, uncharged, unequal, _ = kill.broken(tmp_path / "infron.db", seen)
    assert missing == "1 exchanges with content have no entry, such as gen-1"
    assert unsettled == "1 entries are open or drain, though nothing runs"
    assert uncharged == "1 entries are not charged by their report, such as gen-2"
    assert "the sums of their entries" in unequal
