"""What the ledger says to an exchange that wants to be recorded, or to be read on after its client left.

It never knows how the ledger came to it.
"""

from __future__ import annotations

from msgspec import Struct


class Recorded(Struct, frozen=True):
    """It is written, durably."""


class Refused(Struct, frozen=True):
    """The ledger can be written, and says no. `reason`: a clause for the person who asked."""

    reason: str


class Unavailable(Struct, frozen=True):
    """The ledger cannot be written. `reason`: a sentence for the operator, with the ledger's name in it."""

    reason: str


Verdict = Recorded | Refused | Unavailable
