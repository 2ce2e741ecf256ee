"""The commands of credits, which are what callers paid in advance: add, grant, refund, reverse, list.

It never decides anything: it reads the settings, asks the ledger, and shows the answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from infron.cli import limits
from infron.cli.administering import administering
from infron.cli.format import moment, money, say, show_as, show_json
from infron.cli.options import AsJson, ConfigFile, Format
from infron.cli.usage import ago
from infron.money import usd
from infron.runtime.ledger.administration import Administration
from infron.runtime.ledger.journal import Transfer
from infron.runtime.ledger.shown import transfer_fields

credits_ = typer.Typer(
    help="Credits: what a key or an organisation has paid in advance. Whoever has some pays from them, and is refused "
    "when they are used up.",
    no_args_is_help=True,
)

Holder = Annotated[str, typer.Argument(metavar="HOLDER", help="Id or name of an organisation, or of a key.")]
Amount = Annotated[str, typer.Argument(metavar="USD", help="How much, such as 20 or 0.50.")]
Reference = Annotated[
    str | None,
    typer.Option(
        "--reference",
        metavar="TEXT",
        help="What this is for, such as the payment's id: the same one again adds nothing.",
    ),
]
Note = Annotated[str | None, typer.Option("--note", metavar="TEXT", help="What readers of the journal should know.")]


@credits_.command()
def add(
    holder: Holder,
    amount: Amount,
    reference: Reference = None,
    note: Note = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Add what was paid in advance. The first amount makes its holder one that pays in advance, for good."""
    exact = limits.dollars("USD", amount)
    _made(
        config_file,
        as_json,
        lambda administrator: administrator.give_credits(holder, exact, reference=reference, note=note),
    )


@credits_.command()
def grant(
    holder: Holder,
    amount: Amount,
    reference: Reference = None,
    note: Note = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Add what nobody paid for: a gift, a trial."""
    exact = limits.dollars("USD", amount)
    _made(
        config_file,
        as_json,
        lambda administrator: administrator.give_credits(holder, exact, grant=True, reference=reference, note=note),
    )


@credits_.command()
def refund(
    generation: Annotated[str, typer.Argument(metavar="GENERATION", help="Id of the exchange, gen-…")],
    amount: Annotated[
        str | None, typer.Option("--amount", metavar="USD", help="A part of its charge; else all of it.")
    ] = None,
    note: Note = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Give back what an exchange was charged. Once: a second time changes nothing."""
    exact = None if amount is None else limits.dollars("--amount", amount)
    _made(config_file, as_json, lambda administrator: administrator.refund(generation, exact, note))


@credits_.command()
def reverse(
    transfer: Annotated[str, typer.Argument(metavar="TRANSFER", help="Id of the transfer, tr-…")],
    note: Note = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Undo a top-up, a grant or a refund that was a mistake, by one in the other direction. Once."""
    _made(config_file, as_json, lambda administrator: administrator.reverse(transfer, note))


@credits_.command("list")
def list_(
    holder: Annotated[
        str | None, typer.Argument(metavar="HOLDER", help="Whose transfers; else all balances are shown.")
    ] = None,
    since: Annotated[str | None, typer.Option(metavar="WHEN", help="A date, or how long ago (7d, 12h).")] = None,
    until: Annotated[str | None, typer.Option(metavar="WHEN", help="Up to this date or time.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many of the latest.")] = 100,
    format: Format = "table",
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the balances, or the transfers of one holder, the latest first."""
    now = time.time()
    with administering(config_file) as administrator:
        balances = administrator.balances()
        names = _names(administrator)
        if holder is None:
            fields = [
                {"holder": id, "name": names.get(id, ""), "balance_usd": usd(balance)}
                for id, balance in balances.items()
            ]
            rows = [[id, names.get(id, ""), money(balance)] for id, balance in balances.items()]
            empty = "Nobody pays in advance yet: `infron credits add HOLDER USD` begins it."
            show_as("json" if as_json else format, "Credits", fields, ["holder", "name", "balance"], rows, [2], empty)
            return
        found = administrator.transfers(holder, since=ago(since, now), until=ago(until, now), limit=limit)
    rows = [
        [each.id, moment(each.created_at), each.kind, _signed(each), each.reference or "", each.note or "", each.actor]
        for each in found
    ]
    show_as(
        "json" if as_json else format,
        f"Transfers of {holder}",
        [transfer_fields(each) for each in found],
        ["id", "when", "kind", "amount", "reference", "note", "by"],
        rows,
        [3],
        "There are no such transfers.",
    )


def _made(config_file: Path | None, as_json: bool, make: Callable[[Administration], tuple[Transfer, bool]]) -> None:
    with administering(config_file) as administrator:
        transfer, new = make(administrator)
        account = transfer.target if transfer.target.startswith("acc_") else transfer.source
        holder = account.removeprefix("acc_")
        balance = administrator.balances()[holder]
        name = _names(administrator).get(holder, holder)
    if as_json:
        show_json({**transfer_fields(transfer), "new": new, "balance_usd": usd(balance)})
    elif new:
        say(f"{transfer.id}: {_signed(transfer)} for {name}; its balance is {money(balance)}.")
    else:
        say(f"This was done before ({transfer.id}, {moment(transfer.created_at)}); the balance is {money(balance)}.")


def _names(administrator: Administration) -> dict[str, str]:
    keys = {key.id: key.name for key in administrator.list_keys()}
    return keys | {organisation.id: organisation.name for organisation in administrator.list_organisations()}


def _signed(transfer: Transfer) -> str:
    return f"{'+' if transfer.target.startswith('acc_') else '-'}{money(transfer.amount)}"
