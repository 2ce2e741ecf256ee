"""One try at one candidate: its request, the reader and the meter of its answer, its moments, its state.

It never knows the client, and never decides what an answer or a failure leads to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import IntEnum, auto
from functools import partial
from typing import Any

from infron.errors import InfronError, InternalError, ProviderError, ProviderTimeout, ProviderUnavailable
from infron.events import AnyClientEvent, Done, Event, Failed, Finished, Onward, UsageReported, Verbatim
from infron.money import Price
from infron.policy.routing import Candidate
from infron.request import Outgoing, Request
from infron.runtime.exchange.answer import AnswerListener, AnswerReader
from infron.runtime.exchange.cancel_call import CancelCall
from infron.runtime.exchange.context import AT_ONCE, Context
from infron.runtime.exchange.meter import Meter
from infron.runtime.exchange.question import FIRST, Question, first_of, learn, less_than, put
from infron.runtime.telemetry.bugs import report_bug
from infron.runtime.upstream.client import Target


class AttemptState(IntEnum):
    PREPARING = auto()  # what its request needs is fetched: a token, the bundled model's address, a pause to be kept
    ASKING = auto()  # its request is on the way, or its answer is
    FINISHED = auto()  # every choice has ended: usage is awaited, and the end
    COMPLETE = auto()  # nothing more of it is wanted
    FAILED = auto()
    CLOSING = auto()  # given up; not known yet when its connection closed, or what the provider said to being told
    CLOSED = auto()


class Change(IntEnum):
    SENT = auto()
    FINISH = auto()
    REOPEN = auto()  # more comes after a finish reason
    ONWARD = auto()  # the answer goes on in the answer to a further request
    COMPLETE = auto()
    FAIL = auto()
    GIVE_UP = auto()
    CLOSE = auto()


# An enum's member costs as much as a call to look up: these are looked up for each attempt.
_S, _C = AttemptState, Change
_SENT, _FINISH, _REOPEN, _COMPLETE = Change.SENT, Change.FINISH, Change.REOPEN, Change.COMPLETE
_OPEN = (_S.PREPARING, _S.ASKING, _S.FINISHED)
# A pair that is not here changes nothing.
CHANGES: dict[tuple[AttemptState, Change], AttemptState] = {
    (_S.PREPARING, _C.SENT): _S.ASKING,
    (_S.ASKING, _C.FINISH): _S.FINISHED,
    (_S.FINISHED, _C.REOPEN): _S.ASKING,
    (_S.ASKING, _C.ONWARD): _S.PREPARING,
    (_S.FINISHED, _C.ONWARD): _S.PREPARING,
    **{(state, _C.COMPLETE): _S.COMPLETE for state in _OPEN},
    **{(state, _C.FAIL): _S.FAILED for state in _OPEN},
    **{(state, _C.GIVE_UP): _S.CLOSING for state in (*_OPEN, _S.COMPLETE)},
    (_S.CLOSING, _C.CLOSE): _S.CLOSED,
}


# What some events of an answer come to: those that the client is told of, whether any is content, what ends it if any.
Read = tuple[list[AnyClientEvent], bool, Done | Onward | Failed | None]


class Attempt(AnswerReader):
    """Moments are seconds of the loop's clock; 0: it has not come yet. `dropped`: parameters that it cannot take.

    `asks_usage`: its request asks for token counts. `error`: why it failed. `closed_at`: its connection ended, or the
    provider answered to being told to stop. `bills_on`: we ended it, and the provider goes on with it at our cost.
    """

    state = AttemptState.PREPARING
    dropped: tuple[str, ...] = ()
    error: InfronError | None = None
    ended = 0.0
    closed_at = 0.0
    bills_on = False
    _choices = 1  # that were asked for
    paused = False
    first_content = finished_at = _paused_at = 0.0
    told_end = False  # the provider said that its stream is over
    _preparing: asyncio.Task[None] | None = None

    def __init__(
        self,
        context: Context,
        asked: Request,
        candidate: Candidate,
        price: Price | None,
        listener: AnswerListener[Attempt],
        question: Question | None = None,
    ) -> None:
        provider, now = candidate.provider, context.loop.time()
        handle, limit = context.providers.handle(provider), context.config.limits.max_frame_bytes
        if question is None:
            question = first_of(asked, handle, candidate.provider_model, now) if handle.knows_no_streams else FIRST
        asks_usage = (question is FIRST or question.asks_usage) and handle.asks_usage(candidate.provider_model, now)
        super().__init__(handle, limit, verbatim=asked.api == provider.wire, asks_usage=asks_usage)
        self._question, self.streams = question, question.streams
        self._listener = listener
        self._context = context
        self._asked = asked
        self.candidate = candidate
        self.price = price
        self.meter = Meter(asked, candidate)
        self.started = self.last_frame = self.decoder.seed = now

    # ---- its requests

    def open(self) -> None:
        """Send the request. Raises InfronError where it cannot be put in the candidate's wire."""
        if self._asked.size > AT_ONCE:
            self._preparing = self._context.loop.create_task(self._open_large())
        else:
            self._send(self._encoded())

    async def _open_large(self) -> None:
        """The same of a request that a thread puts in the candidate's wire: other streams must not wait for that."""
        try:
            prepared = await self._context.loop.run_in_executor(self._context.readers, self._encoded_and_signed)
            self._preparing = None
            self._send(*prepared)
        except InfronError as error:
            self._preparing = None
            self._listener.take_failure(self, error)
        except Exception:
            self._preparing = None
            report_bug("making a request")
            self._listener.take_failure(self, InternalError("The gateway failed; its log says where."))

    def _encoded_and_signed(self) -> tuple[Outgoing, Target | None]:
        outgoing = self._encoded()  # a signature needs a hash of its body
        return outgoing, self.handle.target(self.candidate.provider_model, outgoing)

    def _encoded(self) -> Outgoing:
        model = self.candidate.provider_model
        outgoing = put(self._question, self._asked, self.handle, model, asks_usage=self.asks_usage)
        if outgoing.names:
            self.decoder.rename(outgoing.names)
        self._choices, self.dropped = outgoing.choices, outgoing.dropped
        self.decoder.expected, self.decoder.further = outgoing.choices, outgoing.further
        if self.dropped and "service_tier" in self.dropped:
            self.meter.serve("default")
        return outgoing

    def ask_less(self) -> Question:
        """How to ask the same candidate again, which has refused this request."""
        return less_than(self._question, self._asked, refuses_stream=self.refuses_stream)

    def go_on(self, onward: Outgoing) -> None:
        """Send a further request; its answer goes on with the one before."""
        self._move(Change.ONWARD)
        self._send(onward)

    def _send(self, outgoing: Outgoing, target: Target | None = None) -> None:
        if target is None and not outgoing.delay:
            target = self.handle.target(self.candidate.provider_model, outgoing)
        if target is None:
            self._preparing = self._context.loop.create_task(self._send_when_ready(outgoing))
        else:
            self._send_to(target, outgoing)

    def _send_to(self, target: Target, outgoing: Outgoing) -> None:
        self._move(_SENT)
        self._request = self._context.upstream.send(target, outgoing.body, self)
        if self.paused:
            self._request.pause()

    async def _send_when_ready(self, outgoing: Outgoing) -> None:
        try:
            if outgoing.delay:
                await asyncio.sleep(outgoing.delay)
            target = await self.handle.target_when_ready(self.candidate.provider_model, outgoing)
        except InfronError as error:
            self._preparing = None
            self._listener.take_loss(self, error)
        except Exception:
            self._preparing = None
            report_bug("preparing a request")
            self._listener.take_loss(self, InternalError("The gateway failed while it prepared the request."))
        else:
            self._preparing = None
            self._send_to(target, outgoing)

    # ---- its answer

    def read(self, events: list[Event], now: float) -> Read:
        """Meter these events, and say what they come to."""
        meter = self.meter
        told: list[Any] = []
        content, end = False, None
        for event in events:
            if event.content:
                content = True
                meter.text.append(event.text)
                told.append(event)
            elif type(event) is Verbatim:
                told.append(event)
            elif type(event) is UsageReported:
                meter.report(event)
            elif type(event) is Done or type(event) is Failed or type(event) is Onward:
                end = event
                break  # what a provider says after its end is nothing that a client expects
            elif type(event) is Finished:
                meter.finish_reason, meter.native_finish_reason = event.reason, event.native or event.reason
                if not event.told:
                    told.append(event)
            else:
                told.append(event)
        meter.frames += len(events)
        self.last_frame = now
        if content and not self.first_content:
            self.first_content = now
        decoder = self.decoder
        if decoder.finished and (decoder.choices >= self._choices or type(end) is Done):
            if content or not self.finished_at:
                self.finished_at = now  # what comes after a finish reason makes the wait begin anew
                self._move(_FINISH)
        elif self.finished_at:
            self.finished_at = 0.0  # another choice has begun
            self._move(_REOPEN)
        return told, content, end

    def read_rest(self) -> list[AnyClientEvent]:
        """What is still to be told, now that nothing follows."""
        events = self.rest()
        if not events:
            return []
        wanted: list[Event] = [event for event in events if not isinstance(event, Done | Failed | Onward)]
        return self.read(wanted, self.last_frame)[0]

    # ---- while it is under way

    def pause(self) -> None:
        """Read no further."""
        if not self.paused:
            self.paused, self._paused_at = True, self._context.loop.time()
        if self._request is not None:
            self._request.pause()

    def resume(self) -> None:
        """Its clocks stood still: nothing was read because our reader took nothing, or the ledger had to say first."""
        if not self.paused:
            return
        self.paused, now = False, self._context.loop.time()
        for name in ("last_frame", "finished_at", *(() if self.first_content else ("started",))):
            if moment := getattr(self, name):
                setattr(self, name, min(now, moment + now - self._paused_at))
        if self._request is not None:
            self._request.resume()

    @property
    def may_tell_usage(self) -> bool:
        """Whether its count can still come behind its end."""
        return self._request is not None and (self.asks_usage or self.candidate.provider.usage == "always")

    @property
    def ended_well(self) -> bool:
        """All that is wanted of it is here: finish reasons and usage."""
        return self.decoder.finished and self.meter.is_reported

    def unavailable(self, what: str) -> ProviderUnavailable:
        provider = self.candidate.provider
        return ProviderUnavailable(f"{provider.name} {what}.", provider=provider.id)

    # ---- its end

    def complete(self) -> None:
        """Nothing more of its answer is wanted."""
        self._move(_COMPLETE)
        if self._question is not FIRST:
            now = self._context.loop.time()
            learn(self._question, self._asked, self.handle, self.candidate.provider_model, now)
        self.release()

    def release(self) -> None:
        """The answer to the request at hand is complete for us."""
        request, self._request = self._request, None
        if request is not None:
            request.release()

    def fail(self, error: InfronError) -> None:
        """It ends here, for this reason. What nobody waits for any more must not run on."""
        self._move(Change.FAIL)
        provider = self.candidate.provider
        if error.provider is None and error.blame == "provider":
            error.provider = provider.id
        self.error, self.ended = error, self._context.loop.time()
        sent = self._end_request(None)
        self.meter.fully_sent = bool(sent) and isinstance(error, ProviderTimeout)
        if self.decoder.cancel is not None:
            self._call_off(_unheard)
        elif not isinstance(error, ProviderError):  # it was not the provider that ended it
            self.bills_on = self._goes_on(sent)

    def give_up(self, closed: Callable[[str], None]) -> None:
        """Nobody waits for it any more. `closed` comes once its end is known, with what there is to say about that."""
        complete = self.state is AttemptState.COMPLETE
        self._move(Change.GIVE_UP)
        if self.decoder.cancel is not None and not complete:  # it has answered, so it had the whole request
            self._end_request(None)
            self.meter.fully_sent = True
            self._call_off(partial(self._told, closed))
            return
        sent = self._end_request(partial(self._closed, closed, ""))
        if sent is None:
            self._move(Change.CLOSE)
        else:
            self.meter.fully_sent = sent
            self.bills_on = self._goes_on(sent)

    def _goes_on(self, sent: bool | None) -> bool:
        """Whether closing the connection of a request, `sent` in whole or not, leaves the provider at work."""
        return bool(sent) and self.candidate.provider.on_disconnect != "cancel"

    def _told(self, closed: Callable[[str], None], stopped: bool, sentence: str) -> None:
        self.bills_on = not stopped
        self._closed(closed, sentence)

    def close(self) -> str:
        """Its end could not be brought about, or is waited for no longer: it is over, with what there is to say."""
        self.bills_on = self.candidate.provider.on_disconnect != "cancel"
        self._request = None
        self.state = AttemptState.CLOSED
        return "" if self.decoder.cancel is None else "it had not answered when the gateway ended"

    def _closed(self, closed: Callable[[str], None], sentence: str) -> None:
        self.closed_at = self._context.loop.time()
        self._move(Change.CLOSE)
        closed(sentence)

    def _end_request(self, closed: Callable[[], None] | None) -> bool | None:
        """End what is under way; `closed` comes once it has ended. Whether it was fully sent; None: nothing was."""
        if self._preparing is not None:
            self._preparing.cancel()
            self._preparing = None
        request, self._request = self._request, None
        if request is None:
            return None
        sent = request.fully_sent
        request.abort(closed)
        return sent

    def _call_off(self, told: Callable[[bool, str], None]) -> None:
        """Tell the provider to stop; `told` gets whether it did, and the same in a sentence."""
        assert self.decoder.cancel is not None
        model = self.candidate.provider_model
        CancelCall(self._context.loop, self._context.upstream, self.handle, model, self.decoder.cancel, told)

    @property
    def upstream_id(self) -> str | None:
        """The provider's own id of its answer."""
        return self.decoder.upstream_id

    def _move(self, change: Change) -> None:
        self.state = CHANGES.get((self.state, change), self.state)


def _unheard(stopped: bool, sentence: str) -> None:
    """What became of a call that nobody waits for."""
