"""Token counts and costs as providers tell them, made neutral; and neutral counts in the names of the chat API.

It never knows what a token costs, nor who pays for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from infron.catalog.definitions import AnswerQuirks, Provider
from infron.events import UsageReported
from infron.money import PICODOLLARS, Usage

MOST_TOKENS = 2**40  # what is above this is not a count
MOST_USD = 10**6  # what is above this is not the cost of an answer


def tokens(value: object) -> int | None:
    """A count of tokens, which some APIs write as a float; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MOST_TOKENS:
        return None
    return int(value)


def count_in(values: Mapping[str, Any], name: str) -> int:
    """A member that is a count; 0 where there is none."""
    return tokens(values.get(name)) or 0


def usage_of(
    prompt: int, completion: int, *, cached: int = 0, written: int = 0, written_1h: int = 0, reasoning: int = 0
) -> Usage:
    """Counts of which no part exceeds its whole. `written`: to the cache, `written_1h`: of that, for an hour.

    `prompt` includes `cached` and `written`, `completion` includes `reasoning`.
    """
    cached = min(cached, prompt)
    written = min(written, prompt - cached)
    return Usage(
        prompt=prompt,
        completion=completion,
        cached=cached,
        cache_write=written,
        cache_write_1h=min(written_1h, written),
        reasoning=min(reasoning, completion),
    )


# ---- the chat API's names

_NOTHING: dict[str, Any] = {}
_PLAIN = AnswerQuirks()
_WITHOUT_DETAILS = frozenset(("prompt_tokens", "completion_tokens", "total_tokens"))
# Names of the other counts, in `prompt_tokens_details`, `completion_tokens_details` and beside them.
_CACHED_WITHIN = ("cached_tokens",)
_CACHED_BESIDE = ("prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens")
_WRITTEN_WITHIN = ("cache_write_tokens", "cache_creation_input_tokens")
_WRITTEN_BESIDE = ("cache_write_tokens",)
_WRITTEN_1H = ("cache_write_1h_tokens",)
_REASONING = ("reasoning_tokens",)


def report_of(raw: object, provider: Provider, headers: Iterable[tuple[bytes, bytes]] = ()) -> UsageReported | None:
    """A `usage` object of the chat API as an event; None if it counts nothing. `headers`: those of the answer."""
    quirks = provider.quirks.answer
    usage = read_usage(raw, quirks, headers)
    if usage is None or not isinstance(raw, dict):
        return None
    return UsageReported(usage, raw, cost_in(raw, quirks) if quirks.cost_path else None)


def read_usage(raw: object, quirks: AnswerQuirks = _PLAIN, headers: Iterable[tuple[bytes, bytes]] = ()) -> Usage | None:
    """A `usage` object of the chat API as counts; None if it counts nothing.

    What is not a count (negative, text, a fraction, absurdly large) is taken for absent. `headers`: those of the
    answer, lower-case names, for providers that count cached tokens there.
    """
    if not isinstance(raw, dict):
        return None
    prompt, completion = _count(raw.get("prompt_tokens")), _count(raw.get("completion_tokens"))
    if prompt is None and completion is None:
        return None
    prompt, completion = prompt or 0, completion or 0
    if raw.keys() <= _WITHOUT_DETAILS and not quirks.cached_header:
        return Usage(prompt=prompt, completion=completion)
    details = raw.get("prompt_tokens_details") or raw.get("prompt_token_details")
    if not isinstance(details, dict):
        details = _NOTHING
    cached = _first(details, _CACHED_WITHIN)
    if cached is None:
        cached = _first(raw, _CACHED_BESIDE)
    thoughts = raw.get("completion_tokens_details")
    reasoning = _first(thoughts, _REASONING) if isinstance(thoughts, dict) else None
    if reasoning is None:
        reasoning = _first(raw, _REASONING) or 0
    cached = cached or (_counted_in(headers, quirks.cached_header) if quirks.cached_header else 0)
    if quirks.usage_excludes_reasoning:
        if prompt + completion != _count(raw.get("total_tokens")):
            completion += reasoning
        if cached > prompt:  # then they were left out of it
            prompt += cached
    return usage_of(
        prompt,
        completion,
        cached=cached,
        written=_first(details, _WRITTEN_WITHIN) or _first(raw, _WRITTEN_BESIDE) or 0,
        written_1h=_first(details, _WRITTEN_1H) or 0,
        reasoning=reasoning,
    )


def cost_in(raw: object, quirks: AnswerQuirks) -> int | None:
    """What the provider says in its usage that the answer costs us, in picodollars; None where it says nothing."""
    value = raw
    for name in quirks.cost_path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    amount = Decimal(str(value)) / quirks.cost_per_usd
    if not amount.is_finite() or not 0 <= amount <= MOST_USD:
        return None
    return int((amount * PICODOLLARS).to_integral_value())


def chat_usage(usage: Usage) -> dict[str, Any]:
    """Counts in the names of the chat API; of their parts those that are not zero."""
    told: dict[str, Any] = {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
    }
    parts = {
        "cached_tokens": usage.cached,
        "cache_write_tokens": usage.cache_write,
        "cache_write_1h_tokens": usage.cache_write_1h,
    }
    if details := {name: count for name, count in parts.items() if count}:
        told["prompt_tokens_details"] = details
    if usage.reasoning:
        told["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return told


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else None


def _first(counts: dict[str, Any], names: Iterable[str]) -> int | None:
    for name in names:
        if name in counts and (count := _count(counts[name])) is not None:
            return count
    return None


def _counted_in(headers: Iterable[tuple[bytes, bytes]], name: str) -> int:
    """A count that a header of the answer tells; 0 where it tells none."""
    wanted = name.encode("latin-1")
    text = next((value for header, value in headers if header == wanted), b"")
    return int(text) if text.isdigit() and len(text) < 13 else 0
