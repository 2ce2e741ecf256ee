"""Hosts of the Responses API: their answers to clients of it go on as they came, those of other APIs read them too."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from rawclient import all_closed, receipt, send, settled

from infron.testing import CUT, Call, RunningGateway, Script, ScriptedProvider, Wait, gateway, speak
from infron.testing.openai_responses import RESPONSE
from infron.testing.scripts import json_answer, named

HOSTED = [{"type": "web_search"}, {"type": "mcp", "server_label": "s", "server_url": "https://a.b/"}]


@contextlib.asynccontextmanager
async def hosted(script: Any, **fields: Any) -> AsyncIterator[tuple[RunningGateway, ScriptedProvider, AsyncOpenAI]]:
    """A gateway in front of a host of chat completions that speaks the Responses API too."""
    also = {"openai-responses": {"path": "/responses"}}
    async with (
        ScriptedProvider(script) as provider,
        gateway(
            providers={"mock": provider.definition(also=also, prices={"*": {"prompt": 1, "completion": 2}}, **fields)}
        ) as it,
        AsyncOpenAI(base_url=f"{it.url}/v1", api_key="any", max_retries=0) as client,
    ):
        yield it, provider, client
        await all_closed()


def answer() -> Script:
    voice = speak("openai-responses")
    steps = [voice.start(), voice.thinking("Hm.", "gAAA"), voice.text("Hel"), voice.text("lo 高い")]
    return [
        *steps,
        voice.tool_call("weather", '{"city": "Oslo"}'),
        voice.usage(20, 9, 16, 4),
        voice.finish("tool_calls"),
    ]


def frames(stream: bytes) -> list[tuple[str, dict[str, Any]]]:
    blocks = [block.split(b"\n") for block in stream.split(b"\n\n") if block]
    return [(name[7:].decode(), json.loads(data[6:])) for name, data in blocks]


async def test_responses_of_a_host_of_this_api_go_on_byte_for_byte() -> None:
    said = answer()
    async with hosted(said) as (running, provider, _):
        body = {
            "model": "mock/m",
            "input": "Hi",
            "stream": True,
            "tools": HOSTED,
            "x_vendor": 1,
            "temperature": 0.25,
        }
        asked = await send(
            running.port, "POST", "/v1/responses", json.dumps(body).encode(), "content-type: application/json"
        )
        client = await asked.head()
        got = await client.rest()
        call = provider.calls[0]
        told = await receipt(running.port, client.id)
    assert call.path == "/v1/responses"
    assert call.json == {**body, "model": "m"}
    theirs = b"".join(step for step in said if isinstance(step, bytes))
    first, second, *middle, last = theirs.removesuffix(b"\n\n").split(b"\n\n")
    assert b"\n\n".join(middle) in got
    ours = frames(got)
    assert [name for name, _ in ours] == [name for name, _ in frames(theirs)]
    assert [data["sequence_number"] for _, data in ours] == list(range(len(ours)))
    for place, block in ((0, first), (1, second), (-1, last)):
        _, want = frames(block)[0]
        mine = {**ours[place][1]["response"]}
        assert mine["id"] == client.id
        assert mine["model"] == "mock/m"
        kept = {name: value for name, value in want["response"].items() if name not in ("id", "model", "usage")}
        assert {name: mine[name] for name in kept} == kept
    assert ours[-1][1]["response"]["usage"]["total_tokens"] == 29
    assert ours[-1][1]["response"]["cost"] == pytest.approx(38e-6)
    assert told["outcome"] == "completed"
    assert (told["native_tokens_prompt"], told["native_tokens_completion"]) == (20, 9)
    assert told["upstream_id"] == "resp_01"


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "streamed"])
async def test_responses_of_a_host_are_read_by_openais_library(streamed: bool, whole: bool) -> None:
    script = answer()
    if whole:  # the host does not stream, though it was asked to
        assert isinstance(script[-1], bytes)
        script = [json_answer(200, frames(script[-1])[0][1]["response"])]
    async with hosted(script) as (_, _, client):
        if streamed:
            async with client.responses.stream(model="mock/m", input="Hi") as stream:
                kinds = [event.type async for event in stream]
                response: Any = await stream.get_final_response()
            assert kinds[:2] == ["response.created", "response.in_progress"]
            assert kinds[-1] == "response.completed"
            assert "response.function_call_arguments.delta" in kinds
        else:
            response = await client.responses.create(model="mock/m", input="Hi")
    reasoning, message, called = response.output
    assert (reasoning.summary[0].text, reasoning.encrypted_content) == ("Hm.", "gAAA")
    assert (message.content[0].text, called.name, json.loads(called.arguments)) == (
        "Hello 高い",
        "weather",
        {"city": "Oslo"},
    )
    assert (response.usage.input_tokens, response.usage.output_tokens) == (20, 9)
    assert response.usage.input_tokens_details.cached_tokens == 16
    assert response.model == "mock/m"


@pytest.mark.parametrize("streamed", [True, False])
async def test_hosted_tools_of_a_host_begin_its_answer_and_are_counted(streamed: bool) -> None:
    """Its work has begun, and is paid for: another provider must not be asked as well."""
    item = {"id": "ws_1", "type": "web_search_call", "status": "in_progress"}
    done = {**item, "status": "completed", "action": {"type": "search", "query": "x"}}
    voice = speak("openai-responses")
    begun = [voice.start(), named("response.output_item.added", sequence_number=2, output_index=0, item=item)]
    searched = [
        named("response.web_search_call.searching", sequence_number=3, output_index=0, item_id="ws_1"),
        named("response.output_item.done", sequence_number=4, output_index=0, item=done),
    ]
    last = voice.finish()
    async with hosted([*begun, *searched, last]) as (running, _, client):
        if streamed:
            events: list[Any] = [
                e async for e in await client.responses.create(model="mock/m", input="Hi", stream=True)
            ]
            response = events[-1].response
            assert [event.type for event in events[2:5]] == [
                "response.output_item.added",
                "response.web_search_call.searching",
                "response.output_item.done",
            ]
        else:
            response = await client.responses.create(model="mock/m", input="Hi")
        told = await receipt(running.port, response.id)
    assert [item.type for item in response.output] == ["web_search_call"]  # which its last event has left out
    assert told["outcome"] == "completed"
    assert told["usage"] is None  # nobody has said what a search costs


async def test_chat_clients_of_a_host_of_both_apis_are_served_by_its_chat_api() -> None:
    voice = speak("openai-chat")
    async with hosted(voice.plays(voice.answer("Hello"))) as (_, provider, client):
        told = await client.chat.completions.create(model="mock/m", messages=[{"role": "user", "content": "Hi"}])
    assert provider.calls[0].path == "/v1/chat/completions"
    assert told.choices[0].message.content == "Hello"


async def test_responses_with_tools_that_a_host_does_not_know_are_asked_by_its_chat_api() -> None:
    voice = speak("openai-chat")
    also = {"openai-responses": {"path": "/responses", "takes": ["function"]}}
    script = voice.plays(voice.answer("Hello"))
    tools: Any = [{"type": "custom", "name": "apply_patch"}]
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition(also=also)}) as it,
        AsyncOpenAI(base_url=f"{it.url}/v1", api_key="any", max_retries=0) as client,
    ):
        told = await client.responses.create(model="mock/m", input="Hi", tools=tools)
    assert provider.calls[0].path == "/v1/chat/completions"
    assert told.output_text == "Hello"


async def test_chat_clients_of_a_host_of_this_api_alone_are_translated() -> None:
    async with (
        ScriptedProvider(answer()) as provider,
        gateway(providers={"mock": provider.definition(**speak("openai-responses").definition)}) as it,
        AsyncOpenAI(base_url=f"{it.url}/v1", api_key="any", max_retries=0) as client,
    ):
        asked: Any = {"model": "mock/m", "messages": [{"role": "user", "content": "Hi"}]}
        told = await client.chat.completions.create(**asked)
        message: Any = told.choices[0].message
        again: Any = [*asked["messages"], message.to_dict()]
        again.append({"role": "tool", "tool_call_id": "call_1", "content": "Rain."})
        await client.chat.completions.create(model="mock/m", messages=again)
    assert (message.content, message.reasoning) == ("Hello 高い", "Hm.")
    assert [call.function.name for call in message.tool_calls] == ["weather"]
    assert told.choices[0].finish_reason == "tool_calls"
    assert told.usage is not None
    assert (told.usage.prompt_tokens, told.usage.completion_tokens) == (20, 9)
    items = provider.calls[1].json["input"]
    assert [item["type"] for item in items] == [
        "message",
        "reasoning",
        "message",
        "function_call",
        "function_call_output",
    ]
    assert items[1]["encrypted_content"] == "gAAA"


async def test_responses_of_a_host_that_fail_before_their_content_fail_over() -> None:
    voice = speak("openai-responses")
    chat = speak("openai-chat")

    def script(call: Call) -> Script:
        if call.json["model"] == "bad":
            return [voice.start(), voice.error("overloaded")]
        return chat.answer("Hello")

    async with ScriptedProvider(script) as provider:
        also = {"openai-responses": {"path": "/responses"}}
        both = {"one": provider.definition(also=also), "two": provider.definition()}
        async with (
            gateway(providers=both) as it,
            AsyncOpenAI(base_url=f"{it.url}/v1", api_key="any", max_retries=0) as client,
        ):
            extra = {"models": ["two/good"]}
            events: Any = [
                event
                async for event in await client.responses.create(
                    model="one/bad", input="Hi", stream=True, extra_body=extra
                )
            ]
    assert [event.type for event in events].count("response.created") == 1
    assert events[-1].response.output_text == "Hello"


@pytest.mark.parametrize("way", ["error", "cut", "end"])
async def test_responses_of_a_host_that_break_off_fail_in_their_stream(way: str) -> None:
    voice = speak("openai-responses")
    seen = asyncio.Event()
    last: Any = {"error": [voice.error("overloaded", "no room")], "cut": [CUT], "end": []}[way]
    async with hosted([voice.start(), voice.text("Hel"), Wait(seen), *last]) as (running, _, client):
        events: list[Any] = []
        async for event in await client.responses.create(model="mock/m", input="Hi", stream=True):
            events.append(event)
            if event.type == "response.output_text.delta":
                seen.set()
        told = await settled(running, events[0].response.id)
    assert events[-1].type == "response.failed"
    assert events[-1].response.error.code == "server_error"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert told["outcome"] == "failed"


async def test_responses_of_a_host_end_incomplete_with_its_reason() -> None:
    voice = speak("openai-responses")
    async with hosted([voice.start(), voice.text("Hel"), voice.finish("length")]) as (_, _, client):
        events: list[Any] = [e async for e in await client.responses.create(model="mock/m", input="Hi", stream=True)]
        whole = await client.responses.create(model="mock/m", input="Hi")
    assert events[-1].type == "response.incomplete"
    for response in (events[-1].response, whole):
        assert response.status == "incomplete"
        assert response.incomplete_details.reason == "max_output_tokens"


async def test_responses_of_a_host_are_refused_in_its_own_words() -> None:
    refusal = {
        "error": {"message": "Unknown parameter", "type": "invalid_request_error", "param": "x", "code": "unknown"}
    }
    async with hosted([json_answer(400, refusal)]) as (_, _, client):
        with pytest.raises(openai.BadRequestError, match="Unknown parameter") as refused:
            await client.responses.create(model="mock/m", input="Hi")
    assert (refused.value.code, refused.value.param) == ("unknown", "x")


async def test_responses_whose_client_leaves_are_cancelled_at_their_host() -> None:
    voice = speak("openai-responses")
    never = asyncio.Event()
    async with hosted([voice.start(), voice.text("Hel"), Wait(never)], on_disconnect="cancel") as (
        running,
        provider,
        client,
    ):
        stream = await client.responses.create(model="mock/m", input="Hi", stream=True)
        id = ""
        async for event in stream:
            if event.type == "response.created":
                id = event.response.id
            if event.type == "response.output_text.delta":
                break
        await stream.close()
        async with asyncio.timeout(30):
            await provider.calls[0].closed.wait()
        told = await settled(running, id)
    assert told["outcome"] == "cancelled"
    assert told["native_tokens_completion"] > 0


async def test_responses_of_a_host_that_repeats_a_large_request_arrive_whole() -> None:
    """Frames without content were let go of from 256 KiB on: the beginning was missing, and libraries failed."""
    voice = speak("openai-responses")
    begun = [
        named(f"response.{kind}", sequence_number=number, response={**RESPONSE, "instructions": "x" * 400_000})
        for number, kind in enumerate(("created", "in_progress"))
    ]
    voice.start()
    script = [*begun, voice.thinking("", "gAAA"), voice.text("Hello"), voice.finish()]
    async with hosted(script) as (_, _, client), client.responses.stream(model="mock/m", input="Hi") as stream:
        kinds = [event.type async for event in stream]
        response = await stream.get_final_response()
    assert kinds[:3] == ["response.created", "response.in_progress", "response.output_item.added"]
    assert response.output_text == "Hello"


async def test_responses_of_a_host_whose_json_has_several_lines_arrive_in_one() -> None:
    voice = speak("openai-responses")
    steps = [voice.start(), voice.text("Hello"), voice.finish()]
    spread = b""
    for name, data in frames(b"".join(steps)):
        lines = json.dumps(data, indent=1).split("\n")
        spread += f"event: {name}\n".encode() + b"".join(b"data: %b\n" % line.encode() for line in lines) + b"\n"
    async with hosted([spread]) as (_, _, client), client.responses.stream(model="mock/m", input="Hi") as stream:
        kinds = [event.type async for event in stream]
        response = await stream.get_final_response()
    assert (response.output_text, kinds[-1]) == ("Hello", "response.completed")
