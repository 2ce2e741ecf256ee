"""What a client asks and what it hears, in no API's terms.

It never knows a wire format.
"""

from __future__ import annotations

import json
from typing import Any, Literal, NamedTuple

Kind = Literal["invalid", "key", "rate_limit", "overloaded", "failed"]

PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="  # a PNG
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


class Counts(NamedTuple):
    """`prompt` includes `cached`, `completion` includes `reasoning`."""

    prompt: int
    completion: int
    cached: int = 0
    reasoning: int = 0


class Problem(NamedTuple):
    """`status`: of HTTP; 0: it came inside a stream."""

    kind: Kind
    status: int = 0


class Said(NamedTuple):
    """An answer. `calls`: name and arguments, their JSON sorted. `custom`: name and input of calls without a schema."""

    text: str = ""
    refusal: str = ""
    thinking: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    custom: tuple[tuple[str, str], ...] = ()
    finish: str = ""
    usage: Counts | None = None
    problem: Problem | None = None


class Heard(NamedTuple):
    """What a client has of an answer. `turn`: what it gives back in the next request, in its API's own words; `ids`: of
    the calls. `message`: of the problem.
    """

    said: Said
    turn: Any = None
    ids: tuple[str, ...] = ()
    message: str = ""


class Result(NamedTuple):
    """What a tool said."""

    id: str
    text: str


class Ask(NamedTuple):
    """A request. `history`: a string is the user's. `tools`: names of functions of SCHEMA; `custom`: of free text."""

    history: tuple[str | Heard | Result, ...] = ("Where?",)
    tools: tuple[str, ...] = ()
    custom: tuple[str, ...] = ()
    picture: bool = False  # with the first words of the user
    schema: bool = False  # the answer shall keep to SCHEMA
    stream: bool = True


def canonical(arguments: str) -> str:
    """JSON by which arguments can be compared. It must be an object."""
    value = json.loads(arguments)
    assert isinstance(value, dict), arguments
    return json.dumps(value, sort_keys=True)


def events_of(stream: bytes) -> list[tuple[str, str]]:
    """Name and data of each server-sent event. Strict: every frame in our own form, comments alone between them."""
    assert stream.endswith(b"\n\n") or not stream, stream[-80:]
    found = []
    for block in stream.decode().split("\n\n")[:-1]:
        assert "\r" not in block
        lines = block.split("\n")
        assert not any(mark in block for mark in "\u2028\u2029\x85")
        if lines[0].startswith(":"):
            assert len(lines) == 1, block
            continue
        name = lines.pop(0).removeprefix("event: ") if lines[0].startswith("event: ") else ""
        assert len(lines) == 1, block
        assert lines[0].startswith("data: "), block
        found.append((name, lines[0][6:]))
    return found
