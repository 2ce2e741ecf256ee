"""Bad input for hours: recorded cases and requests, mutated at random, and the promises that must hold all the same.

`make fuzz` runs it for an hour (SECONDS=60 for a minute). The promises: only our own error is raised; nothing follows
the end; the same events come however the bytes are cut; what is held stays small; every event can be told to a client,
as frames and as one JSON; no error repeats the key. A broken one is written to a folder in as few bytes as still break
it, and `--replay FILE.json` tries it again. It is never a part of the normal run, which has a fixed few of its cases.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import itertools
import json
import math
import random
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import msgspec

from infron.catalog.definitions import Provider
from infron.errors import InfronError
from infron.events import Billed, Done, Event, Failed, Onward, UsageReported, Verbatim
from infron.money import Usage
from infron.wires import CLIENT_WIRES, PROVIDER_WIRES, anthropic, sse
from infron.wires.bedrock import eventstream
from infron.wires.openai import chat as openai_chat
from infron.wires.openai.chat.delta import members_of
from infron.wires.openai.chat.encoder import DONE

ASKED = b'{"model":"m","messages":[{"role":"user","content":"Hi"}],"input":"Hi","max_tokens":9,"stream":true}'
CASES = Path(__file__).parent / "wires" / "cases"
KEY = "sk-never-told"
MOST_HELD = 300_000  # bytes that a decoder may hold beside what a frame may have
SLOW = 20.0  # seconds that one case may take: a megabyte byte by byte, on a busy machine

End = (Done, Failed, Onward)


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


# ---- what is mutated


def recorded(wire: str) -> list[Case]:
    cases = []
    for path in sorted((CASES / wire.replace("-", "_")).glob("*.bytes")):
        told = json.loads(path.with_suffix(".json").read_text())
        about = {name: told[name] for name in ("row", "quirks", "whole") if name in told}
        cases.append(Case(path.stem, path.read_bytes(), about))
    return cases


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


# ---- what must hold


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


def check_error(error: InfronError) -> None:
    promise(error.provider == "mock", "an error does not name its provider")
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


class Run(NamedTuple):
    events: list[Event]
    error: InfronError | None
    decoder: Any


def run(row: Provider, pieces: list[bytes], most: int, before: bytes, verbatim: bool) -> Run:
    decoder = PROVIDER_WIRES[row.wire].Decoder(row, most, KEY, verbatim)
    if before:
        decoder.whole(before)
    events: list[Event] = []
    try:
        for piece in pieces:
            follow(events, decoder.feed(piece))
        follow(events, decoder.close())
    except InfronError as error:
        check_error(error)
        return Run(events, error, decoder)
    return Run(events, None, decoder)


def follow(events: list[Event], more: list[Event]) -> None:
    for event in more:
        promise(not (events and isinstance(events[-1], End)), "something followed the end")
        events.append(event)


def shown(event: Event) -> Any:
    if isinstance(event, Failed):
        return "failed", event.error.status, event.error.error_type, event.error.message
    if isinstance(event, Verbatim) and "type" in event.members:
        return event.content, event.text, {name: bytes(raw) for name, raw in event.members.items()}, event.rest
    if isinstance(event, Verbatim):
        return event.content, event.text, {name: bytes(raw) for name, raw in members_of(event).items()}
    return event


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


def check_stream(wire: str, case: Case, chance: random.Random) -> None:
    about = dict(case.about)
    is_whole, own = about.pop("whole", False), about.pop("row", {})
    row = msgspec.convert({"id": "mock", "name": "Mock", "wire": wire, **own, **about}, Provider)
    for verbatim in (False, True) if wire in CLIENT_WIRES else (False,):
        check_answer(row, case.data, is_whole, verbatim, chance)


def check_answer(row: Provider, data: bytes, is_whole: bool, verbatim: bool, chance: random.Random) -> None:
    if is_whole:
        try:
            events: list[Event] = []
            follow(events, PROVIDER_WIRES[row.wire].Decoder(row, 1 << 20, KEY, verbatim).whole(data))
            check_told(row, events, verbatim)
        except InfronError as error:
            check_error(error)
        return
    most = chance.choice((2_000, 64 << 10, 16 << 20)) if len(data) < 100_000 else 16 << 10
    before = PREDICTION if row.wire == "replicate" and chance.random() < 0.5 else b""
    once = run(row, [data], most, before, verbatim)
    for pieces in cuts_of(data, chance):
        again = run(row, pieces, most, before, verbatim)
        first, second = ([shown(event) for event in events] for events in (once.events, again.events))
        if once.error or again.error:  # a frame is too large: what stood before it in the same read is lost with it
            least = min(len(first), len(second))
            first, second = first[:least], second[:least]
        promise(first == second, "other events come when the bytes are cut")
    if len(data) > 100_000:
        held = size_of(once.decoder)
        promise(held < MOST_HELD + 4 * most, f"a decoder holds {held // 1000 * 1000:,} bytes")
    check_told(row, once.events, verbatim)


PREDICTION = b'{"id":"p1","status":"starting","urls":{"stream":"https://stream.replicate.com/v1/files/x"}}'


def check_told(row: Provider, events: list[Event], verbatim: bool) -> None:
    """Every event to clients of each API that can be told of them, in frames and in one JSON."""
    for name, api in CLIENT_WIRES.items():
        if verbatim and name != row.wire:
            continue
        asked = api.parse(ASKED, [])
        encoder, accumulator = api.Encoder("gen-1", 1, asked), api.Accumulator("gen-1", 1, asked)
        billed = Billed(usage=Usage(), charge=None, estimated=True, provider="mock")
        frames: list[bytes] = []
        for event in events:
            if isinstance(event, Failed):
                check_error(event.error)
                check_frame(name, encoder.fail(event.error).removesuffix(DONE))
            elif isinstance(event, UsageReported):
                promise(min(event.usage.prompt, event.usage.completion) >= 0, "counts below zero")
                billed = Billed(usage=event.usage, charge=None, estimated=False, provider="mock", raw=event.raw)
            elif not isinstance(event, Done | Onward):
                frames.append(encoder.encode(event))
                check_frame(name, frames[-1])
                accumulator.add(event)
        frames += [encoder.usage(billed), encoder.close()]
        valid(accumulator.answer(billed), "the whole answer")
        if name in PROVIDER_WIRES:  # the other side of it reads our own stream
            read = PROVIDER_WIRES[name].Decoder(row, 16 << 20, KEY, False).feed(b"".join(frames))
            promise(isinstance(read[-1], Done), "our own stream has no end")


def check_frame(api: str, frame: bytes) -> None:
    if not frame or api != "openai-chat":
        return
    lines = re.split("[\n\r\u2028\u2029\x85]", frame.decode())
    promise(len(lines) == 3 and not lines[1] and not lines[2], "a frame is not one line")
    promise(lines[0].startswith("data: {"), "a frame is no object")
    members = valid(lines[0][6:].encode(), "a frame")
    own = members["id"] == "gen-1" and members["created"] == 1 and members["model"] == "m"
    # A host that says a member twice is read by whoever reads it: which of the two counts no standard says.
    promise(own or any(lines[0].count(f'"{name}":') > 1 for name in ("id", "created", "model")), "another's frame")
    promise("error" in members or isinstance(members.get("choices"), list), "a frame without choices")


def check_parse_error(wire: str, case: Case, chance: random.Random) -> None:
    row = msgspec.convert({"id": "mock", "name": "Mock", "wire": wire}, Provider)
    wait = chance.choice(("7", "-1", "nan", "1e999", "Wed, 21 Oct 2026 07:28:00 GMT", "x", "9" * 400, "\xff", ""))
    headers = [(b"retry-after", wait.encode("latin-1")), (b"x-amzn-errortype", case.data[:20])]
    status = chance.choice((200, 400, 401, 402, 403, 404, 408, 413, 422, 424, 429, 498, 499, 500, 503, 529, 599, 302))
    check_error(PROVIDER_WIRES[wire].parse_error(status, headers, case.data, row, KEY, 1.7e9))


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


def check_request(parse: Callable[[bytes], Any], case: Case, chance: random.Random) -> None:
    try:
        request = parse(case.data)
    except InfronError as error:
        promise(error.blame == "caller", f"the caller's fault is told as {error.blame}")
        valid(openai_chat.render_error(error), "an error")
        return
    for wire, module in PROVIDER_WIRES.items():
        quirks = {"request": {"vertex": chance.random() < 0.5}} if wire == "gemini" else {}
        row = msgspec.convert({"id": "mock", "name": "Mock", "wire": wire, "quirks": quirks}, Provider)
        try:
            outgoing = module.encode_request(request, row, chance.choice(MODELS[wire]), chance.random() < 0.5)
        except InfronError as error:
            promise(error.blame == "caller", f"{wire}: the caller's fault is told as {error.blame}")
            valid(openai_chat.render_error(error), "an error")
            continue
        valid(outgoing.body, f"the body for {wire}")
        lost = {name.partition(".")[0] for name in outgoing.dropped}
        promise(lost <= request.fields.keys(), f"{wire}: dropped what was not there")
        promise(outgoing.url.isascii() and outgoing.url.isprintable(), f"{wire}: a URL {outgoing.url!r}")
        promise(all(value.isprintable() for _, value in outgoing.headers), f"{wire}: a header that ends its line")


MODELS = {
    "openai-chat": ("gpt-5.2",),
    "anthropic": ("claude-opus-4-5", "claude-sonnet-5-5", "claude-3-5-haiku-20241022"),
    "bedrock": ("us.anthropic.claude-opus-4-5-20251101-v1:0", "amazon.nova-2-lite-v1:0", "openai.gpt-oss-120b-1:0"),
    "cloudflare": ("@cf/meta/llama-3.1-8b-instruct",),
    "cohere": ("command-a-03-2025",),
    "gemini": ("gemini-3-pro-preview", "gemini-2.5-flash", "gemma-3-27b-it"),
    "replicate": ("openai/gpt-5", "meta/meta-llama-3-70b-instruct", "deployments/a/b"),
}
SCHEMA = {"type": "object", "properties": {"a": {"const": 1, "format": "date"}}, "anyOf": [{"items": {}}], "$defs": {}}
TOOL = {"name": "look", "description": "Look.", "parameters": SCHEMA}
CALL = {"id": "call 1", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}
FILE = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}
SOUND = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
SAYS = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
DETAIL = {"type": "reasoning.text", "text": "hm", "signature": "c2ln", "format": "anthropic-claude-v1", "index": 0}
CHAT = {
    "model": "a/b",
    "stream": True,
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [SAYS, PICTURE, FILE, SOUND]},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_details": [DETAIL]},
        {"role": "tool", "tool_call_id": "call 1", "content": '{"b":2}'},
        {"role": "user", "content": "Go on.", "name": "ann"},
    ],
    "tools": [{"type": "function", "function": {**TOOL, "strict": True}}],
    "tool_choice": {"type": "function", "function": {"name": "look"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
    "reasoning": {"effort": "high"}, "max_tokens": 100, "stop": ["a"], "temperature": 0.5, "top_p": 0.9, "top_k": 3,
    "parallel_tool_calls": False, "n": 1, "seed": 7, "metadata": {"a": "b"}, "user": "ann", "service_tier": "flex",
    "provider": {"order": ["x"]}, "stream_options": {"include_usage": True}, "logit_bias": {}, "betas": ["x"],
    "thinking": {"type": "enabled", "budget_tokens": 2000}, "input": {}, "documents": [], "generationConfig": {},
}  # fmt: skip
BLOCK = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "2"}], "is_error": True}
MESSAGES = {
    "model": "a/b", "max_tokens": 100, "stream": True, "system": [{"type": "text", "text": "Be brief."}],
    "messages": [
        {"role": "user", "content": [
            SAYS, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
            {"type": "document", "title": "a", "source": {"type": "text", "media_type": "text/plain", "data": "x"}},
        ]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"}, {"type": "redacted_thinking", "data": "AA=="},
            {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"a": 1}},
        ]},
        {"role": "user", "content": [BLOCK, {"type": "text", "text": "Go on."}]},
    ],
    "tools": [{"name": "look", "input_schema": SCHEMA}, {"type": "web_search_20250305", "name": "web_search"}],
    "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": SCHEMA}},
    "stop_sequences": ["a"], "temperature": 1, "metadata": {"user_id": "ann"}, "service_tier": "auto",
}  # fmt: skip


def whole_of(data: bytes) -> list[bytes]:
    return [data] if data else []


def targets() -> dict[str, Target]:
    found: dict[str, Target] = {}
    streams: list[Case] = []
    for wire in PROVIDER_WIRES:
        corpus = recorded(wire)
        streams += [case for case in corpus if wire != "bedrock"]
        frames = messages_of if wire == "bedrock" else events_of
        found[wire] = Target(corpus, frames, lambda case, chance, wire=wire: check_stream(wire, case, chance), True)
        errors = [case for case in corpus if case.about.get("whole") or b"rror" in case.data]
        errors += [Case("said", json.dumps(body).encode(), {}) for body in SAID]
        check = lambda case, chance, wire=wire: check_parse_error(wire, case, chance)  # noqa: E731
        found[f"{wire} errors"] = Target(errors, whole_of, check)
    found["sse"] = Target(streams, events_of, check_sse)
    found["eventstream"] = Target(recorded("bedrock"), messages_of, check_eventstream)
    bodies = {
        "chat requests": (CHAT, lambda body: openai_chat.parse(body, [])),
        "messages requests": (MESSAGES, lambda body: anthropic.parse(body, [])),
    }
    for name, (body, parse) in bodies.items():
        corpus = [Case(name, json.dumps(body).encode(), {})]
        found[name] = Target(corpus, whole_of, lambda case, chance, parse=parse: check_request(parse, case, chance))
    return found


SAID: tuple[Any, ...] = (
    {"error": {"message": f"The key {KEY} is wrong.", "type": "invalid_request_error", "code": "x", "param": None}},
    {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
    [{"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED", "details": [{"retryDelay": "34.4s"}]}}],
    {"__type": f"com.amazon#{KEY}ValidationException:x", "Message": "m"},
    {"success": False, "errors": [{"code": 3036, "message": "m"}], "detail": [{"msg": "m", "loc": []}]},
)


# ---- the run


def broken_by(target: Target, case: Case, token: str) -> str:
    """What is broken, with its place; "" where all promises hold. `token`: of how the bytes are cut."""
    began = time.monotonic()
    try:
        target.check(case, random.Random(token))
    except Broken as error:
        return re.sub(r"\d+", "#", str(error))
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)
        at = next((frame for frame in reversed(where) if "infron" in frame.filename), where[-1])
        return f"{type(error).__name__} in {Path(at.filename).name}:{at.lineno} {at.name}"
    taken = time.monotonic() - began
    return f"it takes more than {SLOW} s" if taken > SLOW else ""


def minimised(target: Target, case: Case, token: str, what: str, seconds: float = 15.0) -> Case:
    """The case with all bytes removed that are not needed to break the same promise, as far as the time goes."""
    until = time.monotonic() + seconds
    size = len(case.data) // 2
    while size and time.monotonic() < until:
        at, shrunk = 0, False
        while at < len(case.data) and time.monotonic() < until:
            less = case._replace(data=case.data[:at] + case.data[at + size :])
            if broken_by(target, less, token) == what:
                case, shrunk = less, True
            else:
                at += size
        size = size if shrunk and size > 1 else size // 2
    return case


def keep(folder: Path, name: str, case: Case, token: str, what: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    number = hashlib.sha256(f"{name} {what}".encode()).hexdigest()[:8]
    path = folder / f"{name.replace(' ', '-')}-{number}.json"
    path.with_suffix(".bytes").write_bytes(case.data)
    path.write_text(json.dumps({"target": name, "what": what, "token": token, "about": case.about}, indent=1) + "\n")
    return path


def replay(path: Path) -> int:
    told = json.loads(path.read_text())
    case = Case(path.stem, path.with_suffix(".bytes").read_bytes(), told["about"])
    targets()[told["target"]].check(case, random.Random(told["token"]))
    print("every promise holds")
    return 0


def fuzz(seconds: float, seed: int, folder: Path, only: str = "", most: int = sys.maxsize) -> dict[str, Path]:
    """Mutants until the time is over, or there were `most`. What was broken -> the file of a case that breaks it."""
    wanted = {name: target for name, target in targets().items() if only in name}
    names = list(wanted)
    done: Counter[str] = Counter()
    found: dict[str, Path] = {}
    began = told = time.monotonic()
    for number in range(most):
        now = time.monotonic()
        if now - began > seconds:
            break
        if now - told > 10:
            told = now
            print(f"{now - began:6,.0f} s  {number:9,} cases  {len(found)} broken", flush=True)
        token = f"{seed}:{number}"
        chance = random.Random(token)
        name = chance.choice(names)
        target = wanted[name]
        case = mutated(target, chance.choice(target.corpus), chance)
        done[name] += 1
        what = broken_by(target, case, token)
        if what and f"{name}: {what}" not in found:
            path = keep(folder, name, minimised(target, case, token, what), token, what)
            found[f"{name}: {what}"] = path
            print(f"BROKEN  {name}: {what}\n        {path}", flush=True)
    print(f"{sum(done.values()):,} cases in {time.monotonic() - began:,.0f} s (seed {seed}): ", end="")
    print(", ".join(f"{name} {count:,}" for name, count in sorted(done.items())))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9)
    parser.add_argument("--only", default="", help="targets whose name holds this")
    parser.add_argument("--folder", type=Path, default=Path("fuzz-broken"), help="for cases that break a promise")
    parser.add_argument("--replay", type=Path, help="the .json of such a case")
    asked = parser.parse_args()
    if asked.replay:
        return replay(asked.replay)
    print(f"seed {asked.seed}, {asked.seconds:,.0f} s")
    found = fuzz(asked.seconds, asked.seed, asked.folder, asked.only)
    print(f"{len(found)} promises broken" if found else "every promise held")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
