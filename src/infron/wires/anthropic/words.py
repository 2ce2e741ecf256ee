"""The words of Anthropic's Messages wire beside those of the chat wire: stop reasons, token counts, citations, errors.

It never knows in which frame a word came, nor what was said before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from infron.conversation import CLAUDE
from infron.errors import InfronError
from infron.money import Usage
from infron.wires.lenient_json import dict_in, dicts_in
from infron.wires.usage import count_in, tier_of, tokens, usage_of

# ---- stop reasons

# What the model says -> what is said of it. Others are `stop`: new ones end an answer too.
REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "compaction": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
# Words of the chat API, which hosts of this one have been seen to say.
FOREIGN_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


def stop_reason(reason: str, native: str) -> str:
    """`native` where it is a word of this wire and means the same."""
    return native if REASONS.get(native) == reason else _STOPS.get(reason, "end_turn")


# ---- thinking of other models

# The API has no place for whose thinking it is: a signature, or encrypted data, of another model begins with that.
# Claude's own are base64, which has no colon.
_FOREIGN = re.compile(r"([a-z0-9]+(?:-[a-z0-9]+)*-v\d+(?::call)?):(.*)", re.DOTALL)


def marked(proof: str, format: str) -> str:
    """A signature or encrypted data as a client of this API gets it."""
    return f"{format}:{proof}" if proof and format not in ("", CLAUDE) else proof


def unmarked(proof: str) -> tuple[str, str]:
    """The same as it was, and whose it is."""
    if found := _FOREIGN.fullmatch(proof):
        return found[2], found[1]
    return proof, CLAUDE if proof else ""


# ---- token counts

# Of `usage`, and what they have to be to say anything.
_MEMBERS: dict[str, type] = {
    "cache_creation": dict,
    "output_tokens_details": dict,
    "server_tool_use": dict,
    "iterations": list,
    "service_tier": str,
    "speed": str,
}
_COUNTS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def merge_usage(into: dict[str, Any], usage: object) -> bool:
    """Counts are totals so far: a later one replaces, and what a later report leaves out stays. Whether it had any."""
    if not isinstance(usage, dict):
        return False
    found: dict[str, Any] = {name: usage[name] for name, kind in _MEMBERS.items() if type(usage.get(name)) is kind}
    found.update({name: count for name in _COUNTS if (count := tokens(usage.get(name))) is not None})
    into.update(found)
    return bool(found)


def counts_of(usage: Mapping[str, Any]) -> Usage:
    """`usage` as counts: the prompt with what was read from and written to the cache.

    Where the prompt was compacted on the way the root counts the last step only, `iterations` all of them; where
    another model stepped in it is the root that is billed.
    """
    steps = dicts_in(usage, "iterations")
    billed: list[Mapping[str, Any]] = [step for step in steps if step.get("type") in ("message", "compaction")]
    if not billed or any(step.get("type") == "fallback_message" for step in steps):
        billed = [usage]
    read, written = _sum(billed, "cache_read_input_tokens"), _sum(billed, "cache_creation_input_tokens")
    completion = _sum(billed, "output_tokens")
    hour = _sum((dict_in(step, "cache_creation") for step in billed), "ephemeral_1h_input_tokens")
    thinking = count_in(dict_in(usage, "output_tokens_details"), "thinking_tokens")
    return usage_of(
        _sum(billed, "input_tokens") + read + written,
        completion,
        cached=read,
        written=written,
        written_1h=hour,
        reasoning=thinking,
        searches=count_in(dict_in(usage, "server_tool_use"), "web_search_requests"),
    )


def tier_served(usage: Mapping[str, Any]) -> str:
    """The tier of `usage` in the words of the chat API; fast mode, which has prices of its own, comes first."""
    tier = "fast" if usage.get("speed") == "fast" else usage.get("service_tier")
    return tier_of("default" if tier == "standard" else tier)


def messages_usage(usage: Usage) -> dict[str, Any]:
    """Counts in the names of this API: `input_tokens` without what the cache had or got."""
    written, hour = usage.cache_write, usage.cache_write_1h
    told: dict[str, Any] = {
        "input_tokens": usage.prompt - usage.cached - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": written - hour, "ephemeral_1h_input_tokens": hour},
        "output_tokens": usage.completion,
    }
    if usage.reasoning:
        told["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    if usage.searches:
        told["server_tool_use"] = {"web_search_requests": usage.searches}
    return told


def _sum(steps: Iterable[Mapping[str, Any]], name: str) -> int:
    return sum(count_in(step, name) for step in steps)


# ---- citations


def annotation_of(citation: Mapping[str, Any]) -> dict[str, Any]:
    """A page of the web as the chat wire's `url_citation`; a place in a document as it is, for the wire has none."""
    if citation.get("type") != "web_search_result_location":
        return {"type": "file_citation", "file_citation": dict(citation)}
    found = {"url": citation.get("url"), "title": citation.get("title"), "content": citation.get("cited_text")}
    return {"type": "url_citation", "url_citation": {name: value for name, value in found.items() if value}}


_PLACES = ("char_location", "page_location", "content_block_location", "search_result_location")


def citation_of(annotation: Mapping[str, Any]) -> dict[str, Any] | None:
    """The other way; None for what is neither."""
    inner = annotation.get(str(annotation.get("type")))
    if not isinstance(inner, dict):
        return None
    if annotation["type"] == "file_citation":
        return inner if inner.get("type") in _PLACES else None
    if annotation["type"] != "url_citation":
        return None
    # Its index is encrypted, and we have none: a client that sends it back has to leave it out.
    found = {"url": inner.get("url") or "", "title": inner.get("title") or "", "cited_text": inner.get("content") or ""}
    return {"type": "web_search_result_location", **found, "encrypted_index": ""}


# ---- errors

_ERROR_TYPES = {
    "authentication": "authentication_error",
    "not_found": "not_found_error",
    "overloaded": "overloaded_error",
    "payload_too_large": "request_too_large",
    "payment_required": "billing_error",
    "permission_denied": "permission_error",
    "provider_closed": "not_found_error",
    "provider_overloaded": "overloaded_error",
    "rate_limit_exceeded": "rate_limit_error",
    "shutting_down": "overloaded_error",
    "timeout": "timeout_error",
}


_TOO_LONG = "prompt is too long"  # the words by which clients of this API know it: it has no code


def error_object(error: InfronError, message: str = "") -> dict[str, Any]:
    """The body of an HTTP error, and the data of an `error` event. `message`: another one than the error's own."""
    other = "invalid_request_error" if error.status < 500 else "api_error"
    message = message or error.message
    if error.error_type == "context_length_exceeded" and _TOO_LONG not in message.lower():
        message = f"{_TOO_LONG}: {message}"
    said = {"type": _ERROR_TYPES.get(error.error_type, other), "message": message}
    if (details := error.metadata.get("details")) is not None:
        said["details"] = details
    told: dict[str, Any] = {"type": "error", "error": said}
    return {**told, "request_id": error.exchange} if error.exchange else told
