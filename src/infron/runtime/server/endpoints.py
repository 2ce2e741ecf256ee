"""Everything over HTTP that starts no exchange: the endpoints of `api/` are registered here.

It never answers anything itself.
"""

from __future__ import annotations

from infron.runtime.exchange.relay import Relay
from infron.runtime.server.api import health, keys, models, receipts
from infron.runtime.server.api.endpoint import Endpoint


def endpoints(relay: Relay) -> list[Endpoint]:
    """All of them. They are given what they tell of, never the relay."""
    return [
        *models.endpoints(relay.catalog, lambda: relay.offered()),
        *receipts.endpoints(relay.ledger),
        *keys.endpoints(relay.ledger),
        *health.endpoints(
            lambda: "shutting down" if relay.shutting_down else relay.ledger.healthy, lambda: relay.metrics.text()
        ),
    ]
