"""The provider's side of an exchange: its attempts, one after the other, and what their answers mean to its lifecycle.

It never knows how bytes reach a socket, nor what a wire looks like inside; the client is served by `delivery`.
"""

from __future__ import annotations

from typing import Any, Protocol

from infron.errors import InfronError, InternalError, ProviderTimeout
from infron.events import Done, Event, Failed, Onward
from infron.money import Price
from infron.policy import deadlines
from infron.policy.lifecycle import Input, Phase, State
from infron.policy.routing import Candidate
from infron.request import Request
from infron.runtime.exchange.answer import AnswerListener
from infron.runtime.exchange.attempt import Attempt, AttemptState
from infron.runtime.exchange.context import Context
from infron.runtime.exchange.delivery import Delivery
from infron.runtime.exchange.question import Question
from infron.runtime.telemetry.bugs import report_bug

# An enum's member costs as much as a call to look up: these are looked up for each read.
_STREAMING, _DRAINING, _EARLY = Phase.STREAMING, Phase.DRAINING, (Phase.OPENING, Phase.WAITING)
_ASKING, _COMPLETE = AttemptState.ASKING, AttemptState.COMPLETE
_CONTENT, _ENDED = Input.CONTENT, Input.ENDED


class Lifecycle(Protocol):
    """The exchange, as far as its attempts know it."""

    state: State

    def take(self, given: Input, error: InfronError | None = None, /) -> None:
        """Something has happened, for this reason."""

    def ask_by(self, due: float, /) -> None:
        """Something is due then, in loop time."""

    def said_again(self) -> None:
        """Something else than a comment went out after comments."""

    def drained(self, content: bool, /) -> bool:
        """More of an answer has come whose client left: whether it is read on."""

    def cut_drain(self, clause: str, /) -> None:
        """An answer whose client left is read no further, for this reason."""

    def end_unpaid(self, error: InfronError, /) -> None:
        """An answer has ended where its budget does, not where its model wanted it to."""


