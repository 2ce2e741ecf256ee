"""Every kind of hostile client at once beside honest streams: these are whole, and nothing is left behind."""

from __future__ import annotations

import asyncio

import pytest
from hostile import KINDS
from rawconnection import chat, connected

from infron.runtime.ledger.administration import create_key
from infron.testing import DONE, FINISH, ROLE, USAGE, Pause, ScriptedProvider, gateway, text

FRAMES = 40


@pytest.mark.heavy
async def test_gateway_serves_honest_streams_whole_among_hostile_clients(tmp_path, caplog):
    script = [ROLE, *[step for n in range(FRAMES) for step in (text(f"{n};"), Pause(0.02))], FINISH, USAGE, DONE]
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    key = f"Authorization: Bearer {create_key(url, 'first')[1]}"
    assert len(KINDS) >= 30

    async def honest(port: int) -> bytes:
        async with connected(port) as connection:
            connection.send(chat(key))
            assert (await connection.head()).status == 200
            body = b""
            while chunk := await connection.chunk():
                body += chunk
            return body

    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition()}, ledger={"url": url}) as running,
    ):
        attacks = [asyncio.create_task(attack(running.port, key)) for attack in KINDS.values()]
        streams = await asyncio.gather(*[honest(running.port) for _ in range(20)])
        await asyncio.gather(*attacks)
        async with asyncio.timeout(30):
            await running.context.registry.idle.wait()
        for body in streams:
            assert body.endswith(b"data: [DONE]\n\n")
            assert b'"39;"' in body
    assert [record.message for record in caplog.records if "bug" in record.message] == []
