"""The HTTP client towards providers: which connection takes a request, who waits for one, which ones are closed.

It never knows a wire format, and no clock but the one of connecting: all others are the exchange's.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import OrderedDict
from collections.abc import Mapping
from itertools import takewhile

from msgspec import Struct

from infron.errors import ConfigError, InfronError, InternalError, ProviderTimeout, ProviderUnavailable, ShuttingDown
from infron.runtime.upstream.connection import Connection
from infron.runtime.upstream.dial import dial, tls_context
from infron.runtime.upstream.origin import Origin, request_head, resolve
from infron.runtime.upstream.request import LINGER_SECONDS, Reader, UpstreamRequest

__all__ = ["Client", "OriginStats", "Reader", "Target", "UpstreamRequest"]

_SWEEP_SECONDS = 0.5
_CLOSE_SECONDS = 2.0
_RACE_SECONDS = 5.0  # a close that crosses a request is seen within one way there and back
_MAX_TARGETS = 4096  # endpoints whose head is remembered; where every request is signed anew none is seen twice
_WITHOUT_BODY = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})  # these announce no length where there is no body


class Target(Struct, frozen=True, cache_hash=True):
    """Where a request goes and with which head. The same value serves thousands of requests: its head is made once.

    `headers`: host, content-length, accept-encoding and what frames or upgrades the connection are the client's own
    and dropped. `max_connections`: to the URL's origin, over all its endpoints. `again`: a request that crosses with
    the closing of the connection it was written to is written once more, on a new one.
    """

    url: str  # http(s)://host[:port]/path?query
    headers: tuple[tuple[str, str], ...]
    method: str = "POST"
    max_connections: int = 10_000
    again: bool = True


class OriginStats(Struct, frozen=True):
    """Connections of one origin. `open` counts idle ones and those that are still being made or closed."""

    open: int
    idle: int
    connecting: int
    waiting: int  # requests, for a connection


class _Target(Struct, frozen=True):
    """What an endpoint comes to: its origin's pool, and the head up to its last header."""

    pool: _Pool
    head: bytes
    bodiless: bool
    length_needed: bool
    limit: int
    again: bool


class Client:
    """Sends requests to any number of origins; bound to the event loop of its first `send`."""

    def __init__(
        self,
        *,
        connect_seconds: float = 10.0,
        max_header_bytes: int = 64 << 10,
        environ: Mapping[str, str] | None = None,
        idle_seconds: float = 60.0,
    ) -> None:
        """`connect_seconds`: for name lookup, TCP, proxy and TLS together, 0 = off. `environ`: proxies, trust."""
        self.connect_seconds = connect_seconds
        self.max_header_bytes = max_header_bytes
        self.idle_seconds = idle_seconds
        self.closed = False
        self._environ = os.environ if environ is None else environ
        self._tls: asyncio.Future[ssl.SSLContext] | None = None
        self._targets: dict[Target, _Target] = {}
        self._pools: dict[Origin, _Pool] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event | None = None

    def send(self, endpoint: Target, body: bytes, reader: Reader) -> UpstreamRequest:
        """Begin a request. Raises nothing: whatever is wrong reaches the reader, from the event loop."""
        target = self._targets.get(endpoint)
        if target is None or self.closed:
            try:
                target = self._target(endpoint)
            except InfronError as error:
                request = UpstreamRequest(reader, b"", b"")
                asyncio.get_running_loop().call_soon(request.fail, error)
                return request
        length = b"content-length: %d\r\n\r\n" % len(body) if body or target.length_needed else b"\r\n"
        request = UpstreamRequest(reader, target.head + length, body, bodiless=target.bodiless, again=target.again)
        target.pool.place(request, target.limit)
        return request

    async def close(self) -> None:
        """Close every connection; requests that still run fail with ShuttingDown, and so do later ones."""
        self.closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._empty = asyncio.Event()
        for pool in self._pools.values():
            pool.close()
        self.emptied()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._empty.wait()
        except TimeoutError:
            pass  # a transport that will not say that it is closed must not hold up the end

    def stats(self) -> dict[str, OriginStats]:
        """By origin, as `https://host[:port]`."""
        return {f"{origin.scheme}://{origin.name}": pool.stats() for origin, pool in self._pools.items()}

    def _target(self, endpoint: Target) -> _Target:
        if self.closed:
            raise ShuttingDown("The gateway is shutting down.")
        origin, where = resolve(endpoint.url, self._environ)
        head = request_head(endpoint.method, where, origin, endpoint.headers)
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = _Pool(self, origin)
        bodiless, length_needed = endpoint.method == "HEAD", endpoint.method not in _WITHOUT_BODY
        target = _Target(pool, head, bodiless, length_needed, endpoint.max_connections, endpoint.again)
        if len(self._targets) >= _MAX_TARGETS:
            self._targets.clear()
        self._targets[endpoint] = target
        return target

    # ---- for the pools

    async def tls(self) -> ssl.SSLContext:
        """Made once, by a thread, for it takes some 50 ms. Raises ConfigError."""
        making = self._tls
        if making is None:
            making = self._tls = asyncio.get_running_loop().run_in_executor(None, tls_context, self._environ)
        try:
            return await asyncio.shield(making)  # others wait for it too
        except ConfigError:
            self._tls = None  # what is wrong may be put right
            raise

    def watch(self) -> None:
        """Something is idle or lingers: see to it that the sweep runs. One timer for all."""
        if self._sweeper is None and not self.closed:
            self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        if sum([pool.sweep() for pool in self._pools.values()]):
            self.watch()

    def emptied(self) -> None:
        if self._empty is not None and not any(pool.open for pool in self._pools.values()):
            self._empty.set()


