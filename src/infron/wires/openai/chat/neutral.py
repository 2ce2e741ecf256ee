"""An answer of an OpenAI host as neutral events, for clients that speak another API.

It never knows which API that is.
"""

from __future__ import annotations

from msgspec import UNSET, Raw

from infron.catalog.definitions import Provider
from infron.events import Event, Finished, TextDelta, ToolCallDelta, Verbatim
from infron.wires import sse
from infron.wires.openai.chat.decoder import VerbatimDecoder
from infron.wires.openai.chat.delta import Delta
from infron.wires.openai.chat.frame import NO_MESSAGE, ChoiceFacts, Frame
from infron.wires.openai.chat.progress import Progress
from infron.wires.openai.chat.reader import Reader
from infron.wires.openai.chat.repair import Choice

_NO_CHOICE = ChoiceFacts()


class NeutralProgress(Progress):
    """One whose ends are told without their frames, where these say no more."""

    def _hand_on(self, root: dict[str, Raw], rest: bytes, choice: Choice, events: list[Event]) -> None:
        if choice.legacy or rest.find(b'"native_finish_reason"') >= 0:
            super()._hand_on(root, rest, choice, events)
        else:
            events.append(Finished(choice.finish_reason(), "", choice.index))


class NeutralDecoder(VerbatimDecoder):
    """The same frames as neutral events. Those that have to be repaired are first made what would be handed on."""

    _Progress = NeutralProgress

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
        choices = facts.choices
        choice = choices[0] if choices and len(choices) == 1 else _NO_CHOICE
        index, delta, known = choice.index, choice.delta, self._plain.get(choice.index)
        if (
            known is None
            or index is None
            or delta is None
            or choice.finish_reason is not None
            or choice.usage is not None
            or choice.message is not NO_MESSAGE
            or (facts.usage is not UNSET and facts.usage is not None)
            or facts.error is not UNSET
            or self._progress.riding
        ):
            return super()._alike(facts, payload, events)
        content, calls = delta.content, delta.tool_calls
        if content.__class__ is str and delta == Delta(content, delta.role):
            if content:
                events.append(TextDelta(content, index))
            return True
        if calls and known.calls is not None and not content and delta == Delta(content, delta.role, tool_calls=calls):
            arguments = known.calls.go_on(calls)
            if arguments is not None:
                if arguments:
                    events.append(ToolCallDelta(calls[0]["index"], arguments, index))
                return True
        return super()._alike(facts, payload, events)

    def _said(self, delta: Delta, index: int, rest: bytes, events: list[Event]) -> bool:
        events.extend(self._reader.said(delta, index, (self.seed, self.upstream_id)))
        return True

    def _neutral(self, events: list[Event]) -> list[Event]:
        neutral: list[Event] = []
        for event in events:
            if event.__class__ is Verbatim:
                neutral.extend(self._reader.events_of(event, (self.seed, self.upstream_id)))
            else:
                neutral.append(event)
        return neutral


def Decoder(
    provider: Provider, max_frame_bytes: int = sse.MAX_FRAME_BYTES, key: str = "", verbatim: bool = True
) -> VerbatimDecoder:
    """As the contract says."""
    return (VerbatimDecoder if verbatim else NeutralDecoder)(provider, max_frame_bytes, key)
