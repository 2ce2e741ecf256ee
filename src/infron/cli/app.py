"""The `infron` command: its subcommands, their options and help, and the tables they print.

It never decides anything: each command reads the settings, asks the module that knows, and shows the answer.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import msgspec
import typer

from infron import __version__, config
from infron.catalog.definitions import Model, Provider
from infron.catalog.load import Catalog, load_catalog
from infron.cli import chat, check
from infron.cli.format import day, key_members, money, number, provider_cells, provider_members, say, show, show_json
from infron.cli.probe import experiment as probe
from infron.cli.probe import findings
from infron.errors import InfronError
from infron.money import usd
from infron.policy import billing
from infron.runtime import process as gateway
from infron.runtime.ledger import ledger
from infron.runtime.local import model as local
from infron.wires import WIRES

app = typer.Typer(
    help="A streaming gateway for language models: one OpenAI-compatible API in front of any provider.",
    epilog="Start with `infron serve`, then `infron chat` in a second terminal.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
keys = typer.Typer(help="Make, list and revoke the API keys that callers of this gateway use.", no_args_is_help=True)
app.add_typer(keys, name="keys")
catalogue = typer.Typer(invoke_without_command=True)
app.add_typer(catalogue, name="providers")

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="INFRON_CONFIG", metavar="FILE", help="The settings (TOML). Without it, the defaults hold."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]


def main() -> None:
    try:
        app(prog_name="infron")
    except InfronError as error:
        stop(error.message)
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:  # whoever read it has left: Python would complain about the rest as it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def stop(sentence: str) -> NoReturn:
    sys.exit(f"infron: {sentence}")


def show_version(wanted: bool) -> None:
    if wanted:
        print(f"infron {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


# ---- serve and chat


@app.command()
def serve(
    config_file: ConfigFile = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on, instead of server.host (127.0.0.1).")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on, instead of server.port (8080).")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that serve, instead of server.workers (1).")
    ] = None,
    ask: Annotated[str | None, typer.Option(metavar="TEXT", help="Once ready, ask the bundled model this.")] = None,
) -> None:
    """Start the gateway. Ctrl-C lets running streams end, then stops it; a second one stops it at once."""
    settings = config.load(config_file)
    given = {"host": host, "port": port, "workers": workers}
    server = msgspec.structs.replace(settings.server, **{name: v for name, v in given.items() if v is not None})
    settings = msgspec.structs.replace(settings, server=server)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    asking: list[threading.Thread] = []

    def ready(url: str) -> None:
        print(f"Infron serves at {url}/v1 (Ctrl-C stops it).", flush=True)
        reason = local.missing(settings.local)
        if reason:
            print(f"{reason} Set a provider's key to use its models: `infron providers` names them.", flush=True)
        if not ask or reason:
            return
        if server.workers > 1:  # the parent has nothing else to do, and would mistake our child for a worker
            ask_first(url, ask)
        else:
            asking.append(threading.Thread(target=ask_first, args=(url, ask)))
            asking[0].start()

    code = gateway.serve(settings, ready=ready)
    for thread in asking:
        thread.join()
    raise typer.Exit(code)


def ask_first(url: str, text: str) -> None:
    """Ask over the gateway's own API, in a process of its own, and say how to go on from a shell."""
    print(f"\n> {text}\n", flush=True)
    asked = subprocess.run([sys.executable, "-m", "infron", "chat", "--base-url", url, text], check=False)
    if asked.returncode == chat.CANCELLED:  # Ctrl-C was for the gateway as well
        return
    messages = '[{"role": "user", "content": "Hello!"}]'
    body = f'{{"model": "{chat.DEFAULT_MODEL}", "stream": true, "messages": {messages}}}'
    curl = f"curl -N {url}/v1/chat/completions -H 'Content-Type: application/json' -d '{body}'"
    print(f"\nThe same from a shell:\n\n{curl}\n", flush=True)


