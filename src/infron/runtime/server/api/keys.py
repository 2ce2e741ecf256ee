"""`GET /v1/key` and `GET /v1/credits`: the calling key, its limits, what it has spent, and what is left.

It never knows a key's secret.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from infron.money import usd
from infron.policy.access import Key
from infron.policy.holders import Limits, Period
from infron.policy.limits import period_end_ms
from infron.runtime.ledger.ledger import Ledger
from infron.runtime.ledger.spend import Spend, UsedByKey
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


_RESETS: dict[Period, str | None] = {"day": "daily", "week": "weekly", "month": "monthly", "total": None}


class _Budget(NamedTuple):
    """One of a holder's budgets, in picodollars. `resets_ms`: when it begins anew; None: never."""

    period: Period
    ceiling: int
    spent: int
    resets_ms: int | None

    @property
    def left(self) -> int:
        return max(0, self.ceiling - self.spent)


def endpoints(ledger: Ledger) -> list[Endpoint]:
    async def calling(request: Request, key: Key | None) -> Response:
        used = await ledger.used(key)
        spend = used.by_key
        tightest = min(_budgets(key.limits, used, spend) if key else (), key=lambda one: one.left, default=None)
        return json_response(
            {
                "data": {
                    **_NOTHING,
                    **(_bounds(key, used) if key else {}),
                    "label": key.name if key else "" if for_openrouter(request) else None,
                    "hint": key.hint if key else None,
                    "limit": usd(tightest.ceiling) if tightest else None,
                    "limit_reset": _RESETS[tightest.period] if tightest else None,
                    "limit_remaining": usd(tightest.left) if tightest else None,
                    "usage": usd(spend.ever),
                    "usage_daily": usd(spend.today),
                    "usage_weekly": usd(spend.week),
                    "usage_monthly": usd(spend.month),
                    "expires_at": _iso(key.expires_at) if key else None,
                    "created_at": _iso(key.created_at) if key else None,
                }
            }
        )

    async def credits(request: Request, key: Key | None) -> Response:
        used = await ledger.used(key)
        spent = used.by_key.ever
        balance = used.balance if key is None or key.organisation is None or key.organisation.show_remaining else None
        if balance is not None:
            total = usd(max(0, balance) + spent)
        else:
            limit = key.limits.ceiling("total") if key else None
            total = NO_LIMIT if limit is None else usd(limit)
        return json_response({"data": {"total_credits": total, "total_usage": usd(spent)}})

    return [Endpoint("/key", calling), Endpoint("/credits", credits)]


def _bounds(key: Key, used: UsedByKey) -> dict[str, Any]:
    """What the key may use, and what is left; of its organisation only what the operator lets be shown."""
    organisation = key.organisation
    shown: dict[str, Any] = {
        "limits": _limits(key.limits, used, used.by_key, None if organisation else used.balance),
        "models": key.permissions.models,
        "providers": key.permissions.providers,
        "organisation": None,
    }
    if organisation is not None:
        shown["organisation"] = {"id": organisation.id, "name": organisation.name}
        if organisation.show_remaining:
            limits = _limits(organisation.limits, used, used.by_organisation, used.balance)
            shown["organisation"]["limits"] = limits
    if (rate := key.limits.requests_per_minute) is not None:
        shown["rate_limit"] = {"interval": "60s", "note": "Requests that begin in a minute.", "requests": rate}
    return shown


def _limits(limits: Limits, used: UsedByKey, spend: Spend, balance: int | None) -> dict[str, Any]:
    return {
        "requests_per_minute": limits.requests_per_minute,
        "tokens_per_minute": limits.tokens_per_minute,
        "concurrent": limits.concurrent,
        "budgets": [
            {
                "period": budget.period,
                "limit": usd(budget.ceiling),
                "usage": usd(budget.spent),
                "remaining": usd(budget.left),
                "resets_at": None if budget.resets_ms is None else _iso(budget.resets_ms / 1000),
            }
            for budget in _budgets(limits, used, spend)
        ],
        "credits_remaining": usd(balance),
    }


def _budgets(limits: Limits, used: UsedByKey, spend: Spend) -> list[_Budget]:
    spent = {"day": spend.today, "week": spend.week, "month": spend.month, "total": spend.ever}
    return [
        _Budget(each.period, each.ceiling, spent[each.period], period_end_ms(each.period, used.day))
        for each in limits.budgets
    ]


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
