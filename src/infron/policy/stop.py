"""Who may stop a running generation by its id, and what its reader is told then.

It never knows how a stop travels from one process to another, nor what it leads to at a provider.
"""

from __future__ import annotations

from enum import StrEnum

from infron.errors import Cancelled, InfronError, Unauthenticated


class Stop(StrEnum):
    """Who asked for it."""

    CALLER = "caller"
    OPERATOR = "operator"
    REVOKED = "revoked"  # whoever revoked the key, and wanted what ran under it to end as well


# What the receipt says of it, before what was done at the provider.
SENTENCES = {
    Stop.CALLER: "stopped by its caller",
    Stop.OPERATOR: "stopped by the operator",
    Stop.REVOKED: "stopped: its API key was revoked",
}


def error_of(stop: Stop) -> InfronError:
    """What its reader is told."""
    if stop is Stop.REVOKED:
        return Unauthenticated("This generation was stopped, for its API key was revoked.")
    who = "its caller" if stop is Stop.CALLER else "the gateway's operator"
    return Cancelled(f"This generation was cancelled by {who}.")
