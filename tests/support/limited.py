"""Keys with limits, in a ledger that a gateway serves."""

from __future__ import annotations

import secrets
import time
from typing import Any, get_args

from infron.money import PICODOLLARS
from infron.policy.holders import Budget, Limits, Period
from infron.runtime.ledger import holders
from infron.runtime.ledger.administration import create_key
from infron.runtime.ledger.stores import opened


def limits(**named: Any) -> Limits:
    """Limits by their names; budgets by their periods, in USD."""
    budgets = tuple(
        Budget(period, round(named.pop(period) * PICODOLLARS)) for period in get_args(Period) if period in named
    )
    return Limits(**named, budgets=budgets)


def limited_key(url: str, organisation: str | None = None, name: str = "one", **named: Any) -> str:
    """The header with a new key that has these limits."""
    key, secret = create_key(url, name)
    set_limits(url, key.id, **named)
    if organisation:
        with opened(url) as store, store.round() as rows:
            rows.change("UPDATE keys SET organisation = ?2 WHERE id = ?1", key.id, organisation)
            holders.raise_revision(rows)
    return f"authorization: Bearer {secret}"


def set_limits(url: str, holder: str, **named: Any) -> None:
    with opened(url) as store, store.round() as rows:
        holders.set_limits(rows, holder, limits(**named))
        holders.raise_revision(rows)


def organisation(url: str, **named: Any) -> str:
    """The id of a new organisation with these limits."""
    id = f"org_{secrets.token_hex(4)}"
    with opened(url) as store, store.round() as rows:
        statement = "INSERT INTO organisations (id, name, created_ms) VALUES (?1, ?1, ?2)"
        rows.change(statement, id, int(time.time() * 1000))
    set_limits(url, id, **named)
    return id
