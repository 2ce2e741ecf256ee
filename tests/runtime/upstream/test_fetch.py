"""One GET: its whole answer, or as much of it as was asked for, within its time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace
from scripted import CHUNKED, HELLO, Peer, chunk

from infron.errors import ProviderTimeout, ProviderUnavailable
from infron.runtime.upstream.client import Client
from infron.runtime.upstream.fetch import Fetched, fetch

Host = Callable[..., Any]


async def ask(client: Client, host: Any, *, seconds: float = 5.0, most_bytes: int = 1000) -> Fetched:
    headers = {"authorization": "Bearer x"}
    return await fetch(
        client, f"http://127.0.0.1:{host.port}/v1/models", headers, seconds=seconds, most_bytes=most_bytes
    )


def said(found: Fetched) -> Fetched:
    """Without its headers."""
    return replace(found, headers=[])


async def test_fetch_gives_status_and_body_and_leaves_the_connection_for_the_next(host: Host, client: Client) -> None:
    async def script(peer: Peer) -> None:
        head, body = await peer.request()
        assert head.startswith(b"GET /v1/models HTTP/1.1\r\n")
        assert b"authorization: Bearer x\r\n" in head
        assert body == b""
        await peer.send(HELLO)
        await peer.answer_all()

    there = await host(script)
    assert said(await ask(client, there)) == Fetched(200, b"hello")
    assert said(await ask(client, there)) == Fetched(200, b"hello")
    assert len(there.peers) == 1


@pytest.mark.parametrize(("most_bytes", "body"), [(0, b""), (3, b"abc")])
async def test_fetch_reads_no_more_than_it_may_and_closes(
    host: Host, client: Client, most_bytes: int, body: bytes
) -> None:
    left = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + chunk(b"abcdef"))  # and it would go on
        await peer.reader.read()
        left.set()

    assert said(await ask(client, await host(script), most_bytes=most_bytes)) == Fetched(200, body, whole=False)
    async with asyncio.timeout(30):
        await left.wait()


async def test_fetch_of_a_host_that_is_silent_or_gone_raises_one_sentence(host: Host, client: Client) -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.reader.read()

    with pytest.raises(ProviderTimeout, match=r"No answer within 0\.05 s\."):
        await ask(client, await host(silent), seconds=0.05)
    with pytest.raises(ProviderUnavailable):
        await fetch(client, "http://127.0.0.1:9/", {}, seconds=5, most_bytes=10)
