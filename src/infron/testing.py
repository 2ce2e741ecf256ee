"""Fakes that ship: a scripted provider with real failure shapes, and a whole gateway to put in front of it.

    async with ScriptedProvider([text("Hello"), text(" world"), FINISH, DONE]) as provider:
        async with gateway(providers={"mock": provider.row()}) as running:
            …  # POST {running.url}/v1/chat/completions with the model "mock/anything"

It never imitates a provider's judgement: a script says byte by byte what is sent, and when.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from infron import catalog
from infron.config import Config
from infron.runtime.gateway import listen, running
from infron.runtime.local import LocalModel
from infron.runtime.relay import Relay
from infron.wires import WIRES


class Wait(NamedTuple):
    """A step: go on when `event` is set."""

    event: asyncio.Event


class Pause(NamedTuple):
    """A step: go on after so many seconds. For clocks under test; everything else waits for an event."""

    seconds: float


class Answer(NamedTuple):
    """The first step of an answer that is no stream, or not 200. `length`: send content-length, else chunked."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("content-type", "text/event-stream"),)
    body: bytes | None = None  # with it the answer is complete


class _Cut(NamedTuple):
    reset: bool


CUT = _Cut(reset=False)  # close in the middle of the body
RESET = _Cut(reset=True)  # the same, by a reset
Step = bytes | Wait | Pause | Answer | _Cut
Script = Sequence[Step]


def frame(**members: Any) -> bytes:
    """A chat completion chunk with these root members as one event."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "upstream-model"}
    return b"data: %b\n\n" % json.dumps({**head, **members}, ensure_ascii=False).encode()


def delta(finish_reason: str | None = None, index: int = 0, **members: Any) -> bytes:
    return frame(choices=[{"index": index, "delta": members, "finish_reason": finish_reason}])


def text(content: str) -> bytes:
    return delta(content=content)


ROLE = delta(role="assistant", content="")
FINISH = delta("stop")
USAGE = frame(choices=[], usage={"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10})
DONE = b"data: [DONE]\n\n"


class Call:
    """One request that the provider got. `closed` is set when the other side has closed the connection."""

    def __init__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.closed = asyncio.Event()
        self.finished = asyncio.Event()  # the script ran to its end

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class ScriptedProvider:
    """An HTTP/1.1 provider on loopback that plays a script for each request.

    `script`: steps, or a function from the call to steps. `calls`: all requests so far; `called()` waits for the n-th.
    """

    def __init__(self, script: Script | Callable[[Call], Script]) -> None:
        self._script = script
        self.calls: list[Call] = []
        self._more = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> ScriptedProvider:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=1 << 26)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def row(self, **fields: Any) -> dict[str, Any]:
        """A `[providers.<id>]` table for it."""
        return {"wire": "openai-chat", "base_url": self.base_url, "api_key": "provider-key", **fields}

    async def called(self, count: int = 1) -> Call:
        """The `count`-th request, once it is here."""
        async with self._more:
            await self._more.wait_for(lambda: len(self.calls) >= count)
        return self.calls[count - 1]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while (call := await _read_call(reader)) is not None:
                async with self._more:
                    self.calls.append(call)
                    self._more.notify_all()
                watch = asyncio.create_task(_watch(reader, call))
                try:
                    script = self._script(call) if callable(self._script) else self._script
                    if not await self._play(script, writer, call):
                        return
                finally:
                    watch.cancel()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _play(self, script: Script, writer: asyncio.StreamWriter, call: Call) -> bool:
        """Play it; True if the connection can take another request."""
        started = False
        for step in script:
            if isinstance(step, Wait):
                await step.event.wait()
            elif isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            elif isinstance(step, _Cut):
                if step.reset:
                    writer.transport.abort()
                else:
                    await writer.drain()
                return False
            elif isinstance(step, Answer):
                started = True
                lines = [f"HTTP/1.1 {step.status} Status", *(f"{name}: {value}" for name, value in step.headers)]
                if step.body is not None:
                    head = "\r\n".join((*lines, f"content-length: {len(step.body)}", "", "")).encode()
                    writer.write(head + step.body)
                    await writer.drain()
                    call.finished.set()
                    return True
                writer.write("\r\n".join((*lines, "transfer-encoding: chunked", "", "")).encode())
            else:
                if not started:
                    started = True
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
                writer.write(b"%x\r\n%b\r\n" % (len(step), step))
                await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        call.finished.set()
        return True


async def _read_call(reader: asyncio.StreamReader) -> Call | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    method, path, _ = first.split(" ", 2)
    return Call(method, path, headers, body)


async def _watch(reader: asyncio.StreamReader, call: Call) -> None:
    """Nothing may come while a script plays, so what ends this read is the other side's leaving."""
    with contextlib.suppress(ConnectionError):
        # Looks without taking: what a next request on this connection begins with stays there.
        while not reader.at_eof() and reader.exception() is None:
            waiter = getattr(reader, "_waiter", None)
            if waiter is None and not reader._buffer:  # type: ignore[attr-defined]
                await reader._wait_for_data("watch")  # type: ignore[attr-defined]
            else:
                await asyncio.sleep(0.001)
    call.closed.set()


class RunningGateway(NamedTuple):
    """`url`: without path. `relay`: its inside, to look at."""

    url: str
    port: int
    relay: Relay


@contextlib.asynccontextmanager
async def gateway(**sections: Any) -> AsyncIterator[RunningGateway]:
    """A whole gateway on this loop. `sections`: tables of the configuration, `providers={"mock": {…}}` among them.

    Without a `ledger` section it keeps its entries in a temporary folder. The model in the box is off unless
    `local={"enabled": True}` is given.
    """
    with tempfile.TemporaryDirectory() as folder:
        sections.setdefault("ledger", {"url": f"sqlite:///{Path(folder) / 'infron.db'}"})
        sections.setdefault("local", {"enabled": False})
        config = msgspec.convert(sections, Config)
        rows = catalog.load(config.providers, config.models, {}, wires=WIRES)
        listener = listen(config.server.host, 0)
        port = listener.getsockname()[1]
        local = LocalModel.prepare(config.local) if config.local.enabled else None
        try:
            async with running(config, rows, listener, local) as relay:
                yield RunningGateway(f"http://127.0.0.1:{port}", port, relay)
        finally:
            if local is not None:
                local.close()
