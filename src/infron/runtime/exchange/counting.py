"""Our own token counts, made in a thread of their own: they take milliseconds, and streams must not wait.

It never decides when a count is needed, nor what it is good for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from infron.runtime.exchange.meter import Meter
from infron.runtime.telemetry.bugs import report_bug


class Counter:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="count")

    def count(self, meters: Sequence[Meter], done: Callable[[], None]) -> None:
        """Count prompt and delivered text of each; `done` comes on the loop. What cannot be counted stays uncounted."""

        def count() -> None:
            for meter in meters:
                meter.counted = meter.count()

        def counted(future: asyncio.Future[None]) -> None:
            if future.cancelled():
                return
            if (error := future.exception()) is not None:
                report_bug("counting tokens", error)
            done()

        self._loop.run_in_executor(self._threads, count).add_done_callback(counted)

    def close(self) -> None:
        """Count no more; what was asked for and not begun is not answered."""
        self._threads.shutdown(wait=False, cancel_futures=True)
