"""What the client is told: encoded, held until it may go out, in one piece where the request is not streamed.

It never knows a provider, and never decides when something goes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from infron.errors import InfronError
from infron.events import AnyClientEvent, Billed, Verbatim
from infron.records import Bill, Kept
from infron.request import Headers, Request
from infron.runtime.telemetry.bugs import report_bug
from infron.wires import CLIENT_WIRES
from infron.wires.contract import Accumulator, ClientWire, Encoder

MAX_HELD_BYTES = 256 << 10  # frames without content, and content that waits for the ledger
MAX_ACCUMULATED_BYTES = 64 << 20
JSON = b"application/json"
BLANK = b"\n"  # a sign of life before JSON, which may begin with white space


class Responder(Protocol):
    """Where the answer goes; the server's side of a request. `headers`: that its head is to have beside the usual."""

    headers: Headers

    def start(self, id: str, media_type: bytes) -> None:
        """The head of a body of this type that is yet to come, with the exchange's id in it."""

    def write(self, data: bytes) -> None: ...
    def finish(self, data: bytes) -> None: ...
    def answer(self, status: int, headers: Headers, body: bytes) -> None: ...
    def unsent(self) -> int:
        """Bytes that the client has not taken yet."""

    def hang_up(self) -> None:
        """Close the connection; what the client has not taken yet is lost."""


