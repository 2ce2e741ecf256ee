"""The command `usage`: what was used and what it cost, as the ledger sums it up.

It never decides anything: it reads the settings, asks the ledger, and shows the answer.
"""

from __future__ import annotations

import datetime
import re
import time
from typing import Annotated, Literal

import typer

from infron.cli.administering import administering
from infron.cli.format import money, say, show_as
from infron.cli.options import AsJson, ConfigFile, Format, stop
from infron.runtime.ledger.shown import usage_fields


def usage(
    by: Annotated[
        Literal["model", "provider", "key", "organisation", "user", "day", "week", "month"],
        typer.Option(help="What to sum over."),
    ] = "model",
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="A date (2026-11-01) or how long ago (7d, 12h); else all.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="WHEN", help="Only what began before this date or time.")] = None,
    key: Annotated[str | None, typer.Option(metavar="KEY", help="Only of this key, by its id or name.")] = None,
    organisation: Annotated[
        str | None, typer.Option(metavar="ORG", help="Only of this organisation, by its id or name.")
    ] = None,
    format: Format = "table",
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what was used and what it cost, from the ledger."""
    now = time.time()
    with administering(config_file) as administrator:
        found = administrator.usage(by, ago(since, now), ago(until, now, "--until"), key, organisation)
    rows = []
    for u in found:
        paid = [money(None if u.unpriced == u.exchanges else sum_, "unknown") for sum_ in (u.cost, u.charge)]
        rows.append([u.name, f"{u.exchanges:,}", f"{u.prompt:,}", f"{u.completion:,}", *paid])
    columns = [by, "exchanges", "prompt", "completion", "cost", "charge"]
    asked = "json" if as_json else format
    show_as(asked, f"Usage by {by}", usage_fields(found), columns, rows, range(1, 6), "Nothing was used yet.")
    if unpriced := sum(u.unpriced for u in found):
        say(f"Exchanges without a known price, which are not in cost and charge: {unpriced:,}.")
    if uncosted := sum(u.uncosted for u in found):
        say(f"Exchanges that ended early at providers that bill on, which are not in cost: {uncosted:,}.")
    if estimated := sum(u.estimated for u in found):
        say(f"Exchanges whose tokens were counted here, as the provider did not report them: {estimated:,}.")


def ago(text: str | None, now: float, option: str = "--since") -> float | None:
    """An option as unix seconds: a date (from 00:00 UTC on, as days are summed), or a time before `now`."""
    if text is None:
        return None
    if span := re.fullmatch(r"(\d{1,6})([dhm])", text):
        return now - int(span[1]) * {"d": 86400, "h": 3600, "m": 60}[span[2]]
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        stop(f"{option} {text}: write a date such as 2026-11-01, or 7d, 12h, 30m.")
    return (found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).timestamp()
