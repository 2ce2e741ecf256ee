"""What is mutated: the recorded answers of each wire, and how their bytes fall into frames."""

from __future__ import annotations

import json
import re
from pathlib import Path

from fuzz.promises import Case
from infron.errors import InfronError
from infron.wires.bedrock import eventstream

CASES = Path(__file__).parents[1] / "wires" / "cases"


def recorded(wire: str) -> list[Case]:
    cases = []
    for path in sorted((CASES / wire.replace("-", "_")).glob("*.bytes")):
        told = json.loads(path.with_suffix(".json").read_text())
        about = {name: told[name] for name in ("row", "quirks", "whole") if name in told}
        cases.append(Case(path.stem, path.read_bytes(), about))
    return cases


def whole_of(data: bytes) -> list[bytes]:
    return [data] if data else []


def events_of(data: bytes) -> list[bytes]:
    """Server-sent events, each with its blank line."""
    return [frame for frame in re.split(rb"(?<=\n\n)|(?<=\n\r\n)|(?<=\r\r)", data) if frame]


def messages_of(data: bytes) -> list[bytes]:
    return [framed(message, message.payload) for message in eventstream.Decoder().feed(data)]


def framed(message: eventstream.Message, payload: bytes) -> bytes:
    try:
        return eventstream.encode(eventstream.headers_of(message.head), payload)
    except InfronError:
        return b""
