"""An answer of a host of Gemini's API to a client that speaks it too: its frames go on as they came.

It never knows the client, nor what a token costs. What is no strict JSON in one line is put right.
"""

from __future__ import annotations

from msgspec import Raw

from infron.catalog.definitions import Provider
from infron.events import ClientEvent, Event, Finished, Verbatim
from infron.wires import lenient_json, sse
from infron.wires.decoding import one_line
from infron.wires.gemini.decoder import Decoder as NeutralDecoder
from infron.wires.gemini.frame import Frame

_NO_MEMBERS: dict[str, Raw] = {}


class VerbatimDecoder(NeutralDecoder):
    """One answer to its own frames, as events: of each the neutral reading says what it commits to and counts."""

    _broken_json = False  # the frame at hand is no strict JSON

    def _frame(self, payload: bytes, events: list[Event]) -> None:
        told: list[Event] = []
        self._broken_json = False
        super()._frame(payload, told)
        if self._broken_json and (not told or any([isinstance(event, Verbatim) for event in told])):
            events += told  # it says nothing, or holds frames in a list, of which each has told itself
            return
        if not self._over and payload.strip():  # else it was no frame, or tells of a failure
            said = [event for event in told if isinstance(event, ClientEvent)]
            text = said[0].text if len(said) == 1 else "".join([event.text for event in said])
            content = any([event.content for event in said])
            events.append(Verbatim(_NO_MEMBERS, content, text, self._written(payload)))
        for event in told:
            if isinstance(event, Finished):
                events.append(Finished(event.reason, event.native, event.choice, told=True))
            elif not isinstance(event, ClientEvent):
                events.append(event)

    def _repaired(self, payload: bytes, events: list[Event]) -> Frame | None:
        frame = super()._repaired(payload, events)
        self._broken_json = True  # now that frames within it were read
        return frame

    def _written(self, payload: bytes) -> bytes:
        if self._broken_json:
            payload = lenient_json.repaired(payload)
        if sse.CR in payload:
            payload = payload.replace(b"\r", b" ")
        return one_line(payload)

    def _tell_ends(self, events: list[Event]) -> None:
        """They stand in its frames."""
        told: list[Event] = []
        super()._tell_ends(told)
        events += [Finished(e.reason, e.native, e.choice, told=True) for e in told if isinstance(e, Finished)]


def Decoder(
    provider: Provider, max_frame_bytes: int = sse.MAX_FRAME_BYTES, key: str = "", verbatim: bool = False
) -> NeutralDecoder:
    """As the contract says."""
    return (VerbatimDecoder if verbatim else NeutralDecoder)(provider, max_frame_bytes, key)
