"""What all targets share: a case, a target, what it means to keep a promise, and how the bytes of a case are cut.

It never knows what the bytes are.
"""

from __future__ import annotations

import gc
import itertools
import math
import random
import re
import sys
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import msgspec

from infron.catalog.definitions import Provider
from infron.errors import InfronError
from infron.wires import anthropic
from infron.wires.openai import chat as openai_chat

KEY = "sk-never-told"


class Broken(Exception):
    """A promise that was not kept."""


class Case(NamedTuple):
    """`about`: what the recorded case says of the row that it is for, and whether it is an answer that is no stream."""

    name: str
    data: bytes
    about: dict[str, Any]


class Target(NamedTuple):
    """`frames`: how its bytes fall into frames. `check` raises, for bytes that break a promise; how it cuts is chance.

    `flood`: it may be given a stream without an end.
    """

    corpus: list[Case]
    frames: Callable[[bytes], list[bytes]]
    check: Callable[[Case, random.Random], None]
    flood: bool = False


def promise(held: bool, what: str) -> None:
    if not held:
        raise Broken(what)


def valid(text: bytes, what: str) -> Any:
    """The JSON in `text`, which must be so strict that every client reads it."""
    try:
        text.decode()
        return msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        raise Broken(f"{what} is no JSON: {error}") from None


def check_error(error: InfronError, provider: str = "mock") -> None:
    promise(error.provider == provider, "an error does not name its provider")
    told = f"{error.message} {error.metadata}"
    promise(KEY not in told, "an error repeats the key")
    promise(400 <= error.status < 600, f"an error has the status {error.status}")
    promise(error.retry_after is None or 0 <= error.retry_after < math.inf, "no time to wait for")
    for render in (openai_chat.render_error, anthropic.render_error):
        valid(render(error), "an error")


def cuts_of(data: bytes, chance: random.Random) -> Iterator[list[bytes]]:
    if len(data) < 3000:
        yield [data[i : i + 1] for i in range(len(data))]
    for count in (1, 8, 40):
        edges = [0, *sorted(chance.randrange(len(data) + 1) for _ in range(count)), len(data)]
        yield [data[a:b] for a, b in itertools.pairwise(edges)]
    frames = [edge.end() for edge in re.finditer(rb"\n\n|\r\n\r\n", data)]
    yield [data[a:b] for a, b in itertools.pairwise([0, *frames, len(data)])]


def size_of(value: Any) -> int:
    """Bytes that are held by a value alone: no code, no rows, nothing that is shared."""
    seen: set[int] = set()
    total, left = 0, [value]
    while left:
        item = left.pop()
        if id(item) in seen or isinstance(item, type | ModuleType | FunctionType | Provider):
            continue
        seen.add(id(item))
        total += len(item) if isinstance(item, msgspec.Raw) else sys.getsizeof(item)
        left.extend(gc.get_referents(item))
        if isinstance(item, msgspec.Struct):
            left.extend(getattr(item, name) for name in item.__struct_fields__)
    return total
