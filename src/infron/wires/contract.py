"""What a wire must be: the provider's side that exchanges speak, and the client's side that the server serves.

It never knows which wires there are (the package's registries do), nor an exchange: a wire is asked, and answers with
values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from infron.catalog.definitions import Provider
from infron.errors import InfronError
from infron.events import AnyClientEvent, Billed, Event
from infron.records import Kept
from infron.request import NO_TARGET, Outgoing, Request, Target
from infron.wires.errors import Headers

# ---- towards providers


class Decoder(Protocol):
    """One answer of a provider to events. Raises only InfronError.

    Nothing follows Onward or Failed, and nothing but a late UsageReported Done.
    `expected`: how many choices were asked for; 0: not known. `choices`: how many have been seen. `finished`: each of
    them has ended.
    `upstream_id`: the provider's own id of the answer.
    `cancel`: what must be sent to stop the work when the client leaves (definitions with `on_disconnect = "call"`).
    `headers`: those of the answer, set before its first byte is fed. `seed`: what no other answer has, of which the ids
    are made that calls lack.
    `further`: requests whose answers go on with this one's; set before the first byte of all.
    """

    upstream_id: str | None
    expected: int
    choices: int
    finished: bool
    cancel: Outgoing | None
    further: tuple[Outgoing, ...]
    headers: Headers
    seed: object

    def rename(self, names: Mapping[str, str]) -> None:
        """The request had to give tools other names: these -> the caller's own, by which its calls are told.

        To be said before its first byte is fed.
        """

    def feed(self, data: bytes) -> list[Event]:
        """What these bytes of the stream complete."""

    def close(self) -> list[Event]:
        """Nothing follows: what was complete but for its last delimiter, and what waited for the end. Not Done, unless
        that was said.
        """

    def whole(self, body: bytes) -> list[Event]:
        """A body that is no stream: an error with status 200, a whole answer, or what leads onward."""


class ProviderWire(Protocol):
    """The provider's side of a wire; a module."""

    MEDIA_TYPE: bytes  # how the content type of its streams begins
    DEFAULTS: dict[str, Any]  # fields of a definition that hold for any provider of this wire, unless it says otherwise
    CAN_CALL: bool  # a provider can be told to stop: definitions may have `on_disconnect = "call"`

    def encode_request(self, request: Request, provider: Provider, provider_model: str, ask_usage: bool, /) -> Outgoing:
        """What to send. `provider_model`: the provider's own id of the model.

        Raises Unsupported for content that cannot be carried; what merely steers the answer is left out, by name.
        """

    @property
    def whole_request(self) -> Callable[[Outgoing, Provider, str], Outgoing] | None:
        """Turns what `encode_request` gave, for this provider and its own id of the model, into a request for a whole
        answer, which `Decoder.whole` reads. None: this API has none.
        """

    def Decoder(self, provider: Provider, max_frame_bytes: int, key: str, verbatim: bool, /) -> Decoder:
        """For one answer. `key`: ours at this provider, which no message may repeat.

        `verbatim`: the client speaks this wire's API too, so that frames may go on as they came; else, and always on
        wires that no client speaks, it gives neutral events.
        """

    def parse_error(
        self, status: int, headers: Headers, body: bytes, provider: Provider, key: str, now: float, /
    ) -> InfronError:
        """A provider's error as ours. `now`: unix seconds."""


# ---- towards clients


class Encoder(Protocol):
    """Events to the bytes of one client's stream, frame by frame."""

    @property
    def media_type(self) -> bytes:
        """Of the stream."""

    @property
    def kept(self) -> Kept | None:
        """What of a complete answer its client may refer to; set by `close`."""

    def encode(self, event: AnyClientEvent, /) -> bytes:
        """The frames that tell of an event; nothing where the client needs none."""

    def keep_alive(self) -> bytes:
        """What says that the stream is alive, between two frames."""

    def usage(self, billed: Billed, /) -> bytes:
        """The counts that are billed, and what they cost."""

    def fail(self, error: InfronError, /) -> bytes:
        """The last frames of a stream that failed."""

    def close(self) -> bytes:
        """The last frames of a stream that is complete."""


class Accumulator(Protocol):
    """The same events to the one JSON of an answer that is not streamed."""

    @property
    def kept(self) -> Kept | None:
        """The same; set by `answer`."""

    def add(self, event: AnyClientEvent, /) -> None: ...
    def answer(self, billed: Billed, /) -> bytes:
        """The JSON."""


class ClientWire(Protocol):
    """The client's side of a wire; a module."""

    NAME: str  # in `Request.api`, or `Request.dialect`; that of the provider's side where both are the same API
    ID_HEADER: bytes  # where its clients look for an answer's id, beside ours; empty: nowhere

    @property
    def PATHS(self) -> tuple[str, ...]:
        """That take its requests; each below a version is served under `/api` too."""

    @property
    def NEAR(self) -> tuple[str, ...]:
        """How paths begin at which no API is, and an error is told in its form."""

    def parse(self, body: bytes, headers: Headers, target: Target = NO_TARGET, /) -> Request:
        """The request in a body that was sent to `target`. `headers`: names in lower case. Raises InvalidRequest that
        names the place.
        """

    def Encoder(self, id: str, created: int, request: Request, /) -> Encoder:
        """For one answer to this request. `created`: unix s."""

    def Accumulator(self, id: str, created: int, request: Request, /) -> Accumulator:
        """The same."""

    def render_error(self, error: InfronError, /) -> bytes:
        """The body of an HTTP error."""
