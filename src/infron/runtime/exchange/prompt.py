"""The tokens of a request that is not sent: by the provider's count where its API has one, else by ours.

It never starts an exchange, and nothing of it is billed.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import Struct

from infron.errors import InfronError
from infron.policy import routing
from infron.policy.access import Key
from infron.policy.permissions import EVERYTHING
from infron.policy.routing import Candidate
from infron.request import Headers, Outgoing, Request
from infron.runtime.exchange.context import Context
from infron.runtime.exchange.meter import Meter
from infron.runtime.exchange.providers import ProviderHandle
from infron.runtime.upstream.fetch import Fetched, fetched
from infron.wires.anthropic import NAME as MESSAGES
from infron.wires.anthropic.client_request import parse_counted
from infron.wires.anthropic.counting import count_answer, count_request, is_count
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
    """The count of a Messages request. A host that cannot count, or does not answer, is no reason to give none.

    Raises InfronError for a request that is refused, here or there, and where nobody can serve it.
    """

    def prepared() -> tuple[Request, Candidate, Outgoing | None]:
        request = parse_counted(body, headers)
        routing.check_names(request)
        candidate = _first(context, request, key)
        provider = candidate.provider
        asks = provider.wire == MESSAGES and "{" not in provider.chat_path
        return request, candidate, count_request(request, provider, candidate.provider_model) if asks else None

    large = len(body) > LARGE  # other streams must not wait for that
    done = await context.loop.run_in_executor(context.readers, prepared) if large else prepared()
    request, candidate, outgoing = done
    if outgoing is not None:
        handle = context.providers.handle(candidate.provider)
        try:
            return await _ask(context, handle, candidate, outgoing)
        except InfronError as error:
            if error.status < 500 and error.status not in _NO_COUNTS:
                raise
    return Count(count_answer(await _count(context, request, candidate)), estimated=True)


def _first(context: Context, request: Request, key: Key | None) -> Candidate:
    catalog = context.providers.catalog
    permitted = key.permissions if key else EVERYTHING
    found = routing.route(request, catalog, context.providers.why_not, permitted)
    return routing.spoken(found, request, catalog)[0]


async def _count(context: Context, request: Request, candidate: Candidate) -> int:
    """Made by a thread, for it takes its time."""
    usage = await context.loop.run_in_executor(context.readers, Meter(request, candidate).count)
    return usage.prompt


async def _ask(context: Context, handle: ProviderHandle, candidate: Candidate, outgoing: Outgoing) -> Count:
    target = await handle.target_when_ready(candidate.provider_model, outgoing)
    found = await fetched(context.upstream, target, outgoing.body, seconds=COUNT_SECONDS, most_bytes=MOST_BYTES)
    if 200 <= found.status < 300 and is_count(found.body):
        return Count(found.body, estimated=False)
    raise _refusal(handle, found)


def _refusal(handle: ProviderHandle, found: Fetched) -> InfronError:
    return handle.wire.parse_error(found.status, found.headers, found.body, handle.provider, handle.key, time.time())
