"""Money and the counts that it stands on: prices, charges, token usage. Whole picodollars everywhere.

It never knows a provider, and never rounds but where an amount is shown.
"""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

MEDIA = ("audio", "image", "video")  # kinds of tokens that are no text

# Money is whole picodollars (1e-12 USD) everywhere; it is turned into dollars once, where it is shown.
PICODOLLARS = 10**12


def usd(picodollars: int | None) -> float | None:
    """The amount in dollars, as it is shown; None where it is not known."""
    return None if picodollars is None else picodollars / PICODOLLARS


def usd_text(picodollars: int) -> str:
    """The same as a decimal number without an exponent, as OpenRouter writes prices: `0.0000025`."""
    return f"{Decimal(picodollars).scaleb(-12).normalize():f}"


class Usage(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Token counts of one answer, and what else of it is counted. Parts never exceed their whole.

    `prompt` includes cached and cache-write tokens, `completion` reasoning and citations. `cache_write_1h`: those of
    `cache_write` that are kept for an hour. `prompt_audio` … `completion_video`: those of `prompt`, `cached` and
    `completion` that are no text. `searches`: of the web. `audio_seconds`: heard, where that is what is billed.
    """

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    citation: int = 0
    prompt_audio: int = 0
    prompt_image: int = 0
    prompt_video: int = 0
    cached_audio: int = 0
    cached_image: int = 0
    cached_video: int = 0
    completion_audio: int = 0
    completion_image: int = 0
    completion_video: int = 0
    searches: int = 0
    audio_seconds: int = 0

    @property
    def has_media(self) -> bool:
        """Whether any of it is no text."""
        return bool(
            self.prompt_audio
            or self.prompt_image
            or self.prompt_video
            or self.completion_audio
            or self.completion_image
            or self.completion_video
        )


class Price(Struct, frozen=True, kw_only=True, omit_defaults=True, cache_hash=True):
    """What one token costs, in picodollars, by the names of `Usage`. `None`: this kind has no price of its own.

    Of text it costs as its whole then. Media without a price do so only if the price `covers_media`, else what they
    cost is unknown; so are searches and seconds. `request` is a flat price of each request. `source` says where the
    price comes from, for the receipt.
    Above `tier_from` prompt tokens (0: never) the whole answer is priced with `tier` instead.
    """

    prompt: int
    completion: int
    cached: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    citation: int | None = None
    prompt_audio: int | None = None
    prompt_image: int | None = None
    prompt_video: int | None = None
    cached_audio: int | None = None
    cached_image: int | None = None
    cached_video: int | None = None
    completion_audio: int | None = None
    completion_image: int | None = None
    completion_video: int | None = None
    search: int | None = None
    audio_second: int | None = None
    covers_media: bool = False
    request: int = 0
    source: str = ""
    tier_from: int = 0
    tier: Price | None = None


class Charge(Struct, frozen=True, kw_only=True, gc=False):
    """Money, in picodollars, in the parts that the wire shows. `total` is their sum."""

    prompt: int = 0  # uncached prompt tokens only
    completion: int = 0
    cached: int = 0
    cache_write: int = 0
    request: int = 0
    search: int = 0
    reported: int = 0  # what the provider itself named, where no price tells its parts

    @property
    def total(self) -> int:
        parts = self.prompt + self.completion + self.cached + self.cache_write
        return parts + self.request + self.search + self.reported
