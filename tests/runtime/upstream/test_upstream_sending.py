"""What is written, how a large body respects the socket, and what `sent` and `fully_sent` say meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from scripted import HELLO, Peer, counts, emptied, fetch, send, true

import infron
from infron.errors import ConfigError, ProviderUnavailable, ShuttingDown
from infron.runtime.upstream.client import Client, Target

Start = Callable[..., Any]
LARGE = bytes(range(256)) * (32 << 12)  # 32 MiB, more than any pair of socket buffers holds


async def test_the_head_is_the_endpoints_with_the_clients_own_lines(client: Client, host: Start) -> None:
    heads: list[bytes] = []

    async def script(peer: Peer) -> None:
        heads.append((await peer.request())[0])
        await peer.send(HELLO)

    there = await host(script)
    headers = (("Authorization", "Bearer k"), ("Host", "evil"), ("Content-Length", "7"), ("TE", "trailers"))
    notes = await fetch(client, Target(f"{there.origin}/v1/ü b?q=%20&r=1#part", headers), b"12345")
    assert notes.ended
    lines = heads[0].decode().split("\r\n")
    assert lines[0] == "POST /v1/%C3%BC%20b?q=%20&r=1 HTTP/1.1"
    assert sorted(filter(None, lines[1:])) == sorted(
        [
            f"host: {there.at}",
            "accept-encoding: identity",
            f"user-agent: infron/{infron.__version__}",
            "Authorization: Bearer k",
            "content-length: 5",
        ]
    )


@pytest.mark.parametrize(("method", "length"), [("GET", False), ("DELETE", False), ("POST", True), ("PUT", True)])
async def test_an_empty_body_is_announced_only_where_one_is_expected(
    client: Client, host: Start, method: str, length: bool
) -> None:
    heads: list[bytes] = []

    async def script(peer: Peer) -> None:
        heads.append((await peer.request())[0])
        await peer.send(HELLO)

    there = await host(script)
    assert (await fetch(client, there.endpoint(method=method), b"")).ended
    assert heads[0].startswith(method.encode())
    assert (b"content-length: 0" in heads[0]) is length


@pytest.mark.parametrize(
    "endpoint",
    [
        Target("ftp://127.0.0.1/x", ()),
        Target("http:///x", ()),
        Target("http://127.0.0.1:99999/x", ()),
        Target("http://[::1/x", ()),
        Target(f"http://{'a' * 64}.test/x", ()),
        Target("http://user:sk-secret@127.0.0.1/x", ()),
        Target("http://127.0.0.1/x", (("authorization", "Bearer sk-secret\n"),)),
        Target("http://127.0.0.1/x", (("authorization", "Bearer sk-secret\u20ac"),)),
        Target("http://127.0.0.1/x", (("a b", "1"),)),
        Target("http://127.0.0.1/x", (), "GET / HTTP/1.1\r\nx:"),
    ],
)
async def test_an_endpoint_that_cannot_be_sent_fails_without_showing_its_secrets(
    client: Client, endpoint: Target
) -> None:
    request, notes = send(client, endpoint)
    await notes.over.wait()
    assert isinstance(notes.error, ConfigError)
    assert "sk-secret" not in notes.error.message
    assert not request.sent


async def test_an_endpoint_that_cannot_be_sent_says_nothing_to_a_reader_that_gave_up_at_once(client: Client) -> None:
    request, notes = send(client, Target("ftp://x", ()))
    closed = asyncio.Event()
    request.abort(closed.set)
    assert closed.is_set()
    await asyncio.sleep(0)
    assert not notes.over.is_set()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_a_large_body_is_handed_over_as_the_host_takes_it(
    clients: Start, host: Start, tls: ssl.SSLContext, trusted: dict[str, str], secure: bool
) -> None:
    read_on = asyncio.Event()
    digests: list[str] = []

    async def script(peer: Peer) -> None:
        await read_on.wait()
        _, body = await peer.request()
        digests.append(hashlib.sha256(body).hexdigest())
        await peer.send(HELLO)
        await peer.gone()

    there = await host(script, tls=tls if secure else None)
    client = clients(environ=trusted)
    request, notes = send(client, there.endpoint(), LARGE)
    assert not request.sent
    await there.connected.wait()
    await true(lambda: request.sent)
    assert not request.fully_sent
    assert request.body == b""  # one reference less for as long as the answer takes
    read_on.set()
    await notes.over.wait()
    assert (notes.ended, request.fully_sent) == (True, True)
    assert digests == [hashlib.sha256(LARGE).hexdigest()]
    assert counts(client, there) == (1, 1, 0, 0)


async def test_a_small_body_is_fully_sent_as_soon_as_it_is_sent(client: Client, host: Start) -> None:
    there = await host(Peer.answer_all)
    await fetch(client, there.endpoint())
    request, notes = send(client, there.endpoint())
    assert (request.sent, request.fully_sent) == (True, True)
    await notes.over.wait()


async def test_an_answer_that_comes_before_the_request_is_written_is_delivered_and_ends_the_connection(
    client: Client, host: Start
) -> None:
    refusal = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno"

    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(refusal)
        await over.wait()

    over = asyncio.Event()
    there = await host(script)
    request, notes = send(client, there.endpoint(), LARGE)
    await notes.over.wait()
    assert (notes.status, notes.body, notes.ended) == (413, b"no", True)
    assert (request.sent, request.fully_sent) == (True, False)
    await emptied(client, there)
    over.set()


async def test_a_host_that_hangs_up_while_the_body_is_written_has_failed(client: Client, host: Start) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.reset()

    there = await host(script)
    request, notes = send(client, there.endpoint(), LARGE)
    await notes.over.wait()
    assert isinstance(notes.error, ProviderUnavailable)
    assert (request.sent, request.fully_sent) == (True, False)


async def test_after_close_running_and_later_requests_fail_as_shutting_down(clients: Start, host: Start) -> None:
    async def silent(peer: Peer) -> None:
        await peer.gone()

    there = await host(silent)
    client = clients()
    endpoint = there.endpoint(max_connections=1)
    _, running = send(client, endpoint)
    _, queued = send(client, endpoint)
    await there.connected.wait()
    await client.close()
    _, late = send(client, endpoint)
    await late.over.wait()
    for notes in (running, queued, late):
        assert isinstance(notes.error, ShuttingDown)


async def test_close_ends_connections_that_are_still_being_made(clients: Start, host: Start) -> None:
    async def silent(peer: Peer) -> None:
        await peer.gone()

    there = await host(silent)
    client = clients()
    _, notes = send(client, there.endpoint())
    await client.close()
    assert isinstance(notes.error, ShuttingDown)
    assert counts(client, there) == (0, 0, 0, 0)
