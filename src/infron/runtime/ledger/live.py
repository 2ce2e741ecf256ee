"""The open entries: what runs in any process, and what each process says of its own while somebody looks on.

It never knows an exchange. Nothing is written here unless somebody looks.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from msgspec import Struct

from infron.policy.stop import Stop
from infron.records import Progress
from infron.runtime.ledger import owners, statements
from infron.runtime.ledger.store import Rows, Store

LOOK_SECONDS = 3.0  # for so long after a look processes go on telling how far they are


class Live(Struct, frozen=True, kw_only=True):
    """An exchange that runs. Times are unix seconds.

    `key`: the name of its key. `tokens`: delivered, about; None: its process has not said yet. `first_at`: when its
    content began. `stop`: who wants it stopped. `lost`: its process is gone, and the next sweep settles it.
    """

    id: str
    key_id: str | None
    key: str | None
    model: str
    provider: str
    provider_model: str
    streamed: bool
    draining: bool
    started_at: float
    first_at: float | None
    tokens: int | None
    stop: Stop | None
    lost: bool


def streams(store: Store) -> list[Live]:
    """What runs now, for a command that looks on: called again within `LOOK_SECONDS`, it finds how far each is by then.

    Raises ConfigError.
    """
    with store.round() as rows:
        look_on(rows, time.time())
        return read_live(rows)


def read_live(rows: Rows) -> list[Live]:
    """All that runs, the oldest first."""
    lost = set(owners.gone_owners(rows, "", owners.here(), int(time.time() * 1000)))
    return [
        Live(
            id=id,
            key_id=key_id,
            key=key,
            model=model,
            provider=provider,
            provider_model=provider_model,
            streamed=bool(streamed),
            draining=bool(draining),
            started_at=created / 1000,
            first_at=None if latency is None else (created + latency) / 1000,
            tokens=tokens,
            stop=None if stop is None else Stop(stop),
            lost=owner in lost,
        )
        for (
            id, owner, key_id, key, model, provider, provider_model, streamed, draining, created, latency, tokens, stop,
        ) in rows.read(statements.RUNNING)
    ]  # fmt: skip


def look_on(rows: Rows, now: float) -> None:
    """Let each process tell, for some seconds from `now` (unix seconds) on, how far its exchanges are."""
    rows.change(statements.LOOK_ON, str(int((now + LOOK_SECONDS) * 1000)))


def looked_on_until(rows: Rows) -> int:
    """Unix milliseconds; 0: nobody has looked yet."""
    found = rows.read(statements.LOOKED_ON)
    return int(found[0][0]) if found else 0


def write_progress(rows: Rows, found: Sequence[Progress]) -> None:
    """What has come so far, into the entries that are still open."""
    rows.change_all([(statements.PROGRESS, (one.tokens, one.frames, one.latency_ms, one.id)) for one in found])
