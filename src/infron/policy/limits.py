"""What a limited caller may start: slots, rates, budgets and credits, decided from values and counted in them.

It never knows a clock or a store, nor what is asked of a model. Everything is whole numbers, so that what is taken and
given back adds up; nothing is ever cut off at zero, as that would hide a mistake.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from functools import lru_cache
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from infron.policy.holders import Limits, Period, period_name

UNIT = 60_000_000  # of a bucket: so a rate of R a minute fills it by exactly R each microsecond
JUMP_US = 5_000_000  # a bucket filled so far in the future was filled by a clock that has been set back since
SLOT_SECONDS = 1.0  # when to try again for a slot: nobody knows when one is free

HolderKind = Literal["key", "organisation"]
LimitKind = Literal["closed", "concurrent", "requests", "tokens", "budget", "credits"]


class Ask(Struct, frozen=True, kw_only=True, gc=False):
    """What an exchange wants before it starts. `day`: on which it begins, as `date.toordinal` counts (UTC).

    Of the budgets it wants `most` picodollars, and begins with no less than `least`; `tokens` of the buckets.
    """

    day: int
    least: int = 0
    most: int = 0
    tokens: int = 0


class Room(Struct, frozen=True):
    """What a rate has left. `full_in`: seconds until it is as if nothing had been used."""

    limit: int
    remaining: int
    full_in: float


class Granted(Struct, frozen=True, kw_only=True):
    """It may start. `hold`: picodollars set aside for it; `requests`, `tokens`: what the tighter holder has left.

    `short`: why that is less than the most that was asked for, if it is.
    """

    hold: int = 0
    short: Refused | None = None
    requests: Room | None = None
    tokens: Room | None = None


class Refused(Struct, frozen=True, kw_only=True):
    """It may not, and nothing was taken. `retry_after`: seconds until it may; None: time alone changes nothing.

    `limit`, `remaining`: of what refused, in its own unit. `lasts`: nothing that runs can make room before.
    """

    kind: LimitKind
    holder: HolderKind
    period: Period | None = None
    limit: int = 0
    remaining: int = 0
    retry_after: float | None = None
    lasts: bool = False
    requests: Room | None = None
    tokens: Room | None = None


class Standing(Struct, kw_only=True):
    """A holder's state, to be read and written under its lock. Money in picodollars.

    `live`, `held`: what its open entries say together. `spent`: by the name of a period. `balance`: of its account.
    `closed_ms`: from when on it may start nothing. `changed`: it is to be written.
    """

    id: str
    kind: HolderKind
    limits: Limits
    closed_ms: int | None = None
    live: int = 0
    held: int = 0
    requests_filled: int | None = None  # in UNITs; None: full, below zero: a debt
    tokens_filled: int | None = None
    filled_us: int = 0
    spent: dict[str, int] = {}
    balance: int | None = None
    changed: bool = False

    def refill(self, now_us: int) -> None:
        """Let the buckets fill up to now; a clock that was set back a little fills nothing until it has caught up."""
        if self.filled_us > now_us + JUMP_US:
            self.filled_us = now_us
        gone = max(0, now_us - self.filled_us)
        self.requests_filled = _refilled(self.requests_filled, self.limits.requests_per_minute, gone)
        self.tokens_filled = _refilled(self.tokens_filled, self.limits.tokens_per_minute, gone)
        self.filled_us += gone

    def headroom(self, day: int) -> int | None:
        """What its budgets for this day, and its credits, still allow; None: as much as is wanted."""
        lefts = [left for *_, left in self._money(day)]
        return min(lefts) if lefts else None

    def take(self, hold: int, tokens: int) -> None:
        """An exchange begins."""
        self.live += 1
        self.held += hold
        if self.requests_filled is not None:
            self.requests_filled -= UNIT
        self.take_tokens(0, tokens)
        self.changed = True

    def take_tokens(self, before: int, after: int) -> None:
        """An exchange that took `before` tokens takes `after` in all: of a bucket never more than it can hold."""
        rate = self.limits.tokens_per_minute
        if self.tokens_filled is not None and rate is not None:
            self.tokens_filled -= (min(after, rate) - min(before, rate)) * UNIT
            self.changed = True

    def give_back(self, hold: int, counted: int, taken: int, used: int | None) -> None:
        """An exchange has ended, whose entry says what was taken for it. `used`: tokens; None: nobody knows."""
        self.live -= counted
        self.held -= hold
        rate = self.limits.tokens_per_minute
        if counted and used is not None and self.tokens_filled is not None and rate is not None:
            self.tokens_filled = min(rate * UNIT, self.tokens_filled + (min(taken, rate) - used) * UNIT)
        self.changed = True

    def charge(self, day: int, amount: int) -> None:
        """It owes so much more, for an exchange that began on this day."""
        for budget in self.limits.budgets:
            name = _name(budget.period, day)
            self.spent[name] = self.spent.get(name, 0) + amount

    def refusal(self, ask: Ask, now_us: int) -> Refused | None:
        """Why this may not begin here, if so. Its buckets are filled up to now."""
        limits = self.limits
        if self.closed_ms is not None and self.closed_ms * 1000 <= now_us:
            return Refused(kind="closed", holder=self.kind)
        if limits.concurrent is not None and self.live >= limits.concurrent:
            return self._refused("concurrent", limits.concurrent, 0, SLOT_SECONDS)
        if (filled := self.requests_filled) is not None and filled < UNIT:
            rate = limits.requests_per_minute or 0
            return self._refused("requests", rate, 0, _seconds(UNIT - filled, rate))
        if (filled := self.tokens_filled) is not None:
            rate = limits.tokens_per_minute or 0
            wanted = min(ask.tokens, rate) * UNIT
            if filled < wanted or not rate:
                return self._refused("tokens", rate, max(0, filled // UNIT), _seconds(wanted - filled, rate))
        return self.no_money(ask, now_us) if ask.most else None

    def no_money(self, ask: Ask, now_us: int) -> Refused | None:
        """Which budget refuses what is asked, if any does."""
        for period, limit, left in self._money(ask.day):
            if left >= ask.least and left > 0:
                continue
            if period is None:
                return self._refused("credits", self.balance or 0, max(0, left), None)
            ends = period_end_ms(period, ask.day)
            after = None if ends is None else max(1.0, ends / 1000 - now_us / 1_000_000)
            return self._refused("budget", limit, max(0, left), after, period)
        return None

    def _money(self, day: int) -> list[tuple[Period | None, int, int]]:
        """(period, ceiling, what is left of it) of each budget; None for credits."""
        spent, held = self.spent, self.held
        found: list[tuple[Period | None, int, int]] = [
            (budget.period, budget.ceiling, budget.ceiling - spent.get(_name(budget.period, day), 0) - held)
            for budget in self.limits.budgets
        ]
        if self.balance is not None:
            found.append((None, self.balance, self.balance - held))
        return found

    def _refused(
        self, kind: LimitKind, limit: int, remaining: int, retry_after: float | None, period: Period | None = None
    ) -> Refused:
        return Refused(
            kind=kind,
            holder=self.kind,
            period=period,
            limit=limit,
            remaining=remaining,
            retry_after=retry_after,
            lasts=kind == "requests" or (kind in ("budget", "credits") and not remaining and not self.held),
        )


def decide(ask: Ask, standings: Sequence[Standing], now_us: int) -> Granted | Refused:
    """Whether an exchange may begin; taken from all of its holders, or from none. `standings`: the key's first."""
    for standing in standings:
        standing.refill(now_us)
    for standing in standings:
        if (refused := standing.refusal(ask, now_us)) is not None:
            requests, tokens = rooms(standings)
            return replace(refused, requests=requests, tokens=tokens)
    hold = _most(ask.day, ask.most, standings)
    short = None if hold >= ask.most else _short(replace(ask, least=ask.most), standings, now_us)
    for standing in standings:
        standing.take(hold, ask.tokens)
    requests, tokens = rooms(standings)
    return Granted(hold=hold, short=short, requests=requests, tokens=tokens)


