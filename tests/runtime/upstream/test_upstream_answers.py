"""How answers are read: framing, codings, limits, and what is told when they are wrong."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from scripted import CHUNKED, HELLO, OK, Host, Peer, chunk, counts, fetch, send

from infron.errors import InfronError, InternalError, ProviderUnavailable
from infron.runtime.upstream.client import Client

Start = Callable[..., Any]


def saying(*pieces: bytes, close: bool = False) -> Callable[[Peer], Any]:
    """A script: read the request, send the pieces, then close or wait for the client to."""

    async def script(peer: Peer) -> None:
        await peer.request()
        for piece in pieces:
            await peer.send(piece)
        if not close:
            await peer.gone()

    return script


async def failing(client: Client, host: Host, **more: Any) -> InfronError:
    notes = await fetch(client, host.endpoint(**more))
    assert not notes.ended
    assert notes.error is not None
    assert host.at in notes.error.message
    assert "sk-secret" not in notes.error.message
    assert "/v1/chat" not in notes.error.message
    assert counts(client, host)[1] == 0
    return notes.error


GZIPPED = gzip.compress(b"hello")
RAW_DEFLATE = zlib.compressobj(wbits=-15)
DEFLATED = RAW_DEFLATE.compress(b"hello") + RAW_DEFLATE.flush()
COMPLETE = {
    "length": HELLO,
    "chunked": CHUNKED + chunk(b"he") + chunk(b"llo") + chunk(b""),
    "chunk extensions and trailers": CHUNKED + b"5;a=b\r\nhello\r\n0\r\nx-trailer: 1\r\nx-more: 2\r\n\r\n",
    "interim answers": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + HELLO,
    "no reason phrase": b"HTTP/1.1 200\r\ncontent-length: 5\r\n\r\nhello",
    "gzip": OK + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(GZIPPED) + GZIPPED,
    "x-gzip, chunked": CHUNKED.replace(b"content-type", b"Content-Encoding: X-GZIP\r\nx")
    + b"".join(chunk(GZIPPED[i : i + 1]) for i in range(len(GZIPPED)))
    + chunk(b""),
    "gzip of two members": CHUNKED.replace(b"content-type", b"content-encoding: gzip\r\nx")
    + chunk(gzip.compress(b"hel") + gzip.compress(b"lo"))
    + chunk(b""),
    "deflate with header": OK
    + b"content-encoding: deflate\r\ncontent-length: %d\r\n\r\n" % len(zlib.compress(b"hello"))
    + zlib.compress(b"hello"),
    "deflate without": OK + b"content-encoding: deflate\r\ncontent-length: %d\r\n\r\n" % len(DEFLATED) + DEFLATED,
    "coding named identity": HELLO.replace(b"\r\n", b"\r\ncontent-encoding: identity\r\n", 1),
}


@pytest.mark.parametrize("answer", COMPLETE.values(), ids=COMPLETE)
@pytest.mark.parametrize("size", [1 << 20, 1], ids=["whole", "byte by byte"])
async def test_a_complete_answer_is_read_to_its_end_and_its_connection_kept(
    client: Client, host: Start, answer: bytes, size: int
) -> None:
    there = await host(saying(*(answer[i : i + size] for i in range(0, len(answer), size))))
    notes = await fetch(client, there.endpoint())
    assert (notes.status, notes.body, notes.ended, notes.error) == (200, b"hello", True, None)
    assert all(name == name.lower() for name in notes.headers)
    assert b"x-trailer" not in notes.headers
    assert counts(client, there) == (1, 1, 0, 0)


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"\r\nhello",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        OK + b"connection: close\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        OK + b"content-encoding: gzip\r\n\r\n" + GZIPPED,
    ],
    ids=["1.1 till close", "1.0 till close", "length, then close", "1.0 with length", "gzip till close"],
)
async def test_an_answer_that_ends_with_its_connection_is_complete_and_the_connection_not_kept(
    client: Client, host: Start, answer: bytes
) -> None:
    there = await host(saying(answer, close=True))
    notes = await fetch(client, there.endpoint())
    assert (notes.status, notes.body, notes.ended) == (200, b"hello", True)
    assert counts(client, there)[1] == 0


@pytest.mark.parametrize("status", [301, 302, 307, 308, 404, 429, 500, 599])
async def test_every_final_status_is_handed_to_the_reader_and_redirects_are_not_followed(
    client: Client, host: Start, status: int
) -> None:
    there = await host(saying(b"HTTP/1.1 %d X\r\nlocation: /elsewhere\r\ncontent-length: 2\r\n\r\nno" % status))
    notes = await fetch(client, there.endpoint())
    assert (notes.status, notes.body, notes.ended) == (status, b"no", True)
    assert notes.headers[b"location"] == b"/elsewhere"
    assert len(there.peers) == 1


@pytest.mark.parametrize("head", [b"204 No Content\r\n", b"304 Not Modified\r\ncontent-length: 5\r\n"])
async def test_statuses_without_a_body_end_with_their_head(client: Client, host: Start, head: bytes) -> None:
    there = await host(saying(b"HTTP/1.1 " + head + b"\r\n"))
    notes = await fetch(client, there.endpoint())
    assert (notes.body, notes.ended) == (b"", True)
    assert counts(client, there) == (1, 1, 0, 0)


@pytest.mark.parametrize("tail", [b"", b"hello"], ids=["as it should be", "a body all the same"])
async def test_the_answer_to_head_has_no_body_whatever_it_announces(client: Client, host: Start, tail: bytes) -> None:
    there = await host(saying(OK + b"content-encoding: br\r\ncontent-length: 5\r\n\r\n" + tail))
    notes = await fetch(client, there.endpoint(method="HEAD"), b"")
    assert (notes.headers[b"content-length"], notes.body, notes.ended) == (b"5", b"", True)


async def test_chunks_of_one_read_arrive_as_one_piece(client: Client, host: Start) -> None:
    there = await host(saying(CHUNKED + b"".join(chunk(b"data: %d\n\n" % i) for i in range(100)) + chunk(b"")))
    notes = await fetch(client, there.endpoint())
    assert notes.pieces == [b"".join(b"data: %d\n\n" % i for i in range(100))]


async def test_what_was_good_before_the_damage_is_still_delivered(client: Client, host: Start) -> None:
    there = await host(saying(CHUNKED + chunk(b"good") + b"zzz\r\n"))
    notes = await fetch(client, there.endpoint())
    assert (notes.status, notes.body, notes.ended) == (200, b"good", False)
    assert "not valid HTTP" in str(notes.error)


CUT = {
    "in a length body": HELLO[:-1],
    "in a chunk": CHUNKED + b"5\r\nhel",
    "between chunks": CHUNKED + chunk(b"hello"),
    "before the last line": CHUNKED + chunk(b"hello") + b"0\r\n",
}


@pytest.mark.parametrize("answer", CUT.values(), ids=CUT)
async def test_a_framed_body_that_is_cut_has_failed(client: Client, host: Start, answer: bytes) -> None:
    error = await failing(client, await host(saying(answer, close=True)))
    assert isinstance(error, ProviderUnavailable)
    assert "closed the connection in the middle of the answer" in error.message


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-le", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_close_before_the_head_is_complete_has_failed(client: Client, host: Start, answer: bytes) -> None:
    error = await failing(client, await host(saying(answer, close=True)))
    assert "closed the connection before it answered" in error.message


async def test_a_reset_is_called_a_reset_and_does_not_complete_an_answer_without_framing(
    client: Client, host: Start
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + b"\r\nhel")
        await arrived.until(lambda notes: notes.pieces)
        peer.reset()

    there = await host(script)
    _, arrived = send(client, there.endpoint())
    await arrived.over.wait()
    assert not arrived.ended
    assert "reset the connection in the middle of the answer" in str(arrived.error)


WRONG = {
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n", "not valid HTTP"),
    "HTTP/2": (b"HTTP/2 200\r\n\r\n", "not valid HTTP"),
    "both lengths": (CHUNKED[:-2] + b"content-length: 5\r\n\r\n" + chunk(b"hello"), "not valid HTTP"),
    "two lengths": (OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello", "not valid HTTP"),
    "space before the colon": (OK + b"content-length : 5\r\n\r\nhello", "not valid HTTP"),
    "bad chunk size": (CHUNKED + b"-1\r\n", "not valid HTTP"),
    "upgrade": (b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", "switched to a protocol"),
    "transfer coding": (OK + b"transfer-encoding: gzip, chunked\r\n\r\n", "transfer coding"),
    "transfer codings": (OK + b"transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n", "transfer coding"),
    "br": (OK + b"content-encoding: br\r\ncontent-length: 1\r\n\r\nx", "the content coding 'br' was not asked for"),
    "zstd": (OK + b"content-encoding: zstd\r\ncontent-length: 1\r\n\r\nx", "'zstd'"),
    "gzip twice": (OK + b"content-encoding: gzip, gzip\r\ncontent-length: 1\r\n\r\nx", "'gzip, gzip'"),
    "damaged gzip": (OK + b"content-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello", "damaged"),
    "gzip that ends early": (OK + b"content-encoding: gzip\r\ncontent-length: 12\r\n\r\n" + GZIPPED[:12], "too early"),
    "a bomb": (
        OK + b"content-encoding: gzip\r\n\r\n" + gzip.compress(bytes(17 << 20)),
        "more than 16 MiB",
    ),
    "header block too long": (OK + b"a: b\r\n" * 11_000, "a head longer than 65536 bytes"),
    "header line too long": (OK + b"a: " + b"b" * 17_000 + b"\r\n\r\n", "a header longer than 16 KiB"),
    "header line without end": (OK + b"a: " + b"b" * 70_000, "a head longer than 65536 bytes"),
    "too many headers": (OK + b"a: b\r\n" * 257 + b"\r\n", "more than 256 headers"),
    "too many interim answers": (b"HTTP/1.1 102 X\r\n\r\n" * 101 + HELLO, "more than 100 interim answers"),
    "trailer without end": (CHUNKED + chunk(b"x") + b"0\r\na: " + b"b" * 400_000, "without end"),
    "chunk extension without end": (CHUNKED + b"5;a=" + b"b" * 400_000, "without end"),
}


@pytest.mark.parametrize(("answer", "words"), WRONG.values(), ids=WRONG)
async def test_an_answer_that_breaks_the_rules_has_failed_in_words(
    client: Client, host: Start, answer: bytes, words: str
) -> None:
    error = await failing(client, await host(saying(answer)))
    assert isinstance(error, ProviderUnavailable)
    assert words in error.message


async def test_a_head_of_exactly_the_limit_passes_and_one_byte_more_does_not(clients: Start, host: Start) -> None:
    start = OK + b"content-length: 5\r\na: "
    for size, passes in ((1000, True), (1001, False)):
        head = start + b"b" * (size - len(start) - 4) + b"\r\n\r\n"
        for pieces in ([head + b"hello"], [head[:500], head[500:] + b"hello"]):
            there = await host(saying(*pieces))
            notes = await fetch(clients(max_header_bytes=1000), there.endpoint())
            assert notes.ended is passes, (size, len(pieces), notes.error)


async def test_a_head_does_not_count_against_the_limit_of_what_comes_between_it_and_the_body(
    clients: Start, host: Start
) -> None:
    head = CHUNKED[:-2] + b"a: " + b"b" * 900 + b"\r\n\r\n"

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head + b"5;" + b"x" * 900 + b"\r\n")
        await started.until(lambda notes: notes.status)
        await peer.send(b"hello\r\n0\r\n\r\n")
        await peer.gone()

    there = await host(script)
    _, started = send(clients(max_header_bytes=1000), there.endpoint())
    await started.over.wait()
    assert (started.body, started.ended) == (b"hello", True)


async def test_a_long_body_behind_a_long_head_is_not_taken_for_a_head(clients: Start, host: Start) -> None:
    head = OK + b"a: " + b"b" * 900 + b"\r\ncontent-length: 300000\r\n\r\n"
    there = await host(saying(head + bytes(300_000)))
    notes = await fetch(clients(max_header_bytes=1000), there.endpoint())
    assert (notes.ended, len(notes.body)) == (True, 300_000)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_reader_that_breaks_ends_its_own_attempt_and_is_to_blame_itself(client: Client, host: Start) -> None:
    there = await host(saying(HELLO))
    _, notes = send(client, there.endpoint())

    def react(call: str) -> None:
        if call == "data_received":
            raise RuntimeError("a bug")

    notes.react = react
    await notes.over.wait()
    assert isinstance(notes.error, InternalError)
    assert await fetch(client, there.endpoint()) is not None


async def test_nothing_is_called_back_from_inside_send(client: Client, host: Start) -> None:
    there = await host(Peer.answer_all)
    new_connection, used_connection = there.endpoint(), there.endpoint()
    for endpoint in (new_connection, used_connection, there.endpoint(headers=(("x", "a\r\nb"),))):
        _, notes = send(client, endpoint)
        assert not notes.news.is_set()
        await notes.over.wait()
