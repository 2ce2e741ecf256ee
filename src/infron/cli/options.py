"""What several commands have in common: their options, and the one sentence with which they stop.

It never knows a command.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from infron import printable

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="INFRON_CONFIG",
        metavar="FILE",
        help="The settings, a TOML file; else every setting has its default.",
    ),
]
Format = Annotated[
    Literal["table", "json", "csv"], typer.Option("--format", help="A table to read, or data for other programs.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]


def stop(sentence: str) -> NoReturn:
    sys.exit(f"infron: {printable.line(sentence)}")
