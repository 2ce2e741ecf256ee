"""What Gemini's frames count: tokens of each modality, and searches of the web.

It never knows what else a frame says.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from msgspec import Raw, Struct

from infron.events import UsageReported
from infron.money import MEDIA
from infron.wires import lenient_json
from infron.wires.errors import Headers
from infron.wires.lenient_json import dicts_in
from infron.wires.usage import count_in, tier_of, tokens, usage_of

MOST_KEPT = 1_000  # bytes of a list of counts
MOST_SEARCHES = 1_000


class UsageMetadata(Struct, gc=False):
    promptTokenCount: Any = None
    toolUsePromptTokenCount: Any = None
    candidatesTokenCount: Any = None
    thoughtsTokenCount: Any = None
    cachedContentTokenCount: Any = None
    promptTokensDetails: Raw = Raw(b"")
    toolUsePromptTokensDetails: Raw = Raw(b"")
    cacheTokensDetails: Raw = Raw(b"")
    candidatesTokensDetails: Raw = Raw(b"")
    trafficType: Any = None


_COUNTS = tuple(name for name in UsageMetadata.__struct_fields__ if name.endswith("Count"))
# Lists of counts by modality -> the side of `money.Usage` to whose media they count.
_DETAILS = (
    ("promptTokensDetails", "prompt"),
    ("toolUsePromptTokensDetails", "prompt"),
    ("cacheTokensDetails", "cached"),
    ("candidatesTokensDetails", "completion"),
)


class Counts:
    """Of one answer. Counts are cumulative, and the latest of each stands: Vertex AI tells most at the end only."""

    def __init__(self) -> None:
        self._tokens: dict[str, int] = {}
        self._media: dict[str, int] = {}
        self._searches: set[str] = set()
        self._tier: str | None = None

    def add(self, usage: UsageMetadata, model: Any, headers: Headers) -> UsageReported | None:
        """All that is known now; None where the frame counts nothing. `model`: as the frame names it.

        `headers`: those of the answer, where Google AI Studio names the tier; Vertex AI does in `trafficType`.
        """
        counts = self._tokens
        told = {name: count for name in _COUNTS if (count := tokens(getattr(usage, name))) is not None}
        counts.update(told)
        self._media.update(_media_of(usage))
        if not told:
            return None
        get = counts.get
        thinking = get("thoughtsTokenCount", 0)
        one = str(model).startswith(("gemini-1", "gemini-2"))  # all searches of an answer are billed as one there
        return UsageReported(
            usage_of(
                get("promptTokenCount", 0) + get("toolUsePromptTokenCount", 0),
                get("candidatesTokenCount", 0) + thinking,
                cached=get("cachedContentTokenCount", 0),
                reasoning=thinking,
                searches=min(len(self._searches), 1) if one else len(self._searches),
                media=self._media,
            ),
            tier=self._tier_of(usage, headers),
        )

    def _tier_of(self, usage: UsageMetadata, headers: Headers) -> str:
        if usage.trafficType.__class__ is str:
            self._tier = _TIERS.get(usage.trafficType, "")
        elif self._tier is None:
            self._tier = _tier_in(headers)
        return self._tier or ""

    def add_searches(self, queries: Any) -> None:
        """Each search once: since Gemini 3 they are billed one by one. (Pricing, "Grounding", 2026-11)"""
        if isinstance(queries, list) and len(self._searches) < MOST_SEARCHES:
            self._searches.update(query[:200] for query in queries[:MOST_SEARCHES] if isinstance(query, str) and query)


_TIERS = {"ON_DEMAND": "default", "ON_DEMAND_PRIORITY": "priority", "ON_DEMAND_FLEX": "flex"}


def _tier_in(headers: Headers) -> str:
    told = next((value for name, value in headers if name == b"x-gemini-service-tier"), b"").decode("latin-1").lower()
    return tier_of("default" if told == "standard" else told)


def _media_of(usage: UsageMetadata) -> dict[str, int]:
    """The counts of what is no text, by their names in `money.Usage`. Documents are read as text."""
    found: dict[str, int] = {}
    for name, side in _DETAILS:
        raw = bytes(getattr(usage, name))
        if raw:
            for kind, count in _seen_media(raw) if len(raw) < MOST_KEPT else _media_in(raw):
                found[f"{side}_{kind}"] = found.get(f"{side}_{kind}", 0) + count
    return found


def _media_in(raw: bytes) -> tuple[tuple[str, int], ...]:
    details = dicts_in({"": lenient_json.value_of(raw)}, "")
    told = ((str(detail.get("modality")).lower(), count_in(detail, "tokenCount")) for detail in details)
    return tuple((kind, count) for kind, count in told if kind in MEDIA and count)


_seen_media = lru_cache(256)(_media_in)  # each frame of an answer repeats those of the prompt
