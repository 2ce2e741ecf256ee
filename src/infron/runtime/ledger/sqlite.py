"""The ledger's file: its tables, how it is opened, and what its errors mean in plain words.

It never knows when something is written, nor by which thread.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infron.errors import ConfigError

BUSY_SECONDS = 1.5  # how long one statement waits for another process's lock; three such waits stay below 5 s

# Each step is one version of the schema, applied in order and never changed again. Two things are not visible in it.
# `id` has an index of its own instead of being the table's order: ids of several processes come in between each other,
# and whole rows put there would touch many more pages than 40-byte index rows do. And rows that are not settled,
# or are draining, are few: a partial index finds them at next to no cost for all the others.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) STRICT",
        """CREATE TABLE owners (
            boot TEXT NOT NULL PRIMARY KEY, place TEXT NOT NULL, pid INTEGER NOT NULL, started INTEGER NOT NULL,
            lease_until INTEGER NOT NULL
        ) STRICT""",
        """CREATE TABLE keys (
            id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, hint TEXT NOT NULL, hash TEXT NOT NULL UNIQUE,
            created_ms INTEGER NOT NULL, revoked_ms INTEGER, spend_limit INTEGER
        ) STRICT""",
        """CREATE TABLE spend (
            key_id TEXT NOT NULL, period TEXT NOT NULL, charge INTEGER NOT NULL, PRIMARY KEY (key_id, period)
        ) STRICT""",
        """CREATE TABLE entries (
            id TEXT NOT NULL PRIMARY KEY, owner TEXT NOT NULL, key_id TEXT, model TEXT NOT NULL, provider TEXT NOT NULL,
            provider_model TEXT NOT NULL, streamed INTEGER NOT NULL, created_ms INTEGER NOT NULL, price TEXT,
            end_user TEXT, session_id TEXT, draining INTEGER NOT NULL DEFAULT 0,
            outcome TEXT, prompt INTEGER, completion INTEGER, cached INTEGER, cache_write INTEGER, reasoning INTEGER,
            estimated INTEGER, cost INTEGER, charge INTEGER, finish_reason TEXT, error_type TEXT, error TEXT,
            upstream_id TEXT, latency_ms REAL, generation_ms REAL, upstream_closed_ms REAL, frames INTEGER,
            on_disconnect TEXT, attempts TEXT, settled_ms INTEGER, orphaned INTEGER NOT NULL DEFAULT 0
        ) STRICT""",
        "CREATE INDEX entries_open ON entries (owner) WHERE outcome IS NULL",
        "CREATE INDEX entries_draining ON entries (owner, key_id) WHERE draining = 1",
    ),
    (
        "ALTER TABLE entries ADD COLUMN native_finish_reason TEXT",
        "ALTER TABLE entries ADD COLUMN dropped TEXT",
    ),
)


def path_of(url: str) -> Path:
    """The file behind a ledger's address. Raises ConfigError for an address that is none of SQLite's."""
    scheme, _, name = url.partition(":///")
    if scheme == "sqlite" and name:
        return Path(name)
    if url.startswith(("postgresql://", "postgres://", "postgresql+")):
        raise ConfigError("ledger.url: PostgreSQL is not supported by this version yet; use sqlite:///path/to/file.db.")
    raise ConfigError(f"ledger.url: {url!r} is not an address of the form sqlite:///path/to/file.db.")


def connect(url: str, *, synchronous: str = "normal") -> sqlite3.Connection:
    """Open the ledger; make it, or bring its tables up to date, if need be. Raises ConfigError with one sentence."""
    path = path_of(url)
    _check_place(path)
    connection = None
    try:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        _set_up(connection, synchronous)
        _migrate(connection, path)
    except (sqlite3.Error, ConfigError) as error:
        if connection is not None:
            connection.close()
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(explain(error, path)) from error
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Cursor]:
    """One writing transaction: all of it is durable afterwards, or none. Raises sqlite3.Error."""
    cursor = connection.cursor()
    cursor.execute("BEGIN IMMEDIATE")
    try:
        yield cursor
        cursor.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            cursor.execute("ROLLBACK")
        raise


def version_of_others(cursor: sqlite3.Cursor) -> int:
    """Changes whenever another connection wrote anything; costs no more than a look at shared memory."""
    return int(cursor.execute("PRAGMA data_version").fetchone()[0])


def explain(error: Exception, path: Path) -> str:
    """One sentence about an error of the database."""
    text = str(error)
    for sign, meaning in (
        ("not a database", "is not a database"),
        ("malformed", "is damaged"),
        ("locked", "is locked by another program"),
        ("busy", "is locked by another program"),
        ("readonly", "cannot be written"),
        ("unable to open", "cannot be opened"),
        ("is full", "cannot grow: the disk is full"),
        ("disk I/O error", "cannot be written: the disk reports an error"),
    ):
        if sign in text:
            return f"The ledger {path} {meaning}."
    return f"The ledger {path} cannot be used: {text}."


def _check_place(path: Path) -> None:
    # SQLite says "unable to open" to all of these.
    if not path.parent.is_dir():
        raise ConfigError(f"The ledger {path} cannot be made: there is no folder {path.parent}.")
    if path.is_dir():
        raise ConfigError(f"The ledger {path} is a folder; name a file.")
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        raise ConfigError(f"The ledger {path} cannot be written: permission denied.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"The ledger {path} cannot be written: the folder {path.parent} is not writable.")


def _set_up(connection: sqlite3.Connection, synchronous: str) -> None:
    deadline = time.monotonic() + BUSY_SECONDS
    while True:  # the change to WAL does not wait for locks by itself
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    connection.execute(f"PRAGMA synchronous = {'FULL' if synchronous == 'full' else 'NORMAL'}")
    connection.execute("PRAGMA foreign_keys = OFF")
    # A checkpoint syncs twice, and opens wait for it: have one each 32 MiB, not each 4.
    connection.execute("PRAGMA wal_autocheckpoint = 8000").fetchone()


def _version(cursor: sqlite3.Cursor | sqlite3.Connection, path: Path) -> int:
    names = {name for (name,) in cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not names:
        return 0
    row = cursor.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone() if "meta" in names else None
    if row is None or not str(row[0]).isdecimal():
        raise ConfigError(f"The ledger {path} is a database of something else.")
    if int(row[0]) > len(MIGRATIONS):
        raise ConfigError(f"The ledger {path} was written by a newer version of Infron; update this one.")
    return int(row[0])


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    if _version(connection, path) == len(MIGRATIONS):
        return
    with transaction(connection) as cursor:
        for statements in MIGRATIONS[_version(cursor, path) :]:
            for statement in statements:
                cursor.execute(statement)
        cursor.executemany(
            "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING",
            [("pepper", secrets.token_hex(32)), ("keys_revision", "0")],
        )
        cursor.execute(
            "INSERT INTO meta (name, value) VALUES ('schema', ?)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (str(len(MIGRATIONS)),),
        )
