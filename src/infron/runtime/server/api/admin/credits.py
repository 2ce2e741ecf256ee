"""`…/credits`, `…/transfers`, `/admin/v1/transfers`, refunds: what was paid in advance, and how it moved.

It never changes a transfer: what was wrong is reversed by another.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from infron.money import usd
from infron.policy.access import Key
from infron.runtime.ledger.journal import Transfer
from infron.runtime.ledger.office import Office
from infron.runtime.ledger.shown import transfer_fields
from infron.runtime.server.api.admin.answers import actor, body_of, endpoint, limit_of, paged, time_of, told
from infron.runtime.server.api.endpoint import Endpoint


class Credits(Struct, frozen=True, forbid_unknown_fields=True):
    """`reference`: what makes it one, such as the payment's id."""

    amount_usd: Decimal
    kind: Literal["top-up", "grant"] = "top-up"
    reference: str | None = None
    note: str | None = None


class Refund(Struct, frozen=True, forbid_unknown_fields=True):
    amount_usd: Decimal | None = None
    note: str | None = None


class Reversal(Struct, frozen=True, forbid_unknown_fields=True):
    note: str | None = None


def endpoints(office: Office) -> list[Endpoint]:
    async def given(request: Request, key: Key | None) -> Response:
        id, asked = request.path_params["id"], await body_of(request, Credits)
        return _made(
            await office.ask(
                actor(key),
                lambda admin: admin.give_credits(
                    id, asked.amount_usd, grant=asked.kind == "grant", reference=asked.reference, note=asked.note
                ),
            )
        )

    async def refunded(request: Request, key: Key | None) -> Response:
        id, asked = request.path_params["id"], await body_of(request, Refund)
        return _made(await office.ask(actor(key), lambda admin: admin.refund(id, asked.amount_usd, asked.note)))

    async def reversed_(request: Request, key: Key | None) -> Response:
        id, asked = request.path_params["id"], await body_of(request, Reversal)
        return _made(await office.ask(actor(key), lambda admin: admin.reverse(id, asked.note)))

    async def listed(request: Request, key: Key | None) -> Response:
        which, before = request.path_params.get("id"), request.query_params.get("after")
        limit, since, until = limit_of(request), time_of(request, "since"), time_of(request, "until")
        found = await office.ask(
            actor(key),
            lambda admin: admin.transfers(which, before=before, since=since, until=until, limit=limit + 1),
        )
        return paged([transfer_fields(one) for one in found], limit)

    async def accounts(request: Request, key: Key | None) -> Response:
        found = await office.ask(actor(key), lambda admin: admin.balances())
        return told([{"holder": holder, "balance_usd": usd(balance)} for holder, balance in found.items()])

    return [
        endpoint("/accounts", accounts),
        endpoint("/transfers", listed),
        endpoint("/transfers/{id}/reverse", reversed_, "POST"),
        endpoint("/generations/{id}/refund", refunded, "POST"),
        *(endpoint(f"/{of}/{{id}}/credits", given, "POST") for of in ("keys", "organisations")),
        *(endpoint(f"/{of}/{{id}}/transfers", listed) for of in ("keys", "organisations")),
    ]


def _made(result: tuple[Transfer, bool]) -> Response:
    """201 for one that is new; 200 for one that was made before, as it was."""
    transfer, new = result
    return told(transfer_fields(transfer), 201 if new else 200)