@app.command("chat")
def chat_(
    text: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", help="What to ask. Without it, a conversation begins.")
    ] = None,
    model: Annotated[str, typer.Option(help="Which model to ask; `infron models` lists them.")] = chat.DEFAULT_MODEL,
    base_url: Annotated[
        str | None,
        typer.Option(envvar="INFRON_BASE_URL", metavar="URL", help="The gateway; by default the one on this machine."),
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="INFRON_API_KEY", metavar="KEY", help="A key made by `infron keys create`.")
    ] = None,
    config_file: ConfigFile = None,
) -> None:
    """Ask a model through a running gateway and watch the answer come. Ctrl-C stops it and shows its receipt."""
    if base_url is None:
        server = config.load(config_file).server
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(server.host, server.host)
        base_url = f"http://[{host}]:{server.port}" if ":" in host else f"http://{host}:{server.port}"
    raise typer.Exit(chat.run(base_url, api_key, model, " ".join(text) if text else None))


# ---- keys and usage


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="What to call it, such as the program that will use it.")] = "key",
    limit: Annotated[float | None, typer.Option(min=0, metavar="USD", help="What it may spend in all.")] = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key and print it, this once. From the first key on, every request to the gateway needs one."""
    key, secret = ledger.create_key(config.load(config_file).ledger_url(), name, limit)
    if as_json:
        show_json({**key_members(key), "secret": secret})
        return
    print(secret)
    say("Keep it now: it is not stored, and cannot be shown again. Callers send it as `Authorization: Bearer …`.")


@keys.command("list")
def list_(config_file: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the API keys, revoked ones too; never their secrets."""
    found = ledger.list_keys(config.load(config_file).ledger_url())
    if as_json:
        show_json([key_members(key) for key in found])
    elif not found:
        say("There is no key yet: anyone on this machine may use the gateway. `infron keys create` makes one.")
    else:
        rows = [[k.id, k.name, k.hint, day(k.created_at), money(k.limit, "none"), day(k.revoked_at)] for k in found]
        show("API keys", ["id", "name", "key", "created", "limit", "revoked"], rows, right=[4], spare=2)


@keys.command()
def revoke(
    which: Annotated[str, typer.Argument(metavar="KEY", help="Its id, name or secret, or how one of these begins.")],
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Revoke an API key: within a second it is refused everywhere. Running streams go on."""
    key = ledger.revoke_key(config.load(config_file).ledger_url(), which)
    if as_json:
        show_json(key_members(key))
    else:
        say(f"{key.id} ({key.name}) is revoked.")


@app.command()
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
        if estimated := sum(u.estimated for u in found):
            say(f"Exchanges whose tokens were counted here, as the provider did not tell them: {estimated:,}.")


# ---- providers and models


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
        print(findings.as_toml(found))


@app.command()
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
    price = billing.price_of(provider, offer.id, rows.price(provider.id, offer.id), now)
    return {"prompt": price.prompt / 1e6, "completion": price.completion / 1e6} if price else None


def load_rows(settings: config.Config) -> Catalog:
    return load_catalog(settings.providers, settings.models, os.environ, wires=WIRES, path=settings.path)


def why_not(row: Provider, rows: Catalog, settings: config.Config) -> str | None:
    if row.id == "local":
        return local.missing(settings.local)
    found = rows.usable(row)
    return found if isinstance(found, str) else None


# ---- check


@app.command("check")
def check_(
    config_file: ConfigFile = None,
    live: Annotated[
        bool, typer.Option("--live", help="Also ask each provider that is set up whether it takes its key.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check the settings and say what is wrong, line by line; the exit code is 0 if nothing is."""
    problems = check.settings(config_file)
    waiting: list[str] = []
    answers: list[check.Answer] = []
    if not problems:
        waiting = check.waiting(config.load(config_file))
    if live and not problems:
        answers = asyncio.run(check.live(config.load(config_file)))
    if as_json:
        show_json({"problems": problems, "waiting": waiting, "providers": answers})
    else:
        for problem in problems:
            print(problem)
        if answers:
            rows = [[a.provider, "yes" if a.good else "no", f"{a.milliseconds:,.0f} ms", a.sentence] for a in answers]
            show("Providers asked", ["provider", "good", "time", "answer"], rows, right=[2])
        if not problems:
            print("The settings are right.", flush=True)
        for sentence in waiting:
            say(f"Yet {sentence}")
    raise typer.Exit(1 if problems or not all(answer.good for answer in answers) else 0)


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
