"""Everything over HTTP that is no stream: the endpoints of `api/`, registered here, as a Starlette application.

It never starts an exchange.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infron.errors import InfronError, InternalError, InvalidRequest, MethodNotAllowed, NotFound
from infron.runtime.exchange.exchange import error_answer
from infron.runtime.exchange.relay import Relay
from infron.runtime.server.api import health, keys, models, receipts
from infron.runtime.server.api.endpoint import Endpoint
from infron.runtime.server.cors import Headers
from infron.runtime.server.request import HttpRequest, api_near
from infron.wires import CLIENT_WIRES

_OFFERED = ", ".join(f"POST {path}" for api in CLIENT_WIRES.values() for path in api.PATHS)
PREFIXES = ("/v1", "/api/v1")


def build(relay: Relay) -> Starlette:
    """The application. Every path but those at the root also stands under `/api`."""
    endpoints = [
        *models.endpoints(relay.catalog, lambda: relay.offered()),
        *receipts.endpoints(relay.ledger),
        *keys.endpoints(relay.ledger),
        *health.endpoints(
            lambda: "shutting down" if relay.shutting_down else relay.ledger.healthy, lambda: relay.metrics.text()
        ),
    ]
    failed = _failure(relay)
    application = Starlette(
        routes=[
            Route(prefix + endpoint.path, _admitted(endpoint, relay), methods=["GET"])
            for endpoint in endpoints
            for prefix in (("",) if endpoint.root else PREFIXES)
        ],
        exception_handlers={HTTPException: failed, InfronError: failed, Exception: failed},
    )
    application.router.redirect_slashes = False  # a path with a slash too many is told so, not sent round
    return application


def _admitted(endpoint: Endpoint, relay: Relay) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        if endpoint.open:
            return await endpoint.answer(request, None)
        headers = dict(request.scope["headers"])
        key = relay.admit(headers, request.headers.get("host"), None, has_body=False)
        return await endpoint.answer(request, key)

    return answer


def _failure(relay: Relay) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def failed(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            error = _as_ours(error, request)
        if not isinstance(error, InfronError):
            relay.report_bug(f"answering {request.url.path}", error)
            error = InternalError("The gateway failed; its log says where.")
        relay.metrics.refused(error.error_type)
        status, headers, body = error_answer(error, api_near(request.scope["raw_path"]))
        return Response(
            body, status, {name.decode(): value.decode() for name, value in headers}, media_type="application/json"
        )

    return failed


def _as_ours(error: HTTPException, request: Request) -> InfronError:
    path = request.url.path
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "GET")
        what = f"{path} does not take {request.method}; it takes {allowed}."
        return MethodNotAllowed(what, headers={"Allow": allowed})
    if error.status_code == 404:
        return NotFound(f"There is nothing at {path[:200]}. Here are {_OFFERED}, and GET /v1/models.")
    return InvalidRequest(str(error.detail))


async def ask(application: Any, wanted: HttpRequest, relay: Relay) -> tuple[int, Headers, bytes]:
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
        await application(_scope(wanted), receive, send)
    except Exception as error:  # starlette raises once more what it has answered, and `failed` has told
        if not start:
            relay.report_bug("answering a request", error)
    if not start:
        failure = InternalError("The gateway failed; its log says where.")
        status, headers, told = error_answer(failure, api_near(wanted.path))
        return status, [(b"content-type", b"application/json"), *headers], told
    headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
    return start["status"], headers, b"".join(body)


def _scope(wanted: HttpRequest) -> dict[str, Any]:
    host = wanted.named.get(b"host", b"localhost")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1" if wanted.chunked else "1.0",
        "method": wanted.method.decode("latin-1"),
        "scheme": "http",
        "path": wanted.path.decode("utf-8", "replace"),
        "raw_path": wanted.path,
        "query_string": wanted.query,
        "root_path": "",
        "headers": [(b"host", host), *((name, value) for name, value in wanted.headers if name != b"host")],
        "client": None,
        "server": None,
        "state": {},
    }
