"""How connections come about: names, families, TLS, proxies, the connect clock, and the sentences when they do not."""

from __future__ import annotations

import asyncio
import base64
import errno
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted import HELLO, Host, Peer, emptied, fetch, send

from infron.errors import ConfigError, Overloaded, ProviderTimeout, ProviderUnavailable
from infron.runtime.upstream import client as upstream
from infron.runtime.upstream import dial as connect
from infron.runtime.upstream.client import Client, Target

Start = Callable[..., Any]


def resolver(monkeypatch: pytest.MonkeyPatch, *addresses: str, error: OSError | None = None) -> list[str]:
    """Replace the name server; returns the names that it is asked for."""
    asked: list[str] = []

    async def lookup(name: str, port: int) -> list[str]:
        asked.append(name)
        if error:
            raise error
        return list(addresses)

    monkeypatch.setattr(connect, "_lookup", lookup)
    return asked


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


# ---- addresses


async def test_localhost_is_found_by_the_systems_own_resolver(client: Client, host: Start) -> None:
    there = await host(Peer.answer_all)
    assert (await fetch(client, Target(f"http://localhost:{there.port}/x", ()))).ended


async def test_an_ipv6_literal_is_an_address(client: Client, host: Start) -> None:
    heads = []

    async def script(peer: Peer) -> None:
        heads.append((await peer.request())[0])
        await peer.send(HELLO)

    there = await host(script, address="::1")
    assert (await fetch(client, there.endpoint())).ended
    assert f"host: [::1]:{there.port}\r\n".encode() in heads[0]


async def test_both_families_take_turns_in_the_resolvers_order() -> None:
    class Loop:
        async def getaddrinfo(self, *args: Any, **more: Any) -> list[Any]:
            six = [(socket.AF_INET6, 1, 6, "", (f"2001:db8::{number}", 443, 0, 0)) for number in (1, 2, 1)]
            four = [(socket.AF_INET, 1, 6, "", (f"192.0.2.{number}", 443)) for number in range(1, 4)]
            return six + four

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connect.asyncio, "get_running_loop", Loop)
        found = await connect._lookup("api.test", 443)
    assert found == ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3"]


async def test_an_address_that_refuses_is_followed_by_the_next_at_once(
    client: Client, host: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "STAGGER_SECONDS", 30.0)
    there = await host(Peer.answer_all)
    resolver(monkeypatch, "::1", "127.0.0.3", "127.0.0.1")
    assert (await fetch(client, Target(f"http://api.test:{there.port}/x", ()))).ended


async def test_an_address_that_hangs_is_overtaken_by_the_next_after_a_quarter_second(
    client: Client, host: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = await host(Peer.answer_all)
    hanging = socket.socket()
    hanging.bind(("127.0.0.2", there.port))
    hanging.listen(0)
    crowd = [socket.socket() for _ in range(8)]
    for sock in crowd:
        sock.setblocking(False)
        sock.connect_ex(hanging.getsockname())
    resolver(monkeypatch, "127.0.0.2", "127.0.0.1")
    loop = asyncio.get_running_loop()
    start = loop.time()
    assert (await fetch(client, Target(f"http://api.test:{there.port}/x", ()))).ended
    assert 0.2 < loop.time() - start < 10
    assert client.stats()[f"http://api.test:{there.port}"].open == 1
    assert not [task for task in asyncio.all_tasks() if task.get_coro().__name__ == "_open"]  # type: ignore[union-attr]
    for sock in (*crowd, hanging):
        sock.close()


async def test_of_addresses_that_connect_in_the_same_moment_only_one_stays_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Transport:
        aborted = False

        def abort(self) -> None:
            self.aborted = True

    async def connected(address: str, port: int) -> Transport:
        begun.append(address)
        if len(begun) == 3:
            moment.set()
        await moment.wait()
        transports.append(Transport())  # an attempt that is cancelled before has none: the loop closes its socket
        return transports[-1]

    begun: list[str] = []
    transports: list[Transport] = []
    moment = asyncio.Event()
    monkeypatch.setattr(connect, "STAGGER_SECONDS", 0.001)
    monkeypatch.setattr(connect, "_open", connected)
    winner = await connect._race(["a", "b", "c", "d"], 1)
    await asyncio.sleep(0)
    assert [transport for transport in transports if not transport.aborted] == [winner]


def test_of_the_errors_of_a_lost_race_a_refusal_is_reported_before_a_missing_route() -> None:
    refused, no_route = ConnectionRefusedError(), OSError(errno.ENETUNREACH, "Network is unreachable")
    assert connect._most_telling([refused, no_route]) is refused
    assert connect._most_telling([no_route, refused]) is refused
    assert connect._most_telling([no_route]) is no_route


async def test_nagle_is_off_on_every_connection(client: Client, host: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    there = await host(Peer.answer_all)
    dial, links = connect.dial, []

    async def watched(*args: Any) -> connect.Link:
        links.append(await dial(*args))
        return links[-1]

    monkeypatch.setattr("infron.runtime.upstream.client.dial", watched)
    assert (await fetch(client, there.endpoint())).ended
    sock = links[0].raw.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# ---- sentences


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(socket.EAI_NONAME, "x"), "api.test:81 is a name not found."),
        (socket.gaierror(socket.EAI_AGAIN, "x"), "the name server does not answer"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "No route to host"),
        (TimeoutError(errno.ETIMEDOUT, "x"), "did not take the connection in time"),
    ],
)
async def test_each_cause_has_its_sentence(
    client: Client, monkeypatch: pytest.MonkeyPatch, error: OSError, words: str
) -> None:
    resolver(monkeypatch, error=error)
    notes = await fetch(client, Target("http://api.test:81/secret", ()))
    assert isinstance(notes.error, ProviderUnavailable)
    assert words in notes.error.message
    assert notes.error.message.startswith("api.test:81 ")
    assert client.stats()["http://api.test:81"].open == 0


