"""Who owns the open rows of a ledger: a process, where it runs, and whether it is still there.

It never knows what the rows are about, and settles none of them.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from msgspec import Struct


class Owner(Struct, frozen=True, kw_only=True):
    """One start of one gateway process. `started`: the kernel's start time of the process, 0 if it tells none."""

    boot: str
    place: str
    pid: int
    started: int
    lease_until: int  # unix milliseconds


def here() -> str:
    """Names the one set of process ids that this process sees: host, boot of its kernel, pid namespace."""
    boot = _read("/proc/sys/kernel/random/boot_id").strip()
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return "|".join((socket.gethostname(), boot, namespace))


def start_time(pid: int) -> int | None:
    """When the process began, in the kernel's ticks since boot; None if that cannot be read, -1 for a zombie."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if len(fields) < 20:
        return None
    return -1 if fields[0] in "ZX" else int(fields[19])


def gone(owner: Owner, place: str, now: int) -> bool:
    """Whether nobody can settle this owner's rows any more. `place`: `here()`; `now`: unix milliseconds.

    Next door its process is looked at, so that neither a stopped process nor a reused pid deceives; where its
    process cannot be seen, the lease decides.
    """
    expired = owner.lease_until < now
    if owner.place != place or owner.pid <= 0 or os.name != "posix":
        return expired
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # another user's: it exists
    started = start_time(owner.pid)
    if started is None or not owner.started:
        return expired
    return started != owner.started


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
