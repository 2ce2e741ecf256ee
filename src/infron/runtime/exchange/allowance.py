"""Watches what is set aside for one exchange: each piece of its answer is priced before it goes on to the client.

It never knows a wire, nor how a client is told. It stands between an attempt and those who read its answer, and only
where somebody pays from a budget: others are read without it.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from msgspec.structs import replace

from infron.errors import InfronError, LedgerUnavailable
from infron.events import Event, Finished, MediaDelta, Verbatim
from infron.money import Price
from infron.policy import holding, tokens
from infron.policy.holding import Wanted
from infron.policy.lifecycle import Phase, State
from infron.policy.limit_answers import refusal_error
from infron.policy.limits import Refused
from infron.policy.routing import Candidate
from infron.policy.stop import Stop
from infron.request import Request
from infron.runtime.exchange.attempt import Attempt
from infron.runtime.exchange.attempts import Attempts
from infron.runtime.exchange.context import Context
from infron.runtime.exchange.next_candidate import AWAY, EXHAUSTED, NextCandidate, unpaid
from infron.runtime.exchange.pace import Pace
from infron.runtime.exchange.sizing import Size
from infron.runtime.ledger.verdict import Unavailable
from infron.wires.openai.chat import NAME as CHAT

_ENDING = 8  # tokens, about, that an answer has beside its text
_ENOUGH = 1 << 62


class Payer(Protocol):
    """The exchange, as far as its allowance knows it."""

    id: str
    state: State
    pace: Pace
    attempts: Attempts
    request: Request
    hold: int

    def stop(self, stop: Stop, error: InfronError | None = None, /) -> None: ...


class Allowance:
    """What has come is never counted too low: each byte is a token until the text is counted, and that is bounded.

    So no more is delivered than the hold pays for, at the dearest; and it is counted only when it comes near that.
    """

    bucket = 0

    def __init__(
        self, context: Context, payer: Payer, request: Request, size: Size, price: Price | None, short: Refused | None
    ) -> None:
        """`request`: as its caller made it · `size`, `price`: at the first candidate · `short`: why no more is
        held than is.
        """
        self._context = context
        self._payer: Payer = payer
        self._attempts = payer.attempts
        self._request = request
        self._slice = holding.FIRST_SLICE  # tokens that were set aside last
        self._taken = size.wanted.choices * min(holding.USUAL_ASK, size.wanted.most or holding.USUAL_ASK)
        self._asking = False
        self._short_at = 0.0  # what waits does not fit, since then
        self._waiting: list[Callable[[], None]] = []  # what has come meanwhile, in its order
        self.begin(self._attempts.current.candidate, size, price, payer.request, short)

    def begin(
        self, candidate: Candidate, size: Size, price: Price | None, asked: Request, short: Refused | None
    ) -> None:
        """Nothing of an answer of this candidate has come. `asked`: what it is asked."""
        self._watches = size.watched and price is not None
        self._unpaid = asked.unpaid
        self._why_short = short
        self._price = price or Price(prompt=0, completion=0)
        self._family = tokens.family_of(candidate.provider, candidate.provider_model)
        self._wanted: Wanted = replace(size.wanted, choices=1)
        self._most = None if size.wanted.most is None else size.wanted.most * size.wanted.choices
        self._pieces = 0  # of the meter's text that are counted
        self._counted = _ENDING  # tokens in them
        self._weight = self._beyond = 0  # of them: thousandths of tokens, and bytes beyond one for each character
        self._media = 0  # tokens that media count as
        self._fresh = 0  # bytes that came since
        self._afford()

    def _afford(self) -> None:
        """How many tokens the hold pays for, and when to look again."""
        self._affords = _ENOUGH
        if self._watches:
            self._affords = holding.affordable(self._wanted, self._payer.hold, 1 << 31, self._price)
            if self._most is not None and self._affords >= self._most:  # it cannot become longer
                self._affords = _ENOUGH
        self._set_free()

    def _set_free(self) -> None:
        left = self._affords - self._counted
        margin = self._slice // 2
        self._free = left - margin if left > margin and not self._asking else left

    # ---- what comes

    def take_events(self, attempt: Attempt, events: list[Event]) -> None:
        if self._waiting:
            self._keep(partial(self.take_events, attempt, events))
            return
        if self._unpaid:
            events = self._ending(events)
        fresh, rich = self._fresh, False
        for event in events:
            if event.content:
                text = event.text
                if text and text.isascii():
                    fresh += len(text)
                else:
                    fresh += self._bytes(event)
                    rich = rich or not text
        if fresh <= self._free and not rich:
            self._fresh = fresh
            self._attempts.take_events(attempt, events)
        else:
            self._look(attempt, events)

    def take_failure(self, attempt: Attempt, error: InfronError) -> None:
        self._pass_on(partial(self._attempts.take_failure, attempt, error))

    def take_loss(self, attempt: Attempt, error: InfronError) -> None:
        self._pass_on(partial(self._attempts.take_loss, attempt, error))

    def take_refusal(self, attempt: Attempt) -> None:
        self._pass_on(partial(self._attempts.take_refusal, attempt))

    def _pass_on(self, what: Callable[[], None]) -> None:
        if self._waiting:
            self._keep(what)
        else:
            what()

    def _keep(self, what: Callable[[], None]) -> None:
        self._waiting.append(what)
        self._attempts.current.pause()

    # ---- what it comes to

    def _bytes(self, event: Any) -> int:
        """No less than the tokens of a piece of content."""
        if isinstance(event, MediaDelta):
            return self._context.config.limits.media_tokens
        return len(event.text.encode("utf-8", "replace")) or 1

    def _bound(self, text: str) -> int:
        """No less than the tokens of what is counted and this text together, closer than bytes and at more cost."""
        family = self._family
        weight, beyond = tokens.weight_of(text, family), tokens.count_text(text, tokens.BEYOND)
        return holding.bound(-(-(self._weight + weight) // 1000), self._beyond + beyond, family) + self._media + _ENDING

    def _recount(self, attempt: Attempt) -> None:
        """Count what has come since the last time: a few kilobytes, for else it would not have fitted."""
        pieces = attempt.meter.text
        if self._pieces < len(pieces):
            text = "".join(pieces[self._pieces :])
            self._counted = self._bound(text)
            self._weight += tokens.weight_of(text, self._family)
            self._beyond += tokens.count_text(text, tokens.BEYOND)
            self._pieces = len(pieces)
        self._fresh = 0
        usage = attempt.meter.usage
        if usage is not None and usage.prompt and usage.prompt != self._wanted.prompt:  # now it is known
            self._wanted = replace(self._wanted, prompt=usage.prompt)
            self._afford()

    def _spent(self, events: list[Event]) -> int:
        """No less than the tokens of what is counted and of these: by their bytes; counted, where that is too many."""
        content = [event for event in events if event.content]
        spent = self._counted + sum(map(self._bytes, content))
        if spent <= self._affords:
            return spent
        return min(spent, self._bound("".join([event.text for event in content])) + self._media_in(events))

    def _media_in(self, events: list[Event]) -> int:
        return self._context.config.limits.media_tokens * sum(isinstance(event, MediaDelta) for event in events)

    def _look(self, attempt: Attempt, events: list[Event]) -> None:
        """It comes near what is paid for, or goes beyond, or has content that is no text."""
        self._recount(attempt)
        spent, fitting = self._spent(events), len(events)
        if spent > self._affords:
            sizes = range(len(events) + 1)
            fits = bisect_right(sizes, self._affords, key=lambda size: self._spent(events[:size]))
            fitting = max(0, fits - 1)
            spent = self._spent(events[:fitting])
        self._fresh = spent - self._counted
        self._media += self._media_in(events[:fitting])
        if fitting:
            self._attempts.take_events(attempt, events[:fitting])
        if self._over():
            return
        if fitting < len(events):
            self._short_at = self._wait()
            self._keep(partial(self.take_events, attempt, events[fitting:]))
        # A little before half of it is left: what lies between would be counted in ever smaller steps.
        if fitting < len(events) or self._affords - spent <= self._slice * 5 // 8:
            self._ask(spent)
        self._set_free()

    def _over(self) -> bool:
        return self._payer.state.phase is Phase.SETTLED

    # ---- the hold

    def _ask(self, spent: int) -> None:
        """Ask for the next slice, unless that is done."""
        if self._asking:
            return
        self._asking = True
        target = spent + min(2 * self._slice, holding.LARGEST_SLICE)
        if self._most is not None:
            target = min(target, self._most)
        more = max(1, holding.dearest(self._wanted, target, self._price) - self._payer.hold)
        taken = max(0, target - self._taken)
        self._taken += taken
        self._context.ledger.extend(self._payer.id, more, self._answered, tokens=taken)

    def _answered(self, verdict: int | Refused | Unavailable) -> None:
        self._asking = False
        if self._over():
            return
        if isinstance(verdict, int) and verdict:
            self._payer.hold += verdict
            self._slice = min(2 * self._slice, holding.LARGEST_SLICE)
            self._afford()
        else:
            self._set_free()
        if not self._short_at:
            return
        if isinstance(verdict, Refused):
            self._stop(Stop.BUDGET, refusal_error(verdict, time.time()))
        elif verdict and isinstance(verdict, int):
            self._go_on()
        else:
            self._stop(Stop.LEDGER, LedgerUnavailable(AWAY))

    def _go_on(self) -> None:
        """What has come meanwhile goes on, and so does the provider."""
        self._let_go()
        kept, self._waiting = self._waiting, []
        for number, each in enumerate(kept):
            if self._over():
                return
            if self._waiting:  # one of them does not fit
                self._waiting += kept[number:]
                return
            each()
        if not self._payer.pace.paused_at:
            self._attempts.current.resume()

    def _stop(self, stop: Stop, error: InfronError) -> None:
        self._let_go()
        self._waiting.clear()
        self._payer.stop(stop, error)
        if not self._over():  # it is read on, and nobody is told any more
            self._free = _ENOUGH
            self._attempts.current.resume()

    def pay_for_next(self) -> None:
        """Try the next candidate, once as much is set aside as it may cost."""
        NextCandidate(self._context, self._payer, self._request, self.begin)

    def _let_go(self) -> None:
        self._short_at = 0.0
        self._context.clock.remove(self)

    def _wait(self) -> float:
        """The ledger is waited for, from now on."""
        now = self._context.loop.time()
        self._context.clock.add(self, now + self._context.config.ledger.timeout_seconds)
        return now

    def tick(self, now: float) -> float:
        """The ledger has not answered in time."""
        if self._short_at and not self._over():
            self._stop(Stop.LEDGER, LedgerUnavailable(AWAY))
        return 0.0

    # ---- an answer whose length is what the budget pays for

    def _ending(self, events: list[Event]) -> list[Event]:
        """The same, where it is our limit that ended it: a stream then ends with the error, a whole answer says so."""
        ended = [event for event in events if isinstance(event, Finished) and event.reason == "length"]
        if not ended:
            return events
        if not self._payer.request.stream:
            told = self._request.api == CHAT
            return [
                replace(event, native=EXHAUSTED, told=event.told and not told) if event in ended else event
                for event in events
            ]
        self._attempts.unpaid = unpaid(self._why_short)
        return [event for event in events if event not in ended and not (type(event) is Verbatim and not event.content)]
