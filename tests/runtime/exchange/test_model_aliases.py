"""Models under other names, through the gateway: asked for, listed, recorded."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from rawclient import ask, gateway, get, settled

from infron.testing import CUT, DONE, FINISH, ROLE, USAGE, ScriptedProvider, text

ANSWER = [ROLE, text("Hello"), FINISH, USAGE, DONE]
ALIASES = {"claude-*": ["gone/x", "mock/small"], "gpt-*": "mock/*", "best": ["mock/a", "other/b"]}


@pytest.mark.parametrize(
    ("name", "asked"), [("claude-opus-4-8", "small"), ("gpt-6.2-sol", "6.2-sol"), ("best", "a"), ("mock/m", "m")]
)
async def test_alias_is_served_by_its_model_and_keeps_its_name(name: str, asked: str) -> None:
    # Claude Code asks for claude-opus-4-8 and Codex for gpt-6.2-sol, whoever is to answer.
    async with (
        ScriptedProvider(ANSWER) as provider,
        gateway(providers={"mock": provider.definition()}, aliases=ALIASES) as running,
    ):
        client = await (await ask(running.port, model=name)).head()
        await client.rest()
        found = await settled(running, client.id)
        assert [call.json["model"] for call in provider.calls] == [asked]
        shown = json.loads((await get(running.port, f"/v1/models/{quote(name, safe='')}")).received)
    assert {one["model"] for one in client.frames()[:-1]} == {name}
    assert (found["model"], found["outcome"]) == (name, "completed")
    assert shown["id"] == name


async def test_models_of_an_alias_are_tried_in_turn() -> None:
    async with (
        ScriptedProvider([CUT]) as first,
        ScriptedProvider(ANSWER) as second,
        gateway(providers={"mock": first.definition(), "other": second.definition()}, aliases=ALIASES) as running,
    ):
        client = await (await ask(running.port, model="best")).head()
        await client.rest()
        assert (len(first.calls), second.calls[0].json["model"]) == (1, "b")
    assert client.words() == "Hello"


async def test_aliases_are_listed() -> None:
    async with (
        ScriptedProvider(ANSWER) as provider,
        gateway(
            providers={"mock": provider.definition()},
            models={"discover": False, "acme/m": {"name": "M", "served_by": [{"provider": "mock", "id": "m"}]}},
            aliases={**ALIASES, "my-*": "acme/*", "nobody": "gone/x"},
        ) as running,
    ):
        listed = json.loads((await get(running.port, "/v1/models")).received)["data"]
    ids = {model["id"] for model in listed}
    assert {"claude-*", "best", "my-m", "acme/m"} <= ids
    assert not ids & {"nobody", "gpt-*", "my-*"}


async def test_alias_of_nothing_that_is_served_is_404() -> None:
    async with (
        ScriptedProvider(ANSWER) as provider,
        gateway(providers={"mock": provider.definition()}, aliases={"nobody": "gone/x"}) as running,
    ):
        client = await (await ask(running.port, model="nobody")).head()
        error = await client.error()
    assert (client.status, error["code"]) == (404, "model_not_found")
