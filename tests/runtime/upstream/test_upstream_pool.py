"""Which connection takes a request, who waits, and which connections are closed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
from scripted import CHUNKED, HELLO, OK, Host, Notes, Peer, chunk, counts, emptied, fetch, send, true

from infron.runtime.upstream import client as upstream
from infron.runtime.upstream import connection
from infron.runtime.upstream.client import Client, Target
from infron.runtime.upstream.connection import MOST_AT_ONCE

Start = Callable[..., Any]


class Turns:
    """A script that answers each request with the number of its connection, one request per `go`."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[tuple[Peer, bytes]] = asyncio.Queue()

    async def __call__(self, peer: Peer) -> None:
        try:
            while True:
                _, body = await peer.request()
                self.arrived.put_nowait((peer, body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass

    async def go(self) -> bytes:
        """Answer the request that arrived first; returns its body."""
        peer, body = await self.arrived.get()
        await peer.send(OK + b"content-length: 1\r\n\r\n%d" % peer.number)
        return body


async def test_the_connection_used_last_is_used_first(client: Client, host: Start) -> None:
    turns = Turns()
    there = await host(turns)
    both = [send(client, there.endpoint())[1] for _ in range(2)]
    for _ in both:
        await turns.go()
    for notes in both:
        await notes.over.wait()
    assert counts(client, there) == (2, 2, 0, 0)
    used = []
    for _ in range(5):
        _, notes = send(client, there.endpoint())
        assert counts(client, there) == (2, 1, 0, 0)
        await turns.go()
        await notes.over.wait()
        used.append(notes.body)
    assert len(set(used)) == 1
    assert len(there.peers) == 2


async def test_the_next_request_may_come_from_inside_the_end_of_the_last_and_use_its_connection(
    client: Client, host: Start
) -> None:
    there = await host(Peer.answer_all)
    _, first = send(client, there.endpoint())
    following: list[Notes] = []

    def react(call: str) -> None:
        if call == "response_ended":
            following.append(send(client, there.endpoint())[1])

    first.react = react
    await first.over.wait()
    await following[0].over.wait()
    assert following[0].body == b"hello"
    assert len(there.peers) == 1


async def test_requests_over_the_limit_are_served_in_their_order(client: Client, host: Start) -> None:
    turns = Turns()
    there = await host(turns)
    endpoint = there.endpoint(max_connections=2)
    every = [send(client, endpoint, b"%d" % number) for number in range(6)]
    assert counts(client, there) == (2, 0, 2, 4)
    served = []
    for _ in range(6):
        served.append(int(await turns.go()))
        assert counts(client, there)[0] <= 2
    for _, notes in every:
        await notes.over.wait()
    assert sorted(served[:2]) == [0, 1]
    assert served[2:] == [2, 3, 4, 5]
    assert counts(client, there) == (2, 2, 0, 0)


async def test_who_waits_gets_a_new_connection_when_an_old_one_is_closed(client: Client, host: Start) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + b"connection: close\r\ncontent-length: 1\r\n\r\n%d" % peer.number)

    there = await host(script)
    every = [send(client, there.endpoint(max_connections=1))[1] for _ in range(3)]
    for notes in every:
        await notes.over.wait()
    assert [notes.body for notes in every] == [b"1", b"2", b"3"]


async def test_who_waits_is_served_though_those_before_gave_up_or_failed(client: Client, host: Start) -> None:
    turns = Turns()
    there = await host(turns)
    endpoint = there.endpoint(max_connections=1)
    first, _ = send(client, endpoint, b"first")
    gone, _ = send(client, endpoint, b"gone")
    _, last = send(client, endpoint, b"last")
    peer, _ = await turns.arrived.get()
    gone.abort()
    assert counts(client, there) == (1, 0, 0, 1)
    peer.reset()
    assert await turns.go() == b"last"
    await last.over.wait()
    assert last.ended
    first.abort()


async def test_one_who_waits_longer_than_others_need_does_not_hold_up_those_with_a_higher_limit(
    client: Client, host: Start
) -> None:
    turns = Turns()
    there = await host(turns)
    running, _ = send(client, there.endpoint(max_connections=1))
    waiting, _ = send(client, there.endpoint(max_connections=1))
    _, more = send(client, there.endpoint(max_connections=2))
    await there.connected.wait()
    await turns.arrived.get()
    await turns.go()
    await more.over.wait()
    assert more.body == b"2"
    running.abort()
    waiting.abort()


async def test_when_one_with_a_low_limit_gives_up_waiting_those_behind_it_with_a_higher_one_are_served(
    client: Client, host: Start
) -> None:
    turns = Turns()
    there = await host(turns)
    low, high = there.endpoint(max_connections=1), there.endpoint(max_connections=2)
    running = [send(client, high)[0] for _ in range(2)]
    (first, _), (_, second) = send(client, low), send(client, high, b"second")
    for _ in running:
        await turns.arrived.get()
    running[0].abort()
    await true(lambda: counts(client, there) == (1, 0, 0, 2))
    first.abort()
    assert await turns.go() == b"second"
    await second.over.wait()
    running[1].abort()


async def test_a_connection_idle_for_too_long_is_closed(clients: Start, host: Start) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer_all()
        gone.set()

    gone = asyncio.Event()
    there = await host(script)
    client = clients(idle_seconds=0.05)
    await fetch(client, there.endpoint())
    assert counts(client, there) == (1, 1, 0, 0)
    await gone.wait()
    await emptied(client, there)


async def test_an_idle_connection_that_the_host_closes_leaves_the_pool(client: Client, host: Start) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HELLO)

    there = await host(script)
    await fetch(client, there.endpoint())
    await emptied(client, there)


