"""One exchange, from its request to its settlement: it runs the table of `policy.lifecycle` on callbacks.

It never knows how bytes reach a socket (`server`, `upstream`), nor what a wire looks like inside.
"""

from __future__ import annotations

from infron.errors import InfronError, InternalError, LedgerUnavailable, ShuttingDown
from infron.policy import deadlines
from infron.policy.asked import Asked
from infron.policy.deadlines import Due, Moments
from infron.policy.lifecycle import Action, Input, Phase, Settle, State, step
from infron.policy.routing import Candidate
from infron.policy.stop import SENTENCES, Stop, error_of
from infron.records import Bill, Opening, Outcome, Progress
from infron.request import Request
from infron.runtime.exchange.allowance import Allowance
from infron.runtime.exchange.attempt import AttemptState
from infron.runtime.exchange.attempts import Attempts
from infron.runtime.exchange.context import Context
from infron.runtime.exchange.delivery import Delivery, Responder
from infron.runtime.exchange.departure import OVER, Departure
from infron.runtime.exchange.pace import Pace
from infron.runtime.exchange.settlement import Facts
from infron.runtime.ledger.ledger import DrainCaps, Recorded, Refused, Unavailable, Verdict
from infron.runtime.telemetry.bugs import report_bug

# An enum's member costs as much as a call to look up: these are looked up for each exchange.
_STREAMING, _SETTLED, _RECORDED, _CLOSING = Phase.STREAMING, Phase.SETTLED, Input.RECORDED, AttemptState.CLOSING
_ASKING, _COMPLETED = AttemptState.ASKING, Outcome.COMPLETED


