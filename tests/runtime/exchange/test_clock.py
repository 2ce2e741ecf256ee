"""The clock asks everybody in time, each at the time of its own, and goes on when one of them fails."""

from __future__ import annotations

import asyncio
from typing import Any

from infron.runtime.exchange.clock import WIDTH, Clock

SLACK = 0.15  # for a busy machine


class Member:
    def __init__(self, again: float = 0.0, breaks: bool = False) -> None:
        self.bucket = 0
        self.asked: list[float] = []
        self.event = asyncio.Event()
        self.again = again
        self.breaks = breaks

    def tick(self, now: float) -> float:
        self.asked.append(now)
        self.event.set()
        if self.breaks:
            raise ValueError("a bug")
        return now + self.again if self.again and len(self.asked) < 3 else 0.0


async def test_each_is_asked_at_its_time_and_never_before_it() -> None:
    loop = asyncio.get_running_loop()
    clock, now = Clock(loop), loop.time()
    members = {due: Member() for due in (0.05, 0.2, 0.3)}
    for due, member in members.items():
        clock.add(member, now + due)
    for due, member in members.items():
        await asyncio.wait_for(member.event.wait(), 30)
        assert due <= member.asked[0] - now <= due + 2 * WIDTH + SLACK
        assert len(member.asked) == 1


async def test_who_is_removed_is_not_asked() -> None:
    loop = asyncio.get_running_loop()
    clock, removed, other = Clock(loop), Member(), Member()
    clock.add(removed, loop.time() + 0.05)
    clock.add(other, loop.time() + 0.15)
    clock.remove(removed)
    await asyncio.wait_for(other.event.wait(), 30)
    assert removed.asked == []


async def test_hastening_brings_a_time_forward_and_never_back() -> None:
    loop = asyncio.get_running_loop()
    clock, early, late, now = Clock(loop), Member(), Member(), loop.time()
    clock.add(early, now + 60)
    clock.hasten(early, now + 0.1)
    clock.add(late, now + 0.2)
    clock.hasten(late, now + 60)
    await asyncio.wait_for(early.event.wait(), 30)
    assert early.asked[0] - now <= 0.1 + 2 * WIDTH + SLACK
    await asyncio.wait_for(late.event.wait(), 30)
    assert late.asked[0] - now <= 0.2 + 2 * WIDTH + SLACK


async def test_hastening_who_is_not_on_the_clock_does_nothing() -> None:
    loop = asyncio.get_running_loop()
    clock, stranger = Clock(loop), Member()
    clock.hasten(stranger, loop.time())
    assert stranger.bucket == 0


async def test_one_that_fails_stops_nobody_else() -> None:
    loop = asyncio.get_running_loop()
    reported: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: reported.append(context))
    clock, broken, other = Clock(loop), Member(breaks=True), Member(again=0.05)
    clock.add(broken, loop.time() + 0.05)
    clock.add(other, loop.time() + 0.05)
    for _ in range(3):
        await asyncio.wait_for(other.event.wait(), 30)
        other.event.clear()
    assert len(other.asked) == 3
    assert isinstance(reported[0]["exception"], ValueError)
    clock.remove(broken)
