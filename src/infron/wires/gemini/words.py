"""The words of Gemini's API for its clients: names of fields, finish reasons, counts, errors.

It never knows in which frame a word came, nor what was said before it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from infron.errors import InfronError
from infron.events import Billed
from infron.wires.gemini.frame import FINISH

# ---- names


@lru_cache(1024)  # names come from callers
def camel(name: str) -> str:
    """A field's name as the reference has it: Google reads both spellings."""
    return re.sub(r"(?<=[A-Za-z0-9])_([a-z0-9])", lambda match: match[1].upper(), name)


def spelt(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that say something, under those names."""
    return {camel(name): value for name, value in values.items() if value is not None}


# ---- finish reasons

_ENDS = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}


def finish_reason(reason: str, native: str) -> str:
    """`native` where it is a word of this API and means the same."""
    own = _ENDS.get(reason, "STOP")
    return native if FINISH.get(native) == reason else own


# ---- token counts


def usage_metadata(billed: Billed) -> dict[str, Any]:
    """Counts in the names of this API: `candidatesTokenCount` is without the thinking."""
    usage = billed.usage
    told: dict[str, Any] = {
        "promptTokenCount": usage.prompt,
        "candidatesTokenCount": usage.completion - usage.reasoning,
        "totalTokenCount": usage.prompt + usage.completion,
    }
    if usage.reasoning:
        told["thoughtsTokenCount"] = usage.reasoning
    if usage.cached:
        told["cachedContentTokenCount"] = usage.cached
    return told


# ---- errors

# Of google.rpc.Code.
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    504: "DEADLINE_EXCEEDED",
}
_TOO_LONG = "exceeds the maximum number of tokens allowed"  # the words by which clients of this API know it
_RPC = "type.googleapis.com/google.rpc."


def error_object(error: InfronError, message: str = "") -> dict[str, Any]:
    """The body of an HTTP error (google.rpc.Status), and what stands in a stream. `message`: another one than the
    error's own. How long to wait is told as Google does it, in `details`.
    """
    message = message or error.message
    if error.error_type == "context_length_exceeded" and _TOO_LONG not in message:
        message = f"The input token count {_TOO_LONG}. {message}"
    about = {"error_type": error.error_type, "provider": error.provider, "param": error.param}
    info: dict[str, Any] = {
        "@type": f"{_RPC}ErrorInfo",
        "reason": (error.code or error.error_type).upper(),
        "domain": "infron",
        "metadata": {name: value for name, value in about.items() if value},
    }
    details = [info]
    if error.retry_after is not None:
        details.append({"@type": f"{_RPC}RetryInfo", "retryDelay": f"{max(1, round(error.retry_after))}s"})
    status = _STATUSES.get(error.status) or ("INVALID_ARGUMENT" if error.status < 500 else "UNAVAILABLE")
    return {"error": {"code": error.status, "message": message, "status": status, "details": details}}
