"""The keys and organisations, as an operator says them."""

from __future__ import annotations

import json
from pathlib import Path

from commands import Infron


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


def test_key_needs_a_name(infron: Infron) -> None:
    code, out, err = infron("keys", "create", " ")
    assert (code, out) == (1, "")
    assert err == "infron: Give the key a name, such as the program that will use it."


def test_key_says_its_limits_and_they_are_shown_and_edited(infron: Infron) -> None:
    code, out, _ = infron("organisations", "create", "acme", "--budget", "20/month", "--concurrent", "8")
    organisation = out.strip()
    assert (code, organisation[:4]) == (0, "org_")
    words = ("--organisation", "acme", "--budget-usd", "5", "--period", "day", "--requests-per-minute", "1,000")
    assert infron("keys", "create", "bob", *words, "--models", "openai/*, groq/*", "--expires", "30d")[0] == 0
    (key,) = json.loads(infron("keys", "list", "--json")[1])
    assert (key["organisation"], key["budgets_usd"], key["requests_per_minute"]) == (organisation, {"day": 5.0}, 1000)
    assert (key["models"], key["expires_at"] > key["created_at"]) == (["openai/*", "groq/*"], True)
    listed = infron("keys", "list")[1]
    assert "$5.00/day, 1,000 requests/min" in listed
    assert "usable until" in listed
    shown = infron("keys", "show", "bob")[1]
    assert f"acme ({organisation})" in shown
    assert "openai/*, groq/*" in shown
    (today,) = [line.split() for line in shown.splitlines() if line.startswith("spent today")]
    assert today == ["spent", "today", "$5.00", "$0", "$5.00"]
    infron("keys", "edit", "bob", "--requests-per-minute", "none", "--budget", "none/day", "--expires", "never")
    assert "its limits: none" in infron("keys", "edit", "bob", "--models", "all", "--name", "rob")[2]
    shown = infron("organisations", "show", "acme")[1]
    assert "rob" in shown
    assert "$20.00" in shown
    assert "$20.00/month, 8 at once" in infron("organisations", "list")[1]
    assert "refused from now on" in infron("organisations", "close", "acme")[2]
    assert "its organisation is closed" in infron("keys", "list")[1]


def test_key_options_that_make_no_sense_say_what_to_write(infron: Infron) -> None:
    for words, sentence in {
        ("--budget", "5/year"): "a budget is for a day, week, month, or `total`: write 5/day",
        ("--budget", "much"): "write an amount in USD such as 5 or 0.25",
        ("--budget", "-5/day"): "must be dollars from 0",
        ("--concurrent", "0"): "write a number of at least 1, or none",
        ("--requests-per-minute", "9999999999"): "1,000,000,000 is the most",
        ("--expires", "soon"): "write a date such as",
        ("--organisation", "acme"): "There is no organisation 'acme'; `infron organisations list` shows",
    }.items():
        code, out, err = infron("keys", "create", "x", *words)
        assert (code, out) == (1, ""), words
        assert sentence in err
    assert infron("keys", "list")[2].startswith("There is no key yet")
    infron("keys", "create", "x")
    assert "Say what to change" in infron("keys", "edit", "x")[2]
