"""`GET /v1/generations`, `POST /v1/generations/{id}/cancel`: list one's own generations, and stop one that runs.

It never tells whether a generation of another key exists.
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import Executor
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from infron.errors import InvalidRequest, LedgerUnavailable
from infron.policy.access import Key
from infron.policy.stop import Stop
from infron.records import Progress
from infron.runtime.exchange.registry import Registry
from infron.runtime.ledger import listing
from infron.runtime.ledger.ledger import Ledger
from infron.runtime.ledger.listing import Page
from infron.runtime.ledger.receipts import Receipt
from infron.runtime.server.api.endpoint import Endpoint, json_response
from infron.runtime.server.api.receipts import missing, told

MOST_LISTED = 100


def endpoints(ledger: Ledger, registry: Registry, url: str, readers: Executor) -> list[Endpoint]:
    """`url`: the ledger's, of which lists are read by a connection of their own. `readers`: threads for that."""

    async def cancel(request: Request, key: Key | None) -> Response:
        """202 for one that runs, with its receipt so far; 200 for one that is over."""
        receipt, runs, so_far = await stop_generation(ledger, registry, request.path_params["id"], key)
        if receipt is None:  # its row is not written yet
            return json_response({"data": {"id": request.path_params["id"], "outcome": None}}, 202)
        return json_response({"data": {**told(receipt, request), **so_far}}, 202 if runs else 200)

    async def listed(request: Request, key: Key | None) -> Response:
        asked, key_id = request.query_params, key.id if key else None
        limit, after, state = _limit(asked.get("limit", "20")), asked.get("after"), asked.get("state", "past")
        if state not in ("live", "past"):
            raise InvalidRequest("`state` must be `live` or `past`.", param="state")
        if state == "live":
            page = await ledger.ask(lambda rows: listing.read_live(rows, key_id, limit=limit, after=after))
        else:
            await ledger.ask(lambda rows: None)  # what is settled is written first
            loop, read = asyncio.get_running_loop(), partial(listing.past_page, url, key_id)
            page = await loop.run_in_executor(readers, partial(read, limit=limit, after=after))
        return json_response(_shown(page, request, registry))

    return [
        Endpoint("/generations", listed),
        Endpoint("/generations/{id}/cancel", cancel, "POST"),
    ]


async def stop_generation(
    ledger: Ledger, registry: Registry, id: str, key: Key | None
) -> tuple[Receipt | None, bool, dict[str, Any]]:
    """Stop one of this key's: its receipt, if that is written, whether it ran, and how far it is. Raises NotFound."""
    here, key_id = registry.get(id), key.id if key else None
    if here is None or here.key_id != key_id:
        receipt = await ledger.mark_stop(id, key_id, Stop.CALLER)
        if receipt is None:
            raise missing(ledger, id)
        return receipt, receipt.outcome is None, {}
    so_far, receipt = _so_far(here.progress()), None
    registry.stop(id, Stop.CALLER)
    with contextlib.suppress(LedgerUnavailable):
        receipt = await ledger.receipt(id, key_id)
    return receipt, True, {} if receipt and receipt.outcome else so_far


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MOST_LISTED:
        raise InvalidRequest(f"`limit` must be a number from 1 to {MOST_LISTED}.", param="limit")
    return int(text)


def _shown(page: Page, request: Request, registry: Registry) -> dict[str, Any]:
    """As OpenAI's API lists things. How far an exchange of this process is, is known at this moment."""
    data = []
    for receipt in page.receipts:
        here = registry.get(receipt.id)
        if here is not None and receipt.outcome is None:
            data.append({**told(receipt, request), **_so_far(here.progress())})
        else:
            data.append(told(receipt, request))
    first = page.receipts[0].id if page.receipts else None
    return {"object": "list", "data": data, "first_id": first, "last_id": page.last, "has_more": page.more}


def _so_far(progress: Progress) -> dict[str, Any]:
    """About how many tokens have come, and when the first did."""
    counts = dict.fromkeys(("tokens_completion", "native_tokens_completion"), progress.tokens)
    return {**counts, "frames": progress.frames, "latency": progress.latency_ms, "estimated": True}
