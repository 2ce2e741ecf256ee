"""What candidates cost now: the price list, asked once a minute for each of them.

It never knows what is bought.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from infron.catalog.load import Catalog
from infron.money import Price
from infron.policy import prices
from infron.policy.routing import Candidate

PRICE_SECONDS = 60.0
MOST_PRICES = 10_000  # model ids come from callers


class Prices:
    def __init__(self, catalog: Catalog, loop: asyncio.AbstractEventLoop) -> None:
        self._catalog = catalog
        self._loop = loop
        self._known: dict[tuple[str, str, str, str], tuple[float, Price | None]] = {}

    def of(self, candidate: Candidate, tier: str | None) -> Price | None:
        """What this candidate's tokens cost now on a service tier; None if nobody says.

        Prices depend on the hour: none is kept long.
        """
        tier = prices.tier_of(tier)
        name = (candidate.provider.id, candidate.provider.wire, candidate.provider_model, tier)
        now = self._loop.time()
        known = self._known.get(name)
        if known is None or now > known[0]:
            if len(self._known) > MOST_PRICES:
                self._known.clear()
            override = self._catalog.price(candidate.provider.id, candidate.provider_model)
            price = prices.price_of(candidate.provider, candidate.provider_model, override, datetime.now(UTC), tier)
            known = self._known[name] = (now + PRICE_SECONDS, price)
        return known[1]