@pytest.mark.parametrize("extra", [b"HTTP/1.1 408 Request Timeout\r\n\r\n", b"x", b"\r\n\r\n\r\n"])
async def test_an_idle_connection_on_which_the_host_speaks_is_closed(client: Client, host: Start, extra: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HELLO)
        await idle.wait()
        await peer.send(extra)
        await peer.gone()

    idle = asyncio.Event()
    there = await host(script)
    await fetch(client, there.endpoint())
    idle.set()
    await emptied(client, there)


async def test_a_second_answer_to_one_request_is_dropped_and_the_connection_with_it(
    client: Client, host: Start
) -> None:
    there = await host(lambda peer: peer.answer_all(HELLO + OK + b"content-length: 4\r\n\r\nevil"))
    for _ in range(3):
        notes = await fetch(client, there.endpoint())
        assert (notes.body, notes.ended) == (b"hello", True)
        await emptied(client, there)
    assert len(there.peers) == 3


class Blind:
    """A host that closes its connection while the client's loop is busy and cannot see it: a thread-free race."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.at = f"http://127.0.0.1:{self.listener.getsockname()[1]}/x"

    async def serve_one(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        sock, _ = await loop.sock_accept(self.listener)
        await loop.sock_recv(sock, 65536)
        await loop.sock_sendall(sock, HELLO)
        return sock


async def test_a_pooled_connection_closed_unseen_is_found_out_before_a_byte_is_written(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_FRESH_SECONDS", 0.0)
    blind = Blind()
    _, first = send(client, Target(blind.at, ()))
    accepted = await blind.serve_one()
    await first.over.wait()
    accepted.close()  # and no turn of the loop from here …
    request, second = send(client, Target(blind.at, ()))
    assert not request.sent  # … to here: it was the system that knew
    accepted = await blind.serve_one()
    await second.over.wait()
    assert second.ended
    accepted.close()
    blind.listener.close()


# ---- release


async def stream_until_done(client: Client, there: Host) -> Any:
    request, notes = send(client, there.endpoint())
    await notes.until(lambda notes: b"[DONE]" in notes.body)
    return request, notes


async def test_a_released_answer_whose_end_follows_gives_its_connection_back(client: Client, host: Start) -> None:
    async def script(peer: Peer) -> None:
        for _ in range(2):
            await peer.request()
            await peer.send(CHUNKED + chunk(b"data: [DONE]\n\n"))
            await released.wait()
            await peer.send(chunk(b"more that nobody reads") + chunk(b""))
        await peer.gone()

    released = asyncio.Event()
    there = await host(script)
    request, notes = await stream_until_done(client, there)
    request.pause()
    request.release()
    assert counts(client, there) == (1, 0, 0, 0)
    released.set()
    await true(lambda: counts(client, there)[1] == 1)
    assert not notes.over.is_set()
    again, notes = await stream_until_done(client, there)
    assert len(there.peers) == 1
    again.abort()


async def test_a_release_from_inside_the_callback_that_saw_the_end_gives_the_connection_back_at_once(
    client: Client, host: Start
) -> None:
    there = await host(lambda peer: peer.answer_all(CHUNKED + chunk(b"data: [DONE]\n\n") + chunk(b"")))
    for _ in range(3):
        request, notes = send(client, there.endpoint())
        notes.react = lambda call, request=request: request.release() if call == "data_received" else None  # type: ignore[misc]
        await notes.until(lambda notes: notes.pieces)
        assert counts(client, there) == (1, 1, 0, 0)
        assert not notes.over.is_set()
    assert len(there.peers) == 1


@pytest.mark.parametrize(
    "tail",
    [chunk(bytes(65_000)) + chunk(bytes(600)), b"garbage\r\n", None],
    ids=["too much", "garbage", "closed"],
)
async def test_a_released_answer_that_does_not_end_well_closes_its_connection(
    client: Client, host: Start, tail: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "LINGER_SECONDS", 60.0)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + chunk(b"data: [DONE]\n\n"))
        await released.wait()
        if tail is not None:
            await peer.send(tail)
            await peer.gone()

    released = asyncio.Event()
    there = await host(script)
    request, _ = await stream_until_done(client, there)
    request.release()
    released.set()
    await emptied(client, there)


async def test_a_released_answer_that_does_not_end_is_waited_for_two_seconds(
    client: Client, host: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert upstream.LINGER_SECONDS == 2.0
    monkeypatch.setattr(upstream, "LINGER_SECONDS", 0.05)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + chunk(b"data: [DONE]\n\n"))
        await peer.gone()
        gone.set()

    gone = asyncio.Event()
    there = await host(script)
    request, _ = await stream_until_done(client, there)
    request.release()
    assert counts(client, there) == (1, 0, 0, 0)
    await gone.wait()
    await emptied(client, there)


async def test_a_connection_that_came_back_after_a_release_is_no_longer_under_its_clock(
    client: Client, host: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "LINGER_SECONDS", 0.02)
    monkeypatch.setattr(upstream, "_SWEEP_SECONDS", 0.01)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + chunk(b"data: [DONE]\n\n"))
        await released.wait()
        await peer.send(chunk(b""))
        await peer.gone()

    released = asyncio.Event()
    there = await host(script)
    request, _ = await stream_until_done(client, there)
    request.release()
    released.set()
    await true(lambda: counts(client, there)[1] == 1)
    await asyncio.sleep(0.1)
    assert counts(client, there) == (1, 1, 0, 0)


async def test_a_released_answer_can_still_be_aborted(client: Client, host: Start) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + chunk(b"data: [DONE]\n\n"))
        await peer.gone()

    there = await host(script)
    request, _ = await stream_until_done(client, there)
    closed = asyncio.Event()
    request.release()
    request.abort(closed.set)
    await closed.wait()
    assert counts(client, there) == (0, 0, 0, 0)


async def test_a_released_answer_that_only_the_close_can_end_is_closed_at_once(client: Client, host: Start) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + b"\r\ndata: [DONE]\n\n")
        await peer.gone()

    there = await host(script)
    request, _ = await stream_until_done(client, there)
    request.release()
    await emptied(client, there)


# ---- back-pressure


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("framed", [True, False], ids=["length", "till close"])
async def test_a_paused_answer_stops_the_host_and_loses_nothing_though_the_host_closes(
    clients: Start, host: Start, tls: Any, trusted: dict[str, str], secure: bool, framed: bool
) -> None:
    size = 24 << 20

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + (b"content-length: %d\r\n\r\n" % size if framed else b"\r\n"))
        for number in range(24):
            await peer.send(bytes([number]) * (1 << 20))
            progress.append(number)
        finished.set()

    progress: list[int] = []
    finished = asyncio.Event()
    there = await host(script, tls=tls if secure else None)
    request, notes = send(clients(environ=trusted), there.endpoint())
    await notes.until(lambda notes: notes.pieces)
    request.pause()
    before = len(notes.body)
    for _ in range(50):
        await asyncio.sleep(0.002)  # the host may write until every buffer on the way is full, and no further
    assert len(notes.body) == before
    assert not finished.is_set()
    request.resume()
    while not finished.is_set():  # stop and go, and a pause just when the host closes
        notes.news.clear()
        await notes.news.wait()
        request.pause()
        await asyncio.sleep(0)
        request.resume()
    request.pause()
    await asyncio.sleep(0.05)
    request.resume()
    await notes.over.wait()
    assert notes.ended
    assert notes.body == b"".join(bytes([number]) * (1 << 20) for number in range(24))


async def test_an_answer_that_comes_at_once_leaves_others_their_turn(client: Client, host: Start) -> None:
    """A host that sent 20 MB as fast as it could stopped the loop for 0.2-0.3 s: of 32 reads in one turn each brought
    up to 256 kB, all of which was decoded.
    """
    size = 16 << 20

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + b"content-length: %d\r\n\r\n" % size + bytes(size))

    there = await host(script)
    _, notes = send(client, there.endpoint())
    pieces = taken = most = 0
    while not notes.over.is_set():
        await asyncio.sleep(0)
        brought = sum(map(len, notes.pieces[pieces:]))
        pieces, taken, most = len(notes.pieces), taken + brought, max(most, brought)
    assert notes.ended
    assert taken == size
    assert most <= 2 * MOST_AT_ONCE


async def test_what_follows_an_answer_in_one_read_is_nobodys_though_its_turn_comes_later(
    client: Client, host: Start
) -> None:
    """By then another request may wait for the connection."""
    head = OK + b"content-length: %d\r\n\r\n"
    first = head % (MOST_AT_ONCE - len(head % MOST_AT_ONCE))
    first += bytes(MOST_AT_ONCE - len(first))

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(first + head % 100_000 + bytes(100_000))

    there = await host(script)
    both = [send(client, there.endpoint(max_connections=1))[1] for _ in range(2)]
    for notes in both:
        await notes.over.wait()
        assert len(notes.body) == MOST_AT_ONCE - first.index(b"\r\n\r\n") - 4
    assert len(there.peers) == 2


async def test_a_pause_before_the_answer_holds_for_it_and_not_for_the_next_one(client: Client, host: Start) -> None:
    there = await host(Peer.answer_all)
    await fetch(client, there.endpoint())
    request, notes = send(client, there.endpoint())
    request.pause()
    await asyncio.sleep(0.02)
    assert not notes.news.is_set()
    request.resume()
    await notes.over.wait()
    request, notes = send(client, there.endpoint())
    notes.react = lambda call: request.pause() if call == "response_started" else None
    await notes.over.wait()
    assert (await fetch(client, there.endpoint())).ended
    assert len(there.peers) == 1
