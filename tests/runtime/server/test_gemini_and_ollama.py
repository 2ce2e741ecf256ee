"""Gemini's and Ollama's APIs at the gateway: their paths, keys, streams and errors, byte by byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rawclient import receipt
from rawconnection import ask, request

from infron.runtime.ledger.administration import create_key
from infron.testing import DONE, FINISH, ROLE, USAGE, Answer, ScriptedProvider, gateway, speak, text

HELLO = [ROLE, text("Hel"), text("lo"), FINISH, USAGE, DONE]
JSON = (("content-type", "application/json"),)
CONTENTS = {"contents": [{"parts": [{"text": "Hi"}]}]}


def post(path: str, *headers: str, **fields: Any) -> bytes:
    body = json.dumps(fields or CONTENTS).encode()
    return request("POST", path, "Content-Type: application/json", *headers, body=body)


@pytest.mark.parametrize(
    "path",
    [
        "/v1beta/models/mock/any:generateContent",
        "/v1beta/models/mock%2Fany:generateContent",
        "/v1/models/models/mock/any:generateContent",
        "/v1beta/v1beta/models/mock/any:generateContent",
        "/v1alpha/models/mock/any:generateContent",
        "/api/v1beta/models/mock/any:generateContent",
        "/v1beta/models/mock/any%3AgenerateContent?%24alt=json",
        "/v1beta/models/other:generateContent",
    ],
)
async def test_gemini_model_is_found_in_the_path_however_it_is_written(path: str) -> None:
    async with (
        ScriptedProvider(HELLO) as provider,
        gateway(providers={"mock": provider.row()}, aliases={"other": "mock/any"}) as running,
    ):
        reply = await ask(running.port, post(path))
        assert (reply.status, provider.calls[0].json["model"]) == (200, "any")
        assert reply.json["candidates"][0]["content"]["parts"] == [{"text": "Hello"}]
        found = await receipt(running.port, reply.headers["x-generation-id"])
        assert found["outcome"] == "completed"


async def test_gemini_stream_is_events_or_one_array() -> None:
    async with ScriptedProvider(HELLO) as provider, gateway(providers={"mock": provider.row()}) as running:
        path = "/v1beta/models/mock/any:streamGenerateContent"
        events = await ask(running.port, post(f"{path}?alt=sse&key=any"))
        assert events.headers["content-type"] == "text/event-stream; charset=utf-8"
        blocks = events.body.decode().split("\r\n\r\n")[:-1]
        frames = [json.loads(block.removeprefix("data: ")) for block in blocks]
        array = await ask(running.port, post(path))
        assert array.headers["content-type"] == "application/json"
    for told in (frames, array.json):
        assert [part["text"] for one in told for part in one["candidates"][0]["content"]["parts"]] == ["Hel", "lo", ""]
        assert told[-1]["usageMetadata"]["totalTokenCount"] == 10


async def test_gemini_stream_of_google_arrives_byte_for_byte() -> None:
    voice = speak("gemini")
    frame = b'data: {"candidates": [{"content": {"parts": [{"text": "Hi"}],"role": "model"}}],"aurora": 1.50}\r\n\r\n'
    steps = [frame, voice.usage(7, 3), voice.finish()]
    async with (
        ScriptedProvider(voice.plays([step for step in steps if step])) as provider,
        gateway(providers={"mock": provider.definition(**voice.definition)}) as running,
    ):
        reply = await ask(running.port, post("/v1beta/models/mock/gemini-3-pro:streamGenerateContent?alt=sse"))
        assert reply.body == b"".join(steps)
        assert provider.calls[0].json == CONTENTS
        found = await receipt(running.port, reply.headers["x-generation-id"])
        assert (found["outcome"], found["native_tokens_prompt"]) == ("completed", 7)


@pytest.mark.parametrize(
    ("data", "status", "word"),
    [
        (post("/v1beta/models/nobody/x:generateContent"), 404, "NOT_FOUND"),
        (post("/v1beta/models/mock/any:generateContent", contents=7), 400, "INVALID_ARGUMENT"),
        (post("/v1beta/models/mock/any:predict"), 400, "INVALID_ARGUMENT"),
        (request("GET", "/v1beta/aurora"), 404, "NOT_FOUND"),
        (request("GET", "/v1beta/models/mock/any:generateContent"), 405, "UNIMPLEMENTED"),
    ],
)
async def test_gemini_errors_have_the_form_of_its_api(data: bytes, status: int, word: str) -> None:
    async with ScriptedProvider(HELLO) as provider, gateway(providers={"mock": provider.row()}) as running:
        reply = await ask(running.port, data)
    assert (reply.status, reply.json["error"]["code"], reply.json["error"]["status"]) == (status, status, word)


SAID = {**CONTENTS, "systemInstruction": {"parts": [{"text": "Be brief."}]}, "safetySettings": []}
GOOGLE = {"generateContentRequest": {"model": "models/gemini-3-pro", **SAID}}
VERTEX = {name: value for name, value in SAID.items() if name != "safetySettings"}


@pytest.mark.parametrize("body", [SAID, {"generateContentRequest": {"model": "models/mock/gemini-3-pro", **SAID}}])
@pytest.mark.parametrize(("vertex", "sent"), [(False, GOOGLE), (True, VERTEX)])
async def test_gemini_tokens_are_counted_by_google_where_it_serves(body: Any, vertex: bool, sent: Any) -> None:
    counted = b'{"totalTokens": 31, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 31}], "x": 1.50}'
    script = [Answer(200, JSON, counted)]
    quirks = {"quirks": {"request": {"vertex": vertex}}}
    async with ScriptedProvider(script) as provider:
        definition = provider.definition(**speak("gemini").definition, **quirks)
        async with gateway(providers={"mock": definition}) as running:
            reply = await ask(running.port, post("/v1beta/models/mock/gemini-3-pro:countTokens", **body))
    assert (reply.status, reply.body) == (200, counted)
    assert "x-infron-estimated" not in reply.headers
    [call] = provider.calls
    assert call.path.endswith("/models/gemini-3-pro:countTokens")
    assert call.json == sent


@pytest.mark.parametrize("answer", [Answer(404, JSON, b"{}"), Answer(503, JSON, b"{}"), Answer(200, JSON, b"[]")])
async def test_gemini_tokens_are_counted_here_where_google_gives_no_count(answer: Answer) -> None:
    async with ScriptedProvider([answer]) as provider:
        definition = provider.definition(**speak("gemini").definition)
        async with gateway(providers={"mock": definition}) as running:
            reply = await ask(running.port, post("/v1beta/models/mock/gemini-3-pro:countTokens"))
    assert (reply.status, reply.headers["x-infron-estimated"]) == (200, "true")
    assert 0 < reply.json["totalTokens"] < 20


async def test_gemini_count_that_google_refuses_is_refused() -> None:
    problem = b'{"error": {"code": 400, "message": "No such field.", "status": "INVALID_ARGUMENT"}}'
    async with ScriptedProvider([Answer(400, JSON, problem)]) as provider:
        definition = provider.definition(**speak("gemini").definition)
        async with gateway(providers={"mock": definition}) as running:
            reply = await ask(running.port, post("/v1beta/models/mock/gemini-3-pro:countTokens"))
    assert (reply.status, reply.json["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert "No such field." in reply.json["error"]["message"]


async def test_ollama_stream_is_lines_and_its_errors_sentences() -> None:
    asked = {"model": "mock/any", "messages": [{"role": "user", "content": "Hi"}]}
    async with ScriptedProvider(HELLO) as provider, gateway(providers={"mock": provider.row()}) as running:
        reply = await ask(running.port, post("/api/chat", **asked))
        assert reply.headers["content-type"] == "application/x-ndjson"
        assert [json.loads(line)["done"] for line in reply.body.splitlines()] == [False, False, True]
        for data, status in (
            (post("/api/chat", **{**asked, "model": "nobody/x"}), 404),
            (post("/api/pull", model="m"), 400),
            (request("GET", "/api/chat"), 405),
        ):
            reply = await ask(running.port, data)
            assert (reply.status, list(reply.json)) == (status, ["error"])
            assert isinstance(reply.json["error"], str)


@pytest.mark.parametrize(
    ("query", "header"), [("", "x-goog-api-key: {}"), ("?key={}", "x-any: 1"), ("", "Authorization: Bearer {}")]
)
async def test_gemini_takes_a_key_where_its_clients_put_it(query: str, header: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'infron.db'}"
    _, secret = create_key(url, "first")
    path = "/v1beta/models/mock/any:generateContent"
    async with (
        ScriptedProvider(HELLO) as provider,
        gateway(providers={"mock": provider.definition()}, ledger={"url": url}) as running,
    ):
        taken = await ask(running.port, post(path + query.format(secret), header.format(secret)))
        refused = await ask(running.port, post(path + query.format("sk-x"), header.format("sk-x")))
    assert (taken.status, refused.status) == (200, 401)
    assert refused.json["error"]["status"] == "UNAUTHENTICATED"


async def test_gemini_error_of_a_provider_keeps_its_status_and_its_wait() -> None:
    slow = Answer(429, (("content-type", "application/json"), ("retry-after", "7")), b'{"error":{"message":"Slow."}}')
    async with ScriptedProvider([slow]) as provider, gateway(providers={"mock": provider.row()}) as running:
        reply = await ask(running.port, post("/v1beta/models/mock/any:streamGenerateContent?alt=sse"))
    assert (reply.status, reply.headers["retry-after"]) == (429, "7")
    assert reply.json["error"]["status"] == "RESOURCE_EXHAUSTED"
