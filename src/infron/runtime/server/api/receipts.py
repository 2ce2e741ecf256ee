"""`GET /v1/generation?id=`: the receipt of one generation, for its owner.

It never tells whether a generation of another key exists.
"""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from infron.errors import InvalidRequest, NotFound
from infron.policy.access import Key
from infron.runtime.ledger.ledger import Ledger, Receipt
from infron.runtime.server.api.endpoint import Endpoint, for_openrouter, json_response

# What OpenRouter's libraries want to be told, and is not recorded here.
_NOTHING = {
    "data_region": "global",
    "provider_responses": None,
    **dict.fromkeys(
        ("native_tokens_completion_images", "num_fetches", "num_input_audio_prompt", "num_media_completion",
         "num_media_prompt", "num_search_results", "preset_id", "router", "web_search_engine", "workspace_id")
    ),
}  # fmt: skip


def endpoints(ledger: Ledger) -> list[Endpoint]:
    async def generation(request: Request, key: Key | None) -> Response:
        id = request.query_params.get("id")
        if not id:
            raise InvalidRequest("Name the exchange: GET /v1/generation?id=gen-….", param="id")
        receipt = await ledger.receipt(id, key.id if key else None)
        if receipt is None:
            raise missing(ledger, id)
        return json_response({"data": told(receipt, request)})

    return [Endpoint("/generation", generation)]


def told(receipt: Receipt, request: Request) -> dict[str, Any]:
    """The receipt as the caller gets it."""
    members = msgspec.structs.asdict(receipt)
    if for_openrouter(request):
        members |= {name: members[name] or 0 for name in ("total_cost", "usage")}
        members |= {"cost_known": receipt.usage is not None, "origin": ""}
    return {**_NOTHING, **members}


def missing(ledger: Ledger, id: str) -> NotFound:
    if ledger.removed(id):
        days = f"{ledger.keep_days} day{'s' if ledger.keep_days != 1 else ''}"
        return NotFound(f"Generations are kept for {days} here; one with this id would be older.", param="id")
    return NotFound("There is no generation with this id, or it is not yours.", param="id")
