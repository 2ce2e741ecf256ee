"""Requests as bytes over a connection: heads, bodies and pipelines, through the server's parser."""

from __future__ import annotations

import random
import re
from functools import cache
from typing import Any, NamedTuple

from fuzz.promises import Case, Target, cuts_of, promise, valid
from infron.errors import HeadTooLarge, InfronError, PayloadTooLarge
from infron.policy.access import check_keyless, credential_of, is_json
from infron.policy.asked import asked_in
from infron.runtime.server.api.endpoint import Endpoint
from infron.runtime.server.body import coding_of
from infron.runtime.server.cors import preflight
from infron.runtime.server.parser import MAX_HEADERS, RequestParser
from infron.runtime.server.paths import Paths
from infron.runtime.server.request import HttpRequest
from infron.settings import Limits
from infron.wires.errors import render_error

SLICE = 2 << 10  # bytes that a connection feeds at a time where a head may be


class Read(NamedTuple):
    """What came of the bytes. `largest`: bytes of a head that was taken, where they came one by one."""

    complete: list[tuple[Any, ...]]
    error: InfronError | None
    largest: int


class Reader:
    """Takes requests as a connection does."""

    def __init__(self, limits: Limits) -> None:
        self.parser = RequestParser(self, limits, paths())
        self.begun: HttpRequest | None = None
        self.complete: list[tuple[Any, ...]] = []
        self.largest = self.since = 0  # bytes of the largest head; those since something was understood

    def request_begun(self, request: HttpRequest) -> None:
        self.largest, self.since = max(self.largest, self.since), 0
        promise(len(request.headers) <= MAX_HEADERS, "more fields than a head may have")
        self.begun = request

    def request_complete(self) -> None:
        request, self.since = self.begun, 0
        assert request is not None
        shown = (request.method, request.path, request.query, request.headers, request.named, request.expects)
        body = b"".join(request.body)
        promise(
            request.length in (0, len(body)) or not request.keeps_body or request.method == b"CONNECT",
            "a body of another length",
        )
        promise(len(body) <= request.size, "a body of more bytes than came")
        how = (request.keep_alive, request.chunked, request.keeps_body, request.size)
        self.complete.append((*shown, *how, body, *judged(request)))

    def read(self, pieces: list[bytes]) -> Read:
        error = None
        try:
            for piece in pieces:
                self.since += len(piece)
                self.parser.feed(piece)
        except InfronError as failure:
            promise(failure.blame == "caller", f"the caller's fault is told as {failure.blame}")
            valid(render_error(failure), "an error")
            error = failure
        self.parser.close()
        return Read(self.complete, error, self.largest)


def judged(request: HttpRequest) -> list[Any]:
    """What is decided by the head alone; it must not depend on how it came, and raise only our error."""
    named, method = request.named, request.method
    media_type = named.get(b"content-type", b"").decode("latin-1")
    host = named.get(b"host", b"").decode("latin-1")
    found: list[Any] = []
    for decide in (
        lambda: request.place.api or request.place.refusal(method, request.path),
        lambda: preflight(method, named, ["https://a.example"]),
        lambda: credential_of(named),
        lambda: check_keyless(host, media_type, frozenset(("a.example",)), has_body=request.keeps_body),
        lambda: is_json(media_type),
        lambda: coding_of(named.get(b"content-encoding", b"")),
        lambda: asked_in(named),
    ):
        try:
            decided = decide()
        except InfronError as error:
            decided = error
        found.append((type(decided), str(decided)) if isinstance(decided, InfronError) else decided)
    return found


async def nobody(*_: Any) -> Any:
    raise AssertionError


@cache
def paths() -> Paths:
    return Paths(
        [
            Endpoint("/models", nobody),
            Endpoint("/models/{name:path}", nobody),
            Endpoint("/generation", nobody),
            Endpoint("/keys/{hash}", nobody, "PATCH", takes_body=True),
            Endpoint("/healthz", nobody, root=True, open=True),
        ]
    )


