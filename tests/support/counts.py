"""What a client is told of counts and money, where a test looks at something else."""

from __future__ import annotations

from infron.events import Billed
from infron.money import Usage


def billed(**counts: int) -> Billed:
    return Billed(usage=Usage(**counts), charge=None, estimated=False, provider="mock")


NOTHING = billed()
