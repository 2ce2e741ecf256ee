"""`infron audit`, as an operator sees it."""

from __future__ import annotations

import json
from pathlib import Path

from commands import Infron
from ledgers import query
from limited import limited_key


def test_audit_needs_a_ledger(infron: Infron) -> None:
    code, _, err = infron("audit")
    assert code == 1
    assert "no ledger here yet" in err


def test_audit_says_what_does_not_add_up_and_repairs_what_runs_alone(infron: Infron, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    limited_key(url, concurrent=1)
    code, out, err = infron("audit")
    assert (code, out) == (0, "")
    assert "The ledger adds up" in err
    query(url, "UPDATE holders SET live = 3, held = 2500000000000")
    query(url, "INSERT INTO spend (holder, period, charge) VALUES ('key_x', 'ever', 7)")
    code, out, _ = infron("audit")
    assert code == 1
    assert "running exchanges of a holder" in out
    assert "$2.50" in out
    code, out, _ = infron("audit", "--repair", "--json")
    told = json.loads(out)
    assert code == 1
    assert [one["invariant"] for one in told["repaired"]] == ["live", "held"]
    assert [(one["invariant"], one["said"]) for one in told["found"]] == [("spend", 7)]
    assert query(url, "SELECT live, held FROM holders") == [(0, 0)]
