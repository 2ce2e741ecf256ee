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


class Bases(Struct, frozen=True, kw_only=True):
    """What is recorded of an exchange, and on what the two columns stand. None: nothing is owed, whatever the price.

    `cost`: what the provider bills us · `charge`: what the caller owes · `estimated`: by our count, not the provider's.
    """

    usage: Usage
    estimated: bool
    cost: Usage | None
    charge: Usage | None


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
# What the caller owes. Leaving never saves more than what was not yet made; what we or the provider broke is free.
CHARGE: dict[Outcome, dict[Reached, Basis]] = {
    Outcome.COMPLETED: _WHOLE,
    Outcome.DRAINED: _WHOLE,
    Outcome.CANCELLED: _ABORTED,
    Outcome.TIMED_OUT: _BROKEN,
    Outcome.FAILED: _FREE,
}


def who_pays(
    outcome: Outcome,
    *,
    content_delivered: bool,
    fully_sent: bool,
    usage: Usage | None,
    counted: Usage | None,
    slow_reader: bool = False,
    charge_failed: bool = False,
) -> Bases:
    """The usage to record, and what the provider's bill and the caller's stand on.

    `usage`: the provider's last report, final or early · `counted`: our own count of the prompt and of what was
    delivered · `fully_sent`: the whole request was written and no error came back · `slow_reader`: the upstream was
    lost while our own reader kept it waiting · `charge_failed`: the setting: the caller owes what the provider bills.
    """
    reached: Reached = "content" if content_delivered else "sent" if fully_sent else "unsent"
    cost = COST[outcome][reached]
    charge = CHARGE[outcome][reached]
    if charge_failed or (outcome is Outcome.FAILED and slow_reader):
        charge = cost
    recorded = _basis(cost, usage, counted)
    return Bases(
        usage=recorded or Usage(),
        estimated=recorded is not None and not (cost == "report" and usage is not None),
        cost=recorded,
        charge=recorded if charge == cost else _basis(charge, usage, counted),
    )


def owed(basis: Usage | None, price: Price | None) -> Charge | None:
    """The money for a basis of `who_pays`: nothing for None, else its charge; None if the price is not known."""
    return Charge() if basis is None else charge_of(basis, price)


def _basis(basis: Basis, usage: Usage | None, counted: Usage | None) -> Usage | None:
    if basis == "nothing":
        return None
    if basis == "report" and usage is not None:
        return usage
    counted = counted or Usage()
    if basis == "prompt":
        counted = Usage(prompt=counted.prompt)
    if usage is None:
        return counted
    # An early report knows the prompt; its completion may be a placeholder, so what we saw delivered may be more.
    return replace(usage, prompt=usage.prompt or counted.prompt, completion=max(usage.completion, counted.completion))
