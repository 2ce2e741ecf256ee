"""Answers of the Responses API that are referred to later, by OpenAI's own library; and its other paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from rawclient import get, send

from infron.runtime.ledger.administration import create_key
from infron.testing import DONE, FINISH, ROLE, USAGE, ScriptedProvider, gateway, speak, text

HELLO = [ROLE, text("Hel"), text("lo"), FINISH, USAGE, DONE]


def client_of(running: Any, key: str = "any") -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{running.url}/v1", api_key=key, max_retries=0)


@pytest.mark.parametrize("streamed", [True, False])
async def test_responses_go_on_from_the_one_that_is_named(streamed: bool) -> None:
    async with (
        ScriptedProvider(HELLO) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
        client_of(running) as client,
    ):
        if streamed:
            async with client.responses.stream(model="mock/m", input="Hi", instructions="Be brief.") as stream:
                first: Any = await stream.get_final_response()
        else:
            first = await client.responses.create(model="mock/m", input="Hi", instructions="Be brief.")
        second = await client.responses.create(model="mock/m", input="And now?", previous_response_id=first.id)
    assert first.store is True
    assert second.previous_response_id == first.id
    sent = provider.calls[1].json["messages"]
    assert [(message["role"], message["content"]) for message in sent] == [
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "And now?"),
    ]  # instructions are of one request alone


async def test_responses_go_on_from_items_that_are_referred_to() -> None:
    """So does the AI SDK in the second turn of its user."""
    async with (
        ScriptedProvider(HELLO) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
        client_of(running) as client,
    ):
        first = await client.responses.create(model="mock/m", input="Hi")
        reference = {"type": "item_reference", "id": first.output[0].id}
        history: Any = [{"role": "user", "content": "Hi"}, reference, {"role": "user", "content": "And now?"}]
        await client.responses.create(model="mock/m", input=history)
        with pytest.raises(openai.BadRequestError, match="store: false") as refused:
            await client.responses.create(model="mock/m", input=[{"type": "item_reference", "id": "msg_nobodys"}])
    assert [message["content"] for message in provider.calls[1].json["messages"]] == ["Hi", "Hello", "And now?"]
    assert (refused.value.code, refused.value.param) == ("item_not_found", "input[0].id")


async def test_responses_of_claude_go_on_with_signed_reasoning_that_was_never_told() -> None:
    voice = speak("anthropic")
    said = [voice.start(), voice.thinking("Hm.", "c2ln"), voice.tool_call("f", "{}", "toolu_1")]
    script = voice.plays([*said, voice.usage(7, 3), voice.finish("tool_calls"), voice.done()])
    tools: Any = [
        {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": False}
    ]
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": provider.definition(**voice.definition)}) as running,
        client_of(running) as client,
    ):
        asked: Any = {"model": "mock/claude-sonnet-4-5", "tools": tools, "reasoning": {"effort": "low"}}
        first = await client.responses.create(input="Hi", **asked)
        assert getattr(first.output[0], "encrypted_content", None) is None
        result: Any = [{"type": "function_call_output", "call_id": "toolu_1", "output": "1"}]
        await client.responses.create(input=result, previous_response_id=first.id, **asked)
    block = provider.calls[1].json["messages"][1]["content"][0]
    assert (block["type"], block["thinking"], block["signature"]) == ("thinking", "Hm.", "c2ln")


async def test_responses_of_a_host_of_this_api_go_on_without_its_memory() -> None:
    voice = speak("openai-responses")
    async with (
        ScriptedProvider(voice.answer("Hello")) as provider,
        gateway(providers={"mock": provider.definition(**voice.definition)}) as running,
        client_of(running) as client,
    ):
        first = await client.responses.create(model="mock/m", input="Hi")
        second = await client.responses.create(model="mock/m", input="More", previous_response_id=first.id)
    sent = provider.calls[1].json
    assert "previous_response_id" not in sent
    assert [item["type"] for item in sent["input"]] == ["message", "message", "message"]
    assert second.previous_response_id == first.id


async def test_responses_that_are_not_to_be_stored_are_not_kept() -> None:
    async with (
        ScriptedProvider(HELLO) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
        client_of(running) as client,
    ):
        first = await client.responses.create(model="mock/m", input="Hi", store=False)
        assert first.store is False
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(first.id)
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(model="mock/m", input="Hi", previous_response_id=first.id)
    assert refused.value.code == "previous_response_not_found"
    assert len(provider.calls) == 1


async def test_responses_can_be_read_and_deleted_by_their_own_key_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    secrets = [create_key(url, name)[1] for name in ("ann", "ben")]
    async with (
        ScriptedProvider(HELLO) as provider,
        gateway(providers={"mock": provider.definition()}, ledger={"url": url}) as running,
        client_of(running, secrets[0]) as ann,
        client_of(running, secrets[1]) as ben,
    ):
        first = await ann.responses.create(model="mock/m", input="Hi")
        assert (await ann.responses.retrieve(first.id)).output_text == "Hello"
        for refused in (ben.responses.retrieve(first.id), ben.responses.delete(first.id)):
            with pytest.raises(openai.NotFoundError):
                await refused
        reference: Any = [{"type": "item_reference", "id": first.output[0].id}]
        for given in ({"input": "x", "previous_response_id": first.id}, {"input": reference}):
            with pytest.raises(openai.BadRequestError):
                await ben.responses.create(model="mock/m", **given)
        await ann.responses.delete(first.id)
        with pytest.raises(openai.NotFoundError):
            await ann.responses.retrieve(first.id)


async def test_input_items_of_a_response_are_listed_newest_first() -> None:
    async with (
        ScriptedProvider(HELLO) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
        client_of(running) as client,
    ):
        first = await client.responses.create(model="mock/m", input="Hi")
        second = await client.responses.create(model="mock/m", input="More", previous_response_id=first.id)
        listed: list[Any] = [item async for item in client.responses.input_items.list(second.id, limit=1)]
        upwards: list[Any] = [item async for item in client.responses.input_items.list(second.id, order="asc")]
        with pytest.raises(openai.BadRequestError):
            await client.responses.input_items.list(second.id, limit=0)
    assert [item.content[0].text for item in listed] == ["More", "Hello", "Hi"]
    assert [item.id for item in upwards] == [item.id for item in reversed(listed)]
    assert len({item.id for item in listed}) == 3


async def test_responses_go_on_from_a_long_history() -> None:
    long = "word " * 50_000
    async with (
        ScriptedProvider(HELLO) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
        client_of(running) as client,
    ):
        first = await client.responses.create(model="mock/m", input=long)
        await client.responses.create(model="mock/m", input="And now?", previous_response_id=first.id)
    assert [message["content"] for message in provider.calls[1].json["messages"]] == [long, "Hello", "And now?"]


@pytest.mark.parametrize(
    ("field", "value"), [("background", True), ("conversation", "conv_1"), ("prompt", {"id": "pmpt_1"})]
)
async def test_responses_refuse_what_only_a_providers_own_memory_can_do(field: str, value: Any) -> None:
    async with (
        ScriptedProvider(HELLO) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
        client_of(running) as client,
    ):
        with pytest.raises(openai.BadRequestError, match=f"`{field}`") as refused:
            await client.responses.create(model="mock/m", input="Hi", **{field: value})
        for nothing in (None, False):
            await client.responses.create(model="mock/m", input="Hi", extra_body={field: nothing})
    assert refused.value.param == field
    assert len(provider.calls) == 2


async def test_input_tokens_are_counted_without_asking_a_provider() -> None:
    async with (
        ScriptedProvider(HELLO) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
        client_of(running) as client,
    ):
        few = await client.responses.input_tokens.count(model="mock/gpt-5", input="Hi")
        many = await client.responses.input_tokens.count(model="mock/gpt-5", input="Hi", instructions="Be brief. " * 20)
        raw = await client.responses.input_tokens.with_raw_response.count(model="mock/gpt-5", input="Hi")
        with pytest.raises(openai.NotFoundError):
            await client.responses.input_tokens.count(model="nobody/nothing", input="Hi")
    assert 0 < few.input_tokens < 20 < many.input_tokens
    assert raw.headers["x-infron-estimated"] == "true"
    assert provider.calls == []


async def test_responses_offer_no_websocket_in_words_that_codex_knows() -> None:
    """426 makes it go on over HTTP at once; other statuses cost it seven attempts, or the turn."""
    asks = ("upgrade: websocket", "connection: Upgrade", "sec-websocket-version: 13", "sec-websocket-key: eA==")
    async with gateway() as running:
        client = await (await send(running.port, "GET", "/v1/responses", b"", *asks)).head()
        error = await client.error()
        plain = await get(running.port, "/v1/responses")
        client.close()
    assert client.status == 426
    assert "POST" in error["message"]
    assert plain.status == 405
