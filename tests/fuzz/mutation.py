"""Cases mutated at random: their bytes, their frames, and the JSON in them.

It never knows what must hold for them.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

from fuzz.corpus import framed
from fuzz.promises import KEY, Case, Target
from infron.wires.bedrock import eventstream

NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1.5, 10**30, -(2**63), 2**64, 1e308, "", " ", "x", "0", "error", "stop", "\ud800",
    "a\udc00b", "\u2028\x85\r\n", "\0", KEY, "x" * 5000, "é", "{}", "null", '{"a":', "[DONE]",
    [], {}, [[]], [{}], [None], {"a": 1}, {"": None}, {"type": "text"}, {"type": []}, {"message": KEY, "code": 1},
    "data:image/png;base64,AAAA", "data:text/plain;base64,é", "data:,", "https://a.b/c.png",
)  # fmt: skip


def places_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places_in(item, (*path, key))


def swapped(value: Any, chance: random.Random, others: Any) -> Any:
    """The JSON value with one thing in it replaced, removed, doubled, wrapped, renamed or nested deeply."""
    path = chance.choice(list(places_in(value)))
    if not path:
        return chance.choice(NASTY)
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    key, way = path[-1], chance.randrange(9)
    if way < 4:
        holder[key] = chance.choice(NASTY)
    elif way == 4:
        del holder[key]
    elif way == 5:
        for step in (other := chance.choice(list(places_in(others)))):
            others = others[step]
        holder[key] = others if other else None
    elif way == 6:
        holder[key] = [holder[key]] * chance.choice((1, 2, 40))
    elif way == 7 and isinstance(holder, dict):
        known = [step for place in places_in(others) for step in place[-1:] if isinstance(step, str)]
        holder[chance.choice(known or ["x"])] = holder.pop(key)
    else:
        for _ in range(chance.choice((2, 200, 1200))):
            holder[key] = [holder[key]] if way == 7 else {"content": holder[key]}
    return value


def with_json(frame: bytes, change: Callable[[Any], Any], chance: random.Random) -> bytes:
    """The frame with the JSON in it changed; as it is where there is none."""
    ascii = chance.random() < 0.7

    def written(raw: bytes) -> bytes:
        try:
            changed = change(json.loads(raw))
            return json.dumps(changed, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
        except (ValueError, RecursionError):
            return raw

    found = re.match(rb"(?s)\A((?:.*?[\r\n])?data: ?)([^\r\n]*)(.*)\Z", frame)
    if found:
        return found[1] + written(found[2]) + found[3]
    messages = eventstream.Decoder().feed(frame)
    if messages:
        return framed(messages[0], written(messages[0].payload))
    return written(frame) if frame.lstrip()[:1] in (b"{", b"[") else frame


def mutated(target: Target, case: Case, chance: random.Random) -> Case:
    data = case.data
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3, 6))):
        other = chance.choice(target.corpus)
        data = chance.choice((bytes_mutated, frames_mutated, json_mutated, json_mutated))(data, other, target, chance)
    if target.flood and chance.random() < 0.02:
        data = flood(data, target, chance)
    return case._replace(data=data)


def bytes_mutated(data: bytes, other: Case, target: Target, chance: random.Random) -> bytes:
    at, to = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    start, end = sorted(chance.randrange(len(other.data) + 1) for _ in range(2))
    match chance.randrange(8):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + data[to:]
        case 2:
            return data[:at] + other.data[start:end] + data[at:]
        case 3:
            return data[:at] + other.data[start:]
        case 4:
            ends = [b"\n", b"\r\n", b"\r", b"\n\n"]
            return data.replace(chance.choice(ends), chance.choice(ends))
        case 5:
            odd = (b"\xff", b"\xed\xa0\x80", b"\xe2\x80", b"\0", b"\r", b"{", b"\n")
            return data[:at] + chance.choice(odd) + data[at:]
        case 6:
            return chance.choice((b"\xef\xbb\xbf", b"\n", b": x\n\n", b"event: error\n")) + data
    if not data:
        return data
    turned = bytearray(data)
    for _ in range(chance.choice((1, 1, 4, 30))):
        turned[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(turned)


def frames_mutated(data: bytes, other: Case, target: Target, chance: random.Random) -> bytes:
    frames = target.frames(data)
    if not frames:
        return data
    at = chance.randrange(len(frames))
    match chance.randrange(5):
        case 0:
            frames.insert(chance.randrange(len(frames) + 1), frames[at])
        case 1:
            del frames[at]
        case 2:
            chance.shuffle(frames)
        case 3:
            frames[at:at] = chance.sample(theirs, 1) if (theirs := target.frames(other.data)) else []
        case 4:
            frames += target.frames(other.data)
    return b"".join(frames)


def json_mutated(data: bytes, other: Case, target: Target, chance: random.Random) -> bytes:
    frames = target.frames(data)
    if not frames:
        return data
    others: list[Any] = []
    for frame in target.frames(other.data)[:5]:
        with_json(frame, others.append, random.Random(0))
    at = chance.randrange(len(frames))
    frames[at] = with_json(frames[at], lambda value: swapped(value, chance, others), chance)
    return b"".join(frames)


def flood(data: bytes, target: Target, chance: random.Random) -> bytes:
    """Thousands of frames, each with another number where a number stands that counts blocks, choices or calls."""
    frames = target.frames(data)[:12]
    count = itertools.count(chance.choice((0, 1000)))

    def numbered(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: another(name, item) for name, item in value.items()}
        return [numbered(item) for item in value] if isinstance(value, list) else value

    def another(name: str, value: Any) -> Any:
        if name.lower().endswith("index"):
            return next(count)
        return f"{value}{next(count)}" if name in ("id", "uri") else numbered(value)

    rounds = max(min(3000, (1 << 20) // max(len(data), 1)), 1)
    return b"".join(with_json(frame, numbered, random.Random(0)) for _ in range(rounds) for frame in frames)
