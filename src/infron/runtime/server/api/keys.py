"""`GET /v1/key` and `GET /v1/credits`: the calling key, its limit and what it has spent.

It never knows a key's secret.
"""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from infron.money import usd
from infron.policy.access import Key
from infron.runtime.ledger.ledger import Ledger
from infron.runtime.server.api.endpoint import Endpoint, for_openrouter, json_response

# What OpenRouter's libraries want to be told of a key, and means nothing here.
_NOTHING = {
    "allowed_data_regions": [],
    "byok_usage": 0,
    "byok_usage_daily": 0,
    "byok_usage_weekly": 0,
    "byok_usage_monthly": 0,
    "creator_user_id": None,
    "free_model_daily_requests": {"limit": 0, "remaining": 0, "used": 0},
    "include_byok_in_limit": False,
    "is_free_tier": False,
    "is_management_key": False,
    "is_provisioning_key": False,
    "organization_id": None,
    "rate_limit": {"interval": "10s", "note": "There is no limit of rates.", "requests": -1},
    "workspace_id": None,
}
NO_LIMIT = 1_000_000_000.0  # USD, of credits that are not limited: the libraries want a number


def endpoints(ledger: Ledger) -> list[Endpoint]:
    async def calling(request: Request, key: Key | None) -> Response:
        spend = await ledger.spend(key.id if key else None)
        limit = key.limits.ceiling("total") if key else None
        return json_response(
            {
                "data": {
                    **_NOTHING,
                    "label": key.name if key else "" if for_openrouter(request) else None,
                    "hint": key.hint if key else None,
                    "limit": usd(limit),
                    "limit_reset": None,
                    "limit_remaining": None if limit is None else usd(max(0, limit - spend.ever)),
                    "usage": usd(spend.ever),
                    "usage_daily": usd(spend.today),
                    "usage_weekly": usd(spend.week),
                    "usage_monthly": usd(spend.month),
                    "expires_at": None,
                    "created_at": datetime.fromtimestamp(key.created_at, UTC).isoformat() if key else None,
                }
            }
        )

    async def credits(request: Request, key: Key | None) -> Response:
        spend = await ledger.spend(key.id if key else None)
        limit = key.limits.ceiling("total") if key else None
        total = NO_LIMIT if limit is None else usd(limit)
        return json_response({"data": {"total_credits": total, "total_usage": usd(spend.ever)}})

    return [Endpoint("/key", calling), Endpoint("/credits", credits)]
