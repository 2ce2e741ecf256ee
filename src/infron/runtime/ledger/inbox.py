"""What waits for the ledger's thread, and the bell that wakes it.

It never knows what becomes of what waits.
"""

from __future__ import annotations

import contextlib
import queue
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from infron.records import Opening
from infron.runtime.ledger.entries import DrainCaps, Settling
from infron.runtime.ledger.limited import Applying, Extending
from infron.runtime.ledger.store import Rows
from infron.runtime.ledger.verdict import Verdict

Done = Callable[[Verdict], None]
Ask = Callable[[Rows], Any]


class Asking(NamedTuple):
    """Something to be read, or changed in a round of its own; `give` gets what `ask` returns or raises."""

    ask: Ask
    changes: bool
    give: Callable[[Any], None]


_T = TypeVar("_T")


class Inbox:
    """What waits for the thread. One thread fills it, the other empties it; neither ever waits for a lock."""

    def __init__(self) -> None:
        self.opens: deque[tuple[Opening, Done]] = deque()
        self.applications: deque[Applying] = deque()
        self.extensions: deque[Extending] = deque()
        self.claims: deque[tuple[str, DrainCaps, Done]] = deque()
        self.settles: deque[Settling] = deque()
        self.asks: deque[Asking] = deque()
        self.closing = False
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._hurried = False
        self._nudged = False

    def hurry(self) -> None:
        """Something was added that cannot wait."""
        if not self._hurried:
            self._hurried = True
            self._bell.put(None)

    def nudge(self) -> None:
        """Something was added that can wait a little."""
        if not self._nudged:
            self._nudged = True
            self._bell.put(None)

    def doze(self) -> None:
        """Do not ring until `hear` for what can wait a little: the queues will be looked at soon."""
        self._nudged = True

    def hush(self) -> None:
        """Do not ring until `hear`: the queues will be looked at without being called."""
        self._hurried = self._nudged = True

    def wait(self, seconds: float) -> None:
        """Until it rings, for so long at most."""
        with contextlib.suppress(queue.Empty):
            self._bell.get(timeout=max(0.0, seconds))

    def hear(self) -> None:
        """To be called before the queues are emptied: whatever is added from now on rings again."""
        while not self._bell.empty():
            self._bell.get_nowait()
        self._hurried = self._nudged = False


def take(waiting: deque[_T]) -> list[_T]:
    return [waiting.popleft() for _ in range(len(waiting))]
