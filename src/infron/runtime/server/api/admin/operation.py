"""`/admin/v1/streams`, `/usage`, `/providers`, `/nodes`, `/audit`: what runs, what was used, what was changed.

It never shows what was asked or answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, get_args

from msgspec import Struct, structs
from starlette.requests import Request
from starlette.responses import Response

from infron.errors import InvalidRequest
from infron.policy.access import Key
from infron.runtime.ledger.live import Live
from infron.runtime.ledger.office import Office
from infron.runtime.ledger.shown import usage_fields
from infron.runtime.ledger.usage import By
from infron.runtime.server.api.admin.answers import actor, body_of, endpoint, limit_of, paged, time_of, told
from infron.runtime.server.api.endpoint import Endpoint

BY: dict[str, By] = {name: name for name in get_args(By)}


class Audit(Struct, frozen=True, forbid_unknown_fields=True):
    """`repair`: count anew what runs, and what is held for it."""

    repair: bool = False


def endpoints(office: Office, providers: Callable[[], list[dict[str, Any]]]) -> list[Endpoint]:
    """`providers`: what is to be told of each that there is."""

    async def streams(request: Request, key: Key | None) -> Response:
        found = await office.ask(actor(key), lambda admin: admin.streams())
        now = time.time()
        return told([_running(one, now) for one in found])

    async def cancelled(request: Request, key: Key | None) -> Response:
        id = request.path_params["id"]
        receipt = await office.ask(actor(key), lambda admin: admin.cancel_stream(id))
        return told(structs.asdict(receipt), 202 if receipt.outcome is None else 200)

    async def used(request: Request, key: Key | None) -> Response:
        asked = request.query_params
        by = BY.get(asked.get("by", "model"))
        if by is None:
            raise InvalidRequest(f"`by` must be one of {', '.join(BY)}.", param="by")
        since, until = time_of(request, "since"), time_of(request, "until")
        found = await office.ask(
            actor(key), lambda admin: admin.usage(by, since, until, asked.get("key"), asked.get("organisation"))
        )
        return told(usage_fields(found))

    async def served(request: Request, key: Key | None) -> Response:
        return told(providers())

    async def nodes(request: Request, key: Key | None) -> Response:
        return told(await office.ask(actor(key), lambda admin: admin.nodes()))

    async def audited(request: Request, key: Key | None) -> Response:
        asked = await body_of(request, Audit)
        found, repaired = await office.ask(actor(key), lambda admin: admin.check(repair=asked.repair))
        return told({"found": found, "repaired": repaired})

    async def changes(request: Request, key: Key | None) -> Response:
        subject, before, limit = (
            request.query_params.get("subject"),
            request.query_params.get("after"),
            limit_of(request),
        )
        found = await office.ask(actor(key), lambda admin: admin.changes(subject, before, limit + 1))
        return paged([structs.asdict(one) for one in found], limit)

    return [
        endpoint("/streams", streams),
        endpoint("/streams/{id}/cancel", cancelled, "POST", takes_body=False),
        endpoint("/usage", used),
        endpoint("/providers", served),
        endpoint("/nodes", nodes),
        endpoint("/audit", changes),
        endpoint("/audit/run", audited, "POST"),
    ]


def _running(one: Live, now: float) -> dict[str, Any]:
    return {**structs.asdict(one), "age_seconds": max(0.0, now - one.started_at)}
