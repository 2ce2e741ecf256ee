"""Token counts and costs as providers tell them, made neutral; and neutral counts in the names of the chat API.

It never knows what a token costs, nor who pays for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, ValidationError, convert

from infron.catalog.definitions import AnswerQuirks, Provider
from infron.events import UsageReported
from infron.money import MEDIA, PICODOLLARS, Usage

MOST_TOKENS = 2**40  # what is above this is not a count
MOST_TIER = 40  # characters of a tier's name
MOST_USD = 10**6  # what is above this is not the cost of an answer


def tokens(value: object) -> int | None:
    """A count of tokens, which some APIs write as a float; None for what is none."""
    if type(value) is int:
        return value if 0 <= value <= MOST_TOKENS else None
    return tokens(int(value)) if isinstance(value, float) and value.is_integer() else None


def count_in(values: Mapping[str, Any], name: str) -> int:
    """A field that is a count; 0 where there is none."""
    return tokens(values.get(name)) or 0


def tier_of(value: object) -> str:
    """The name of a service tier; "" for what is none."""
    return value if isinstance(value, str) and len(value) <= MOST_TIER else ""


def usage_of(
    prompt: int,
    completion: int,
    *,
    cached: int = 0,
    written: int = 0,
    written_1h: int = 0,
    reasoning: int = 0,
    citation: int = 0,
    searches: int = 0,
    audio_seconds: int = 0,
    media: Mapping[str, int] | None = None,
) -> Usage:
    """Counts of which no part exceeds its whole. `written`: to the cache, `written_1h`: of that, for an hour.

    `prompt` includes `cached` and `written`, `completion` includes `reasoning` and `citation`. `media`: those that are
    no text, by their names in `Usage`.
    """
    cached = min(cached, prompt)
    written = min(written, prompt - cached)
    reasoning = min(reasoning, completion)
    citation = min(citation, completion - reasoning)
    further = _bounded(media, prompt - written, cached, completion - reasoning - citation) if media else {}
    return Usage(
        prompt=prompt,
        completion=completion,
        cached=cached,
        cache_write=written,
        cache_write_1h=min(written_1h, written),
        reasoning=reasoning,
        citation=citation,
        searches=searches,
        audio_seconds=audio_seconds,
        **further,
    )


def _bounded(media: Mapping[str, int], prompt: int, cached: int, completion: int) -> dict[str, int]:
    """Media that leave room for the text: of `prompt` that was not written to the cache, of `cached`, of `completion`.

    What of the cached tokens can be no text is media, of whichever kind, also where nobody says so.
    """
    found: dict[str, int] = {}
    room, said = prompt, completion
    for kind in MEDIA:
        found[f"prompt_{kind}"] = heard = min(media.get(f"prompt_{kind}", 0), room)
        found[f"completion_{kind}"] = told = min(media.get(f"completion_{kind}", 0), said)
        room, said = room - heard, said - told
    left = cached
    for kind in MEDIA:
        kept = min(media.get(f"cached_{kind}", 0), found[f"prompt_{kind}"], left)
        found[f"cached_{kind}"] = kept
        left -= kept
    for kind in MEDIA:
        more = min(left - room, found[f"prompt_{kind}"] - found[f"cached_{kind}"])
        if more > 0:
            found[f"cached_{kind}"] += more
            left -= more
    return found


# ---- the chat API's names

_NOTHING: dict[str, Any] = {}
_PLAIN = AnswerQuirks()
_MEDIA = tuple(f"{kind}_tokens" for kind in MEDIA)
_Count = Annotated[int, Meta(ge=0, le=MOST_TOKENS)]
_Zero = Literal[0] | None
# Names of the other counts, in `prompt_tokens_details`, `completion_tokens_details` and beside them.
_CACHED_BESIDE = ("prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens")
_WRITTEN_WITHIN = ("cache_write_tokens", "cache_creation_input_tokens")
_WRITTEN_BESIDE = ("cache_write_tokens",)
_WRITTEN_1H = ("cache_write_1h_tokens",)
_REASONING = ("reasoning_tokens",)
_CITATION = ("citation_tokens",)  # Perplexity: not among the completion tokens, nor are its reasoning tokens then
_SEARCHES = ("num_search_queries", "num_sources_used")  # Perplexity, xAI
_AUDIO_SECONDS = ("prompt_audio_seconds",)  # Mistral
_OF_MEDIA = tuple(zip(_MEDIA, MEDIA, strict=True))


class _PromptDetails(Struct, forbid_unknown_fields=True, gc=False):
    cached_tokens: _Count | None = None
    text_tokens: Any = None
    audio_tokens: _Zero = None
    image_tokens: _Zero = None
    video_tokens: _Zero = None


class _AnswerDetails(Struct, gc=False):
    reasoning_tokens: _Count | None = None
    audio_tokens: _Zero = None
    image_tokens: _Zero = None
    video_tokens: _Zero = None


class _Report(Struct, gc=False):
    """A usage report as nearly all are: of text alone, and of counts that are some."""

    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _AnswerDetails | None = None

    def usage(self) -> Usage | None:
        if self.prompt_tokens is None and self.completion_tokens is None:
            return None
        prompt, completion = self.prompt_tokens or 0, self.completion_tokens or 0
        details, said = self.prompt_tokens_details, self.completion_tokens_details
        cached = (details.cached_tokens if details else 0) or 0
        reasoning = (said.reasoning_tokens if said else 0) or 0
        return Usage(
            prompt=prompt, completion=completion, cached=min(cached, prompt), reasoning=min(reasoning, completion)
        )


_USUAL = frozenset((*_Report.__struct_fields__, "total_tokens", "cost", "cost_details"))


def report_of(
    raw: object, provider: Provider, headers: Iterable[tuple[bytes, bytes]] = (), tier: object = ""
) -> UsageReported | None:
    """A `usage` object of the chat API as an event; None if it counts nothing.

    `headers`: those of the answer. `tier`: `service_tier` beside it.
    """
    quirks = provider.quirks.answer
    usage = read_usage(raw, quirks, headers)
    if usage is None or not isinstance(raw, dict):
        return None
    return UsageReported(usage, raw, cost_in(raw, quirks) if quirks.cost_path else None, tier_of(tier))


def read_usage(raw: object, quirks: AnswerQuirks = _PLAIN, headers: Iterable[tuple[bytes, bytes]] = ()) -> Usage | None:
    """A `usage` object of the chat API as counts; None if it counts nothing.

    What is not a count (negative, text, a fraction, absurdly large) is taken for absent. `headers`: those of the
    answer, lower-case names, for providers that count cached tokens there.
    """
    if not isinstance(raw, dict):
        return None
    if raw.keys() <= _USUAL and not (quirks.cached_header or quirks.usage_excludes_reasoning):
        try:
            return convert(raw, _Report).usage()
        except ValidationError:
            pass
    return _read_all(raw, quirks, headers)


def _read_all(raw: dict[str, Any], quirks: AnswerQuirks, headers: Iterable[tuple[bytes, bytes]]) -> Usage | None:
    """A report that says more than most do: the same, whatever stands in it."""
    prompt, completion = tokens(raw.get("prompt_tokens")), tokens(raw.get("completion_tokens"))
    if prompt is None and completion is None:
        return None
    prompt, completion = prompt or 0, completion or 0
    details = raw.get("prompt_tokens_details") or raw.get("prompt_token_details")
    if not isinstance(details, dict):
        details = _NOTHING
    said = raw.get("completion_tokens_details")
    if not isinstance(said, dict):
        said = _NOTHING
    cached, reasoning = tokens(details.get("cached_tokens")), tokens(said.get("reasoning_tokens"))
    if cached is None:
        cached = _first(raw, _CACHED_BESIDE)
    if reasoning is None:
        reasoning = _first(raw, _REASONING) or 0
    cached = cached or (_counted_in(headers, quirks.cached_header) if quirks.cached_header else 0)
    citation = _first(raw, _CITATION) or 0
    if citation:
        completion += citation + reasoning
    if quirks.usage_excludes_reasoning:
        if prompt + completion != tokens(raw.get("total_tokens")):
            completion += reasoning
        if cached > prompt:  # then they were left out of it
            prompt += cached
    tools = raw.get("server_tool_use")
    return usage_of(
        prompt,
        completion,
        cached=cached,
        written=_first(details, _WRITTEN_WITHIN) or _first(raw, _WRITTEN_BESIDE) or 0,
        written_1h=_first(details, _WRITTEN_1H) or 0,
        reasoning=reasoning,
        citation=citation,
        searches=count_in(tools, "web_search_requests") if isinstance(tools, dict) else _first(raw, _SEARCHES) or 0,
        audio_seconds=_first(raw, _AUDIO_SECONDS) or 0,
        media=_media_in(details, said),
    )


def _media_in(prompt: dict[str, Any], completion: dict[str, Any]) -> dict[str, int]:
    """The counts of media in the details of each side, by their names in `Usage`; those that are not zero."""
    cached = prompt.get("cached_tokens_details")
    return {
        f"{side}_{kind}": count
        for side, details in (("prompt", prompt), ("cached", cached), ("completion", completion))
        if isinstance(details, dict)
        for name, kind in _OF_MEDIA
        if name in details and (count := tokens(details[name]))
    }


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
    prompt: dict[str, Any] = {}
    completion: dict[str, Any] = {}
    if usage.cached:
        prompt["cached_tokens"] = usage.cached
    if usage.cache_write:
        prompt["cache_write_tokens"] = usage.cache_write
    if usage.cache_write_1h:
        prompt["cache_write_1h_tokens"] = usage.cache_write_1h
    if usage.reasoning:
        completion["reasoning_tokens"] = usage.reasoning
    if usage.has_media:
        prompt |= _media_of(usage, "prompt")
        completion |= _media_of(usage, "completion")
        if cached := _media_of(usage, "cached"):
            prompt["cached_tokens_details"] = cached
    if prompt:
        told["prompt_tokens_details"] = prompt
    if completion:
        told["completion_tokens_details"] = completion
    if usage.searches:
        told["server_tool_use"] = {"web_search_requests": usage.searches}
    return told


def _media_of(usage: Usage, side: str) -> dict[str, int]:
    """The counts of media of one side, those that are not zero."""
    return {name: count for name, kind in _OF_MEDIA if (count := getattr(usage, f"{side}_{kind}"))}


def _first(counts: dict[str, Any], names: Iterable[str]) -> int | None:
    for name in names:
        if name in counts and (count := tokens(counts[name])) is not None:
            return count
    return None


def _counted_in(headers: Iterable[tuple[bytes, bytes]], name: str) -> int:
    """A count that a header of the answer tells; 0 where it tells none."""
    wanted = name.encode("latin-1")
    text = next((value for header, value in headers if header == wanted), b"")
    return int(text) if text.isdigit() and len(text) < 13 else 0
