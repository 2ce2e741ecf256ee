"""The command `usage`: what was used and what it cost, as the ledger sums it up.

It never decides anything: it reads the settings, asks the ledger, and shows the answer.
"""

from __future__ import annotations

import datetime
import re
import time
from typing import Annotated, Literal

import msgspec
import typer

from infron import config
from infron.cli.format import money, say, show, show_json
from infron.cli.options import AsJson, ConfigFile, stop
from infron.money import usd
from infron.runtime.ledger import ledger


def usage(
    by: Annotated[Literal["model", "key", "day", "provider"], typer.Option(help="What to sum over.")] = "model",
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="A date (2026-11-01) or how long ago (7d, 12h); else all.")
    ] = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what was used and what it cost, from the ledger."""
    found = ledger.usage_rows(config.load(config_file).ledger_url(), by, moment(since, time.time()))
    if as_json:
        show_json([{**msgspec.structs.asdict(u), "cost": usd(u.cost), "charge": usd(u.charge)} for u in found])
    elif not found:
        say("Nothing was used yet.")
    else:
        rows = []
        for u in found:
            paid = [money(None if u.unpriced == u.exchanges else sum_, "unknown") for sum_ in (u.cost, u.charge)]
            rows.append([u.name, f"{u.exchanges:,}", f"{u.prompt:,}", f"{u.completion:,}", *paid])
        show(f"Usage by {by}", [by, "exchanges", "prompt", "completion", "cost", "charge"], rows, right=range(1, 6))
        if unpriced := sum(u.unpriced for u in found):
            say(f"Exchanges without a known price, which are not in cost and charge: {unpriced:,}.")
        if uncosted := sum(u.uncosted for u in found):
            say(f"Exchanges that ended early at providers that bill on, which are not in cost: {uncosted:,}.")
        if estimated := sum(u.estimated for u in found):
            say(f"Exchanges whose tokens were counted here, as the provider did not report them: {estimated:,}.")


def moment(text: str | None, now: float) -> float | None:
    """`--since` as unix seconds: a date (from 00:00 UTC on, as days are summed), or a time before `now`."""
    if text is None:
        return None
    if ago := re.fullmatch(r"(\d{1,6})([dhm])", text):
        return now - int(ago[1]) * {"d": 86400, "h": 3600, "m": 60}[ago[2]]
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        stop(f"--since {text}: write a date such as 2026-11-01, or 7d, 12h, 30m.")
    return (found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).timestamp()
