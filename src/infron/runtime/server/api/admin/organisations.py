"""`/admin/v1/organisations`, and `…/budgets/{period}` of organisations and keys.

It never knows what was spent for.
"""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from infron.errors import InvalidRequest
from infron.policy.access import Key
from infron.policy.editing import KeyEdit, OrganisationEdit
from infron.policy.holders import PERIODS, Period
from infron.runtime.ledger.office import Office
from infron.runtime.ledger.shown import key_fields, organisation_fields
from infron.runtime.server.api.admin.answers import PREFIX, actor, body_of, endpoint, page_of, revision_of, tagged
from infron.runtime.server.api.endpoint import Endpoint


class Ceiling(Struct, frozen=True, forbid_unknown_fields=True):
    ceiling_usd: Decimal


def endpoints(office: Office) -> list[Endpoint]:
    async def listed(request: Request, key: Key | None) -> Response:
        found = await office.ask(actor(key), lambda admin: admin.list_organisations())
        return page_of([organisation_fields(one) for one in found], request)

    async def created(request: Request, key: Key | None) -> Response:
        asked = await body_of(request, OrganisationEdit)
        made = await office.ask(actor(key), lambda admin: admin.create_organisation(asked))
        return tagged(organisation_fields(made), 201)

    async def one(request: Request, key: Key | None) -> Response:
        id = request.path_params["id"]
        found, used = await office.ask(actor(key), lambda admin: (admin.organisation(id, exactly=True), admin.used(id)))
        return tagged({**organisation_fields(found), "used": used.fields()})

    async def edited(request: Request, key: Key | None) -> Response:
        id, seen, asked = request.path_params["id"], revision_of(request), await body_of(request, OrganisationEdit)
        found = await office.ask(actor(key), lambda admin: admin.edit_organisation(id, asked, seen, exactly=True))
        return tagged(organisation_fields(found))

    async def closed(request: Request, key: Key | None) -> Response:
        id, seen = request.path_params["id"], revision_of(request)
        found = await office.ask(actor(key), lambda admin: admin.close_organisation(id, seen, exactly=True))
        return tagged(organisation_fields(found))

    async def budgeted(request: Request, key: Key | None) -> Response:
        return await _budget(request, key, (await body_of(request, Ceiling)).ceiling_usd)

    async def unbudgeted(request: Request, key: Key | None) -> Response:
        return await _budget(request, key, None)

    async def _budget(request: Request, key: Key | None, ceiling: Decimal | None) -> Response:
        id, seen = request.path_params["id"], revision_of(request)
        budgets = {_period(request): ceiling}
        if request.url.path.startswith(f"{PREFIX}/keys"):
            edit = KeyEdit(budgets_usd=budgets)
            changed = await office.ask(actor(key), lambda admin: admin.edit_key(id, edit, seen, exactly=True))
            return tagged(key_fields(changed))
        change = OrganisationEdit(budgets_usd=budgets)
        found = await office.ask(actor(key), lambda admin: admin.edit_organisation(id, change, seen, exactly=True))
        return tagged(organisation_fields(found))

    return [
        endpoint("/organisations", listed),
        endpoint("/organisations", created, "POST"),
        endpoint("/organisations/{id}", one),
        endpoint("/organisations/{id}", edited, "PATCH"),
        endpoint("/organisations/{id}", closed, "DELETE"),
        *(endpoint(f"/{of}/{{id}}/budgets/{{period}}", budgeted, "PUT") for of in ("keys", "organisations")),
        *(endpoint(f"/{of}/{{id}}/budgets/{{period}}", unbudgeted, "DELETE") for of in ("keys", "organisations")),
    ]


def _period(request: Request) -> Period:
    named = request.path_params["period"]
    found = next((period for period in PERIODS if period == named), None)
    if found is None:
        raise InvalidRequest(f"A budget is for one of {', '.join(PERIODS)}; not for {named[:50]!r}.", param="period")
    return found
