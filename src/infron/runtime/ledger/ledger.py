"""The ledger as the event loop sees it: every exchange is opened durably and settled once; keys, drains, receipts.

It never touches the store, and never waits for it: all of that happens in one thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from infron.errors import LedgerUnavailable
from infron.policy import limits
from infron.policy.access import Key, KeyRing
from infron.policy.limits import Granted
from infron.policy.stop import Stop
from infron.records import Opening, Progress, Settlement
from infron.runtime.ledger import journal, live, retention, stops
from infron.runtime.ledger.entries import DrainCaps
from infron.runtime.ledger.inbox import Ask, Asking, Done, Inbox
from infron.runtime.ledger.limited import Answered, Applying, Extending
from infron.runtime.ledger.receipts import Found, Receipt, read_entry
from infron.runtime.ledger.round import Counts, Reply
from infron.runtime.ledger.spend import Spend, UsedByKey, read_spend
from infron.runtime.ledger.store import Rows
from infron.runtime.ledger.stores import store_of
from infron.runtime.ledger.verdict import Recorded, Refused, Unavailable, Verdict
from infron.runtime.ledger.writer import Writer

__all__ = [
    "DrainCaps",
    "Ledger",
    "Receipt",
    "Recorded",
    "Refused",
    "Spend",
    "Unavailable",
    "Verdict",
]

SIBLING_SECONDS = 0.1  # how long a receipt waits for another process to settle it
LOOK_AGAIN_SECONDS = 0.02

_CLOSED = Unavailable("The ledger is closed.")
_log = logging.getLogger("infron.ledger")


class Ledger:
    """Used from one event loop, between `start` and `stop`. `left_open`: after the stop, how many entries could not be
    settled; the next start will find them as orphans.

    Each `open` is to be followed by exactly one `settled` with the same id, also where the opening could not be
    written: until then the opening is kept, so that a row can be written whole if it has to be.
    """

    def __init__(
        self,
        url: str,
        *,
        synchronous: str = "normal",
        clock: Callable[[], float] = time.time,
        charge_failed: bool = False,
        keep_days: int = 0,
    ) -> None:
        self.boot = secrets.token_hex(8)
        self.left_open = 0
        self._url, self._synchronous = url, synchronous
        self._clock = clock
        self.keep_days = keep_days
        self._inbox = Inbox()
        self._writer = Writer(
            boot=self.boot,
            clock=clock,
            charge_failed=charge_failed,
            keep_days=keep_days,
            inbox=self._inbox,
            reply=self._reply,
            stopped=self._stopped,
            looked_on=self._looked_on,
        )
        self._stop: Callable[[str, Stop], None] = lambda id, stop: None
        self._progress: Callable[[], list[Progress]] = list
        self._openings: dict[str, Opening] = {}
        self._drains: dict[str, str | None] = {}  # id -> key, of this process
        self._drains_by_key: dict[str | None, int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Open the store, or make it; settle what dead processes left open. Raises ConfigError with one sentence."""
        store = store_of(self._url, synchronous=self._synchronous)
        self._loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = self._loop.create_future()
        self._closed = self._loop.create_future()
        work = (store, _giver(ready), _giver(self._closed))
        threading.Thread(target=self._writer.run, args=work, name="infron-ledger", daemon=True).start()
        try:
            await ready
        except BaseException:
            self._inbox.closing = True
            self._inbox.hurry()
            self._closed.cancel()
            raise

    async def stop(self) -> None:
        """Write everything queued (for 10 s at most, if writing fails), give up the lease, close the store."""
        self._inbox.closing = True
        self._inbox.hurry()
        if self._closed is not None and not self._closed.done():
            await asyncio.shield(self._closed)
        self.left_open = len(self._openings) + self._writer.unsettled + self.counts.refused
        if self.left_open:
            _log.error("%d entries could not be settled. %s", self.left_open, self.healthy or "")

    # ---- an exchange

    def open(self, opening: Opening, done: Done) -> None:
        """Write the row of a new exchange; `done` is told what became of it."""
        if self._inbox.closing:
            asyncio.get_running_loop().call_soon(done, _CLOSED)
            return
        self._openings[opening.id] = opening
        self._inbox.opens.append((opening, done))
        self._inbox.hurry()

    def admit(self, opening: Opening, ask: limits.Ask, done: Answered) -> Callable[[], None]:
        """Ask whether an exchange with limits may begin: if so, its row is written. `done` is told at the latest when
        the ledger is closed, so who waits keeps a clock, and calls what is returned when it waits no longer.

        Unless it is refused, exactly one `settled` with the same id is to follow.
        """
        if self._inbox.closing:
            asyncio.get_running_loop().call_soon(done, _CLOSED)
            return _nothing
        self._openings[opening.id] = opening

        def answered(verdict: Granted | limits.Refused | Unavailable) -> None:
            if isinstance(verdict, limits.Refused):
                self._openings.pop(opening.id, None)
            done(verdict)

        applying = Applying(opening, ask, answered)
        self._inbox.applications.append(applying)
        self._inbox.hurry()

        def abandon() -> None:
            applying.abandoned = True

        return abandon

    def extend(
        self, id: str, more: int, done: Callable[[int | limits.Refused | Unavailable], None], *, tokens: int = 0
    ) -> None:
        """Ask to set aside `more` picodollars for an exchange that runs, and to take so many tokens of its rates.

        `done` gets how much was set aside, or whose budget has no room; nothing while the ledger cannot be written.
        """
        if self._inbox.closing:
            asyncio.get_running_loop().call_soon(done, _CLOSED)
            return
        self._inbox.extensions.append(Extending(id, more, tokens, done))
        self._inbox.hurry()

    def settled(self, settlement: Settlement) -> None:
        """Settle the row, once: settling it again changes nothing. Tried until it is written.

        As a listener of settlements.
        """
        id = settlement.id
        if self._inbox.closing and (self._closed is None or self._closed.done()):
            _log.error("An entry was settled after the ledger was closed: %r", settlement)
        opening = self._openings.pop(id, None)
        self._inbox.settles.append((settlement, opening))
        if id in self._drains:
            self._leave(id)
        if opening is not None and opening.limited:  # who asks next, of another process too, needs what it gives back
            self._inbox.hurry()
        else:
            self._inbox.nudge()

    def claim_drain(self, id: str, caps: DrainCaps, done: Done) -> None:
        """Ask to drain an open exchange, until it is settled. `done` is told Recorded or Refused, by the caps over all
        processes, as soon as the ledger can be written; Unavailable only by one that is closed.
        """
        if self._inbox.closing:
            asyncio.get_running_loop().call_soon(done, _CLOSED)
            return
        opening = self._openings.get(id)
        key_id = opening.key_id if opening else None
        if id not in self._drains:
            self._drains[id] = key_id
            self._drains_by_key[key_id] = self._drains_by_key.get(key_id, 0) + 1

        def answered(verdict: Verdict) -> None:
            if not isinstance(verdict, Recorded) and id in self._drains:
                self._leave(id)
            done(verdict)

        self._inbox.claims.append((id, caps, answered))
        self._inbox.hurry()

    def _leave(self, id: str) -> None:
        key_id = self._drains.pop(id)
        left = self._drains_by_key[key_id] - 1
        if left:
            self._drains_by_key[key_id] = left
        else:
            del self._drains_by_key[key_id]

    # ---- what other processes want of this one's exchanges

    def serve(self, stop: Callable[[str, Stop], None], progress: Callable[[], list[Progress]]) -> None:
        """Whom other processes reach through the ledger. `stop`: told each exchange of this process that another one
        wants stopped, more than once maybe. `progress`: how far all of them are, asked while somebody looks on.
        """
        self._stop, self._progress = stop, progress

    async def mark_stop(self, id: str, key_id: str | None, stop: Stop) -> Receipt | None:
        """Let whichever process runs this exchange of this key stop it; its receipt as it stands. None: there is none.

        Raises LedgerUnavailable.
        """

        def marked(rows: Rows) -> Receipt | None:
            found = read_entry(rows, id)
            if found is None or found.key_id != key_id:
                return None
            if found.receipt.outcome is None:
                stops.mark(rows, id, stop)
            return found.receipt

        receipt: Receipt | None = await self.change(marked)
        return receipt

    def _stopped(self, marks: list[tuple[str, Stop]]) -> None:
        for id, stop in marks:
            self._stop(id, stop)

    def _looked_on(self, _: None) -> None:
        if found := self._progress():
            self._inbox.asks.append(Asking(partial(live.write_progress, found=found), True, lambda _: None))
            self._inbox.hurry()

    # ---- what is known

    def drains_of(self, key_id: str | None) -> int:
        """How many exchanges of this key drain: in this process now, in others as of at most a second ago."""
        return self._drains_by_key.get(key_id, 0) + self._writer.known.elsewhere.get(key_id, 0)

    @property
    def keys(self) -> KeyRing:
        return self._writer.known.ring

    @property
    def healthy(self) -> str | None:
        """None, or one sentence why nothing can be written at the moment."""
        return self._writer.healthy

    @property
    def counts(self) -> Counts:
        return self._writer.counts

    async def receipt(self, id: str, key_id: str | None) -> Receipt | None:
        """The receipt of one of this key's exchanges, else None. Raises LedgerUnavailable.

        Everything settled before is in it; a sibling that has just sent its last byte is given a moment to settle.
        """
        deadline = time.monotonic() + SIBLING_SECONDS
        while True:
            found: Found | None = await self.ask(lambda rows: read_entry(rows, id))
            if found is None or found.key_id != key_id:
                return None
            if found.receipt.outcome or found.owner == self.boot or time.monotonic() >= deadline:
                return found.receipt
            await asyncio.sleep(LOOK_AGAIN_SECONDS)

    async def spend(self, key_id: str | None) -> Spend:
        """What this key was charged, by period. Raises LedgerUnavailable."""
        today = datetime.fromtimestamp(self._clock(), UTC).date()
        spend: Spend = await self.ask(lambda rows: read_spend(rows, key_id, today))
        return spend

    def removed(self, id: str) -> bool:
        """Whether an exchange with this id, if there was one, is not kept any longer."""
        first = retention.keeps_from(int(self._clock() * 1000), self.keep_days)
        return retention.began_before(id, first)

    async def used(self, key: Key | None) -> UsedByKey:
        """What this key and its organisation were charged, and what they have left. Raises LedgerUnavailable."""
        today = datetime.fromtimestamp(self._clock(), UTC).date()
        organisation = key.organisation if key else None
        payers = [each.limits.account for each in (organisation, key) if each and each.limits.account]

        def read(rows: Rows) -> UsedByKey:
            return UsedByKey(
                day=today.toordinal(),
                by_key=read_spend(rows, key.id if key else None, today),
                by_organisation=read_spend(rows, organisation.id, today) if organisation else Spend(),
                balance=journal.balance(rows, payers[0]) if payers else None,
            )

        used: UsedByKey = await self.ask(read)
        return used

    async def change(self, ask: Ask) -> Any:
        """What `ask` returns or raises; its changes are durable then, all or none. Raises LedgerUnavailable."""
        return await self.ask(ask, changes=True)

    async def ask(self, ask: Ask, *, changes: bool = False) -> Any:
        """What `ask` returns or raises, after all that was queued before it is written. Raises LedgerUnavailable."""
        if self._inbox.closing:
            raise LedgerUnavailable("The ledger is closed.")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._inbox.asks.append(Asking(ask, changes, _giver(answer)))
        self._inbox.hurry()
        return await answer

    # ---- between the threads

    def _reply(self, replies: list[Reply]) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # a closed loop: nobody waits any more
            self._loop.call_soon_threadsafe(self._deliver, replies)

    def _deliver(self, replies: list[Reply]) -> None:
        for call, value in replies:
            try:
                call(value)
            except Exception as error:
                assert self._loop is not None
                self._loop.call_exception_handler({"message": "A ledger callback failed.", "exception": error})


def _nothing() -> None: ...


def _giver(future: asyncio.Future[Any]) -> Callable[[Any], None]:
    def give(value: Any) -> None:
        if future.done():
            return
        if isinstance(value, Exception):
            future.set_exception(value)
        else:
            future.set_result(value)

    return give
