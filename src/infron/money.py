"""Money and the counts that it stands on: prices, charges, token usage. Whole picodollars everywhere.

It never knows a provider, and never rounds but where an amount is shown.
"""

from __future__ import annotations

from msgspec import Struct

# Money is whole picodollars (1e-12 USD) everywhere; it is turned into dollars once, where it is shown.
PICODOLLARS = 10**12


def usd(picodollars: int | None) -> float | None:
    """The amount in dollars, as it is shown; None where it is not known."""
    return None if picodollars is None else picodollars / PICODOLLARS


class Usage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Token counts of one answer. `prompt` includes cached and cache-write tokens, `completion` includes reasoning.

    `cache_write_1h`: those of `cache_write` that are kept for an hour.
    """

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0


class Price(Struct, frozen=True, kw_only=True):
    """What one token costs, in picodollars. `None`: this kind of token has no price of its own.

    `request` is a flat price of each request. `source` says where the price comes from, for the receipt.
    Above `tier_from` prompt tokens (0: never) the whole answer is priced with `tier` instead.
    """

    prompt: int
    completion: int
    cached: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    request: int = 0
    source: str = ""
    tier_from: int = 0
    tier: Price | None = None


class Charge(Struct, frozen=True, kw_only=True):
    """Money, in picodollars, in the parts that the wire shows. `total` is their sum."""

    prompt: int = 0  # uncached prompt tokens only
    completion: int = 0
    cached: int = 0
    cache_write: int = 0
    request: int = 0

    @property
    def total(self) -> int:
        return self.prompt + self.completion + self.cached + self.cache_write + self.request
