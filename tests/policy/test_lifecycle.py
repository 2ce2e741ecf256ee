"""The table of an exchange, walked exhaustively."""

from collections.abc import Iterator
from itertools import product

import pytest

from infron.catalog.definitions import Provider
from infron.policy.disconnect import on_disconnect
from infron.policy.lifecycle import STOPS, TABLE, Action, Input, Phase, Settle, State, step
from infron.records import Outcome

LENGTH = 6
INPUTS = tuple(Input)
PLAIN = tuple(one for one in Input if one not in STOPS)  # of exchanges that nobody stops


def walk(
    state: State, done: tuple[object, ...], given: tuple[Input, ...], inputs: tuple[Input, ...] = INPUTS
) -> Iterator[tuple[State, tuple, tuple]]:
    """Every (state, actions so far, inputs so far) that inputs can lead to; settled states are walked on, too."""
    yield state, done, given
    if len(given) == LENGTH:
        return
    for one in inputs:
        after, actions = step(state, one)
        if (after, actions) == (state, ()) and state.phase is not Phase.SETTLED:
            continue  # nothing changed: what follows is walked from the shorter path
        if state.phase is Phase.SETTLED:
            assert actions == (), f"{one} after the end did {actions}"
            continue
        yield from walk(after, done + actions, (*given, one), inputs)


PATHS = list(walk(State(), (), ()))
TO_CLIENT = {Action.HEAD, Action.WRITE, Action.COMMENT, Action.FINISH, Action.ANSWER, Action.FRAME}


def settles(actions: tuple) -> list[Settle]:
    return [action for action in actions if isinstance(action, Settle)]


def test_every_path_to_the_end_settles_exactly_once_and_no_other_path_settles():
    assert len(PATHS) > 1_000
    for state, actions, given in PATHS:
        assert len(settles(actions)) == (1 if state.phase is Phase.SETTLED else 0), given


def test_settling_is_the_last_thing_that_is_done():
    for _, actions, given in PATHS:
        if settles(actions):
            assert isinstance(actions[-1], Settle), given


def test_no_candidate_is_opened_after_content_was_written():
    for _, actions, given in PATHS:
        if Action.OPEN_NEXT in actions and Action.WRITE in actions:
            last_open = len(actions) - 1 - actions[::-1].index(Action.OPEN_NEXT)
            assert last_open < actions.index(Action.WRITE), given


def test_nothing_is_written_after_the_client_left():
    for state, _, given in PATHS:
        if state.phase is Phase.DRAINING:
            for one in INPUTS:
                assert not TO_CLIENT & set(step(state, one)[1]), (given, one)
        for one in (Input.GONE, Input.GONE_DRAIN):
            assert not TO_CLIENT & set(step(state, one)[1]), (given, one)


def test_nothing_is_written_after_a_stop_but_why():
    for _, _, given in PATHS:
        state = State()
        for number, one in enumerate(given):
            after, done = step(state, one)
            if one in STOPS and (after, done) != (state, ()):
                told = [action for action in done if action in TO_CLIENT]
                watched = state.phase is not Phase.DRAINING
                sent = state.phase in (Phase.WAITING, Phase.STREAMING)
                assert told == ([Action.FRAME if sent else Action.ANSWER] if watched else []), given
                for later in given[number + 1 :]:
                    after, done = step(after, later)
                    assert not TO_CLIENT & set(done), (given, later)
                break
            state = after


@pytest.mark.parametrize("phase", [Phase.OPENING, Phase.WAITING])
@pytest.mark.parametrize("stop", STOPS)
def test_an_answer_that_is_complete_and_waits_to_be_told_is_not_stopped(phase: Phase, stop: Input):
    state, _ = step(State(phase), Input.ENDED)
    assert step(state, stop) == (state, ())
    assert step(state, Input.RECORDED)[1][-1] == Settle(Outcome.COMPLETED)


@pytest.mark.parametrize("phase", [Phase.OPENING, Phase.WAITING, Phase.STREAMING])
def test_an_answer_that_is_read_on_after_a_stop_drains_as_after_a_disconnect(phase: Phase):
    stopped, _ = step(State(phase, recorded=True), Input.STOPPED_DRAIN)
    assert stopped == step(State(phase, recorded=True), Input.GONE_DRAIN)[0]


def test_an_exchange_that_nobody_stops_is_cancelled_by_its_client_alone():
    left = {Input.GONE, Input.GONE_DRAIN}
    for state, actions, given in walk(State(), (), (), PLAIN):
        if state.phase is Phase.DRAINING or Settle(Outcome.CANCELLED) in actions:
            assert left & set(given), given


def test_an_http_error_never_follows_a_head_and_an_error_frame_never_precedes_one():
    for _, actions, given in PATHS:
        if Action.ANSWER in actions:
            assert Action.HEAD not in actions, given
        if Action.FRAME in actions:
            assert Action.HEAD in actions[: actions.index(Action.FRAME)], given


