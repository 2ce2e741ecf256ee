"""A request with limits before it begins: it waits for the ledger to say whether it may, and then is an exchange.

It never decides anything itself, and never touches a provider.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from infron.errors import InfronError, LedgerUnavailable, ShuttingDown
from infron.policy.asked import Asked
from infron.policy.lifecycle import Input, State
from infron.policy.limit_answers import limit_headers, refusal_error
from infron.policy.limits import Ask, Granted, Refused
from infron.policy.routing import Candidate
from infron.policy.stop import Stop, error_of
from infron.records import Opening, Progress
from infron.request import Request
from infron.runtime.exchange.context import Context
from infron.runtime.exchange.delivery import Responder
from infron.runtime.exchange.exchange import Exchange
from infron.runtime.ledger.limited import day_of
from infron.runtime.ledger.verdict import Unavailable

_AWAY = "The ledger cannot be written, so nothing can be billed; try again later."


class Waiting:
    """It holds the exchange's place at its client, in the registry and at the clock."""

    bucket = 0

    def __init__(
        self,
        context: Context,
        request: Request,
        opening: Opening,
        candidates: tuple[Candidate, ...],
        responder: Responder,
        asked: Asked,
    ) -> None:
        self.id = opening.id
        self._context = context
        self._opening = opening
        self._responder = responder
        self._made = partial(Exchange, context, request, opening, candidates, responder, asked)
        self._hand_over: Callable[[Exchange], None]
        self._refuse: Callable[[InfronError], None]
        self._abandon: Callable[[], None] | None = None
        self._gone = ""

    def begin(self, hand_over: Callable[[Exchange], None], refuse: Callable[[InfronError], None]) -> None:
        """Ask the ledger; then the client is handed over to the exchange, or refused."""
        self._hand_over, self._refuse = hand_over, refuse
        ask = Ask(day=day_of(self._opening.created_at))
        self._abandon = self._context.ledger.admit(self._opening, ask, self._answered)
        self._context.clock.add(self, self._context.loop.time() + self._context.config.ledger.timeout_seconds)

    def _answered(self, verdict: Granted | Refused | Unavailable) -> None:
        if self._abandon is None:  # nobody waits any more: it was settled without an answer
            return
        self._leave()
        if isinstance(verdict, Refused):
            self._context.registry.remove(self.id)
            if not self._gone:
                self._responder.headers = limit_headers(verdict)
                self._refuse(refusal_error(verdict, time.time()))
        elif isinstance(verdict, Granted):
            self._begin(verdict)
        else:
            self._end(LedgerUnavailable(_AWAY))

    def _begin(self, granted: Granted) -> None:
        self._responder.headers = limit_headers(granted)
        exchange = self._exchange()
        if not self._gone:
            exchange.hold, exchange.state = granted.hold, State(recorded=True)
            exchange.begin()

    def _end(self, error: InfronError) -> None:
        """No row is known to be there: it is settled as any exchange that could not be recorded."""
        self._exchange().take(Input.UNRECORDED, error)

    def _exchange(self) -> Exchange:
        exchange = self._made()
        self._context.registry.add(exchange)
        if self._gone:  # it never begins
            exchange.departure.at, exchange.departure.said = self._context.loop.time(), self._gone
            exchange.take(Input.GONE)
        else:
            self._hand_over(exchange)
        return exchange

    def _leave(self) -> None:
        """Nothing is waited for any more."""
        if self._abandon is not None:
            self._abandon()
            self._abandon = None
        self._context.clock.remove(self)

    def fail(self, error: InfronError) -> None:
        """A failure of ours."""
        self._leave()
        self._end(error)

    def tick(self, now: float) -> float:
        """The ledger has not answered in time."""
        self._leave()
        self._end(LedgerUnavailable(_AWAY))
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
        if self._abandon is not None:
            self.fail(error_of(stop))

    def shut_down(self) -> None:
        if self._abandon is not None:
            self._leave()
            self._end(ShuttingDown("The gateway is shutting down.", retry_after=5))

    def settle_now(self) -> None: ...
