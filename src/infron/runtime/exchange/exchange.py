"""One exchange: the only code that moves the bytes of a stream. It runs the table of `policy.exchange` on callbacks.

It never knows how bytes reach a socket (`server`, `upstream`), nor what a wire looks like inside.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from infron.errors import (
    DeadlineExceeded,
    InfronError,
    InternalError,
    LedgerUnavailable,
    ProviderTimeout,
    ProviderUnavailable,
    ShuttingDown,
)
from infron.events import (
    AnyClientEvent,
    Billed,
    ClientEvent,
    Done,
    Event,
    Failed,
    Finished,
    Onward,
    UsageReported,
    Verbatim,
)
from infron.money import Usage
from infron.policy import deadlines
from infron.policy.deadlines import Due
from infron.policy.disconnect import Disconnect, on_disconnect
from infron.policy.lifecycle import Action, Input, Phase, Settle, State, step
from infron.policy.routing import Candidate
from infron.records import FailedAttempt, Opening, Outcome
from infron.request import Outgoing, Request
from infron.runtime.exchange.route import Route
from infron.runtime.exchange.settlement import Bill, Meter
from infron.wires import CLIENT_WIRES
from infron.wires.contract import Accumulator, ClientWire

if TYPE_CHECKING:
    from infron.runtime.exchange.relay import Relay

MAX_HELD_BYTES = 256 << 10  # frames without content, and content that waits for the ledger
MAX_ACCUMULATED_BYTES = 64 << 20


class Responder(Protocol):
    """Where the answer goes; the server's side of a request."""

    def start(self, id: str) -> None:
        """The head of a stream, with the exchange's id in it."""

    def write(self, data: bytes) -> None: ...
    def finish(self, data: bytes) -> None: ...
    def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None: ...
    def unsent(self) -> int:
        """Bytes that the client has not taken yet."""

    def hang_up(self) -> None:
        """Close the connection; what the client has not taken yet is lost."""


def new_id(now: float, random: int) -> str:
    """`gen-<unix seconds>-<20 hexadecimal digits>`: 3 for the part of the second, 17 random ones (`random`: 68 bits).

    So ids are in the order of their time, and the ledger's index grows at its end: random ones would touch a page of it
    each.
    """
    seconds = int(now)
    return f"gen-{seconds}-{int((now - seconds) * 4096):03x}{random:017x}"


