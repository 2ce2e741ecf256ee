"""Several workers as one gateway: forked, watched, replaced when they die, and told to leave together.

It never serves a request itself, and never knows what a worker does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from typing import NoReturn

from infron.errors import ConfigError
from infron.runtime.workers.signals import NUMBERS, Signals, held

REFUSED = 3  # exit code: the start was refused, for a reason that the parent has been told
PAUSES = (0.0, 0.1, 1.0, 2.0, 5.0, 10.0)  # seconds before the next start of a worker whose starts fail
STEADY_SECONDS = 10.0  # who lived for so long may be replaced at once
KILL_SECONDS = 5.0  # how long the others may take to end where a start was refused

_READY, _DRAINED, _LEAVE, _REFUSED = b"R", b"D", b"L", b"!"

_log = logging.getLogger("infron")


class Line:
    """A worker's end of the line to its parent. It comes to its end when the parent process does."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        end.setblocking(False)

    def fileno(self) -> int:
        return self._end.fileno()

    def ready(self) -> None:
        """Requests are answered."""
        self._say(_READY)

    def drained(self) -> None:
        """Nothing runs any more; what comes is refused, until all workers are so far."""
        self._say(_DRAINED)

    def heard(self) -> bool | None:
        """True: leave now. False: the parent is gone. None: nothing yet."""
        try:
            said = self._end.recv(16)
        except BlockingIOError:
            return None
        except OSError:
            return False
        return bool(said)

    def _say(self, word: bytes) -> None:
        with contextlib.suppress(OSError):  # the parent is gone, which reading tells
            self._end.send(word)


Work = Callable[[Line, socket.socket | None, Signals], int]


class _Worker:
    """One forked process, and the parent's end of the line to it."""

    def __init__(self, pid: int, line: socket.socket, failures: int) -> None:
        self.pid = pid
        self.line = line
        self.failures = failures  # starts in a row that came to nothing before this one
        self.began = time.monotonic()
        self.said = b""

    @property
    def ready(self) -> bool:
        return self.said.startswith(_READY)

    @property
    def drained(self) -> bool:
        return self.said == _READY + _DRAINED

    @property
    def refusal(self) -> str:
        return self.said.removeprefix(_REFUSED).decode() if self.said.startswith(_REFUSED) else ""

    def leave(self) -> None:
        with contextlib.suppress(OSError):
            self.line.send(_LEAVE)

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


