"""Errors on the OpenAI chat wire: a provider's, whatever their shape, as ours; and ours as clients know them.

It never decides what is done about an error, and never lets a key through.
"""

from __future__ import annotations

import email.utils
import json
import math
from typing import Any, NamedTuple

import msgspec

from infron.catalog.definitions import Provider
from infron.errors import InfronError, ProviderError, ProviderMisconfigured, ProviderUnavailable
from infron.request import Headers as Headers
from infron.wires.wordings import says_too_long

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
TOO_LONG = "context_length_exceeded"
# Codes that say more than the status, and are passed on as the type.
_TYPED = frozenset(
    (
        "content_policy_violation",
        TOO_LONG,
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
    TOO_LONG: 400,
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
# Statuses that are about something else than the request's length, whatever the words.
_NOT_LENGTH = frozenset((401, 402, 403, 404, 408, 409, 429))
_RETRIABLE = frozenset((404, 408, 409, 429))


def parse_error(
    status: int, headers: Headers, body: bytes, provider: Provider, key: str = "", now: float = 0.0
) -> InfronError:
    """A provider's error as ours. `status` below 400: it stood in a stream or in an answer that was no stream.

    `key` is never repeated. `now` (unix s) is what a date in retry-after is relative to.
    """
    said = _said(body)
    code, message = said.code, without_key(said.message, key)
    if status < 400:
        status = _status_of(code)
    words = f"{code} {message}".lower()
    refused = status == 400 and any(word in words for word in _REFUSED)
    if status in (401, 402) or refused or (status == 403 and not any(word in words for word in _MODERATION)):
        what = {401: "refused the gateway's API key", 402: "says that the account has no credit"}.get(
            status, "refused the gateway's account"
        )
        return ProviderMisconfigured(
            f"{provider.name} {what} (HTTP {status}). The operator of this gateway must repair it.",
            provider=provider.id,
            provider_status=status,
        )
    named = without_key(str(code), key)[:100] if code not in (None, "", status, str(status)) else ""
    word = without_key(said.word, key)[:100]
    kind = named if named in _TYPED else ""
    if status not in _NOT_LENGTH and says_too_long(named, message):
        status, kind, word = 400, TOO_LONG, TOO_LONG
    error = ProviderError(
        message[: said.most] or f"{provider.name} answered with HTTP {status} and no message.",
        status=status,
        error_type=kind or _TYPE_OF_STATUS.get(status) or _TYPE_OF_STATUS.get(status // 100 * 100, "unmapped"),
        safe_to_retry=status in _RETRIABLE or status >= 500,
        code=word or kind or None,
        param=without_key(said.param, key)[:200] or None,
        provider=provider.id,
        retry_after=_retry_after(headers, now),
        **({"provider_code": named} if named else {}),
    )
    if any(word in words for word in _NO_MONEY):
        error.should_retry = False
    return error


def _status_of(code: str | int | None) -> int:
    if isinstance(code, str):
        code = int(code) if code.isascii() and code.isdigit() and len(code) < 5 else _STATUS_OF_CODE.get(code)
    return code if code is not None and 400 <= code < 600 else 502


def without_key(text: str, key: str) -> str:
    """What a provider said, without our key, and without halves of surrogate pairs, which no encoder takes.

    A text is cut only afterwards: half of a key is none that would be found. What stands for a key where none is needed
    (`none`, `EMPTY`, `whatever`) is left, for it is a word like others.
    """
    text = text.encode("utf-8", "replace").decode()
    secret = len(key) >= 16 or (len(key) >= 8 and not key.isalpha())
    return text.replace(key, "[key]") if secret else text


_PLACES = ("error", "errors", "detail", "fault", "base_resp", "message", "msg", "reason")
_TEXTS = ("message", "msg", "faultstring", "status_msg", "detail", "error")
_CODES = ("code", "type", "status_code", "status")


class _Said(NamedTuple):
    """`code`: whatever tells what it is. `word`: the same where it is a code in words. `param`: the field it is about.

    `most`: characters of the message that are passed on.
    """

    message: str = ""
    code: str | int | None = None
    word: str = ""
    param: str = ""
    most: int = 2000


def _said(body: bytes) -> _Said:
    """What an error body says: all shapes that were met, and plain text."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        text = body.decode("utf-8", "replace").strip()
        return _Said() if text[:1] == "<" else _Said(text, most=300)
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, str):
        return _Said(value)
    if not isinstance(value, dict):
        return _Said()
    code = _code(value, ("code", "status_code"))
    for place in _PLACES:
        inner, about = value.get(place), value
        if isinstance(inner, list) and inner:
            inner = inner[0]
        if isinstance(inner, dict):
            if isinstance(inner.get("error"), dict):  # some gateways wrap what a host said
                code, inner = _code(inner, _CODES) or code, inner["error"]
            about = inner
            code = _code(inner, _CODES) or code
            inner = next((inner[name] for name in _TEXTS if isinstance(inner.get(name), str) and inner[name]), "")
        if isinstance(inner, str) and inner:
            param = about.get("param")
            return _Said(inner, code, _word(about) or _word(value), param if isinstance(param, str) else "")
        if isinstance(inner, int) and not isinstance(inner, bool):
            code = inner
    return _Said("", code, _word(value))


def _word(value: dict[str, Any]) -> str:
    code = value.get("code")
    return code if isinstance(code, str) and not code.isdigit() and not any(map(str.isspace, code)) else ""


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


# What OpenAI calls them. Where a kind has a code of its own at OpenAI, that is its type here too.
_OPENAI_TYPES = {402: "insufficient_quota", 429: "rate_limit_exceeded"}


def _openai_type(error: InfronError) -> str:
    if error.error_type in _TYPED:
        return error.error_type
    return _OPENAI_TYPES.get(error.status) or ("invalid_request_error" if error.status < 500 else "server_error")


def message_in_stream(error: InfronError, begun: bool) -> str:
    """What is told of an error that ends a stream. `begun`: after a part of the answer.

    A frame has no status by which agents could see that it is worth another try: they go by words. Those here are in
    the lists of pi, Continue, Copilot, opencode, Vibe and aider (2026-11). A provider's own words stay as they are.
    """
    if error.status < 500 or error.should_retry is False or isinstance(error, ProviderError):
        return error.message
    if begun and isinstance(error, ProviderUnavailable):
        return f"Server error: connection reset; the answer ended without a finish. {error.message}"
    return f"Server error: {error.message}"


def error_object(error: InfronError, message: str = "") -> dict[str, Any]:
    """The `error` field of a body or a frame. `message`: another one than the error's own."""
    metadata = {"error_type": error.error_type, "status": error.status, **error.metadata}
    if error.provider:
        metadata["provider"] = error.provider
    if error.retry_after is not None:
        metadata["retry_after"] = error.retry_after
    return {
        "code": error.code or error.error_type,
        "message": message or error.message,
        "type": _openai_type(error),
        "param": error.param,
        "metadata": metadata,
    }


def render_error(error: InfronError) -> bytes:
    """The body of an HTTP error."""
    return _encode({"error": error_object(error)})
