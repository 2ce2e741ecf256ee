"""A request can be ended at every step of its life; afterwards nothing is left open and nothing is told."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from scripted import CHUNKED, HELLO, Host, Notes, Peer, chunk, counts, emptied, fetch, send, true

from infron.runtime.upstream import dial as connect
from infron.runtime.upstream.client import Client, Target, UpstreamRequest

Start = Callable[..., Any]
Patch = pytest.MonkeyPatch
StepMaker = Callable[["World"], Awaitable["Step"]]


async def silent(peer: Peer) -> None:
    await peer.gone()


async def one_frame(peer: Peer) -> None:
    await peer.request()
    await peer.send(CHUNKED + chunk(b"data: 1\n\n"))
    await peer.gone()


async def half_a_head(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\ncont")
    await peer.gone()


@pytest.fixture
async def full() -> AsyncIterator[str]:
    """An address whose queue of connections is full: whoever connects hangs."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    crowd = []
    for _ in range(8):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(listener.getsockname())
        crowd.append(sock)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    for sock in (*crowd, listener):
        sock.close()


class Step:
    """A request brought to one step of its life; `peer`: the host's end of it, where there is one that reads."""

    def __init__(
        self, client: Client, origin: str, sent: tuple[UpstreamRequest, Notes], peer: Peer | None = None
    ) -> None:
        self.client = client
        self.origin = origin
        self.request, self.notes = sent
        self.peer = peer


class World:
    """Everything that a step needs."""

    def __init__(
        self, clients: Start, host: Start, full: str, tls: ssl.SSLContext, trusted: dict[str, str], patch: Patch
    ) -> None:
        self.clients = clients
        self.host = host
        self.full = full
        self.tls = tls
        self.trusted = trusted
        self.patch = patch

    async def begin(self, script: Any, body: bytes = b"{}", secure: bool = False) -> Step:
        """A request that has a connection."""
        there = await self.host(script, tls=self.tls if secure else None)
        client = self.clients(environ=self.trusted)
        sent = send(client, there.endpoint(), body)
        await true(lambda: sent[0].sent)
        await there.connected.wait()
        return Step(client, there.origin, sent, there.peers[0])

    def to(self, origin: str, **environ: str) -> Step:
        """A request that has none yet."""
        client = self.clients(environ={**self.trusted, **environ})
        return Step(client, origin, send(client, Target(f"{origin}/x", ())))


@pytest.fixture
def world(
    clients: Start, host: Start, full: str, tls: ssl.SSLContext, trusted: dict[str, str], monkeypatch: Patch
) -> World:
    return World(clients, host, full, tls, trusted, monkeypatch)


async def some_turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0.001)


async def just_sent(world: World) -> Step:
    return world.to((await world.host(silent)).origin)


async def looking_up(world: World) -> Step:
    async def lookup(name: str, port: int) -> list[str]:
        asked.set()
        await asyncio.Event().wait()
        return []

    asked = asyncio.Event()
    world.patch.setattr(connect, "_lookup", lookup)
    step = world.to("http://api.test")
    await asked.wait()
    return step


async def connecting(world: World) -> Step:
    step = world.to(world.full)
    await some_turns()
    assert step.client.stats()[step.origin].connecting == 1
    return step


async def racing(world: World) -> Step:
    async def lookup(name: str, port: int) -> list[str]:
        return ["127.0.0.1", "127.0.0.1"]

    world.patch.setattr(connect, "_lookup", lookup)
    world.patch.setattr(connect, "STAGGER_SECONDS", 0.001)
    step = world.to(world.full.replace("127.0.0.1", "api.test"))
    await some_turns()
    assert step.client.stats()[step.origin].connecting == 1
    return step


async def asking_the_proxy(world: World) -> Step:
    proxy = await world.host(silent)
    step = world.to("https://api.test", https_proxy=proxy.at)
    await proxy.connected.wait()
    step.peer = proxy.peers[0]
    await step.peer.heard.wait()
    return step


async def shaking_hands(world: World) -> Step:
    there = await world.host(silent)
    step = world.to(there.origin.replace("http", "https"))
    await there.connected.wait()
    step.peer = there.peers[0]
    await step.peer.heard.wait()
    return step


async def queued(world: World) -> Step:
    there = await world.host(silent)
    client = world.clients()
    endpoint = there.endpoint(max_connections=1)
    running, _ = send(client, endpoint)
    step = Step(client, there.origin, send(client, endpoint))
    await true(lambda: running.sent)
    assert counts(client, there) == (1, 0, 0, 1)
    return step


def sending(secure: bool) -> StepMaker:
    async def deaf(peer: Peer) -> None:
        await asyncio.Event().wait()

    async def step(world: World) -> Step:
        step = await world.begin(deaf, bytes(32 << 20), secure)
        await some_turns()
        assert not step.request.fully_sent
        step.peer = None
        return step

    return step


