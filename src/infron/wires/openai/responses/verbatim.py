"""An answer of a host of the Responses API to a client that speaks it too: its events go on as they came.

It never knows the client, nor what a token costs. What client libraries would break on is put right: events without a
number, and the events of an answer that came in one piece.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from infron.catalog.definitions import Provider
from infron.events import ClientEvent, Event, Finished, Verbatim
from infron.wires import sse
from infron.wires.decoding import one_line
from infron.wires.lenient_json import dicts_in, string_in
from infron.wires.openai.responses.decoder import NeutralDecoder, place_of
from infron.wires.openai.responses.event import BEGINNINGS, ENDS, Frame

_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode

_ARGUMENTS = frozenset(("response.custom_tool_call_input.delta", "response.function_call_arguments.delta"))
_TEXTS = frozenset(
    (
        "response.output_text.delta",
        "response.reasoning_summary_text.delta",
        "response.reasoning_text.delta",
        "response.refusal.delta",
    )
)
_SILENT = ("message", "reasoning")  # items that say nothing as they begin
MOST_KINDS = 100


class VerbatimDecoder(NeutralDecoder):
    """One answer to its own events: of each the neutral reading says what it commits to and counts.

    Of a Verbatim `fields` holds its `type`; and `response`, where a whole response stands in it: then `rest` is empty.
    """

    def __init__(
        self, provider: Provider, max_frame_bytes: int = sse.MAX_FRAME_BYTES, key: str = "", verbatim: bool = True
    ) -> None:
        super().__init__(provider, max_frame_bytes, key)
        self._number = 0
        self._kinds: dict[str, dict[str, Raw]] = {}
        self._bare: set[int] = set()  # places of calls whose arguments are no JSON, for they are nothing

    def _tell(self, kind: str, frame: Frame, payload: bytes, events: list[Event]) -> None:
        if (kind in _TEXTS or kind in _ARGUMENTS) and isinstance(frame.delta, str):
            (self._told if kind in _TEXTS else self._argued).add(place_of(frame))
            content = frame.delta != ""
            events.append(Verbatim(self._named(kind), content, frame.delta, self._line(kind, frame, payload)))
            return
        told: list[Event] = []
        super()._tell(kind, frame, payload, told)
        if kind.startswith("response.") and not (self._over and not self.finished):
            said = [event for event in told if isinstance(event, ClientEvent)]
            content, text = any([event.content for event in said]), "".join([event.text for event in said])
            events.append(self._handed_on(kind, frame, payload, content, text))
        for event in told:
            if isinstance(event, Finished):
                events.append(Finished(event.reason, event.native, told=True))
            elif not isinstance(event, ClientEvent):
                events.append(event)

    def _argue(self, place: int, arguments: str, events: list[Event]) -> None:
        if not arguments and place in self._calls and place not in self._argued:
            self._bare.add(place)
        super()._argue(place, arguments, events)

    def _handed_on(self, kind: str, frame: Frame, payload: bytes, content: bool, text: str) -> Verbatim:
        fields = self._named(kind)
        if self._bare:
            payload = self._with_arguments(kind, frame, payload)
        if self._names and b'"name"' in payload:
            payload = _encode(self._with_own_names(msgspec.json.decode(payload)))
        if (kind in BEGINNINGS or kind in ENDS) and isinstance(frame.response, dict):
            self._number += 1
            return Verbatim({**fields, "response": _fields(payload)["response"]}, content, text)
        if kind == "response.output_item.added" and isinstance(frame.item, dict):
            content = content or string_in(frame.item, "type") not in _SILENT  # the host's own tools begin to work
        return Verbatim(fields, content, text, self._line(kind, frame, payload))

    def _with_own_names(self, value: Any) -> Any:
        """Calls by the caller's own names of tools: in an item, in a whole response, or at the end of arguments."""
        response = value.get("response")
        items = response.get("output") if isinstance(response, dict) else [value.get("item"), value]
        for item in items if isinstance(items, list) else ():
            if isinstance(item, dict) and isinstance(name := item.get("name"), str) and not item.get("namespace"):
                item["name"] = self._names.get(name, name)
        return value

    def _with_arguments(self, kind: str, frame: Frame, payload: bytes) -> bytes:
        """An event that tells a call as a whole, with arguments that agents can read: `{}` where there are none."""
        place = place_of(frame)
        if kind == "response.function_call_arguments.done" and place in self._bare:
            return _encode({**_fields(payload), "arguments": "{}"})
        if kind == "response.output_item.done" and place in self._bare and isinstance(frame.item, dict):
            return _encode({**_fields(payload), "item": {**frame.item, "arguments": "{}"}})
        if kind in ENDS and isinstance(frame.response, dict):
            output = dicts_in(frame.response, "output")
            for place in self._bare.intersection(range(len(output))):
                if output[place].get("arguments") == "":
                    output[place]["arguments"] = "{}"
            return _encode({**_fields(payload), "response": frame.response})
        return payload

    def _named(self, kind: str) -> dict[str, Raw]:
        """The fields of each event of this kind."""
        known = self._kinds.get(kind)
        if known is None:
            known = {"type": Raw(_encode(kind))}
            if len(self._kinds) < MOST_KINDS:
                self._kinds[kind] = known
        return known

    def _line(self, kind: str, frame: Frame, payload: bytes) -> bytes:
        number, self._number = self._number, self._number + 1
        if type(frame.sequence_number) is int and frame.type == kind and not self._order.odd:
            return one_line(payload)
        return one_line(_encode({**_fields(payload), "sequence_number": number, "type": kind}))


def Decoder(
    provider: Provider, max_frame_bytes: int = sse.MAX_FRAME_BYTES, key: str = "", verbatim: bool = False
) -> NeutralDecoder:
    """As the contract says."""
    return (VerbatimDecoder if verbatim else NeutralDecoder)(provider, max_frame_bytes, key)
