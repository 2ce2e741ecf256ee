"""Who owns the open entries of a ledger: a process, where it runs, its lease, and whether it is still there.

It never knows what the entries are about, and settles none of them.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from msgspec import Struct

from infron.runtime.ledger import statements
from infron.runtime.ledger.store import Rows


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


def renew_lease(rows: Rows, owner: Owner) -> None:
    rows.change(statements.RENEW_LEASE, owner.boot, owner.place, owner.pid, owner.started, owner.lease_until)


def forget(rows: Rows, boot: str) -> None:
    rows.change(statements.FORGET_OWNER, boot)


def gone_owners(rows: Rows, mine: str, place: str, now: int) -> list[str]:
    """The owners, other than `mine`, that will never settle their entries; those without a lease at all included."""
    owners = [
        Owner(boot=boot, place=at, pid=pid, started=started, lease_until=until)
        for boot, at, pid, started, until in rows.read(statements.OWNERS)
    ]
    known = {owner.boot for owner in owners}
    open_of = {boot for (boot,) in rows.read(statements.OWNERS_OF_OPEN)}
    lost = {owner.boot for owner in owners if gone(owner, place, now)} | (open_of - known)
    return sorted(lost - {mine})


def shown(rows: Rows, now: int) -> list[dict[str, str | int | float | bool]]:
    """The processes with a lease, as JSON shows them. `now`: unix milliseconds."""
    return [
        {
            "id": boot,
            "host": place.partition("|")[0],
            "pid": pid,
            "lease_until": until / 1000,
            "gone": gone(Owner(boot=boot, place=place, pid=pid, started=started, lease_until=until), here(), now),
        }
        for boot, place, pid, started, until in rows.read(statements.OWNERS)
    ]


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
