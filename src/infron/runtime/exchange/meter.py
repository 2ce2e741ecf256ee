"""What one attempt delivered: the provider's last usage report, and the text, for when there is none.

It never knows how the answer travelled, nor a price.
"""

from __future__ import annotations

from typing import Any

import msgspec

from infron.errors import InfronError
from infron.events import UsageReported
from infron.money import Usage
from infron.policy import billing, prices, tokens
from infron.policy.routing import Candidate
from infron.records import Outcome
from infron.request import Request

WHOLE = (Outcome.COMPLETED, Outcome.DRAINED)  # the answer came to its end


class Meter:
    """Of one attempt. `fully_sent`: the whole request went out, and no error came back.

    `usage`, `raw`: the provider's last usable report, as counts and in its own names. `counted`: our own count, once
    made. `served_tier`: the service tier that is to be paid, where it is another than the one asked for.
    """

    frames = 0
    fully_sent = False
    finish_reason: str | None = None
    native_finish_reason: str | None = None
    usage: Usage | None = None
    raw: dict[str, Any] | None = None
    reported_cost: int | None = None  # what the provider itself says that the answer costs, in picodollars
    counted: Usage | None = None
    served_tier: str | None = None
    _told_at = -1  # how many pieces were delivered before the report

    def __init__(self, request: Request, candidate: Candidate) -> None:
        self._request = request
        self.candidate = candidate
        self.text: list[str] = []
        self._measured = 0, 0  # how many pieces, and their characters

    @property
    def clamped(self) -> int | None:
        """The most tokens that we let the answer have, where that was less than its caller said."""
        return self._request.clamped

    @property
    def delivered(self) -> bool:
        """Whether any content was."""
        return bool(self.text)

    @property
    def is_last(self) -> bool:
        """Whether no content came after the report."""
        return self._told_at == len(self.text)

    @property
    def is_reported(self) -> bool:
        """Whether the provider has told all that an answer which has ended is billed by."""
        if self.usage is None:
            return False
        pieces = len(self.text)
        return billing.is_whole(self.usage, delivered=pieces > 0, last=self._told_at == pieces)

    def tokens_so_far(self) -> int:
        """About how many were delivered: by the text's length, or the provider's last report where that says more."""
        pieces, characters = self._measured
        characters += sum(map(len, self.text[pieces:]))
        self._measured = len(self.text), characters
        return max(tokens.by_length(characters), self.usage.completion if self.usage else 0)

    def report(self, report: UsageReported) -> None:
        """A usage report: the last usable one wins, none is ever summed."""
        before, self.usage = self.usage, billing.latest(self.usage, report.usage)
        if self.usage is not before:
            self.raw, self._told_at = report.raw, len(self.text)
        if report.cost is not None:
            self.reported_cost = report.cost
        if report.tier:
            self.serve(report.tier)

    def serve(self, tier: str) -> None:
        """The answer is served on this service tier."""
        asked, served = prices.tier_of(self._request.service_tier), prices.tier_of(tier)
        self.served_tier = None if served == asked else served

    def needs_count(self, outcome: Outcome) -> bool:
        """Whether money stands on our own count: of an answer without a whole report, or of one that was cut."""
        if self.counted is not None:
            return False
        if outcome in WHOLE:
            return not self.is_reported
        return self.delivered or (self.fully_sent and outcome is not Outcome.FAILED)

    def guess(self) -> Usage:
        """Prompt and delivered text by their length, for when there is no time to count."""
        return self.count(tokens.BY_LENGTH)

    def count(self, family: str = "") -> Usage:
        """Our own count of prompt and delivered text. Takes milliseconds: never to be called on the event loop."""
        family = family or tokens.family_of(self.candidate.provider, self.candidate.provider_model)
        return Usage(prompt=self.count_prompt(family), completion=tokens.count_text("".join(self.text), family))

    def count_prompt(self, family: str) -> int:
        """Our own count of the prompt; a thread's work where it is large.

        What a client of the provider's own API says may hold more than a conversation knows: then all is counted.
        """
        if (given := self._request.prompt_of) is not None:
            return tokens.count_given(given(self._request.fields), family)
        try:
            asked = self._request.conversation
        except InfronError:
            asked = None
        if asked is not None and not asked.lost:
            return tokens.count_prompt(asked, family)
        fields = self._request.fields
        return tokens.count_raw({name: msgspec.json.decode(raw) for name, raw in fields.items()}, family)