class Delivery:
    """`held`: frames that may not go out yet. `full`: with what was taken last there were more than should be.

    `comments`: sent since anything else was. `last_write`: loop time, s.
    """

    def __init__(self, request: Request, id: str, created: int, responder: Responder, now: float) -> None:
        """`created`: unix s."""
        self._wire = CLIENT_WIRES[request.dialect or request.api]
        self._request = request
        self._id = id
        self._created = created
        self.responder = responder
        self.encoder = self._new_encoder()
        self._accumulator: Accumulator | None = None if request.stream else self._new_accumulator()
        self.held: list[bytes] = []
        self.size = 0  # bytes held, or accumulated
        self.full = False
        self.comments = 0
        self._started = False
        self._over = False
        self.last_write = self._began = now

    def _new_encoder(self) -> Encoder:
        return self._wire.Encoder(self._id, self._created, self._request)

    def _new_accumulator(self) -> Accumulator:
        return self._wire.Accumulator(self._id, self._created, self._request)

    # ---- what comes in

    def take(self, events: Sequence[AnyClientEvent]) -> bool:
        """Encode and hold, or accumulate. False: there is more of the answer than is kept."""
        if self._accumulator is not None:
            return all(self._accumulate(self._accumulator, event) for event in events)
        encode, held, size = self.encoder.encode, self.held, self.size
        for event in events:
            frame = encode(event)
            size += len(frame)
            held.append(frame)
        self.size, self.full = size, size > MAX_HELD_BYTES
        return True

    def _accumulate(self, accumulator: Accumulator, event: AnyClientEvent) -> bool:
        if isinstance(event, Verbatim):
            self.size += len(event.rest) + sum(len(bytes(raw)) for raw in event.fields.values())
        else:
            self.size += 100 + len(event.text)
        if self.size > MAX_ACCUMULATED_BYTES:
            return False
        accumulator.add(event)
        return True

    def shed(self) -> None:
        """Let go of the oldest of what is held, which has no content."""
        while self.size > MAX_HELD_BYTES and self.held:
            self.size -= len(self.held.pop(0))

    def drop(self) -> None:
        """Forget all that came of the attempt at hand; the next one's stream begins anew."""
        self.held.clear()
        self.size = 0
        self.encoder = self._new_encoder()
        if self._accumulator is not None:
            self._accumulator = self._new_accumulator()

    # ---- what goes out

    def start(self) -> None:
        if self._accumulator is None:
            self._started = True
            self.responder.start(self._id, self.encoder.media_type)

    def send(self, events: Sequence[AnyClientEvent], now: float) -> None:
        """Encode and write, at once."""
        frames = [*map(self.encoder.encode, events)]
        self.last_write = now
        self.responder.write(frames[0] if len(frames) == 1 else b"".join(frames))

    def write(self, now: float) -> None:
        held = self.held
        data = held[0] if len(held) == 1 else b"".join(held)
        held.clear()
        self.size = 0
        self.last_write = now
        self.responder.write(data)

    def comment(self, now: float) -> None:
        self.comments += 1
        self.last_write = now
        if self._accumulator is None:
            self.responder.write(self.encoder.keep_alive())
            return
        if not self._started:
            self._started = True
            self.responder.start(self._id, JSON)
        self.responder.write(BLANK)

    def finish(self, bill: Bill, raw: dict[str, Any] | None, provider: str, first: float, now: float) -> None:
        """The end of a complete answer. `raw`: the provider's own usage report. `first`: when its content began; 0:
        there was none.
        """
        seconds = (first - self._began if first else 0.0), now - self._began
        if self._accumulator is not None:
            billed = _billed(bill, raw, provider, seconds)
            body = self._accumulator.answer(billed)
            self._over = True
            if self._started:
                self.responder.finish(body)
            else:
                self.responder.answer(200, _ids(self._wire, self._id), body)
            return
        if self._request.include_usage is not False:
            self.held.append(self.encoder.usage(_billed(bill, raw, provider, seconds)))
        self.held.append(self.encoder.close())
        self._end()

    @property
    def kept(self) -> Kept | None:
        """What of the finished answer its client may refer to."""
        return (self._accumulator or self.encoder).kept

    def answer(self, error: InfronError) -> None:
        answer = error_answer(error, self._wire, self._id)
        if not self._over:
            self._over = True
            self.responder.answer(*answer)

    def fail(self, error: InfronError, *, with_held: bool) -> None:
        """The error in the stream, and its end. `with_held`: after what is held, which is the reader's too."""
        if not with_held:
            self.held.clear()
        error.exchange = self._id
        whole = self._accumulator is not None
        self.held.append(self._wire.render_error(error) if whole else self.encoder.fail(error))
        self._end()

    def _end(self) -> None:
        data = b"".join(self.held)
        self.held.clear()
        self.size = 0
        if not self._over:
            self._over = True
            self.responder.finish(data)

    def break_off(self, error: InfronError) -> None:
        """Something of this went wrong: end it, with this error if the client can still be told."""
        try:
            if self._over:  # how much of its end went out is not known
                self.hang_up()
            elif self._started:
                self.fail(error, with_held=False)
            else:
                self.answer(error)
        except Exception:
            report_bug("telling of a bug")
            self.hang_up()

    def hang_up(self) -> None:
        """Close the client's connection; what it has not taken yet is lost."""
        self._over = True
        self.responder.hang_up()


def _ids(wire: ClientWire, id: str) -> Headers:
    """The headers that tell an answer's id."""
    headers = [(b"x-generation-id", id.encode())]
    return [*headers, (wire.ID_HEADER, id.encode())] if wire.ID_HEADER else headers


def _billed(bill: Bill, raw: dict[str, Any] | None, provider: str, seconds: tuple[float, float]) -> Billed:
    return Billed(
        usage=bill.usage,
        charge=bill.parts,
        estimated=bill.estimated,
        provider=provider,
        raw=raw,
        seconds=seconds,
    )


def error_answer(error: InfronError, wire: ClientWire, id: str | None = None) -> tuple[int, Headers, bytes]:
    """(status, headers, body) of an error as an HTTP answer to a client of this API."""
    headers = [(name.encode(), value.encode()) for name, value in error.headers.items()]
    if id:
        headers += _ids(wire, id)
        error.exchange = id
    if error.retry_after is not None:
        headers.append((b"retry-after", str(max(1, round(error.retry_after))).encode()))
    if error.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if error.should_retry else b"false"))
    return error.status, headers, wire.render_error(error)
