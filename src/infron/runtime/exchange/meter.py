"""What one attempt delivered: the provider's last usage report, and the text, for when there is none.

It never knows how the answer travelled, nor a price.
"""

from __future__ import annotations

from typing import Any

import msgspec

from infron.events import UsageReported
from infron.money import Usage
from infron.policy import tokens
from infron.policy.routing import Candidate
from infron.records import Outcome
from infron.request import Request

WHOLE = (Outcome.COMPLETED, Outcome.DRAINED)  # the answer came to its end


class Meter:
    """Of one attempt. `fully_sent`: the whole request went out, and no error came back.

    `usage`, `raw`: the provider's last report, as counts and in its own names. `counted`: our own count, once made.
    """

    frames = 0
    fully_sent = False
    finish_reason: str | None = None
    native_finish_reason: str | None = None
    usage: Usage | None = None
    raw: dict[str, Any] | None = None
    reported_cost: int | None = None  # what the provider itself says that the answer costs, in picodollars
    counted: Usage | None = None

    def __init__(self, request: Request, candidate: Candidate) -> None:
        self._request = request
        self._candidate = candidate
        self.text: list[str] = []

    @property
    def delivered(self) -> bool:
        """Whether any content was."""
        return bool(self.text)

    def report(self, report: UsageReported) -> None:
        """A usage report: the last one wins, none is ever summed."""
        self.usage, self.raw, self.reported_cost = report.usage, report.raw, report.cost

    def needs_count(self, outcome: Outcome) -> bool:
        """Whether money stands on our own count: of an answer without a report, or of one that was cut."""
        if self.counted is not None:
            return False
        if outcome in WHOLE:
            return self.usage is None
        return self.delivered or (self.fully_sent and outcome is not Outcome.FAILED)

    def count(self) -> Usage:
        """Our own count of prompt and delivered text. Takes milliseconds: never to be called on the event loop."""
        family = tokens.family_of(self._candidate.provider, self._candidate.provider_model)
        fields = self._request.fields
        messages = msgspec.json.decode(fields["messages"])
        tools = msgspec.json.decode(fields["tools"]) if "tools" in fields else None
        return Usage(
            prompt=tokens.count_prompt(messages, tools, family),
            completion=tokens.count_text("".join(self.text), family),
        )
