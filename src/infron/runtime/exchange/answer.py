"""One attempt's answer as it comes from the provider, a stream, an error or one JSON, made into events.

It never knows the client, and never decides what an event or a failure leads to.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from infron.catalog.definitions import Provider
from infron.errors import InfronError, InternalError, ProviderUnavailable
from infron.events import Done, Event, Failed, Onward
from infron.wires.contract import ProviderWire

MAX_ERROR_BYTES = 64 << 10


class AnswerListener(Protocol):
    """Whom the answer is for."""

    def take_events(self, events: list[Event]) -> None: ...
    def take_failure(self, error: InfronError) -> None: ...
    def take_loss(self, error: InfronError) -> None:
        """The connection is lost; what was taken before may be a complete answer."""

    def take_refusal(self) -> None:
        """The provider refused the request because it asks for usage."""

    def attempt_over(self) -> None:
        """The connection is not this attempt's any more: not to be paused, aborted or released."""


class Reading:
    """The reader of one attempt, which may take several requests."""

    __slots__ = ("_asks_usage", "_body", "_bug", "_key", "_limit", "_provider", "_size", "_status", "_taker", "_wire",
                 "decoder")  # fmt: skip

    def __init__(
        self,
        taker: AnswerListener,
        wire: ProviderWire,
        provider: Provider,
        *,
        key: str,
        limit: int,
        verbatim: bool,
        asks_usage: bool,
        bug: Callable[[str], None],
    ) -> None:
        """`key`: ours, never repeated to anybody. `limit`: bytes of a frame. `bug`: told of a failure of our own.

        `verbatim`: the client speaks the API of this wire.
        """
        self.decoder = wire.Decoder(provider, limit, key, verbatim)
        self._taker = taker
        self._wire = wire
        self._provider = provider
        self._key = key
        self._limit = limit
        self._asks_usage = asks_usage
        self._bug = bug
        self._status = 0
        self._body: list[bytes] | None = None  # of an answer that is no stream
        self._size = 0

    def response_started(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._status = status
        self.decoder.headers = headers
        media = self._wire.MEDIA_TYPE
        kind = next((value for name, value in headers if name == b"content-type"), media)
        streams = status == 200 and kind.lower().startswith(media)
        self._body, self._size = None if streams else [], 0

    def data_received(self, data: bytes) -> None:
        if self._body is not None:
            self._collect(data)
            return
        try:
            events = self.decoder.feed(data)
        except InfronError as error:
            self._taker.take_failure(error)
            return
        except Exception:
            self._broken()
            return
        if events:
            self._taker.take_events(events)

    def _broken(self) -> None:
        """A bug in a decoder ends this exchange alone, settled like any other."""
        self._bug("decoding an answer")
        self._taker.take_failure(InternalError("The gateway could not read the provider's answer."))

    def response_ended(self) -> None:
        self._taker.attempt_over()
        if self._body is not None:
            self._whole(b"".join(self._body))
            return
        try:
            events = _ended(self.decoder.close())
        except InfronError as error:
            self._taker.take_failure(error)
        except Exception:
            self._broken()
        else:
            self._taker.take_events(events)

    def request_failed(self, error: InfronError) -> None:
        self._taker.attempt_over()
        onward = self._onward()
        if onward:
            self._taker.take_events(onward)
        else:
            self._taker.take_loss(error)

    def _onward(self) -> list[Event]:
        """What leads on from a connection that is lost, on wires where the answer does not depend on it."""
        if self._status != 200 or self._body is not None:
            return []
        try:
            events = self.decoder.close()
        except InfronError:
            return []
        return events if any(isinstance(event, Onward) for event in events) else []

    def let_go(self) -> None:
        """Nothing comes any more."""
        del self._taker

    # ---- answers that are no stream

    def _collect(self, data: bytes) -> None:
        assert self._body is not None
        self._body.append(data)
        self._size += len(data)
        if self._status < 300 and self._size > self._limit:
            what = f"{self._provider.name} sent an answer that is too large."
            self._taker.take_failure(ProviderUnavailable(what, provider=self._provider.id))
        elif self._status >= 300 and self._size > MAX_ERROR_BYTES:
            self._whole(b"".join(self._body)[:MAX_ERROR_BYTES])

    def _whole(self, body: bytes) -> None:
        provider = self._provider
        if 200 <= self._status < 300:
            try:
                events = self._sniffed(body)
            except InfronError as error:
                self._taker.take_failure(error)
            except Exception:
                self._broken()
            else:
                self._taker.take_events(events)
        elif self._asks_usage and provider.usage == "try" and self._status in (400, 422) and b"stream_options" in body:
            self._taker.take_refusal()
        else:
            self._taker.take_failure(
                self._wire.parse_error(self._status, self.decoder.headers, body, provider, self._key, time.time())
            )

    def _sniffed(self, body: bytes) -> list[Event]:
        if body.lstrip()[:6].startswith((b"data:", b"event:", b":")):  # a stream under a wrong content type
            return _ended(self.decoder.feed(body) + self.decoder.close())
        return self.decoder.whole(body)


def _ended(events: list[Event]) -> list[Event]:
    """The events up to the end of the body, which ends the stream where nothing else did."""
    return events if any(isinstance(event, Done | Failed | Onward) for event in events) else [*events, Done()]
