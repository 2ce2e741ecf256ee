"""What a caller is told of its own key: what it was charged, its limits, and what is left."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from ledgers import until
from rawclient import ask, gateway, get

from infron.policy.editing import KeyEdit, OrganisationEdit
from infron.runtime.ledger.administration import administration
from infron.testing import DONE, FINISH, ScriptedProvider, frame, text

USAGE = {"prompt_tokens": 100_000, "completion_tokens": 500_000, "total_tokens": 600_000}
PRICES = {"prices": {"any": {"prompt": "1", "completion": "1"}}}


async def told(port: int, header: str, path: str = "/v1/key") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((await get(port, path, header)).received)["data"]
    return found


async def test_key_is_told_its_limits_and_what_is_left(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/ledger.db"
    budgets: Any = {"day": Decimal(5), "month": Decimal(2), "total": Decimal(100)}
    with administration(url, "test") as admin:
        team = admin.create_organisation(OrganisationEdit(name="team", budgets_usd={"week": Decimal(9)}))
        _, secret = admin.create_key(
            KeyEdit(
                name="one", organisation="team", budgets_usd=budgets, requests_per_minute=10, concurrent=3,
                models=["mock/*"], expires_at="2100-01-01",
            )
        )  # fmt: skip
        _, free = admin.create_key(KeyEdit(name="free"))
        admin.give_credits("team", Decimal(3))
        header = f"authorization: Bearer {secret}"
        async with (
            ScriptedProvider([text("Hello"), FINISH, frame(choices=[], usage=USAGE), DONE]) as provider,
            gateway(providers={"mock": provider.definition(**PRICES)}, ledger={"url": url}) as running,
        ):
            port = running.port
            client = await (await ask(port, header)).head()
            await client.rest()
            await get(port, f"/v1/generation?id={client.id}", header)
            found = await told(port, header)
            assert (found["limit"], found["limit_remaining"], found["limit_reset"]) == (2.0, 1.4, "monthly")
            assert (found["usage_daily"], found["expires_at"]) == (0.6, "2100-01-01T00:00:00+00:00")
            assert found["rate_limit"]["requests"] == found["limits"]["requests_per_minute"] == 10
            assert [(one["period"], one["usage"], one["remaining"]) for one in found["limits"]["budgets"]] == [
                ("day", 0.6, 4.4), ("month", 0.6, 1.4), ("total", 0.6, 99.4)
            ]  # fmt: skip
            assert [one["resets_at"] is None for one in found["limits"]["budgets"]] == [False, False, True]
            assert (found["limits"]["concurrent"], found["models"], found["providers"]) == (3, ["mock/*"], None)
            # What its organisation has left is another's business until the operator says otherwise.
            assert found["organisation"] == {"id": team.id, "name": "team"}
            assert found["limits"]["credits_remaining"] is None
            assert await told(port, header, "/v1/credits") == {"total_credits": 100.0, "total_usage": 0.6}
            admin.edit_organisation("team", OrganisationEdit(show_remaining=True))
            shows = lambda key: key.organisation is not None and key.organisation.show_remaining  # noqa: E731
            await until(lambda: any(map(shows, running.context.ledger.keys.keys.values())), 10.0)
            limits = (await told(port, header))["organisation"]["limits"]
            assert (limits["budgets"][0]["remaining"], limits["credits_remaining"]) == (8.4, 2.4)
            assert await told(port, header, "/v1/credits") == {"total_credits": 3.0, "total_usage": 0.6}
            unlimited = await told(port, f"authorization: Bearer {free}")
            assert (unlimited["limit"], unlimited["limits"]["budgets"], unlimited["organisation"]) == (None, [], None)
