"""A round of the ledger, as far as holders with limits go: settled entries give back, asks are decided, holds grow.

It never knows threads or transactions, nor why anything is asked for. What an entry gives back is what its row says it
took: limits, and whose the key is, may have changed meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from infron.policy import limits
from infron.policy.limits import Ask, Granted, Refused, Standing
from infron.records import Opening, Outcome, Settlement
from infron.runtime.ledger import entries, journal, statements
from infron.runtime.ledger.entries import Settling
from infron.runtime.ledger.journal import Payment
from infron.runtime.ledger.standings import listed, read_standings, write_standings
from infron.runtime.ledger.store import Rows, UnusableRow
from infron.runtime.ledger.verdict import Unavailable

_GONE = Unavailable("This entry is settled already.")

Answered = Callable[[Granted | Refused | Unavailable], None]


class Applying(Struct, eq=False):
    """`abandoned`: nobody waits for it any longer; what was granted all the same is settled like any other."""

    opening: Opening
    ask: Ask
    done: Answered
    abandoned: bool = False


class Extending(Struct, eq=False):
    """A running exchange wants to set aside `more` picodollars, and takes so many tokens of the buckets.

    `done` gets what was added, or why nothing was. `seen`: the hold before the first try, so that one whose answer was
    lost counts once.
    """

    id: str
    more: int
    tokens: int
    done: Callable[[int | Refused | Unavailable], None]
    seen: int = -1


class Taken(Struct, frozen=True):
    """What an entry took of its holders, by its row."""

    key_id: str | None
    organisation: str | None
    day: int
    hold: int
    taken: int
    counted: int
    open: bool

    @property
    def holders(self) -> tuple[str | None, str | None]:
        return self.key_id, self.organisation


class LimitedRound:
    """What a round has to do with limits. Nothing is read for a round without."""

    def __init__(self, rows: Rows, owner: str, now_us: int) -> None:
        self._rows, self._owner, self._now_us = rows, owner, now_us
        self._entries: dict[str, Taken] = {}
        self._standings: dict[str, Standing] = {}
        self._payments: dict[str, Payment] = {}  # by holder
        self._read: set[str] = set()

    def lock(self, settles: Sequence[Settling], asks: Sequence[Applying], extensions: Sequence[Extending]) -> None:
        """Read what these took, and lock and read all of their holders, in one order for every process."""
        ids = [settlement.id for settlement, opening in settles if opening is None or opening.limited]
        ids += [extending.id for extending in extensions]
        if not ids and not asks:
            return
        if ids:
            self._entries = _taken(self._rows, ids)
        holders = {each for taken in self._entries.values() for each in taken.holders if each}
        days = {self._entries[each.id].day for each in extensions if each.id in self._entries}
        for applying in asks:
            days.add(applying.ask.day)
            holders.update(each for each in (applying.opening.key_id, applying.opening.organisation) if each)
        self._standings_of(holders, days)

    def _standings_of(self, holders: Iterable[str], days: Iterable[int] = ()) -> None:
        """Read these too, where they were not; their buckets are filled up to now."""
        new = set(holders) - self._read
        if new:
            self._read |= new
            for id, standing in read_standings(self._rows, new, set(days)).items():
                standing.refill(self._now_us)
                self._standings[id] = standing

    def _of(self, holders: Iterable[str | None]) -> list[Standing]:
        return [self._standings[id] for id in holders if id in self._standings]

    # ---- what is given back

    def settled(self, settlement: Settlement, charge: int) -> None:
        """Its row has just passed from running to settled, and owes so much."""
        taken = self._entries.get(settlement.id)
        if taken is None:
            return
        if taken.open:
            self._give_back(taken, used_tokens(settlement))
            self._entries[settlement.id] = replace(taken, open=False)  # a hold that was to grow does not any more
        if charge and taken.counted and (payer := self._payer(taken)) is not None:
            payment = self._payments.setdefault(payer, Payment(entries=[]))
            payment.amount += charge
            payment.entries.append(settlement.id)

    def _payer(self, taken: Taken) -> str | None:
        """The holder that has paid for it in advance: its organisation, else its key; nobody twice."""
        for holder in (taken.organisation, taken.key_id):
            if holder is not None and holder in self._standings and self._standings[holder].balance is not None:
                return holder
        return None

    def orphaned(self, owner: str) -> None:
        """The running rows of this owner are about to be settled as orphans. What their exchanges used is unknown."""
        found = [
            Taken(key, organisation, 0, hold, taken, counted, True)
            for key, organisation, hold, taken, counted in self._rows.read(statements.TAKEN_BY_OWNER, owner)
        ]
        self._standings_of(each for taken in found for each in taken.holders if each)
        for taken in found:
            self._give_back(taken, None)

    def _give_back(self, taken: Taken, used: int | None) -> None:
        for standing in self._of(taken.holders):
            standing.give_back(taken.hold, taken.counted, taken.taken, used)

    def charged(self, charges: Mapping[tuple[str, int], int]) -> None:
        """So much was charged in this round, by holder and day: what is decided from now on stands on it."""
        for (holder, day), amount in charges.items():
            if holder in self._standings:
                self._standings[holder].charge(day, amount)
        paying = {holder: self._standings[holder] for holder in self._payments}
        for holder, standing in paying.items():
            standing.balance = (standing.balance or 0) - self._payments[holder].amount
        accounts = {standing.limits.account or "": self._payments[holder] for holder, standing in paying.items()}
        journal.charge(self._rows, accounts, self._now_us // 1000, f"gateway:{self._owner}")

    # ---- what is taken

    def decide(self, applications: Sequence[Applying], *, again: bool) -> list[tuple[Callable[[Any], None], Any]]:
        """Decide in order of arrival, and open the entries of those that are granted; what each is to be told.

        `again`: an earlier round with these may have been written though it seemed to fail: what is there was granted.
        """
        there: dict[str, int] = {}
        if again and applications:
            ids = listed([applying.opening.id for applying in applications])
            there = dict(self._rows.read(statements.HOLDS_OF, ids, self._owner))
        verdicts: list[Granted | Refused | Unavailable] = []
        granted: dict[int, int] = {}
        for number, applying in enumerate(applications):
            standings = self._of((applying.opening.key_id, applying.opening.organisation))
            verdict: Granted | Refused
            if applying.opening.id in there:
                requests, tokens = limits.rooms(standings)
                verdict = Granted(hold=there[applying.opening.id], requests=requests, tokens=tokens)
            else:
                verdict = limits.decide(applying.ask, standings, self._now_us)
                if isinstance(verdict, Granted):
                    granted[number] = verdict.hold
            verdicts.append(verdict)
        held = [
            (applications[number].opening, hold, applications[number].ask.tokens) for number, hold in granted.items()
        ]
        opened = entries.open_held(self._rows, held, self._owner)
        for (number, hold), count in zip(granted.items(), opened, strict=True):
            if isinstance(count, UnusableRow) or not count:
                self._take_back(applications[number], hold)
                verdicts[number] = Unavailable("This entry cannot be written.")
        return [(applying.done, verdict) for applying, verdict in zip(applications, verdicts, strict=True)]

    def _take_back(self, applying: Applying, hold: int) -> None:
        for standing in self._of((applying.opening.key_id, applying.opening.organisation)):
            standing.give_back(hold, 1, applying.ask.tokens, 0)

    def extend(self, extensions: Sequence[Extending]) -> list[tuple[Callable[[Any], None], Any]]:
        """Let the holds of running exchanges grow, as far as there is room; what each is to be told."""
        replies: list[tuple[Callable[[Any], None], Any]] = []
        for each in extensions:
            taken = self._entries.get(each.id)
            more: int | Refused | Unavailable = _GONE
            if taken is not None and taken.open:
                if each.seen < 0:
                    each.seen = taken.hold
                    more = self._extend(each, taken)
                else:
                    more = taken.hold - each.seen or self._extend(each, taken)
            replies.append((each.done, more))
        return replies

    def _extend(self, each: Extending, taken: Taken) -> int | Refused:
        standings = self._of(taken.holders)
        found = limits.extension(taken.day, each.more, standings, self._now_us)
        more = 0 if isinstance(found, Refused) else found
        if more or each.tokens:
            self._rows.change(statements.EXTEND, each.id, more, each.tokens)
            for standing in standings:
                standing.held += more
                standing.changed = True
                standing.take_tokens(taken.taken, taken.taken + each.tokens)
            self._entries[each.id] = replace(taken, hold=taken.hold + more, taken=taken.taken + each.tokens)
        return found

    def save(self) -> None:
        """Write the holders that have changed: beside the rows that changed them, or not at all."""
        write_standings(self._rows, self._standings.values())


def used_tokens(settlement: Settlement) -> int:
    """What the buckets are to have given for an exchange in the end: what it used, but for what a cache had read.

    A failed one has used nothing.
    """
    outcome, usage = settlement.outcome, settlement.bill.usage
    if outcome is Outcome.FAILED or (outcome is Outcome.TIMED_OUT and settlement.latency_ms is None):
        return 0
    return usage.prompt - min(usage.cached, usage.prompt) + usage.completion


def day_of(created_at: float) -> int:
    """The day (UTC) of a moment in unix seconds, as `date.toordinal` counts."""
    return entries.EPOCH + int(created_at // 86400)


def _taken(rows: Rows, ids: list[str]) -> dict[str, Taken]:
    return {
        id: Taken(key, organisation, day_of(created / 1000), hold, taken, counted, outcome is None)
        for id, key, organisation, created, hold, taken, counted, outcome in rows.read(statements.TAKEN_BY, listed(ids))
    }
