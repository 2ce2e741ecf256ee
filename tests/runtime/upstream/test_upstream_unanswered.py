"""Requests that cross with the closing of the connection they were written to: written again, once, on a new one."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from scripted import HELLO, OK, Peer, counts, emptied, fetch, send, true

from infron.errors import ProviderUnavailable
from infron.runtime.upstream import client as upstream
from infron.runtime.upstream.client import Client

Start = Callable[..., Any]


class Closing:
    """A host that closes its first connections without a word to their second request. `first`: what it says then."""

    def __init__(self, *, reset: bool = False, first: bytes = b"", closes: int = 1, early: bool = False) -> None:
        self.reset, self.first, self.closes, self.early = reset, first, closes, early
        self.bodies: list[bytes] = []

    async def __call__(self, peer: Peer) -> None:
        if peer.number > self.closes:
            while True:
                try:
                    _, body = await peer.request()
                except (asyncio.IncompleteReadError, ConnectionError):
                    return
                self.bodies.append(body)
                await peer.send(HELLO)
        if peer.number == 1:
            await peer.request()
            await peer.send(HELLO)
        if self.early:
            await peer.reader.readuntil(b"\r\n\r\n")
        else:
            self.bodies.append((await peer.request())[1])
        if self.first:
            await peer.send(self.first)
        if self.reset:
            peer.reset()


async def used(client: Client, there: Any, **more: Any) -> None:
    """Let there be an idle connection that has carried an answer."""
    notes = await fetch(client, there.endpoint(**more))
    assert notes.ended


@pytest.mark.parametrize("secure", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_request_on_a_used_connection_that_is_closed_without_a_word_is_written_again(
    clients: Start, host: Start, tls: ssl.SSLContext, trusted: dict[str, str], reset: bool, secure: bool
) -> None:
    """It failed, 502, whenever the provider closed an idle connection in the very moment of a request."""
    client = clients(environ=trusted)
    script = Closing(reset=reset)
    there = await host(script, tls=tls if secure else None)
    await used(client, there)
    notes = await fetch(client, there.endpoint(), b'{"n": 1}')
    assert (notes.body, notes.error) == (b"hello", None)
    assert script.bodies == [b'{"n": 1}'] * 2
    assert len(there.peers) == 2
    assert counts(client, there) == (1, 1, 0, 0)


@pytest.mark.parametrize("early", [False, True], ids=["read whole", "read in part"])
async def test_request_of_any_size_is_written_again(client: Client, host: Start, early: bool) -> None:
    body = bytes(range(256)) * (12 << 10)
    script = Closing(early=early, reset=early)
    there = await host(script)
    await used(client, there)
    request, notes = send(client, there.endpoint(), body)
    await notes.over.wait()
    assert (notes.body, notes.error) == (b"hello", None)
    assert script.bodies[-1] == body
    assert (request.head, request.body) == (b"", b"")


async def test_request_is_let_go_once_its_answer_begins(client: Client, host: Start) -> None:
    there = await host(Peer.answer_all)
    for _ in range(2):
        request, notes = send(client, there.endpoint(), b"{}")
        await notes.over.wait()
        assert (request.head, request.body) == (b"", b"")


async def test_request_is_written_again_once_only(client: Client, host: Start) -> None:
    there = await host(Closing(closes=2))
    await used(client, there)
    notes = await fetch(client, there.endpoint())
    assert isinstance(notes.error, ProviderUnavailable)
    assert "closed the connection before it answered" in notes.error.message
    assert len(there.peers) == 2


async def test_request_on_a_new_connection_is_not_written_again(client: Client, host: Start) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()

    there = await host(script)
    notes = await fetch(client, there.endpoint())
    assert isinstance(notes.error, ProviderUnavailable)
    assert len(there.peers) == 1


@pytest.mark.parametrize("first", [b"H", OK, b"HTTP/1.1 100 Continue\r\n\r\n", OK + b"content-length: 9\r\n\r\nhe"])
async def test_request_to_which_anything_came_back_is_not_written_again(
    client: Client, host: Start, first: bytes
) -> None:
    script = Closing(first=first)
    there = await host(script)
    await used(client, there)
    notes = await fetch(client, there.endpoint())
    assert isinstance(notes.error, ProviderUnavailable)
    assert len(script.bodies) == 1


async def test_request_is_not_written_again_where_that_is_not_allowed(client: Client, host: Start) -> None:
    script = Closing()
    there = await host(script)
    await used(client, there, again=False)
    notes = await fetch(client, there.endpoint(again=False))
    assert isinstance(notes.error, ProviderUnavailable)
    assert len(script.bodies) == 1


async def test_request_that_was_worked_on_for_long_is_not_written_again(
    client: Client, host: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A close after seconds crossed nothing: the host had the request, and may have answered it to somebody."""
    monkeypatch.setattr(upstream, "_RACE_SECONDS", -1.0)
    script = Closing()
    there = await host(script)
    await used(client, there)
    notes = await fetch(client, there.endpoint())
    assert isinstance(notes.error, ProviderUnavailable)
    assert len(script.bodies) == 1


async def test_request_is_written_again_within_the_limit_of_connections(client: Client, host: Start) -> None:
    script = Closing()
    there = await host(script)
    await used(client, there, max_connections=1)
    both = [send(client, there.endpoint(max_connections=1), body)[1] for body in (b"1", b"2")]
    for notes in both:
        await notes.over.wait()
        assert (notes.body, notes.error) == (b"hello", None)
    assert script.bodies == [b"1", b"1", b"2"]
    assert len(there.peers) == 2


async def test_request_that_is_being_written_again_can_be_aborted(client: Client, host: Start) -> None:
    there = await host(Closing())
    await used(client, there)
    request, notes = send(client, there.endpoint())
    await true(lambda: counts(client, there)[2])
    closed = asyncio.Event()
    assert not request.fully_sent
    request.abort(closed.set)
    await closed.wait()
    await emptied(client, there)
    assert not notes.over.is_set()
