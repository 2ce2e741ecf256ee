"""Errors on the OpenAI chat wire: a provider's, whatever their shape, as ours; and ours as clients know them.

It never decides what is done about an error, and never lets a key through.
"""

from __future__ import annotations

import email.utils
import json
import math
from typing import Any

import msgspec

from infron.catalog.definitions import Provider
from infron.errors import InfronError, ProviderError, ProviderMisconfigured

Headers = list[tuple[bytes, bytes]]  # names in lower case

_encode = msgspec.json.Encoder().encode

_TYPE_OF_STATUS = {
    400: "invalid_request",
    403: "permission_denied",
    404: "not_found",
    408: "timeout",
    409: "conflict",
    412: "precondition_failed",
    413: "payload_too_large",
    422: "unprocessable",
    429: "rate_limit_exceeded",
    500: "server",
    502: "provider_unavailable",
    503: "provider_overloaded",
    504: "timeout",
    529: "provider_overloaded",
}
# Codes that say more than the status, and are passed on as the type.
_TYPED = frozenset(
    (
        "content_policy_violation",
        "context_length_exceeded",
        "image_too_large",
        "image_too_small",
        "invalid_image",
        "invalid_prompt",
        "max_tokens_exceeded",
        "string_too_long",
        "token_limit_exceeded",
        "unsupported_image_format",
    )
)
# What an error inside a stream means where it names no status.
_STATUS_OF_CODE = {
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "overloaded_error": 503,
    "service_unavailable": 503,
    "timeout": 504,
    # Anthropic's
    "api_error": 500,
    "billing_error": 402,
    "request_too_large": 413,
    "timeout_error": 504,
    # Google's, of google.rpc.Code
    "DEADLINE_EXCEEDED": 504,
    "FAILED_PRECONDITION": 400,
    "INTERNAL": 500,
    "INVALID_ARGUMENT": 400,
    "NOT_FOUND": 404,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "UNAUTHENTICATED": 401,
    "UNAVAILABLE": 503,
}
_MODERATION = ("moderation", "content_policy", "content_filter", "flagged", "safety")
_NO_MONEY = (
    "insufficient_quota",
    "insufficient_balance",
    "insufficient balance",
    "billing_hard_limit_reached",
    "daily free allocation",
)
# What a 400 says where it means the operator's key or account, in the words of Google and xAI.
_REFUSED = ("api key not valid", "api key expired", "incorrect api key", "user location is not supported")
_TOO_LONG = (
    "context length",
    "context window",
    "exceed context limit",
    "input is too long",
    "prompt is too long",
    "too many input tokens",
)
_RETRIABLE = frozenset((404, 408, 409, 429))


def parse_error(
    status: int, headers: Headers, body: bytes, provider: Provider, key: str = "", now: float = 0.0
) -> InfronError:
    """A provider's error as ours. `status` below 400: it stood in a stream or in an answer that was no stream.

    `key` is never repeated. `now` (unix s) is what a date in retry-after is relative to.
    """
    message, code = _said(body)
    if status < 400:
        status = _status_of(code)
    words = f"{code} {message}".lower()
    refused = status == 400 and any(word in words for word in _REFUSED)
    if status in (401, 402) or refused or (status == 403 and not any(word in words for word in _MODERATION)):
        what = {401: "refused the gateway's API key", 402: "says that the account has no credit"}.get(
            status, "refused the gateway's account"
        )
        return ProviderMisconfigured(
            f"{provider.name} {what} (HTTP {status}). The operator of this gateway must mend it.",
            provider=provider.id,
            provider_status=status,
        )
    named = without_key(str(code), key)[:100] if code not in (None, "", status, str(status)) else ""
    known = _TYPE_OF_STATUS.get(status) or _TYPE_OF_STATUS.get(status // 100 * 100, "unmapped")
    error = ProviderError(
        without_key(message, key)[:2000] or f"{provider.name} answered with HTTP {status} and no message.",
        status=status,
        error_type=named if named in _TYPED else known,
        safe_to_retry=status in _RETRIABLE or status >= 500,
        provider=provider.id,
        retry_after=_retry_after(headers, now),
        **({"provider_code": named} if named else {}),
    )
    if any(word in words for word in _NO_MONEY):
        error.should_retry = False
    return error


def says_too_long(error: InfronError) -> bool:
    """Whether a host says in its own words that the prompt is longer than what its model reads."""
    return error.status in (400, 413) and any(words in error.message.lower() for words in _TOO_LONG)


def _status_of(code: str | int | None) -> int:
    if isinstance(code, str):
        code = int(code) if code.isascii() and code.isdigit() and len(code) < 5 else _STATUS_OF_CODE.get(code)
    return code if code is not None and 400 <= code < 600 else 502


def without_key(text: str, key: str) -> str:
    """What a provider said, without our key, and without halves of surrogate pairs, which no encoder takes."""
    text = text.encode("utf-8", "replace").decode()
    return text.replace(key, "[key]") if key else text


_PLACES = ("error", "errors", "detail", "fault", "base_resp", "message", "reason")
_TEXTS = ("message", "msg", "faultstring", "status_msg", "detail", "error")
_CODES = ("code", "type", "status_code", "status")


def _said(body: bytes) -> tuple[str, str | int | None]:
    """The message and the code of an error body: all shapes that were met, and plain text."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        text = body.decode("utf-8", "replace").strip()
        return ("" if text[:1] == "<" else text[:300]), None
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, str):
        return value, None
    if not isinstance(value, dict):
        return "", None
    code = _code(value, ("code", "status_code"))
    for place in _PLACES:
        inner = value.get(place)
        if isinstance(inner, list) and inner:
            inner = inner[0]
        if isinstance(inner, dict):
            code = _code(inner, _CODES) or code
            inner = next((inner[name] for name in _TEXTS if isinstance(inner.get(name), str) and inner[name]), "")
        if isinstance(inner, str) and inner:
            return inner, code
        if isinstance(inner, int) and not isinstance(inner, bool):
            code = inner
    return "", code


def _code(value: dict[str, Any], names: tuple[str, ...]) -> str | int | None:
    found = (value.get(name) for name in names)
    return next((code for code in found if code and isinstance(code, str | int) and code is not True), None)


def _retry_after(headers: Headers, now: float) -> float | None:
    """Seconds to wait: the first of retry-after-ms and retry-after (seconds or a date) that can be read."""
    found = dict(headers)
    for name, scale in ((b"retry-after-ms", 1000.0), (b"retry-after", 1.0)):
        raw = found.get(name, b"").decode("latin-1").strip()
        if not raw:
            continue
        try:
            seconds = float(raw) / scale
        except ValueError:
            seconds = _until(raw, now)
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    return None


def _until(date: str, now: float) -> float:
    try:
        when = email.utils.parsedate_tz(date)
        return email.utils.mktime_tz(when) - now if when else math.nan
    except (ValueError, OverflowError, TypeError, IndexError):
        return math.nan


def error_object(error: InfronError) -> dict[str, Any]:
    """The `error` member of a body or a frame."""
    metadata = {"error_type": error.error_type, **error.metadata}
    if error.provider:
        metadata["provider"] = error.provider
    if error.retry_after is not None:
        metadata["retry_after"] = error.retry_after
    return {
        "code": error.status,
        "message": error.message,
        "type": error.error_type,
        "param": error.param,
        "metadata": metadata,
    }


def render_error(error: InfronError) -> bytes:
    """The body of an HTTP error."""
    return _encode({"error": error_object(error)})
