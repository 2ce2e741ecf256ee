"""The commands of the ledger: the API keys, and what was used.

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
from infron.cli.format import answer, day, key_fields, money, say, show, show_json
from infron.cli.options import AsJson, ConfigFile, stop
from infron.money import usd
from infron.runtime.ledger import ledger

keys = typer.Typer(help="Make, list and revoke the API keys that callers of this gateway use.", no_args_is_help=True)


@keys.command()
def create(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What to call it, such as the program that will use it.")
    ] = "key",
    limit: Annotated[float | None, typer.Option(min=0, metavar="USD", help="The most that it may ever spend.")] = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key and print it, this once. From the first key on, every request to the gateway needs one."""
    if not name.strip():
        stop("Give the key a name, such as the program that will use it.")
    key, secret = ledger.create_key(config.load(config_file).ledger_url(), name, limit)
    if as_json:
        show_json({**key_fields(key), "secret": secret})
        return
    answer(secret)
    say("Keep it now: it is not stored, and cannot be shown again. Callers send it as `Authorization: Bearer …`.")


@keys.command("list")
def list_(config_file: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the API keys, revoked ones too; never their secrets."""
    found = ledger.list_keys(config.load(config_file).ledger_url())
    if as_json:
        show_json([key_fields(key) for key in found])
    elif not found:
        say("There is no key yet: anyone on this machine may use the gateway. `infron keys create` makes one.")
    else:
        limits = [money(k.limits.ceiling("total"), "none") for k in found]
        rows = [
            [k.id, k.name, k.hint, day(k.created_at), limit, day(k.revoked_at)]
            for k, limit in zip(found, limits, strict=True)
        ]
        show("API keys", ["id", "name", "key", "created", "limit", "revoked"], rows, right=[4], spare=2)


@keys.command()
def revoke(
    which: Annotated[
        str, typer.Argument(metavar="KEY", help="Its id, name or secret, or the beginning of its id or secret.")
    ],
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Revoke an API key: within a second it is refused everywhere. Running streams go on."""
    key = ledger.revoke_key(config.load(config_file).ledger_url(), which)
    if as_json:
        show_json(key_fields(key))
    else:
        say(f"{key.id} ({key.name}) is revoked.")


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
