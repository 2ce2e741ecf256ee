"""Fakes that ship: a scripted provider with real failure shapes, and a whole gateway to put in front of it.

    voice = speak("anthropic")
    async with ScriptedProvider(voice.plays(voice.answer("Hello", " world"))) as provider:
        async with gateway(providers={"mock": provider.definition(**voice.definition)}) as running:
            …  # POST {running.url}/v1/chat/completions with the model "mock/anything"

It never imitates a provider's judgement: a script says byte by byte what is sent, and when.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from infron.catalog.load import load_catalog
from infron.runtime.exchange.context import Context
from infron.runtime.local.model import LocalModel
from infron.runtime.process import running
from infron.runtime.telemetry.lines import Lines
from infron.runtime.telemetry.log import Log
from infron.runtime.workers.sockets import listen
from infron.settings import Config
from infron.testing.scripts import (
    Answer,
    Call,
    Cut,
    Pause,
    Playable,
    Raw,
    Script,
    Wait,
)
from infron.wires import PROVIDER_WIRES

_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER of zero seconds


class ScriptedProvider:
    """An HTTP/1.1 provider on loopback that plays a script for each request.

    `script`: steps, or a function from the call to steps. `calls`: all requests so far; `called()` waits for the n-th.
    """

    def __init__(self, script: Playable) -> None:
        self.script: Callable[[Call], Script] = script if callable(script) else lambda call: script
        self.calls: list[Call] = []
        self.connections: set[_Connection] = set()
        self._more = asyncio.Condition()

    async def __aenter__(self) -> ScriptedProvider:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        connections = list(self.connections)
        for connection in connections:
            connection.transport.abort()
        await asyncio.gather(*(connection.lost.wait() for connection in connections))

    def definition(self, **fields: Any) -> dict[str, Any]:
        """A `[providers.<id>]` table for it."""
        return {"wire": "openai-chat", "base_url": self.base_url, "api_key": "provider-key", **fields}

    def row(self, **fields: Any) -> dict[str, Any]:
        """The old name of `definition`."""
        return self.definition(**fields)

    async def called(self, count: int = 1) -> Call:
        """The `count`-th request, once it is here."""
        async with self._more:
            await self._more.wait_for(lambda: len(self.calls) >= count)
        return self.calls[count - 1]

    async def heard(self, call: Call) -> Script:
        """Take a request and tell who waits for it."""
        async with self._more:
            self.calls.append(call)
            self._more.notify_all()
        return self.script(call)


class _Connection(asyncio.Protocol):
    """One connection of a scripted provider. It reads while a script plays, so a disconnect is noticed as it comes."""

    transport: asyncio.Transport

    def __init__(self, provider: ScriptedProvider) -> None:
        self._provider = provider
        self._received = bytearray()
        self._call: Call | None = None
        self._playing: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport  # uvloop's are no asyncio.Transport by their class
        self._provider.connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._next()

    def eof_received(self) -> bool:
        if self._call is not None:
            self._call.closed.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._call is not None:
            self._call.closed.set()
        if self._playing is not None:
            self._playing.cancel()
        self._provider.connections.discard(self)
        self.lost.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _next(self) -> None:
        """Play the next request's script, if a request is here and none is being played."""
        if self._playing is None and (call := _take_call(self._received)) is not None:
            self._call = call
            self._playing = asyncio.get_running_loop().create_task(self._play(call))

    async def _play(self, call: Call) -> None:
        framed = started = False
        for step in await self._provider.heard(call):
            if isinstance(step, Wait):
                await step.event.wait()
            elif isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            elif isinstance(step, Cut):
                self._close(reset=step.reset)
                return
            elif isinstance(step, Answer):
                started, framed = True, step.body is None
                await self._write(call, _head(step) + (step.body or b""))
            elif isinstance(step, Raw):
                started = True
                await self._write(call, step.data)
            elif step:
                head = b"" if started else _STREAM_HEAD
                framed = framed or not started
                started = True
                await self._write(call, b"%b%x\r\n%b\r\n" % (head, len(step), step))
        if framed:
            await self._write(call, b"0\r\n\r\n")
        call.finished.set()
        self._playing = None
        self._next()

    async def _write(self, call: Call, data: bytes) -> None:
        call.sent += len(data)
        self.transport.write(data)
        await self._writable.wait()

    def _close(self, *, reset: bool) -> None:
        if reset:
            peer: socket.socket = self.transport.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.transport.abort()
        else:
            self.transport.close()


def _head(answer: Answer) -> bytes:
    length = "transfer-encoding: chunked" if answer.body is None else f"content-length: {len(answer.body)}"
    fields = (f"{name}: {value}" for name, value in answer.headers)
    return "\r\n".join((f"HTTP/1.1 {answer.status} Status", *fields, length, "", "")).encode()


def _take_call(received: bytearray) -> Call | None:
    """The first request in `received`, taken out of it, if it is there as a whole."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = received[:end].decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    start, length = end + 4, int(headers.get("content-length", "0"))
    if len(received) < start + length:
        return None
    body = bytes(received[start : start + length])
    del received[: start + length]
    method, path, _ = first.split(" ", 2)
    return Call(method, path, headers, body)


class RunningGateway(NamedTuple):
    """`url`: without path. `context`: its inside, to look at."""

    url: str
    port: int
    context: Context


@contextlib.asynccontextmanager
async def gateway(**sections: Any) -> AsyncIterator[RunningGateway]:
    """A whole gateway on this loop. `sections`: tables of the configuration, `providers={"mock": {…}}` among them.

    Without a `ledger` section it keeps its entries in a temporary folder. The bundled model is off unless
    `local={"enabled": True}` is given, and there is no log without a `log` section.
    """
    with tempfile.TemporaryDirectory() as folder:
        sections.setdefault("ledger", {"url": f"sqlite:///{Path(folder) / 'infron.db'}"})
        sections.setdefault("local", {"enabled": False})
        config = msgspec.convert(sections, Config)
        catalog = load_catalog(config.providers, config.models, {}, config.aliases, wires=PROVIDER_WIRES)
        listener = listen(config.server.host, 0)
        port = listener.getsockname()[1]
        local = LocalModel.prepare(config.local) if config.local.enabled else None
        log = Log(config.log, Lines(config.log_file())) if "log" in sections else None
        try:
            async with running(config, catalog, listener, local, log=log) as context:
                yield RunningGateway(f"http://127.0.0.1:{port}", port, context)
        finally:
            listener.close()
            if local is not None:
                local.close()
            if log is not None:
                log.close()
