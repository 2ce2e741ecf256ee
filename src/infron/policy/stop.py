"""Who may stop a running generation by its id, and what its reader is told then.

It never knows how a stop travels from one process to another, nor what it leads to at a provider.
"""

from __future__ import annotations

from enum import StrEnum

from infron.errors import Cancelled, InfronError, Unauthenticated


class Stop(StrEnum):
    """Who asked for it. The first three may come by the ledger, from another process."""

    CALLER = "caller"
    OPERATOR = "operator"
    REVOKED = "revoked"  # whoever revoked the key, and wanted what ran under it to end as well
    BUDGET = "budget"  # there is nothing left to pay for more of it
    LEDGER = "ledger"  # nobody could say whether there is


# What the receipt says of it, before what was done at the provider.
SENTENCES = {
    Stop.CALLER: "stopped by its caller",
    Stop.OPERATOR: "stopped by the operator",
    Stop.REVOKED: "stopped: its API key was revoked",
    Stop.BUDGET: "stopped: its budget is used up",
    Stop.LEDGER: "stopped: the ledger could not be asked for more of its budget",
}


BY_ID = (Stop.CALLER, Stop.OPERATOR, Stop.REVOKED)


def error_of(stop: Stop) -> InfronError:
    """What its reader is told of one of BY_ID."""
    if stop is Stop.REVOKED:
        return Unauthenticated("This generation was stopped, for its API key was revoked.")
    who = "its caller" if stop is Stop.CALLER else "the gateway's operator"
    return Cancelled(f"This generation was cancelled by {who}.")