class Exchange:
    """One request and all that is done for it until it is settled.

    `error`: why it ended, or will. Moments are seconds of the loop's clock; 0: it has not come yet. `hold`: picodollars
    that the ledger has set aside for it; `allowance`: watches that, where somebody pays from a budget.
    """

    bucket = 0
    hold = 0
    outcome: Outcome | None = None
    error: InfronError | None = None
    allowance: Allowance | None = None
    _bill: Bill | None = None
    _settled = False
    _ended = 0.0

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
        self.request = request
        self.state = _FIRST
        self._context = context
        self._loop = context.loop
        self._opening = opening
        self._started = now = context.loop.time()
        self.pace = Pace()
        self._asked = asked
        self.departure = Departure()
        self.delivery = Delivery(request, opening.id, int(opening.created_at), responder, now)
        self.attempts = Attempts(context, request, candidates, opening.price, self.delivery, self)

    def begin(self) -> None:
        """Write the ledger's row, if it is not, and try the first candidate. Everything later comes in by callbacks."""
        if not self.state.recorded:
            self._context.ledger.open(self._opening, self._recorded)
        self.attempts.open()
        if self.state.phase is not _SETTLED:
            self._context.clock.add(self, self._started + self._context.first_look)

    def _recorded(self, verdict: Verdict) -> None:
        if isinstance(verdict, Recorded):
            self.take(_RECORDED)
        else:
            self.take(Input.UNRECORDED, _unrecorded(verdict))
        if not self.pace.paused_at and self.attempts.current.paused:
            self._read_on()

    def fail(self, error: InfronError) -> None:
        """A failure of ours."""
        self.attempts.fail(error)

    @property
    def key_id(self) -> str | None:
        return self._opening.key_id

    def reported_tokens(self) -> int | None:
        usage = self.attempts.current.meter.usage
        return None if usage is None else usage.completion

    def progress(self) -> Progress:
        attempt = self.attempts.current
        first, meter = attempt.first_content, attempt.meter
        return Progress(
            id=self.id,
            tokens=meter.tokens_so_far(),
            frames=meter.frames,
            latency_ms=(first - self._started) * 1000 if first else None,
        )

    # ---- the client's side

    def _watched(self) -> bool:
        """Whether a client is still there for whom this goes on."""
        return self.state.phase not in (_SETTLED, Phase.DRAINING)

    def client_gone(self, why: str = "") -> None:
        """The client's connection is gone, or its reader is taken for gone."""
        if not self._watched():
            return
        self.client_resumed()
        self._prepare_departure()
        drains = self.departure.leave(self._loop.time(), self.attempts.current, why)
        self.take(Input.GONE_DRAIN if drains else Input.GONE)
        self._drain()

    def stop(self, stop: Stop, error: InfronError | None = None) -> None:
        """Somebody who may stops it, or it cannot be paid. What is complete is told to its end all the same."""
        watched, attempt = self._watched(), self.attempts.current
        over = attempt.state is AttemptState.COMPLETE if error else attempt.state in OVER
        if self.state.phase is _SETTLED or over or self.departure.stopped:
            return
        if watched:
            self.client_resumed()
            self._prepare_departure()
        drains = self.departure.stop(self._loop.time(), attempt, SENTENCES[stop])
        self.take(Input.STOPPED_DRAIN if drains else Input.STOPPED, error or error_of(stop))
        if watched:
            self._drain()

    def pay(self, allowance: Allowance) -> None:
        """It is paid from a budget."""
        self.allowance = allowance
        self.attempts.let_in_front(allowance)

    def end_unpaid(self, error: InfronError) -> None:
        """An answer has ended where its budget does. Its provider has told all of it, so that is what is owed."""
        if not self._watched():
            self.take(Input.ENDED)
            return
        attempt = self.attempts.current
        if attempt.first_content:  # all of it may have come at once
            self.take(Input.CONTENT)
        self._bill = self._context.settlements.bill(_COMPLETED, attempt.meter, attempt.price)
        self.take(Input.STOPPED, error)

    def _prepare_departure(self) -> None:
        override = self._context.config.billing.allow_cancel_override
        self.departure.prepare(self._asked.on_disconnect, streams=self.request.stream, allow_override=override)

    def _drain(self) -> None:
        """Nobody reads the answer any more: where it is read on, for so long, and if the caps allow it."""
        if self.state.phase is Phase.DRAINING:
            self.delivery.drop()
            self.ask_by(self.departure.at + self._context.config.drain.seconds)
            if not self.departure.over:
                self._claim_drain()

    def _claim_drain(self) -> None:
        drain = self._context.config.drain
        caps = DrainCaps(in_all=drain.max_concurrent, of_key=drain.max_per_key)
        self._context.ledger.claim_drain(self.id, caps, self._drain_claimed)

    def _drain_claimed(self, verdict: Verdict) -> None:
        if isinstance(verdict, Refused):
            self.cut_drain(f"cut short: {verdict.reason}")

    def cut_drain(self, clause: str) -> None:
        if self.state.phase is Phase.DRAINING:
            self.departure.add(clause)
            self.take(Input.DEADLINE)

    def drained(self, content: bool) -> bool:
        """More of an answer has come whose client left: whether it is read on."""
        departure, attempt = self.departure, self.attempts.current
        if departure.over and content:
            if departure.reconsider(attempt):
                self._claim_drain()
            else:
                self.take(Input.DEADLINE)
        elif departure.can_stop(attempt):
            self.cut_drain("then told to stop")
        return self.state.phase is not _SETTLED

    def client_paused(self) -> None:
        """The client takes no more for now: neither do we from the provider."""
        if self.pace.paused_at or not self._watched():
            return
        now = self._loop.time()
        self.pace.pause(now, self.delivery.responder.unsent())
        self.attempts.current.pause()
        self._context.clock.add(self, deadlines.next_due(self._clocks(), now))

    def client_resumed(self) -> None:
        if self.pace.paused_at:
            self.delivery.last_write += self.pace.resume(self._loop.time())
            self._read_on()

    def _read_on(self) -> None:
        """What stood still goes on, with what was left."""
        self.attempts.current.resume()
        self.ask_by(deadlines.next_due(self._clocks(), self._loop.time()))

    # ---- clocks

    def shut_down(self) -> None:
        """The process must end: so must this exchange, settled. One that waits for its count alone is complete."""
        if self.attempts.current.state is not AttemptState.COMPLETE:
            self.take(Input.DEADLINE, self.error or ShuttingDown("The gateway is shutting down.", retry_after=5))

    def settle_now(self) -> None:
        """It was shut down, and nothing is waited for any longer: it is settled with what is known."""
        if self.attempts.current.state is _CLOSING:
            self._closed(self.attempts.current.close())

    def ask_by(self, due: float) -> None:
        """Something may be due at `due`, earlier than the clock was told. Being asked in vain does no harm."""
        self._context.clock.hasten(self, due)

    def tick(self, now: float) -> float:
        kind = None if self.state.phase is _SETTLED else deadlines.due(self._clocks(), now)
        if kind is not None:
            self._do(kind, now)
        return 0.0 if self.state.phase is _SETTLED else deadlines.next_due(self._clocks(), now)

    def _clocks(self) -> list[tuple[Due, float]]:
        return deadlines.running(_moments_of(self), self._context.config)

    def _do(self, kind: Due, now: float) -> None:
        config, provider = self._context.config, self.attempts.current.candidate.provider
        match kind:
            case Due.END:
                self.attempts.end_here()
            case Due.DRAIN_OVER:
                self.cut_drain(f"cut short after {config.drain.seconds:g} s")
            case Due.TOTAL_OVER:
                self.take(Input.DEADLINE, deadlines.overdue(kind, config.timeouts, provider))
            case Due.READER:
                self._look_at_reader(now)
            case Due.FIRST_TOKEN | Due.STALL:
                if self.attempts.current.state is not AttemptState.FAILED:  # it is to be paid for before the next one
                    self.attempts.fail(deadlines.overdue(kind, config.timeouts, provider))
            case Due.COMMENT:
                self.take(Input.KEEP_ALIVE)

    def _look_at_reader(self, now: float) -> None:
        stall, responder = self._context.config.timeouts.client_stall_seconds, self.delivery.responder
        idle = self.pace.look(now, responder.unsent())
        if stall and idle >= stall:
            self.client_gone(f"the client took no byte for {stall:g} s; ")
            self.delivery.hang_up()

    # ---- the table, run

    def take(self, given: Input, error: InfronError | None = None) -> None:
        """Something has happened; `error`: why, where it is a failure."""
        if error is not None and self.state.phase is not _SETTLED:
            self.error = error
        self.state, actions = step(self.state, given)
        for action in actions:
            if type(action) is Settle:
                self._settle(action.outcome)
                continue
            try:
                _DEEDS[action](self)
            except Exception:
                report_bug(f"running an exchange ({action.name.lower()})")
                if action is Action.ABORT:
                    self.attempts.current.close()
                else:
                    self._break_off(action, actions[-1])
                    break
        self.attempts.straight = self.state.phase is _STREAMING and self.attempts.current.state is _ASKING

    def _break_off(self, action: Action, last: Action | Settle) -> None:
        """An action has raised, which is a bug of ours: the exchange ends here, and is settled like any other."""
        bug = InternalError("The gateway failed; its log says where.")
        if action is Action.HEAD:  # how much of it went out is not known
            self.delivery.hang_up()
        if not isinstance(last, Settle):
            if self.state.phase is Phase.DRAINING:  # it was to be the last that its client is told
                self.delivery.break_off(bug)
            self.attempts.fail(bug)
            return
        self.delivery.break_off(bug)
        complete = last.outcome is _COMPLETED  # which it is not for its client
        self._bill, self.error = None, bug if complete else self.error
        self._settle(Outcome.FAILED if complete else last.outcome)

    def said_again(self) -> None:
        """Something else than a comment goes out: the next silence is a new one."""
        self.delivery.comments = 0
        self.ask_by(self.delivery.last_write + self._context.config.keepalive.first_seconds)

    def _closed(self, said: str) -> None:
        """The connection to the provider is closed, or it was told to stop."""
        if said:
            self.departure.add(said)
        self._settle_when_closed()

    def _settle(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self._ended = self._loop.time()
        self._context.clock.remove(self)
        self.delivery.held.clear()
        self._settle_when_closed()

    def _settle_when_closed(self) -> None:
        attempts = self.attempts
        if self.outcome is None or self._settled or attempts.current.state is _CLOSING:
            return
        self._settled = True
        facts = _facts_of(self, self.outcome)
        attempts.let_go()
        self._context.settlements.settle(facts)


def _moments_of(x: Exchange) -> Moments:
    attempt, delivery, pace = x.attempts.current, x.delivery, x.pace
    return Moments(
        phase=x.state.phase,
        kept_alive=x.request.stream or x._asked.signs_of_life(x._context.config.keepalive.whole),
        complete=attempt.state is AttemptState.COMPLETE,
        comments=delivery.comments,
        started=x._started,
        attempt_started=attempt.started,
        first_content=attempt.first_content,
        last_frame=attempt.last_frame,
        last_write=delivery.last_write,
        finished_at=attempt.finished_at,
        paused_at=pace.paused_at,
        looked_at=pace.looked_at,
        drain_started=x.departure.at,
        unread=attempt.paused,
    )


def _facts_of(x: Exchange, outcome: Outcome) -> Facts:
    """Of one that has ended so."""
    attempts, departure = x.attempts, x.departure
    return Facts(
        opening=x._opening,
        outcome=outcome,
        attempt=attempts.current,
        failed=attempts.failed,
        error=x.error,
        bill=x._bill,
        slow_reader=outcome is Outcome.FAILED and x.pace.kept_waiting(x._ended),
        started=x._started,
        ended=x._ended,
        left_at=departure.at,
        on_disconnect=departure.said,
    )


# ---- what the actions of the table come to


def _drop(x: Exchange) -> None:
    x.delivery.drop()


def _head(x: Exchange) -> None:
    x.delivery.start()


def _write(x: Exchange) -> None:
    x.delivery.write(x._loop.time())
    if x.delivery.comments:
        x.said_again()


def _comment(x: Exchange) -> None:
    x.delivery.comment(x._loop.time())
    x._context.metrics.comments.inc()


def _finish(x: Exchange) -> None:
    attempt, now = x.attempts.current, x._loop.time()
    meter, provider = attempt.meter, attempt.candidate.provider.id
    x._bill = x._context.settlements.bill(_COMPLETED, meter, attempt.price)
    x.delivery.finish(x._bill, meter.raw, provider, attempt.first_content, now)
    if (kept := x.delivery.kept) is not None:
        x._context.memory.keep(x._opening.key_id, x.id, kept, x.request)


def _answer(x: Exchange) -> None:
    assert x.error is not None
    x.delivery.answer(x.error)


def _frame(x: Exchange) -> None:
    assert x.error is not None
    # What was delivered to us before the failure is the reader's too, unless nobody could bill it.
    held = x.state.recorded and x.attempts.current.first_content > 0
    x.delivery.fail(x.error, with_held=held)


def _abort(x: Exchange) -> None:
    x.attempts.current.give_up(x._closed)


def _open_next(x: Exchange) -> None:
    x.error = None
    if x.allowance is None:
        x.attempts.open_next()
    else:
        x.allowance.pay_for_next()


def _unrecorded(verdict: Refused | Unavailable) -> InfronError:
    if isinstance(verdict, Refused):
        return InternalError(f"The ledger does not take this: {verdict.reason}.")
    return LedgerUnavailable("The ledger cannot be written, so nothing can be billed; try again later.")


_FIRST = State()
_DEEDS = {
    Action.HOLD: lambda _: None,  # it is held already, bounded by the provider's own pace until the row is durable
    Action.DROP: _drop,
    Action.HEAD: _head,
    Action.WRITE: _write,
    Action.COMMENT: _comment,
    Action.FINISH: _finish,
    Action.ANSWER: _answer,
    Action.FRAME: _frame,
    Action.ABORT: _abort,
    Action.OPEN_NEXT: _open_next,
}