class Attempts:
    """`current`: the one at hand, the last of all. `failed`: those before it. What comes of those is nobody's.

    `straight`: the next frame of content goes out as it comes. `front`: hears what comes first, and passes it on.
    `unpaid`: why the answer at hand, which ends as if it were complete, is not.
    """

    front: AnswerListener[Attempt] | None = None
    unpaid: InfronError | None = None

    def __init__(
        self,
        context: Context,
        request: Request,
        candidates: tuple[Candidate, ...],
        price: Price | None,
        delivery: Delivery,
        exchange: Lifecycle,
    ) -> None:
        """`price`: of the first candidate."""
        self._context = context
        self._loop = context.loop
        self._request = request
        self._candidates = candidates
        self._delivery = delivery
        self._exchange: Lifecycle = exchange
        self.straight = False
        self.failed: list[Attempt] = []
        self.current = Attempt(context, request, candidates[0], price, self)

    # ---- one after the other

    def open(self) -> None:
        try:
            self.current.open()
        except InfronError as error:
            self.fail(error)
        except Exception:  # a bug in a wire ends this exchange alone, settled like any other
            report_bug("making a request")
            self.fail(InternalError("The gateway failed; its log says where."))

    @property
    def following(self) -> Candidate:
        """The next candidate. There is one where `fail` said so."""
        return self._candidates[len(self.failed) + 1]

    def open_next(self, request: Request | None = None) -> None:
        """Try the next candidate. `request`: what it is asked, where that is not the same."""
        self._go_to_next(request)
        self.open()

    def fail_next(self, error: InfronError) -> None:
        """The next candidate cannot be tried."""
        self._go_to_next(None)
        self.fail(error)

    def _go_to_next(self, request: Request | None) -> None:
        if request is not None:
            self._request = request
        following = self._made(self.following)
        self.failed.append(self.current)
        self.current = following

    def take_refusal(self, attempt: Attempt) -> None:
        """The same candidate once more. What is learned from it, is only if that is served."""
        if attempt is not self.current:
            return
        if self._exchange.state.phase is _DRAINING:  # nothing was begun for a client that has left, and nothing is
            self.fail(attempt.unavailable("refused the request"))
            return
        attempt.give_up(_unheard)
        self.current = self._made(attempt.candidate, attempt.ask_less())
        self.open()

    def _made(self, candidate: Candidate, question: Question | None = None) -> Attempt:
        price = self._context.prices.of(candidate, self._request.service_tier)
        attempt = Attempt(self._context, self._request, candidate, price, self.front or self, question)
        if self.current.paused:
            attempt.pause()
        return attempt

    # ---- what their answers say

    def take_events(self, attempt: Attempt, events: list[Event]) -> None:
        if attempt is not self.current:
            return
        delivery = self._delivery
        if self.straight and len(events) == 1:
            event: Any = events[0]
            if event.content:  # which only that has which a client is told of
                # The table's hot row, taken without asking it: (STREAMING, CONTENT) -> write.
                meter = attempt.meter
                meter.text.append(event.text)
                meter.frames += 1
                attempt.last_frame = delivery.last_write = self._loop.time()
                if delivery.comments:
                    self._exchange.said_again()
                delivery.responder.write(delivery.encoder.encode(event))
                return
        exchange, now = self._exchange, self._loop.time()
        phase = exchange.state.phase
        told, content, end = attempt.read(events, now)
        done = type(end) is Done
        well = done and attempt.ended_well
        if phase is _STREAMING and not done:  # the hot row once more, for several frames in one read
            self.straight = attempt.state is _ASKING
            if told:
                delivery.send(told, now)
                if delivery.comments:
                    exchange.said_again()
        elif phase is not _DRAINING:
            if told:
                if not delivery.take(told):
                    self.fail(attempt.unavailable("sent an answer that is too large to hold"))
                    return
                if delivery.full:
                    self._bound(attempt)
            if content and self._request.stream and not well:
                exchange.take(_CONTENT)
        if not done and (attempt.first_content == now or attempt.finished_at == now):
            self._look_after(attempt, now)
        if well:
            self._complete(attempt, reported=True)
        elif end is not None:
            self._take_end(attempt, end)
        elif attempt.told_end:
            if attempt.meter.is_reported:
                self._complete(attempt, reported=True)
        elif phase is _DRAINING:
            exchange.drained(content)

    def _take_end(self, attempt: Attempt, end: Done | Onward | Failed) -> None:
        """The answer is over here, though not well, or goes on in the answer to a further request."""
        if isinstance(end, Failed):
            if not attempt.first_content and attempt.is_without_stream(end.error.message):
                attempt.refuses_stream = True
                self._delivery.drop()
                self.take_refusal(attempt)
            else:
                self.fail(end.error)
        elif isinstance(end, Onward):
            attempt.release()
            if end.works and self._exchange.state.phase is _DRAINING:
                attempt.meter.fully_sent = True
                self._exchange.cut_drain("cut short: what is left was not asked for")
            elif self._exchange.state.phase is not _DRAINING or self._exchange.drained(False):
                attempt.go_on(end.request)
        elif not attempt.decoder.finished:
            self.fail(attempt.unavailable("ended the stream before the answer was finished"))
        elif not attempt.may_tell_usage:
            self._complete(attempt, reported=False)
        else:
            attempt.told_end = True
            self._exchange.ask_by(attempt.finished_at + deadlines.USAGE_WAIT_SECONDS)

    def _bound(self, attempt: Attempt) -> None:
        """Of frames without content the oldest are let go; what holds content waits, and so does the provider."""
        if not attempt.first_content:
            self._delivery.shed()
        elif not self._exchange.state.recorded:
            attempt.pause()

    def _look_after(self, attempt: Attempt, now: float) -> None:
        """Clocks begin with the first content, and with the finish reason."""
        if attempt.first_content == now:
            self._exchange.ask_by(now + self._context.config.timeouts.stall_seconds)
        if attempt.finished_at == now:
            self._exchange.ask_by(now + deadlines.USAGE_WAIT_SECONDS)

    # ---- how they end

    def end_here(self) -> None:
        """Nothing more is waited for: what its decoder kept until then is still told."""
        attempt = self.current
        if attempt.state is _COMPLETE:
            return
        rest = attempt.read_rest()
        if rest and self._exchange.state.phase is not _DRAINING:
            self._delivery.take(rest)
        self._complete(attempt, reported=attempt.meter.is_reported)

    def _complete(self, attempt: Attempt, *, reported: bool) -> None:
        """Its usage is the provider's or, where it never gives a whole one, counted first."""
        if attempt.state is _COMPLETE:
            return
        attempt.complete()
        if reported:
            self._ended()
        else:
            self._context.counter.count([attempt.meter], self._ended)

    def _ended(self) -> None:
        if self.unpaid is None:
            self._exchange.take(_ENDED)
        else:
            self._exchange.end_unpaid(self.unpaid)

    def take_loss(self, attempt: Attempt, error: InfronError) -> None:
        if attempt is self.current and attempt.finished_at:  # the answer was complete, only its end got lost
            self.end_here()
        else:
            self.take_failure(attempt, error)

    def take_failure(self, attempt: Attempt, error: InfronError) -> None:
        if attempt is self.current:
            self.fail(error)

    def fail(self, error: InfronError) -> None:
        """The attempt at hand has failed: on to the next, if there is one and nothing was told the client yet."""
        self.current.fail(error)
        early = self._exchange.state.phase in _EARLY
        if early and error.safe_to_retry and len(self.failed) + 1 < len(self._candidates):
            self._exchange.take(Input.FAILED_OVER, error)
        else:
            self._exchange.take(Input.TIMED_OUT if isinstance(error, ProviderTimeout) else Input.FAILED, error)

    def let_in_front(self, listener: AnswerListener[Attempt]) -> None:
        """It hears of this attempt and of all later ones what comes, and passes it on to here."""
        self.front = listener
        self.current.hear(listener)

    def let_go(self) -> None:
        """All have ended, and nobody asks any more."""
        self.front = None
        self.current.let_go()
        for attempt in self.failed:
            attempt.let_go()
        self._exchange = _SETTLED  # ends the circle of references, so that no collector has to find it


class _Settled:
    """What is left of an exchange once it is settled: nothing that comes changes anything."""

    state = State(Phase.SETTLED, True)

    def take(self, given: Input, error: InfronError | None = None, /) -> None: ...
    def ask_by(self, due: float, /) -> None: ...
    def said_again(self) -> None: ...
    def drained(self, content: bool, /) -> bool:
        return False

    def cut_drain(self, clause: str, /) -> None: ...
    def end_unpaid(self, error: InfronError, /) -> None: ...


_SETTLED = _Settled()


def _unheard(said: str) -> None:
    """How an attempt closed that nobody waits for."""
