"""A scripted gateway, terminals, and `infron` called in an empty folder."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import Fake, Infron, Terminal

from infron.cli import app as cli


@pytest.fixture
def fake() -> Iterator[Fake]:
    server = Fake()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*words: str) -> Terminal:
        opened.append(Terminal(*words))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


@pytest.fixture
def infron(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Infron:
    """Calls the command in an empty folder without any provider's key; gives exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "240")
    for name in list(os.environ):
        if name.startswith("INFRON_") or "KEY" in name or "TOKEN" in name:
            monkeypatch.delenv(name)

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["infron", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        if isinstance(ended.value.code, str):
            return 1, shown.out, ended.value.code
        return ended.value.code or 0, shown.out, shown.err

    return call
