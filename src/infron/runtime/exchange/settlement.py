"""The one place where an exchange is settled: from the facts of its end to what is recorded, told to each listener.

It never knows an exchange, and writes nothing itself: the listeners do.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from infron.errors import InfronError, ProviderError, ProviderTimeout
from infron.money import Price, Usage
from infron.policy import billing
from infron.policy.routing import Candidate
from infron.records import Bill, FailedAttempt, Opening, Outcome, Settlement
from infron.runtime.exchange.counting import Counter
from infron.runtime.exchange.meter import WHOLE, Meter
from infron.runtime.exchange.prices import Prices
from infron.runtime.telemetry.bugs import report_bug


class SettlementListener(Protocol):
    """Who is told of each exchange that has ended: once, on the event loop, after everything about it is known."""

    def settled(self, settlement: Settlement) -> None:
        """Must not wait. What it raises is logged, and the next listener is told all the same."""


class EndedAttempt(Protocol):
    """One attempt that has ended. Moments are seconds of the loop's clock; 0: it has not come.

    `bills_on`: we ended it, and the provider goes on with it at our cost.
    """

    candidate: Candidate
    price: Price | None
    meter: Meter
    bills_on: bool
    started: float
    first_content: float
    ended: float
    closed_at: float  # its connection, or the provider's answer to being told to stop
    error: InfronError | None
    dropped: tuple[str, ...]

    @property
    def upstream_id(self) -> str | None:
        """The provider's own id of its answer."""


class Facts(Struct, frozen=True, kw_only=True):
    """What is known of an exchange that has ended. `attempt`: the one that counts; `failed`: those before it.

    `bill`: what its client was told already, if anything. `left_at`: when the client did; 0: it has not.
    """

    opening: Opening
    outcome: Outcome
    attempt: EndedAttempt
    failed: Sequence[EndedAttempt]
    error: InfronError | None
    bill: Bill | None
    slow_reader: bool
    started: float
    ended: float
    left_at: float
    on_disconnect: str | None


