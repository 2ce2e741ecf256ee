"""The ledger as the admin API works with it: a thread and a connection of its own; no stream waits for a report.

It never knows HTTP, and never decides who may.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from infron.errors import LedgerUnavailable
from infron.runtime.ledger.administration import Administration
from infron.runtime.ledger.store import Store, StoreError

_T = TypeVar("_T")


class Office:
    """One for a process. Nothing is opened, and no thread begun, before something is asked."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="office")

    async def ask(self, actor: str, work: Callable[[Administration], _T]) -> _T:
        """What `work` returns or raises, in the thread; one after the other. Raises LedgerUnavailable."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._do, actor, work)

    def _do(self, actor: str, work: Callable[[Administration], _T]) -> _T:
        try:
            return work(Administration(self._store, actor))
        except StoreError as error:
            raise LedgerUnavailable(error.message) from error

    def close(self) -> None:
        """What was begun is done; what waits is not."""
        self._thread.submit(self._store.close)
        self._thread.shutdown(wait=False)
