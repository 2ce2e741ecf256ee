"""Usage, prices and charges as any provider, list or definition may give them: strategies for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from infron.money import MEDIA, Price, Usage
from infron.wires.usage import usage_of

AMOUNTS = st.integers(0, 10**9)
PRICES: st.SearchStrategy[Price] = st.deferred(
    lambda: st.builds(
        Price,
        prompt=AMOUNTS,
        completion=AMOUNTS,
        cached=st.none() | AMOUNTS,
        cache_write=st.none() | AMOUNTS,
        cache_write_1h=st.none() | AMOUNTS,
        reasoning=st.none() | AMOUNTS,
        citation=st.none() | AMOUNTS,
        **{f"{side}_{kind}": st.none() | AMOUNTS for side in ("prompt", "cached", "completion") for kind in MEDIA},
        search=st.none() | AMOUNTS,
        audio_second=st.none() | AMOUNTS,
        covers_media=st.booleans(),
        request=AMOUNTS,
        tier_from=st.integers(0, 10**6),
        tier=st.none() | PRICES,
    )
)


@st.composite
def usages(draw: st.DrawFn, media: bool = False) -> Usage:
    """What a provider may report; with `media`, of all kinds, and searches."""
    prompt, completion = draw(st.integers(0, 10**7)), draw(st.integers(0, 10**7))
    cached = draw(st.integers(0, prompt))
    write = draw(st.integers(0, prompt - cached))
    names = [f"{side}_{kind}" for side in ("prompt", "cached", "completion") for kind in MEDIA] if media else []
    return usage_of(
        prompt,
        completion,
        cached=cached,
        written=write,
        written_1h=draw(st.integers(0, write)),
        reasoning=draw(st.integers(0, completion)),
        citation=draw(st.integers(0, 10**6)) if media else 0,
        searches=draw(st.integers(0, 5)) if media else 0,
        audio_seconds=draw(st.integers(0, 5)) if media else 0,
        media={name: draw(st.integers(0, 10**6)) for name in names},
    )
