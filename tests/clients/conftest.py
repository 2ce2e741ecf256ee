"""A gateway with a scripted provider behind it, and the JavaScript clients, installed once."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import shutil
import subprocess
import venv
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from infron.testing import RunningGateway, ScriptedProvider, gateway

HERE = Path(__file__).parent
FETCH_SECONDS = 200.0


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


def installed_in(folder: Path) -> Path:
    """The folder, with what its lock names."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    with alone(folder / "package-lock.json"):
        install(npm, folder)
    return folder


def environment(name: str) -> Path:
    folder, lock = HERE / ".venv" / name, HERE.parents[1] / f"requirements/{name}.txt"
    stamp, bin = folder / "installed.txt", folder / "bin"
    with alone(lock):
        if not stamp.exists() or stamp.read_bytes() != lock.read_bytes():
            venv.create(folder, clear=True, symlinks=True, with_pip=True)
            pip = [str(bin / "python"), "-Im", "pip", "install", "--disable-pip-version-check", "--no-input"]
            pip += ["--no-deps", "--no-compile", "--require-hashes", "--only-binary=:all:", "-r", str(lock)]
            fetch(pip, HERE, f"what requirements/{name}.txt names")
            stamp.write_bytes(lock.read_bytes())
    return bin


def install(npm: str, folder: Path) -> None:
    lock, installed = folder / "package-lock.json", folder / "node_modules" / ".installed-lock.json"
    if not installed.exists() or installed.read_bytes() != lock.read_bytes():
        # Not `ci`, which refuses a lock that lacks a package's variants for other machines.
        command = [npm, "install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"]
        fetch(command, folder, f"the packages of {folder.name}")
        installed.write_bytes(lock.read_bytes())


def fetch(command: list[str], folder: Path, what: str) -> None:
    """Run an installer. A registry that does not give what the lock names, or not in time, is no fault of ours."""
    try:
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=FETCH_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{what} were not fetched within {FETCH_SECONDS:g} s")
    if result.returncode:
        said = (result.stderr.strip() or result.stdout.strip()).splitlines()
        pytest.skip(f"{what} cannot be fetched: {' / '.join(said[-3:])[:500]}")


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[None]:
    """For one test process at a time that installs what this file names."""
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
