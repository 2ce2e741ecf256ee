"""An answer of an OpenAI host as neutral events, for clients that speak another API.

It never knows which API that is.
"""

from __future__ import annotations

from infron.catalog.definitions import Provider
from infron.events import Event, Verbatim
from infron.wires import sse
from infron.wires.openai.chat.decoder import VerbatimDecoder
from infron.wires.openai.chat.reader import Reader


class NeutralDecoder(VerbatimDecoder):
    """The same frames as neutral events."""

    def __init__(self, provider: Provider, max_frame_bytes: int, key: str) -> None:
        super().__init__(provider, max_frame_bytes, key)
        self._reader = Reader()

    def feed(self, data: bytes) -> list[Event]:
        return self._neutral(super().feed(data))

    def close(self) -> list[Event]:
        return self._neutral(super().close())

    def whole(self, body: bytes) -> list[Event]:
        return self._neutral(super().whole(body))

    def _neutral(self, events: list[Event]) -> list[Event]:
        neutral: list[Event] = []
        for event in events:
            if isinstance(event, Verbatim):
                neutral.extend(self._reader.events_of(event, (self.seed, self.upstream_id)))
            else:
                neutral.append(event)
        return neutral


def Decoder(
    provider: Provider, max_frame_bytes: int = sse.MAX_FRAME_BYTES, key: str = "", verbatim: bool = True
) -> VerbatimDecoder:
    """As the contract says."""
    return (VerbatimDecoder if verbatim else NeutralDecoder)(provider, max_frame_bytes, key)
