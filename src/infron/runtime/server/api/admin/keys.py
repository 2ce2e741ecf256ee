"""`/admin/v1/keys`: the keys of callers and of this API.

It never tells a secret but once, when it is made.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from infron.policy.access import Key, Kind
from infron.policy.editing import KeyEdit
from infron.runtime.ledger.office import Office
from infron.runtime.ledger.shown import key_fields
from infron.runtime.server.api.admin.answers import actor, body_of, endpoint, page_of, revision_of, tagged
from infron.runtime.server.api.endpoint import Endpoint


class NewKey(KeyEdit, frozen=True, kw_only=True, forbid_unknown_fields=True):
    kind: Kind = "caller"


def endpoints(office: Office) -> list[Endpoint]:
    async def listed(request: Request, key: Key | None) -> Response:
        wanted = request.query_params.get("organisation")
        found = await office.ask(actor(key), lambda admin: admin.list_keys())
        shown = [key_fields(one) for one in found]
        return page_of([one for one in shown if wanted is None or one["organisation"] == wanted], request)

    async def created(request: Request, key: Key | None) -> Response:
        asked = await body_of(request, NewKey)
        made, secret = await office.ask(actor(key), lambda admin: admin.create_key(asked, asked.kind))
        return tagged({**key_fields(made), "secret": secret}, 201)

    async def one(request: Request, key: Key | None) -> Response:
        id = request.path_params["id"]
        found, used = await office.ask(actor(key), lambda admin: (admin.key(id, exactly=True), admin.used(id)))
        return tagged({**key_fields(found), "used": used.fields()})

    async def edited(request: Request, key: Key | None) -> Response:
        id, seen, asked = request.path_params["id"], revision_of(request), await body_of(request, KeyEdit)
        found = await office.ask(actor(key), lambda admin: admin.edit_key(id, asked, seen, exactly=True))
        return tagged(key_fields(found))

    async def revoked(request: Request, key: Key | None) -> Response:
        id, seen = request.path_params["id"], revision_of(request)
        now = request.query_params.get("now", "").lower() in ("1", "true")
        found = await office.ask(actor(key), lambda admin: admin.revoke_key(id, seen, now=now, exactly=True))
        return tagged(key_fields(found))

    return [
        endpoint("/keys", listed),
        endpoint("/keys", created, "POST"),
        endpoint("/keys/{id}", one),
        endpoint("/keys/{id}", edited, "PATCH"),
        endpoint("/keys/{id}", revoked, "DELETE"),
    ]
