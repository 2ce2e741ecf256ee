"""Credentials that have to be fetched: once for all who wait, and not again at once after a failure.

It never knows what is fetched nor for whom, and tells a failure as it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from infron.errors import InfronError

RETRY_SECONDS = 5.0  # after a failure, so that no crowd of requests asks in turn


class Renewal:
    """`fetch` keeps what it finds, or raises InfronError. `began`: when it was last called, by `clock`."""

    def __init__(
        self, fetch: Callable[[], Awaitable[None]], clock: Callable[[], float], logger: logging.Logger
    ) -> None:
        self.began = 0.0
        self._fetch = fetch
        self._clock = clock
        self._logger = logger
        self._failed: tuple[float, InfronError] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def under_way(self) -> bool:
        return self._task is not None

    @property
    def failure(self) -> InfronError | None:
        """Why the last one failed, as long as no other is worth it."""
        if self._failed is None or self._clock() - self._failed[0] >= RETRY_SECONDS:
            return None
        return self._failed[1]

    def start(self) -> asyncio.Task[None]:
        """Begin one, unless one is under way. To be called in the event loop."""
        if self._task is None:
            self.began = self._clock()
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(self._ended)
        return self._task

    async def wait(self) -> None:
        """Until one has ended. Raises its InfronError, or that of the last one if it is too early for another."""
        if not self.under_way and (failure := self.failure) is not None:
            raise failure
        await asyncio.shield(self.start())

    async def _run(self) -> None:
        try:
            await self._fetch()
        except InfronError as error:
            self._failed = (self._clock(), error)
            self._logger.warning("%s", error.message)
            raise
        self._failed = None

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled():
            task.exception()  # all who asked may have left, and a renewal ahead of time is nobody's
