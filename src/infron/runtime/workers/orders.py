"""What a process is told while its loop runs, by signals and by its parent: to stop, to end what runs, to leave.

It never knows what runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from infron.runtime.workers.supervisor import Line

_log = logging.getLogger("infron")


class Orders:
    """The first signal is `stop`, a second one `now`; during the start the first one cancels `starting`.

    One of several workers is told to `leave` by its parent, any other process may at once. Where the parent is gone all
    of them are given.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, line: Line | None) -> None:
        """`loop` need not run yet."""
        self.stop, self.now, self.leave = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.starting: asyncio.Task[int] | None = None  # while it starts
        self._loop = loop
        self._line = line
        if line is None:
            self.leave.set()
        else:
            loop.add_reader(line.fileno(), self._heard)

    def signalled(self) -> None:
        """In the main thread, between any two of its steps."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: all is over
            self._loop.call_soon_threadsafe(self._told)

    def _told(self) -> None:
        if self.starting is not None:
            self.starting.cancel()
            self.starting = None
        elif self.stop.is_set():
            self.now.set()
        self.stop.set()

    def _heard(self) -> None:
        assert self._line is not None
        said = self._line.heard()
        if said is None:
            return
        self.leave.set()
        if not said:
            self._loop.remove_reader(self._line.fileno())
            _log.error("The parent process is gone: ending now, so that the port is free for the next one.")
            self._told()
            self.now.set()
