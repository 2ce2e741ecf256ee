"""The `infron` command: `serve`, `chat` and `check`, and the groups of the others.

It never decides anything: each command reads the settings, asks the module that knows, and shows the answer.
"""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import threading
from typing import Annotated

import msgspec
import typer

from infron import __version__, config, printable
from infron.cli import chat, check
from infron.cli.audit import audit
from infron.cli.credits import credits_
from infron.cli.format import announce, answer, say, show, show_bug, show_json
from infron.cli.keys import keys
from infron.cli.options import AsJson, ConfigFile, stop
from infron.cli.organisations import organisations
from infron.cli.providers import catalogue, models
from infron.cli.streams import streams
from infron.cli.usage import usage
from infron.errors import InfronError
from infron.runtime import process as gateway
from infron.runtime.local import model as local

app = typer.Typer(
    help="A streaming gateway for language models: one OpenAI-compatible API in front of any provider.",
    epilog="Start with `infron serve`, then `infron chat` in a second terminal.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    for descriptor in range(3):  # where one is closed, a socket would take its place, and get what children print
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.excepthook = show_bug
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what it has no characters for is no reason to fail
    try:
        app(prog_name="infron")
    except InfronError as error:
        stop(error.message)
    finally:
        try:
            if sys.stdout is not None:
                sys.stdout.flush()
        except OSError:  # whoever read it has left, or it is full: Python would complain about the rest as it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show_version(wanted: bool) -> None:
    if wanted:
        answer(f"infron {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


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
    """Start the gateway. The first Ctrl-C lets running streams end, a second one ends them at once."""
    settings = config.load(config_file)
    given = {"host": host, "port": port, "workers": workers}
    server = msgspec.structs.replace(settings.server, **{name: v for name, v in given.items() if v is not None})
    settings = msgspec.structs.replace(settings, server=server)
    asking: list[threading.Thread] = []

    def ready(url: str) -> None:
        page = f" Chat with it at {url}/." if settings.pages.chat else ""
        announce(f"Infron serves at {url}/v1 (Ctrl-C stops it).{page}")
        reason = local.missing(settings.local)
        if reason:
            announce(f"{reason} Set a provider's key to use its models: `infron providers` names them.")
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
    announce(f"\n> {text}\n")
    asked = subprocess.run([sys.executable, "-m", "infron", "chat", "--base-url", url, text], check=False)
    if asked.returncode == chat.CANCELLED:  # Ctrl-C was for the gateway as well
        return
    messages = '[{"role": "user", "content": "Hello!"}]'
    body = f'{{"model": "{chat.DEFAULT_MODEL}", "stream": true, "messages": {messages}}}'
    curl = f"curl -N {url}/v1/chat/completions -H 'Content-Type: application/json' -d '{body}'"
    announce(f"\nThe same from a shell:\n\n{curl}\n")


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
    """Ask a model through a running gateway and watch the answer come. Ctrl-C disconnects and shows the receipt."""
    if base_url is None:
        server = config.load(config_file).server
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(server.host, server.host)
        base_url = f"http://[{host}]:{server.port}" if ":" in host else f"http://{host}:{server.port}"
    raise typer.Exit(chat.run(base_url, api_key, model, " ".join(text) if text else None))


@app.command("check")
def check_(
    config_file: ConfigFile = None,
    live: Annotated[
        bool, typer.Option("--live", help="Also ask each provider that is set up whether it accepts its key.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check the settings and say what is wrong, line by line; the exit code is 0 if all is right."""
    problems = check.settings(config_file)
    notes: list[str] = []
    waiting: list[str] = []
    answers: list[check.ProviderCheck] = []
    if not problems:
        loaded = config.load(config_file)
        notes, waiting = check.notes(loaded), check.waiting(loaded)
        answers = asyncio.run(check.live(loaded)) if live else []
    if as_json:
        show_json({"problems": problems, "notes": notes, "waiting": waiting, "providers": answers})
    else:
        for problem in problems:
            answer(printable.line(problem))
        if answers:
            rows = [[a.provider, "yes" if a.good else "no", f"{a.milliseconds:,.0f} ms", a.sentence] for a in answers]
            show("Providers asked", ["provider", "good", "time", "answer"], rows, right=[2])
        if not problems:
            answer("The settings are right.")
        for sentence in notes:
            say(f"Note: {sentence}")
        for sentence in waiting:
            say(f"Not usable yet: {sentence}")
    raise typer.Exit(1 if problems or not all(answer.good for answer in answers) else 0)


app.add_typer(keys, name="keys")
app.add_typer(organisations, name="organisations")
app.add_typer(credits_, name="credits")
app.command()(usage)
app.command()(streams)
app.command()(audit)
app.add_typer(catalogue, name="providers")
app.command()(models)
