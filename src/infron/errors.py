"""The one error family: who is to blame, which HTTP status says so, and whether another try is safe.

It never knows a wire format: `wires` turns an error into bytes, here it is only a value that can be raised.
Messages name what was wrong and what to do. They never contain keys or prompts.
"""

from __future__ import annotations

from typing import Any, Literal

Blame = Literal["caller", "provider", "us"]


class InfronError(Exception):
    """Something ended a request. Raised as one of the children below, never as itself.

    `message`: a sentence for the person who reads it. `code`: a word that programs test for, of OpenAI or of the
    provider; None: the error type is as good. `param`: the request field it is about.
    `metadata`: further fields of `error.metadata`. `retry_after`: seconds, or None.
    `headers`: extra HTTP headers, sent when the error is an HTTP answer.
    """

    status = 500
    error_type = "server"
    code: str | None = None
    exchange: str | None = None  # the id of the exchange that it ended, once it is told
    blame: Blame = "us"
    safe_to_retry = False  # may another candidate be tried with this request?
    should_retry: bool | None = None  # what `x-should-retry` tells the client's library; None leaves it to the status

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        provider: str | None = None,
        retry_after: float | None = None,
        headers: dict[str, str] | None = None,
        **metadata: Any,
    ) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        self.param = param
        self.provider = provider
        self.retry_after = retry_after
        self.headers = headers or {}
        self.metadata = metadata


# ---- the caller's


class InvalidRequest(InfronError):
    """The request is not what the API takes: JSON, fields, headers."""

    status, error_type, blame = 400, "invalid_request", "caller"


class Unsupported(InfronError):
    """Something in the request that the chosen provider cannot take; another one may."""

    status, error_type, blame = 400, "unsupported", "caller"
    safe_to_retry = True


class Unauthenticated(InfronError):
    """No API key, or one that is unknown or revoked."""

    status, error_type, blame = 401, "authentication", "caller"
    code = "invalid_api_key"


class PaymentRequired(InfronError):
    """The API key has spent what it may."""

    status, error_type, blame = 402, "payment_required", "caller"
    code = "insufficient_quota"


class Forbidden(InfronError):
    """Refused to this caller: a model or provider that its key may not use, a price nobody knows, a foreign Host."""

    status, error_type, blame = 403, "permission_denied", "caller"


class NotFound(InfronError):
    """No such path, model or exchange."""

    status, error_type, blame = 404, "not_found", "caller"


class MethodNotAllowed(InfronError):
    """The path takes other methods; `Allow` lists them."""

    status, error_type, blame = 405, "method_not_allowed", "caller"


class RequestTimeout(InfronError):
    """The request's head or body came too slowly."""

    status, error_type, blame = 408, "request_timeout", "caller"


class Conflict(InfronError):
    """What was asked for was done before, otherwise."""

    status, error_type, blame = 409, "conflict", "caller"


class PreconditionFailed(InfronError):
    """It is not (any more) as the caller saw it: `If-Match` names another revision."""

    status, error_type, blame = 412, "precondition_failed", "caller"


class PayloadTooLarge(InfronError):
    """The body is over `limits.max_body_bytes`."""

    status, error_type, blame = 413, "payload_too_large", "caller"


class UnsupportedMediaType(InfronError):
    """The body's content type is not JSON."""

    status, error_type, blame = 415, "unsupported_media_type", "caller"


class HeadTooLarge(InfronError):
    """The request's head is over `limits.max_header_bytes`."""

    status, error_type, blame = 431, "head_too_large", "caller"


class UpgradeRequired(InfronError):
    """A WebSocket was asked for, and there is none: the same request goes by POST."""

    status, error_type, blame = 426, "upgrade_required", "caller"


class Cancelled(InfronError):
    """The generation was stopped by its id: by its caller, or by the operator."""

    status, error_type, blame = 499, "cancelled", "caller"
    should_retry = False


class RateLimited(InfronError):
    """A rate or the number of answers at once is used up, or too many that the caller left are still being read on."""

    status, error_type, blame = 429, "rate_limit_exceeded", "caller"


# ---- the provider's


class ProviderError(InfronError):
    """The provider answered with an error; status, message and retry-after are its own, the type follows the status."""

    status, error_type = 502, "provider_unavailable"
    blame: Blame = "provider"

    def __init__(self, message: str, *, status: int, error_type: str, safe_to_retry: bool, **more: Any) -> None:
        super().__init__(message, **more)
        self.status = status
        self.error_type = error_type
        self.safe_to_retry = safe_to_retry
        if status < 429:
            self.blame = "caller"


class ProviderMisconfigured(InfronError):
    """The provider refused *our* key, account or permission: the operator must act, the caller cannot."""

    status, error_type, blame = 502, "provider_configuration", "us"
    safe_to_retry = True
    should_retry = False


class ProviderUnavailable(InfronError):
    """No connection, or one that broke, or an answer that made no sense."""

    status, error_type, blame = 502, "provider_unavailable", "provider"
    safe_to_retry = True


class ProviderTimeout(InfronError):
    """One of the attempt's own clocks ran out: connect, first token, stall."""

    status, error_type, blame = 504, "timeout", "provider"
    safe_to_retry = True


class ProviderClosed(InfronError):
    """The provider's definition says that its service is gone."""

    status, error_type, blame = 404, "provider_closed", "caller"
    should_retry = False


# ---- ours


class DeadlineExceeded(InfronError):
    """The whole exchange took longer than `timeouts.total_seconds`."""

    status, error_type, blame = 504, "timeout", "us"


class ShuttingDown(InfronError):
    """The gateway is shutting down."""

    status, error_type, blame = 503, "shutting_down", "us"


class Overloaded(InfronError):
    """The process runs `server.max_streams` exchanges already."""

    status, error_type, blame = 503, "overloaded", "us"


class LedgerUnavailable(InfronError):
    """The ledger cannot be written, so nothing could be billed."""

    status, error_type, blame = 503, "ledger_unavailable", "us"


class InternalError(InfronError):
    """A bug of the gateway; its log says where."""

    status, error_type, blame = 500, "server", "us"


class ConfigError(InfronError):
    """The configuration cannot be used; the message names the file, the line and what to write instead."""

    status, error_type, blame = 500, "configuration", "us"
