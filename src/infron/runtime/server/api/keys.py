"""`GET /v1/key`: the calling key, its limit and what it has spent.

It never knows a key's secret.
"""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from infron.money import usd
from infron.policy.access import Key
from infron.runtime.ledger.ledger import Ledger
from infron.runtime.server.api.endpoint import Endpoint, json_response


def endpoints(ledger: Ledger) -> list[Endpoint]:
    async def calling(request: Request, key: Key | None) -> Response:
        spend = await ledger.spend(key.id if key else None)
        limit = key.limit if key else None
        return json_response(
            {
                "data": {
                    "label": key.name if key else None,
                    "hint": key.hint if key else None,
                    "limit": usd(limit),
                    "limit_reset": None,
                    "limit_remaining": None if limit is None else usd(max(0, limit - spend.ever)),
                    "usage": usd(spend.ever),
                    "usage_daily": usd(spend.today),
                    "usage_weekly": usd(spend.week),
                    "usage_monthly": usd(spend.month),
                    "is_free_tier": False,
                    "expires_at": None,
                    "created_at": datetime.fromtimestamp(key.created_at, UTC).isoformat() if key else None,
                }
            }
        )

    return [Endpoint("/key", calling)]
