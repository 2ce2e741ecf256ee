"""One clock for all exchanges: a wheel of buckets that is swept every 50 ms; no timer of its own for each stream.

It never knows what is due, only when to ask.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

WIDTH = 0.05  # seconds a bucket spans; every clock of an exchange resolves to twice that


class Ticking(Protocol):
    bucket: int

    def tick(self, now: float) -> float:
        """Do what is due at `now` (loop time, s); return when to be asked next, or 0 for never."""


class Clock:
    """Holds each member once. A due time that moves later needs no call: the member is asked early and says so."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buckets: dict[int, set[Ticking]] = {}
        self._swept = int(loop.time() / WIDTH)
        self._handle: asyncio.TimerHandle | None = None

    def add(self, member: Ticking, due: float) -> None:
        """Ask `member` at `due`, or at the sweep after it. Replaces the time it was to be asked before."""
        if self._handle is None:
            self._swept = int(self._loop.time() / WIDTH)
            self._handle = self._loop.call_later(WIDTH, self._sweep)
        bucket = int(due / WIDTH) + 1
        if bucket <= self._swept:
            bucket = self._swept + 1
        if member.bucket:
            if member.bucket == bucket:
                return
            self.remove(member)
        member.bucket = bucket
        members = self._buckets.get(bucket)
        if members is None:
            members = self._buckets[bucket] = set()
        members.add(member)

    def hasten(self, member: Ticking, due: float) -> None:
        """Ask `member` at `due` if it were asked later otherwise."""
        if int(due / WIDTH) + 1 < member.bucket:
            self.add(member, due)

    def remove(self, member: Ticking) -> None:
        bucket = self._buckets.get(member.bucket)
        if bucket is not None:
            bucket.discard(member)
            if not bucket:
                del self._buckets[member.bucket]
        member.bucket = 0

    def _sweep(self) -> None:
        now = self._loop.time()
        first, self._swept = self._swept, int(now / WIDTH)
        numbers = range(first, self._swept + 1)
        if len(numbers) > len(self._buckets):
            due = [number for number in self._buckets if number <= self._swept]
        else:
            due = [number for number in numbers if number in self._buckets]
        # A sweep that came late (a busy loop) still asks everybody once, in order.
        for number in sorted(due):
            for member in self._buckets.pop(number, ()):
                member.bucket = 0
                try:
                    after = member.tick(now)
                except Exception as error:  # one member's bug must not stop the clock of all others
                    self._loop.call_exception_handler({"message": "A tick failed.", "exception": error})
                    after = now + 1
                if after:
                    self.add(member, after)
        self._handle = self._loop.call_later(WIDTH, self._sweep) if self._buckets else None
