"""The candidates of one exchange, tried one after the other, and what is under way to the one at hand.

It never knows the client, and never decides when to try another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from infron.errors import InfronError, InternalError, Unsupported
from infron.money import Price
from infron.policy.routing import Candidate
from infron.request import Outgoing, Request
from infron.runtime.exchange.answer import AnswerListener, Reading
from infron.runtime.exchange.cancel_call import Call
from infron.runtime.upstream.client import Target, UpstreamRequest
from infron.wires import PROVIDER_WIRES
from infron.wires.contract import Decoder

if TYPE_CHECKING:
    from infron.runtime.exchange.relay import Relay


class Route:
    """`candidate`: the one at hand, with its `price`. `decoder`: of its answer. `dropped`: parameters it cannot take.

    `fully_sent`: the last request that was aborted went out whole. `paused`: nothing is read for now.
    """

    fully_sent = False
    price: Price | None
    decoder: Decoder
    dropped: tuple[str, ...] = ()
    _reading: Reading
    _attempt: UpstreamRequest | None = None
    _opening: asyncio.Task[None] | None = None  # while what a request needs is fetched: a token, the bundled model
    paused = False

    def __init__(
        self, relay: Relay, request: Request, candidates: tuple[Candidate, ...], taker: AnswerListener
    ) -> None:
        self._relay = relay
        self._request = request
        self._candidates = candidates
        self._taker = taker
        self._tried = 1
        self.candidate = candidates[0]
        self.price = relay.price(candidates[0], request)

    @property
    def has_more(self) -> bool:
        return self._tried < len(self._candidates)

    def go_to_next(self) -> None:
        self.candidate = self._candidates[self._tried]
        self.price = self._relay.price(self.candidate, self._request)
        self._tried += 1

    # ---- a request

    def open(self) -> None:
        """Send the request to the candidate at hand. Raises InfronError where it cannot be put in its wire."""
        relay, candidate = self._relay, self.candidate
        provider = candidate.provider
        wire, serving = PROVIDER_WIRES[provider.wire], relay.serving(provider)
        reading = self._reading = Reading(
            self._taker,
            wire,
            provider,
            key=serving.key,
            limit=relay.config.limits.max_frame_bytes,
            verbatim=self._request.api == provider.wire,
            asks_usage=serving.asks_usage,
            bug=relay.report_bug,
        )
        self.decoder = reading.decoder
        self.fully_sent = False
        outgoing = wire.encode_request(self._request, provider, candidate.provider_model, serving.asks_usage)
        self.dropped = outgoing.dropped
        if self.dropped and self._request.preferences.require_parameters:
            names = ", ".join(f"`{name}`" for name in self.dropped)
            what = f"{provider.name} cannot take {names} for this model, and `provider.require_parameters` is set."
            raise Unsupported(what, param=self.dropped[0], provider=provider.id)
        self.send(outgoing)

    def open_without_usage(self) -> None:
        """The same once more, now that the provider has refused to be asked for usage. Raises InfronError."""
        self.abort()
        self._relay.serving(self.candidate.provider).asks_usage = False
        self.open()

    def send(self, outgoing: Outgoing) -> None:
        """Send a request, the first or a further one; its answer goes to the same decoder."""
        relay = self._relay
        serving = relay.serving(self.candidate.provider)
        endpoint = None if outgoing.delay else serving.endpoint(self.candidate.provider_model, outgoing)
        if endpoint is None:
            self._opening = relay.loop.create_task(self._send_when_ready(outgoing))
        else:
            self._send_to(endpoint, outgoing)

    def _send_to(self, endpoint: Target, outgoing: Outgoing) -> None:
        self._attempt = self._relay.upstream.send(endpoint, outgoing.body, self._reading)
        if self.paused:
            self._attempt.pause()

    async def _send_when_ready(self, outgoing: Outgoing) -> None:
        relay = self._relay
        try:
            if outgoing.delay:
                await asyncio.sleep(outgoing.delay)
            endpoint = await relay.endpoint_when_ready(self.candidate, outgoing)
        except InfronError as error:
            self._opening = None
            self._taker.take_loss(error)
        except Exception:
            self._opening = None
            relay.report_bug("preparing a request")
            self._taker.take_loss(InternalError("The gateway failed while it prepared the request."))
        else:
            self._opening = None
            self._send_to(endpoint, outgoing)

    # ---- while it is under way

    def pause(self) -> None:
        """Read no further."""
        self.paused = True
        if self._attempt is not None:
            self._attempt.pause()

    def resume(self) -> None:
        if self.paused:
            self.paused = False
            if self._attempt is not None:
                self._attempt.resume()

    # ---- its end

    def attempt_over(self) -> None:
        """The answer has ended by itself."""
        self._attempt = None

    def release(self) -> None:
        """The answer is complete for us."""
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.release()

    def abort(self, closed: Callable[[], None] | None = None) -> bool:
        """End what is under way; `closed` comes once it has ended. False: nothing is, so nothing comes."""
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return False
        self.fully_sent = attempt.fully_sent
        attempt.abort(closed)
        return True

    def call_off(self, told: Callable[[str], None] | None = None) -> bool:
        """Tell the provider to stop, if it has to be told; `told` gets the outcome in a sentence. False: it has not."""
        cancel = self.decoder.cancel
        if cancel is None:
            return False
        Call(self._relay, self.candidate, cancel, told or _unheard)
        return True

    def let_go(self) -> None:
        """Settled, and nobody will ask any more: end the circle of references, so that no collector has to find it."""
        self._reading.let_go()
        del self._taker


def _unheard(answer: str) -> None:
    """What became of a call that nobody waits for."""