def test_the_head_is_sent_once_and_before_anything_else():
    for _, actions, given in PATHS:
        assert actions.count(Action.HEAD) <= 1, given
        for action in (Action.WRITE, Action.COMMENT, Action.FINISH):
            if action in actions:
                assert Action.HEAD in actions[: actions.index(action)], given


def test_no_content_and_no_end_reaches_the_client_before_the_row_is_durable():
    for _, actions, given in PATHS:
        if Action.WRITE in actions or Action.FINISH in actions:
            assert Input.RECORDED in given, given


def test_content_that_waited_for_the_row_is_written_when_the_row_is_there():
    state, actions = step(State(), Input.CONTENT)
    assert (state.phase, actions) == (Phase.OPENING, (Action.HOLD,))
    state, actions = step(state, Input.RECORDED)
    assert (state.phase, actions) == (Phase.STREAMING, (Action.HEAD, Action.WRITE))


def test_an_end_that_waited_for_the_row_finishes_when_the_row_is_there():
    state, _ = step(State(), Input.CONTENT)
    state, _ = step(state, Input.ENDED)
    state, actions = step(state, Input.RECORDED)
    assert actions == (Action.HEAD, Action.FINISH, Settle(Outcome.COMPLETED))


def test_held_content_of_a_failed_attempt_is_dropped_with_it():
    state, _ = step(State(), Input.CONTENT)
    state, actions = step(state, Input.FAILED_OVER)
    assert actions == (Action.DROP, Action.OPEN_NEXT)
    assert step(state, Input.RECORDED)[1] == ()


@pytest.mark.parametrize(
    ("phase", "given", "outcome"),
    [
        (Phase.STREAMING, Input.ENDED, Outcome.COMPLETED),
        (Phase.STREAMING, Input.FAILED, Outcome.FAILED),
        (Phase.OPENING, Input.TIMED_OUT, Outcome.TIMED_OUT),
        (Phase.WAITING, Input.TIMED_OUT, Outcome.TIMED_OUT),
        (Phase.STREAMING, Input.TIMED_OUT, Outcome.TIMED_OUT),
        (Phase.DRAINING, Input.TIMED_OUT, Outcome.CANCELLED),
        (Phase.STREAMING, Input.GONE, Outcome.CANCELLED),
        (Phase.WAITING, Input.GONE, Outcome.CANCELLED),
        (Phase.OPENING, Input.GONE, Outcome.CANCELLED),
        (Phase.OPENING, Input.DEADLINE, Outcome.TIMED_OUT),
        (Phase.WAITING, Input.DEADLINE, Outcome.TIMED_OUT),
        (Phase.DRAINING, Input.ENDED, Outcome.DRAINED),
        (Phase.DRAINING, Input.FAILED, Outcome.CANCELLED),
        (Phase.DRAINING, Input.DEADLINE, Outcome.CANCELLED),
        (Phase.OPENING, Input.STOPPED, Outcome.CANCELLED),
        (Phase.WAITING, Input.STOPPED, Outcome.CANCELLED),
        (Phase.STREAMING, Input.STOPPED, Outcome.CANCELLED),
        (Phase.DRAINING, Input.STOPPED, Outcome.CANCELLED),
    ],
)
def test_each_ending_has_its_outcome(phase: Phase, given: Input, outcome: Outcome):
    state, actions = step(State(phase, recorded=True), given)
    assert state.phase is Phase.SETTLED
    assert settles(actions) == [Settle(outcome)]


def test_every_pair_is_in_the_table_or_changes_nothing():
    for phase, given in product(Phase, Input):
        if given is Input.RECORDED or (phase, given) in TABLE:
            continue
        state = State(phase, recorded=True)
        assert step(state, given) == (state, ())


CANCELS = Provider(id="stops", name="Stops", on_disconnect="cancel")
DRAINS = Provider(id="runs-on", name="Runs on", on_disconnect="drain")


@pytest.mark.parametrize(
    ("provider", "asked", "streamed", "override", "drain"),
    [
        (CANCELS, None, True, False, False),
        (CANCELS, "drain", True, False, True),
        (CANCELS, "cancel", True, False, False),
        (CANCELS, None, False, False, True),
        (CANCELS, "cancel", False, True, True),
        (DRAINS, None, True, False, True),
        (DRAINS, "cancel", True, False, True),
        (DRAINS, "cancel", True, True, False),
    ],
)
def test_leaving_cancels_only_where_it_stops_the_bill_or_the_operator_allows_it(
    provider: Provider, asked: str | None, streamed: bool, override: bool, drain: bool
):
    leaving = on_disconnect(provider, asked, streamed, override)
    assert leaving.drain is drain
    assert leaving.reason.startswith("drain" if drain else "cancel")
