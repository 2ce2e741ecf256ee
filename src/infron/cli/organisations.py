"""The commands of organisations: create, edit, list, show, close.

It never decides anything: it reads the settings, asks the ledger, and shows the answer.
"""

from __future__ import annotations

from typing import Annotated

import typer
from msgspec import UNSET

from infron.cli import limits
from infron.cli.administering import administering
from infron.cli.format import answer, day, moment, money, number, say, show, show_json
from infron.cli.limits import BudgetPeriod, Budgets, Concurrent, Requests, Tokens
from infron.cli.options import AsJson, ConfigFile, stop
from infron.policy.editing import OrganisationEdit
from infron.runtime.ledger.shown import key_fields, organisation_fields

organisations = typer.Typer(
    help="Make, edit, list and close organisations: each stands above keys, which share its limits and credits.",
    no_args_is_help=True,
)

Which = Annotated[str, typer.Argument(metavar="ORG", help="Its id or name.")]
ShowRemaining = Annotated[
    bool | None,
    typer.Option(
        "--show-remaining/--hide-remaining",
        help="Whether callers are told what is left of its budgets and credits; hidden at first.",
    ),
]


@organisations.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it, such as the team.")],
    show_remaining: ShowRemaining = None,
    budgets: Budgets = None,
    period: BudgetPeriod = "total",
    requests: Requests = None,
    tokens: Tokens = None,
    concurrent: Concurrent = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make an organisation and print its id. `infron keys create --organisation` gives it keys."""
    edit = OrganisationEdit(
        name=name,
        show_remaining=UNSET if show_remaining is None else show_remaining,
        **limits.given(budgets, period, requests, tokens, concurrent),
    )
    with administering(config_file) as administrator:
        made = administrator.create_organisation(edit)
    if as_json:
        show_json(organisation_fields(made))
        return
    answer(made.id)
    say(f"Give it keys: `infron keys create NAME --organisation {made.id}`.")


@organisations.command()
def edit(
    which: Which,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="A new name.")] = None,
    show_remaining: ShowRemaining = None,
    budgets: Budgets = None,
    period: BudgetPeriod = "total",
    requests: Requests = None,
    tokens: Tokens = None,
    concurrent: Concurrent = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Change an organisation: what is not named stays. Running gateways heed it within a second."""
    change = OrganisationEdit(
        name=UNSET if name is None else name,
        show_remaining=UNSET if show_remaining is None else show_remaining,
        **limits.given(budgets, period, requests, tokens, concurrent),
    )
    if change == OrganisationEdit():
        stop("Say what to change: `infron organisations edit --help` lists it.")
    with administering(config_file) as administrator:
        found = administrator.edit_organisation(which, change)
    if as_json:
        show_json(organisation_fields(found))
    else:
        say(f"{found.id} ({found.name}) is changed; its limits: {limits.in_short(found.limits)}.")


@organisations.command("list")
def list_(config_file: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the organisations, closed ones too."""
    with administering(config_file) as administrator:
        found = administrator.list_organisations()
        members = [key.organisation.id for key in administrator.list_keys() if key.organisation and not key.revoked_at]
    if as_json:
        show_json([organisation_fields(organisation) for organisation in found])
    elif not found:
        say("There is no organisation yet: `infron organisations create NAME` makes one.")
    else:
        rows = [
            [
                o.id,
                o.name,
                number(members.count(o.id)),
                limits.in_short(o.limits),
                day(o.created_at),
                f"closed {day(o.closed_at)}" if o.closed_at else "open",
            ]
            for o in found
        ]
        show("Organisations", ["id", "name", "keys", "limits", "created", "state"], rows, right=[2])


@organisations.command("show")
def show_(which: Which, config_file: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show one organisation: its keys, its limits, what it has used, and what is left."""
    with administering(config_file) as administrator:
        found = administrator.organisation(which)
        used = administrator.used(found.id)
        members = [key for key in administrator.list_keys() if key.organisation and key.organisation.id == found.id]
        spent = [administrator.used(key.id).spent["total"] for key in members]
    if as_json:
        fields = organisation_fields(found)
        show_json({**fields, "used": used.fields(), "keys": [key_fields(key) for key in members]})
        return
    pairs = (
        ("id", found.id),
        ("name", found.name),
        ("created", moment(found.created_at)),
        ("state", f"closed {moment(found.closed_at)}" if found.closed_at else "open"),
        ("callers are told what is left", "yes" if found.show_remaining else "no"),
    )
    show("Organisation", ["", ""], limits.facts(pairs), head=False)
    limited = limits.table(found.limits, used.spent, used.live, used.balance)
    show("Limits of all its keys together", ["what", "limit", "used", "left"], limited, right=(1, 2, 3))
    if members:
        rows = [
            [key.id, key.name, limits.in_short(key.limits), money(amount), "revoked" if key.revoked_at else ""]
            for key, amount in zip(members, spent, strict=True)
        ]
        show("Its keys", ["id", "name", "limits of its own", "spent", ""], rows, right=[3])


@organisations.command()
def close(which: Which, config_file: ConfigFile = None, as_json: AsJson = False) -> None:
    """Close an organisation: within a second all its keys are refused. Its history stays; it is not opened again."""
    with administering(config_file) as administrator:
        found = administrator.close_organisation(which)
    if as_json:
        show_json(organisation_fields(found))
    else:
        say(f"{found.id} ({found.name}) is closed: its keys are refused from now on.")
