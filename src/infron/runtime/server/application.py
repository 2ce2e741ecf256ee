"""Everything over HTTP that is no stream: models, receipts, the calling key, health, metrics. A Starlette application.

It never starts an exchange.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infron.catalog.definitions import Model
from infron.errors import InfronError, InternalError, InvalidRequest, MethodNotAllowed, NotFound
from infron.money import usd
from infron.policy.access import Key
from infron.policy.routing import did_you_mean
from infron.runtime.exchange.exchange import error_answer
from infron.runtime.exchange.relay import Relay
from infron.runtime.server.response import Headers, Turn

Endpoint = Callable[[Request], Awaitable[Response]]


def build(relay: Relay) -> Starlette:
    """The application. Every path but the health ones also stands under `/api`."""

    def caller(request: Request) -> Key | None:
        return relay.admit(dict(request.scope["headers"]), request.headers.get("host"), None, has_body=False)

    async def models(request: Request) -> Response:
        caller(request)
        return _json({"object": "list", "data": [_model(model) for model in relay.offered()]})

    async def model(request: Request) -> Response:
        caller(request)
        wanted = request.path_params["id"]
        for known in relay.offered():
            if known.id == wanted:
                return _json(_model(known))
        nearest = relay.catalog.nearest(wanted)
        what = f"No model `{wanted[:200]}` is served here.{did_you_mean(nearest)}"
        raise NotFound(what, param="model", nearest=nearest)

    async def generation(request: Request) -> Response:
        key = caller(request)
        id = request.query_params.get("id")
        if not id:
            raise InvalidRequest("Name the exchange: GET /v1/generation?id=gen-….", param="id")
        receipt = await relay.ledger.receipt(id, key.id if key else None)
        if receipt is None:
            raise NotFound("There is no exchange with this id, or it is not yours.", param="id")
        return _json({"data": receipt})

    async def key(request: Request) -> Response:
        mine = caller(request)
        spend = await relay.ledger.spend(mine.id if mine else None)
        limit = mine.limit if mine else None
        return _json(
            {
                "data": {
                    "label": mine.name if mine else None,
                    "hint": mine.hint if mine else None,
                    "limit": usd(limit),
                    "limit_reset": None,
                    "limit_remaining": None if limit is None else usd(max(0, limit - spend.ever)),
                    "usage": usd(spend.ever),
                    "usage_daily": usd(spend.today),
                    "usage_weekly": usd(spend.week),
                    "usage_monthly": usd(spend.month),
                    "is_free_tier": False,
                    "expires_at": None,
                    "created_at": datetime.fromtimestamp(mine.created_at, UTC).isoformat() if mine else None,
                }
            }
        )

    async def healthz(request: Request) -> Response:
        return _json({"status": "ok"})

    async def readyz(request: Request) -> Response:
        why = "shutting down" if relay.shutting_down else relay.ledger.healthy
        headers = {"retry-after": "5"} if why else {}
        return _json({"status": why or "ready"}, 503 if why else 200, headers)

    async def metrics(request: Request) -> Response:
        caller(request)
        return Response(relay.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def failed(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            error = _as_ours(error, request)
        if not isinstance(error, InfronError):
            relay.report_bug(f"answering {request.url.path}", error)
            error = InternalError("The gateway failed; its log says where.")
        relay.metrics.refused(error.error_type)
        status, headers, body = error_answer(error)
        return Response(
            body, status, {name.decode(): value.decode() for name, value in headers}, media_type="application/json"
        )

    api: list[tuple[str, Endpoint]] = [
        ("/models", models),
        ("/models/{id:path}", model),
        ("/generation", generation),
        ("/key", key),
    ]
    routes = [Route(prefix + path, call, methods=["GET"]) for prefix in ("/v1", "/api/v1") for path, call in api]
    routes += [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
    ]
    application = Starlette(
        routes=routes, exception_handlers={HTTPException: failed, InfronError: failed, Exception: failed}
    )
    application.router.redirect_slashes = False  # a path with a slash too many is told so, not sent round
    return application


async def ask(application: Any, turn: Turn, relay: Relay) -> tuple[int, Headers, bytes]:
    """(status, headers without content-length, body) of the application's answer, which is small and in one piece.

    The application is given no body: nothing that it offers takes one.
    """
    start: dict[str, Any] = {}
    body: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            body.append(message.get("body", b""))

    try:
        await application(_scope(turn), receive, send)
    except Exception as error:  # starlette raises once more what it has answered, and `failed` has told
        if not start:
            relay.report_bug("answering a request", error)
    if not start:
        status, headers, told = error_answer(InternalError("The gateway failed; its log says where."))
        return status, [(b"content-type", b"application/json"), *headers], told
    headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
    return start["status"], headers, b"".join(body)


def _scope(turn: Turn) -> dict[str, Any]:
    host = turn.named.get(b"host", b"localhost")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1" if turn.chunked else "1.0",
        "method": turn.method.decode("latin-1"),
        "scheme": "http",
        "path": turn.path.decode("utf-8", "replace"),
        "raw_path": turn.path,
        "query_string": turn.query,
        "root_path": "",
        "headers": [(b"host", host), *((name, value) for name, value in turn.headers if name != b"host")],
        "client": None,
        "server": None,
        "state": {},
    }


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")


def _model(model: Model) -> dict[str, Any]:
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": model.id.partition("/")[0],
        "name": model.name,
        "description": model.description,
        "context_length": model.context_length,
        "architecture": {"input_modalities": model.input, "output_modalities": model.output},
        "top_provider": {"context_length": model.context_length, "max_completion_tokens": model.max_output},
        "providers": [{"provider_slug": offer.provider, "model": offer.id} for offer in model.served_by],
        "supports_streaming": True,
    }


def _as_ours(error: HTTPException, request: Request) -> InfronError:
    path = request.url.path
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "GET")
        what = f"{path} does not take {request.method}; it takes {allowed}."
        return MethodNotAllowed(what, headers={"Allow": allowed})
    if error.status_code == 404:
        return NotFound(
            f"There is nothing at {path[:200]}. Chat is at POST /v1/chat/completions, the models at GET /v1/models."
        )
    return InvalidRequest(str(error.detail))
