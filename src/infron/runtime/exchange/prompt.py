"""The tokens of a request that is not sent: by the provider's count where its API has one, else by ours.

It never starts an exchange, and nothing of it is billed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from msgspec import Struct

from infron.catalog.definitions import Provider
from infron.errors import InfronError
from infron.policy import routing
from infron.policy.access import Key
from infron.policy.permissions import EVERYTHING
from infron.policy.routing import Candidate
from infron.request import Headers, Outgoing, Request, Target
from infron.runtime.exchange.context import Context
from infron.runtime.exchange.meter import Meter
from infron.runtime.exchange.providers import ProviderHandle
from infron.runtime.upstream.fetch import Fetched, fetched
from infron.wires.anthropic import client_request as anthropic
from infron.wires.anthropic import counting as anthropic_counting
from infron.wires.gemini import client_request as gemini
from infron.wires.gemini import counting as gemini_counting
from infron.wires.json_guard import LARGE

COUNT_SECONDS = 20.0  # for a provider to answer
MOST_BYTES = 64 << 10  # of its answer
_NO_COUNTS = frozenset((404, 405, 501))  # statuses of hosts that do not count


class Count(Struct, frozen=True):
    """`body`: as clients of the API read it. `estimated`: the count is ours."""

    body: bytes
    estimated: bool


async def count_prompt(context: Context, read: Callable[[], Request], key: Key | None) -> int:
    """Our own count of what is read so, by the tokenizer of the first who would serve it.

    Raises InfronError where it cannot be read, or nobody can serve it. A thread reads, for that takes its time.
    """
    request = await context.loop.run_in_executor(context.readers, read)
    return await _count(context, request, _first(context, request, key))


async def count_messages(context: Context, body: bytes, headers: Headers, key: Key | None) -> Count:
    """The count of a Messages request. Raises InfronError for a request that is refused, here or there, and where
    nobody can serve it.
    """
    read = partial(anthropic.parse_counted, body, headers)
    return await _counted(context, anthropic_counting, read, key, large=len(body) > LARGE)


async def count_contents(context: Context, body: bytes, target: Target, key: Key | None) -> Count:
    """The same of a request of Gemini's API."""
    read = partial(gemini.parse_counted, body, target)
    return await _counted(context, gemini_counting, read, key, large=len(body) > LARGE)


class _Counting(Protocol):
    """A module of a wire whose hosts count."""

    def count_request(self, request: Request, provider: Provider, provider_model: str, /) -> Outgoing | None:
        """The question to a host; None for one that does not count."""

    def is_count(self, body: bytes, /) -> bool:
        """Whether this is what a host answers with that counts."""

    def count_answer(self, tokens: int, /) -> bytes:
        """The same of a count that is ours."""


async def _counted(
    context: Context, counting: _Counting, read: Callable[[], Request], key: Key | None, *, large: bool
) -> Count:
    """A host that cannot count, or does not answer, is no reason to give no count."""

    def prepared() -> tuple[Request, Candidate, Outgoing | None]:
        request = read()
        routing.check_names(request)
        candidate = _first(context, request, key)
        return request, candidate, counting.count_request(request, candidate.provider, candidate.provider_model)

    # Other streams must not wait for what takes long.
    done = await context.loop.run_in_executor(context.readers, prepared) if large else prepared()
    request, candidate, outgoing = done
    if outgoing is not None:
        handle = context.providers.handle(candidate.provider)
        try:
            found = await _ask(context, handle, candidate, outgoing)
            if counting.is_count(found.body):
                return Count(found.body, estimated=False)
        except InfronError as error:
            if error.status < 500 and error.status not in _NO_COUNTS:
                raise
    return Count(counting.count_answer(await _count(context, request, candidate)), estimated=True)


def _first(context: Context, request: Request, key: Key | None) -> Candidate:
    catalog = context.providers.catalog
    permitted = key.permissions if key else EVERYTHING
    found = routing.route(request, catalog, context.providers.why_not, permitted)
    return routing.spoken(found, request, catalog)[0]


async def _count(context: Context, request: Request, candidate: Candidate) -> int:
    """Made by a thread, for it takes its time."""
    usage = await context.loop.run_in_executor(context.readers, Meter(request, candidate).count)
    return usage.prompt


async def _ask(context: Context, handle: ProviderHandle, candidate: Candidate, outgoing: Outgoing) -> Fetched:
    """What a host answers that takes the question. Raises InfronError."""
    target = await handle.target_when_ready(candidate.provider_model, outgoing)
    found = await fetched(context.upstream, target, outgoing.body, seconds=COUNT_SECONDS, most_bytes=MOST_BYTES)
    if 200 <= found.status < 300:
        return found
    raise _refusal(handle, found)


def _refusal(handle: ProviderHandle, found: Fetched) -> InfronError:
    return handle.wire.parse_error(found.status, found.headers, found.body, handle.provider, handle.key, time.time())
