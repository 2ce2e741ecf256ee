"""`infron audit`: whether the ledger adds up, from the rows that its totals stand on.

It never changes money: with `--repair` it lets holders say again what their running exchanges do.
"""

from __future__ import annotations

from typing import Annotated

import typer

from infron import config
from infron.cli.format import money, say, show, show_json
from infron.cli.options import AsJson, ConfigFile, stop
from infron.runtime.ledger import invariants
from infron.runtime.ledger.invariants import INVARIANTS, Finding
from infron.runtime.ledger.stores import opened

COUNTS = ("live", "settled")  # the others are amounts of money


def audit(
    repair: Annotated[
        bool, typer.Option("--repair", help="Count anew what runs, and what is held for it. Money is never changed.")
    ] = False,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Check that the ledger adds up. The exit code is 1 where it does not; a running gateway may go on meanwhile."""
    url = config.load(config_file).ledger_url()
    with opened(url) as store:
        if not store.exists():
            stop("There is no ledger here yet: no gateway has run with these settings.")
        if repair:
            with store.round() as rows:
                repaired = invariants.repair(rows)
        else:
            repaired = []
        store.reach()
        with store.view() as rows:
            found = invariants.check(rows)
    if as_json:
        show_json({"found": found, "repaired": repaired})
    else:
        if repaired:
            show("Put right", *_table(repaired), right=[3, 4])
        if found:
            show("What does not add up", *_table(found), right=[3, 4])
        else:
            say("The ledger adds up: what runs, what is held, what was charged, and every account.")
    if found:
        raise typer.Exit(1)


def _table(found: list[Finding]) -> tuple[list[str], list[list[str]]]:
    rows = []
    for one in found:
        amounts = [f"{n:,}" if one.invariant in COUNTS else money(n) for n in (one.said, one.counted)]
        rows.append([INVARIANTS[one.invariant], one.subject or "(no key)", one.period, *amounts])
    return ["what", "of", "period", "the ledger says", "its rows say"], rows
