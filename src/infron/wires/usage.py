"""Token counts of a provider in the names of the chat wire, which are the neutral ones.

It never knows how a provider names its counts, and never what a token costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def tokens(value: object) -> int | None:
    """A count of tokens, which some APIs write as a float; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**40:
        return None
    return int(value)


def count_in(values: Mapping[str, Any], name: str) -> int:
    """A member that is a count; 0 where there is none."""
    return tokens(values.get(name)) or 0


def usage_of(
    prompt: int,
    completion: int,
    cached: int | None = None,
    reasoning: int | None = None,
    written: int | None = None,
    written_1h: int = 0,
    total: int | None = None,
) -> dict[str, Any]:
    """`usage` as `UsageReported.raw` holds it; what is None was not told. `written`: to the cache, `_1h`: for an hour.

    `prompt` includes `cached` and `written`, `completion` includes `reasoning`. `total`: None, the two together.
    """
    usage: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion if total is None else total,
    }
    if cached is not None:
        usage["prompt_tokens_details"] = details = {"cached_tokens": cached}
        if written is not None:
            details["cache_write_tokens"] = written
        if written_1h:
            details["cache_write_1h_tokens"] = written_1h
    if reasoning is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return usage