class Workers:
    """The parent's side. `work` is what a worker does, in its own process; it returns the exit code.

    `listeners`: one for each of the first workers, or one for all. Of several each ends with its worker, and a later
    worker has to find its own. `gone` hears the process id of each worker that has ended; `last` is what a worker
    does before it ends, however that comes.
    """

    def __init__(
        self,
        count: int,
        work: Work,
        listeners: list[socket.socket],
        signals: Signals,
        *,
        gone: Callable[[int], object],
        last: Callable[[], object],
    ) -> None:
        self._count = count
        self._work = work
        self._listeners = listeners
        self._signals = signals
        self._gone = gone
        self._last = last
        self._workers: set[_Worker] = set()
        self._due: list[tuple[float, int]] = []  # when another one is to be started, and after how many failures
        self._selector = selectors.DefaultSelector()
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._started = False  # all of them have been ready
        self._stopping = False
        self._refusal = ""
        self._kill_at: float | None = None
        self._code = 0

    def run(self, ready: Callable[[], object]) -> int:
        """Start all and watch over them until they are told to stop. `ready` is called once all of them are.

        Returns the exit code. Raises ConfigError where the start is refused; by then all of them have ended.
        """
        self._signals.tell(self._stop)
        own = len(self._listeners) > 1
        for listener in self._listeners if own else self._listeners * self._count:
            if not self._stopping:
                self._start(listener, 0)
        if own:
            for listener in self._listeners:
                listener.close()
            self._listeners = []
        while self._workers or (self._due and not self._stopping):
            for key, _ in self._selector.select(self._timeout()):
                if key.data is None:
                    self._woken.recv(64)
                else:
                    self._hear(key.data)
            if not self._started and not self._stopping and sum(w.ready for w in self._workers) == self._count:
                self._started = True
                ready()
            self._go_on()
        if self._refusal:
            raise ConfigError(self._refusal)
        return self._code

    # ---- starting

    def _start(self, listener: socket.socket | None, failures: int) -> None:
        try:
            ours, theirs = socket.socketpair()
            with held():  # until the child has a handler of its own
                pid = os.fork()
                if pid == 0:
                    self._be_worker(theirs, ours, listener)
        except OSError as error:
            if self._started:
                self._start_later(f"A worker cannot be started ({error.strerror})", failures + 1)
            else:
                self._refuse(f"server.workers: a worker cannot be started ({error.strerror}).")
            return
        theirs.close()
        worker = _Worker(pid, ours, failures)
        self._workers.add(worker)
        self._selector.register(ours, selectors.EVENT_READ, worker)
        if self._stopping:  # told so while it was forked: another thread may have taken a signal that was held
            worker.signal(signal.SIGTERM)

    def _be_worker(self, line: socket.socket, ours: socket.socket, listener: socket.socket | None) -> NoReturn:
        """In the child: let go of what is the parent's, work, and end without a step back into the parent's code."""
        code = 1
        try:
            for other in (ours, self._waker, self._woken, *(worker.line for worker in self._workers)):
                other.close()
            self._selector.close()
            for other in self._listeners:
                if other is not listener:
                    other.close()
            signals = Signals((signal.SIGTERM,))  # Ctrl-C reaches all processes of a terminal: the parent passes it on
            signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)
            code = self._work(Line(line), listener, signals)
        except ConfigError as error:
            code = REFUSED
            line.sendall(_REFUSED + error.message.encode())
        except BaseException:
            _log.exception("A worker has failed.")
        finally:
            try:
                self._last()
            finally:
                os._exit(code)

    def _start_later(self, what: str, failures: int) -> None:
        pause = PAUSES[min(failures, len(PAUSES) - 1)]
        _log.error("%s; another one takes its place%s.", what, f" in {pause:g} s" if pause else "")
        self._due.append((time.monotonic() + pause, failures))

    def _refuse(self, sentence: str) -> None:
        """The first start has failed: end the others."""
        self._refusal, self._code = sentence, 1
        self._kill_at = time.monotonic() + KILL_SECONDS
        self._stop()

    # ---- watching

    def _timeout(self) -> float | None:
        moments = [at for at, _ in self._due]
        if self._kill_at is not None:
            moments.append(self._kill_at)
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _hear(self, worker: _Worker) -> None:
        try:
            said = worker.line.recv(4096)
        except OSError:
            said = b""
        worker.said += said
        if not said:
            self._ended(worker)
        elif worker.drained and not self._stopping:  # somebody signalled this one alone
            worker.leave()

    def _ended(self, worker: _Worker) -> None:
        self._selector.unregister(worker.line)
        worker.line.close()
        _, status = os.waitpid(worker.pid, 0)
        self._workers.discard(worker)
        self._gone(worker.pid)
        code = os.waitstatus_to_exitcode(status)
        how = f"ended with code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
        if self._stopping:
            if code and not worker.refusal:
                _log.error("Worker %d %s.", worker.pid, how)
                self._code = max(code, 1)
        elif not self._started:
            if not worker.refusal:
                _log.error("Worker %d %s before it was ready: the gateway ends.", worker.pid, how)
            self._refuse(worker.refusal)
        else:
            steady = worker.ready and time.monotonic() - worker.began >= STEADY_SECONDS
            why = f" ({worker.refusal.rstrip('.')})" if worker.refusal else ""
            self._start_later(f"Worker {worker.pid} {how}{why}", 0 if steady else worker.failures + 1)

    def _go_on(self) -> None:
        """What is due: starts, and the end of those who are ready to leave or were given time enough."""
        now = time.monotonic()
        due = [failures for at, failures in self._due if at <= now]
        self._due = [(at, failures) for at, failures in self._due if at > now]
        for failures in due if not self._stopping else ():
            self._start(self._listeners[0] if self._listeners else None, failures)
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            for worker in self._workers:
                worker.signal(signal.SIGKILL)
        if self._stopping and all(worker.drained for worker in self._workers):
            for worker in self._workers:
                worker.leave()

    def _stop(self) -> None:
        """Pass a signal on. Called from a signal's handler, so between any two steps of all the others."""
        self._stopping = True
        for worker in list(self._workers):
            worker.signal(signal.SIGTERM)
        with contextlib.suppress(OSError):
            self._waker.send(b"!")
