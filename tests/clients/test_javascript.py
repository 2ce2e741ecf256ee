"""The clients that the page names: `openai`, Vercel's `ai` with both its providers, `eventsource-parser`."""

from __future__ import annotations

import asyncio
import json

import pytest

from infron.testing import CUT, DONE, FINISH, ROLE, USAGE, Answer, Pause, ScriptedProvider, Wait, gateway, speak, text

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
    call = await asyncio.wait_for(there.provider.called(), 30)
    await asyncio.wait_for(call.closed.wait(), 30)
    output = await client.end()
    assert seen(output, "text") == ["one", "STOP"]
    assert seen(output, "error") == []


# ---- OpenRouter's own library, under /api/v1

MODEL = {
    "acme/m": {
        "name": "M",
        "served_by": [{"provider": "mock", "id": "m", "price": {"prompt": "1", "completion": "2.5"}}],
    }
}


async def openrouter(start, node, packages, there, what):
    return await start(node, str(packages / "openrouter.mjs"), f"{there.running.url}/api/v1", what)


async def test_openrouter_library_reads_each_of_our_answers(stage, start, node, packages):
    # It refuses an answer without any of the fields that it knows.
    there = await stage([ROLE, text("Hello"), FINISH, USAGE, DONE], models={"discover": False, **MODEL})
    output = await (await openrouter(start, node, packages, there, "all")).end()
    found = [json.loads(line) for line in output.splitlines()]
    assert found == [
        {"text": "Hello", "usage": 10},
        {"model": "M", "price": "0.0000025"},
        {"endpoints": ["mock"]},
        {"spent": 0},
        {"credits": 1_000_000_000, "used": 0},
        {"receipt": 3, "cost": 0},
        {"end": True},
    ]


async def test_openrouter_library_reads_a_stream_and_the_error_that_ends_one(stage, start, node, packages):
    gate = asyncio.Event()
    there = await stage([ROLE, text("half"), Wait(gate), CUT], keepalive=OFTEN)
    client = await openrouter(start, node, packages, there, "chat")
    await client.until("half")
    gate.set()
    output = await client.end()
    assert seen(output, "text") == ["half"]
    assert ["in the middle of the answer" in error for error in seen(output, "error")] == [True]
    assert seen(output, "status") == [502]


async def test_openrouter_library_knows_an_error_before_the_stream_by_its_name(stage, start, node, packages):
    refusal = Answer(429, (("content-type", "application/json"),), b'{"error": {"message": "slow down"}}')
    there = await stage([refusal])
    output = await (await openrouter(start, node, packages, there, "chat")).end()
    assert json.loads(output) == {"error": "slow down", "status": 429, "kind": "TooManyRequestsResponseError"}


@pytest.mark.parametrize("wire", ["openai-chat", "anthropic", "openai-responses"])
async def test_it_goes_on_by_references_in_the_second_turn_of_its_user(start, node, packages, wire):
    """Vercel's default provider refers to its own earlier answers by id: it believes that the server remembers."""
    voice = speak(wire)

    def script(call):
        count = len(provider.calls)
        if count > 1:
            return voice.plays(voice.answer(f"Answer {count}."))
        said = [
            voice.start(),
            voice.tool_call("weather", '{"city": "Oslo"}'),
            voice.usage(7, 3),
            voice.finish("tool_calls"),
        ]
        return voice.plays([*said, voice.done()])

    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition(**voice.definition)}) as running,
    ):
        output = await (await start(node, str(packages / "ai-sdk-turns.mjs"), f"{running.url}/v1")).end()
        sent = json.dumps(provider.calls[-1].json)
    assert seen(output, "error") == []
    assert seen(output, "text") == ["Answer 2.", "Answer 3."]
    assert len(provider.calls) == 3
    assert all(words in sent for words in ("Rain in Oslo.", "Answer 2.", "And tomorrow?"))
    assert "item_reference" not in sent
