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
        *health.endpoints(lambda: _unready(relay), lambda: relay.metrics.text()),
    ]


def _unready(relay: Relay) -> str | None:
    """Why no new exchange should be sent here, in words that strangers may read: the log says more."""
    if relay.shutting_down:
        return "shutting down"
    return "the ledger cannot be written" if relay.ledger.healthy else None
