"""`POST /v1/messages/count_tokens`: how many tokens a Messages request has.

It never knows who counts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from infron.policy.access import Key
from infron.request import Headers
from infron.runtime.exchange.prompt import Count
from infron.runtime.server.api.endpoint import ESTIMATED, Endpoint
from infron.wires.anthropic.counting import PATH


def endpoints(count: Callable[[bytes, Headers, Key | None], Awaitable[Count]]) -> list[Endpoint]:
    async def counted(request: Request, key: Key | None) -> Response:
        found = await count(await request.body(), request.headers.raw, key)
        headers = {ESTIMATED: "true"} if found.estimated else None
        return Response(found.body, headers=headers, media_type="application/json")

    return [Endpoint(PATH, counted, "POST", takes_body=True)]
