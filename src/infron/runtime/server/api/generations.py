"""`POST /v1/generations/{id}/cancel`: stop one of one's own generations, whichever process runs it.

It never tells whether a generation of another key exists.
"""

from __future__ import annotations

import contextlib

from starlette.requests import Request
from starlette.responses import Response

from infron.errors import LedgerUnavailable
from infron.policy.access import Key
from infron.policy.stop import Stop
from infron.runtime.exchange.registry import Registry
from infron.runtime.ledger.ledger import Ledger
from infron.runtime.server.api.endpoint import Endpoint, json_response
from infron.runtime.server.api.receipts import missing, told


def endpoints(ledger: Ledger, registry: Registry) -> list[Endpoint]:
    async def cancel(request: Request, key: Key | None) -> Response:
        """202 for one that runs, with its receipt so far; 200 for one that is over."""
        id, key_id = request.path_params["id"], key.id if key else None
        here = registry.get(id)
        if here is not None and here.key_id == key_id:
            registry.stop(id, Stop.CALLER)
            with contextlib.suppress(LedgerUnavailable):
                if receipt := await ledger.receipt(id, key_id):
                    return json_response({"data": told(receipt, request)}, 202)
            return json_response({"data": {"id": id, "outcome": None}}, 202)  # its row is not written yet
        receipt = await ledger.mark_stop(id, key_id, Stop.CALLER)
        if receipt is None:
            raise missing(ledger, id)
        return json_response({"data": told(receipt, request)}, 202 if receipt.outcome is None else 200)

    return [Endpoint("/generations/{id}/cancel", cancel, "POST")]
