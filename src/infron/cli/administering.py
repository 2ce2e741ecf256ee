"""Opens the ledger that a command reads or changes as its administrator, in the name of whoever runs it.

It never knows what is done there.
"""

from __future__ import annotations

import getpass
from contextlib import AbstractContextManager
from pathlib import Path

from infron import config
from infron.runtime.ledger.administration import Administration, administration


def administering(config_file: Path | None) -> AbstractContextManager[Administration]:
    """Of the ledger that these settings name."""
    return administration(config.load(config_file).ledger_url(), actor())


def actor() -> str:
    """Who is written into the audit log."""
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):  # no user of this id
        return "cli"
