"""Our own token counts, made in a thread of their own: they take milliseconds, and streams must not wait.

It never decides when a count is needed, nor what it is good for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from infron.runtime.exchange.meter import Meter
from infron.runtime.telemetry.bugs import report_bug

_T = TypeVar("_T")


class Counter:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="count")
        self._waiting: dict[asyncio.Future[None], tuple[Sequence[Meter], Callable[[], None]]] = {}
        self._hurried = False

    def count(self, meters: Sequence[Meter], done: Callable[[], None]) -> None:
        """Count prompt and delivered text of each; `done` comes on the loop. What cannot be counted stays uncounted."""

        def count() -> None:
            for meter in meters:
                meter.counted = meter.count()

        if self._hurried:
            self._guess(meters, done)
            return
        future = self._loop.run_in_executor(self._threads, count)
        self._waiting[future] = (meters, done)
        future.add_done_callback(self._counted)

    def run(self, work: Callable[[], _T], done: Callable[[_T | None], None]) -> None:
        """`done` gets what `work` returned in the thread, on the loop; None where it failed, or there is no time."""
        if self._hurried:
            done(None)
            return

        def finished(future: asyncio.Future[_T]) -> None:
            if future.cancelled():
                return
            if (error := future.exception()) is not None:
                report_bug("counting tokens", error)
            done(None if error is not None else future.result())

        self._loop.run_in_executor(self._threads, work).add_done_callback(finished)

    def _counted(self, future: asyncio.Future[None]) -> None:
        waiting = self._waiting.pop(future, None)
        if waiting is None:
            return
        if (error := future.exception()) is not None:
            report_bug("counting tokens", error)
        waiting[1]()

    def hurry(self) -> None:
        """Whatever is not counted yet is estimated by its length, now and from now on: the process must end."""
        self._hurried = True
        waiting = list(self._waiting.values())
        self._waiting.clear()
        for meters, done in waiting:
            self._guess(meters, done)

    def _guess(self, meters: Sequence[Meter], done: Callable[[], None]) -> None:
        for meter in meters:
            meter.counted = meter.guess()
        done()

    def close(self) -> None:
        """Count no more; what was asked for and not begun is not answered."""
        self._waiting.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)