class Exchange:
    """One request and all that is done for it until it is settled. It takes what the readings of its attempts give."""

    bucket = 0
    bill: Bill | None = None
    outcome: Outcome | None = None
    error: InfronError | None = None
    accumulator: Accumulator | None = None
    leaving: str | None = None
    stop_asked = False  # the client left: the provider is to be told to stop as soon as that is possible
    accumulated = 0
    held_bytes = 0
    comments = 0
    unsent = 0
    ending = False
    slow_reader = False
    # Moments, in seconds of the loop's clock; 0: it has not come yet.
    ended = 0.0
    finished_at = 0.0
    first_content = 0.0
    paused_at = 0.0
    looked_at = 0.0
    taken_at = 0.0
    drain_started = 0.0
    left_at = 0.0
    closed_at = 0.0

    def __init__(
        self,
        relay: Relay,
        request: Request,
        key_id: str | None,
        candidates: tuple[Candidate, ...],
        responder: Responder,
        asked: str | None,
    ) -> None:
        self.relay = relay
        self.request = request
        self.key_id = key_id
        self.route = Route(relay, request, candidates, self)
        self.responder = responder
        self.asked = asked
        self.state = _FIRST
        self.created_at = time.time()
        self.id = new_id(self.created_at, relay.random.getrandbits(68))
        self.api = CLIENT_WIRES[request.api]
        self.encoder = self.api.Encoder(self.id, int(self.created_at), request.model)
        if not request.stream:
            self.accumulator = self.api.Accumulator()
        self.meter = Meter(request)
        self.attempts: list[FailedAttempt] = []
        self.held: list[bytes] = []
        self.started = self.attempt_started = self.last_frame = self.last_write = relay.loop.time()

    # ---- begin

    def begin(self) -> None:
        """Write the ledger's row and try the first candidate. Everything later comes in by callbacks."""
        route, request = self.route, self.request
        self.relay.ledger.open(
            Opening(
                id=self.id,
                key_id=self.key_id,
                model=request.model,
                provider=route.candidate.provider.id,
                provider_model=route.candidate.provider_model,
                streamed=request.stream,
                created_at=self.created_at,
                price=route.price,
                user=request.user,
                session_id=request.session_id,
            ),
            self._recorded,
        )
        self._open(route.open)
        if self.state.phase is not Phase.SETTLED:
            self.relay.clock.add(self, self.started + self.relay.first_look)

    def _recorded(self, durable: bool) -> None:
        if not durable and self.state.phase is not Phase.SETTLED:
            self.error = LedgerUnavailable("The ledger cannot be written, so nothing can be billed; try again later.")
        self._take(Input.RECORDED if durable else Input.UNRECORDED)
        if not self.paused_at:
            self.route.resume()

    def _open_next(self) -> None:
        self.error = None
        self.route.go_to_next()
        self._open_again(self.route.open)

    def _open_again(self, send: Callable[[], None]) -> None:
        self.attempt_started = self.last_frame = self.relay.loop.time()
        self._open(send)

    def _open(self, send: Callable[[], None]) -> None:
        self.finished_at, self.ending = 0.0, False
        candidate = self.route.candidate
        self.meter.begin_attempt(candidate.provider, candidate.provider_model)
        try:
            send()
        except InfronError as error:
            self.take_failure(error)
        except Exception:  # a bug in a wire ends this exchange alone, settled like any other
            self.relay.report_bug("making a request")
            self.take_failure(InternalError("The gateway failed; its log says where."))

    # ---- the provider's side

    def attempt_over(self) -> None:
        self.route.attempt_over()

    def take_loss(self, error: InfronError) -> None:
        if self.finished_at:  # the answer was complete, only its end got lost
            self._end()
        else:
            self.take_failure(error)

    def take_refusal(self) -> None:
        """The same candidate once more, without asking for usage."""
        self._open_again(self.route.open_without_usage)

    def take_events(self, events: list[Event]) -> None:
        streaming = self.state.phase is Phase.STREAMING and self.accumulator is None
        if streaming and len(events) == 1 and not self.finished_at:
            event = events[0]
            if isinstance(event, ClientEvent) and event.content:
                # The table's hot row, taken without asking it: (STREAMING, CONTENT) -> write.
                meter = self.meter
                meter.text.append(event.text)
                meter.frames += 1
                self.last_frame = self.last_write = self.relay.loop.time()
                if self.comments:
                    self._said_again()
                self.responder.write(self.encoder.encode(event))
                return
        meter, encode, held = self.meter, self.encoder.encode, self.held
        text = meter.text
        discard = self.state.phase is Phase.DRAINING
        content = done = False
        onward: Outgoing | None = None
        size = 0
        for event in events:
            if isinstance(event, ClientEvent):
                if event.content:
                    content = True
                    text.append(event.text)
                elif type(event) is Finished:
                    meter.finish_reason, meter.native_finish_reason = event.reason, event.native or event.reason
                    if event.told:
                        continue
                if discard:
                    continue
                if self.accumulator is not None:
                    if not self._accumulate(event):
                        self.take_failure(self._unavailable("sent an answer that is too large to hold"))
                        return
                    continue
                data = encode(event)
                size += len(data)
                held.append(data)
            elif isinstance(event, UsageReported):
                meter.report(event)
            elif isinstance(event, Done):
                done = True
                break  # what a provider says after its end is nothing that a client expects
            elif isinstance(event, Onward):
                onward = event.request
                break
            elif isinstance(event, Failed):
                self._flush_before_failure(content)
                self.take_failure(event.error)
                return
        self.last_frame = self.relay.loop.time()
        meter.frames += len(events)
        if content and not self.first_content:
            self.first_content = self.last_frame
            if not done:
                self._ask_by(self.last_frame + self.relay.config.timeouts.stall_seconds)
        finished = self.route.decoder.finished
        if finished and not self.finished_at:
            self.finished_at = self.last_frame
            if not done:
                self._ask_by(self.finished_at + deadlines.USAGE_WAIT_SECONDS)
        elif not finished:
            self.finished_at = 0.0  # another choice has begun
        if self.accumulator is None and not discard:
            if self.state.phase is Phase.STREAMING:
                if held and not done:  # the hot row once more, for several frames in one read
                    self._write()
            else:
                self._bound_held(size)
                if content and not (done and finished and meter.usage is not None):
                    self._take(Input.CONTENT)
        if done:
            if finished:
                self._end()
            else:
                self.take_failure(self._unavailable("ended the stream before the answer was finished"))
        elif onward is not None:
            self._go_on(onward)
        elif discard:
            self._stop_if_possible()

    def _go_on(self, onward: Outgoing) -> None:
        """The answer goes on in the answer to a further request."""
        self.route.release()
        if not self._stop_if_possible():
            self.route.send(onward)

    def _stop_if_possible(self) -> bool:
        """A client that left before the provider could be told to stop: whether it was told now."""
        can = self.state.phase is Phase.DRAINING and self.stop_asked and self.route.decoder.cancel is not None
        if can:
            self.leaving = f"{self.leaving}; then told to stop"
            self._take(Input.DEADLINE)
        return can

    def _flush_before_failure(self, content: bool) -> None:
        """Frames that came before the error in the same read are the client's."""
        if content and self.accumulator is None and self.state.phase is not Phase.DRAINING:
            self.first_content = self.first_content or self.relay.loop.time()
            self._take(Input.CONTENT)

    def _accumulate(self, event: AnyClientEvent) -> bool:
        """False: there is more of the answer than is held."""
        assert self.accumulator is not None
        if isinstance(event, Verbatim):
            self.accumulated += len(event.rest) + sum(len(bytes(raw)) for raw in event.members.values())
        else:
            self.accumulated += 100 + len(event.text)
        if self.accumulated > MAX_ACCUMULATED_BYTES:
            return False
        self.accumulator.add(event)
        return True

    def _bound_held(self, size: int) -> None:
        """Of frames without content the oldest are let go; what holds content waits, and so does the provider."""
        self.held_bytes += size
        if self.held_bytes <= MAX_HELD_BYTES:
            return
        if not self.first_content:
            while self.held_bytes > MAX_HELD_BYTES and self.held:
                self.held_bytes -= len(self.held.pop(0))
        elif not self.state.recorded:
            self.route.pause()

    def _end(self) -> None:
        """The answer is complete. Its usage is the provider's or, where it never gives one, counted first."""
        if self.ending:
            return
        self.ending = True
        self.route.release()
        if self.meter.usage is not None:
            self._ended(None)
        else:
            self.relay.count(self.meter, self._ended)

    def _ended(self, counted: Usage | None) -> None:
        if self.state.phase is not Phase.SETTLED:
            self.meter.counted = counted or self.meter.counted
            self._take(Input.ENDED)

    def _unavailable(self, what: str) -> ProviderUnavailable:
        provider = self.route.candidate.provider
        return ProviderUnavailable(f"{provider.name} {what}.", provider=provider.id)

    def take_failure(self, error: InfronError) -> None:
        route, provider = self.route, self.route.candidate.provider
        if route.abort():
            self.meter.fully_sent = route.fully_sent and isinstance(error, ProviderTimeout)
        if self.state.phase is Phase.SETTLED:
            return
        route.call_off()  # what nobody waits for any more must not run on
        self.error = error
        if error.provider is None and error.blame == "provider":
            error.provider = provider.id
        self.attempts.append(
            FailedAttempt(
                provider=provider.id,
                provider_model=route.candidate.provider_model,
                status=error.status,
                error_type=error.error_type,
                started_ms=(self.attempt_started - self.started) * 1000,
                ended_ms=(self.relay.loop.time() - self.started) * 1000,
            )
        )
        early = self.state.phase in (Phase.OPENING, Phase.WAITING)
        if early and error.safe_to_retry and route.has_more:
            self._take(Input.FAILED_OVER)
        else:
            self._take(Input.TIMED_OUT if isinstance(error, ProviderTimeout) else Input.FAILED)

    # ---- the client's side

    def _watched(self) -> bool:
        """Whether a client is still there for whom this goes on."""
        return self.state.phase not in (Phase.SETTLED, Phase.DRAINING)

    def client_gone(self, reason: str = "") -> None:
        """The client's connection is gone, or its reader is taken for gone."""
        if not self._watched():
            return
        self.client_resumed()
        self.left_at = self.relay.loop.time()
        leaving = on_disconnect(
            self.route.candidate.provider,
            self.asked,
            self.request.stream,
            self.relay.config.billing.allow_cancel_override,
            can_call=self.route.decoder.cancel is not None,
        )
        self.stop_asked = leaving.stop
        if self.ending:  # only its count is still awaited
            leaving = Disconnect(True, "drain: the answer was complete already")
        self.leaving = f"{reason}{leaving.reason}"
        self._take(Input.GONE_DRAIN if leaving.drain else Input.GONE)
        if self.state.phase is not Phase.DRAINING:
            return
        self.held.clear()
        self.drain_started = self.left_at
        self._ask_by(self.left_at + self.relay.config.drain.seconds)
        if not self.ending:
            self.relay.ledger.claim_drain(
                self.id, max_concurrent=self.relay.config.drain.max_concurrent, done=self._drain_claimed
            )

    def _drain_claimed(self, granted: bool) -> None:
        if not granted and self.state.phase is Phase.DRAINING:
            self.leaving = f"{self.leaving}; cut short: too many answers are being read on already"
            self._take(Input.DEADLINE)

    def client_paused(self) -> None:
        """The client takes no more for now: neither do we from the provider."""
        if self.paused_at or not self._watched():
            return
        self.paused_at = self.taken_at = self.looked_at = now = self.relay.loop.time()
        self.unsent = self.responder.unsent()
        self.route.pause()
        self.relay.clock.add(self, deadlines.next_due(deadlines.running(self, self.relay.config), now))

    def client_resumed(self) -> None:
        if not self.paused_at:
            return
        now = self.relay.loop.time()
        # While we did not read, the provider's stall clock stood still.
        self.last_frame += now - self.paused_at
        self.paused_at = 0.0
        self.slow_reader = False
        self.route.resume()

    # ---- clocks

    def shut_down(self) -> None:
        """The process must end: so must this exchange, settled."""
        self.error = self.error or ShuttingDown("The gateway is shutting down.", retry_after=5)
        self._take(Input.DEADLINE)

    def tick(self, now: float) -> float:
        config = self.relay.config
        kind = None if self._settled() else deadlines.due(deadlines.running(self, config), now)
        if kind is not None:
            self._do(kind, now)
        return 0.0 if self._settled() else deadlines.next_due(deadlines.running(self, config), now)

    def _settled(self) -> bool:
        return self.state.phase is Phase.SETTLED

    def _do(self, kind: Due, now: float) -> None:
        timeouts, drain = self.relay.config.timeouts, self.relay.config.drain
        match kind:
            case Due.END:
                self._end()
            case Due.DRAIN_OVER:
                self.leaving = f"{self.leaving}; cut short after {drain.seconds:g} s"
                self._take(Input.DEADLINE)
            case Due.TOTAL_OVER:
                self.error = DeadlineExceeded(f"The answer was not complete after {timeouts.total_seconds:g} s.")
                self._take(Input.DEADLINE)
            case Due.READER:
                self._check_reader(now)
            case Due.FIRST_TOKEN:
                self._time_out(f"sent no content within {timeouts.first_token_seconds:g} s")
            case Due.STALL:
                self._time_out(f"sent nothing more for {timeouts.stall_seconds:g} s")
            case Due.COMMENT:
                self._take(Input.KEEP_ALIVE)

    def _time_out(self, what: str) -> None:
        provider = self.route.candidate.provider
        self.take_failure(ProviderTimeout(f"{provider.name} {what}.", provider=provider.id))

    def _check_reader(self, now: float) -> None:
        self.looked_at = now
        unsent = self.responder.unsent()
        if unsent < self.unsent:
            self.unsent, self.taken_at = unsent, now
        stall = self.relay.config.timeouts.client_stall_seconds
        self.slow_reader = True
        if stall and now >= self.taken_at + stall:
            self.client_gone(f"the client took no byte for {stall:g} s; ")
            self.responder.hang_up()

    def _ask_by(self, due: float) -> None:
        """Something may be due at `due`, earlier than the clock was told. Being asked in vain does no harm."""
        self.relay.clock.hasten(self, due)

    # ---- the table, run

    def _take(self, given: Input) -> None:
        self.state, actions = step(self.state, given)
        for action in actions:
            if isinstance(action, Settle):
                self._settle(action.outcome)
            else:
                _DEEDS[action](self)

    def _hold(self) -> None:
        pass  # what came is in `held` already, bounded by the provider's own pace until the row is durable

    def _drop(self) -> None:
        self.held.clear()
        self.held_bytes = 0
        self.first_content = 0.0
        if self.accumulator is not None:
            self.accumulator, self.accumulated = self.api.Accumulator(), 0

    def _head(self) -> None:
        if self.accumulator is None:
            self.responder.start(self.id)

    def _write(self) -> None:
        held = self.held
        data = held[0] if len(held) == 1 else b"".join(held)
        held.clear()
        self.held_bytes = 0
        self.last_write = self.relay.loop.time()
        if self.comments:
            self._said_again()
        self.responder.write(data)

    def _said_again(self) -> None:
        """Something else than a comment goes out: the next silence is a new one."""
        self.comments = 0
        self._ask_by(self.last_write + self.relay.config.keepalive.first_seconds)

    def _comment(self) -> None:
        self.comments += 1
        self.last_write = self.relay.loop.time()
        self.relay.metrics.comments.inc()
        self.responder.write(self.encoder.keep_alive())

    def _finish(self) -> None:
        self.bill = bill = self.relay.bill_of(self, Outcome.COMPLETED)
        provider = self.route.candidate.provider.id
        if self.accumulator is not None or self.request.include_usage:
            billed = Billed(
                usage=bill.usage, charge=bill.charge, estimated=bill.estimated, provider=provider, raw=self.meter.raw
            )
            if self.accumulator is None:
                self.held.append(self.encoder.usage(billed))
            else:
                body = self.accumulator.answer(self.id, int(self.created_at), self.request.model, billed)
                self.responder.answer(200, [(b"x-generation-id", self.id.encode())], body)
                return
        self.held.append(self.encoder.close())
        data = b"".join(self.held)
        self.held.clear()
        self.responder.finish(data)

    def _answer(self) -> None:
        assert self.error is not None
        self.responder.answer(*error_answer(self.error, self.api, self.id))

    def _frame(self) -> None:
        assert self.error is not None
        # What was delivered to us before the failure is the reader's too.
        held = b"".join(self.held) if self.state.phase is Phase.SETTLED and self.first_content else b""
        self.held.clear()
        self.responder.finish(held + self.encoder.fail(self.error))

    def _abort(self) -> None:
        route, meter = self.route, self.meter
        if route.decoder.cancel is not None:  # it has answered, so it had the whole request
            route.abort()
            meter.fully_sent, self.closed_at = True, -1.0
            route.call_off(self._called)
        elif route.abort(self._closed):
            meter.fully_sent = route.fully_sent
            if not self.closed_at:
                self.closed_at = -1.0

    def _called(self, answer: str) -> None:
        """The provider was told to stop."""
        self.leaving = f"{self.leaving}; {answer}" if self.leaving else answer
        self._closed()

    def _closed(self) -> None:
        self.closed_at = self.relay.loop.time()
        self.relay.settle_when_known(self)

    def _settle(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.relay.clock.remove(self)
        self.ended = self.relay.loop.time()
        self.held.clear()
        self.relay.settle_when_known(self)


_FIRST = State()
_DEEDS = {
    Action.HOLD: Exchange._hold,
    Action.DROP: Exchange._drop,
    Action.HEAD: Exchange._head,
    Action.WRITE: Exchange._write,
    Action.COMMENT: Exchange._comment,
    Action.FINISH: Exchange._finish,
    Action.ANSWER: Exchange._answer,
    Action.FRAME: Exchange._frame,
    Action.ABORT: Exchange._abort,
    Action.OPEN_NEXT: Exchange._open_next,
}


def error_answer(
    error: InfronError, api: ClientWire, id: str | None = None
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """(status, headers, body) of an error as an HTTP answer to a client of this API."""
    headers = [(name.encode(), value.encode()) for name, value in error.headers.items()]
    if id:
        headers.append((b"x-generation-id", id.encode()))
    if error.retry_after is not None:
        headers.append((b"retry-after", str(max(1, round(error.retry_after))).encode()))
    if error.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if error.should_retry else b"false"))
    return error.status, headers, api.render_error(error)
