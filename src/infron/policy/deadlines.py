"""Which clocks of an exchange run, and when each is due: a table of moments, read by whoever looks at the time.

It never reads a clock, and never does what is due.
"""

from __future__ import annotations

from enum import IntEnum, auto
from typing import Protocol

from infron.config import Config
from infron.policy.lifecycle import Phase, State
from infron.request import Request

USAGE_WAIT_SECONDS = 2.0  # after the finish reason, for usage and [DONE]


class Due(IntEnum):
    """What is due, the first to win if several are."""

    END = auto()  # nothing more is worth waiting for after the finish reason
    DRAIN_OVER = auto()  # an answer was read on for as long as it may be
    TOTAL_OVER = auto()
    READER = auto()  # see whether a reader that took nothing takes something now
    FIRST_TOKEN = auto()  # the attempt has brought no content in time
    STALL = auto()  # it brings nothing more
    COMMENT = auto()  # the silence towards the client has lasted long enough


class Timed(Protocol):
    """What of an exchange its clocks depend on. Moments are seconds of one clock; 0: it has not come.

    `last_write`: the last byte to the client · `comments`: sent since anything else was · `ending`: the answer is
    complete, its count is awaited · `looked_at`: when its paused reader was looked at.
    """

    request: Request
    state: State
    comments: int
    ending: bool
    started: float
    attempt_started: float
    first_content: float
    last_frame: float
    last_write: float
    finished_at: float
    paused_at: float
    looked_at: float
    drain_started: float


def running(x: Timed, config: Config) -> list[tuple[Due, float]]:
    """Every clock that runs, with the moment at which it is due. A setting of 0 seconds is a clock that never runs."""
    timeouts, draining = config.timeouts, x.state.phase is Phase.DRAINING
    found: list[tuple[Due, float]] = []

    def runs(due: Due, since: float, seconds: float) -> None:
        if seconds:
            found.append((due, since + seconds))

    if x.finished_at and not x.ending:
        runs(Due.END, x.finished_at, USAGE_WAIT_SECONDS)
    if draining:
        runs(Due.DRAIN_OVER, x.drain_started, config.drain.seconds)
    runs(Due.TOTAL_OVER, x.started, timeouts.total_seconds)
    if x.paused_at:  # neither the provider's clocks nor comments run while our own reader keeps it waiting
        runs(Due.READER, x.looked_at, max(0.1, timeouts.client_stall_seconds / 20))
        return found
    if x.ending:
        return found
    if x.first_content:
        runs(Due.STALL, x.last_frame, timeouts.stall_seconds)
    else:
        runs(Due.FIRST_TOKEN, x.attempt_started, timeouts.first_token_seconds)
    if x.request.stream and not draining and config.keepalive.first_seconds:
        pause = config.keepalive.every_seconds if x.comments else config.keepalive.first_seconds
        runs(Due.COMMENT, x.last_write, pause)
    return found


def due(clocks: list[tuple[Due, float]], now: float) -> Due | None:
    return next((kind for kind, moment in clocks if now >= moment), None)


def next_due(clocks: list[tuple[Due, float]], now: float) -> float:
    """When to look again."""
    return min((moment for _, moment in clocks), default=now + 60.0)
