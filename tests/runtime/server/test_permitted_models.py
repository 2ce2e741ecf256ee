"""What a key may use: refused before anybody is asked, and left out of every list of models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rawclient import ask, gateway, get

from infron.policy.editing import KeyEdit
from infron.runtime.ledger.administration import administration
from infron.testing import DONE, FINISH, ScriptedProvider, text

MODELS = {
    "discover": False,
    **{
        f"{author}/m": {"name": author, "served_by": [{"provider": name, "id": "m"} for name in serving]}
        for author, serving in {"acme": ["one", "two"], "other": ["one"], "third": ["two"]}.items()
    },
}


async def test_key_is_shown_and_served_what_it_may_use_and_nothing_else(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    with administration(url, "test") as admin:
        _, secret = admin.create_key(KeyEdit(name="k", models=["acme/*", "fast", "two/*"], providers=["two"]))
        _, free = admin.create_key(KeyEdit(name="free"))
    key, all_of_it = f"authorization: Bearer {secret}", f"authorization: Bearer {free}"
    answer = [text("Hello"), FINISH, DONE]
    async with (
        ScriptedProvider(answer) as one,
        ScriptedProvider(answer) as two,
        gateway(
            providers={"one": one.definition(), "two": two.definition()},
            models=MODELS, aliases={"fast": ["third/m"], "slow": ["other/m"]},
            local={"enabled": False}, ledger={"url": url},
        ) as running,
    ):  # fmt: skip
        port = running.port
        every = json.loads((await get(port, "/v1/models", all_of_it)).received)["data"]
        assert {"acme/m", "other/m", "third/m", "fast", "slow"} <= {model["id"] for model in every}
        seen = json.loads((await get(port, "/v1/models", key)).received)["data"]
        assert {model["id"]: [p["provider_slug"] for p in model["providers"]] for model in seen} == {
            "acme/m": ["two"], "fast": ["two"]
        }  # fmt: skip
        google = json.loads((await get(port, "/v1beta/models", key)).received)["models"]
        ollama = json.loads((await get(port, "/api/tags", key)).received)["models"]
        assert {model["name"].removeprefix("models/") for model in (*google, *ollama)} == {"acme/m", "fast"}
        for path in ("/v1/models/other/m", "/v1/models/slow", "/v1beta/models/other/m", "/v1/models/third/m/endpoints"):
            assert (await get(port, path, key)).status == 404, path
        for model in ("acme/m", "fast", "two/whatever"):
            assert (await (await ask(port, key, model=model)).head()).status == 200, model
        assert (len(one.calls), len(two.calls)) == (0, 3)
        for model, words in {
            "other/m": "may not use the model `other/m`; it may use `acme/*`, `fast`, `two/*`",
            "slow": "may not use the model `slow`",
            "one/m": "may not use the model `one/m`",
            "nonsense": "may not use the model `nonsense`",
        }.items():
            refused = await (await ask(port, key, model=model)).head()
            assert refused.status == 403, model
            assert words in (await refused.error())["message"]
        fallback = await (await ask(port, key, model="other/m", models=["acme/m"])).head()
        assert fallback.status == 200
        assert (len(one.calls), len(two.calls)) == (0, 4)
        counted = await (await ask(port, key, path="/v1/messages/count_tokens", model="other/m")).head()
        assert counted.status == 403


@pytest.mark.parametrize("preferences", [{}, {"allow_fallbacks": False}, {"order": ["one"]}])
async def test_provider_that_a_key_may_not_use_is_passed_over(tmp_path: Path, preferences: dict[str, object]) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    with administration(url, "test") as admin:
        _, secret = admin.create_key(KeyEdit(name="k", providers=["two"]))
    key = f"authorization: Bearer {secret}"
    answer = [text("Hello"), FINISH, DONE]
    async with (
        ScriptedProvider(answer) as one,
        ScriptedProvider(answer) as two,
        gateway(
            providers={"one": one.definition(), "two": two.definition()},
            models=MODELS, local={"enabled": False}, ledger={"url": url},
        ) as running,
    ):  # fmt: skip
        assert (await (await ask(running.port, key, model="acme/m", provider=preferences)).head()).status == 200
        assert (len(one.calls), len(two.calls)) == (0, 1)
        refused = await (await ask(running.port, key, model="other/m", provider=preferences)).head()
        assert refused.status == 403
        assert "which is served by one; it may use `two`" in (await refused.error())["message"]
