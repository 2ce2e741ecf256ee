"""Answers of providers, streamed and whole, and their errors, on every wire."""

from __future__ import annotations

import json
import random
import re
from typing import Any, NamedTuple

import msgspec

from fuzz.corpus import events_of, messages_of, recorded, whole_of
from fuzz.promises import KEY, Case, Target, check_error, cuts_of, promise, size_of, valid
from infron.catalog.definitions import Provider
from infron.errors import InfronError
from infron.events import Billed, Done, Event, Failed, Onward, UsageReported, Verbatim
from infron.money import Usage
from infron.wires import CLIENT_WIRES, PROVIDER_WIRES
from infron.wires.openai.chat.delta import fields_of
from infron.wires.openai.chat.encoder import DONE

ASKED = (
    b'{"model":"m","messages":[{"role":"user","content":"Hi"}],'
    b'"input":"Hi","contents":[{"parts":[{"text":"Hi"}]}],"max_tokens":9,"stream":true}'
)
MOST_ITEMS = 1000  # calls and blocks that a decoder takes
MOST_HELD = 500_000  # bytes that a decoder may hold beside what a frame may have
OF_ITEMS = {"openai-responses": 1_500_000}  # and of its items, which libraries want in their order

# APIs without streams: their answers go to their own clients alone.
EMBEDDING = frozenset(name for name in (*PROVIDER_WIRES, *CLIENT_WIRES) if name.endswith("-embeddings"))

End = (Done, Failed, Onward)


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
        late = bool(events) and isinstance(events[-1], Done) and isinstance(event, UsageReported)
        promise(late or not (events and isinstance(events[-1], End)), "something followed the end")
        events.insert(len(events) - late, event)  # counts may come late, where the bytes were cut


def shown(event: Event) -> Any:
    if isinstance(event, Failed):
        return "failed", event.error.status, event.error.error_type, event.error.message
    if isinstance(event, Verbatim) and (not event.fields or "type" in event.fields):  # no chunk of the chat API
        return event.content, event.text, {name: bytes(raw) for name, raw in event.fields.items()}, event.rest
    if isinstance(event, Verbatim):
        return event.content, event.text, {name: bytes(raw) for name, raw in fields_of(event).items()}
    return event


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
        promise(
            held < MOST_HELD + OF_ITEMS.get(row.wire, 0) + 4 * most, f"a decoder holds {held // 1000 * 1000:,} bytes"
        )
    check_told(row, once.events, verbatim)


PREDICTION = b'{"id":"p1","status":"starting","urls":{"stream":"https://stream.replicate.com/v1/files/x"}}'


def in_words_of(api: str, body: bytes) -> bytes:
    if api == "gemini-embeddings":
        return b'{"model":"m","content":{"parts":[{"text":"Hi"}]}}'
    return body.replace(b'"input"', b'"prompt"') if api == "openai-completions" else body


def meet(api: str, wire: str) -> bool:
    """Whether clients of this API are served by hosts of this wire at all."""
    if api in EMBEDDING or wire in EMBEDDING:
        return api in EMBEDDING and wire in EMBEDDING
    return wire != "openai-completions" or api == wire


def check_told(row: Provider, events: list[Event], verbatim: bool) -> None:
    """Every event to clients of each API that can be told of them, in frames and in one JSON."""
    for name, api in CLIENT_WIRES.items():
        if (verbatim and name != row.wire) or not meet(name, row.wire):
            continue
        asked = api.parse(in_words_of(name, ASKED), [])
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
        own = name in PROVIDER_WIRES and name not in EMBEDDING
        if own and len(events) < MOST_ITEMS:  # the other side of it reads our own stream
            read = PROVIDER_WIRES[name].Decoder(row, 16 << 20, KEY, False).feed(b"".join(frames))
            # The stream of Gemini has no last word.
            promise(name == "gemini" or isinstance(read[-1], Done), "our own stream has no end")


def check_frame(api: str, frame: bytes) -> None:
    if not frame or api != "openai-chat":
        return
    lines = re.split("[\n\r\u2028\u2029\x85]", frame.decode())
    promise(len(lines) == 3 and not lines[1] and not lines[2], "a frame is not one line")
    promise(lines[0].startswith("data: {"), "a frame is no object")
    fields = valid(lines[0][6:].encode(), "a frame")
    own = fields["id"] == "gen-1" and fields["created"] == 1 and fields["model"] == "m"
    # A host that says a field twice is read by whoever reads it: which of the two counts no standard says.
    promise(own or any(lines[0].count(f'"{name}":') > 1 for name in ("id", "created", "model")), "another's frame")
    promise("error" in fields or isinstance(fields.get("choices"), list), "a frame without choices")


def check_parse_error(wire: str, case: Case, chance: random.Random) -> None:
    row = msgspec.convert({"id": "mock", "name": "Mock", "wire": wire}, Provider)
    wait = chance.choice(("7", "-1", "nan", "1e999", "Wed, 21 Oct 2026 07:28:00 GMT", "x", "9" * 400, "\xff", ""))
    headers = [(b"retry-after", wait.encode("latin-1")), (b"x-amzn-errortype", case.data[:20])]
    status = chance.choice((200, 400, 401, 402, 403, 404, 408, 413, 422, 424, 429, 498, 499, 500, 503, 529, 599, 302))
    check_error(PROVIDER_WIRES[wire].parse_error(status, headers, case.data, row, KEY, 1.7e9))


SAID: tuple[Any, ...] = (
    {"error": {"message": f"The key {KEY} is wrong.", "type": "invalid_request_error", "code": "x", "param": None}},
    {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
    [{"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED", "details": [{"retryDelay": "34.4s"}]}}],
    {"__type": f"com.amazon#{KEY}ValidationException:x", "Message": "m"},
    {"success": False, "errors": [{"code": 3036, "message": "m"}], "detail": [{"msg": "m", "loc": []}]},
)


def targets() -> dict[str, Target]:
    found: dict[str, Target] = {}
    for wire in PROVIDER_WIRES:
        corpus = recorded(wire)
        frames = messages_of if wire == "bedrock" else events_of
        found[wire] = Target(corpus, frames, lambda case, chance, wire=wire: check_stream(wire, case, chance), True)
        errors = [case for case in corpus if case.about.get("whole") or b"rror" in case.data]
        errors += [Case("said", json.dumps(body).encode(), {}) for body in SAID]
        check = lambda case, chance, wire=wire: check_parse_error(wire, case, chance)  # noqa: E731
        found[f"{wire} errors"] = Target(errors, whole_of, check)
    return found
