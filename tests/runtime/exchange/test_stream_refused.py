"""Models that refuse to stream: asked again for a whole answer, and remembered; the client gets what it asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rawclient import Client, ask, gateway, settled, words

from infron.runtime.exchange import providers
from infron.testing import ROLE, Call, Script, ScriptedProvider, speak
from infron.testing.scripts import json_answer

COUNTS = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
CHAT = {
    "id": "c",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi", "tool_calls": [CALL]},
                 "finish_reason": "tool_calls"}],
    "usage": COUNTS,
}  # fmt: skip
CLAUDE = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "content": [{"type": "text", "text": "Hi"}, {"type": "tool_use", "id": "c1", "name": "f", "input": {"x": 1}}],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 7, "output_tokens": 3},
}
CONVERSE = {
    "output": {"message": {"role": "assistant", "content": [
        {"text": "Hi"}, {"toolUse": {"toolUseId": "c1", "name": "f", "input": {"x": 1}}}]}},
    "stopReason": "tool_use",
    "usage": {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10},
}  # fmt: skip
GEMINI = {
    "candidates": [{"finishReason": "STOP", "content": {"parts": [
        {"text": "Hi"}, {"functionCall": {"name": "f", "id": "c1", "args": {"x": 1}}}]}}],
    "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 3, "totalTokenCount": 10},
}  # fmt: skip
COHERE = {
    "id": "c",
    "finish_reason": "TOOL_CALL",
    "message": {"role": "assistant", "content": [{"type": "text", "text": "Hi"}], "tool_calls": [CALL]},
    "usage": {"billed_units": {"input_tokens": 7, "output_tokens": 3}},
}
CLOUDFLARE = {"success": True, "result": {"response": "Hi", "tool_calls": [CALL], "usage": COUNTS}}
WHOLE: dict[str, dict[str, Any]] = {
    "openai-chat": CHAT,
    "anthropic": CLAUDE,
    "bedrock": CONVERSE,
    "gemini": GEMINI,
    "cohere": COHERE,
    "cloudflare": CLOUDFLARE,
}
# What is refused, in the words of OpenAI and of Bedrock.
STREAM = "Unsupported value: 'stream' does not support true with this model. Supported values are: false."
TOOLS_IN_STREAM = "This model doesn't support tool use in streaming mode."


def asks_stream(call: Call) -> bool:
    if call.path.endswith(("/converse", ":generateContent")):
        return False
    return "stream" in call.path or call.json.get("stream") is True


def refusing(wire: str, said: str = STREAM, status: int = 400, only: Any = lambda call: True) -> Any:
    """A host that gives whole answers only, to the requests that `only` names."""

    def script(call: Call) -> Script:
        if asks_stream(call) and only(call):
            return [json_answer(status, {"message": said, "error": {"message": said, "type": "invalid_request_error"}})]
        if asks_stream(call):
            voice = speak(wire)
            return voice.plays(voice.answer("streamed"))
        return [json_answer(200, WHOLE[wire])]

    return script


async def read(port: int, **fields: Any) -> Client:
    client = await (await ask(port, **{"max_tokens": 99, **fields})).head()
    await client.rest()
    return client


def told(client: Client, path: str, *, stream: bool) -> str:
    return client.received.decode() if path != "/v1/chat/completions" or not stream else words(client.frames())


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("wire", WHOLE)
async def test_answer_is_asked_for_whole_where_its_stream_is_refused(wire: str, stream: bool, path: str) -> None:
    """The refusal came back, 400, also to a client that had never asked for a stream."""
    row = speak(wire).definition
    async with (
        ScriptedProvider(refusing(wire, TOOLS_IN_STREAM)) as provider,
        gateway(providers={"mock": provider.definition(**row)}) as running,
    ):
        more = {"input": "Hi"} if path == "/v1/responses" else {}
        client = await read(running.port, path=path, stream=stream, **more)
        found = await settled(running, client.id)
    assert client.status == 200, client.received
    assert "Hi" in told(client, path, stream=stream)
    assert b"c1" in client.received
    assert [asks_stream(call) for call in provider.calls] == [True, False]
    assert provider.calls[1].headers["accept"] == "application/json"
    assert "stream_options" not in provider.calls[1].json
    assert (found["outcome"], found["finish_reason"], found["attempts"]) == ("completed", "tool_calls", [])
    assert (found["tokens_prompt"], found["tokens_completion"], found["estimated"]) == (7, 3, False)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "Your organization must be verified to stream this model."),
        (422, "Error in `stream`: `stream` is not supported for this model"),
        (400, "stream must be false"),
        (403, "Streaming is not allowed for this model"),
        (501, "streaming is not implemented"),
        (400, "Streaming completion is not support yet, please remove 'stream' key value in the request payload."),
    ],
)
async def test_stream_that_is_refused_is_known_in_every_wording(status: int, said: str) -> None:
    async with (
        ScriptedProvider(refusing("openai-chat", said, status)) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
    ):
        assert (await read(running.port)).words() == "Hi"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "This model only support stream mode, please enable the stream parameter to access the model."),
        (400, "parameter.enable_thinking must be set to false for non-streaming calls"),
        (400, "messages must not be empty"),
        (401, "streaming is not supported"),
        (429, "streaming is not supported"),
        (503, "streaming is not supported"),
    ],
)
async def test_request_that_is_refused_for_another_reason_is_not_asked_again(status: int, said: str) -> None:
    async with (
        ScriptedProvider(refusing("openai-chat", said, status)) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
    ):
        client = await read(running.port)
    assert client.status == (502 if status == 401 else status)
    assert len(provider.calls) == 1


@pytest.mark.parametrize("first", [b"", ROLE])
async def test_stream_that_is_refused_inside_itself_is_asked_for_whole(first: bytes) -> None:
    said = b'data: {"error": {"message": "streaming is not supported for this model", "code": 400}}\n\n'

    def script(call: Call) -> Script:
        return [first, said] if call.json["stream"] else [json_answer(200, CHAT)]

    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        client = await read(running.port)
        found = await settled(running, client.id)
    assert client.words() == "Hi"
    assert client.received.count(b'"role"') == 1
    assert (found["outcome"], found["attempts"]) == ("completed", [])


async def test_refusal_of_the_whole_answer_too_is_the_one_that_is_told() -> None:
    def script(call: Call) -> Script:
        said = STREAM if call.json["stream"] else "stream must be false, and so must the rest"
        return [json_answer(400, {"error": {"message": said}})]

    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        client = await read(running.port)
        found = await settled(running, client.id)
    assert json.loads(client.received)["error"]["message"] == "stream must be false, and so must the rest"
    assert (len(provider.calls), found["outcome"], found["total_cost"]) == (2, "failed", 0)


# ---- what is remembered


async def test_model_that_refused_to_stream_is_asked_for_whole_answers_at_once_for_a_while() -> None:
    model = "mock/small"
    async with (
        ScriptedProvider(refusing("openai-chat", only=lambda call: call.json["model"] == "small")) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
    ):
        for _ in range(2):
            assert (await read(running.port, model=model)).words() == "Hi"
        assert (await read(running.port, model="mock/other")).words() == "streamed"
    asked = [(call.json["model"], call.json["stream"]) for call in provider.calls]
    assert asked == [("small", True), ("small", False), ("small", False), ("other", True)]


async def test_model_that_refused_to_stream_is_asked_for_a_stream_again_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(providers, "REFUSAL_SECONDS", 0.0)
    async with (
        ScriptedProvider(refusing("openai-chat")) as provider,
        gateway(providers={"mock": provider.definition()}) as running,
    ):
        for _ in range(2):
            assert (await read(running.port)).words() == "Hi"
    assert [call.json["stream"] for call in provider.calls] == [True, False, True, False]


@pytest.mark.parametrize(
    ("odd", "usual"),
    [
        ({"audio": {"voice": "a", "format": "wav"}}, {"audio": {"voice": "a", "format": "pcm16"}}),
        ({"tools": TOOLS}, {}),
        ({"response_format": {"type": "json_schema"}}, {"response_format": {"type": "json_object"}}),
    ],
)
async def test_stream_is_not_taken_from_requests_of_another_kind(odd: dict[str, Any], usual: dict[str, Any]) -> None:
    """A format of audio that cannot be streamed says nothing of one that can."""
    (name,) = odd
    refused = refusing("openai-chat", only=lambda call: call.json.get(name) == odd[name])
    async with ScriptedProvider(refused) as provider, gateway(providers={"mock": provider.definition()}) as running:
        assert (await read(running.port, **odd)).words() == "Hi"
        assert (await read(running.port, **usual)).words() == "streamed"
        assert (await read(running.port, **odd)).words() == "Hi"
    assert [call.json["stream"] for call in provider.calls] == [True, False, True, False]


async def test_stream_is_not_taken_from_others_by_what_one_caller_has_repeated() -> None:
    """Hosts repeat what they do not take. One caller's word made a host's answers whole for everybody."""
    strange = {"include_usage": True, "x": "stream=true is not supported"}

    def script(call: Call) -> Script:
        if call.json.get("stream_options", {}).keys() - {"include_usage"}:
            return [json_answer(400, {"error": {"message": f"{strange['x']} is unknown"}})]
        voice = speak("openai-chat")
        return voice.answer("streamed") if call.json["stream"] else [json_answer(200, CHAT)]

    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        assert (await read(running.port, stream_options=strange)).words() == "Hi"
        assert (await read(running.port, stream_options={"include_usage": True})).words() == "streamed"


async def test_sound_that_cannot_be_streamed_reaches_its_client() -> None:
    said = "Unsupported value: 'audio.format' does not support 'wav' when stream=true. Supported values are: 'pcm16'."
    sound = {"id": "a1", "data": "UklGRg==", "transcript": "hi", "expires_at": 1}
    answer = {"choices": [{"index": 0, "message": {"role": "assistant", "content": None, "audio": sound},
                           "finish_reason": "stop"}], "usage": COUNTS}  # fmt: skip

    def script(call: Call) -> Script:
        if call.json["stream"]:
            return [
                json_answer(400, {"error": {"message": said, "param": "audio.format", "code": "unsupported_value"}})
            ]
        return [json_answer(200, answer)]

    fields: Any = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}
    async with ScriptedProvider(script) as provider, gateway(providers={"mock": provider.definition()}) as running:
        whole = await read(running.port, stream=False, **fields)
        stream = await read(running.port, **fields)
    assert json.loads(whole.received)["choices"][0]["message"]["audio"] == sound
    assert [one["choices"][0]["delta"]["audio"] for one in stream.frames()[:1]] == [sound]
