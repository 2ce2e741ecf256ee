"""Calls of tools and their results in a history: which belongs to which, and where the results have to stand.

It never knows how a message is written: a wire says of each whose it is and which ids are in it, and gets a plan.

Every host wants the results of a turn right behind its calls, one for each. An agent that was interrupted has calls
without results, a context that was cut results without calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

NOT_RUN = "(This call was not run, or its result is lost.)"


class HasRole(Protocol):
    @property
    def role(self) -> str: ...


def first_role(messages: Iterable[HasRole]) -> str:
    """Of the first of these that is not the system's; "" for none."""
    return next((message.role for message in messages if message.role != "system"), "")


def answered_before(name: str) -> str:
    """How the result of a call that is not there any more begins, where it is told as text."""
    tool = f"the tool {name}" if name else "a tool"
    return f"(What {tool} answered to a call that is not in this conversation any more:)"


class Said(NamedTuple):
    """One message. `model`: the model's. `calls`, `results`: the ids of the calls in it, and those its results name.

    `more`: it says something else too, behind its results; `before`: in front of one of them.
    """

    model: bool
    calls: Sequence[str] = ()
    results: Sequence[str] = ()
    more: bool = False
    before: bool = False


Place = tuple[int, int]  # the message, and the number of the call or the result in it


class Kept(NamedTuple):
    """A message stays here, without the results in it that are `moved`. Those of no call (`orphans`) become text."""

    message: int
    moved: frozenset[int] = frozenset()
    orphans: frozenset[int] = frozenset()


class Answered(NamedTuple):
    """Here these calls are answered: each with its result, None where there is none."""

    calls: list[tuple[Place, Place | None]]


Plan = list[Kept | Answered]


def arranged(history: Sequence[Said], *, ordered: bool, merged: bool) -> Plan | None:
    """How a history has to be arranged; None where it is right.

    `ordered`: results stand in the order of their calls. `merged`: messages of the model that follow each other are one
    turn of its.
    """
    answers, orphans = matched(history)
    moved: dict[int, set[int]] = {}
    behind: dict[int, Answered] = {}
    for first, end in _turns(history, merged):
        due = [(m, c) for m in range(first, end) for c in range(len(history[m].calls))]
        if not due:
            continue
        given = [answers.get(call) for call in due]
        found = _following(history, end)
        if found is None or not (found == given if ordered else sorted(found) == sorted(p or (-1, -1) for p in given)):
            behind[end - 1] = Answered(list(zip(due, given, strict=True)))
            for place in filter(None, given):
                moved.setdefault(place[0], set()).add(place[1])
    if not behind and not orphans:
        return None
    plan: Plan = []
    for m in range(len(history)):
        plan.append(Kept(m, frozenset(moved.get(m, ())), frozenset(orphans.get(m, ()))))
        if m in behind:
            plan.append(behind[m])
    return plan


def matched(history: Sequence[Said]) -> tuple[dict[Place, Place], dict[int, set[int]]]:
    """Each call's result, and the results of no call. Of an id that repeats the latest call has the next result."""
    answers: dict[Place, Place] = {}
    orphans: dict[int, set[int]] = {}
    waiting: dict[str, list[Place]] = {}
    for m, said in enumerate(history):
        for c, id in enumerate(said.calls):
            waiting[id] = [*(place for place in waiting.get(id, ()) if place[0] == m), (m, c)]
        for r, id in enumerate(said.results):
            if open := waiting.get(id):
                answers[open.pop(0)] = (m, r)
            else:
                orphans.setdefault(m, set()).add(r)
    return answers, orphans


def _turns(history: Sequence[Said], merged: bool) -> list[tuple[int, int]]:
    """The model's turns: the first message of each, and the one behind it."""
    turns: list[tuple[int, int]] = []
    for place, said in enumerate(history):
        if not said.model:
            continue
        if merged and turns and turns[-1][1] == place:
            turns[-1] = (turns[-1][0], place + 1)
        else:
            turns.append((place, place + 1))
    return turns


def _following(history: Sequence[Said], place: int) -> list[Place] | None:
    """The results that stand right here; None where they cannot stay so."""
    found: list[Place] = []
    for m in range(place, len(history)):
        said = history[m]
        if said.model or not said.results:
            break
        if said.before:
            return None
        found += [(m, r) for r in range(len(said.results))]
        if said.more:
            break
    return found
