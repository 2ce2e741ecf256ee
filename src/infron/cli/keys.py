"""The commands of the API keys: create, edit, list, show, revoke.

It never decides anything: it reads the settings, asks the ledger, and shows the answer.
"""

from __future__ import annotations

import time
from typing import Annotated

import typer
from msgspec import UNSET, UnsetType

from infron.cli import limits
from infron.cli.administering import administering
from infron.cli.format import answer, day, moment, say, show, show_json
from infron.cli.limits import BudgetPeriod, Budgets, Concurrent, Requests, Tokens
from infron.cli.options import AsJson, ConfigFile, stop
from infron.policy.access import Key
from infron.policy.editing import KeyEdit
from infron.runtime.ledger.shown import key_fields

keys = typer.Typer(help="Make, edit, list and revoke the API keys of this gateway's callers.", no_args_is_help=True)

Which = Annotated[
    str, typer.Argument(metavar="KEY", help="Its id, name or secret, or the beginning of its id or secret.")
]
Organisation = Annotated[
    str | None,
    typer.Option("--organisation", metavar="ORG", help="Id or name of the organisation it belongs to; or none."),
]
Expires = Annotated[
    str | None,
    typer.Option("--expires", metavar="WHEN", help="A date (2026-12-31), a time, or how long from now (30d); never."),
]
Models = Annotated[
    list[str] | None,
    typer.Option("--models", metavar="PATTERN", help="Models it may use: 'openai/*,meta-llama/*'; or all."),
]
Providers = Annotated[
    list[str] | None,
    typer.Option("--providers", metavar="PATTERN", help="Providers it may use: groq,deepinfra; or all."),
]


@keys.command()
def create(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What to call it, such as the program that will use it.")
    ] = "key",
    admin: Annotated[bool, typer.Option("--admin", help="A key of the admin API, which asks no models.")] = False,
    organisation: Organisation = None,
    expires: Expires = None,
    models: Models = None,
    providers: Providers = None,
    budgets: Budgets = None,
    period: BudgetPeriod = "total",
    requests: Requests = None,
    tokens: Tokens = None,
    concurrent: Concurrent = None,
    limit: Annotated[float | None, typer.Option(min=0, metavar="USD", help="The same as --budget USD/total.")] = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key and print it, this once. From the first key on, every request to the gateway needs one."""
    if not name.strip():
        stop("Give the key a name, such as the program that will use it.")
    if limit is not None:
        budgets = [*(budgets or []), f"{limit!r}/total"]
    edit = KeyEdit(
        name=name,
        organisation=_none_or(organisation),
        expires_at=limits.moment_to_come(expires),
        models=limits.listed(models),
        providers=limits.listed(providers),
        **limits.given(budgets, period, requests, tokens, concurrent),
    )
    with administering(config_file) as administrator:
        key, secret = administrator.create_key(edit, "admin" if admin else "caller")
    if as_json:
        show_json({**key_fields(key), "secret": secret})
        return
    answer(secret)
    use = "The admin API takes it" if admin else "Callers send it"
    say(f"Keep it now: it is not stored, and cannot be shown again. {use} as `Authorization: Bearer …`.")


@keys.command()
def edit(
    which: Which,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="A new name.")] = None,
    organisation: Organisation = None,
    expires: Expires = None,
    models: Models = None,
    providers: Providers = None,
    budgets: Budgets = None,
    period: BudgetPeriod = "total",
    requests: Requests = None,
    tokens: Tokens = None,
    concurrent: Concurrent = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Change a key: what is not named stays. Running gateways heed it within a second; what runs goes on."""
    change = KeyEdit(
        name=UNSET if name is None else name,
        organisation=_none_or(organisation),
        expires_at=limits.moment_to_come(expires),
        models=limits.listed(models),
        providers=limits.listed(providers),
        **limits.given(budgets, period, requests, tokens, concurrent),
    )
    if change == KeyEdit():
        stop("Say what to change: `infron keys edit --help` lists it.")
    with administering(config_file) as administrator:
        key = administrator.edit_key(which, change)
    if as_json:
        show_json(key_fields(key))
    else:
        say(f"{key.id} ({key.name}) is changed; its limits: {limits.in_short(key.limits)}.")


@keys.command("list")
def list_(config_file: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the API keys, revoked ones too; never their secrets."""
    with administering(config_file) as administrator:
        found = administrator.list_keys()
    if as_json:
        show_json([key_fields(key) for key in found])
    elif not found:
        say("There is no key yet: anyone on this machine may use the gateway. `infron keys create` makes one.")
    else:
        rows = [
            [k.id, k.name, k.hint, _organisation(k), limits.in_short(k.limits), day(k.created_at), _state(k)]
            for k in found
        ]
        columns = ["id", "name", "key", "organisation", "limits", "created", "state"]
        if not any(key.organisation for key in found):
            columns.pop(3)
            for row in rows:
                row.pop(3)
        show("API keys", columns, rows, spare=2)


@keys.command("show")
def show_(which: Which, config_file: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show one key: what it may do, what it has used, and what is left."""
    with administering(config_file) as administrator:
        key = administrator.key(which)
        used = administrator.used(key.id)
    if as_json:
        show_json({**key_fields(key), "used": used.fields()})
        return
    permitted = key.permissions
    pairs = (
        ("id", key.id),
        ("name", key.name),
        ("key", key.hint),
        ("kind", "admin" if key.kind == "admin" else None),
        ("organisation", f"{key.organisation.name} ({key.organisation.id})" if key.organisation else None),
        ("state", _state(key)),
        ("created", moment(key.created_at)),
        ("expires", moment(key.expires_at) or "never"),
        ("models", ", ".join(permitted.models or ("all",))),
        ("providers", ", ".join(permitted.providers or ("all",))),
    )
    show("API key", ["", ""], limits.facts(pairs), head=False)
    if key.kind == "caller":
        limited = limits.table(key.limits, used.spent, used.live, used.balance)
        show("Limits", ["what", "limit", "used", "left"], limited, right=(1, 2, 3))


@keys.command()
def revoke(
    which: Which,
    now: Annotated[bool, typer.Option("--now", help="Stop what runs under it as well.")] = False,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Revoke an API key: within a second it is refused everywhere. Running streams go on, unless told --now."""
    with administering(config_file) as administrator:
        key = administrator.revoke_key(which, now=now)
    if as_json:
        show_json(key_fields(key))
    else:
        say(f"{key.id} ({key.name}) is revoked.")


def _none_or(organisation: str | None) -> str | UnsetType | None:
    return UNSET if organisation is None else None if organisation == "none" else organisation


def _organisation(key: Key) -> str:
    return key.organisation.name if key.organisation else ""


def _state(key: Key) -> str:
    if key.revoked_at is not None:
        return f"revoked {day(key.revoked_at)}"
    if key.organisation is not None and key.organisation.closed_at is not None:
        return "its organisation is closed"
    if key.expires_at is None:
        return "admin" if key.kind == "admin" else "usable"
    return f"{'expired' if key.lapsed(time.time()) else 'usable until'} {moment(key.expires_at)}"
