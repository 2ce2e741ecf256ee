"""JSON of a large request that was checked before, read and written in steps that each take a few milliseconds.

A parser or a writer in C holds every other thread up until it is through. It never knows what the values mean.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from typing import Any, cast

import msgspec
from msgspec import Raw

from infron.wires.json_guard import LARGE, named, pieces, runs, trimmed

STEP = 1 << 20  # bytes; what has no more is read, or written, in one go

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def value_in(raw: Raw) -> Any:
    """The value of this JSON. Raises one of `lenient_json.BROKEN`."""
    text = memoryview(raw)
    if len(text) <= STEP:
        return _decode(raw)
    kind = bytes(text[:1])
    if kind == b'"':
        return "".join(_characters(text[1:-1]))
    if kind == b"[":
        return [item for run, large in runs(text) for item in _items(run, large)]
    fields: dict[str, Any] = {}
    for run, large in runs(text):
        if large:
            name, value = named(run)
            fields[name] = value_in(Raw(value))
        else:
            fields |= _decode(b"{%b}" % bytes(run))
    return fields


def _items(run: memoryview, large: bool) -> Iterable[Any]:
    return (value_in(Raw(trimmed(run))),) if large else _decode(b"[%b]" % bytes(run))


def _characters(text: memoryview) -> Iterator[str]:
    """A string without its quotes, piece by piece."""
    whole = codecs.getincrementaldecoder("utf-8")()
    for _, piece in pieces(text):
        characters = whole.decode(piece)
        yield _decode(f'"{characters}"') if "\\" in characters else characters


# ---- to bytes


def written(value: Any, size: int) -> bytes:
    """The JSON of this value. `size`: about how many bytes that will be."""
    if size <= STEP:
        return _encode(value)
    heavy: dict[int, list[int]] = {}
    _weigh(value, heavy)
    out = bytearray()
    _write(value, heavy, out)
    return cast(bytes, out)  # one more copy of what may be 32 MB would serve nobody


def _weigh(value: Any, heavy: dict[int, list[int]]) -> int:
    """About how many bytes this is. `heavy`: of each container of more than LARGE the weights of what is in it."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Raw):
        return len(memoryview(value))
    if not isinstance(value, dict | list | tuple):
        return 8
    weights = [_weigh(item, heavy) + 8 for item in (value.values() if isinstance(value, dict) else value)]
    weight = sum(weights)
    if weight > LARGE:
        heavy[id(value)] = weights
    return weight


def _write(value: Any, heavy: dict[int, list[int]], out: bytearray) -> None:
    if isinstance(value, str) and len(value) > LARGE:
        out += b'"'
        for start in range(0, len(value), LARGE):
            out += _encode(value[start : start + LARGE])[1:-1]
        out += b'"'
    elif isinstance(value, Raw):
        text = memoryview(value)
        for start in range(0, len(text), STEP):
            out += text[start : start + STEP]
    elif id(value) not in heavy:
        out += _encode(value)
    elif isinstance(value, dict):
        for number, (name, item) in enumerate(value.items()):
            out += b",%b:" % _encode(name) if number else b"{%b:" % _encode(name)
            _write(item, heavy, out)
        out += b"}"
    else:
        _write_list(value, heavy, out)


def _write_list(value: list[Any], heavy: dict[int, list[int]], out: bytearray) -> None:
    """What is light goes together: one call for each of many would take long."""
    out += b"["
    start = weight = 0
    for number, (item, weighs) in enumerate(zip(value, heavy[id(value)], strict=True)):
        weight += weighs
        if weight > LARGE:
            if start < number:
                out += _encode(value[start:number])[1:-1] + b","
            _write(item, heavy, out)
            out += b","
            start, weight = number + 1, 0
    if start < len(value):
        out += _encode(value[start:])[1:-1] + b","
    out[-1:] = b"]"
