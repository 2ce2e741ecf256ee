"""Who owes what for an answer: on which counts the provider's bill stands, and on which the caller's.

It never knows how an answer arrives, nor what a token costs.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from infron.money import Charge, Price, Usage
from infron.policy.prices import charge_of
from infron.records import Outcome

Basis = Literal["nothing", "prompt", "delivered", "report"]
Reached = Literal["content", "sent", "unsent"]  # how far the attempt came


class Bases(Struct, frozen=True, kw_only=True, gc=False):
    """What is recorded of an exchange, and on what the two columns stand. None: nothing is owed, whatever the price.

    `cost`: what the provider bills us · `charge`: what the caller owes · `estimated`: by our count, not the provider's.
    `at_least`: the provider bills us more than this, and nobody knows how much.
    """

    usage: Usage
    estimated: bool
    cost: Usage | None
    charge: Usage | None
    at_least: bool = False


_ABORTED: dict[Reached, Basis] = {"content": "delivered", "sent": "prompt", "unsent": "nothing"}
_BROKEN: dict[Reached, Basis] = {"content": "delivered", "sent": "nothing", "unsent": "nothing"}
_WHOLE: dict[Reached, Basis] = {"content": "report", "sent": "report", "unsent": "report"}
_FREE: dict[Reached, Basis] = {"content": "nothing", "sent": "nothing", "unsent": "nothing"}

# What the provider bills us for, as far as can be known: a request that it got in whole costs at least its prompt.
COST: dict[Outcome, dict[Reached, Basis]] = {
    Outcome.COMPLETED: _WHOLE,
    Outcome.DRAINED: _WHOLE,
    Outcome.CANCELLED: _ABORTED,
    Outcome.TIMED_OUT: _ABORTED,
    Outcome.FAILED: _BROKEN,
}
_ENDED = (Outcome.COMPLETED, Outcome.DRAINED)
# What the caller owes. Leaving never saves more than what was not yet made; what we or the provider broke is free.
CHARGE: dict[Outcome, dict[Reached, Basis]] = {
    Outcome.COMPLETED: _WHOLE,
    Outcome.DRAINED: _WHOLE,
    Outcome.CANCELLED: _ABORTED,
    Outcome.TIMED_OUT: _BROKEN,
    Outcome.FAILED: _FREE,
}


def latest(before: Usage | None, now: Usage) -> Usage:
    """The report that stands after another one: the last one wins, but half a report takes nothing away."""
    if before is None or (now.prompt and now.completion):
        return now
    if before.completion and not now.completion:
        return before
    if before.prompt and not now.prompt:
        return replace(before, completion=now.completion, **{name: getattr(now, name) for name in _SAID})
    return now


_SAID = ("reasoning", "citation", "completion_audio", "completion_image", "completion_video", "searches")


def is_whole(report: Usage, *, delivered: bool, last: bool) -> bool:
    """Whether an answer that has ended can be billed by this report.

    `delivered`: content was · `last`: none came after the report. A whole one counts both sides, or says, last, that
    nothing at all is billed. One without the answer that was delivered, or without its prompt, is half a report.
    """
    if not delivered:
        return True
    return last and bool(report.prompt) == bool(report.completion)


def who_pays(
    outcome: Outcome,
    *,
    content_delivered: bool,
    fully_sent: bool,
    usage: Usage | None,
    counted: Usage | None,
    last: bool = True,
    slow_reader: bool = False,
    charge_failed: bool = False,
    bills_on: bool = False,
) -> Bases:
    """The usage to record, and what the provider's bill and the caller's stand on.

    `usage`: the provider's last report, final or early · `last`: no content came after it · `counted`: our own count of
    the prompt and of what was delivered · `fully_sent`: the whole request was written and no error came back ·
    `slow_reader`: the upstream was lost while our own reader kept it waiting · `charge_failed`: the setting: the caller
    owes what the provider bills · `bills_on`: we ended the attempt, and the provider goes on with it at our cost.
    """
    whole = usage is not None and is_whole(usage, delivered=content_delivered, last=last)
    if whole and outcome in _ENDED:  # which nearly all do: both tables say `report` then
        return Bases(usage=usage or Usage(), estimated=False, cost=usage, charge=usage)
    reached: Reached = "content" if content_delivered else "sent" if fully_sent else "unsent"
    cost = COST[outcome][reached]
    charge = CHARGE[outcome][reached]
    if charge_failed or (outcome is Outcome.FAILED and slow_reader):
        charge = cost
    recorded = _basis(cost, usage, counted, whole=whole, last=last)
    return Bases(
        usage=recorded or Usage(),
        estimated=recorded is not None and not (cost == "report" and whole),
        cost=recorded,
        charge=recorded if charge == cost else _basis(charge, usage, counted, whole=whole, last=last),
        at_least=bills_on and cost in ("delivered", "prompt"),
    )


def owed(basis: Usage | None, price: Price | None, reported: int | None = None) -> Charge | None:
    """The money for a basis of `who_pays`: nothing for None, else its charge; None if the price is not known.

    `reported`: what the provider itself says that the answer cost, picodollars; it is charged where no price is known.
    """
    if basis is None:
        return Charge()
    charge = charge_of(basis, price)
    return Charge(reported=reported) if charge is None and reported is not None else charge


def _basis(basis: Basis, usage: Usage | None, counted: Usage | None, *, whole: bool, last: bool) -> Usage | None:
    if basis == "nothing":
        return None
    if basis == "report" and whole:
        return usage
    counted = counted or Usage()
    if basis == "prompt":
        counted = Usage(prompt=counted.prompt)
    if usage is None:
        return counted
    # An early report knows the prompt; its completion may be a placeholder, so what we saw delivered may be more.
    is_final = basis == "report" and last and usage.completion
    completion = usage.completion if is_final else max(usage.completion, counted.completion)
    return replace(usage, prompt=usage.prompt or counted.prompt, completion=completion)
