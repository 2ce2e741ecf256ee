"""A gateway as a process of its own: to be signalled and killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

from rawclient import close_all, within

from infron.testing import ScriptedProvider

SERVE = (
    "import sys; from infron import config; from infron.runtime import process as gateway\n"
    "sys.exit(gateway.serve(config.load(sys.argv[1]), ready=lambda url: print(url, flush=True)))"
)


class Gateway:
    """`port`: where it answers. `ledger`: its file."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, ledger: Path) -> None:
        self.process = process
        self.port = port
        self.ledger = ledger

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        """The exit code."""
        code: int = await within(self.process.wait(), 10)
        return code

    def rows(self, columns: str = "*") -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.ledger)) as connection:
            return connection.execute(f"SELECT {columns} FROM entries ORDER BY created_ms").fetchall()


@contextlib.asynccontextmanager
async def process(
    folder: Path, provider: ScriptedProvider, settings: str = "", row: str = ""
) -> AsyncIterator[Gateway]:
    """Start it, wait until it answers, and kill it at the end if it still runs. `settings`, `row`: TOML."""
    ledger, config = folder / "infron.db", folder / "infron.toml"
    config.write_text(
        f"""
        {settings}
        [ledger]
        url = "sqlite:///{ledger}"
        [local]
        enabled = false
        [providers.mock]
        wire = "openai-chat"
        base_url = "{provider.base_url}"
        api_key = "provider-key"
        {row}
        """
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("INFRON_")}
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SERVE,
        str(config),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**environ, "INFRON_SERVER_PORT": "0"},
        start_new_session=True,
    )
    assert running.stdout is not None
    assert running.stderr is not None
    try:
        url = (await within(running.stdout.readline(), 10)).decode().strip()
        assert url, (await running.stderr.read()).decode()
        yield Gateway(running, int(url.rpartition(":")[2]), ledger)
    finally:
        close_all()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)  # its workers, too
        _, said = await running.communicate()
        assert b"Traceback" not in said, said.decode()