class _Pool:
    """The connections of one origin. A connection stands in exactly one place: being made, busy, lingering, or idle.

    While requests wait no connection is idle and the limit is reached: whatever becomes free serves the first of them.
    """

    def __init__(self, client: Client, origin: Origin) -> None:
        self._client = client
        self._origin = origin
        self._loop = asyncio.get_running_loop()
        self._dials: dict[UpstreamRequest, asyncio.Task[Connection]] = {}
        self._connections: set[Connection] = set()  # all that were made and are not closed yet
        self._idle: dict[Connection, None] = {}  # the longest idle first
        self._lingering: dict[Connection, float] = {}  # until when, in loop time; the first to give up first
        self._waiting: OrderedDict[UpstreamRequest, int] = OrderedDict()  # with the limit that each obeys

    @property
    def open(self) -> int:
        return len(self._dials) + len(self._connections)

    def stats(self) -> OriginStats:
        return OriginStats(self.open, len(self._idle), len(self._dials), len(self._waiting))

    def place(self, request: UpstreamRequest, limit: int) -> None:
        """Start the request on the connection that was used last, else on a new one, else let it wait."""
        now = self._loop.time()
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.usable(now):
                connection.since = now
                connection.start(request)
                return
            connection.abort()  # found closed before a byte was written: trying another one is safe
        if self.open < limit:
            self._dial(request)
        else:
            self._waiting[request] = limit
            request.give_up = lambda: self._leave(request)

    def _leave(self, request: UpstreamRequest) -> None:
        self._waiting.pop(request, None)
        self._serve()  # the next one may obey a higher limit
        request.gone()

    def _serve(self) -> None:
        """Let those who wait have new connections, as far as the limit allows."""
        while self._waiting and not self._client.closed:
            request, limit = next(iter(self._waiting.items()))
            if self.open >= limit:
                return
            del self._waiting[request]
            self._dial(request)

    # ---- making connections

    def _dial(self, request: UpstreamRequest) -> None:
        task = self._dials[request] = self._loop.create_task(self._connect())
        # In a callback of the task, not at its end: a task that is cancelled before it has begun never runs.
        task.add_done_callback(lambda _: self._dialled(request, task))
        request.give_up = task.cancel

    async def _connect(self) -> Connection:
        client, origin = self._client, self._origin
        connection = Connection(self, origin.name, client.max_header_bytes)
        tls = await client.tls() if origin.scheme == "https" else None
        try:
            async with asyncio.timeout(client.connect_seconds or None):
                connection.attach(await dial(origin, connection, tls))
        except TimeoutError as error:  # this clock's: `dial` lets no other one out
            raise ProviderTimeout(f"No connection to {origin.name} within {client.connect_seconds:g} s.") from error
        self._connections.add(connection)
        return connection

    def _dialled(self, request: UpstreamRequest, task: asyncio.Task[Connection]) -> None:
        del self._dials[request]
        if task.cancelled() or self._client.closed:
            request.fail(ShuttingDown("The gateway is shutting down."))  # unheard where `abort` cancelled
        elif (error := task.exception()) is not None:
            request.fail(error if isinstance(error, InfronError) else self._surprise(error))
        elif task.result() not in self._connections or task.result().closing:
            request.fail(ProviderUnavailable(f"{self._origin.name} closed the connection as soon as it was made."))
        elif request.reader is None:  # it gave up in the very moment
            task.result().abort(request.gone)
            return
        else:
            task.result().start(request)
        request.gone()
        self._serve()
        self._client.emptied()

    def _surprise(self, error: BaseException) -> InfronError:
        self._loop.call_exception_handler({"message": "A connection attempt broke", "exception": error})
        return InternalError(f"The gateway failed while it connected to {self._origin.name}.")

    # ---- what connections report

    def reusable(self, connection: Connection) -> None:
        self._lingering.pop(connection, None)
        if self._client.closed:
            connection.abort()
            return
        connection.since = self._loop.time()
        if self._waiting:
            request, _ = self._waiting.popitem(last=False)
            connection.start(request)
        else:
            self._idle[connection] = None
            self._client.watch()

    def unanswered(self, connection: Connection, request: UpstreamRequest) -> bool:
        if self._client.closed or self._loop.time() - connection.since > _RACE_SECONDS:
            return False
        connection.abort()
        self._connections.discard(connection)  # so that the limit has room for the new one
        request.again = request.fully_sent = False
        self._dial(request)
        return True

    def lingers(self, connection: Connection) -> None:
        self._lingering[connection] = self._loop.time() + LINGER_SECONDS
        self._client.watch()

    def lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._idle.pop(connection, None)
        self._lingering.pop(connection, None)
        self._serve()
        self._client.emptied()

    # ---- closing

    def sweep(self) -> bool:
        """Close what was idle or lingered for too long. Returns whether there is something left to watch."""
        now = self._loop.time()
        oldest = now - self._client.idle_seconds
        for connection in [*takewhile(lambda idle: idle.since <= oldest, self._idle)]:
            del self._idle[connection]
            connection.abort()
        for connection, _until in [*takewhile(lambda item: item[1] <= now, self._lingering.items())]:
            del self._lingering[connection]
            connection.abort()
        return bool(self._idle or self._lingering)

    def close(self) -> None:
        self._idle.clear()
        while self._waiting:
            request, _ = self._waiting.popitem(last=False)
            request.fail(ShuttingDown("The gateway is shutting down."))
        for task in self._dials.values():
            task.cancel()
        for connection in list(self._connections):
            connection.fail(ShuttingDown("The gateway is shutting down."))
