"""Lines of a log: whole ones, by many processes into one file, however slow or full what they are written to is."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from infron.errors import ConfigError
from infron.runtime.telemetry import lines as module
from infron.runtime.telemetry.lines import Lines


def until(found: object) -> None:
    deadline = time.monotonic() + 10
    while not found():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_lines_are_written_in_order_and_a_second_process_appends_to_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "infron.log"
    both = Lines(path), Lines(path)
    for number in range(1000):
        for which, lines in enumerate(both):
            lines.append(b"%d %d " % (which, number) + b"x" * 300)
    for lines in both:
        lines.close()
    found = [line.split() for line in path.read_text().splitlines()]
    assert all(len(line) == 3 and line[2] == "x" * 300 for line in found)
    for which in "01":
        assert [int(line[1]) for line in found if line[0] == which] == list(range(1000))


def test_lines_file_is_for_its_owner_only(tmp_path: Path) -> None:
    Lines(tmp_path / "infron.log").close()
    assert (tmp_path / "infron.log").stat().st_mode & 0o777 == 0o600


def test_lines_of_a_forked_child_are_its_own_and_nothing_comes_twice(tmp_path: Path) -> None:
    path = tmp_path / "infron.log"
    lines = Lines(path)
    lines.append(b"parent")
    child = os.fork()
    if child == 0:
        lines.append(b"child")
        lines.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    lines.close()
    assert sorted(path.read_text().split()) == ["child", "parent"]


@pytest.mark.parametrize("removed", [False, True], ids=["renamed", "removed"])
def test_lines_after_a_rotation_begin_a_new_file(tmp_path: Path, removed: bool) -> None:
    path, old = tmp_path / "infron.log", tmp_path / "infron.log.1"
    lines = Lines(path)
    lines.append(b"before")
    until(path.read_text)
    path.rename(old)
    if removed:
        old.unlink()
    lines.append(b"after")
    lines.close()
    assert path.read_text() == "after\n"
    assert removed or old.read_text() == "before\n"


def test_lines_that_cannot_be_written_hold_nobody_up_and_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 200_000)
    path = tmp_path / "infron.log"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # nobody reads for now, so the pipe fills up
    lines = Lines(path)
    began = time.monotonic()
    for _ in range(20_000):
        lines.append(b"x" * 99)
    assert time.monotonic() - began < 5
    received = bytearray()

    def read() -> None:
        os.set_blocking(reader, True)
        while data := os.read(reader, 1 << 16):
            received.extend(data)

    thread = threading.Thread(target=read)
    thread.start()
    until(lambda: not lines._waiting)
    lines.append(b"last")
    lines.close()
    thread.join(10)
    os.close(reader)
    found = received.decode().splitlines()
    notes = [line for line in found if line.endswith(" in time.")]
    written = [line for line in found if line not in notes]
    assert set(written) == {"x" * 99, "last"}
    left_out = sum(int(note.split()[0]) for note in notes)
    assert left_out + len(written) == 20_001
    assert left_out > 1_000


def test_lines_go_on_after_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = tmp_path / "infron.log", os.write
    full = threading.Event()
    full.set()

    def write(file: int, data: bytes) -> int:
        if full.is_set():
            raise OSError(28, "No space left on device")
        return real(file, data)

    monkeypatch.setattr(module.os, "write", write)
    lines = Lines(path)
    for number in range(3):
        lines.append(b"lost %d" % number)
    until(lambda: lines._left_out == 3)
    full.clear()
    lines.append(b"kept")
    lines.close()
    assert path.read_text() == "kept\n3 lines of this log were left out: it could not be written in time.\n"


def test_lines_of_a_file_that_cannot_be_opened_are_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"log\.file: .*/none/infron\.log cannot be written \(No such file"):
        Lines(tmp_path / "none" / "infron.log")
