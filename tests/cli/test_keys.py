"""The keys, and what was used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Infron

from infron.cli import keys
from infron.runtime.ledger import ledger


def test_key_is_shown_once_listed_without_its_secret_and_revoked_by_its_name(infron: Infron) -> None:
    assert "no key yet" in infron("keys", "list")[2]
    code, out, _ = infron("keys", "create", "laptop", "--limit", "2.5")
    secret = out.strip()
    assert code == 0
    assert secret.startswith("sk-infron-")
    assert out == f"{secret}\n"
    listed = infron("keys", "list")[1]
    assert "laptop" in listed
    assert "$2.50" in listed
    assert secret not in listed
    (key,) = json.loads(infron("keys", "list", "--json")[1])
    assert (key["name"], key["limit"], key["revoked_at"]) == ("laptop", 2.5, None)
    assert infron("keys", "revoke", "laptop")[0] == 0
    assert json.loads(infron("keys", "list", "--json")[1])[0]["revoked_at"] > 0
    code, _, err = infron("keys", "revoke", "nobody")
    assert code == 1
    assert "There is no key 'nobody'" in err


def test_ledger_of_the_named_file_is_found_by_every_command(infron: Infron, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "infron.toml").write_text('[ledger]\nurl = "sqlite:///money.db"\n')
    infron("keys", "create", "--config", "there/infron.toml")
    assert (tmp_path / "there" / "money.db").exists()
    assert len(json.loads(infron("keys", "list", "--config", "there/infron.toml", "--json")[1])) == 1
    assert json.loads(infron("keys", "list", "--json")[1]) == []


def test_usage_without_a_price_is_unknown_and_not_nothing(infron: Infron, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"exchanges": 2, "prompt": 1000, "completion": 5}
    found = [
        ledger.UsageRow(name="priced", cost=10**12, charge=10**12, unpriced=0, uncosted=1, estimated=1, **counts),
        ledger.UsageRow(name="unpriced", cost=0, charge=0, unpriced=2, uncosted=0, estimated=0, **counts),
    ]
    monkeypatch.setattr(ledger, "usage_rows", lambda *_: found)
    _, out, err = infron("usage")
    lines = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert lines["priced"] == ["2", "1,000", "5", "$1.00", "$1.00"]
    assert lines["unpriced"] == ["2", "1,000", "5", "unknown", "unknown"]
    assert "not in cost and charge: 2." in err
    assert "did not report them: 1." in err


@pytest.mark.parametrize("by", ["model", "key", "day", "provider"])
def test_usage_of_an_unused_gateway_is_empty(infron: Infron, by: str) -> None:
    assert infron("usage", "--by", by) == (0, "", "Nothing was used yet.\n")
    assert json.loads(infron("usage", "--by", by, "--since", "7d", "--json")[1]) == []


def test_usage_since_a_date_or_a_span(infron: Infron) -> None:
    assert keys.moment("1970-01-02", 0) == 86400
    assert keys.moment("12h", 86400) == 43200
    code, _, err = infron("usage", "--since", "yesterday")
    assert code == 1
    assert "write a date such as" in err


def test_key_needs_a_name(infron: Infron) -> None:
    code, out, err = infron("keys", "create", " ")
    assert (code, out) == (1, "")
    assert err == "infron: Give the key a name, such as the program that will use it."
