"""From what an exchange delivered to what is recorded of it: the meter and the bill.

It never knows how the answer travelled, and writes nothing itself: the ledger does.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
from msgspec import Struct

from infron.catalog.definitions import Provider
from infron.events import UsageReported
from infron.money import Charge, Price, Usage
from infron.policy import billing, tokens
from infron.records import Outcome, Settlement
from infron.request import Request


class SettlementListener(Protocol):
    """Who is told of each exchange that has ended: once, on the event loop, after everything about it is known."""

    def settled(self, settlement: Settlement) -> None:
        """Must not wait. What it raises is logged, and the next listener is told all the same."""


class Meter:
    """Folds an answer: the provider's last usage report, and the text that was delivered, for when there is none.

    `fully_sent`: the whole request went out on the attempt that counts.
    """

    _provider: Provider | None = None
    _own_id = ""
    frames = 0
    fully_sent = False
    finish_reason: str | None = None
    native_finish_reason: str | None = None
    usage: Usage | None = None
    raw: dict[str, Any] | None = None
    reported_cost: int | None = None  # what the provider itself says that the answer costs, in picodollars
    counted: Usage | None = None

    def __init__(self, request: Request) -> None:
        self._request = request
        self.text: list[str] = []

    def begin_attempt(self, provider: Provider, provider_model: str) -> None:
        """A new candidate: what the one before said or delivered is nobody's any more."""
        self._provider = provider
        self._own_id = provider_model
        self.text.clear()
        self.fully_sent = False
        self.finish_reason = self.native_finish_reason = self.usage = self.raw = self.reported_cost = None

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
        if outcome in (Outcome.COMPLETED, Outcome.DRAINED):
            return self.usage is None
        return self.delivered or (self.fully_sent and outcome is not Outcome.FAILED)

    def count(self) -> Usage:
        """Our own count of prompt and delivered text. Takes milliseconds: never to be called on the event loop."""
        assert self._provider is not None
        family = tokens.family_of(self._provider, self._own_id)
        fields = self._request.fields
        messages = msgspec.json.decode(fields["messages"])
        tools = msgspec.json.decode(fields["tools"]) if "tools" in fields else None
        return Usage(
            prompt=tokens.count_prompt(messages, tools, family),
            completion=tokens.count_text("".join(self.text), family),
        )


class Bill(Struct, frozen=True):
    """What is recorded and shown of an exchange's money.

    `cost`: the provider's to us, picodollars, by its own word where it gave one; `charge`: ours to the caller.
    """

    usage: Usage
    estimated: bool
    price: Price | None
    cost: int | None
    charge: Charge | None


def bill(outcome: Outcome, meter: Meter, price: Price | None, *, slow_reader: bool, charge_failed: bool) -> Bill:
    """The bill of an exchange that ended so, by the rules of `billing.who_pays`."""
    bases = billing.who_pays(
        outcome,
        content_delivered=meter.delivered,
        fully_sent=meter.fully_sent,
        usage=meter.usage,
        counted=meter.counted,
        slow_reader=slow_reader,
        charge_failed=charge_failed,
    )
    cost = billing.owed(bases.cost, price)
    reported = meter.reported_cost if bases.cost is not None and not bases.estimated else None
    return Bill(
        usage=bases.usage,
        estimated=bases.estimated,
        price=price,
        cost=reported if reported is not None else cost.total if cost is not None else None,
        charge=cost if bases.charge is bases.cost else billing.owed(bases.charge, price),
    )
