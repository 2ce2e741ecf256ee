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
from infron.cli.format import answer, number, provider_cells, provider_fields, say, show, show_json
from infron.cli.options import AsJson, ConfigFile, stop
from infron.cli.probe import experiment as probe
from infron.cli.probe import findings
from infron.policy.prices import price_of
from infron.runtime.local import model as local
from infron.settings import Config
from infron.wires import PROVIDER_WIRES

catalogue = typer.Typer(invoke_without_command=True)


@catalogue.callback()
def providers(context: typer.Context, config_file: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the providers: which can be used now, what the others need, what a disconnect does at each."""
    if context.invoked_subcommand:
        return
    settings = config.load(config_file)
    catalog = catalog_of(settings)
    found = [(provider, why_not(provider, catalog, settings)) for provider in catalog.providers.values()]
    if as_json:
        show_json([provider_fields(provider, why) for provider, why in found])
        return
    found.sort(key=lambda each: (each[1] is not None, each[0].status == "closed", each[0].id))
    cells = [provider_cells(provider, why) for provider, why in found]
    show("Providers", ["id", "wire", "disconnect", "stops", "known from", "state"], cells, spare=4)
    say("disconnect: when a client leaves, the connection is closed (cancel), the answer")
    say("is read to its end (drain), or the provider is told to stop (call).")
    say("stops: what that ends there, as far as known; --json tells from where.")


@catalogue.command("probe")
def probe_(
    context: typer.Context,
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="Its id, as `infron providers` shows it.")],
    model: Annotated[
        str, typer.Option(metavar="ID", help="The provider's id of the model to ask; by default the cheapest known.")
    ] = "",
    after: Annotated[int, typer.Option(min=1, metavar="TOKENS", help="Disconnect after so many.")] = 20,
    max_tokens: Annotated[int, typer.Option(min=2, metavar="TOKENS", help="The most that an answer may have.")] = 400,
    control: Annotated[
        bool, typer.Option("--control/--no-control", help="First ask the same to its end, to compare with.")
    ] = True,
    wait: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="The longest to go on asking the provider what became of it."),
    ] = 60.0,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Disconnect from a long answer of a provider, by your own key, and find out whether the work and the bill stop.

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
    everything: Annotated[bool, typer.Option("--all", help="Also those that no provider set up here serves.")] = False,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List the models that can be asked now. `<provider>/<provider's model id>` works for any other."""
    settings = config.load(config_file)
    catalog = catalog_of(settings)
    usable = {each.id for each in catalog.providers.values() if why_not(each, catalog, settings) is None}
    found = [m for m in catalog.models.values() if everything or any(o.provider in usable for o in m.served_by)]
    if as_json:
        show_json([{**msgspec.to_builtins(model), "price": prices(model, catalog)} for model in found])
        return
    table = []
    for model in found:
        served = [o.provider if o.provider in usable else f"({o.provider})" for o in model.served_by]
        price = prices(model, catalog)
        cells = [number(model.context_length), *(f"${price[p]:g}" if price else "" for p in ("prompt", "completion"))]
        table.append([model.id, *cells, ", ".join(served)])
    show("Models", ["id", "context", "$/M in", "$/M out", "served by"], table, right=range(1, 4))
    if any(offer.provider not in usable for model in found for offer in model.served_by):
        say("In brackets: not set up here, see `infron providers`. Prices are those of the first.")
    if not everything and len(found) < len(catalog.models):
        say(f"{len(catalog.models) - len(found)} more need a provider's key: see --all, and `infron providers`.")


def prices(model: Model, catalog: Catalog) -> dict[str, float] | None:
    """USD per million tokens at the first provider of the model; None if unknown."""
    offer, now = model.served_by[0], datetime.datetime.now(datetime.UTC)
    provider = catalog.providers[offer.provider]
    price = price_of(provider, offer.id, catalog.price(provider.id, offer.id), now)
    return {"prompt": price.prompt / 1e6, "completion": price.completion / 1e6} if price else None


def catalog_of(settings: Config) -> Catalog:
    return load_catalog(
        settings.providers, settings.models, os.environ, settings.aliases, wires=PROVIDER_WIRES, path=settings.path
    )


def why_not(provider: Provider, catalog: Catalog, settings: Config) -> str | None:
    if provider.bundled:
        return local.missing(settings.local)
    found = catalog.usable(provider)
    return found if isinstance(found, str) else None
