"""Limits on the command line: the options that say them, and how they are shown.

It never knows a ledger.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, TypedDict, get_args

import typer
from msgspec import UNSET, UnsetType

from infron.cli.format import money, number
from infron.cli.options import stop
from infron.policy.holders import PERIODS, Limits, Period

_PANEL = "Limits (`none` takes one away)"

Budgets = Annotated[
    list[str] | None,
    typer.Option(
        "--budget",
        "--budget-usd",
        metavar="USD[/PERIOD]",
        rich_help_panel=_PANEL,
        help="The most that may be spent in each day, week, month, or in total: 5/day. May be given several times.",
    ),
]
Requests = Annotated[
    str | None,
    typer.Option(
        "--requests-per-minute", metavar="N", rich_help_panel=_PANEL, help="Requests that may begin a minute."
    ),
]
Tokens = Annotated[
    str | None,
    typer.Option("--tokens-per-minute", metavar="N", rich_help_panel=_PANEL, help="Tokens a minute, in and out."),
]
Concurrent = Annotated[
    str | None,
    typer.Option("--concurrent", metavar="N", rich_help_panel=_PANEL, help="Requests that may run at once."),
]
BudgetPeriod = Annotated[
    Literal["day", "week", "month", "total"],
    typer.Option("--period", rich_help_panel=_PANEL, help="Of each budget that names none."),
]


class Given(TypedDict):
    """What the options say, as `LimitsEdit` takes it."""

    budgets_usd: dict[Period, Decimal | None] | UnsetType
    requests_per_minute: int | UnsetType | None
    tokens_per_minute: int | UnsetType | None
    concurrent: int | UnsetType | None


def given(
    budgets: list[str] | None, period: Period, requests: str | None, tokens: str | None, concurrent: str | None
) -> Given:
    """Stops where one of them is no number or amount."""
    return {
        "budgets_usd": dict(_budget(text, period) for text in budgets) if budgets else UNSET,
        "requests_per_minute": _count("--requests-per-minute", requests),
        "tokens_per_minute": _count("--tokens-per-minute", tokens),
        "concurrent": _count("--concurrent", concurrent),
    }


def _budget(text: str, usual: Period) -> tuple[Period, Decimal | None]:
    amount, _, named = text.partition("/")
    period = next((each for each in get_args(Period) if each == (named or usual)), None)
    if period is None:
        stop(f"--budget {text}: a budget is for a {', '.join(PERIODS[:-1])}, or `total`: write 5/day.")
    return period, None if amount == "none" else dollars("--budget", amount)


def dollars(option: str, text: str) -> Decimal:
    try:
        return Decimal(text.removeprefix("$").replace(",", ""))
    except InvalidOperation:
        stop(f"{option} {text}: write an amount in USD such as 5 or 0.25.")


def _count(option: str, text: str | None) -> int | UnsetType | None:
    if text is None:
        return UNSET
    if text == "none":
        return None
    digits = text.replace(",", "").replace("_", "")
    if not digits.isascii() or not digits.isdecimal() or not 1 <= len(digits) <= 10 or not int(digits):
        stop(f"{option} {text}: write a number of at least 1, or none.")
    if int(digits) > 1_000_000_000:
        stop(f"{option} {text}: 1,000,000,000 is the most; `none` is no limit.")
    return int(digits)


def moment_to_come(text: str | None) -> str | UnsetType | None:
    """`--expires`: a date or a time, how long from now (30d, 12h), or never."""
    if text is None:
        return UNSET
    if text in ("never", "none"):
        return None
    if later := re.fullmatch(r"(\d{1,6})([dhm])", text):
        seconds = int(later[1]) * {"d": 86400, "h": 3600, "m": 60}[later[2]]
        return (datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)).isoformat()
    try:
        datetime.datetime.fromisoformat(text)
    except ValueError:
        stop(f"--expires {text}: write a date such as 2026-12-31, or 30d, 12h, never.")
    return text


def listed(values: list[str] | None) -> list[str] | UnsetType | None:
    """Patterns, given several times or with commas between them; `all` stands for no restriction."""
    if not values:
        return UNSET
    patterns = [pattern.strip() for value in values for pattern in value.split(",") if pattern.strip()]
    return None if patterns == ["all"] else patterns


# ---- how they are shown


def in_short(limits: Limits) -> str:
    """`$5.00/day, 10 requests/min`; `none` where there is no limit."""
    said = [
        f"{money(budget.ceiling)}{'' if budget.period == 'total' else '/' + budget.period}" for budget in limits.budgets
    ]
    for value, unit in (
        (limits.requests_per_minute, "requests/min"),
        (limits.tokens_per_minute, "tokens/min"),
        (limits.concurrent, "at once"),
    ):
        if value is not None:
            said.append(f"{value:,} {unit}")
    if limits.account is not None:
        said.append("credits")
    return ", ".join(said) or "none"


def table(limits: Limits, spent: dict[Period, int], live: int, balance: int | None) -> list[list[str]]:
    """A row for each limit, and for each period's spending: what, limit, used, left."""
    rows = []
    for period in PERIODS:
        ceiling, used = limits.ceiling(period), spent[period]
        left = "" if ceiling is None else money(max(0, ceiling - used))
        name = "in total" if period == "total" else f"this {period}" if period != "day" else "today"
        rows.append([f"spent {name}", money(ceiling, "none"), money(used), left])
    if balance is not None:
        rows.append(["credits", "", "", money(balance)])
    at_once = limits.concurrent
    rows.append(
        [
            "running now",
            number(at_once) or "none",
            number(live),
            number(None if at_once is None else max(0, at_once - live)),
        ]
    )
    rows.append(["requests/min", number(limits.requests_per_minute) or "none", "", ""])
    rows.append(["tokens/min", number(limits.tokens_per_minute) or "none", "", ""])
    return rows


def facts(pairs: Iterable[tuple[str, Any]]) -> list[list[str]]:
    return [[name, str(value)] for name, value in pairs if value not in (None, "")]
