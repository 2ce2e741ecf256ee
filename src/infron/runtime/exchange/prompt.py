"""The tokens of a request that is not sent: our own count, by the tokenizer of the first who would serve it.

It never asks a provider.
"""

from __future__ import annotations

from infron.policy import routing
from infron.request import Request
from infron.runtime.exchange.context import Context
from infron.runtime.exchange.meter import Meter


async def count_prompt(context: Context, request: Request) -> int:
    """The count, made by a thread, for it takes its time. Raises InfronError where nobody can serve the request."""
    providers = context.providers
    candidate = routing.route(request, providers.catalog, providers.why_not)[0]
    meter = Meter(request, candidate)
    usage = await context.loop.run_in_executor(context.readers, meter.count)
    return usage.prompt
