"""The sockets that a gateway listens on: one, or one for each of several workers, between which the kernel chooses.

It never accepts a connection.
"""

from __future__ import annotations

import socket
import sys

from infron.errors import ConfigError

BACKLOG = 4096
# Where sockets of one port get equal shares of its connections. Elsewhere the last one gets all, or none may be bound.
SPREADS = sys.platform == "linux"


def listen(host: str, port: int, setting: str = "server.port", *, shared: bool = False) -> socket.socket:
    """A listening socket that nobody else has: a port where another program listens is refused.

    `shared`: `join` may then add sockets to its port. Raises ConfigError with one sentence.
    """
    listener = _bound(host, port, setting, joins=False)
    if shared and SPREADS:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # only now, so that binding it was exclusive
    listener.listen(BACKLOG)
    return listener


def join(host: str, port: int, setting: str = "server.port") -> socket.socket:
    """One more socket of a shared port, of a worker's own; it gets no connection before it listens.

    Raises ConfigError with one sentence.
    """
    return _bound(host, port, setting, joins=True)


def shown(configured: str, bound: str) -> str:
    """How clients on this machine call the host of a listener."""
    name = configured if configured in ("localhost",) else bound
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)
    return f"[{name}]" if ":" in name else name


def _bound(host: str, port: int, setting: str, *, joins: bool) -> socket.socket:
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigError(
            f"{setting.replace('port', 'host')} {host!r} is no address of this machine ({error.strerror})."
        ) from error
    family, kind, protocol, _, address = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if joins:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise ConfigError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Choose another port with {setting}."
        ) from error
    bound.setblocking(False)
    return bound
