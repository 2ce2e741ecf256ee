"""The `infron` command. A first `serve`, until the whole command line stands here.

It never knows how a request is answered.
"""

import sys
from typing import Annotated

import msgspec
import typer

from infron import config
from infron.errors import ConfigError
from infron.runtime import gateway

app = typer.Typer(no_args_is_help=True)


@app.callback()
def infron() -> None:
    """A streaming gateway for language models."""


@app.command()
def serve(
    config_file: Annotated[str | None, typer.Option("--config")] = None,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
) -> None:
    """Start the gateway."""
    try:
        settings = config.load(config_file)
        given = {name: value for name, value in (("host", host), ("port", port), ("workers", workers)) if value is not None}
        settings = msgspec.structs.replace(settings, server=msgspec.structs.replace(settings.server, **given))
        sys.exit(gateway.serve(settings, ready=lambda url: print(f"Infron listens on {url}", flush=True)))
    except ConfigError as error:
        print(f"infron: {error.message}", file=sys.stderr)
        sys.exit(2)


def main() -> None:
    app()
