"""Legacy completions through the gateway: relayed with `echo` and `logprobs`, or asked as in a chat where it can be."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from openai import AsyncOpenAI
from rawclient import Client, failed_attempts, gateway, receipt, send, settled, within

from infron.testing import CUT, Call, Script, ScriptedProvider, Wait, speak
from infron.testing.scripts import dump, json_answer

PRICES = {"*": {"prompt": "1", "completion": "2"}}
PATHS = ["/v1/completions", "/api/v1/completions"]
DONE = b"data: [DONE]\n\n"
COUNTS = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def choice(text: str = "", reason: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": reason, **more}


def frame(*choices: dict[str, Any], **more: Any) -> bytes:
    said = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "up", "choices": list(choices), **more}
    return b"data: %b\n\n" % dump(said)


STREAM = [frame(choice("Hel")), frame(choice("lo")), frame(choice("", "length")), frame(usage=COUNTS), DONE]


async def asked(port: int, *headers: str, path: str = PATHS[0], **fields: Any) -> Client:
    body = json.dumps({"model": "mock/m", "prompt": "Say", **fields}).encode()
    return await (await send(port, "POST", path, body, "content-type: application/json", *headers)).head()


def row(provider: ScriptedProvider, **fields: Any) -> dict[str, Any]:
    return {"mock": provider.definition(prices=PRICES, **fields)}


def chat_only(provider: ScriptedProvider, wire: str = "openai-chat") -> dict[str, Any]:
    return row(provider, **{**speak(wire).definition, "also": {"openai-completions": {"path": ""}}})


@pytest.mark.parametrize("path", PATHS)
async def test_completions_stream_as_the_host_says_it(path: str) -> None:
    async with ScriptedProvider(STREAM) as provider, gateway(providers=row(provider)) as running:
        said = {"prompt": "Say", "max_tokens": 3, "stop": [], "echo": False, "seed": 1, "x_own": {"a": 1}}
        client = await asked(running.port, path=path, stream=True, stream_options={"include_usage": True}, **said)
        await client.rest()
        found = await settled(running, client.id)
        call = provider.calls[0]
    assert call.path == "/v1/completions"
    assert call.json == {"model": "m", **said, "stream": True, "stream_options": {"include_usage": True}}
    *frames, last, done = client.frames()
    assert done == "[DONE]"
    assert [one["choices"][0]["text"] for one in frames] == ["Hel", "lo", ""]
    assert frames[-1]["choices"][0]["finish_reason"] == "length"
    assert all((one["id"], one["model"], one["object"]) == (client.id, "mock/m", "text_completion") for one in frames)
    assert last["choices"] == []
    assert (last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"]) == (7, 3)
    assert (found["outcome"], found["finish_reason"], found["estimated"]) == ("completed", "length", False)
    assert found["total_cost"] == pytest.approx(13e-6)


async def test_completions_stream_has_no_frame_without_text_unasked() -> None:
    async with ScriptedProvider(STREAM) as provider, gateway(providers=row(provider)) as running:
        client = await asked(running.port, stream=True)
        await client.rest()
        found = await settled(running, client.id)
    assert all(one == "[DONE]" or one["choices"] for one in client.frames())
    assert (found["tokens_prompt"], found["tokens_completion"]) == (7, 3)


@pytest.mark.parametrize("prompt", ["Say", ["Say", "So"], [1, 2, 3], [[1, 2], [3]]])
async def test_completions_score_prompts_with_echo_and_logprobs(prompt: Any) -> None:
    # As lm-evaluation-harness asks: in tokens or texts, for the log-probabilities of what it sends itself.
    told = {"tokens": ["S", "ay"], "token_logprobs": [None, -0.5], "top_logprobs": [None, {"ay": -0.5}]}
    scores = [choice("Say!", "length", place, logprobs={**told, "text_offset": [0, 1]}) for place in range(2)]
    answer = {"id": "c", "object": "text_completion", "created": 1, "model": "up", "choices": scores, "usage": COUNTS}
    async with ScriptedProvider([json_answer(200, answer)]) as provider, gateway(providers=row(provider)) as running:
        said = {"prompt": prompt, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1, "seed": 1234}
        client = await asked(running.port, **said)
        got = json.loads(await client.rest())
        found = await settled(running, client.id)
        assert provider.calls[0].json == {"model": "m", **said, "stream": False}
    assert got["choices"] == scores
    assert (got["id"], got["model"], got["object"]) == (client.id, "mock/m", "text_completion")
    assert got["usage"]["total_tokens"] == 10
    assert (found["outcome"], found["estimated"], found["streamed"]) == ("completed", False, False)


async def test_completions_that_are_an_echo_alone_cost_the_prompt() -> None:
    answer = {"choices": [choice("Say", "length")], "usage": {"prompt_tokens": 7, "completion_tokens": 0}}
    async with ScriptedProvider([json_answer(200, answer)]) as provider, gateway(providers=row(provider)) as running:
        client = await asked(running.port, max_tokens=0, echo=True, logprobs=1)
        got = json.loads(await client.rest())
        found = await settled(running, client.id)
    assert got["choices"][0]["text"] == "Say"
    assert (found["tokens_prompt"], found["tokens_completion"], found["estimated"]) == (7, 0, False)
    assert found["total_cost"] == pytest.approx(7e-6)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wire", ["openai-chat", "anthropic", "gemini", "cohere", "bedrock"])
async def test_completions_of_chat_models_are_asked_as_in_a_chat(wire: str, stream: bool) -> None:
    voice = speak(wire)
    script = voice.plays(voice.answer("Hel", "lo", reason="length"))
    async with ScriptedProvider(script) as provider, gateway(providers=chat_only(provider, wire)) as running:
        nothing = {"best_of": 1, "echo": False, "suffix": None, "logprobs": None}
        client = await asked(running.port, stream=stream, max_tokens=9, stop=["END"], **nothing)
        body = await client.rest()
        found = await settled(running, client.id)
        told = json.dumps(provider.calls[0].json)
    assert "Say" in told
    assert "END" in told
    if stream:
        frames = [one for one in client.frames() if isinstance(one, dict)]
        text = "".join(one["choices"][0]["text"] for one in frames)
        reasons = [one["choices"][0]["finish_reason"] for one in frames]
    else:
        (only,) = json.loads(body)["choices"]
        text, reasons = only["text"], [only["finish_reason"]]
    assert text == "Hello"
    assert reasons[-1] == "length"
    assert (found["outcome"], found["tokens_prompt"], found["tokens_completion"]) == ("completed", 7, 3)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"echo": True}, "echo"),
        ({"logprobs": 1}, "logprobs"),
        ({"logprobs": 0}, "logprobs"),
        ({"suffix": "!"}, "suffix"),
        ({"best_of": 2}, "best_of"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
    ],
)
async def test_completions_that_no_chat_can_say_are_refused(fields: dict[str, Any], param: str) -> None:
    async with ScriptedProvider([CUT]) as provider, gateway(providers=chat_only(provider)) as running:
        client = await asked(running.port, **fields)
        error = await client.error()
        assert provider.calls == []
    assert (client.status, error["param"], error["type"]) == (400, param, "invalid_request_error")


@pytest.mark.parametrize("stream", [False, True])
async def test_completions_fail_over_and_tell_errors(stream: bool) -> None:
    limited = json_answer(429, {"error": {"message": "Slow down."}})
    script = STREAM if stream else [json_answer(200, {"choices": [choice("Hello", "stop")], "usage": COUNTS})]
    served = [{"provider": "full", "id": "m"}, {"provider": "good", "id": "m"}]
    async with (
        ScriptedProvider([limited]) as full,
        ScriptedProvider(script) as good,
        gateway(
            providers={"full": full.definition(), "good": good.definition()},
            models={"acme/text": {"served_by": served}},
        ) as running,
    ):
        client = await asked(running.port, model="acme/text", stream=stream)
        await client.rest()
        found = await receipt(running.port, client.id)
        refused = await asked(running.port, model="full/m", stream=stream)
        error = await refused.error()
    assert (client.status, failed_attempts(found)) == (200, ["full: rate_limit_exceeded (429)"])
    assert (refused.status, error["message"]) == (429, "Slow down.")


@pytest.mark.parametrize("end", [[CUT], [DONE], []])
async def test_completions_stream_without_a_finish_reason_is_an_error(end: Script) -> None:
    begun = asyncio.Event()
    script = [frame(choice("Hel")), Wait(begun), *end]
    async with ScriptedProvider(script) as provider, gateway(providers=row(provider)) as running:
        client = await asked(running.port, stream=True)
        await client.until(b"Hel")
        begun.set()
        await client.rest()
        found = await settled(running, client.id)
    *_, failed, done = client.frames()
    assert done == "[DONE]"
    assert failed["error"]["type"] == "server_error"
    assert (found["outcome"], found["total_cost"]) == ("failed", 0)


async def test_completions_stream_is_cancelled_where_its_client_leaves() -> None:
    never = asyncio.Event()
    script = [frame(choice("Hel")), Wait(never)]
    async with ScriptedProvider(script) as provider, gateway(providers=row(provider)) as running:
        client = await asked(running.port, stream=True)
        await client.until(b"Hel")
        client.reset()
        call: Call = provider.calls[0]
        await within(call.closed.wait())
        found = await settled(running, client.id)
    assert (found["outcome"], found["estimated"]) == ("cancelled", True)
    assert found["tokens_prompt"] > 0
    assert found["tokens_completion"] > 0


async def test_completions_are_read_by_openais_library() -> None:
    whole = json_answer(200, {"choices": [choice("Hello", "stop")], "usage": COUNTS, "id": "c", "created": 1})
    scripts: list[Script] = [STREAM, [whole]]
    async with (
        ScriptedProvider(lambda call: scripts.pop(0)) as provider,
        gateway(providers=row(provider)) as running,
        AsyncOpenAI(base_url=f"{running.url}/v1", api_key="any", max_retries=0) as client,
    ):
        stream = await client.completions.create(model="mock/m", prompt="Say", stream=True)
        text = "".join([part.choices[0].text async for part in stream])
        answer = await client.completions.create(model="mock/m", prompt="Say")
    assert text == answer.choices[0].text == "Hello"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 10
