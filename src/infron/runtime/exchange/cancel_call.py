"""The request that tells a provider to stop, where closing the connection does not: sent on its own, and tried again.

It never knows the exchange that it ends; it says what became of it in one sentence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from infron.errors import InfronError
from infron.policy.routing import Candidate
from infron.request import Outgoing
from infron.runtime.upstream.client import UpstreamRequest

if TYPE_CHECKING:
    from infron.runtime.exchange.relay import Relay

TRIES = 3
SECONDS = 5.0  # for each try
PAUSE_SECONDS = 0.5  # before the second one, and twice as long before each further one


class Call:
    """Sends `request` until it is answered with success, at most TRIES times; `done` is told the end, once."""

    def __init__(self, relay: Relay, candidate: Candidate, request: Outgoing, done: Callable[[str], None]) -> None:
        self._relay = relay
        self._candidate = candidate
        self._request = request
        self._done = done
        self._tries = 0
        self._attempt: UpstreamRequest | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._try()

    def _try(self) -> None:
        relay = self._relay
        self._tries += 1
        serving = relay.serving(self._candidate.provider)
        endpoint = serving.endpoint(self._candidate.provider_model, self._request)
        if endpoint is None:
            self._over("it could not be told to stop: there are no credentials")
            return
        self._attempt = relay.upstream.send(endpoint, self._request.body, self)
        self._timer = relay.loop.call_later(SECONDS, self._failed, f"did not answer within {SECONDS:g} s")

    # ---- the answer

    def response_started(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        # 404 and 409: it is over already, so there is nothing left to stop.
        if status < 300 or status in (404, 409):
            self._over(f"it answered HTTP {status}")
        elif status < 500 and status != 429:
            self._over(f"it refused to stop (HTTP {status})")
        else:
            self._failed(f"answered HTTP {status}")

    def data_received(self, data: bytes) -> None: ...

    def response_ended(self) -> None: ...

    def request_failed(self, error: InfronError) -> None:
        self._attempt = None
        self._failed("could not be reached")

    def _failed(self, what: str) -> None:
        self._let_go()
        if self._tries >= TRIES or self._relay.upstream.closed:
            self._done(f"it could not be told to stop: it {what}, {self._tries} times")
        else:
            self._timer = self._relay.loop.call_later(PAUSE_SECONDS * 2 ** (self._tries - 1), self._try)

    def _over(self, sentence: str) -> None:
        self._let_go()
        self._done(sentence)

    def _let_go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._attempt is not None:
            self._attempt.release()
            self._attempt = None
