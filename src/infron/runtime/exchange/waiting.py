"""A request with limits before it begins: it waits for the ledger to say whether it may, and then is an exchange.

It never decides anything itself, and never touches a provider.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from infron.errors import InfronError, LedgerUnavailable, ShuttingDown
from infron.policy.access import Key
from infron.policy.asked import Asked
from infron.policy.lifecycle import Input, State
from infron.policy.limit_answers import limit_headers, refusal_error
from infron.policy.limits import Ask, Granted, Refused
from infron.policy.routing import Candidate
from infron.policy.stop import Stop, error_of
from infron.records import Opening, Progress
from infron.request import Request
from infron.runtime.exchange.allowance import Allowance
from infron.runtime.exchange.context import AT_ONCE, Context
from infron.runtime.exchange.delivery import Responder
from infron.runtime.exchange.exchange import Exchange
from infron.runtime.exchange.sizing import Size, paid_for, roughly, size_of
from infron.runtime.ledger.limited import day_of
from infron.runtime.ledger.verdict import Unavailable

_AWAY = "The ledger cannot be written, so nothing can be billed; try again later."


class Waiting:
    """It holds the exchange's place at its client, in the registry and at the clock."""

    bucket = 0
    _gone = ""  # why its client is not there any more
    _over = False  # nothing is waited for any longer
    _abandon: Callable[[], None] | None = None  # once the ledger is asked
    _size: Size

    def __init__(
        self,
        context: Context,
        request: Request,
        opening: Opening,
        candidates: tuple[Candidate, ...],
        responder: Responder,
        asked: Asked,
        key: Key,
        refused: Callable[[Refused], None],
    ) -> None:
        """`refused`: is told of a refusal, that others may know."""
        self.id = opening.id
        self._context = context
        self._request = request
        self._opening = opening
        self._candidates = candidates
        self._responder = responder
        self._asked = asked
        self._counts_money = key.limited_money
        self._refused = refused
        self._hand_over: Callable[[Exchange], None]
        self._refuse: Callable[[InfronError], None]

    def begin(self, hand_over: Callable[[Exchange], None], refuse: Callable[[InfronError], None]) -> None:
        """Ask the ledger; then the client is handed over to the exchange, or refused."""
        self._hand_over, self._refuse = hand_over, refuse
        context, request = self._context, self._request
        context.clock.add(self, context.loop.time() + context.config.ledger.timeout_seconds)
        if not self._counts_money:
            self._ask(roughly(request))
            return
        each, catalog = context.config.limits.media_tokens, context.providers.catalog
        size = partial(size_of, request, self._candidates[0], self._opening.price, catalog, each)
        if request.size <= AT_ONCE:
            self._ask(size())
        else:
            context.counter.run(size, self._counted)

    def _counted(self, size: Size | None) -> None:
        if self._over:
            return
        if self._gone or size is None:  # nobody asks, or the process must end
            self._turn_away(ShuttingDown("The gateway is shutting down.", retry_after=5))
        else:
            self._ask(size)

    def _ask(self, size: Size) -> None:
        self._size = size
        day = day_of(self._opening.created_at)
        ask = Ask(day=day, least=size.hold.least, most=size.hold.most, tokens=size.tokens)
        self._abandon = self._context.ledger.admit(self._opening, ask, self._answered)

    def _answered(self, verdict: Granted | Refused | Unavailable) -> None:
        if self._over:  # it was settled without an answer
            return
        if isinstance(verdict, Refused):
            self._refused(verdict)
            self._tell(verdict)
            self._turn_away(refusal_error(verdict, time.time()))
            return
        self._leave()
        if isinstance(verdict, Granted):
            self._tell(verdict)
            size, price = self._size, self._opening.price
            exchange = self._exchange(paid_for(self._request, size, verdict.hold, price))
            if not self._gone:
                exchange.hold, exchange.state = verdict.hold, State(recorded=True)
                if self._counts_money:
                    exchange.pay(Allowance(self._context, exchange, self._request, size, price, verdict.short))
                exchange.begin()
        else:
            self._exchange(self._request).take(Input.UNRECORDED, LedgerUnavailable(_AWAY))

    def _tell(self, verdict: Granted | Refused) -> None:
        self._responder.headers = limit_headers(verdict, ietf=self._context.config.limits.ietf_headers)

    def _exchange(self, request: Request) -> Exchange:
        exchange = Exchange(self._context, request, self._opening, self._candidates, self._responder, self._asked)
        self._context.registry.add(exchange)
        if self._gone:  # it never begins
            exchange.departure.at, exchange.departure.said = self._context.loop.time(), self._gone
            exchange.take(Input.GONE)
        else:
            self._hand_over(exchange)
        return exchange

    def _leave(self) -> None:
        """Nothing is waited for any more."""
        self._over = True
        if self._abandon is not None:
            self._abandon()
        self._context.clock.remove(self)

    def _turn_away(self, error: InfronError) -> None:
        """It never was: nothing is recorded of it."""
        self._leave()
        self._context.registry.remove(self.id)
        if not self._gone:
            self._refuse(error)

    def fail(self, error: InfronError) -> None:
        """It is not to begin, for this reason. Where the ledger may have granted it, it is settled."""
        if self._over:
            return
        if self._abandon is None:
            self._turn_away(error)
        else:
            self._leave()
            self._exchange(self._request).take(Input.UNRECORDED, error)

    def tick(self, now: float) -> float:
        """The ledger has not answered in time."""
        self.fail(LedgerUnavailable(_AWAY))
        return 0.0

    # ---- the client's side

    def client_gone(self, why: str = "") -> None:
        self._gone = self._gone or f"{why}cancel: the request had not been sent to a provider"

    def client_paused(self) -> None:
        """Nothing is being sent yet."""

    def client_resumed(self) -> None: ...

    # ---- the registry's

    def reported_tokens(self) -> int | None:
        return None

    def progress(self) -> Progress:
        return Progress(id=self.id, tokens=0, frames=0, latency_ms=None)

    @property
    def key_id(self) -> str | None:
        return self._opening.key_id

    def stop(self, stop: Stop) -> None:
        """Somebody who may stops it."""
        if self._abandon is None:
            self.fail(error_of(stop))
        elif not self._over:
            self._leave()
            self._exchange(self._request).stop(stop)

    def shut_down(self) -> None:
        self.fail(ShuttingDown("The gateway is shutting down.", retry_after=5))

    def settle_now(self) -> None: ...
