"""A model's name stays in its place of a provider's path, whatever the name."""

from __future__ import annotations

import pytest
from rawclient import ask, gateway

from infron.runtime.exchange.providers import wanders
from infron.testing import ScriptedProvider, speak

NAMES = ["..", ".", "../../x", "a/../../b", "..%2f..", "a//b", "a/", "/a", "./a", "..\\x", "a/.."]
ROWS = {"gemini": {}, "bedrock": {}, "openai-chat": {"chat_path": "/deployments/{model}/chat/completions"}}


@pytest.mark.parametrize("wire", ROWS)
@pytest.mark.parametrize("name", NAMES)
async def test_model_never_leads_out_of_its_path(wire: str, name: str) -> None:
    """`../../endpoints/123` asked for another path with the operator's credentials."""
    voice = speak(wire)
    async with (
        ScriptedProvider(voice.plays(voice.answer("Hello"))) as provider,
        gateway(providers={"mock": provider.definition(**{**voice.definition, **ROWS[wire]})}) as running,
    ):
        client = await (await ask(running.port, model=f"mock/{name}")).head()
        if client.status == 200:  # encoded, so that it is a name like any other
            await client.rest()
            (call,) = provider.calls
            assert not wanders(call.path.removeprefix("/v1"))
            return
        assert client.status in (400, 404)
        assert (await client.error())["param"] == "model" or client.status == 400
        assert provider.calls == []


@pytest.mark.parametrize("path", ["/a", "/a.b/..c", "/models/m:stream?alt=..", "/a%2520b", "/...", "/@cf/meta/llama"])
def test_path_of_a_plain_name_is_taken(path: str) -> None:
    assert not wanders(path)


def test_path_is_judged_as_hosts_may_read_it() -> None:
    assert all(wanders(path) for path in ("/..%2fx", "/a/%2e%2e/b", "/a%5C..%5Cb", "//a", "/"))
