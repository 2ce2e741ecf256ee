"""The commands of the catalogue: providers, the cancel probe, and models.

It never decides anything: it reads the settings, asks the catalogue, and shows the answer.
"""

from __future__ import annotations

import asyncio
import datetime
import os
from typing import Annotated

import msgspec
import typer

from infron import config
from infron.catalog.definitions import Model, Provider
from infron.catalog.load import Catalog, load_catalog
from infron.cli.format import answer, number, provider_cells, provider_members, say, show, show_json
from infron.cli.options import AsJson, ConfigFile, stop
from infron.cli.probe import experiment as probe
from infron.cli.probe import findings
from infron.policy.prices import price_of
from infron.runtime.local import model as local
from infron.wires import PROVIDER_WIRES

catalogue = typer.Typer(invoke_without_command=True)


@catalogue.callback()
def providers(context: typer.Context, config_file: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the providers: which can be used now, what the others need, what hanging up does at each."""
    if context.invoked_subcommand:
        return
    settings = config.load(config_file)
    rows = load_rows(settings)
    found = [(row, why_not(row, rows, settings)) for row in rows.providers.values()]
    if as_json:
        show_json([provider_members(row, why) for row, why in found])
        return
    found.sort(key=lambda each: (each[1] is not None, each[0].status == "closed", each[0].id))
    cells = [provider_cells(row, why) for row, why in found]
    show("Providers", ["id", "wire", "hang-up", "stops", "known from", "state"], cells, spare=4)
    say("hang-up: when a client leaves, the connection is closed (cancel), the answer")
    say("is read to its end (drain), or the provider is told to stop (call).")
    say("stops: what hanging up ends there, as far as known; --json tells from where.")


@catalogue.command("probe")
def probe_(
    context: typer.Context,
    provider: Annotated[str, typer.Argument(help="Its id, as `infron providers` shows it.")],
    model: Annotated[
        str, typer.Option(metavar="ID", help="Its own id of the model to ask; by default the cheapest that is known.")
    ] = "",
    after: Annotated[int, typer.Option(min=1, metavar="TOKENS", help="Hang up after so many.")] = 20,
    max_tokens: Annotated[int, typer.Option(min=2, metavar="TOKENS", help="As much an answer may have.")] = 400,
    control: Annotated[
        bool, typer.Option("--control/--no-control", help="First run the same to its end, to compare with.")
    ] = True,
    wait: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Ask the provider what became of it for at most so long.")
    ] = 60.0,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Hang up on a long answer of a provider, by your own key, and find out whether the work and the bill stop.

    It costs what one or two answers of --max-tokens cost there. The result is ready for the configuration.
    """
    if after >= max_tokens:
        stop(f"--after {after}: an answer of at most {max_tokens} tokens would be over by then; raise --max-tokens.")
    outer = context.parent.params if context.parent else {}
    options = probe.Options(model=model, after=after, max_tokens=max_tokens, control=control, wait=wait)
    settings = config.load(config_file or outer.get("config_file"))
    found = asyncio.run(probe.run(provider, settings, options, os.environ, say))
    if as_json or outer.get("as_json"):
        show_json(found)
    else:
        answer(findings.as_toml(found))


def models(
    everything: Annotated[bool, typer.Option("--all", help="Also those that nobody configured here serves.")] = False,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List the models that can be asked now. `<provider>/<its own id>` works for any other model of a provider."""
    settings = config.load(config_file)
    rows = load_rows(settings)
    usable = {row.id for row in rows.providers.values() if why_not(row, rows, settings) is None}
    found = [m for m in rows.models.values() if everything or any(o.provider in usable for o in m.served_by)]
    if as_json:
        show_json([{**msgspec.to_builtins(model), "price": prices(model, rows)} for model in found])
        return
    table = []
    for model in found:
        served = [o.provider if o.provider in usable else f"({o.provider})" for o in model.served_by]
        price = prices(model, rows)
        cells = [number(model.context_length), *(f"${price[p]:g}" if price else "" for p in ("prompt", "completion"))]
        table.append([model.id, *cells, ", ".join(served)])
    show("Models", ["id", "context", "$/M in", "$/M out", "served by"], table, right=range(1, 4))
    if any(offer.provider not in usable for model in found for offer in model.served_by):
        say("In brackets: not set up here, see `infron providers`. Prices are those of the first.")
    if not everything and len(found) < len(rows.models):
        say(f"{len(rows.models) - len(found)} more need a provider's key: see --all, and `infron providers`.")


def prices(model: Model, rows: Catalog) -> dict[str, float] | None:
    """USD per million tokens at the first provider of the model; None if unknown."""
    offer, now = model.served_by[0], datetime.datetime.now(datetime.UTC)
    provider = rows.providers[offer.provider]
    price = price_of(provider, offer.id, rows.price(provider.id, offer.id), now)
    return {"prompt": price.prompt / 1e6, "completion": price.completion / 1e6} if price else None


def load_rows(settings: config.Config) -> Catalog:
    return load_catalog(settings.providers, settings.models, os.environ, wires=PROVIDER_WIRES, path=settings.path)


def why_not(row: Provider, rows: Catalog, settings: config.Config) -> str | None:
    if row.bundled:
        return local.missing(settings.local)
    found = rows.usable(row)
    return found if isinstance(found, str) else None
