"""Usage, prices and charges as any provider, list or definition may give them: strategies for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from infron.money import Price, Usage

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
        request=AMOUNTS,
        tier_from=st.integers(0, 10**6),
        tier=st.none() | PRICES,
    )
)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    prompt, completion = draw(st.integers(0, 10**7)), draw(st.integers(0, 10**7))
    cached = draw(st.integers(0, prompt))
    write = draw(st.integers(0, prompt - cached))
    hour = draw(st.integers(0, write))
    reasoning = draw(st.integers(0, completion))
    return Usage(
        prompt=prompt,
        completion=completion,
        cached=cached,
        cache_write=write,
        cache_write_1h=hour,
        reasoning=reasoning,
    )
