"""Every frame of our own streams of the Messages, Gemini and Ollama APIs is needed: without it a client library fails
or shows something else. (Those of the Responses API: test_responses_left_out.)

Each variant of an answer lacks one frame.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import ollama
import pytest
from anthropic import AsyncAnthropic
from google import genai

from infron.events import AnyClientEvent, Billed, Finished, TextDelta, ThinkingDelta, ToolCallDelta, ToolCallStarted
from infron.money import Usage
from infron.request import Target
from infron.testing import Call, Script, ScriptedProvider
from infron.wires import CLIENT_WIRES

SAID: list[AnyClientEvent] = [
    ThinkingDelta("Let me "),
    ThinkingDelta("look."),
    ThinkingDelta("", signature="c2ln"),
    TextDelta("Hel"),
    TextDelta("lo"),
    ToolCallStarted(0, "call_1", "weather"),
    ToolCallDelta(0, '{"city":'),
    ToolCallDelta(0, '"Oslo"}'),
    ToolCallStarted(1, "call_2", "time"),
    ToolCallDelta(1, "{}"),
    Finished("tool_calls"),
]


async def read_messages(address: str, headers: dict[str, str]) -> Any:
    async with AsyncAnthropic(base_url=address, api_key="any", max_retries=0, default_headers=headers) as client:
        question: Any = [{"role": "user", "content": "Hi"}]
        async with client.messages.stream(model="mock/any", max_tokens=9, messages=question) as stream:
            text = "".join([piece async for piece in stream.text_stream])
            message = await stream.get_final_message()
    return [text, message.id, repr(message.content), message.stop_reason, message.usage.output_tokens]


async def read_gemini(address: str, headers: dict[str, str]) -> Any:
    client = genai.Client(api_key="any", http_options={"base_url": address, "headers": headers})
    try:
        stream = await client.aio.models.generate_content_stream(model="mock/any", contents="Hi")
        told = [chunk.model_dump(exclude={"sdk_http_response"}, exclude_none=True) async for chunk in stream]
    finally:
        await client.aio.aclose()
        client.close()
    last = told[-1] if told else {}
    candidates = [one for chunk in told for one in chunk["candidates"]]
    parts = [part for one in candidates for part in one["content"]["parts"]]
    reasons = [one["finish_reason"] for one in candidates if "finish_reason" in one]
    return [parts, reasons, last.get("usage_metadata")]


async def read_ollama(address: str, headers: dict[str, str]) -> Any:
    client = ollama.AsyncClient(host=address, headers=headers)
    try:
        told = [
            chunk async for chunk in await client.chat("mock/any", [{"role": "user", "content": "Hi"}], stream=True)
        ]
    finally:
        await client._client.aclose()
    said = [chunk.message for chunk in told]
    text = ["".join(getattr(message, name) or "" for message in said) for name in ("content", "thinking")]
    calls = [call.model_dump() for message in said for call in message.tool_calls or ()]
    return [text, calls, told[-1].done_reason, told[-1].eval_count]


class Api(NamedTuple):
    """`ends`: what a frame ends with. `kinds`: of all frames. `unmissed`: of those that its library for Python can do
    without.
    """

    name: str
    target: Target
    asked: dict[str, Any]
    ends: bytes
    read: Callable[[str, dict[str, str]], Awaitable[Any]]
    kinds: set[str]
    unmissed: frozenset[str] = frozenset()

    def frames(self) -> list[bytes]:
        """Of an answer with all that there can be in one."""
        wire = CLIENT_WIRES[self.name]
        asked = wire.parse(json.dumps(self.asked).encode(), [], self.target)
        encoder = wire.Encoder("gen-1-0123456789abcdef0123", 1, asked)
        billed = Billed(usage=Usage(prompt=20, completion=9), charge=None, estimated=False, provider="mock")
        stream = b"".join([encoder.encode(event) for event in SAID]) + encoder.usage(billed) + encoder.close()
        return [frame + self.ends for frame in stream.split(self.ends) if frame]


ASKED = {"model": "mock/any", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9, "stream": True}
CONTENTS = {
    "model": "mock/any",
    "contents": [{"parts": [{"text": "Hi"}]}],
    "generationConfig": {"thinkingConfig": {"includeThoughts": True}},
}
STREAMED = Target("/v1beta/models/{model:path}:streamGenerateContent", query={"alt": "sse"})
MESSAGES = Api(
    "anthropic",
    Target("/v1/messages"),
    ASKED,
    b"\n\n",
    read_messages,
    {
        "message_start",
        "content_block_start:thinking",
        "content_block_start:text",
        "content_block_start:tool_use",
        "content_block_delta:thinking_delta",
        "content_block_delta:signature_delta",
        "content_block_delta:text_delta",
        "content_block_delta:input_json_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    },
    unmissed=frozenset({"content_block_stop", "message_stop"}),
)
GEMINI = Api(
    "gemini", STREAMED, CONTENTS, b"\r\n\r\n", read_gemini, {"text:thought", "text", "finishReason:functionCall"}
)
OLLAMA = Api(
    "ollama",
    Target("/api/chat"),
    {**ASKED, "think": True},
    b"\n",
    read_ollama,
    {"thinking", "content", "tool_calls", "done"},
)
EACH = pytest.mark.parametrize("api", [MESSAGES, GEMINI, OLLAMA], ids=lambda api: api.name)


def kind_of(frame: bytes) -> str:
    """A word for what a frame tells."""
    told = json.loads(frame.partition(b"data: ")[2] or frame)
    match told:
        case {"type": kind}:
            inner = told.get("delta") or told.get("content_block") or {}
            return ":".join([kind, *([inner["type"]] if "type" in inner else [])])
        case {"candidates": [{"content": {"parts": parts}, **rest}]}:
            names = {name for part in parts for name in part if name != "thoughtSignature"}
            return ":".join(sorted(names | (rest.keys() & {"finishReason"})))
        case {"message": message, **rest}:
            return ":".join(sorted(name for name, value in message.items() if value and name != "role")) or "done"
    raise AssertionError(frame)


def without_effect(kinds: list[str], seen: list[Any]) -> set[str]:
    """The kinds of which each frame can be left out, and the user has the same. `seen`: by variant, the whole first."""
    same = [place for place, kind in enumerate(kinds) if seen[place + 1] == seen[0]]
    return {kind for kind in kinds if all(place in same for place, other in enumerate(kinds) if other == kind)}


def kinds_and_script(api: Api) -> tuple[list[str], Callable[[Call], Script]]:
    """The kinds of all frames in their order, and a script that plays the variant that is asked for."""
    frames = api.frames()
    played = [frames, *([*frames[:place], *frames[place + 1 :]] for place in range(len(frames)))]
    return [kind_of(frame) for frame in frames], lambda call: played[int(call.headers["x-variant"])]


async def read_each(api: Api, address: str, count: int) -> list[Any]:
    seen: list[Any] = []
    for variant in range(count):
        try:
            seen.append(await api.read(address, {"x-variant": str(variant)}))
        except Exception as error:
            seen.append({"failed": repr(error)})
    return seen


@EACH
async def test_frame_that_is_left_out_is_missed_by_a_library_for_python(api: Api) -> None:
    kinds, play = kinds_and_script(api)
    assert set(kinds) == api.kinds
    async with ScriptedProvider(play) as provider:
        seen = await read_each(api, provider.base_url.removesuffix("/v1"), len(kinds) + 1)
    assert "failed" not in seen[0]
    assert without_effect(kinds, seen) == api.unmissed


@pytest.mark.heavy
@pytest.mark.timeout(180)
async def test_frame_that_is_left_out_of_messages_is_missed_by_a_library(
    start: Callable[..., Any], node: str, packages: Path
) -> None:
    kinds, play = kinds_and_script(MESSAGES)
    async with ScriptedProvider(play) as provider:
        address = provider.base_url.removesuffix("/v1")
        program = await start(node, str(packages / "messages.mjs"), address, str(len(kinds) + 1))
        async with asyncio.timeout(120):
            printed, errors = await program.process.communicate()
    assert program.process.returncode == 0, errors.decode()
    found = [json.loads(line) for line in printed.splitlines()]
    missed_by_none = MESSAGES.unmissed
    for name in ("anthropic", "ai-sdk"):
        seen = [one["seen"] for one in found if one["client"] == name]
        assert len(seen) == len(kinds) + 1
        assert "failed" not in seen[0], name
        assert not seen[0].get("errors"), name
        missed_by_none &= without_effect(kinds, seen)
    assert missed_by_none == set()
