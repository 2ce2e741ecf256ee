"""The state machine of an exchange: its transition table, as values.

It never knows a wire, a socket or a clock: inputs come in as values, and what is to be done goes out as values.

Two commitments, not one. The status line may be sent, so that comments can flow, though no content has been; after it
errors travel in the stream, yet another candidate may still be tried. After content none may.
"""

from __future__ import annotations

from enum import IntEnum, auto
from functools import cache
from typing import NamedTuple, final

from msgspec import Struct

from infron.records import Outcome


class Phase(IntEnum):
    OPENING = auto()  # nothing sent
    WAITING = auto()  # status line and comments sent
    STREAMING = auto()  # content sent
    DRAINING = auto()  # the client left, the answer is read to its end
    SETTLED = auto()


class Input(IntEnum):
    CONTENT = auto()  # text, reasoning, refusal, tool call or media, not empty
    ENDED = auto()  # a finish reason for every choice, and the end of the stream
    FAILED_OVER = auto()  # the attempt failed and another candidate is left
    FAILED = auto()  # the attempt failed, and it was the last
    TIMED_OUT = auto()  # the same, and it was one of the attempt's own clocks that ended it
    GONE = auto()  # the client left, and leaving cancels
    GONE_DRAIN = auto()  # the client left, and the answer is to be read on
    KEEP_ALIVE = auto()  # silence towards the client has lasted long enough
    DEADLINE = auto()  # the total time is over, a drain's is, or the process must end
    RECORDED = auto()  # the ledger's row is durable
    UNRECORDED = auto()  # the ledger cannot write
    STOPPED = auto()  # somebody who may stops it: its caller by its id, the operator, a budget that is spent
    STOPPED_DRAIN = auto()  # the same, and the answer is to be read on


STOPS = (Input.STOPPED, Input.STOPPED_DRAIN)


class Action(IntEnum):
    HOLD = auto()  # keep what came until the ledger has its row
    DROP = auto()  # forget what is held of this attempt
    HEAD = auto()  # status line and headers of the stream
    WRITE = auto()  # what is held, to the client
    COMMENT = auto()
    FINISH = auto()  # what is held, the usage frame if asked for, the end
    ANSWER = auto()  # an error as an HTTP answer
    FRAME = auto()  # an error as a frame of the stream, and the end
    ABORT = auto()  # close the connection to the provider
    OPEN_NEXT = auto()  # try the next candidate


@final
class Settle(NamedTuple):
    """The last action of an exchange: record how it ended."""

    outcome: Outcome


class State(Struct, frozen=True, cache_hash=True):
    """`recorded`: the row is durable. `held`: the input that waits for it, CONTENT or ENDED."""

    phase: Phase = Phase.OPENING
    recorded: bool = False
    held: Input | None = None


Step = tuple[Phase, tuple[Action | Settle, ...]]

_COMPLETED = Settle(Outcome.COMPLETED)
_FAILED = Settle(Outcome.FAILED)
_CANCELLED = Settle(Outcome.CANCELLED)
_DRAINED = Settle(Outcome.DRAINED)
_TIMED_OUT = Settle(Outcome.TIMED_OUT)

