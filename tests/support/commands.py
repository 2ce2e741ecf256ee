"""`infron` as a person runs it: a process, a terminal of its own, and a gateway that plays a script."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from infron.cli import app as cli

Infron = Callable[..., tuple[int, str, str]]

HEAD = {"id": "gen-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "cost": 0.00012}


def frame(text: str = "", finish_reason: str | None = None, **delta: str) -> bytes:
    delta = {"content": text, **delta} if text else delta
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return b"data: %s\n\n" % json.dumps({**HEAD, "choices": [choice]}).encode()


STOP = {"index": 0, "delta": {}, "finish_reason": "stop"}
FINISH = b"data: %s\n\n" % json.dumps({**HEAD, "choices": [STOP]}).encode()
END = b"data: %s\n\ndata: [DONE]\n\n" % json.dumps({**HEAD, "choices": [], "usage": USAGE}).encode()


class Fake(ThreadingHTTPServer):
    """A gateway that plays a script: bytes are sent, an Event is waited for, "hang" waits until the client left."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Script)
        self.script: list[bytes | threading.Event | str] = []
        self.status = 200
        self.missing: tuple[str, ...] = ()  # paths that are answered 404
        self.receipt: dict[str, Any] = {}
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.left = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Script(BaseHTTPRequestHandler):
    server: Fake
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps({"data": self.server.receipt}).encode()
        self.send_response(404 if self.path in self.server.missing else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.server.headers.append(dict(self.headers))
        self.send_response(self.server.status)
        self.send_header("X-Generation-Id", "gen-1")
        self.send_header("Connection", "close")
        self.end_headers()
        for step in self.server.script:
            if isinstance(step, bytes):
                self.wfile.write(step)
            elif isinstance(step, threading.Event):
                step.wait(10)
            elif self.rfile.read(1) == b"":
                self.server.left.set()

    def log_message(self, format: str, *args: object) -> None:
        pass


def start(*words: str, cwd: Path | None = None, **streams: Any) -> subprocess.Popen[bytes]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("INFRON_")}
    environ["PYTHONPATH"] = str(Path(cli.__file__).parents[2])
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a job in the background; a child would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen([sys.executable, "-m", "infron", *words], cwd=cwd, env=environ, **streams)


def ask(fake: Fake, *words: str, text: bytes | None = None) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one `infron chat`."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start("chat", "--base-url", fake.url, *words, **pipes) as process:
        out, err = process.communicate(text)
        return process.returncode, out.decode(), err.decode()


class Terminal:
    """`infron` on a terminal of its own."""

    def __init__(self, *words: str) -> None:
        self.ours, theirs = pty.openpty()
        self.process = start(*words, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        self.seen = ""

    def until(self, text: str) -> str:
        """What was shown since the last call, up to `text`."""
        deadline = time.monotonic() + 10
        while text not in self.seen:
            assert select.select([self.ours], [], [], max(0, deadline - time.monotonic()))[0], self.seen
            self.seen += os.read(self.ours, 1 << 16).decode()
        shown, _, self.seen = self.seen.partition(text)
        return shown + text

    def rest(self) -> str:
        """What is shown until the command has ended."""
        while True:
            assert select.select([self.ours], [], [], 10)[0], self.seen
            try:
                self.seen += os.read(self.ours, 1 << 16).decode()
            except OSError:  # Linux says so where nobody has the other side open any more
                return self.seen

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def close(self) -> None:
        os.close(self.ours)
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
