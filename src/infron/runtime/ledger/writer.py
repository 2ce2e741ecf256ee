"""The ledger's thread: it takes what is queued, writes it in one transaction, and says what became of it.

It never knows the event loop: answers leave through one callable that may be called from any thread.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from infron.errors import ConfigError, LedgerUnavailable
from infron.policy.access import CLOSED, KeyRing
from infron.records import Opening, Settlement
from infron.runtime.ledger import entries, keys, owners, sqlite

Done = Callable[[bool], None]
Read = Callable[[sqlite3.Cursor], Any]
Reply = tuple[Callable[[Any], None], Any]

POLL_SECONDS = 0.5  # how soon a change by another process is seen
LEASE_SECONDS = 15.0
RENEW_SECONDS = 5.0
SWEEP_SECONDS = 10.0
GAP_SECONDS = 0.004  # between two commits under load; an open on an idle ledger waits for nothing
LINGER_SECONDS = 0.005  # how long settlements, for which nobody waits, are collected unless the ledger is idle
LOAD_SECONDS = 0.008  # commits that follow each other as closely as this are load
RETRY_SECONDS = (0.1, 2.0)  # first and longest pause after a failed write
STOP_SECONDS = 5.0  # how long a stopping ledger goes on trying to write
MOST_SETTLEMENTS = 1000  # in one transaction

# What one unusable row raises, as opposed to an unusable file.
_ROW_ERRORS = (
    sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError,
    TypeError, ValueError, AttributeError, OverflowError,
)  # fmt: skip

_T = TypeVar("_T")
_log = logging.getLogger("infron.ledger")


class Counts(Struct):
    """What the thread did since it started. `duplicates`: settlements of rows that were settled before."""

    transactions: int = 0
    opened: int = 0
    settled: int = 0
    duplicates: int = 0
    orphaned: int = 0
    refused: int = 0


class Inbox:
    """What waits for the thread. One thread fills it, the other empties it; neither ever waits for a lock."""

    def __init__(self) -> None:
        self.opens: deque[tuple[Opening, Done]] = deque()
        self.claims: deque[tuple[str, int, Done]] = deque()
        self.settles: deque[tuple[Settlement, Opening | None]] = deque()
        self.reads: deque[tuple[Read, Callable[[Any], None]]] = deque()
        self.closing = False
        self._bell: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._hurried = False
        self._nudged = False

    def hurry(self) -> None:
        """Something was added that cannot wait."""
        if not self._hurried:
            self._hurried = True
            self._bell.put(True)

    def nudge(self) -> None:
        """Something was added that can wait a little."""
        if not self._nudged:
            self._nudged = True
            self._bell.put(False)

    def hush(self) -> None:
        """Do not ring until `hear`: the queues will be looked at without being called."""
        self._hurried = self._nudged = True

    def wait(self, seconds: float) -> bool | None:
        """True: hurry; False: there is time for more to come; None: nothing came."""
        try:
            return self._bell.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None

    def hear(self) -> None:
        """To be called before the queues are emptied: whatever is added from now on rings again."""
        while not self._bell.empty():
            self._bell.get_nowait()
        self._hurried = self._nudged = False


def _take(waiting: deque[_T]) -> list[_T]:
    return [waiting.popleft() for _ in range(len(waiting))]


class Writer:
    """The thread's state. `run` is its whole life; the attributes without an underscore may be read by any thread.

    `ring`: the keys. `healthy`: None, or one sentence why nothing can be written. `elsewhere`: drains of other
    processes by key. `reply` gets (callable, argument) pairs, each to be called by whoever asked.
    """

    def __init__(
        self,
        url: str,
        *,
        boot: str,
        synchronous: str,
        clock: Callable[[], float],
        charge_failed: bool,
        inbox: Inbox,
        reply: Callable[[list[Reply]], None],
    ) -> None:
        self.ring: KeyRing = CLOSED
        self.healthy: str | None = None
        self.elsewhere: dict[str | None, int] = {}
        self.counts = Counts()
        self._url, self._boot, self._synchronous = url, boot, synchronous
        self._clock, self._charge_failed = clock, charge_failed
        self._inbox, self._reply = inbox, reply
        self._place = ""
        self._path = Path()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._pending: deque[tuple[Settlement, Opening | None]] = deque()
        self._spent: dict[str, int] = {}  # of keys with a limit
        self._data_version: int | None = None
        self._revision = ""
        self._loaded = False
        self._committed_at = self._retry_at = self._delay = 0.0
        self._poll_at = self._renew_at = self._sweep_at = 0.0

    def run(self, ready: Callable[[Any], None], closed: Callable[[Any], None]) -> None:
        """`ready` is replied None, or the ConfigError that prevents a start; `closed` None when all is written."""
        self._place = owners.here()
        try:
            self._path = sqlite.path_of(self._url)
            self._reach()
            self._renew()
            self._sweep()
        except (sqlite3.Error, ConfigError, OSError) as error:
            self._let_go()
            wrong = error if isinstance(error, ConfigError) else ConfigError(sqlite.explain(error, self._path))
            self._reply([(ready, wrong)])
            return
        self._reply([(ready, None)])
        stop_at = 0.0
        while True:
            stopping = self._inbox.closing  # asked first: all that was queued before it is then in this round
            if stopping and not stop_at:
                stop_at, self._retry_at = time.monotonic() + STOP_SECONDS, 0.0
            for read, give in self._collect(stopping):
                self._reply([(give, self._answer(read))])
            if stopping and (not (self._pending or self._inbox.settles) or time.monotonic() >= stop_at):
                break
            self._chores()
        self._release()
        self._reply([(closed, None)])

    # ---- one round

    def _collect(self, stopping: bool) -> list[tuple[Read, Callable[[Any], None]]]:
        """Wait for work, write what is to be written, and hand back what is to be read after it."""
        inbox = self._inbox
        if stopping:
            inbox.wait(self._retry_at - time.monotonic())
        elif self._loaded:  # more will have come anyway: do not be woken for each piece of it
            inbox.hush()
            time.sleep(GAP_SECONDS)
        else:
            due = min(self._poll_at, self._renew_at, self._sweep_at, self._retry_at if self._pending else self._poll_at)
            rung = inbox.wait(due - time.monotonic())
            if rung is False and time.monotonic() - self._committed_at < LINGER_SECONDS:
                inbox.wait(LINGER_SECONDS)
        inbox.hear()
        opens, claims, reads = _take(inbox.opens), _take(inbox.claims), _take(inbox.reads)
        self._pending.extend(_take(inbox.settles))
        self._loaded = False
        if opens or claims or (self._pending and time.monotonic() >= self._retry_at):
            self._write(opens, claims)
        return reads

    def _write(self, opens: list[tuple[Opening, Done]], claims: list[tuple[str, int, Done]]) -> None:
        settles = [self._pending[n] for n in range(min(len(self._pending), MOST_SETTLEMENTS))]
        replies: list[Reply]
        before = msgspec.structs.replace(self.counts)
        try:
            with sqlite.transaction(self._reach()) as cursor:
                replies = [(done, self._open(cursor, opening)) for opening, done in opens]
                charges = self._settle(cursor, settles)  # before the claims, as it makes room for them
                replies += self._claim(cursor, claims)
        except Exception as error:
            self._failed(error)
            self.counts = before
            replies = [(done, False) for _, done in opens] + [(done, False) for *_, done in claims]
        else:
            self._worked()
            for _ in settles:
                self._pending.popleft()
            for (key_id, _), charge in charges.items():
                if key_id in self._spent:
                    self._spent[key_id] += charge
        if replies:
            self._reply(replies)

    def _open(self, cursor: sqlite3.Cursor, opening: Opening) -> bool:
        try:
            written = entries.open_entry(cursor, opening, self._boot)
        except _ROW_ERRORS:
            _log.exception("The entry %s cannot be opened.", opening.id)
            written = False
        self.counts.opened += written
        return written

    def _claim(self, cursor: sqlite3.Cursor, claims: list[tuple[str, int, Done]]) -> list[Reply]:
        replies: list[Reply] = []
        swept = False
        for id, most, done in claims:
            granted = entries.claim_drain(cursor, id, most)
            if not granted and not swept:  # are some of those that drain dead?
                swept = True
                if self._orphan(cursor):
                    granted = entries.claim_drain(cursor, id, most)
            replies.append((done, granted))
        return replies

    def _settle(
        self, cursor: sqlite3.Cursor, settles: list[tuple[Settlement, Opening | None]]
    ) -> dict[tuple[str | None, int], int]:
        """Settle the rows; what this charges, by key and day."""
        now, counts = self._now(), self.counts
        charges: dict[tuple[str | None, int], int] = {}
        for settlement, opening in settles:
            try:
                posted = entries.settle_entry(cursor, settlement, opening, self._boot, now)
            except _ROW_ERRORS:
                counts.refused += 1
                _log.exception("An entry cannot be settled: %r", settlement)
                continue
            if posted is None:
                counts.duplicates += 1
                continue
            counts.settled += 1
            if posted.charge:
                group = (posted.key_id, posted.day)
                charges[group] = charges.get(group, 0) + posted.charge
        for (key_id, day), charge in charges.items():
            try:
                keys.add_charge(cursor, key_id, date.fromordinal(day), charge)
            except _ROW_ERRORS:  # nine million dollars in one month do not fit into 64 bits
                _log.exception("The total of %s cannot grow by %d picodollars.", key_id or "all without a key", charge)
        return charges

    def _answer(self, read: Read) -> Any:
        """What `read` returns, or LedgerUnavailable."""
        try:
            return read(self._reach().cursor())
        except (sqlite3.Error, ConfigError, OSError) as error:
            return LedgerUnavailable(self._explain(error))

    # ---- chores

    def _chores(self) -> None:
        now = time.monotonic()
        if now < min(self._poll_at, self._renew_at, self._sweep_at):
            return
        try:
            if now >= self._poll_at:
                self._poll_at = now + POLL_SECONDS
                self._refresh(self._reach().cursor())
            if now >= self._renew_at and now >= self._retry_at:
                self._renew()
                self._worked()
            if now >= self._sweep_at and now >= self._retry_at:
                self._sweep()
        except Exception as error:
            self._failed(error)

    def _refresh(self, cursor: sqlite3.Cursor) -> None:
        """Read again what other processes may have changed, if they wrote anything at all."""
        version = sqlite.version_of_others(cursor)
        if version == self._data_version:
            return
        revision = keys.revision(cursor)
        self._spent.update(keys.spent_of_limited(cursor))
        self.elsewhere = entries.drains_elsewhere(cursor, self._boot)
        if revision != self._revision:
            pepper, usable, exist = keys.usable_keys(cursor)
            # Once needed, always needed: an empty file put in the ledger's place must not open the door.
            required = exist or (self.ring is not CLOSED and self.ring.required)
            self.ring = KeyRing(pepper, usable, required, self._spent)
        self._data_version, self._revision = version, revision

    def _renew(self) -> None:
        """Say that this process is there, for some seconds more."""
        pid = os.getpid()
        lease = (self._boot, self._place, pid, owners.start_time(pid) or 0, self._now() + int(LEASE_SECONDS * 1000))
        with sqlite.transaction(self._reach()) as cursor:
            cursor.execute(
                "INSERT INTO owners (boot, place, pid, started, lease_until) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (boot) DO UPDATE SET lease_until = excluded.lease_until",
                lease,
            )
        self._renew_at = time.monotonic() + RENEW_SECONDS

    def _sweep(self) -> None:
        """Settle what processes that are gone left open."""
        connection = self._reach()
        if entries.gone_owners(connection.cursor(), self._boot, self._place, self._now()):
            with sqlite.transaction(connection) as cursor:
                self._orphan(cursor)
        self._sweep_at = time.monotonic() + SWEEP_SECONDS

    def _orphan(self, cursor: sqlite3.Cursor) -> int:
        now = self._now()
        lost = entries.gone_owners(cursor, self._boot, self._place, now)
        settled = entries.settle_orphans(cursor, lost, now, charge_failed=self._charge_failed)
        self.counts.orphaned += settled
        return settled

    # ---- the file

    def _reach(self) -> sqlite3.Connection:
        """The connection to the file that stands at the path *now*.

        SQLite would go on writing into a file that was removed, and report it durable. A missing file is not made
        anew either: an empty ledger holds no keys, and without keys anyone may ask.
        """
        try:
            seen = os.stat(self._path)
            file = (seen.st_dev, seen.st_ino)
        except OSError:
            file = None
        if self._connection is not None and file == self._file:
            return self._connection
        if self._file is not None:
            self._let_go()
            if file is None:
                raise ConfigError(f"The ledger {self._path} is gone; put it back.")
        self._connection = sqlite.connect(self._url, synchronous=self._synchronous)
        seen = os.stat(self._path)
        self._file = (seen.st_dev, seen.st_ino)
        self._data_version, self._revision = None, ""
        self._refresh(self._connection.cursor())
        self._renew_at = 0.0
        return self._connection

    def _let_go(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _release(self) -> None:
        if self._pending:
            _log.error("%d entries could not be settled: %s", len(self._pending), self.healthy)
        with contextlib.suppress(sqlite3.Error, ConfigError, OSError), sqlite.transaction(self._reach()) as cursor:
            cursor.execute("DELETE FROM owners WHERE boot = ?", (self._boot,))
        self._let_go()

    # ---- health

    def _worked(self) -> None:
        self.counts.transactions += 1
        now = time.monotonic()
        self._loaded = now - self._committed_at < LOAD_SECONDS
        self._committed_at = now
        self.healthy, self._retry_at, self._delay = None, 0.0, 0.0

    def _failed(self, error: Exception) -> None:
        sentence = self._explain(error)
        if self.healthy is None:
            _log.error(sentence, exc_info=not isinstance(error, (sqlite3.Error, ConfigError, OSError)))
        self.healthy = sentence
        self._delay = min(max(self._delay * 2, RETRY_SECONDS[0]), RETRY_SECONDS[1])
        self._retry_at = time.monotonic() + self._delay
        self._renew_at = min(self._renew_at, self._retry_at)  # which also finds out when it works again

    def _explain(self, error: Exception) -> str:
        return str(error) if isinstance(error, ConfigError) else sqlite.explain(error, self._path)

    def _now(self) -> int:
        return int(self._clock() * 1000)