def rooms(standings: Sequence[Standing]) -> tuple[Room | None, Room | None]:
    """What is left of requests and of tokens, by the tighter of the holders."""
    requests = tokens = None
    for each in standings:
        limits = each.limits
        requests = _tighter(requests, each.requests_filled, limits.requests_per_minute)
        tokens = _tighter(tokens, each.tokens_filled, limits.tokens_per_minute)
    return requests, tokens


def extension(day: int, more: int, standings: Sequence[Standing], now_us: int) -> int | Refused:
    """How much of `more` the holders of a running exchange still allow; to be taken by `held`. Refused: nothing."""
    if (room := _most(day, more, standings)) > 0 or not more:
        return max(0, room)
    return _short(Ask(day=day, least=1, most=more), standings, now_us) or 0


def _short(ask: Ask, standings: Sequence[Standing], now_us: int) -> Refused | None:
    """Whose budget has no room for this."""
    refused = (standing.no_money(ask, now_us) for standing in standings)
    return next((each for each in refused if each is not None), None)


def _most(day: int, wanted: int, standings: Sequence[Standing]) -> int:
    if not wanted:
        return 0
    found = (standing.headroom(day) for standing in standings)
    return min([wanted, *(room for room in found if room is not None)])


def _tighter(room: Room | None, filled: int | None, rate: int | None) -> Room | None:
    """This room, or that of a bucket which has less left."""
    if filled is None or rate is None:
        return room
    left = max(0, filled // UNIT)
    if room is not None and (room.remaining, room.limit) <= (left, rate):
        return room
    return Room(limit=rate, remaining=left, full_in=_seconds(rate * UNIT - filled, rate))


def _refilled(filled: int | None, rate: int | None, gone_us: int) -> int | None:
    if rate is None:
        return None
    full = rate * UNIT
    return full if filled is None else min(full, filled + gone_us * rate)


def _seconds(missing: int, rate: int) -> float:
    """How long a bucket takes to fill by so much; a bucket that never fills is asked again in an hour."""
    return -(-missing // rate) / 1_000_000 if rate else 3600.0


@lru_cache(1024)
def _name(period: Period, day: int) -> str:
    return period_name(period, date.fromordinal(day))


def period_end_ms(period: Period, day: int) -> int | None:
    """When the period that holds this day is over, in unix milliseconds; None: never."""
    when = date.fromordinal(day)
    if period == "day":
        end = when + timedelta(days=1)
    elif period == "week":
        end = when + timedelta(days=7 - when.weekday())
    elif period == "month":
        end = (when.replace(day=1) + timedelta(days=32)).replace(day=1)
    else:
        return None
    return (end.toordinal() - _EPOCH) * 86_400_000


_EPOCH = date(1970, 1, 1).toordinal()
