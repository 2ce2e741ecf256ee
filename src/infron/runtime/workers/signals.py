"""What SIGTERM and Ctrl-C mean at each moment of a process: one handler, from its first step to its last.

It never knows what is started or ended.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator

NUMBERS = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Made in the main thread. A signal that comes before anybody listens is kept; after `ignore` none counts."""

    def __init__(self, numbers: tuple[signal.Signals, ...] = NUMBERS) -> None:
        """`numbers`: those to obey; the others of NUMBERS are ignored."""
        self._kept = 0
        self._told: Callable[[], object] | None = None
        for number in NUMBERS:
            signal.signal(number, self._came if number in numbers else signal.SIG_IGN)

    def tell(self, told: Callable[[], object]) -> None:
        """Call `told` for each signal: for those that came before now, later between any two steps of this thread."""
        self._told = told
        kept, self._kept = self._kept, 0
        for _ in range(kept):
            told()

    def ignore(self) -> None:
        """All is over but the process: whatever comes now would only spoil its exit code."""
        for number in NUMBERS:
            signal.signal(number, signal.SIG_IGN)

    def _came(self, number: int, frame: object) -> None:
        if self._told is None:
            self._kept += 1
        else:
            self._told()


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Signals wait until the end of the block: between a fork and the child's own handler nobody could obey them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)
