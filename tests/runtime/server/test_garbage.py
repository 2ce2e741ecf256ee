"""What clients and providers leave behind: nothing for which the garbage collector is needed."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter

import pytest
from hostile import KINDS
from rawconnection import CHAT, ask, chat, connected, request

from infron.runtime.ledger.administration import create_key
from infron.testing import CUT, DONE, FINISH, RESET, ROLE, USAGE, Pause, Raw, ScriptedProvider, gateway, text

CLOSE = "Connection: close"
SAYS = [ROLE, text("Hello"), FINISH, USAGE, DONE]
SCRIPTS = {
    "said": SAYS,
    "cut": [ROLE, text("Hello"), CUT],
    "reset": [ROLE, text("Hello"), RESET],
    "refused": [Raw(b"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\n{}")],
    "nonsense": [Raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {\r\n\r\n")],
    "no HTTP": [Raw(b"what?\r\n\r\n")],
    "slow": [ROLE, *[step for _ in range(20) for step in (text("Hello"), Pause(0.05))], FINISH, DONE],
}


@pytest.fixture
def garbage():
    """Counts what only the collector finds, by its type."""
    gc.collect()
    gc.disable()

    def found() -> Counter[str]:
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        gc.set_debug(0)
        kinds = Counter(f"{type(it).__module__}.{type(it).__qualname__}" for it in gc.garbage)
        gc.garbage.clear()
        return Counter({kind: count for kind, count in kinds.items() if kind.startswith(("infron.r", "httptools"))})

    yield found
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


@pytest.mark.heavy
async def test_connections_and_exchanges_leave_no_garbage(tmp_path, garbage):
    """Each connection, and each dial that was given up, left objects in circles. Of some thousand the collector made
    a pause of 5 to 25 ms, in which no stream got its frames.
    """
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    key = f"Authorization: Bearer {create_key(url, 'first')[1]}"
    providers = {name: ScriptedProvider(script) for name, script in SCRIPTS.items()}
    for provider in providers.values():
        await provider.__aenter__()
    rows = {name.replace(" ", "-"): provider.definition() for name, provider in providers.items()}
    async with gateway(providers={"mock": rows["slow"], **rows}, ledger={"url": url}) as running:
        asked = [
            chat(key, CLOSE, path=path, model=f"{name}/any", stream=stream, max_tokens=9, input="Hi")
            for name in rows
            for path in (CHAT, "/v1/messages", "/v1/responses")
            for stream in (True, False)
        ]
        asked += [chat(key, CLOSE, model="nobody/any"), request("GET", "/v1/models", key, CLOSE)]
        await asyncio.gather(*[ask(running.port, question) for question in asked])
        async with connected(running.port) as connection:
            connection.send(chat(key), chat(key))
            await connection.head()
        await asyncio.gather(*[attack(running.port, key) for attack in KINDS.values()])
        async with asyncio.timeout(30):
            await running.context.registry.idle.wait()
        left = garbage()
    for provider in providers.values():
        await provider.__aexit__(None, None, None)
    assert left == {}
