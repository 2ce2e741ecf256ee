"""What the other workers of a gateway keep of the Responses API: asked for over sockets in a folder that only they can
enter, and told to them.

It never keeps anything, and writes nothing down.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from infron.records import Kept

SECONDS = 2.0  # for another worker to take a question, and for each piece of what it says
_PIECE = 256 << 10  # bytes
_NAME = "memory-{}.socket"


class Wanted(Struct, frozen=True):
    """Of one key: answers and items by their ids; or an answer that is to be `forgotten`."""

    owner: str | None
    answers: list[str] = []
    items: list[str] = []
    forgotten: str = ""


class Held(Struct, frozen=True):
    """An answer, and the input that it answers."""

    kept: Kept
    given: bytes


class Found(Struct, frozen=True):
    """By their ids; items are JSON."""

    answers: dict[str, Held] = {}
    items: dict[str, bytes] = {}
    forgot: bool = False


_encode = msgspec.msgpack.Encoder().encode
_wanted = msgspec.msgpack.Decoder(Wanted).decode
_found = msgspec.msgpack.Decoder(Found).decode


class OtherMemories:
    """`folder`: of all workers of one gateway. `name`: no other one's."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._own = folder / _NAME.format(name)
        self._server: asyncio.Server | None = None

    async def tell(self, answer: Callable[[Wanted], Awaitable[Found]]) -> None:
        """Answer the others from now on."""

        async def told(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, TimeoutError, msgspec.DecodeError), contextlib.closing(writer):
                async with asyncio.timeout(SECONDS):
                    wanted = _wanted(await reader.read())
                found = await answer(wanted)
                writer.write(await asyncio.get_running_loop().run_in_executor(None, _encode, found))
                await writer.drain()

        self._server = await asyncio.start_unix_server(told, str(self._own))

    def ask(self, wanted: Wanted) -> Iterator[Found]:
        """What each of the others has of it; one that does not answer has nothing. It blocks: for threads."""
        data = _encode(wanted)
        for path in sorted(self._folder.glob(_NAME.format("*"))):
            if path != self._own:
                with contextlib.suppress(OSError, msgspec.DecodeError):
                    yield _found(_asked(path, data))

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._own.unlink(missing_ok=True)


def _asked(path: Path, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(SECONDS)
        peer.connect(str(path))
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: peer.recv(_PIECE), b""))