def check_head(case: Case, chance: random.Random) -> None:
    limits = Limits(max_header_bytes=chance.choice((90, 400, 64 << 10)), max_body_bytes=chance.choice((20, 32 << 20)))
    data = case.data
    once = Reader(limits).read([data[at : at + SLICE] for at in range(0, len(data), SLICE)])
    singly = Reader(limits).read([data[at : at + 1] for at in range(len(data))])
    promise(singly.largest <= limits.max_header_bytes + 1, "a larger head is taken than the limit allows")
    for again in (singly, *(Reader(limits).read(pieces) for pieces in cuts_of(data, chance))):
        bounds = [read for read in (once, again) if isinstance(read.error, HeadTooLarge)]
        least = min(len(read.complete) for read in bounds) if bounds else max(len(once.complete), len(again.complete))
        promise(once.complete[:least] == again.complete[:least], "other requests come when the bytes are cut")
        if bounds and min(len(once.complete), len(again.complete)) == least:
            continue  # its size is looked at after each read
        kinds = [type(read.error) for read in (once, again)]
        if PayloadTooLarge in kinds and once.error and again.error:
            continue  # a chunk may be too large and wrong
        promise(kinds[0] == kinds[1], f"another error comes when the bytes are cut: {kinds}")


def lines_of(data: bytes) -> list[bytes]:
    return [line for line in re.split(rb"(?<=\n)", data) if line]


def message(start: str, *lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join((f"{start} HTTP/1.1", *lines, "", "")).encode() + body


PLAIN = ("POST /v1/chat/completions", "Host: a.example", "Content-Type: application/json")
CHUNKS = b'5;a=b\r\n{"mod\r\n8\r\nel":"m"}\r\n0\r\n'
GET = message("GET /healthz", "Host: a")
OURS = ("X-Infron-On-Disconnect: drain", "X-Infron-Keep-Alive: true")
ASKS = ("Access-Control-Request-Method: POST", "Access-Control-Request-Headers: a, b")
UPGRADE = ("Host: a", "Connection: Upgrade", "Upgrade: h2c", "Content-Length: 5")
CORPUS: dict[str, bytes] = {
    "plain": message(*PLAIN, "Content-Length: 13", body=b'{"model":"m"}'),
    "a pipeline": GET * 3 + message(*PLAIN, "Content-Length: 2", body=b"{}") + b"GET / HTTP/1.0\r\n\r\n",
    "chunks": message(*PLAIN, "Transfer-Encoding: chunked", body=CHUNKS + b"X-Sum: 1\r\nA:\r\n\r\n") + GET,
    "an address": message("GET http://b.example:80/api/v1/models/a%2Fb?c=d#e", "Host: a", "Connection: close"),
    "fields": message("GET /v1/generation?id=1", "Host: a:80", "Authorization: Bearer x", "X-Api-Key: y", *OURS),
    "an upgrade": message("POST /v1/messages", *UPGRADE, body=b"12345") + GET,
    "leave to send": message(
        *PLAIN, "Expect: 100-continue", "Content-Encoding: gzip", "Content-Length: 3", body=b"abc"
    ),
    "a preflight": message("OPTIONS /v1/chat/completions", "Host: a", "Origin: https://a.example", *ASKS),
    "a tunnel": message("CONNECT a.example:443", "Host: a.example:443") + GET,
    "a place": message("PATCH /v1/keys/x", "Host: [::1]", "Content-Length: 0") + GET,
    "many fields": message("GET /", "Host: a", *["A: b"] * 254),
    "many fields behind": message(*PLAIN, "Transfer-Encoding: chunked", body=b"0\r\n" + b"A: b\r\n" * 250 + b"\r\n"),
    "old": b"POST /v1/responses HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}",
}


def targets() -> dict[str, Target]:
    return {"heads": Target([Case(name, data, {}) for name, data in CORPUS.items()], lines_of, check_head)}
