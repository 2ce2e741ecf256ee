"""What the endpoints of the admin API have in common: bodies, revisions, pages, times.

It never knows a ledger, nor what is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from infron.errors import InvalidRequest
from infron.policy.access import Key
from infron.policy.editing import moment_of
from infron.runtime.server.api.endpoint import Answering, Endpoint, json_response, number_in

MOST_LISTED = 1_000
USUAL_LISTED = 100
PREFIX = "/admin/v1"

_T = TypeVar("_T")


def endpoint(path: str, answer: Answering, method: str = "GET", *, takes_body: bool | None = None) -> Endpoint:
    """`takes_body`: as the method usually does, where it is not said."""
    usual = method in ("POST", "PATCH", "PUT")
    takes_body = usual if takes_body is None else takes_body
    return Endpoint(PREFIX + path, answer, method, takes_body=takes_body, root=True, admin=True)


def actor(key: Key | None) -> str:
    """Who is written into the audit log."""
    assert key is not None
    return f"admin:{key.id}"


async def body_of(request: Request, kind: type[_T]) -> _T:
    """The body as a value; nothing at all stands for an empty object. Raises InvalidRequest."""
    try:
        return msgspec.json.decode(await request.body() or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The body cannot be taken: {error}.") from error
    except msgspec.DecodeError as error:
        raise InvalidRequest("The body is not JSON.") from error


def revision_of(request: Request) -> int | None:
    """The revision that the caller saw, by `If-Match`; None: any. Raises InvalidRequest."""
    given = request.headers.get("if-match", "*").strip()
    if given == "*":
        return None
    found = re.fullmatch(r'(?:W/)?"?(\d{1,18})"?', given)
    if found is None:
        raise InvalidRequest('`If-Match` must be a revision such as "3", or *.', param="If-Match")
    return int(found[1])


def tagged(fields: dict[str, Any], status: int = 200) -> Response:
    """Something with a revision, which is its ETag."""
    return json_response({"data": fields}, status, {"etag": f'"{fields["revision"]}"'})


def told(fields: Any, status: int = 200) -> Response:
    return json_response({"data": fields}, status)


def limit_of(request: Request) -> int:
    """How many are wanted on a page. Raises InvalidRequest."""
    return number_in(request, "limit", USUAL_LISTED, least=1, most=MOST_LISTED)


def paged(items: Sequence[dict[str, Any]], limit: int) -> Response:
    """A page, of which one item more than `limit` was read if more follow: `after=<last_id>` asks for them."""
    page = items[:limit]
    return json_response(
        {
            "object": "list",
            "data": page,
            "has_more": len(items) > limit,
            "last_id": page[-1]["id"] if page else None,
        }
    )


def page_of(items: Sequence[dict[str, Any]], request: Request) -> Response:
    """A page of all of them, by `limit` and `after`. Raises InvalidRequest."""
    limit, after = limit_of(request), request.query_params.get("after")
    if after is None:
        return paged(items, limit)
    places = [place for place, item in enumerate(items) if item["id"] == after]
    if not places:
        raise InvalidRequest("`after` is none of this list.", param="after")
    return paged(items[places[0] + 1 :], limit)


def time_of(request: Request, name: str) -> float | None:
    """A time of the query, ISO 8601 or unix seconds. Raises InvalidRequest."""
    given = request.query_params.get(name)
    if given is None:
        return None
    try:
        found = moment_of(float(given), name)
    except ValueError:
        found = moment_of(given, name)
    return None if found is None else found / 1000
