"""Which clocks of an exchange run, and when each is due: a table of moments, read by whoever looks at the time.

It never reads a clock, and never does what is due.
"""

from __future__ import annotations

from enum import IntEnum, auto

from msgspec import Struct

from infron.catalog.definitions import Provider
from infron.errors import DeadlineExceeded, InfronError, ProviderTimeout
from infron.policy.lifecycle import Phase
from infron.settings import Config, Timeouts

# After the finish reason, for usage and [DONE]: there are hosts that count for more than two seconds, and what they
# have not told is billed by estimate. A reader waits as long where a host tells neither and does not end its answer.
USAGE_WAIT_SECONDS = 3.0


class Due(IntEnum):
    """What is due, the first to win if several are."""

    END = auto()  # nothing more is worth waiting for after the finish reason
    DRAIN_OVER = auto()  # an answer was read on for as long as it may be
    TOTAL_OVER = auto()
    READER = auto()  # see whether a reader that took nothing takes something now
    FIRST_TOKEN = auto()  # the attempt has brought no content in time
    STALL = auto()  # it brings nothing more
    COMMENT = auto()  # the silence towards the client has lasted long enough


class Moments(Struct, frozen=True, kw_only=True):
    """What the clocks of an exchange depend on. Moments are seconds of one clock; 0: it has not come.

    `complete`: nothing more of the answer is wanted, its count may be awaited · `comments`: sent since anything else
    was · `last_write`: the last byte to the client · `looked_at`: when its paused reader was looked at · `unread`: we
    keep the provider waiting, for that reader or for the ledger.
    """

    phase: Phase
    kept_alive: bool
    complete: bool
    comments: int
    started: float
    attempt_started: float
    first_content: float
    last_frame: float
    last_write: float
    finished_at: float
    paused_at: float
    looked_at: float
    drain_started: float
    unread: bool


def first_look(config: Config) -> float:
    """After how many seconds an exchange has something due at the earliest."""
    timeouts = config.timeouts
    clocks = (config.keepalive.first_seconds, timeouts.first_token_seconds, timeouts.total_seconds)
    return min((seconds for seconds in clocks if seconds), default=60.0)


def running(x: Moments, config: Config) -> list[tuple[Due, float]]:
    """Every clock that runs, with the moment at which it is due. A setting of 0 seconds is a clock that never runs."""
    timeouts, draining = config.timeouts, x.phase is Phase.DRAINING
    found: list[tuple[Due, float]] = []

    def runs(due: Due, since: float, seconds: float) -> None:
        if seconds:
            found.append((due, since + seconds))

    if x.finished_at and not x.complete and not x.unread:
        runs(Due.END, x.finished_at, USAGE_WAIT_SECONDS)
    if draining:
        runs(Due.DRAIN_OVER, x.drain_started, config.drain.seconds)
    runs(Due.TOTAL_OVER, x.started, timeouts.total_seconds)
    if x.paused_at:  # neither the provider's clocks nor comments run while our own reader keeps both waiting
        runs(Due.READER, x.looked_at, max(0.1, timeouts.client_stall_seconds / 20))
        return found
    if x.complete:
        return found
    if x.unread:
        pass
    elif x.first_content:
        runs(Due.STALL, x.last_frame, timeouts.stall_seconds)
    else:
        runs(Due.FIRST_TOKEN, x.attempt_started, timeouts.first_token_seconds)
    if x.kept_alive and not draining and config.keepalive.first_seconds:
        pause = config.keepalive.every_seconds if x.comments else config.keepalive.first_seconds
        runs(Due.COMMENT, x.last_write, pause)
    return found


def overdue(kind: Due, timeouts: Timeouts, provider: Provider) -> InfronError:
    """The error of an exchange that this clock has ended."""
    if kind is Due.TOTAL_OVER:
        return DeadlineExceeded(f"The answer was not complete after {timeouts.total_seconds:g} s.")
    what = f"sent nothing more for {timeouts.stall_seconds:g} s"
    if kind is Due.FIRST_TOKEN:
        what = f"sent no content within {timeouts.first_token_seconds:g} s"
    return ProviderTimeout(f"{provider.name} {what}.", provider=provider.id)


def due(clocks: list[tuple[Due, float]], now: float) -> Due | None:
    return next((kind for kind, moment in clocks if now >= moment), None)


def next_due(clocks: list[tuple[Due, float]], now: float) -> float:
    """When to look again."""
    return min((moment for _, moment in clocks), default=now + 60.0)
