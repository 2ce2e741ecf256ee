"""`infron serve` as a real process, and what holds for every command."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from commands import Infron, start

from infron.cli import app as cli
from infron.runtime.local import model as local
from infron.settings import Local


@pytest.mark.skipif(local.missing(Local()) is not None, reason=local.missing(Local()) or "")
@pytest.mark.heavy
@pytest.mark.timeout(60)  # a real model computes, beside other tests
def test_serve_asks_its_own_api_says_how_to_go_on_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    words = ("serve", "--port", "0", "--ask", "What is the capital of France?")
    with start(*words, cwd=tmp_path, **pipes) as process:
        assert process.stdout
        shown = ""
        while "curl -N http://127.0.0.1:" not in shown:
            line = process.stdout.readline().decode()
            assert line, shown
            shown += line
        url = shown.split()[3].removesuffix("/v1")
        with urllib.request.urlopen(f"{url}/readyz") as answer:
            assert answer.status == 200
        taken = url.rpartition(":")[2]
        with start("serve", "--port", taken, cwd=tmp_path, **pipes) as second:
            out, err = second.communicate()
            assert second.returncode == 1
            assert err.decode().startswith(f"infron: Cannot listen on 127.0.0.1:{taken}: ")
            assert out == b""
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
        assert process.returncode == 0, err
    assert "> What is the capital of France?" in shown
    assert "tokens/s" in err.decode()
    assert (tmp_path / "infron.db").exists()


def test_output_read_in_part_is_no_error(tmp_path: Path) -> None:
    with start("providers", "--json", cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.parametrize(
    "words", [(), ("serve",), ("chat",), ("keys",), ("keys", "create"), ("keys", "list"), ("keys", "revoke"),
              ("usage",), ("providers",), ("providers", "probe"), ("models",), ("check",)], ids=" ".join
)  # fmt: skip
def test_help_explains_every_command_and_each_of_its_options(infron: Infron, words: tuple[str, ...]) -> None:
    code, out, _ = infron(*words, "--help")
    assert code == 0
    assert "Usage: infron" in out
    options = [line for line in out.splitlines() if line.startswith("│ ") and " --" in line]
    assert options
    assert all(line.rstrip("│ ").endswith((".", "]", ")")) for line in options), out


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("output", ["full", "closed"])
def test_serve_starts_though_nobody_can_read_what_it_says(tmp_path: Path, output: str, workers: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    closing = "exec >&- 2>&-" if output == "closed" else "exec >/dev/full 2>/dev/full"
    command = f'{closing}; exec "$@"'
    words = [sys.executable, "-m", "infron", "serve", "--port", str(port)]
    environ = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2]), "INFRON_LOCAL_ENABLED": "false"}
    environ["INFRON_SERVER_WORKERS"] = workers
    with subprocess.Popen(["sh", "-c", command, "sh", *words], cwd=tmp_path, env=environ) as process:
        try:
            until, status = time.monotonic() + 15, 0
            while status != 200 and process.poll() is None and time.monotonic() < until:
                time.sleep(0.05)
                if (tmp_path / "infron.db").exists():
                    with (
                        contextlib.suppress(OSError),
                        urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz") as answer,
                    ):
                        status = answer.status
            assert status == 200
        finally:
            process.terminate()
        assert process.wait(10) == 0
