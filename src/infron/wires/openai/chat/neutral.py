"""An answer of an OpenAI host as neutral events, for clients that speak another API.

It never knows which API that is.
"""

from __future__ import annotations

from msgspec import UNSET

from infron.catalog.definitions import Provider
from infron.events import Event, TextDelta, ToolCallDelta, Verbatim
from infron.wires import sse
from infron.wires.openai.chat.decoder import VerbatimDecoder
from infron.wires.openai.chat.delta import Delta
from infron.wires.openai.chat.frame import NO_MESSAGE, Frame
from infron.wires.openai.chat.reader import Reader


class NeutralDecoder(VerbatimDecoder):
    """The same frames as neutral events. Those that have to be repaired are first made what would be handed on."""

    def __init__(self, provider: Provider, max_frame_bytes: int, key: str) -> None:
        super().__init__(provider, max_frame_bytes, key)
        self._reader = Reader()

    def feed(self, data: bytes) -> list[Event]:
        return self._neutral(super().feed(data))

    def close(self) -> list[Event]:
        return self._neutral(super().close())

    def whole(self, body: bytes) -> list[Event]:
        return self._neutral(super().whole(body))

    def _alike(self, facts: Frame, payload: bytes, events: list[Event]) -> bool:
        """Take a frame that goes on with a text, or with the arguments of a call: what nearly all frames are."""
        choices, usage = facts.choices, facts.usage
        counts = usage is not UNSET and usage is not None
        if not choices or len(choices) > 1 or facts.error is not UNSET or counts or self._progress.riding:
            return super()._alike(facts, payload, events)
        choice = choices[0]
        index, delta = choice.index, choice.delta
        known = self._plain.get(index)
        if (
            known is not None
            and index is not None
            and delta is not None
            and choice.finish_reason is None
            and choice.usage is None
            and choice.message is NO_MESSAGE
        ):
            content, calls = delta.content, delta.tool_calls
            if content.__class__ is str and delta == Delta(content, delta.role):
                if content:
                    events.append(TextDelta(content, index))
                return True
            if calls and known.calls is not None and delta == Delta(content or None, delta.role, tool_calls=calls):
                arguments = known.calls.go_on(calls) if not content else None
                if arguments:
                    events.append(ToolCallDelta(calls[0]["index"], arguments, index))
                if arguments is not None:
                    return True
        return super()._alike(facts, payload, events)

    def _said(self, delta: Delta, index: int, rest: bytes, events: list[Event]) -> bool:
        events += self._reader.said(delta, index, (self.seed, self.upstream_id))
        return True

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