def waiting(secure: bool) -> StepMaker:
    async def step(world: World) -> Step:
        step = await world.begin(silent, secure=secure)
        assert step.peer is not None
        await step.peer.heard.wait()
        return step

    return step


async def in_the_head(world: World) -> Step:
    step = await world.begin(half_a_head)
    await some_turns()
    return step


def streaming(secure: bool, paused: bool = False) -> StepMaker:
    async def step(world: World) -> Step:
        step = await world.begin(one_frame, secure=secure)
        await step.notes.until(lambda notes: notes.pieces)
        if paused:
            step.request.pause()
        return step

    return step


async def ended(world: World) -> Step:
    step = await world.begin(Peer.answer_all)
    await step.notes.over.wait()
    step.peer = None
    return step


async def failed(world: World) -> Step:
    step = await world.begin(Peer.request)
    await step.notes.over.wait()
    step.peer = None
    return step


STEPS: dict[str, StepMaker] = {
    "just sent": just_sent,
    "looking up": looking_up,
    "connecting": connecting,
    "racing": racing,
    "asking the proxy": asking_the_proxy,
    "shaking hands": shaking_hands,
    "queued": queued,
    "sending": sending(secure=False),
    "sending, tls": sending(secure=True),
    "waiting": waiting(secure=False),
    "waiting, tls": waiting(secure=True),
    "in the head": in_the_head,
    "streaming": streaming(secure=False),
    "streaming, tls": streaming(secure=True),
    "paused": streaming(secure=False, paused=True),
    "paused, tls": streaming(secure=True, paused=True),
    "ended": ended,
    "failed": failed,
}


@pytest.mark.parametrize("name", STEPS)
async def test_after_an_abort_the_socket_is_closed_the_pool_consistent_and_the_reader_left_alone(
    world: World, name: str
) -> None:
    step = await STEPS[name](world)
    calls: list[str] = []
    step.notes.over.clear()
    step.notes.react = calls.append
    closed = asyncio.Event()
    step.request.abort(closed.set)
    step.request.abort()  # nothing that is called afterwards changes anything
    step.request.release()
    step.request.pause()
    step.request.resume()
    await closed.wait()
    for _ in range(5):
        await asyncio.sleep(0)
    stats = step.client.stats()[step.origin]
    kept = {"ended": (1, 1), "queued": (1, 0)}.get(name, (0, 0))  # the one that was given back, the one waited for
    assert (stats.open, stats.idle, stats.connecting, stats.waiting) == (*kept, 0, 0)
    assert calls == []
    if step.peer is not None:
        await asyncio.wait_for(step.peer.left.wait(), 30)


@pytest.mark.parametrize("call", ["response_started", "data_received", "response_ended"])
async def test_an_abort_from_inside_a_callback_is_the_last_one(client: Client, host: Start, call: str) -> None:
    there = await host(lambda peer: peer.answer_all(HELLO))
    request, notes = send(client, there.endpoint())
    calls: list[str] = []
    closed = asyncio.Event()

    def react(happened: str) -> None:
        calls.append(happened)
        if happened == call:
            request.abort(closed.set)

    notes.react = react
    await closed.wait()
    assert calls[-1] == call
    assert (await fetch(client, there.endpoint())).ended


async def test_turns_of_the_loop_between_send_and_abort_do_not_matter(client: Client, host: Start) -> None:
    """Walks the abort through every turn of the loop that connecting, writing and answering take."""
    there = await host(Peer.answer_all)
    for turns in range(40):
        request, notes = send(client, there.endpoint())
        for _ in range(turns):
            await asyncio.sleep(0)
        over = notes.over.is_set()
        closed = asyncio.Event()
        request.abort(closed.set)
        await closed.wait()
        assert counts(client, there) == ((1, 1, 0, 0) if over else (0, 0, 0, 0)), turns
        assert notes.over.is_set() is over
        if over:
            await client_emptied_by_idle(client, there)


async def client_emptied_by_idle(client: Client, there: Host) -> None:
    for peer in there.peers:
        peer.close()
    await emptied(client, there)


async def test_the_same_walk_over_tls(
    clients: Start, host: Start, tls: ssl.SSLContext, trusted: dict[str, str]
) -> None:
    client = clients(environ=trusted)
    there = await host(Peer.answer_all, tls=tls)
    for turns in range(0, 60, 2):
        request, _ = send(client, there.endpoint())
        for _ in range(turns):
            await asyncio.sleep(0)
        closed = asyncio.Event()
        request.abort(closed.set)
        await closed.wait()
        assert counts(client, there)[2:] == (0, 0)
        assert counts(client, there)[0] <= 1
