"""The clients that the page names: `openai`, Vercel's `ai` with both its providers, `eventsource-parser`."""

from __future__ import annotations

import asyncio
import json

import pytest

from infron.testing import CUT, DONE, FINISH, ROLE, USAGE, Answer, Pause, Wait, text

# The first of these tests may install the packages.
pytestmark = [pytest.mark.heavy, pytest.mark.timeout(90)]

OFTEN = {"first_seconds": 0.1, "every_seconds": 0.1}
PROGRAMS = [
    ("openai.mjs",),
    ("ai-sdk.mjs", "openai"),
    ("ai-sdk.mjs", "openai-compatible"),
    ("eventsource-parser.mjs",),
]
EACH = pytest.mark.parametrize("program", PROGRAMS, ids=" ".join)


async def run(start, node, packages, program, there):
    return await start(node, str(packages / program[0]), there.base_url, *program[1:])


def seen(output: str, name: str) -> list:
    found = [json.loads(line) for line in output.splitlines()]
    assert not [value for value in found if "unexpected" in value]
    return [value[name] for value in found if name in value]


@EACH
async def test_it_shows_every_word_as_it_comes_and_the_usage(stage, start, node, packages, program):
    gate = asyncio.Event()
    script = [ROLE, text("Höher"), Wait(gate), Pause(0.25), text(" 高い 🏗️"), FINISH, USAGE, DONE]
    there = await stage(script, keepalive=OFTEN)
    client = await run(start, node, packages, program, there)
    await client.until("Höher")
    gate.set()
    output = await client.end()
    assert "".join(seen(output, "text")) == "Höher 高い 🏗️"
    assert seen(output, "usage") == [10]
    assert seen(output, "end") == [True]
    assert seen(output, "error") == []


@EACH
async def test_it_shows_an_error_in_the_middle_of_a_stream(stage, start, node, packages, program):
    gate = asyncio.Event()
    there = await stage([ROLE, text("half"), Wait(gate), CUT])
    client = await run(start, node, packages, program, there)
    await client.until("half")
    gate.set()
    output = await client.end()
    assert seen(output, "text") == ["half"]
    (error,) = seen(output, "error")
    assert "in the middle of the answer" in error


@pytest.mark.parametrize("program", PROGRAMS[:3], ids=" ".join)  # a parser of streams sees no status
async def test_it_shows_an_error_before_the_stream(stage, start, node, packages, program):
    refusal = Answer(429, (("content-type", "application/json"),), b'{"error": {"message": "slow down"}}')
    there = await stage([refusal])
    output = await (await run(start, node, packages, program, there)).end()
    (error,) = seen(output, "error")
    assert "slow down" in error


@EACH
async def test_cancelling_stops_the_provider(stage, start, node, packages, program):
    there = await stage([ROLE, text("one"), Pause(0.05), text("STOP"), Wait(asyncio.Event())])
    client = await run(start, node, packages, program, there)
    call = await asyncio.wait_for(there.provider.called(), 10)
    await asyncio.wait_for(call.closed.wait(), 10)
    output = await client.end()
    assert seen(output, "text") == ["one", "STOP"]
    assert seen(output, "error") == []
