"""`GET /v1/generation?id=`: the receipt of one generation, for its owner.

It never tells whether a generation of another key exists.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from infron.errors import InvalidRequest, NotFound
from infron.policy.access import Key
from infron.runtime.ledger.ledger import Ledger
from infron.runtime.server.api.endpoint import Endpoint, json_response


def endpoints(ledger: Ledger) -> list[Endpoint]:
    async def generation(request: Request, key: Key | None) -> Response:
        id = request.query_params.get("id")
        if not id:
            raise InvalidRequest("Name the exchange: GET /v1/generation?id=gen-….", param="id")
        receipt = await ledger.receipt(id, key.id if key else None)
        if receipt is None:
            raise NotFound("There is no exchange with this id, or it is not yours.", param="id")
        return json_response({"data": receipt})

    return [Endpoint("/generation", generation)]
