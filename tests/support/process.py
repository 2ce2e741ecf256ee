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

SERVE = """
import sys
from infron import config, errors
from infron.runtime.process import serve
try:
    sys.exit(serve(config.load(sys.argv[1]), ready=lambda url: print(url, flush=True)))
except errors.ConfigError as error:
    sys.exit(f"infron: {error.message}")
"""


class Gateway:
    """`port`: where it answers, once it is `ready`. `ledger`: its file."""

    def __init__(self, process: asyncio.subprocess.Process, ledger: Path, said: Path) -> None:
        self.process = process
        self.port = 0
        self.ledger = ledger
        self._said = said

    def obeys(self) -> bool:
        """Whether SIGTERM comes to our code, and not to the system's, which ends any process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)

    async def ready(self) -> None:
        """Wait until it answers."""
        assert self.process.stdout is not None
        url = (await within(self.process.stdout.readline(), 30)).decode().strip()
        assert url, self.said()
        self.port = int(url.rpartition(":")[2])

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        """The exit code."""
        code: int = await within(self.process.wait(), 30)
        return code

    def said(self) -> str:
        """What it wrote to standard error."""
        return self._said.read_text()

    def workers(self) -> list[int]:
        """Process ids; of one that ends meanwhile, perhaps."""
        pid = self.process.pid
        return [int(pid) for pid in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def rows(self, columns: str = "*") -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.ledger)) as connection:
            return connection.execute(f"SELECT {columns} FROM entries ORDER BY created_ms").fetchall()


@contextlib.asynccontextmanager
async def process(
    folder: Path, provider: ScriptedProvider, settings: str = "", row: str = ""
) -> AsyncIterator[Gateway]:
    """Start it, wait until it answers, and kill it at the end if it still runs. `settings`, `row`: TOML."""
    async with starting(folder, provider, settings, row) as gateway:
        await gateway.ready()
        yield gateway
    assert "Traceback" not in gateway.said(), gateway.said()


@contextlib.asynccontextmanager
async def starting(
    folder: Path, provider: ScriptedProvider | None = None, settings: str = "", row: str = "", port: int = 0
) -> AsyncIterator[Gateway]:
    """The same, from the moment on in which the process has begun."""
    ledger, config, said = folder / "infron.db", folder / "infron.toml", folder / "stderr"
    config.write_text(
        f"""
        {settings}
        [ledger]
        url = "sqlite:///{ledger}"
        [local]
        enabled = false
        [providers.mock]
        wire = "openai-chat"
        base_url = "{provider.base_url if provider else "http://127.0.0.1:9/v1"}"
        api_key = "provider-key"
        {row}
        """
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("INFRON_")}
    with said.open("ab") as stderr:
        running = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            SERVE,
            str(config),
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env={**environ, "INFRON_SERVER_PORT": str(port)},
            start_new_session=True,
        )
    try:
        yield Gateway(running, ledger, said)
    finally:
        close_all()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)  # its workers, too
        await running.communicate()
        print(said.read_text())  # which pytest shows where a test has failed
