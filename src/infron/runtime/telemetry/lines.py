"""Whole lines, appended by a thread to a file that several processes share, or to standard error.

It never knows what they say. A full disk, or a reader that has stopped reading, holds nobody up: beyond a bound lines
are left out, and how many is said as soon as something can be written again.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

from infron.errors import ConfigError

STDERR = 2
MOST_BYTES = 8 << 20  # that wait to be written
PAUSE_SECONDS = 0.05  # between two writes: what came meanwhile is written at once
CLOSE_SECONDS = 2.0
PIPE_BYTES = 4096  # what a pipe takes in one piece, whoever else writes to it


class Lines:
    """`path`: None is standard error. Made before a process forks, it goes on in each child.

    Whoever rotates the file renames it, at any time: the next lines begin a new one. Raises ConfigError.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._file = STDERR if path is None else -1
        try:
            self._follow_name()
        except OSError as error:
            raise ConfigError(f"log.file: {path} cannot be written ({error.strerror}).") from error
        self._begin()
        _ALL.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[bytes] = []
        self._bytes = 0
        self._left_out = 0
        self._some = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def forked(self) -> None:
        """In a child: what waits is the parent's to write, and so is its thread."""
        self._begin()

    def append(self, line: bytes) -> None:
        """`line`: without its line feed, and without any other. From any thread."""
        with self._lock:
            if self._bytes > MOST_BYTES:
                self._left_out += 1
                return
            self._waiting.append(line)
            self._bytes += len(line)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
        if not self._some.is_set():
            self._some.set()

    def close(self) -> None:
        """Write what waits, if that is possible within a moment."""
        self._closing.set()
        self._some.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)
        if self._file > STDERR and (self._thread is None or not self._thread.is_alive()):
            os.close(self._file)
            self._file = -1

    # ---- on the thread

    def _run(self) -> None:
        while not self._closing.is_set():
            self._some.wait()
            self._some.clear()
            self._write_waiting()
            self._closing.wait(PAUSE_SECONDS)
        self._write_waiting()

    def _write_waiting(self) -> None:
        with self._lock:
            waiting, self._waiting, self._bytes = self._waiting, [], 0
            left_out, self._left_out = self._left_out, 0
        if left_out:
            waiting.append(b"%d lines of this log were left out: it could not be written in time." % left_out)
        try:
            if waiting:
                self._follow_name()
            for piece in _pieces(waiting, self._file):
                _write(self._file, piece)
        except OSError:
            with self._lock:
                self._left_out += left_out + len(waiting) - bool(left_out)

    def _follow_name(self) -> None:
        """Begin a new file where the one of this name is another by now, or none."""
        if self._path is None:
            return
        with contextlib.suppress(FileNotFoundError):
            if self._file >= 0 and os.path.samestat(os.fstat(self._file), os.stat(self._path)):
                return
        opened = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        if self._file >= 0:
            os.close(self._file)
        self._file = opened


def _pieces(lines: list[bytes], file: int) -> Iterator[bytes]:
    """In one piece where nothing can come between; to a pipe, whole lines of no more than it takes at once."""
    if stat.S_ISREG(os.fstat(file).st_mode):
        yield b"\n".join((*lines, b""))
        return
    piece = b""
    for line in lines:
        if len(piece) + len(line) >= PIPE_BYTES:
            yield piece
            piece = b""
        piece += line + b"\n"
    yield piece


def _write(file: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(file, data) :]
        except BlockingIOError:
            select.select([], [file], [], 1.0)


_ALL: weakref.WeakSet[Lines] = weakref.WeakSet()


def _forked() -> None:
    for lines in list(_ALL):
        lines.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
