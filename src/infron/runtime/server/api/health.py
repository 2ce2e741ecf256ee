"""`GET /healthz`, `/readyz` and `/metrics`: for whoever watches over the gateway.

It never changes what it tells of.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from infron.policy.access import Key
from infron.runtime.server.api.endpoint import Endpoint, json_response


def endpoints(unready: Callable[[], str | None], metrics: Callable[[], bytes]) -> list[Endpoint]:
    """`unready`: None, or why no new exchange should be sent here. `metrics`: in Prometheus' text format."""

    async def healthz(request: Request, key: Key | None) -> Response:
        return json_response({"status": "ok"})

    async def readyz(request: Request, key: Key | None) -> Response:
        why = unready()
        return json_response({"status": why or "ready"}, 503 if why else 200, {"retry-after": "5"} if why else {})

    async def told(request: Request, key: Key | None) -> Response:
        return Response(metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return [
        Endpoint("/healthz", healthz, root=True, open=True),
        Endpoint("/readyz", readyz, root=True, open=True),
        Endpoint("/metrics", told, root=True),
    ]
