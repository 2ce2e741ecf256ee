"""The grammars of transports: server-sent events, and the messages of AWS's event stream."""

from __future__ import annotations

import random
from typing import Any

from fuzz.corpus import events_of, messages_of, recorded
from fuzz.promises import Case, Target, cuts_of, promise, size_of
from infron.errors import InfronError
from infron.wires import PROVIDER_WIRES, sse
from infron.wires.bedrock import eventstream


def check_sse(case: Case, chance: random.Random) -> None:
    most = chance.choice((60, 2_000, 16 << 20))

    def fed(pieces: list[bytes]) -> tuple[list[sse.Event], bool]:
        decoder, events = sse.Decoder(most), []
        try:
            for piece in pieces:
                events += decoder.feed(piece)
            promise(size_of(decoder) < 3 * most + 10_000 + len(max(pieces, key=len, default=b"")), "it holds too much")
            return events + decoder.close(), False
        except InfronError:
            return events, True

    events, refused = fed([case.data])
    for pieces in cuts_of(case.data, chance):
        again, refused_again = fed(pieces)
        promise(refused == refused_again, "a frame is too large only when it is cut, or only when it is not")
        promise(refused or events == again, "other events come when the bytes are cut")


def check_eventstream(case: Case, chance: random.Random) -> None:
    most = chance.choice((300, 16 << 20))

    def fed(pieces: list[bytes]) -> Any:
        decoder = eventstream.Decoder(most)
        messages = [message for piece in pieces for message in decoder.feed(piece)]
        for message in messages:
            try:
                headers = eventstream.headers_of(message.head)
                promise(eventstream.headers_of(eventstream_head(headers)) == headers, "headers change when written")
            except InfronError:
                pass
        return messages, str(decoder.broken)

    once = fed([case.data])
    for pieces in cuts_of(case.data, chance):
        promise(fed(pieces) == once, "other messages come when the bytes are cut")


def eventstream_head(headers: dict[str, eventstream.Value]) -> bytes:
    return eventstream.Decoder().feed(eventstream.encode(headers, b""))[0].head


def targets() -> dict[str, Target]:
    streams = [case for wire in PROVIDER_WIRES if wire != "bedrock" for case in recorded(wire)]
    return {
        "sse": Target(streams, events_of, check_sse),
        "eventstream": Target(recorded("bedrock"), messages_of, check_eventstream),
    }
