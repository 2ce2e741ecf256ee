"""What was used, as a table and as JSON."""

from __future__ import annotations

import json

import pytest
from commands import Infron

from infron.cli import usage
from infron.runtime.ledger.administration import Administration
from infron.runtime.ledger.usage import UsageRow


def test_usage_without_a_price_is_unknown_and_not_nothing(infron: Infron, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"exchanges": 2, "prompt": 1000, "completion": 5}
    found = [
        UsageRow(name="priced", cost=10**12, charge=10**12, unpriced=0, uncosted=1, estimated=1, **counts),
        UsageRow(name="unpriced", cost=0, charge=0, unpriced=2, uncosted=0, estimated=0, **counts),
    ]
    monkeypatch.setattr(Administration, "usage", lambda *_: found)
    _, out, err = infron("usage")
    lines = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert lines["priced"] == ["2", "1,000", "5", "$1.00", "$1.00"]
    assert lines["unpriced"] == ["2", "1,000", "5", "unknown", "unknown"]
    assert "not in cost and charge: 2." in err
    assert "did not report them: 1." in err


@pytest.mark.parametrize("by", ["model", "key", "day", "provider", "organisation", "user", "week", "month"])
def test_usage_of_an_unused_gateway_is_empty(infron: Infron, by: str) -> None:
    assert infron("usage", "--by", by) == (0, "", "Nothing was used yet.\n")
    assert json.loads(infron("usage", "--by", by, "--since", "7d", "--json")[1]) == []


def test_usage_since_a_date_or_a_span(infron: Infron) -> None:
    assert usage.ago("1970-01-02", 0) == 86400
    assert usage.ago("12h", 86400) == 43200
    code, _, err = infron("usage", "--since", "yesterday")
    assert code == 1
    assert "write a date such as" in err
