"""Replicate's predictions: one is made, then streamed or looked at again and again, and at last asked for its counts.

It never knows who the caller is or what a token costs, and never lets our key go to a host that is not Replicate's.
Requests are in `replicate_request`. Facts: Replicate's HTTP reference, its pages on streaming and on the life of a
prediction (2025), and the requests that its Python client recorded.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from infron.catalog.definitions import Provider
from infron.errors import InfronError, ProviderUnavailable
from infron.events import Done, Event, Finished, Onward, Started, TextDelta, UsageReported
from infron.money import Usage
from infron.request import Outgoing
from infron.wires import lenient_json, sse
from infron.wires.decoding import SseDecoder
from infron.wires.replicate.request import JSON
from infron.wires.usage import tokens, usage_of

MEDIA_TYPE = b"text/event-stream"
POLL_SECONDS = 0.5  # what Replicate's own clients wait between two looks at a prediction
# Streams that ended early one after the other without a word of output, until we only look at the prediction.
MOST_BARREN = 20
# How often we look for the counts of a prediction that has ended for its stream but not yet for the API.
MOST_LATE = 4
# Where streams are served. The last is the host of `urls.stream` for language models.
_HOSTS = (".replicate.com", ".replicate.delivery", ".replicate.net")


class _Urls(Struct, gc=False):
    stream: Any = None


class _Prediction(Struct, gc=False):
    id: Any = None
    status: Any = None
    output: Any = None
    error: Any = None
    metrics: Any = None
    urls: _Urls | bool | int | float | str | list[Any] | None = None  # what is no object is none


class _Ending(Struct, gc=False):
    reason: Any = None


_ENDED = frozenset(("succeeded", "failed", "canceled", "aborted"))
_prediction = msgspec.json.Decoder(_Prediction)
_ending = msgspec.json.Decoder(_Ending)


class Decoder(SseDecoder):
    """A prediction to events, over several answers: `whole` takes those that are a prediction, `feed` its stream.

    After Onward nothing comes of the same answer; the next one begins with `whole`, or is the
    stream that `whole` led to. `close` may lead onward too: a stream that ends early is taken up again where it was.
    """

    def __init__(
        self, provider: Provider, max_frame_bytes: int = sse.MAX_FRAME_BYTES, key: str = "", verbatim: bool = False
    ) -> None:
        super().__init__(provider, max_frame_bytes, key)
        self._max = max_frame_bytes
        self._path = ""  # of the prediction, below the row's base_url
        self._stream = ""
        self._last_id = ""
        self._delivered = 0  # characters of output
        self._barren = 0
        self._late = 0

    # ---- its stream

    def close(self) -> list[Event]:
        """The stream ended: with a `done` that lacks only its blank line, or too early.

        A piece of output that lacks its blank line may be cut, so it is not counted as delivered.
        """
        events: list[Event] = []
        for frame in [] if self._over else self._sse.close():
            if frame.event in ("done", "error") and frame.data[-1:] == b"}":
                self._take(frame, events)
        if not self._over and self._path:
            self._look(events, POLL_SECONDS)
        return events

    def _take(self, frame: sse.Event, events: list[Event]) -> None:
        if frame.event == "output":
            if frame.id:
                self._last_id = frame.id
            text = frame.data.decode("utf-8", "replace")
            if text:
                self._delivered += len(text)
                self._barren = 0
                events.append(TextDelta(text))
        elif frame.comment is not None:
            # `:408: 408 Request Timeout`, after 30 s without output. Replicate sends it for a prediction that is gone
            # or whose end we missed, too, so that it is looked at before its stream is asked for again.
            if frame.comment.startswith(b"408") and self._path:
                self._look(events)
        elif frame.event == "done":
            self._done(frame.data, events)
        elif frame.event == "error":
            self.cancel = None
            self._fail_with(frame.data, events)

    def _done(self, data: bytes, events: list[Event]) -> None:
        try:
            ending = lenient_json.decode(data, _ending) if data.strip() else None
        except InfronError:
            ending = None
        reason = ending.reason if ending is not None else None
        if not reason:
            self._finish("done", events)
            if self._path:
                self._look(events)
            else:
                self._over = True
                events.append(Done())
        elif reason == "error" and self._path:
            self._look(events)  # it knows what went wrong
        else:
            self.cancel = None
            self._fail(self._ended(reason), events)

    # ---- the prediction itself

    def whole(self, body: bytes) -> list[Event]:
        """A prediction: just made, or looked at later. Anything else is an error."""
        events: list[Event] = []
        self._over = False
        try:
            prediction = lenient_json.decode(body, _prediction)
        except InfronError:
            self._fail(self._broken("answered with something that is not JSON"), events)
            return events
        if prediction is None or not _is_name(prediction.id) or not isinstance(prediction.status, str):
            self._fail_with(body, events)
            return events
        if not self._path:
            self._begin(prediction, events)
        if prediction.status in _ENDED:
            self._settle(prediction, events)
        else:
            self._wait(prediction, events)
        return events

    def _begin(self, prediction: _Prediction, events: list[Event]) -> None:
        self.upstream_id = prediction.id
        self._path = f"/predictions/{prediction.id}"
        self.cancel = Outgoing(url=f"{self._path}/cancel", headers=JSON)
        stream = prediction.urls.stream if isinstance(prediction.urls, _Urls) else None
        if isinstance(stream, str) and is_trusted(stream, self._provider):
            self._stream = stream
        events.append(Started(prediction.id))

    def _wait(self, prediction: _Prediction, events: list[Event]) -> None:
        """It still runs: on to its stream, or to another look at it."""
        if self.finished:
            self._late += 1
            if self._late < MOST_LATE:
                self._look(events, POLL_SECONDS)
            else:  # the answer is complete, only its counts are not known
                self._over = True
                events.append(Done())
            return
        if self._stream and self._barren < MOST_BARREN:
            self._barren += 1
            self._sse = sse.Decoder(self._max)
            headers = [("Accept", "text/event-stream"), ("Cache-Control", "no-store")]
            if self._last_id.isascii() and self._last_id.isprintable() and 0 < len(self._last_id) <= 200:
                headers.append(("Last-Event-ID", self._last_id))
            events.append(Onward(Outgoing(method="GET", url=self._stream, headers=tuple(headers))))
            return
        self._rest(prediction, events)
        self._look(events, POLL_SECONDS)

    def _settle(self, prediction: _Prediction, events: list[Event]) -> None:
        """It has ended."""
        self.cancel = None
        if not self.finished and prediction.status == "succeeded":
            if not isinstance(prediction.output, str | list | None):
                self._fail(self._broken("answered with something that is not text"), events)
                return
            self._rest(prediction, events)
            self._finish("succeeded", events)
        usage = _usage(prediction.metrics)
        if usage is not None:
            events.append(UsageReported(usage))
        if self.finished:
            self._over = True
            events.append(Done())
        elif prediction.status == "failed" and isinstance(prediction.error, str) and prediction.error:
            self._fail_with(msgspec.json.encode({"detail": prediction.error}), events)
        else:
            self._fail(self._ended(prediction.status), events)

    def _rest(self, prediction: _Prediction, events: list[Event]) -> None:
        """What of its output was not delivered yet."""
        output = prediction.output
        pieces = output if isinstance(output, list) else [output]
        text = "".join(piece for piece in pieces if isinstance(piece, str))
        # Counted as a stream would have given it, where each line end is a line feed.
        text = text.replace("\r\n", "\n").replace("\r", "\n")[self._delivered :]
        if text:
            self._delivered += len(text)
            events.append(TextDelta(text))

    def _look(self, events: list[Event], delay: float = 0.0) -> None:
        self._over = True
        events.append(Onward(Outgoing(method="GET", url=self._path, headers=JSON, delay=delay)))

    def _finish(self, native: str, events: list[Event]) -> None:
        """Replicate does not say whether an answer was cut at its limit."""
        self.finished = True
        self.cancel = None
        events.append(Finished("stop", native))

    def _ended(self, status: object) -> ProviderUnavailable:
        return self._broken(f"ended the prediction as {self._shown(str(status))}")


def is_trusted(url: str, provider: Provider) -> bool:
    """Whether our key may go to this address, which an answer named: a host of Replicate's, or the row's own origin."""
    if not (url.isascii() and url.isprintable()) or any(char in url for char in " \\#@"):
        return False
    try:
        there, own = urlsplit(url), urlsplit(provider.base_url or "")
        place = (there.scheme, there.hostname, there.port)
        if place == (own.scheme, own.hostname, own.port) and there.hostname:
            return True
    except ValueError:
        return False
    return there.scheme == "https" and place[2] in (None, 443) and (there.hostname or "").endswith(_HOSTS)


def _is_name(id: object) -> bool:
    """Whether an id can be a piece of a path as it is."""
    return isinstance(id, str) and 0 < len(id) <= 100 and id.isascii() and id.replace("-", "").isalnum()


def _usage(metrics: object) -> Usage | None:
    """The counts of a prediction; only official language models have them."""
    if not isinstance(metrics, dict):
        return None
    prompt, completion = tokens(metrics.get("input_token_count")), tokens(metrics.get("output_token_count"))
    return None if prompt is None or completion is None else usage_of(prompt, completion)
