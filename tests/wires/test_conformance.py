"""What every native wire promises: each `cases/WIRE/NAME.bytes` with the events that it must give beside it.

A case: `{"about": …, "row": fields of the provider's row, "whole": true where the body is no stream, "events": […]}`.
An event: `{"TextDelta": {fields that are not their default}}`, `"Done"`, or `{"Failed": [status, type, message]}`.
"""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infron.catalog.definitions import Provider
from infron.errors import InfronError
from infron.events import Done, Event, Failed, Onward
from infron.wires import PROVIDER_WIRES

CASES = Path(__file__).parent / "cases"
NATIVE = sorted(set(PROVIDER_WIRES) - {"openai-chat"})
UNSTREAMED = frozenset(wire for wire in NATIVE if wire.endswith("-embeddings"))  # one JSON, which HTTP ends
NAMES = [(wire, path.stem) for wire in NATIVE for path in sorted((CASES / wire.replace("-", "_")).glob("*.bytes"))]
MOST = 16 << 20


def row_of(wire: str, case: dict[str, Any]) -> Provider:
    return msgspec.convert({"id": "mock", "name": "Mock", "wire": wire, **case.get("row", {})}, Provider)


def decoded(wire: str, case: dict[str, Any], pieces: list[bytes]) -> list[Event]:
    decoder = PROVIDER_WIRES[wire].Decoder(row_of(wire, case), MOST, "")
    if case.get("whole"):
        return decoder.whole(b"".join(pieces))
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.close()


def shown(event: Event) -> Any:
    if isinstance(event, Done):
        return "Done"
    if isinstance(event, Failed):
        assert event.error.provider == "mock"
        return {"Failed": [event.error.status, event.error.error_type, event.error.message]}
    defaults = {f.name: f.default for f in msgspec.structs.fields(event)}
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    kept = {name: value for name, value in fields.items() if value != defaults[name]}
    return {type(event).__name__: json.loads(msgspec.json.encode(kept))}


def case_of(wire: str, name: str) -> tuple[bytes, dict[str, Any]]:
    place = CASES / wire.replace("-", "_")
    return (place / f"{name}.bytes").read_bytes(), json.loads((place / f"{name}.json").read_text())


@pytest.mark.parametrize(("wire", "name"), NAMES)
def test_a_stream_gives_its_events_however_it_is_cut(wire: str, name: str) -> None:
    data, case = case_of(wire, name)
    assert [shown(event) for event in decoded(wire, case, [data])] == case["events"]
    if case.get("whole"):
        return
    pieces = [data[i : i + 1] for i in range(len(data))]
    assert [shown(event) for event in decoded(wire, case, pieces)] == case["events"]
    chance = random.Random(name)
    for _ in range(10):
        edges = [0, *sorted(chance.randrange(len(data) + 1) for _ in range(5)), len(data)]
        pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
        assert [shown(event) for event in decoded(wire, case, pieces)] == case["events"]


@pytest.mark.parametrize(("wire", "name"), NAMES)
@pytest.mark.parametrize("trailing", [b"\n\ndata: {}\n\n", b"\xff\x00garbage", b'\n\n{"error": "late"}\n'])
def test_nothing_that_follows_the_end_changes_it(wire: str, name: str, trailing: bytes) -> None:
    data, case = case_of(wire, name)
    last = case["events"][-1] if case["events"] else ""
    if (
        case.get("whole")
        or wire in UNSTREAMED
        or not {"Done", "Failed", "Onward"} & {last if isinstance(last, str) else next(iter(last))}
    ):
        return
    assert [shown(event) for event in decoded(wire, case, [data + trailing])] == case["events"]


@pytest.mark.parametrize("wire", NATIVE)
def test_a_native_wire_has_at_least_fifteen_cases(wire: str) -> None:
    assert sum(1 for name in NAMES if name[0] == wire) >= (6 if wire in UNSTREAMED else 15)


@pytest.mark.parametrize("wire", NATIVE)
@given(pieces=st.lists(st.binary(max_size=80), max_size=8))
def test_garbage_raises_only_our_error(wire: str, pieces: list[bytes]) -> None:
    decoder = PROVIDER_WIRES[wire].Decoder(row_of(wire, {}), MOST, "")
    over = False
    try:
        for piece in pieces:
            events = decoder.feed(piece)
            assert not (over and events), "something followed the end"
            over = over or any(isinstance(event, Done | Failed | Onward) for event in events)
        decoder.close()
        PROVIDER_WIRES[wire].Decoder(row_of(wire, {}), MOST, "").whole(b"".join(pieces))
    except InfronError:
        pass
