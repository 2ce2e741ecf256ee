"""The request that tells a provider to stop, where closing the connection does not: sent on its own, and tried again.

It never knows the exchange that it ends; it says what became of it in one sentence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from infron.errors import InfronError
from infron.request import Outgoing
from infron.runtime.exchange.providers import ProviderHandle
from infron.runtime.upstream.client import Client, UpstreamRequest

TRIES = 3
SECONDS = 5.0  # for each try
PAUSE_SECONDS = 0.5  # before the second one, and twice as long before each further one


class CancelCall:
    """Sends `request` until it is answered with success, at most TRIES times; `done` is told whether that stopped it.

    It is told once, and in a sentence as well.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        upstream: Client,
        handle: ProviderHandle,
        provider_model: str,
        request: Outgoing,
        done: Callable[[bool, str], None],
    ) -> None:
        self._loop = loop
        self._upstream = upstream
        self._handle = handle
        self._provider_model = provider_model
        self._request = request
        self._done = done
        self._tries = 0
        self._call: UpstreamRequest | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._try()

    def _try(self) -> None:
        self._tries += 1
        target = self._handle.target(self._provider_model, self._request)
        if target is None:
            self._over(False, "it could not be told to stop: there are no credentials")
            return
        self._call = self._upstream.send(target, self._request.body, self)
        self._timer = self._loop.call_later(SECONDS, self._failed, f"did not answer within {SECONDS:g} s")

    # ---- the answer

    def response_started(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        # 404 and 409: it is over already, so there is nothing left to stop.
        if status < 300 or status in (404, 409):
            self._over(True, f"it answered HTTP {status}")
        elif status < 500 and status != 429:
            self._over(False, f"it refused to stop (HTTP {status})")
        else:
            self._failed(f"answered HTTP {status}")

    def data_received(self, data: bytes) -> None: ...

    def response_ended(self) -> None: ...

    def request_failed(self, error: InfronError) -> None:
        self._call = None
        self._failed("could not be reached")

    def _failed(self, what: str) -> None:
        self._let_go()
        if self._tries >= TRIES or self._upstream.closed:
            self._done(False, f"it could not be told to stop: it {what}, {self._tries} times")
        else:
            self._timer = self._loop.call_later(PAUSE_SECONDS * 2 ** (self._tries - 1), self._try)

    def _over(self, stopped: bool, sentence: str) -> None:
        self._let_go()
        self._done(stopped, sentence)

    def _let_go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._call is not None:
            self._call.release()
            self._call = None
