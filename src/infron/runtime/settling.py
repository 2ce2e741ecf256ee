"""From what an exchange delivered to what is recorded of it: the meter, the bill, and the settlement.

It never knows how the answer travelled, and writes nothing itself: the ledger does.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from infron.catalog import Provider
from infron.model import Charge, Outcome, Price, Request, Usage
from infron.policy import metering

FLUSH_CHARACTERS = 64 << 10


class Meter:
    """Folds an answer: the provider's last usage report, and the text that was delivered, for when there is none."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.frames = 0
        self.finish_reason: str | None = None
        self.fully_sent = True
        self.counted: Usage | None = None
        self._provider: Provider | None = None
        self._family = ""
        self.begin()

    def begin(self) -> None:
        self.usage: Usage | None = None
        self.raw: dict[str, Any] | None = None
        self.delivered = 0  # characters
        self._text: list[str] = []
        self._tokens_before = 0  # counted already, so that a long answer is not held whole

    def begin_attempt(self, provider: Provider, own_id: str) -> None:
        self.begin()
        self._provider = provider
        self._family = metering.family_of(provider, own_id)

    def add(self, text: str) -> None:
        self._text.append(text)
        self.delivered += len(text)

    def report(self, raw: dict[str, Any]) -> None:
        """A usage report: the last one wins, none is ever summed."""
        assert self._provider is not None
        usage = metering.parse_usage(raw, self._provider)
        if usage is not None:
            self.usage, self.raw = usage, raw

    def count(self) -> Usage:
        """Our own count of prompt and delivered text. Slow (milliseconds): never on the event loop."""
        fields = self.request.fields
        messages = msgspec.json.decode(fields["messages"])
        tools = msgspec.json.decode(fields["tools"]) if "tools" in fields else None
        prompt = metering.count_prompt(messages, tools, self._family)
        return Usage(prompt=prompt or 0, completion=metering.count_text("".join(self._text), self._family))


class Bill(Struct, frozen=True):
    """What is recorded and shown of an exchange's money. `cost`: the provider's to us; `charge`: ours to the caller."""

    usage: Usage
    estimated: bool
    price: Price | None
    cost: Charge | None
    charge: Charge | None


def needs_count(outcome: Outcome, meter: Meter) -> bool:
    """Whether the answer has to be counted by us: it cost something, and the provider gave no figures."""
    if meter.usage is not None or meter.counted is not None:
        return False
    return bool(meter.delivered) or (outcome is Outcome.CANCELLED and meter.fully_sent)


def bill(outcome: Outcome, meter: Meter, price: Price | None, *, slow_reader: bool, charge_failed: bool) -> Bill:
    """The bill of an exchange that ended so, by the rules of `metering`."""
    usage = meter.usage or meter.counted or Usage()
    charge = metering.charge_of(usage, price)
    return Bill(usage=usage, estimated=meter.usage is None, price=price, cost=charge, charge=charge)
