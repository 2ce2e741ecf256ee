"""How a connection to an origin comes about: name lookup, happy eyeballs, proxy, TLS, and what can go wrong there.

It never knows HTTP beyond a proxy's CONNECT, and never keeps a connection.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import ssl
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import NamedTuple

from infron.errors import ConfigError, InfronError, Overloaded, ProviderUnavailable
from infron.runtime.upstream.origin import Origin, address_of, bracketed

STAGGER_SECONDS = 0.25  # RFC 8305, section 8: Connection Attempt Delay
_NO_HANDSHAKE_LIMIT = 86_400.0  # the caller's own clock covers the handshake; the loops insist on having one too
_MAX_ADDRESSES = 16
_MAX_PROXY_HEAD = 16 << 10
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: ([^\r\n]{0,80}))?")


class Link(NamedTuple):
    """A connection: `transport` is written to; `raw`, the TCP part of it, is what reading is paused on."""

    transport: asyncio.Transport
    raw: asyncio.Transport


async def dial(origin: Origin, protocol: asyncio.Protocol, tls: ssl.SSLContext | None) -> Link:
    """Connect `protocol` to `origin`; its `connection_made` is not called. No clock but the operating system's runs.

    Cancelling closes everything that was begun. Raises InfronError: ProviderUnavailable, or Overloaded without
    file descriptors.
    """
    try:
        raw = await _reach(origin)
        try:
            if origin.tunnelled:
                await _tunnel(raw, origin)
            transport = raw if tls is None else await _secure(raw, origin, tls)
            if transport.is_closing() or raw.is_closing():
                raise ConnectionResetError
            transport.set_protocol(protocol)
            return Link(transport, raw)
        except BaseException:
            raw.abort()
            raise
    except OSError as error:
        raise failure(origin, error) from error


def tls_context(environ: Mapping[str, str]) -> ssl.SSLContext:
    """Trusts the system's store and, besides, what SSL_CERT_FILE and SSL_CERT_DIR name. Takes some 50 ms.

    Raises ConfigError if the file cannot be read.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    cafile, capath = environ.get("SSL_CERT_FILE") or None, environ.get("SSL_CERT_DIR") or None
    if cafile or capath:
        try:
            context.load_verify_locations(cafile, capath)
        except OSError as error:
            raise ConfigError("SSL_CERT_FILE names no readable certificates.") from error
    return context


def failure(origin: Origin, error: OSError) -> InfronError:
    """The one sentence for a connection that did not come about."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return Overloaded("The gateway has no file descriptors left for another connection.", retry_after=1)
    if origin.proxy and not isinstance(error, ssl.SSLError):
        return ProviderUnavailable(f"{origin.name} is out of reach: the proxy {origin.proxy.name} {_cause(error)}.")
    return ProviderUnavailable(f"{origin.name} {_cause(error)}.")


def _cause(error: OSError) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return (
                f"showed a TLS certificate that cannot be verified ({error.verify_message}); "
                "if its authority is a private one, name its file in SSL_CERT_FILE"
            )
        case ssl.SSLError():
            return f"did not agree on TLS ({(error.reason or 'handshake failed').lower().replace('_', ' ')})"
        case socket.gaierror():
            temporary = error.errno == socket.EAI_AGAIN
            return "could not be looked up: the name server does not answer" if temporary else "is a name not found"
        case ConnectionRefusedError():
            return "refused the connection"
        case ConnectionError():
            return "closed the connection while it was made"
        case TimeoutError():
            return "did not take the connection in time"
    return f"could not be connected to ({error.strerror or type(error).__name__})"


async def _reach(origin: Origin) -> asyncio.Transport:
    """A TCP connection to the origin, or to its proxy."""
    host, port = (origin.proxy.host, origin.proxy.port) if origin.proxy else (origin.host, origin.port)
    addresses = [host] if address_of(host) else await _lookup(host, port)
    if len(addresses) == 1:
        return await _open(addresses[0], port)
    return await _race(addresses, port)


async def _lookup(host: str, port: int) -> list[str]:
    """The host's addresses, in the resolver's order with the families taking turns (RFC 8305, section 4)."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    families: dict[int, dict[str, None]] = {}
    for family, _, _, _, address in found:
        families.setdefault(family, {})[str(address[0])] = None
    turns: Iterable[tuple[str | None, ...]] = zip_longest(*families.values())
    addresses = [address for turn in turns for address in turn if address is not None]
    if not addresses:
        raise socket.gaierror(socket.EAI_NONAME, "no addresses")
    return addresses[:_MAX_ADDRESSES]


