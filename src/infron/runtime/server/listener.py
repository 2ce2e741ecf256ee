"""What the connections of a process share: the listening socket, one look at all their clocks, the date.

It never knows what is received or sent on one of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from email.utils import formatdate

from infron.runtime.exchange.context import Context
from infron.runtime.server.access_log import AccessLog
from infron.runtime.server.connection import GatewayProtocol
from infron.runtime.server.dispatch import Dispatch
from infron.runtime.server.paths import Paths
from infron.runtime.server.response import ServerHeaders
from infron.runtime.workers.sockets import BACKLOG

LOOK_SECONDS = 0.1  # between two looks at the connections' clocks


class Server:
    """What the connections of a process share."""

    def __init__(self, context: Context, paths: Paths) -> None:
        config = context.config
        self.loop = context.loop
        self.limits = config.limits
        self.timeouts = config.timeouts
        self.dispatch = Dispatch(context, paths)
        self.headers = ServerHeaders(config.server.cors_origins, context.registry)
        self.access = AccessLog(context.log) if context.log is not None and config.log.access else None
        self.connections: set[GatewayProtocol] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self.timed: set[GatewayProtocol] = set()  # those whose clock runs
        self._listening: asyncio.Server | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self, listener: socket.socket) -> None:
        """Accept connections on a listening socket."""
        self._look()
        self._watching = self.loop.create_task(self._watch())
        self._listening = await self.loop.create_server(lambda: GatewayProtocol(self), sock=listener, backlog=BACKLOG)

    async def stop(self) -> None:
        """Accept no more, and let go of every connection once what was written to it is sent, for 1 s at most."""
        assert self._listening is not None
        assert self._watching is not None
        self._listening.close()
        self._watching.cancel()
        for connection in list(self.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), 1.0)
        for connection in list(self.connections):
            connection.abort()

    def came(self, connection: GatewayProtocol) -> None:
        self.connections.add(connection)
        self._empty.clear()

    def went(self, connection: GatewayProtocol) -> None:
        self.connections.discard(connection)
        self.timed.discard(connection)
        if not self.connections:
            self._empty.set()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._look()

    def _look(self) -> None:
        """One look for all connections: who receives too slowly, who is idle for too long."""
        self.headers.date = b"date: %b\r\n" % formatdate(usegmt=True).encode()
        now = self.loop.time()
        for connection in list(self.timed):
            connection.check_clock(now)
