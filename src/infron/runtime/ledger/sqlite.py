"""A ledger in one SQLite file: how it is opened, locked and written, and what SQLite's errors mean in plain words.

It never knows when something is written, nor by which thread.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from infron.errors import ConfigError
from infron.runtime.ledger import schema
from infron.runtime.ledger.store import Change, Row, StoreBusy, StoreError, UnusableRow, Value, repaired

BUSY_SECONDS = 1.5  # how long one statement waits for another process's lock; three such waits stay below 5 s
WORDS = {
    "int": "INTEGER",
    "real": "REAL",
    "strict": "STRICT",
    "refuse": "BEGIN SELECT RAISE(ABORT, 'nothing of this table is ever changed'); END",
}

# What one row raises whose values SQLite does not take, as opposed to a file that cannot be used.
_UNUSABLE = (
    OverflowError, UnicodeError, sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.DataError,
    sqlite3.IntegrityError,
)  # fmt: skip


class SQLite:
    """The store in the file at `path`. `synchronous`: "normal" survives a killed process, "full" a power cut too."""

    def __init__(self, path: Path, *, synchronous: str = "normal") -> None:
        self.path = path
        self._synchronous = synchronous
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None  # the file that was opened last: device, inode
        self.opened = 0

    def exists(self) -> bool:
        return self.path.exists()

    def problem(self) -> str | None:
        # SQLite says "unable to open" to all of these.
        path = self.path
        if not path.parent.is_dir():
            return f"The ledger {path} cannot be made: there is no folder {path.parent}."
        if path.is_dir():
            return f"The ledger {path} is a folder; name a file."
        if path.exists() and not os.access(path, os.R_OK | os.W_OK):
            return f"The ledger {path} cannot be written: permission denied."
        if not os.access(path.parent, os.W_OK | os.X_OK):
            return f"The ledger {path} cannot be written: the folder {path.parent} is not writable."
        return None

    def reach(self) -> SQLiteRows:
        """Reads the file that stands at the path *now*.

        SQLite would go on writing into a file that was removed, and report it durable. A missing file is not made
        anew either: an empty ledger holds no keys, and without keys anyone may ask.
        """
        return SQLiteRows(self._reach().cursor(), self.path)

    @contextlib.contextmanager
    def round(self) -> Iterator[SQLiteRows]:
        connection = self._reach()
        with _transaction(connection, self.path) as rows:
            yield rows

    @contextlib.contextmanager
    def view(self) -> Iterator[SQLiteRows]:
        with _transaction(self._reach(), self.path, "BEGIN") as rows:
            yield rows

    def version(self) -> str:
        return str(self.reach().read("PRAGMA data_version")[0][0])  # no more than a look at shared memory

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _reach(self) -> sqlite3.Connection:
        found = self._found()
        if self._connection is not None and found == self._file:
            return self._connection
        if self._file is not None:
            self.close()
            if found is None:
                raise StoreError(f"The ledger {self.path} is gone; put it back.")
        self._connection = self._connect()
        self._file = self._found()
        self.opened += 1
        return self._connection

    def _found(self) -> tuple[int, int] | None:
        try:
            seen = os.stat(self.path)
        except OSError:
            return None
        return seen.st_dev, seen.st_ino

    def _connect(self) -> sqlite3.Connection:
        if problem := self.problem():
            raise StoreError(problem)
        connection = None
        try:
            _make_private(self.path)
            connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
            _set_up(connection, self._synchronous)
            _bring_up_to_date(connection, self.path)
        except (sqlite3.Error, OSError, StoreError) as error:
            if connection is not None:
                connection.close()
            raise _explained(error, self.path) from error
        return connection


class SQLiteRows:
    def __init__(self, cursor: sqlite3.Cursor, path: Path) -> None:
        self._cursor = cursor
        self._path = path

    def read(self, statement: str, *values: Value) -> list[Row]:
        try:
            return self._cursor.execute(_with_lists(statement), values).fetchall()
        except _UNUSABLE as error:
            raise UnusableRow(str(error)) from error
        except sqlite3.Error as error:
            raise _explained(error, self._path) from error

    def change(self, statement: str, *values: Value) -> int:
        [count] = self.change_all([(_with_lists(statement), values)])
        if isinstance(count, UnusableRow):
            raise count
        return count

    def change_all(self, changes: Sequence[Change]) -> list[int | UnusableRow]:
        counts: list[int | UnusableRow] = []
        execute = self._cursor.execute
        for statement, values in changes:
            try:
                counts.append(execute(statement, values).rowcount)
            except _UNUSABLE:
                counts.append(self._change_repaired(statement, values))
            except sqlite3.Error as error:
                raise _explained(error, self._path) from error
        return counts

    def _change_repaired(self, statement: str, values: Sequence[Value]) -> int | UnusableRow:
        try:
            return self._cursor.execute(statement, tuple(map(repaired, values))).rowcount
        except _UNUSABLE as error:
            return UnusableRow(str(error))
        except sqlite3.Error as error:
            raise _explained(error, self._path) from error


@functools.lru_cache(512)
def _with_lists(statement: str) -> str:
    return re.sub(r"LIST (\?\d+)", r"SELECT value FROM json_each(\1)", statement)


def path_of(url: str) -> Path:
    """The file behind a ledger's address. Raises ConfigError for an address that is none of SQLite's."""
    scheme, _, name = url.partition(":///")
    if scheme == "sqlite" and name:
        return Path(name)
    raise ConfigError(f"ledger.url: {url!r} is not an address of the form sqlite:///path/to/file.db.")


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection, path: Path, begin: str = "BEGIN IMMEDIATE") -> Iterator[SQLiteRows]:
    cursor = connection.cursor()
    try:
        cursor.execute(begin)
        yield SQLiteRows(cursor, path)
        cursor.execute("COMMIT")
    except BaseException as error:
        if connection.in_transaction:
            cursor.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            raise _explained(error, path) from error
        raise


def _explained(error: Exception, path: Path) -> StoreError:
    """The same in one sentence."""
    if isinstance(error, StoreError):
        return error
    text = str(error)
    if "locked" in text or "busy" in text:
        return StoreBusy(f"The ledger {path} is locked by another program.")
    for sign, meaning in (
        ("not a database", "is not a database"),
        ("malformed", "is damaged"),
        ("readonly", "cannot be written"),
        ("unable to open", "cannot be opened"),
        ("is full", "cannot grow: the disk is full"),
        ("disk I/O error", "cannot be written: the disk reports an error"),
    ):
        if sign in text:
            return StoreError(f"The ledger {path} {meaning}.")
    return StoreError(f"The ledger {path} cannot be used: {text}.")


def _make_private(path: Path) -> None:
    """Make the file, if there is none, so that its owner alone may read it; SQLite's files beside it follow it."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


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


def _bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    if _taken(SQLiteRows(connection.cursor(), path), path) >= len(schema.STEPS):
        return
    with _transaction(connection, path) as rows:
        schema.bring_up_to_date(rows, _taken(rows, path), WORDS)


def _taken(rows: SQLiteRows, path: Path) -> int:
    tables = {name for (name,) in rows.read("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return schema.current(rows, tables, f"The ledger {path}")
