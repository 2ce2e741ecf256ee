"""Credits and the journal, as an operator says and sees them."""

from __future__ import annotations

import csv
import io
import json

import pytest
from commands import Infron


def test_credits_are_added_listed_and_reversed(infron: Infron) -> None:
    assert "begins it" in infron("credits", "list")[2]
    infron("organisations", "create", "acme")
    code, _, err = infron("credits", "add", "acme", "20", "--reference", "pay_1", "--note", "=invoice")
    assert code == 0
    assert "+$20.00 for acme; its balance is $20.00." in err
    assert "This was done before" in infron("credits", "add", "acme", "$20.00", "--reference", "pay_1")[2]
    granted = json.loads(infron("credits", "grant", "acme", "0.5", "--json")[1])
    assert (granted["kind"], granted["amount_usd"], granted["balance_usd"], granted["new"]) == (
        "grant",
        0.5,
        20.5,
        True,
    )
    assert "-$0.50 for acme; its balance is $20.00." in infron("credits", "reverse", granted["id"])[2]
    assert infron("credits", "list")[1].split()[-3:][1:] == ["acme", "$20.00"]
    listed = infron("credits", "list", "acme")[1]
    assert [line.split()[4] for line in listed.splitlines()[3:]] == ["adjustment", "grant", "top-up"]
    exported = list(csv.DictReader(io.StringIO(infron("credits", "list", "acme", "--format", "csv")[1])))
    assert [row["amount_usd"] for row in exported] == ["0.5", "0.5", "20.0"]
    assert exported[-1]["note"] == "'=invoice"  # which a spreadsheet would calculate
    assert len(json.loads(infron("credits", "list", "acme", "--json", "--limit", "2")[1])) == 2
    assert json.loads(infron("credits", "list", "acme", "--json", "--until", "2020-01-01")[1]) == []
    shown = infron("organisations", "show", "acme")[1]
    assert ["credits", "$20.00"] in [line.split() for line in shown.splitlines()]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("add", "nobody", "5"), "There is no organisation and no key 'nobody'"),
        (("add", "acme", "much"), "write an amount in USD"),
        (("add", "acme", "0"), "must be above zero"),
        (("refund", "gen-1"), "There is no generation"),
        (("reverse", "tr-1"), "There is no transfer"),
    ],
)
def test_credits_say_what_is_wrong(infron: Infron, words: tuple[str, ...], sentence: str) -> None:
    infron("organisations", "create", "acme")
    code, out, err = infron("credits", *words)
    assert (code, out) == (1, "")
    assert sentence in err
