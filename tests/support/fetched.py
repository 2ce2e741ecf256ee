"""Packages that tests fetch from npm and PyPI, each lock once; a test is skipped where none gives them."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import subprocess
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FETCH_SECONDS = 200.0


def installed_in(folder: Path) -> Path:
    """The folder, with what its lock names."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    with alone(folder / "package-lock.json"):
        install(npm, folder)
    return folder


def environment(name: str) -> Path:
    """The folder with the programs of requirements/`name`.txt, `python` among them, apart from ours."""
    folder, lock = ROOT / "tests/clients/.venv" / name, ROOT / f"requirements/{name}.txt"
    stamp, bin = folder / "installed.txt", folder / "bin"
    with alone(lock):
        if not stamp.exists() or stamp.read_bytes() != lock.read_bytes():
            venv.create(folder, clear=True, symlinks=True, with_pip=True)
            pip = [str(bin / "python"), "-Im", "pip", "install", "--disable-pip-version-check", "--no-input"]
            pip += ["--no-deps", "--no-compile", "--require-hashes", "--only-binary=:all:", "-r", str(lock)]
            fetch(pip, ROOT, f"what requirements/{name}.txt names")
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
