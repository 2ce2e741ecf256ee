from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from pathlib import Path

import pytest
from ledgers import child, line, opened, query, running, until

from infron.errors import ConfigError
from infron.runtime.ledger import sqlite, writer
from infron.runtime.ledger.administration import create_key
from infron.runtime.ledger.ledger import Ledger
from infron.runtime.ledger.stores import opened as opened_store
from infron.runtime.ledger.stores import store_of


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: f"sqlite:///{path}/none/ledger.db", "there is no folder"),
        (lambda path: f"sqlite:///{path}", "is a folder"),
        (lambda path: "sqlite:////proc/ledger.db", "ledger /proc/ledger.db cannot be"),
        (lambda path: f"sqlite:///{written(path, b'no database, but long enough' * 99)}", "is not a database"),
        (lambda path: f"sqlite:///{foreign(path)}", "something else"),
        (lambda path: f"sqlite:///{newer(path)}", "newer version"),
        (lambda path: "postgresql://host/db", "PostgreSQL is not supported by this version yet"),
        (lambda path: "mysql://host/db", "not an address of the form sqlite:///"),
        (lambda path: "sqlite:///", "not an address of the form sqlite:///"),
    ],
)
async def test_a_ledger_that_cannot_be_used_is_refused_at_the_start_in_one_sentence(tmp_path: Path, make, says):
    url = make(tmp_path)
    ledger = Ledger(url)
    with pytest.raises(ConfigError) as error:
        await ledger.start()
    assert says in error.value.message
    assert "\n" not in error.value.message
    await ledger.stop()
    with pytest.raises(ConfigError):
        create_key(url, "one")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to root")
async def test_a_folder_that_is_not_writable_is_named(tmp_path: Path):
    os.chmod(tmp_path, 0o500)
    try:
        with pytest.raises(ConfigError, match="is not writable"):
            await Ledger(f"sqlite:///{tmp_path}/ledger.db").start()
    finally:
        os.chmod(tmp_path, 0o700)


async def test_a_start_waits_for_a_ledger_that_another_program_has_locked(url: str):
    # A worker that was replaced during a backup gave up after 1.5 s, and took the gateway with it.
    async with running(url) as ledger:
        assert await opened(ledger, "gen-1")
    with contextlib.closing(sqlite3.connect(sqlite.path_of(url), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ledger = Ledger(url)
        starting = asyncio.ensure_future(ledger.start())
        await until(lambda: ledger.healthy is not None, 5.0)
        assert not starting.done()
        other.execute("ROLLBACK")
    await starting
    assert ledger.healthy is None
    assert await opened(ledger, "gen-2")
    await ledger.stop()


async def test_a_start_gives_up_on_a_ledger_that_stays_locked(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writer, "START_SECONDS", 0.1)
    async with running(url):
        pass
    with contextlib.closing(sqlite3.connect(sqlite.path_of(url), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConfigError, match="locked by another program"):
            await Ledger(url).start()


async def test_a_start_that_waits_can_be_called_off(url: str):
    async with running(url):
        pass
    with contextlib.closing(sqlite3.connect(sqlite.path_of(url), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ledger = Ledger(url)
        starting = asyncio.ensure_future(ledger.start())
        await until(lambda: ledger.healthy is not None, 5.0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await ledger.stop()


def written(path: Path, content: bytes) -> Path:
    (path / "file").write_bytes(content)
    return path / "file"


def foreign(path: Path) -> Path:
    query(f"sqlite:///{path}/file", "CREATE TABLE mine (a TEXT)")
    return path / "file"


def newer(path: Path) -> Path:
    with opened_store(f"sqlite:///{path}/file") as store:
        store.reach()
    query(f"sqlite:///{path}/file", "UPDATE meta SET value = '999' WHERE name IN ('schema', 'readable_by')")
    return path / "file"


async def test_processes_that_start_together_on_no_file_make_one_ledger(url: str):
    body = "async def main(ledger):\n    await opened(ledger, sys.argv[0] + str(os.getpid()))\n    say('up')\n"
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(child(url, body)) for _ in range(4)]
        assert [await line(process) for process in children] == ["up"] * 4
        assert [process.wait() for process in children] == [0] * 4
    assert query(url, "SELECT count(*) FROM entries") == [(4,)]


def test_full_durability_is_a_setting(url: str):
    for name, level in (("full", 2), ("normal", 1)):
        with contextlib.closing(store_of(url, synchronous=name)) as store:
            assert store.reach().read("PRAGMA synchronous") == [(level,)]
            assert store.reach().read("PRAGMA journal_mode") == [("wal",)]
