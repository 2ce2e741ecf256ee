"""What a file of this folder offers: endpoints, each a path, its methods and what answers there.

It never knows which endpoints there are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from infron.errors import InvalidRequest
from infron.policy.access import Key

ESTIMATED = "x-infron-estimated"  # the count is ours, not a provider's
MOST = 999_999_999  # that a number of a query may be
_DIGITS = len(str(MOST))
Answering = Callable[[Request, Key | None], Awaitable[Response]]


class Endpoint(Struct, frozen=True):
    """`answer`: from the request and its caller's key to a response, which may be a stream; InfronError is rendered.

    `path`: below `/v1` and `/api/v1`, or as it stands where `root`; `{name}` in it is one segment, `{name:path}` the
    rest. `takes_body`: JSON, here as a whole when `answer` is called. `open`: for strangers too, whose key is None.
    `admin`: for keys of the admin API, and no others.
    """

    path: str
    answer: Answering
    method: str = "GET"
    takes_body: bool = False
    root: bool = False
    open: bool = False
    admin: bool = False


def for_openrouter(request: Request) -> bool:
    """Whether it came by the address that OpenRouter's libraries use: they refuse null where they await a value."""
    return request.url.path.startswith("/api/")


def number_in(request: Request, name: str, default: int, *, least: int = 0, most: int = MOST) -> int:
    """A whole number of the query. Raises InvalidRequest for anything else."""
    given = request.query_params.get(name)
    if not given:
        return default
    number = int(given) if given.isascii() and given.isdecimal() and len(given) <= _DIGITS else -1
    if not least <= number <= most:
        limits = f"from {least} to {most:,}" if most < MOST else f"of at least {least}"
        raise InvalidRequest(f"`{name}` must be a number {limits}.", param=name)
    return number


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")
