from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from infron.errors import InvalidRequest
from infron.policy.editing import KeyEdit, moment_of, name_of, patterns_of, picodollars
from infron.policy.holders import Budget, Limits

BEFORE = Limits(requests_per_minute=10, concurrent=2, budgets=(Budget("day", 5), Budget("total", 9)), account="acc_1")


@pytest.mark.parametrize(
    ("said", "after"),
    [
        ("{}", BEFORE),
        ('{"requests_per_minute": null}', {"requests_per_minute": None}),
        ('{"concurrent": 7, "tokens_per_minute": 100}', {"concurrent": 7, "tokens_per_minute": 100}),
        ('{"budgets_usd": {"day": null}}', {"budgets": (Budget("total", 9),)}),
        ('{"budgets_usd": {"week": 0.1}}', {"budgets": (Budget("day", 5), Budget("week", 10**11), Budget("total", 9))}),
        ('{"budgets_usd": null}', {"budgets": ()}),
    ],
)
def test_edit_leaves_what_it_does_not_name_and_takes_away_what_is_null(said: str, after: Limits | dict[str, Any]):
    edit = msgspec.json.decode(said, type=KeyEdit)
    expected = after if isinstance(after, Limits) else msgspec.structs.replace(BEFORE, **after)
    assert edit.applied(BEFORE) == expected


@pytest.mark.parametrize(
    "said",
    [
        '{"requests_per_minute": 0}', '{"concurrent": -1}', '{"tokens_per_minute": 1.5}', '{"colour": 1}',
        '{"budgets_usd": {"year": 1}}', '{"concurrent": 10000000000}', '{"models": "openai/*"}',
    ],
)  # fmt: skip
def test_edit_refuses_what_is_no_limit(said: str):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(said, type=KeyEdit)


@pytest.mark.parametrize("amount", ["-1", "9000001", "NaN", "Infinity", "0.0000000000001"])
def test_amount_that_cannot_be_kept_exactly_is_refused(amount: str):
    with pytest.raises(InvalidRequest):
        picodollars(Decimal(amount), "amount_usd")


def test_amounts_are_exact():
    assert picodollars(Decimal("0.1"), "x") == 10**11
    assert picodollars(Decimal("8999999.999999999999"), "x") == 9 * 10**18 - 1


def test_moments_names_and_patterns_are_read_as_people_write_them():
    assert moment_of("1970-01-02") == moment_of("1970-01-02T01:00:00+01:00") == moment_of(86400) == 86_400_000
    assert moment_of(None) is None
    assert name_of("  a b ") == "a b"
    assert patterns_of([" openai/* ", "groq/*", "groq/*"], "models") == ("openai/*", "groq/*")
    assert patterns_of(None, "models") is None
    for wrong in ("soon", float("nan"), 1e300):
        with pytest.raises(InvalidRequest, match="expires_at"):
            moment_of(wrong)
    for patterns in ([], [""], ["a b"], ["x"] + [str(n) for n in range(200)], ["y" * 300]):
        with pytest.raises(InvalidRequest, match="models"):
            patterns_of(patterns, "models")
    for name in (" ", "n" * 201):
        with pytest.raises(InvalidRequest, match="name"):
            name_of(name)
