"""One attempt's answer as it comes from the provider, a stream, an error or one JSON, made into events.

It never knows the client, and never decides what an event or a failure leads to.
"""

from __future__ import annotations

import time
from typing import Any, Protocol, TypeVar

from infron.errors import InfronError, InternalError, ProviderUnavailable
from infron.events import Done, Event, Failed, Onward
from infron.runtime.exchange.providers import ProviderHandle
from infron.runtime.telemetry.bugs import report_bug
from infron.runtime.upstream.client import UpstreamRequest
from infron.wires.contract import Decoder
from infron.wires.wordings import says_no_stream

MAX_ERROR_BYTES = 64 << 10
USAGE_FIELD = "stream_options"  # by which a request asks for token counts
_REFUSES = frozenset((400, 403, 404, 405, 406, 422, 501))  # statuses of hosts that do not stream

_Reader = TypeVar("_Reader", contravariant=True)


class AnswerListener(Protocol[_Reader]):
    """Whom answers are for. Each call names the reader that it comes from."""

    def take_events(self, reader: _Reader, events: list[Event], /) -> None: ...
    def take_failure(self, reader: _Reader, error: InfronError, /) -> None: ...
    def take_loss(self, reader: _Reader, error: InfronError, /) -> None:
        """The connection is lost; what was taken before may be a complete answer."""

    def take_refusal(self, reader: _Reader, /) -> None:
        """The provider refused the request because of how it asks: for usage, or for a stream (`refuses_stream`)."""


class _Nobody:
    def take_events(self, reader: object, events: list[Event], /) -> None: ...
    def take_failure(self, reader: object, error: InfronError, /) -> None: ...
    def take_loss(self, reader: object, error: InfronError, /) -> None: ...
    def take_refusal(self, reader: object, /) -> None: ...


_NOBODY = _Nobody()


class AnswerReader:
    """Reads the answer, which may come in several requests."""

    _listener: AnswerListener[Any]
    _request: UpstreamRequest | None = None
    streams = True  # its request asks for a stream, where that can be asked for
    refuses_stream = False
    _kept: list[Event] = []  # noqa: RUF012

    def __init__(self, handle: ProviderHandle, limit: int, *, verbatim: bool, asks_usage: bool) -> None:
        """`limit`: bytes of a frame. `verbatim`: the client speaks the API of this wire. `asks_usage`: the request
        asks for token counts.
        """
        self.handle = handle
        self.asks_usage = asks_usage
        self.decoder: Decoder = handle.wire.Decoder(handle.provider, limit, handle.key, verbatim)
        self._limit = limit
        self._status = 0
        self._body: list[bytes] | None = None  # of an answer that is no stream
        self._size = 0

    def response_started(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._status = status
        self.decoder.headers = headers
        kind = media = self.handle.wire.MEDIA_TYPE
        for name, value in headers:
            if name == b"content-type":
                kind = value.lower()
                break
        streams = status == 200 and kind.startswith(media)
        self._body, self._size = None if streams else [], 0

    def data_received(self, data: bytes) -> None:
        if self._body is not None:
            self._collect(data)
            return
        try:
            events = self.decoder.feed(data)
        except InfronError as error:
            self._listener.take_failure(self, error)
            return
        except Exception:
            self._broken()
            return
        if events:
            self._listener.take_events(self, events)

    def _broken(self) -> None:
        """A bug in a decoder ends this exchange alone, settled like any other."""
        report_bug("decoding an answer")
        self._listener.take_failure(self, InternalError("The gateway could not read the provider's answer."))

    def response_ended(self) -> None:
        self._request = None  # not to be paused, aborted or released any more
        if self._body is not None:
            self._whole(b"".join(self._body))
            return
        try:
            events = _ended(self.decoder.close())
        except InfronError as error:
            self._listener.take_failure(self, error)
        except Exception:
            self._broken()
        else:
            self._listener.take_events(self, events)

    def request_failed(self, error: InfronError) -> None:
        self._request = None  # not to be paused, aborted or released any more
        self._kept = [] if self._status != 200 or self._body is not None else self._last()
        if any(isinstance(event, Onward) for event in self._kept):  # the answer does not depend on this connection
            self._listener.take_events(self, self._kept)
        else:
            self._listener.take_loss(self, error)

    def rest(self) -> list[Event]:
        """What its decoder kept until it was known that nothing follows; to be asked once, at the end."""
        return self._kept or self._last()

    def _last(self) -> list[Event]:
        try:
            return self.decoder.close()
        except InfronError:  # of bytes that nobody waits for
            return []
        except Exception:
            report_bug("ending an answer")
            return []

    def hear(self, listener: AnswerListener[Any]) -> None:
        """Answer to this one from now on."""
        self._listener = listener

    def let_go(self) -> None:
        """Whatever comes is nobody's any more. It ends the circle of references: no collector has to find it."""
        self._listener = _NOBODY

    # ---- answers that are no stream

    def _collect(self, data: bytes) -> None:
        assert self._body is not None
        self._body.append(data)
        self._size += len(data)
        if self._status < 300 and self._size > self._limit:
            provider = self.handle.provider
            what = f"{provider.name} sent an answer that is too large."
            self._listener.take_failure(self, ProviderUnavailable(what, provider=provider.id))
        elif self._status >= 300 and self._size > MAX_ERROR_BYTES:
            self._whole(b"".join(self._body)[:MAX_ERROR_BYTES])

    def _whole(self, body: bytes) -> None:
        if 200 <= self._status < 300:
            try:
                events = self._sniffed(body)
            except InfronError as error:
                self._listener.take_failure(self, error)
            except Exception:
                self._broken()
            else:
                self._listener.take_events(self, events)
        elif self.asks_usage and self._status in (400, 422) and self._is_refusal(body):
            self._listener.take_refusal(self)
        elif self._status in _REFUSES and self.is_without_stream(body.decode("utf-8", "replace")):
            self.refuses_stream = True
            self._listener.take_refusal(self)
        else:
            handle, headers = self.handle, self.decoder.headers
            failure = handle.wire.parse_error(self._status, headers, body, handle.provider, handle.key, time.time())
            self._listener.take_failure(self, failure)

    def _is_refusal(self, body: bytes) -> bool:
        """It may be. Callers can have any word repeated, so what this leads to must do no harm where it is none."""
        return self.handle.provider.usage == "try" and USAGE_FIELD.encode() in body

    def is_without_stream(self, said: str) -> bool:
        """Whether this error asks for a request for a whole answer. It may, as above."""
        return self.streams and self.handle.wire.whole_request is not None and says_no_stream(said)

    def _sniffed(self, body: bytes) -> list[Event]:
        if body.lstrip()[:6].startswith((b"data:", b"event:", b":")):  # a stream under a wrong content type
            return _ended(self.decoder.feed(body) + self.decoder.close())
        return self.decoder.whole(body)


def _ended(events: list[Event]) -> list[Event]:
    """The events up to the end of the body, which ends the stream where nothing else did."""
    return events if any(isinstance(event, Done | Failed | Onward) for event in events) else [*events, Done()]
