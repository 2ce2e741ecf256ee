"""The ledger's thread: it takes what is queued, writes it in one round, and says what became of it.

It never knows the event loop: answers leave through one callable that may be called from any thread.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from infron.errors import LedgerUnavailable
from infron.policy.stop import Stop
from infron.records import Opening
from infron.runtime.ledger import owners, retention
from infron.runtime.ledger.entries import DrainCaps, Settling
from infron.runtime.ledger.inbox import Asking, Done, Inbox, take
from infron.runtime.ledger.known import Known
from infron.runtime.ledger.limited import Applying, Extending
from infron.runtime.ledger.owners import Owner
from infron.runtime.ledger.round import Counts, Reply, Round
from infron.runtime.ledger.store import Rows, Store, StoreBusy, StoreError
from infron.runtime.ledger.verdict import Unavailable

POLL_SECONDS = 0.5  # how soon a change by another process is seen
LEASE_SECONDS = 15.0
RENEW_SECONDS = 5.0
SWEEP_SECONDS = 10.0
REMOVE_SECONDS = 60.0  # between two looks for entries that are not kept any longer
REMOVE_STEP_SECONDS = 0.25  # and between two steps, while there are some
GAP_SECONDS = 0.004  # between two commits under load; without it an open waits for nothing
LINGER_SECONDS = 0.005  # after a commit: how long settlements, for which nobody waits, wait for the next open
LOAD_SECONDS = 0.008  # commits that follow each other as closely as this are load, if they open as many entries:
LOAD_OPENS = 8  # few callers, each of whom waits for one commit after the other, would only wait longer
RETRY_SECONDS = (0.1, 2.0)  # first and longest pause after a failed write
START_SECONDS = 60.0  # how long a start waits for a store that is locked
STOP_SECONDS = 10.0  # how long a stopping ledger goes on trying to write
MOST_SETTLEMENTS = 1000  # in one round

_log = logging.getLogger("infron.ledger")


class Writer:
    """The thread's state. `run` is its whole life; the attributes without an underscore may be read by any thread.

    `healthy`: None, or one sentence why nothing can be written. `unsettled`: settlements that could not be written
    before the end. `reply` gets (callable, argument) pairs, each to be called by whoever asked. `stopped`: to be called
    so with the exchanges of this process that are to be stopped. `looked_on`: the same while somebody wants to know how
    far they are.
    """

    def __init__(
        self,
        *,
        boot: str,
        clock: Callable[[], float],
        charge_failed: bool,
        keep_days: int,
        inbox: Inbox,
        reply: Callable[[list[Reply]], None],
        stopped: Callable[[list[tuple[str, Stop]]], None],
        looked_on: Callable[[None], None],
    ) -> None:
        self.known = Known(boot, clock)
        self.healthy: str | None = None
        self.counts = Counts()
        self.unsettled = 0
        self._boot = boot
        self._clock, self._charge_failed = clock, charge_failed
        self._inbox, self._reply = inbox, reply
        self._stopped, self._looked_on = stopped, looked_on
        self._place = ""
        self._store: Store
        self._connection = 0  # which one was read through last
        self._pending: deque[Settling] = deque()
        self._claims: deque[tuple[str, DrainCaps, Done]] = deque()
        self._applications: deque[Applying] = deque()
        self._extensions: deque[Extending] = deque()
        self._again = False  # the last round failed: what it wrote may be there all the same
        self._loaded = False
        self._committed_at = self._retry_at = self._delay = 0.0
        self._poll_at = self._renew_at = self._sweep_at = 0.0
        self._keep_days = keep_days
        self._remove_at = 0.0 if keep_days else math.inf

    def run(self, store: Store, ready: Callable[[Any], None], closed: Callable[[Any], None]) -> None:
        """`ready` is replied None, or what prevents a start; `closed` None when all is written."""
        self._place, self._store = owners.here(), store
        error = self._start()
        self._reply([(ready, error)])
        if error is not None:
            store.close()
            return
        stop_at = 0.0
        while True:
            stopping = self._inbox.closing  # asked first: all that was queued before it is then in this round
            if stopping and not stop_at:
                stop_at, self._retry_at = time.monotonic() + STOP_SECONDS, 0.0
            for asking in self._collect(stopping):
                self._reply([(asking.give, self._answer(asking))])
            if stopping and (not (self._pending or self._inbox.settles) or time.monotonic() >= stop_at):
                break
            self._chores()
        self._release()
        self._reply([(closed, None)])

    def _start(self) -> Exception | None:
        """Read what there is and take a lease; None, or what prevents it. A store that is locked is waited for."""
        give_up_at = time.monotonic() + START_SECONDS
        while True:
            try:
                self._reach()
                self._renew()
                self._sweep()
            except StoreBusy as error:
                if self._inbox.closing or time.monotonic() >= give_up_at:
                    return error
                if self.healthy is None:
                    self.healthy = error.message
                    _log.warning("%s Waiting for it, for %g s at most.", error.message, START_SECONDS)
                time.sleep(RETRY_SECONDS[0])
            except Exception as error:
                return error
            else:
                self.healthy = None
                return None

    # ---- one round

    def _collect(self, stopping: bool) -> list[Asking]:
        """Wait for work, write what is to be written, and hand back what is asked for after it."""
        inbox = self._inbox
        if stopping:
            inbox.wait(self._retry_at - time.monotonic())
        elif self._loaded:  # more will have come anyway: do not be woken for each piece of it
            inbox.hush()
            time.sleep(GAP_SECONDS)
        elif time.monotonic() - self._committed_at < LINGER_SECONDS:
            inbox.doze()
            inbox.wait(LINGER_SECONDS)
        else:
            inbox.wait(self._due() - time.monotonic())
        inbox.hear()
        opens, asks = take(inbox.opens), take(inbox.asks)
        self._pending.extend(take(inbox.settles))
        self._claims.extend(take(inbox.claims))
        self._applications.extend(take(inbox.applications))
        self._extensions.extend(take(inbox.extensions))
        self._loaded = False
        if opens or (self._waits() and time.monotonic() >= self._retry_at):
            self._write(opens)
        return asks

    def _waits(self) -> bool:
        """Whether something is to be written for which trying again is early enough."""
        return bool(self._pending or self._claims or self._applications or self._extensions)

    def _write(self, opens: list[tuple[Opening, Done]]) -> None:
        settles = [self._pending[n] for n in range(min(len(self._pending), MOST_SETTLEMENTS))]
        self._applications = deque(each for each in self._applications if not each.abandoned)
        replies: list[Reply]
        before = msgspec.structs.replace(self.counts)
        try:
            self._reach()
            with self._store.round() as rows:
                round = self._round(rows)
                replies = round.open(opens)
                round.limited.lock(settles, self._applications, self._extensions)
                round.settle(settles)  # before what it makes room for
                replies += round.claim(self._claims)
                replies += round.limited.decide(self._applications, again=self._again)
                replies += round.limited.extend(self._extensions)
                round.limited.save()
        except Exception as error:
            self.counts, self._again = before, True
            unavailable = Unavailable(self._failed(error))
            replies = [(done, unavailable) for _, done in opens]
        else:
            close = time.monotonic() - self._committed_at < LOAD_SECONDS
            self._loaded = close and len(opens) + len(self._applications) >= LOAD_OPENS
            self._worked()
            self._again = False
            for done in (self._claims, self._applications, self._extensions):
                done.clear()
            for _ in settles:
                self._pending.popleft()
        if replies:
            self._reply(replies)

    def _answer(self, asking: Asking) -> Any:
        """What it returns or raises; LedgerUnavailable where the store cannot be read, or written."""
        try:
            rows = self._reach()
            if not asking.changes:
                return asking.ask(rows)
            with self._store.round() as rows:
                return asking.ask(rows)
        except StoreError as error:
            return LedgerUnavailable(error.message)
        except Exception as error:  # the asker's bug must not end the thread that everybody waits for
            return error

    # ---- chores

    def _due(self) -> float:
        """When there is something to do without being called; what would be written waits for the next try."""
        written = 0.0 if self._waits() else min(self._renew_at, self._sweep_at, self._remove_at)
        return min(self._poll_at, max(written, self._retry_at))

    def _chores(self) -> None:
        now = time.monotonic()
        if now < self._due():
            return
        try:
            if now >= self._poll_at:
                self._poll_at = now + POLL_SECONDS
                self._refresh(self._reach())
            if now >= self._renew_at and now >= self._retry_at:
                self._renew()
                self._worked()
            if now >= self._sweep_at and now >= self._retry_at:
                self._sweep()
            if now >= self._remove_at and now >= self._retry_at:
                self._remove()
        except Exception as error:
            self._failed(error)

    def _renew(self) -> None:
        """Say that this process is there, for some seconds more."""
        pid = os.getpid()
        until = self._now() + int(LEASE_SECONDS * 1000)
        lease = Owner(
            boot=self._boot, place=self._place, pid=pid, started=owners.start_time(pid) or 0, lease_until=until
        )
        self._reach()
        with self._store.round() as rows:
            owners.renew_lease(rows, lease)
        self._renew_at = time.monotonic() + RENEW_SECONDS

    def _remove(self) -> None:
        """Remove some of the entries that are older than they are to be kept."""
        first, removed = retention.keeps_from(self._now(), self._keep_days), 0
        if retention.any_older(self._reach(), first):
            with self._store.round() as rows:
                removed = retention.remove_older(rows, first)
        more = removed == retention.STEP
        self._remove_at = time.monotonic() + (REMOVE_STEP_SECONDS if more else REMOVE_SECONDS)

    def _sweep(self) -> None:
        """Settle what processes that are gone left open."""
        if owners.gone_owners(self._reach(), self._boot, self._place, self._now()):
            with self._store.round() as rows:
                round = self._round(rows)
                round.orphan()
                round.limited.save()
        self._sweep_at = time.monotonic() + SWEEP_SECONDS

    def _round(self, rows: Rows) -> Round:
        return Round(
            rows,
            self.counts,
            boot=self._boot,
            place=self._place,
            now=self._clock(),
            charge_failed=self._charge_failed,
        )

    # ---- the store

    def _reach(self) -> Rows:
        """Rows to read from. Through a new connection everything is read anew, and the lease is renewed."""
        rows = self._store.reach()
        if self._store.opened != self._connection:
            self._connection = self._store.opened
            self.known.doubt()
            self._refresh(rows)
            self._renew_at = 0.0
        return rows

    def _refresh(self, rows: Rows) -> None:
        if marks := self.known.refresh(rows, self._store.version()):
            self._reply([(self._stopped, marks)])
        if self.known.looked_on_until > self._now():
            self._reply([(self._looked_on, None)])

    def _release(self) -> None:
        closed = Unavailable("The ledger is closed.")
        self._reply([(done, closed) for *_, done in self._claims])
        self._reply([(each.done, closed) for each in self._applications])
        self._reply([(each.done, 0) for each in self._extensions])
        self.unsettled = len(self._pending)
        with contextlib.suppress(StoreError), self._store.round() as rows:
            owners.forget(rows, self._boot)
        self._store.close()

    # ---- health

    def _worked(self) -> None:
        self.counts.transactions += 1
        self._committed_at = time.monotonic()
        self.healthy, self._retry_at, self._delay = None, 0.0, 0.0

    def _failed(self, error: Exception) -> str:
        """Try again later, and less and less often. Why, in one sentence."""
        expected = isinstance(error, StoreError)
        sentence = error.message if isinstance(error, StoreError) else f"The ledger cannot be used: {error}."
        if self.healthy is None:
            _log.error(sentence, exc_info=not expected)
        self.healthy = sentence
        self._delay = min(max(self._delay * 2, RETRY_SECONDS[0]), RETRY_SECONDS[1])
        self._retry_at = time.monotonic() + self._delay
        self._renew_at = min(self._renew_at, self._retry_at)  # which also finds out when it works again
        return sentence

    def _now(self) -> int:
        return int(self._clock() * 1000)