class Settlements:
    """`listeners`: told in this order. `charge_failed`: the setting of this name."""

    def __init__(
        self, counter: Counter, prices: Prices, listeners: Sequence[SettlementListener], *, charge_failed: bool
    ) -> None:
        self._counter = counter
        self._prices = prices
        self._listeners = listeners
        self._charge_failed = charge_failed

    def bill(
        self, outcome: Outcome, meter: Meter, price: Price | None, *, slow_reader: bool = False, bills_on: bool = False
    ) -> Bill:
        """The bill of an attempt that ended so, by the rules of `billing.who_pays`, on the tier that was served."""
        if meter.served_tier is not None:
            price = self._prices.of(meter.candidate, meter.served_tier)
        last = meter.is_last
        bases = billing.who_pays(
            outcome,
            content_delivered=meter.delivered,
            fully_sent=meter.fully_sent,
            usage=meter.usage,
            counted=meter.counted,
            last=last,
            slow_reader=slow_reader,
            charge_failed=self._charge_failed,
            bills_on=bills_on,
        )
        reported = meter.reported_cost
        if reported is not None and (bases.cost is None or outcome not in WHOLE or not last):
            reported = None
        costs = billing.owed(bases.cost, price, reported)
        parts = costs if bases.charge is bases.cost else billing.owed(bases.charge, price)
        cost = None if costs is None else costs.total
        charge = cost if parts is costs else None if parts is None else parts.total
        if reported is not None:
            cost = reported
        elif bases.at_least:
            cost = None
        return Bill(usage=bases.usage, estimated=bases.estimated, price=price, cost=cost, charge=charge, parts=parts)

    def settle(self, facts: Facts) -> None:
        """Settle, once what has to be counted first is. To be called once for an exchange."""
        uncounted: list[Meter] = []
        if facts.failed:
            uncounted += [attempt.meter for attempt in facts.failed if attempt.meter.needs_count(_outcome_of(attempt))]
        if facts.bill is None and facts.attempt.meter.needs_count(facts.outcome):
            uncounted.append(facts.attempt.meter)
        if uncounted:
            self._counter.count(uncounted, partial(self._tell, facts))
        else:
            self._tell(facts)

    def _tell(self, facts: Facts) -> None:
        try:
            settlement = self._settlement(facts)
        except Exception:
            report_bug("making a settlement")
            settlement = _bare(facts)
        for listener in self._listeners:
            try:
                listener.settled(settlement)
            except Exception:
                report_bug("telling of a settlement")

    def _settlement(self, facts: Facts) -> Settlement:
        last, error = facts.attempt, facts.error
        meter, first = last.meter, last.first_content
        bill = facts.bill or self.bill(
            facts.outcome, meter, last.price, slow_reader=facts.slow_reader, bills_on=last.bills_on
        )
        settlement = Settlement(
            id=facts.opening.id,
            outcome=facts.outcome,
            key_id=facts.opening.key_id,
            model=facts.opening.model,
            provider=last.candidate.provider.id,
            provider_model=last.candidate.provider_model,
            bill=bill,
            finish_reason=meter.finish_reason,
            native_finish_reason=meter.native_finish_reason,
            upstream_id=last.upstream_id,
            latency_ms=(first - facts.started) * 1000 if first else None,
            generation_ms=(facts.ended - first) * 1000 if first else None,
            frames=meter.frames,
        )
        clamped = meter.clamped is not None
        if facts.failed or error or last.error or last.dropped or facts.on_disconnect or clamped:
            return self._with_mishaps(settlement, facts)
        return settlement

    def _with_mishaps(self, settlement: Settlement, facts: Facts) -> Settlement:
        """With what most exchanges have nothing of: failures, a client that left, what the provider could not take."""
        last, error = facts.attempt, None if facts.outcome in WHOLE else facts.error
        failed = facts.failed if last.error is None else (*facts.failed, last)
        closed = last.closed_at - facts.left_at if last.closed_at and facts.left_at else None
        return replace(
            settlement,
            error_type=error.error_type if error else None,
            # A provider's own words may repeat the prompt, so they are told to the caller and not kept.
            error=None if error is None else _kept(error),
            upstream_closed_ms=None if closed is None else max(0.0, closed * 1000),
            on_disconnect=facts.on_disconnect,
            attempts=tuple([self._failed(attempt, facts.started) for attempt in failed]),
            dropped=last.dropped,
            clamped=last.meter.clamped,
        )

    def _failed(self, attempt: EndedAttempt, began: float) -> FailedAttempt:
        assert attempt.error is not None
        outcome, meter = _outcome_of(attempt), attempt.meter
        bill = self.bill(outcome, meter, attempt.price, bills_on=attempt.bills_on)
        return FailedAttempt(
            provider=attempt.candidate.provider.id,
            provider_model=attempt.candidate.provider_model,
            status=attempt.error.status,
            error_type=attempt.error.error_type,
            started_ms=(attempt.started - began) * 1000,
            ended_ms=(attempt.ended - began) * 1000,
            prompt=bill.usage.prompt,
            completion=bill.usage.completion,
            cost=bill.cost,
        )


def _bare(facts: Facts) -> Settlement:
    """Of an exchange whose bill cannot be made: no money, which is not the same as none owed."""
    candidate = facts.attempt.candidate
    return Settlement(
        id=facts.opening.id,
        outcome=facts.outcome,
        provider=candidate.provider.id,
        provider_model=candidate.provider_model,
        bill=Bill(usage=Usage(), estimated=True, price=None),
        on_disconnect=facts.on_disconnect,
    )


def _outcome_of(attempt: EndedAttempt) -> Outcome:
    """How an attempt ended, were it the last."""
    return Outcome.TIMED_OUT if isinstance(attempt.error, ProviderTimeout) else Outcome.FAILED


def _kept(error: InfronError) -> str:
    if isinstance(error, ProviderError):
        return f"{error.provider or 'the provider'} answered with HTTP {error.status} ({error.error_type})."
    return error.message
