"""Every event of our own streams of the Responses API is needed: without it a client library fails, or it is known that
none does.

Each variant of an answer lacks one event. It is read by OpenAI's libraries for Python and JavaScript and by the AI SDK.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from infron.events import (
    Annotated,
    AnyClientEvent,
    Billed,
    Finished,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from infron.money import Usage
from infron.testing import Call, Script, ScriptedProvider
from infron.wires.openai.responses import Encoder, parse

# None of these libraries misses them, nor did any of a dozen further clients that were tried. They are sent all the
# same, for the API promises them.
HARMLESS = {
    "response.in_progress": "the response is begun already",
    "response.reasoning_summary_part.done": "so does the item",
    "response.reasoning_summary_text.done": "repeats its pieces",
    "response.output_text.done": "repeats its pieces",
    "response.refusal.done": "repeats its pieces",
    "response.content_part.done": "repeats what has grown",
    "response.function_call_arguments.delta": "repeated by the item; pydantic-ai and Haystack read it",
    "response.function_call_arguments.done": "repeats its pieces, and so does the item",
    "response.custom_tool_call_input.delta": "the item repeats it",
    "response.custom_tool_call_input.done": "the item repeats it",
}
ASKED = {
    "model": "mock/any",
    "input": "Hi",
    "stream": True,
    "tools": [
        {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}},
        {"type": "custom", "name": "apply_patch"},
    ],
}
SAID: list[AnyClientEvent] = [
    ThinkingDelta("Let me "),
    ThinkingDelta("look."),
    TextDelta("Hel"),
    TextDelta("lo"),
    Annotated({"type": "url_citation", "url_citation": {"url": "https://a.b/", "title": "T"}}),
    RefusalDelta("No."),
    ToolCallStarted(0, "call_1", "weather"),
    ToolCallDelta(0, '{"city":'),
    ToolCallDelta(0, '"Oslo"}'),
    ToolCallStarted(1, "call_2", "apply_patch"),
    ToolCallDelta(1, '{"input":"*** Begin"}'),
    Finished("tool_calls"),
]


def told() -> list[bytes]:
    """The frames of an answer with all that there can be in one."""
    encoder = Encoder("gen-1-0123456789abcdef0123", 1, parse(json.dumps(ASKED).encode(), []))
    billed = Billed(usage=Usage(prompt=20, completion=9), charge=None, estimated=False, provider="mock")
    stream = b"".join([encoder.encode(event) for event in SAID]) + encoder.usage(billed) + encoder.close()
    return [frame + b"\n\n" for frame in stream.split(b"\n\n") if frame]


FRAMES = told()
KINDS = [re.match(rb"event: (\S+)", frame)[1].decode() for frame in FRAMES]  # type: ignore[index]
VARIANTS = [FRAMES, *([*FRAMES[:place], *FRAMES[place + 1 :]] for place in range(len(FRAMES)))]


def play(call: Call) -> Script:
    return VARIANTS[int(call.headers["x-variant"])]


async def read_by_python(address: str, variant: int) -> Any:
    headers = {"x-variant": str(variant)}
    async with AsyncOpenAI(base_url=address, api_key="any", max_retries=0, default_headers=headers) as client:
        try:
            async with client.responses.stream(model="mock/any", input="Hi") as stream:
                kinds = [event.type async for event in stream]
                response = await stream.get_final_response()
        except (openai.OpenAIError, RuntimeError, AssertionError, IndexError, AttributeError) as error:
            return {"failed": repr(error)}
    return [response.to_dict(), kinds.count("response.output_text.delta")]


def without_effect(seen: list[Any]) -> set[str]:
    """The kinds of which each event can be left out, and the user has the same. `seen`: by variant, the whole first."""
    same = [place for place, kind in enumerate(KINDS) if seen[place + 1] == seen[0]]
    return {kind for kind in KINDS if all(place in same for place, other in enumerate(KINDS) if other == kind)}


def test_answer_has_every_kind_of_event_that_we_send() -> None:
    assert len(set(KINDS)) == 20
    numbers = [json.loads(frame.split(b"data: ")[1])["sequence_number"] for frame in FRAMES]
    assert numbers == list(range(len(FRAMES)))
    assert set(KINDS) > HARMLESS.keys()


async def test_python_library_notices_the_beginnings_and_the_end() -> None:
    async with ScriptedProvider(play) as provider:
        seen = [await read_by_python(provider.base_url, variant) for variant in range(len(VARIANTS))]
    assert "failed" not in seen[0]
    missed = without_effect(seen)
    assert not missed & {"response.created", "response.output_item.added", "response.completed"}


@pytest.mark.heavy
@pytest.mark.timeout(180)
async def test_event_that_is_left_out_is_missed_by_a_library_or_known_to_be_harmless(
    start: Callable[..., Any], node: str, packages: Path
) -> None:
    async with ScriptedProvider(play) as provider:
        program = await start(node, str(packages / "responses.mjs"), provider.base_url, str(len(VARIANTS)))
        python = [await read_by_python(provider.base_url, variant) for variant in range(len(VARIANTS))]
        async with asyncio.timeout(120):
            printed, errors = await program.process.communicate()
    assert program.process.returncode == 0, errors.decode()
    found = [json.loads(line) for line in printed.splitlines()]
    by_client = {name: [one["seen"] for one in found if one["client"] == name] for name in ("openai", "ai-sdk")}
    for name, seen in by_client.items():
        assert len(seen) == len(VARIANTS)
        assert "failed" not in seen[0], name
        assert not seen[0].get("errors"), name
    missed_by_none = set.intersection(*map(without_effect, [python, *by_client.values()]))
    assert missed_by_none == set(HARMLESS)
