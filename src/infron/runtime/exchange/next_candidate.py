"""Pays for the next candidate before it is tried: it may be dearer than the one that failed, or not be stopped at will.

It never knows how a candidate is asked. That one cannot be paid is its failure: another may be cheaper.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from infron.errors import InfronError, InternalError, LedgerUnavailable, PaymentRequired, ShuttingDown
from infron.money import Price
from infron.policy.lifecycle import Phase, State
from infron.policy.limit_answers import refusal_error
from infron.policy.limits import Refused
from infron.policy.routing import Candidate
from infron.request import Request
from infron.runtime.exchange.attempts import Attempts
from infron.runtime.exchange.context import AT_ONCE, Context
from infron.runtime.exchange.sizing import Size, paid_for, size_of
from infron.runtime.ledger.verdict import Unavailable

AWAY = "The ledger cannot be written, so no more of the budget can be set aside for this answer."
EXHAUSTED = "budget_exhausted"


class Trying(Protocol):
    """The exchange. `hold`: picodollars that are set aside for it."""

    id: str
    state: State
    attempts: Attempts
    hold: int


class NextCandidate:
    """`begin` is told what it comes to, before it is asked."""

    bucket = 0

    def __init__(
        self,
        context: Context,
        trying: Trying,
        request: Request,
        begin: Callable[[Candidate, Size, Price | None, Request, Refused | None], None],
    ) -> None:
        """`request`: as its caller made it."""
        self._context, self._trying, self._request, self._begin = context, trying, request, begin
        self._candidate = trying.attempts.following
        self._price = context.prices.of(self._candidate, request.service_tier)
        self._waits = True
        context.clock.add(self, context.loop.time() + context.config.ledger.timeout_seconds)
        each, catalog = context.config.limits.media_tokens, context.providers.catalog
        size = partial(size_of, request, self._candidate, self._price, catalog, each)
        if request.size <= AT_ONCE:
            self._sized(size())
        else:
            context.counter.run(size, self._sized)

    def _sized(self, size: Size | None) -> None:
        if size is None:
            self._fail(ShuttingDown("The gateway is shutting down.", retry_after=5))
            return
        more = size.hold.most - self._trying.hold
        if more <= 0:
            self._paid(size, 0)
        else:
            self._context.ledger.extend(self._trying.id, more, partial(self._paid, size))

    def _paid(self, size: Size, verdict: int | Refused | Unavailable) -> None:
        trying = self._trying
        if isinstance(verdict, int):
            trying.hold += verdict
        if isinstance(verdict, Unavailable):
            self._fail(LedgerUnavailable(AWAY))
        elif trying.hold < size.hold.least:
            self._fail(unpaid(verdict if isinstance(verdict, Refused) else None))
        elif self._goes_on():
            asked = paid_for(self._request, size, trying.hold, self._price)
            self._begin(self._candidate, size, self._price, asked, verdict if isinstance(verdict, Refused) else None)
            trying.attempts.open_next(asked)

    def _fail(self, error: InfronError) -> None:
        if self._goes_on():
            self._trying.attempts.fail_next(error)

    def _goes_on(self) -> bool:
        """Nothing is waited for any more: whether it is still wanted."""
        self._context.clock.remove(self)
        if not self._waits or self._trying.state.phase is Phase.SETTLED:
            return False
        self._waits = False
        if self._trying.state.phase is not Phase.DRAINING:
            return True
        attempts = self._trying.attempts  # its client has left: none is tried any more
        attempts.fail(attempts.current.error or InternalError("The attempt before has failed."))
        return False

    def tick(self, now: float) -> float:
        """The ledger has not answered in time."""
        self._fail(LedgerUnavailable(AWAY))
        return 0.0


def unpaid(short: Refused | None) -> PaymentRequired:
    """There is no more in the budget. `short`: whose it is, if that is known."""
    told = None if short is None else refusal_error(short, time.time())
    if isinstance(told, PaymentRequired):
        error = told
    else:
        what = "The budget of this API key is used up."
        error = PaymentRequired(what, reason=EXHAUSTED, holder=None, period=None, resets_at=None)
    error.safe_to_retry = True  # another candidate may be cheaper
    return error
