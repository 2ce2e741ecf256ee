"""The list of models as the libraries of three families read it: pages, prices, providers; OpenRouter's dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rawclient import ask, gateway, get

from infron.testing import DONE, FINISH, ROLE, USAGE, Answer, ScriptedProvider, text

NOTHING_SAID = {"index": 0, "delta": {}, "finish_reason": None}
OFFER = {"provider": "mock", "id": "m", "price": {"prompt": "1", "completion": "2.5", "cached": "0.25"}}
MODELS = {
    "discover": False,
    **{f"acme/{n}": {"name": n, "served_by": [OFFER], "released": "2026-01-02", "max_output": 9} for n in "abcde"},
}


async def listed(port: int, query: str = "") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((await get(port, f"/v1/models{query}")).received)
    return found


async def test_models_have_the_members_of_each_family() -> None:
    async with (
        ScriptedProvider([]) as provider,
        gateway(providers={"mock": provider.definition()}, models=MODELS, local={"enabled": False}) as running,
    ):
        found = (await listed(running.port))["data"][-1]
        served = json.loads((await get(running.port, "/v1/models/acme/a/endpoints")).received)["data"]
    assert (found["object"], found["type"], found["created_at"]) == ("model", "model", "2026-01-02T00:00:00Z")
    assert (found["display_name"], found["canonical_slug"]) == ("e", "acme/e")
    assert found["pricing"] == {
        "prompt": "0.000001", "completion": "0.0000025", "input_cache_read": "0.00000025", "request": "0"
    }  # fmt: skip
    assert found["top_provider"]["max_completion_tokens"] == found["max_tokens"] == 9
    (endpoint,) = served["endpoints"]
    assert (served["id"], endpoint["tag"], endpoint["pricing"]) == ("acme/a", "mock", found["pricing"])


async def test_models_come_in_pages_where_a_page_is_asked_for() -> None:
    async with (
        ScriptedProvider([]) as provider,
        gateway(providers={"mock": provider.definition()}, models=MODELS, local={"enabled": False}) as running,
    ):
        every = await listed(running.port)
        ids = [model["id"] for model in every["data"]]
        assert (every["has_more"], every["first_id"], every["last_id"]) == (False, ids[0], ids[-1])
        for query, first, end, more in (
            ("?limit=2", 0, 2, True),
            (f"?limit=2&after_id={ids[1]}", 2, 4, True),
            (f"?limit=9999999&after_id={ids[-2]}", len(ids) - 1, len(ids), False),
            (f"?limit=2&before_id={ids[-1]}", len(ids) - 3, len(ids) - 1, True),
            (f"?limit=3&before_id={ids[2]}", 0, 2, False),
            ("?beta=true&limit=1000", 0, len(ids), False),
        ):
            page = await listed(running.port, query)
            assert [model["id"] for model in page["data"]] == ids[first:end], query
            assert (page["has_more"], page["total_count"]) == (more, len(ids)), query


@pytest.mark.parametrize("query", ["?limit=0", "?limit=x", "?limit=-1", "?after_id=nobody/x"])
async def test_page_that_cannot_be_is_refused(query: str) -> None:
    async with (
        ScriptedProvider([]) as provider,
        gateway(providers={"mock": provider.definition()}, models=MODELS) as running,
    ):
        client = await get(running.port, f"/v1/models{query}")
    error = json.loads(client.received)["error"]
    assert (client.status, error["param"]) == (400, query[1:].partition("=")[0])


async def test_price_that_nobody_knows_is_minus_one() -> None:
    async with ScriptedProvider([]) as provider, gateway(providers={"mock": provider.definition()}) as running:
        found = json.loads((await get(running.port, "/v1/models/mock/x")).received)
    assert found["pricing"] == {"prompt": "-1", "completion": "-1"}


async def test_errors_under_the_address_of_openrouter_have_the_status_as_their_code() -> None:
    refusal = Answer(429, (("content-type", "application/json"),), b'{"error": {"message": "slow", "code": "x"}}')
    async with ScriptedProvider([refusal]) as provider, gateway(providers={"mock": provider.definition()}) as running:
        told = []
        for prefix in ("/api/v1", "/v1"):
            client = await (await ask(running.port, path=f"{prefix}/chat/completions")).head()
            told.append((client.status, (await client.error())["code"]))
            told.append((404, json.loads((await get(running.port, f"{prefix}/models/no/x")).received)["error"]["code"]))
    assert told == [(429, 429), (404, 404), (429, "x"), (404, "model_not_found")]


@pytest.mark.parametrize(("asked", "choices"), [(True, []), (False, [NOTHING_SAID]), (None, [NOTHING_SAID])])
async def test_stream_under_the_address_of_openrouter_always_has_its_counts(asked: bool | None, choices: Any) -> None:
    """Its users' loops read the choice of every frame; and libraries refused a cost of null."""
    async with (
        ScriptedProvider([ROLE, text("Hello"), FINISH, USAGE, DONE]) as provider,
        gateway(providers={"mock": provider.definition()}, chat={"usage": "asked"}) as running,
    ):
        fields = {} if asked is None else {"stream_options": {"include_usage": asked}}
        client = await (await ask(running.port, path="/api/v1/chat/completions", **fields)).head()
        await client.rest()
        whole = await (await ask(running.port, path="/api/v1/chat/completions", stream=False)).head()
        told = json.loads(await whole.rest())
        assert provider.calls[0].json["model"] == "any"
    last = client.frames()[-2]
    assert (last["choices"], last["usage"]["total_tokens"]) == (choices, 10)
    assert "cost" not in last["usage"]
    assert "cost" not in told["usage"]