async def test_without_file_descriptors_the_gateway_is_to_blame(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver(monkeypatch, error=OSError(errno.EMFILE, "Too many open files"))
    notes = await fetch(client, Target("http://api.test/x", ()))
    assert isinstance(notes.error, Overloaded)


@pytest.mark.filterwarnings("ignore")
async def test_an_error_of_our_own_making_does_not_escape(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: heard.append(context))
    resolver(monkeypatch, error=ZeroDivisionError())  # type: ignore[arg-type]
    notes = await fetch(client, Target("http://api.test/x", ()))
    assert notes.error is not None
    assert (notes.error.status, notes.error.blame) == (500, "us")
    assert isinstance(heard[0]["exception"], ZeroDivisionError)


async def test_a_refused_connection_is_called_refused(client: Client) -> None:
    port = free_port()
    request, notes = send(client, Target(f"http://127.0.0.1:{port}/x", ()))
    await notes.over.wait()
    assert isinstance(notes.error, ProviderUnavailable)
    assert notes.error.message == f"127.0.0.1:{port} refused the connection."
    assert not request.sent


async def test_who_waits_for_a_connection_is_not_stranded_by_one_that_failed(client: Client) -> None:
    endpoint = Target(f"http://127.0.0.1:{free_port()}/x", (), max_connections=1)
    for notes in [send(client, endpoint)[1] for _ in range(3)]:
        await notes.over.wait()
        assert "refused" in str(notes.error)


@pytest.mark.parametrize("step", ["lookup", "proxy", "tls"])
async def test_the_connect_clock_covers_every_step(
    clients: Start, host: Start, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    async def silent(peer: Peer) -> None:
        await peer.gone()

    there = await host(silent)
    if step == "lookup":

        async def lookup(name: str, port: int) -> list[str]:
            await asyncio.Event().wait()
            return []

        monkeypatch.setattr(connect, "_lookup", lookup)
    client = clients(connect_seconds=0.05, environ={"https_proxy": there.at} if step == "proxy" else {})
    where = f"https://{there.at}" if step == "tls" else "https://api.test"
    request, notes = send(client, Target(f"{where}/x", ()))
    await notes.over.wait()
    assert isinstance(notes.error, ProviderTimeout)
    assert notes.error.message == f"No connection to {where[8:]} within 0.05 s."
    assert not request.sent
    assert client.stats()[where].open == 0
    for peer in there.peers:
        await peer.left.wait()


async def test_a_connect_clock_of_zero_is_off(clients: Start, host: Start) -> None:
    there = await host(Peer.answer_all)
    assert (await fetch(clients(connect_seconds=0), there.endpoint())).ended


# ---- TLS


async def test_tls_connections_are_verified_named_and_reused(
    clients: Start, host: Start, tls: ssl.SSLContext, trusted: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str | None] = []
    tls.sni_callback = lambda sock, name, context: names.append(name)
    there = await host(Peer.answer_all, tls=tls)
    resolver(monkeypatch, "127.0.0.1")
    client = clients(environ=trusted)
    for _ in range(3):
        assert (await fetch(client, Target(f"https://api.test:{there.port}/x", ()))).body == b"hello"
    assert names == ["api.test"]
    assert len(there.peers) == 1


async def test_a_certificate_of_an_unknown_authority_is_refused_and_the_sentence_says_what_to_do(
    client: Client, host: Start, tls: ssl.SSLContext
) -> None:
    there = await host(Peer.answer_all, tls=tls)
    request, notes = send(client, there.endpoint())
    await notes.over.wait()
    assert isinstance(notes.error, ProviderUnavailable)
    assert notes.error.message.startswith(f"{there.at} showed a TLS certificate that cannot be verified (")
    assert "SSL_CERT_FILE" in notes.error.message
    assert not request.sent
    await emptied(client, there)


async def test_a_certificate_for_another_name_is_refused(
    clients: Start, host: Start, tls: ssl.SSLContext, trusted: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = await host(Peer.answer_all, tls=tls)
    resolver(monkeypatch, "127.0.0.1")
    notes = await fetch(clients(environ=trusted), Target(f"https://other.test:{there.port}/x", ()))
    assert "other.test" in str(notes.error)
    assert "cannot be verified" in str(notes.error)


async def test_what_is_trusted_is_read_once_and_by_a_thread(
    clients: Start, host: Start, tls: ssl.SSLContext, trusted: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first request to a provider with TLS stopped the loop, and with it all streams, for 50 ms."""
    threads: list[int] = []

    def context(environ: dict[str, str]) -> ssl.SSLContext:
        threads.append(threading.get_ident())
        return connect.tls_context(environ)

    monkeypatch.setattr(upstream, "tls_context", context)
    there = await host(Peer.answer_all, tls=tls)
    client = clients(environ=trusted)
    for notes in await asyncio.gather(*[fetch(client, there.endpoint()) for _ in range(3)]):
        assert notes.ended
    assert len(threads) == 1
    assert threads != [threading.get_ident()]


async def test_certificates_that_cannot_be_read_are_read_again_once_they_can(
    clients: Start, host: Start, tls: ssl.SSLContext, trusted: dict[str, str]
) -> None:
    environ = {"SSL_CERT_FILE": "/nowhere/at/all.pem"}
    there = await host(Peer.answer_all, tls=tls)
    client = clients(environ=environ)
    notes = await fetch(client, there.endpoint())
    assert isinstance(notes.error, ConfigError)
    environ |= trusted
    notes = await fetch(client, there.endpoint())
    assert notes.ended


async def test_a_host_that_does_not_speak_tls_is_told_apart(clients: Start, host: Start) -> None:
    async def plain(peer: Peer) -> None:
        await peer.reader.read(100)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await peer.gone()

    there = await host(plain)
    notes = await fetch(clients(), Target(f"https://{there.at}/x", ()))
    assert f"{there.at} did not agree on TLS" in str(notes.error)


async def test_a_host_that_hangs_up_during_the_handshake_is_told_apart(clients: Start, host: Start) -> None:
    async def rude(peer: Peer) -> None:
        await peer.reader.read(100)

    there = await host(rude)
    notes = await fetch(clients(), Target(f"https://{there.at}/x", ()))
    assert f"{there.at} closed the connection while it was made" in str(notes.error)


async def test_a_trust_store_that_cannot_be_read_is_a_mistake_of_configuration(clients: Start, tmp_path: Path) -> None:
    environ = {"SSL_CERT_FILE": str(tmp_path / "missing")}
    notes = await fetch(clients(environ=environ), Target("https://127.0.0.1:1/x", ()))
    assert isinstance(notes.error, ConfigError)
    assert "SSL_CERT_FILE" in notes.error.message


# ---- proxies


def tunnel(answer: bytes, to: Callable[[], Host], heads: list[bytes]) -> Callable[[Peer], Any]:
    """A proxy: answer the CONNECT; where it is a 200, pass bytes both ways until one side ends."""

    async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(1 << 16):
                sink.write(data)
        except ConnectionError:
            pass
        sink.close()

    async def script(peer: Peer) -> None:
        heads.append(await peer.reader.readuntil(b"\r\n\r\n"))
        await peer.send(answer)
        if answer.startswith(b"HTTP/1.1 200"):
            reader, writer = await asyncio.open_connection("127.0.0.1", to().port)
            await asyncio.gather(pass_on(peer.reader, writer), pass_on(reader, peer.writer))

    return script


async def test_https_goes_through_the_proxys_tunnel_with_its_credentials(
    clients: Start, host: Start, tls: ssl.SSLContext, trusted: dict[str, str]
) -> None:
    there = await host(Peer.answer_all, tls=tls)
    heads: list[bytes] = []
    proxy = await host(tunnel(b"HTTP/1.1 200 Connection established\r\nvia: x\r\n\r\n", lambda: there, heads))
    client = clients(environ={**trusted, "HTTPS_PROXY": f"http://me:p%40ss@{proxy.at}"})
    for _ in range(2):
        assert (await fetch(client, Target("https://api.test/x", (("authorization", "Bearer k"),)))).body == b"hello"
    credentials = base64.b64encode(b"me:p@ss").decode()
    assert [head.decode().split("\r\n")[:3] for head in heads] == [
        ["CONNECT api.test:443 HTTP/1.1", "host: api.test:443", f"proxy-authorization: Basic {credentials}"]
    ]
    assert b"Bearer" not in heads[0]


async def test_http_goes_through_the_proxy_by_its_full_address(clients: Start, host: Start) -> None:
    heads: list[bytes] = []

    async def script(peer: Peer) -> None:
        heads.append((await peer.request())[0])
        await peer.send(HELLO)

    proxy = await host(script)
    client = clients(environ={"http_proxy": f"me:pass@{proxy.at}"})
    assert (await fetch(client, Target("http://api.test:8080/x?y", ()))).body == b"hello"
    lines = heads[0].decode().split("\r\n")
    assert lines[:2] == ["POST http://api.test:8080/x?y HTTP/1.1", "host: api.test:8080"]
    assert f"proxy-authorization: Basic {base64.b64encode(b'me:pass').decode()}" in lines


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "407 Proxy Authentication Required); it wants a user"),
        (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno", "(it answered 403 Forbidden)"),
        (b"HTTP/1.1 502 \r\n\r\n", "(it answered 502)"),
        (b"SSH-2.0-x\r\n\r\n", "(it answered no valid HTTP)"),
        (b"x" * 20_000, "(it answered no valid HTTP)"),
        (b"HTTP/1.1 200 OK\r\n\r\nspeaks first", "refused the tunnel"),
        (b"HTTP/1.1 200", "closed the connection while it was made"),
    ],
)
async def test_a_proxy_that_refuses_the_tunnel_is_named(clients: Start, host: Start, answer: bytes, words: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(answer)

    proxy = await host(script)
    client = clients(environ={"https_proxy": f"http://me:pass@{proxy.at}"})
    request, notes = send(client, Target("https://api.test/x", ()))
    await notes.over.wait()
    assert isinstance(notes.error, ProviderUnavailable)
    assert notes.error.message.startswith(f"api.test is out of reach: the proxy {proxy.at} ")
    assert words in notes.error.message
    assert "me:pass" not in notes.error.message.replace("user:password", "")
    assert not request.sent


async def test_a_proxy_that_is_not_there_is_named(clients: Start) -> None:
    port = free_port()
    notes = await fetch(clients(environ={"ALL_PROXY": f"127.0.0.1:{port}"}), Target("http://api.test/x", ()))
    assert str(notes.error) == f"api.test is out of reach: the proxy 127.0.0.1:{port} refused the connection."


async def test_a_proxy_of_an_unknown_kind_only_matters_to_those_who_would_take_it(clients: Start, host: Start) -> None:
    there = await host(Peer.answer_all)
    client = clients(environ={"all_proxy": "socks5://127.0.0.1:1"})
    assert (await fetch(client, there.endpoint())).ended
    notes = await fetch(client, Target("http://api.test/x", ()))
    assert isinstance(notes.error, ConfigError)
    assert "all_proxy" in notes.error.message