async def _open(address: str, port: int) -> asyncio.Transport:
    # Given a literal address neither loop asks the resolver, and both set TCP_NODELAY.
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, address, port)
    return transport


async def _race(addresses: list[str], port: int) -> asyncio.Transport:
    """The first of several addresses that connects; each begins STAGGER_SECONDS after the last, or when that fails."""
    begun: list[asyncio.Task[asyncio.Transport]] = []
    pending: set[asyncio.Task[asyncio.Transport]] = set()
    waiting = iter(addresses)
    winner: asyncio.Task[asyncio.Transport] | None = None
    try:
        while True:
            if (address := next(waiting, None)) is not None:
                begun.append(asyncio.create_task(_open(address, port)))
                pending.add(begun[-1])
            elif not pending:
                raise _most_telling([task.exception() for task in begun])
            more = len(begun) < len(addresses)
            done, pending = await asyncio.wait(
                pending, timeout=STAGGER_SECONDS if more else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                if task.exception() is None:
                    winner = task
                    return task.result()
    finally:
        for task in begun:
            if task is not winner:
                task.cancel()
                task.add_done_callback(_discard)


def _discard(task: asyncio.Task[asyncio.Transport]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().abort()


def _most_telling(errors: list[BaseException | None]) -> BaseException:
    """Of the errors of a lost race the one to report: a refusal says more than a family that has no route here."""
    telling = [error for error in errors if error is not None]
    return next((error for error in telling if isinstance(error, ConnectionError)), telling[-1])


async def _secure(raw: asyncio.Transport, origin: Origin, tls: ssl.SSLContext) -> asyncio.Transport:
    transport = await asyncio.get_running_loop().start_tls(
        raw, asyncio.Protocol(), tls, server_hostname=origin.host, ssl_handshake_timeout=_NO_HANDSHAKE_LIMIT
    )
    if transport is None:  # the loops answer so when the peer left during the handshake's last step
        raise ConnectionResetError
    return transport


async def _tunnel(raw: asyncio.Transport, origin: Origin) -> None:
    """Ask the proxy for a tunnel to the origin. Raises ProviderUnavailable if it refuses."""
    proxy = origin.proxy
    assert proxy is not None
    where = f"{bracketed(origin.host)}:{origin.port}"
    lines = [f"CONNECT {where} HTTP/1.1", f"host: {where}"]
    if proxy.authorization:
        lines.append(f"proxy-authorization: {proxy.authorization}")
    answer = _ProxyAnswer()
    raw.set_protocol(answer)
    raw.write("\r\n".join([*lines, "", ""]).encode())
    head, _, rest = (await answer.done).partition(b"\r\n\r\n")
    said = _STATUS_LINE.match(head)
    if said is not None and said[1].startswith(b"2") and not rest:
        return
    words = "no valid HTTP" if said is None else " ".join(part.decode("latin-1") for part in said.groups(b"") if part)
    hint = "; it wants a user and password, as in http://user:password@host:port" if words.startswith("407") else ""
    raise ProviderUnavailable(
        f"{origin.name} is out of reach: the proxy {proxy.name} refused the tunnel (it answered {words}){hint}."
    )


class _ProxyAnswer(asyncio.Protocol):
    """Collects the proxy's response head."""

    def __init__(self) -> None:
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._head = b""

    def data_received(self, data: bytes) -> None:
        self._head += data
        if not self.done.done() and (b"\r\n\r\n" in self._head or len(self._head) > _MAX_PROXY_HEAD):
            self.done.set_result(self._head)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc if isinstance(exc, OSError) else ConnectionResetError())
