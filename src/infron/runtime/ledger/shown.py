"""Keys, organisations, transfers as JSON: what commands print, the admin API answers and the audit log keeps.

It never knows a secret. Money in USD, times in unix seconds.
"""

from __future__ import annotations

from typing import Any

from msgspec import structs

from infron.money import usd
from infron.policy.access import Key
from infron.policy.holders import Limits, Organisation
from infron.runtime.ledger.journal import Transfer
from infron.runtime.ledger.usage import UsageRow


def key_fields(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "kind": key.kind,
        "hint": key.hint,
        "organisation": key.organisation.id if key.organisation else None,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "models": key.permissions.models,
        "providers": key.permissions.providers,
        **_limits(key.limits),
        "limit": usd(key.limits.ceiling("total")),
        "revision": key.revision,
    }


def organisation_fields(organisation: Organisation) -> dict[str, Any]:
    return {
        "id": organisation.id,
        "name": organisation.name,
        "created_at": organisation.created_at,
        "closed_at": organisation.closed_at,
        "show_remaining": organisation.show_remaining,
        **_limits(organisation.limits),
        "revision": organisation.revision,
    }


def transfer_fields(transfer: Transfer) -> dict[str, Any]:
    return {
        "id": transfer.id,
        "created_at": transfer.created_at,
        "kind": transfer.kind,
        "source": transfer.source,
        "target": transfer.target,
        "amount_usd": usd(transfer.amount),
        "reference": transfer.reference,
        "note": transfer.note,
        "actor": transfer.actor,
    }


def usage_fields(rows: list[UsageRow]) -> list[dict[str, Any]]:
    return [{**structs.asdict(row), "cost": usd(row.cost), "charge": usd(row.charge)} for row in rows]


def _limits(limits: Limits) -> dict[str, Any]:
    return {
        "requests_per_minute": limits.requests_per_minute,
        "tokens_per_minute": limits.tokens_per_minute,
        "concurrent": limits.concurrent,
        "budgets_usd": {budget.period: usd(budget.ceiling) for budget in limits.budgets},
        "account": limits.account,
    }
