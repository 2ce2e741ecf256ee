"""One small request and its answer: for what is asked of a provider beside its models' answers.

It never asks twice, and never keeps more of an answer than it was allowed to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from msgspec import Struct

from infron.errors import InfronError, ProviderTimeout
from infron.request import Headers
from infron.runtime.upstream.client import Client, Target


class Fetched(Struct, frozen=True):
    """`whole`: nothing of the body is left out. `headers`: names in lower case."""

    status: int
    body: bytes
    whole: bool = True
    headers: Headers = []


async def fetch(client: Client, url: str, headers: Mapping[str, str], *, seconds: float, most_bytes: int) -> Fetched:
    """One GET."""
    target = Target(url, tuple(headers.items()), method="GET")
    return await fetched(client, target, b"", seconds=seconds, most_bytes=most_bytes)


async def fetched(client: Client, target: Target, body: bytes, *, seconds: float, most_bytes: int) -> Fetched:
    """The answer. Of a longer one its beginning is read, and the connection is closed. Raises InfronError."""
    reader = _Fetching(most_bytes)
    request = client.send(target, body, reader)
    whole = False
    try:
        async with asyncio.timeout(seconds):
            found = await reader.known
            whole = found.whole
            return found
    except TimeoutError:
        raise ProviderTimeout(f"No answer within {seconds:g} s.") from None
    finally:
        request.release() if whole else request.abort()
        del reader  # an error that it was told holds this frame


class _Fetching:
    def __init__(self, most_bytes: int) -> None:
        self.known: asyncio.Future[Fetched] = asyncio.get_running_loop().create_future()
        self._most_bytes = most_bytes
        self._status = 0
        self._headers: Headers = []
        self._body = bytearray()

    def response_started(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._status, self._headers = status, headers
        if not self._most_bytes:
            self._tell(whole=False)

    def data_received(self, data: bytes) -> None:
        if self.known.done():
            return
        self._body += data
        if len(self._body) > self._most_bytes:
            del self._body[self._most_bytes :]
            self._tell(whole=False)

    def response_ended(self) -> None:
        self._tell(whole=True)

    def request_failed(self, error: InfronError) -> None:
        if not self.known.done():
            self.known.set_exception(error)

    def _tell(self, *, whole: bool) -> None:
        if not self.known.done():
            self.known.set_result(Fetched(self._status, bytes(self._body), whole, self._headers))
