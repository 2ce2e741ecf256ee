"""The Responses API, read by OpenAI's own library, from providers that speak other APIs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from infron.testing import CUT, DONE, FINISH, ROLE, USAGE, ScriptedProvider, Wait, delta, frame, gateway, speak, text

TOOLS: Any = [
    {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}, "strict": False},
    {
        "type": "custom",
        "name": "apply_patch",
        "description": "Edits files.",
        "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"},
    },
    {
        "type": "namespace",
        "name": "agents",
        "description": "Other agents.",
        "tools": [{"type": "function", "name": "spawn", "parameters": {"type": "object", "properties": {}}}],
    },
    {"type": "web_search"},
]


def call(index: int, id: str, name: str, arguments: str) -> bytes:
    function = {"name": name, "arguments": arguments}
    return delta(tool_calls=[{"index": index, "id": id, "type": "function", "function": function}])


CALLED = frame(choices=[{"index": 0, "delta": {}, "finish_reason": "tool_calls"}])
CALLS = [
    ROLE,
    delta(reasoning_content="Let me look."),
    call(0, "call_a", "weather", '{"city": "Oslo"}'),
    call(1, "call_b", "apply_patch", '{"input": "*** Begin Patch"}'),
    call(2, "call_c", "agents__spawn", "{}"),
    CALLED,
    USAGE,
    DONE,
]


async def kinds(stream: AsyncIterator[Any]) -> list[str]:
    return [event.type async for event in stream]


async def test_responses_stream_text_and_end_with_their_usage() -> None:
    async with (
        ScriptedProvider([ROLE, text("Hel"), text("lo"), FINISH, USAGE, DONE]) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
        AsyncOpenAI(base_url=f"{running.url}/v1", api_key="any", max_retries=0) as client,
        client.responses.stream(model="mock/m", input="Hi", instructions="Be brief.") as stream,
    ):
        told = await kinds(stream)
        response = await stream.get_final_response()
    assert told == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert response.output_text == "Hello"
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens > 0
    sent = provider.calls[0].json["messages"]
    assert [(message["role"], message["content"]) for message in sent] == [("system", "Be brief."), ("user", "Hi")]


@pytest.mark.parametrize("streamed", [True, False])
async def test_responses_tell_tools_as_they_were_offered(streamed: bool) -> None:
    async with (
        ScriptedProvider(CALLS) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
        AsyncOpenAI(base_url=f"{running.url}/v1", api_key="any", max_retries=0) as client,
    ):
        if streamed:
            async with client.responses.stream(model="mock/m", input="Hi", tools=TOOLS) as stream:
                await kinds(stream)
                response: Any = await stream.get_final_response()
        else:
            response = await client.responses.create(model="mock/m", input="Hi", tools=TOOLS)
        offered = [tool["function"]["name"] for tool in provider.calls[0].json["tools"]]
    assert offered == ["weather", "apply_patch", "agents__spawn"]
    assert [item.type for item in response.output] == [
        "reasoning",
        "function_call",
        "custom_tool_call",
        "function_call",
    ]
    _, weather, patch, spawn = response.output
    assert (weather.call_id, weather.name, json.loads(weather.arguments)) == ("call_a", "weather", {"city": "Oslo"})
    assert (patch.name, patch.input) == ("apply_patch", "*** Begin Patch")
    assert (spawn.name, spawn.namespace) == ("spawn", "agents")


async def test_responses_of_a_session_go_on_with_signed_reasoning() -> None:
    """What a client gives back, item by item, reaches the provider as it wants it."""
    voice = speak("anthropic")
    async with (
        ScriptedProvider(voice.plays(voice.answer("Hello"))) as provider,
        gateway(providers={"mock": provider.definition(**voice.definition)}) as running,
        AsyncOpenAI(base_url=f"{running.url}/v1", api_key="any", max_retries=0) as client,
    ):
        first = await client.responses.create(model="mock/claude-sonnet-4-5", input="Hi", store=False)
        history: Any = [{"role": "user", "content": "Hi"}, *(item.to_dict() for item in first.output)]
        history += [
            {"type": "function_call", "call_id": "call_a", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_a", "output": "Rain."},
        ]
        second = await client.responses.create(model="mock/claude-sonnet-4-5", input=history, tools=TOOLS[:1])
    assert second.output_text == "Hello"
    sent = provider.calls[1].json["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "user"]
    assert [block["type"] for block in sent[1]["content"]] == ["text", "tool_use"]
    assert sent[2]["content"][0]["tool_use_id"] == "call_a"


async def test_responses_that_are_cut_fail_in_their_stream() -> None:
    seen = asyncio.Event()
    async with (
        ScriptedProvider([ROLE, text("Hel"), Wait(seen), CUT]) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
        AsyncOpenAI(base_url=f"{running.url}/v1", api_key="any", max_retries=0) as client,
    ):
        told = []
        async for event in await client.responses.create(model="mock/m", input="Hi", stream=True):
            told.append(event)
            seen.set()
    assert told[-1].type == "response.failed"
    assert told[-1].response.error.code == "server_error"


async def test_responses_of_unknown_models_are_refused_in_openais_form() -> None:
    async with gateway() as running, AsyncOpenAI(base_url=f"{running.url}/v1", api_key="any", max_retries=0) as client:
        with pytest.raises(openai.NotFoundError):
            await client.responses.create(model="nobody/nothing", input="Hi")


async def test_responses_refuse_what_refers_to_answers_that_nobody_kept() -> None:
    """To leave it out would answer another question, and nobody would know."""
    references: Any = [{"type": "item_reference", "id": "msg_1"}]
    async with gateway() as running, AsyncOpenAI(base_url=f"{running.url}/v1", api_key="any", max_retries=0) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(model="local/smollm2-135m", input="Hi", previous_response_id="resp_1")
        assert refused.value.code == "previous_response_not_found"
        async with ScriptedProvider([]) as provider, gateway(providers={"mock": provider.definition()}) as other:
            client = client.with_options(base_url=f"{other.url}/v1")
            with pytest.raises(openai.BadRequestError) as refused:
                await client.responses.create(model="mock/m", input=references)
    assert refused.value.code == "item_not_found"
    assert refused.value.param == "input[0].id"