# A pair that is not here cannot change anything and is ignored.
TABLE: dict[tuple[Phase, Input], Step] = {
    (Phase.OPENING, Input.CONTENT): (Phase.STREAMING, (Action.HEAD, Action.WRITE)),
    (Phase.OPENING, Input.ENDED): (Phase.SETTLED, (Action.HEAD, Action.FINISH, _COMPLETED)),
    (Phase.OPENING, Input.FAILED_OVER): (Phase.OPENING, (Action.DROP, Action.OPEN_NEXT)),
    (Phase.OPENING, Input.FAILED): (Phase.SETTLED, (Action.ANSWER, _FAILED)),
    (Phase.OPENING, Input.TIMED_OUT): (Phase.SETTLED, (Action.ANSWER, _TIMED_OUT)),
    (Phase.OPENING, Input.GONE): (Phase.SETTLED, (Action.ABORT, _CANCELLED)),
    (Phase.OPENING, Input.GONE_DRAIN): (Phase.DRAINING, ()),
    (Phase.OPENING, Input.KEEP_ALIVE): (Phase.WAITING, (Action.HEAD, Action.COMMENT)),
    (Phase.OPENING, Input.DEADLINE): (Phase.SETTLED, (Action.ABORT, Action.ANSWER, _TIMED_OUT)),
    (Phase.OPENING, Input.UNRECORDED): (Phase.SETTLED, (Action.ABORT, Action.ANSWER, _FAILED)),
    (Phase.OPENING, Input.STOPPED): (Phase.SETTLED, (Action.ABORT, Action.ANSWER, _CANCELLED)),
    (Phase.OPENING, Input.STOPPED_DRAIN): (Phase.DRAINING, (Action.ANSWER,)),
    (Phase.WAITING, Input.CONTENT): (Phase.STREAMING, (Action.WRITE,)),
    (Phase.WAITING, Input.ENDED): (Phase.SETTLED, (Action.FINISH, _COMPLETED)),
    (Phase.WAITING, Input.FAILED_OVER): (Phase.WAITING, (Action.DROP, Action.OPEN_NEXT)),
    (Phase.WAITING, Input.FAILED): (Phase.SETTLED, (Action.FRAME, _FAILED)),
    (Phase.WAITING, Input.TIMED_OUT): (Phase.SETTLED, (Action.FRAME, _TIMED_OUT)),
    (Phase.WAITING, Input.GONE): (Phase.SETTLED, (Action.ABORT, _CANCELLED)),
    (Phase.WAITING, Input.GONE_DRAIN): (Phase.DRAINING, ()),
    (Phase.WAITING, Input.KEEP_ALIVE): (Phase.WAITING, (Action.COMMENT,)),
    (Phase.WAITING, Input.DEADLINE): (Phase.SETTLED, (Action.ABORT, Action.FRAME, _TIMED_OUT)),
    (Phase.WAITING, Input.UNRECORDED): (Phase.SETTLED, (Action.ABORT, Action.FRAME, _FAILED)),
    (Phase.WAITING, Input.STOPPED): (Phase.SETTLED, (Action.ABORT, Action.FRAME, _CANCELLED)),
    (Phase.WAITING, Input.STOPPED_DRAIN): (Phase.DRAINING, (Action.FRAME,)),
    (Phase.STREAMING, Input.CONTENT): (Phase.STREAMING, (Action.WRITE,)),
    (Phase.STREAMING, Input.ENDED): (Phase.SETTLED, (Action.FINISH, _COMPLETED)),
    (Phase.STREAMING, Input.FAILED_OVER): (Phase.SETTLED, (Action.FRAME, _FAILED)),
    (Phase.STREAMING, Input.FAILED): (Phase.SETTLED, (Action.FRAME, _FAILED)),
    (Phase.STREAMING, Input.TIMED_OUT): (Phase.SETTLED, (Action.FRAME, _TIMED_OUT)),
    (Phase.STREAMING, Input.GONE): (Phase.SETTLED, (Action.ABORT, _CANCELLED)),
    (Phase.STREAMING, Input.GONE_DRAIN): (Phase.DRAINING, ()),
    (Phase.STREAMING, Input.KEEP_ALIVE): (Phase.STREAMING, (Action.COMMENT,)),
    (Phase.STREAMING, Input.DEADLINE): (Phase.SETTLED, (Action.ABORT, Action.FRAME, _TIMED_OUT)),
    (Phase.STREAMING, Input.STOPPED): (Phase.SETTLED, (Action.ABORT, Action.FRAME, _CANCELLED)),
    (Phase.STREAMING, Input.STOPPED_DRAIN): (Phase.DRAINING, (Action.FRAME,)),
    (Phase.DRAINING, Input.ENDED): (Phase.SETTLED, (_DRAINED,)),
    (Phase.DRAINING, Input.FAILED_OVER): (Phase.SETTLED, (_CANCELLED,)),
    (Phase.DRAINING, Input.FAILED): (Phase.SETTLED, (_CANCELLED,)),
    (Phase.DRAINING, Input.TIMED_OUT): (Phase.SETTLED, (_CANCELLED,)),
    (Phase.DRAINING, Input.DEADLINE): (Phase.SETTLED, (Action.ABORT, _CANCELLED)),
    (Phase.DRAINING, Input.UNRECORDED): (Phase.SETTLED, (Action.ABORT, _CANCELLED)),
    (Phase.DRAINING, Input.STOPPED): (Phase.SETTLED, (Action.ABORT, _CANCELLED)),
}


@cache  # a few hundred pairs at most
def step(state: State, given: Input) -> tuple[State, tuple[Action | Settle, ...]]:
    """The next state, and what is to be done. Content and ends wait, held, until the ledger has its row."""
    phase, recorded, held = state.phase, state.recorded, state.held
    if given is Input.RECORDED:
        if held is None or phase in (Phase.SETTLED, Phase.DRAINING):
            return State(phase, True), ()
        return step(State(phase, True), held)
    if held is Input.ENDED and given in (Input.GONE, Input.GONE_DRAIN):
        # The answer is complete at the provider and will be billed in full, though nobody is left to read it.
        return State(Phase.SETTLED, recorded), (_DRAINED,)
    if held is Input.ENDED and given in STOPS:
        return state, ()  # it is complete, and only waits to be told
    if given in (Input.CONTENT, Input.ENDED) and not recorded and phase in (Phase.OPENING, Phase.WAITING):
        return State(phase, False, given), () if held is not None else (Action.HOLD,)
    row = TABLE.get((phase, given))
    if row is None:
        return state, ()
    after, actions = row
    # Only a comment leaves held content as it was; a failed attempt takes its own with it.
    kept = held if given is Input.KEEP_ALIVE else None
    return State(after, recorded, kept), actions
