"""A gateway with a scripted provider behind it, and the JavaScript clients, installed once."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fetched import environment, installed_in

from infron.testing import RunningGateway, ScriptedProvider, gateway

HERE = Path(__file__).parent


class Stage(NamedTuple):
    running: RunningGateway
    provider: ScriptedProvider

    @property
    def base_url(self) -> str:
        return f"{self.running.url}/v1"


@pytest.fixture
async def stage() -> AsyncIterator[Callable[..., Any]]:
    """`await stage(script, **sections)`: a provider that plays the script, and a gateway in front of it."""
    async with contextlib.AsyncExitStack() as stack:

        async def build(script: Any, **sections: Any) -> Stage:
            provider = await stack.enter_async_context(ScriptedProvider(script))
            running = await stack.enter_async_context(gateway(providers={"mock": provider.definition()}, **sections))
            return Stage(running, provider)

        yield build


class Program:
    """A program of a client's, that runs. What it writes is read as it comes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.output = b""

    async def until(self, words: str) -> None:
        assert self.process.stdout is not None
        while words.encode() not in self.output:
            async with asyncio.timeout(30):
                data = await self.process.stdout.read(4_096)
            assert data, f"{words!r} did not come: {self.output.decode()!r}\n{await self._errors()}"
            self.output += data

    async def end(self) -> str:
        """All that it wrote, once it has ended well."""
        async with asyncio.timeout(30):
            rest, errors = await self.process.communicate()
        assert self.process.returncode == 0, errors.decode()
        assert errors == b""
        return (self.output + rest).decode()

    async def _errors(self) -> str:
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Any]]:
    """`await start("node", …)`: a Program; those that still run at the end of the test are killed."""
    started: list[asyncio.subprocess.Process] = []

    async def run(*command: str) -> Program:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, cwd=HERE)
        started.append(process)
        return Program(process)

    yield run
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.fixture(scope="session")
def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not installed")
    return found


@pytest.fixture(scope="session")
def packages(node: str) -> Path:
    """The folder with the installed JavaScript clients; they are installed anew where the lock has changed.

    One test process installs, the others wait for it.
    """
    return installed_in(HERE)


@pytest.fixture(scope="session")
def installed(node: str) -> Callable[[str], Path]:
    """`installed("pi")`: the folder with the packages of this application, which are installed like the clients."""
    return lambda name: installed_in(HERE / "applications" / name) / "node_modules"


@pytest.fixture(scope="session")
def programs() -> Callable[[str], Path]:
    """`programs("clients")`: the folder with what requirements/clients.txt brings, with a `python` of its own."""
    return environment


@pytest.fixture(scope="session")
def codex(node: str, installed: Callable[[str], Path]) -> list[str]:
    return [node, str(installed("codex") / "@openai/codex/bin/codex.js")]
