"""Embeddings through the gateway: every kind of host, every form of input, receipts, bills, failures, disconnects."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from typing import Any

import pytest
from rawclient import Client, entries, failed_attempts, gateway, receipt, send, settled, within

from infron.testing import CUT, Answer, Call, RunningGateway, Script, ScriptedProvider, Wait
from infron.testing.embeddings import EMBEDDING_HOSTS, Host, bytes_of
from infron.testing.scripts import json_answer

PRICES = {"*": {"prompt": "2", "completion": "0"}}
PATHS = ["/v1/embeddings", "/api/v1/embeddings"]
VERTEX = {"openai-embeddings": {"wire": "vertex-embeddings", "path": "/models/{model}:predict"}}
OPENAI = EMBEDDING_HOSTS["openai"]


def embed(text: str) -> list[float]:
    """A vector that float32 holds exactly."""
    return [len(text) / 4, -0.5, float(text.count("a"))]


def definition(provider: ScriptedProvider, host: Host, **fields: Any) -> dict[str, Any]:
    also = {"also": VERTEX} if ":predict" in host.path else {}
    return provider.definition(wire=host.wire, prices=PRICES, **also, **fields)


async def asked(port: int, *headers: str, path: str = PATHS[0], **fields: Any) -> Client:
    body = json.dumps({"model": "mock/e", "input": "Hi", **fields}).encode()
    client = await send(port, "POST", path, body, "content-type: application/json", *headers)
    return await client.head()


async def answered(port: int, **fields: Any) -> tuple[Client, Any]:
    client = await asked(port, **fields)
    return client, json.loads(await client.rest())


def numbers(vector: Any) -> list[float]:
    if isinstance(vector, str):
        data = base64.b64decode(vector)
        return list(struct.unpack(f"<{len(data) // 4}f", data))
    assert isinstance(vector, list)
    return vector


@pytest.mark.parametrize("form", [None, "float", "base64"])
@pytest.mark.parametrize("name", EMBEDDING_HOSTS)
async def test_embeddings_of_every_host_have_the_form_of_openais(name: str, form: str | None) -> None:
    host = EMBEDDING_HOSTS[name]
    texts = ["a", "ab", "aaa 高い"]
    async with (
        ScriptedProvider(host.plays(embed)) as provider,
        gateway(providers={"mock": definition(provider, host)}) as running,
    ):
        given = {} if form is None else {"encoding_format": form}
        client, told = await answered(running.port, model=f"mock/{host.model}", input=texts, dimensions=3, **given)
        found = await settled(running, client.id)
        calls = provider.calls
    assert client.status == 200, told
    assert [call.path for call in calls] == [f"/v1{host.path}"] * (1 if host.most > 1 else 3)
    assert (told["object"], told["model"], told["id"]) == ("list", f"mock/{host.model}", client.id)
    assert [item["index"] for item in told["data"]] == [0, 1, 2]
    assert all(item["object"] == "embedding" for item in told["data"])
    assert all(isinstance(item["embedding"], str) is (form == "base64") for item in told["data"])
    assert [numbers(item["embedding"]) for item in told["data"]] == [embed(text) for text in texts]
    prompt = 7 * len(calls)
    assert (told["usage"]["prompt_tokens"], told["usage"]["total_tokens"]) == (prompt, prompt)
    assert told["usage"]["cost"] == pytest.approx(prompt * 2e-6)
    assert "estimated" not in told["usage"]
    assert (found["outcome"], found["streamed"], found["estimated"]) == ("completed", False, False)
    assert (found["tokens_prompt"], found["tokens_completion"]) == (prompt, 0)
    assert found["total_cost"] == found["provider_cost"] == pytest.approx(prompt * 2e-6)
    assert found["dropped_parameters"] == []


@pytest.mark.parametrize("path", PATHS)
async def test_embeddings_go_on_to_hosts_of_the_same_api_as_they_came(path: str) -> None:
    said = {"input": ["a", "b"], "encoding_format": "base64", "dimensions": 3, "user": "ann", "x_own": {"b": 1.50}}
    async with (
        ScriptedProvider(OPENAI.plays(embed)) as provider,
        gateway(providers={"mock": definition(provider, OPENAI)}) as running,
    ):
        client = await asked(running.port, path=path, model="mock/up/e-1", session_id="s", provider={}, **said)
        told = json.loads(await client.rest())
        found = await receipt(running.port, client.id)
        call = provider.calls[0]
    assert call.json == {"model": "up/e-1", **said}
    assert b'"x_own":{"b": 1.5}' in call.body
    assert call.headers["authorization"] == "Bearer provider-key"
    assert call.headers["accept"] == "application/json"
    assert told["data"][0]["embedding"] == bytes_of(embed("a"))
    assert (found["external_user"], found["session_id"]) == ("ann", "s")


async def test_embeddings_keep_what_the_host_says_beyond_openais() -> None:
    item = {"embedding": [1.5, 2], "index": 0, "object": "embedding", "sparse": {"1": 0.5}}
    answer = {
        "data": [item],
        "usage": {"prompt_tokens": 3, "total_tokens": 3, "x": 1},
        "object": "list",
        "meta": {"y": 2},
    }
    async with (
        ScriptedProvider([json_answer(200, answer)]) as provider,
        gateway(providers={"mock": definition(provider, OPENAI)}) as running,
    ):
        _, told = await answered(running.port)
    assert told["data"] == [item]
    assert told["meta"] == {"y": 2}
    assert told["usage"]["x"] == 1


@pytest.mark.parametrize(("form", "host_says"), [("float", "base64"), ("base64", "float"), (None, "base64")])
async def test_embeddings_in_another_form_than_asked_for_are_converted(form: str | None, host_says: str) -> None:
    vector = [0.1, -2.5e-8, 3e38, 0.0]
    said = vector if host_says == "float" else bytes_of(vector)
    script = [json_answer(200, {"data": [{"embedding": said, "index": 0}], "usage": {"prompt_tokens": 1}})]
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": definition(provider, OPENAI)}) as running,
    ):
        _, told = await answered(running.port, **({"encoding_format": form} if form else {}))
    (item,) = told["data"]
    assert isinstance(item["embedding"], str) is (form == "base64")
    exact = list(struct.unpack("<4f", struct.pack("<4f", *vector)))
    assert numbers(item["embedding"]) == exact


@pytest.mark.parametrize("given", [[1, 2, 3], [[1, 2], [3]], "Hi", ["Hi", [1, 2]]])
async def test_embeddings_without_a_count_are_counted_by_us(given: Any) -> None:
    async with (
        ScriptedProvider(OPENAI.plays(embed, prompt=None)) as provider,
        gateway(providers={"mock": definition(provider, OPENAI)}) as running,
    ):
        client, told = await answered(running.port, model="mock/text-embedding-3-small", input=given)
        found = await receipt(running.port, client.id)
        assert provider.calls[0].json["input"] == given
    expected = 1 if given == "Hi" else 3
    assert (told["usage"]["prompt_tokens"], told["usage"]["estimated"]) == (expected, True)
    assert (found["tokens_prompt"], found["tokens_completion"], found["estimated"]) == (expected, 0, True)
    assert found["total_cost"] == pytest.approx(expected * 2e-6)


@pytest.mark.parametrize("name", [name for name in EMBEDDING_HOSTS if name != "openai"])
async def test_embeddings_in_tokens_reach_hosts_of_other_apis_as_text(name: str) -> None:
    # LangChain sends them so, in the vocabulary of OpenAI's embedding models, whatever the model is.
    host = EMBEDDING_HOSTS[name]
    async with (
        ScriptedProvider(host.plays(embed)) as provider,
        gateway(providers={"mock": definition(provider, host)}) as running,
    ):
        one, _ = await answered(running.port, model=f"mock/{host.model}", input=[9906, 1917])
        two, _ = await answered(running.port, model=f"mock/{host.model}", input=[[9906], [1917]])
        odd, told = await answered(running.port, model=f"mock/{host.model}", input=[[9906], [10**9]])
        texts = [text for call in provider.calls for text in host.inputs(call.json)]
    assert (one.status, two.status, odd.status) == (200, 200, 400)
    assert texts == ["Hello world", "Hello", " world"]
    assert told["error"]["param"] == "input[1]"


@pytest.mark.parametrize("name", EMBEDDING_HOSTS)
async def test_embeddings_of_more_inputs_than_a_host_takes_come_in_several_answers(name: str) -> None:
    host = EMBEDDING_HOSTS[name]
    texts = ["a" * place for place in range(1, 131)]
    async with (
        ScriptedProvider(host.plays(embed)) as provider,
        gateway(providers={"mock": definition(provider, host)}) as running,
    ):
        client, told = await answered(running.port, model=f"mock/{host.model}", input=texts)
        found = await settled(running, client.id)
        sizes = [len(host.inputs(call.json)) for call in provider.calls]
    assert sum(sizes) == 130
    assert max(sizes) <= host.most
    assert len(sizes) == -(-130 // host.most)
    assert [(item["index"], item["embedding"]) for item in told["data"]] == [
        (place, embed(text)) for place, text in enumerate(texts)
    ]
    assert found["tokens_prompt"] == 7 * len(sizes)


async def test_embeddings_of_thousands_of_tokens_are_no_body_with_too_many_values() -> None:
    given = [[place % 99_999 for place in range(8_000)] for _ in range(30)]
    async with (
        ScriptedProvider(OPENAI.plays(embed)) as provider,
        gateway(providers={"mock": definition(provider, OPENAI)}) as running,
    ):
        client, told = await answered(running.port, input=given)
        assert provider.calls[0].json["input"] == given
    assert (client.status, len(told["data"])) == (200, 30)


# ---- what goes wrong


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"user": 7}, "user"),
    ],
)
async def test_embeddings_request_that_is_none_says_what_is_wrong(fields: dict[str, Any], param: str) -> None:
    async with (
        ScriptedProvider([CUT]) as provider,
        gateway(providers={"mock": definition(provider, OPENAI)}) as running,
    ):
        client, told = await answered(running.port, **fields)
        assert provider.calls == []
    assert (client.status, told["error"]["type"], told["error"]["param"]) == (400, "invalid_request_error", param)


@pytest.mark.parametrize(
    ("given", "param"),
    [([{"type": "image_url"}], "input[0]"), (["a", 7], "input[1]"), ([[1, "a"]], "input[0]"), ({"a": 1}, "input")],
)
async def test_embeddings_input_that_a_host_cannot_take_is_named(given: Any, param: str) -> None:
    host = EMBEDDING_HOSTS["cohere"]
    async with (
        ScriptedProvider(host.plays(embed)) as provider,
        gateway(providers={"mock": definition(provider, host)}) as running,
    ):
        client, told = await answered(running.port, model="mock/embed-v4.0", input=given)
        assert provider.calls == []
    assert (client.status, told["error"]["param"]) == (400, param)


@pytest.mark.parametrize("wire", ["anthropic", "replicate", "cloudflare"])
async def test_embeddings_of_a_provider_that_has_none_are_refused(wire: str) -> None:
    async with (
        ScriptedProvider([CUT]) as provider,
        gateway(providers={"mock": provider.definition(wire=wire)}) as running,
    ):
        client, told = await answered(running.port)
        assert provider.calls == []
    assert (client.status, told["error"]["param"]) == (400, "model")
    assert "embeddings" in told["error"]["message"]


@pytest.mark.parametrize("name", EMBEDDING_HOSTS)
@pytest.mark.parametrize(
    ("said", "status", "outcome"),
    [
        (json_answer(400, {"error": {"message": "Too many dimensions.", "code": "bad"}}), 400, "failed"),
        (json_answer(429, {"message": "Slow down."}, ("retry-after", "7")), 429, "failed"),
        (json_answer(401, {"error": {"message": "provider-key is wrong"}}), 502, "failed"),
        (json_answer(503, {"message": "Overloaded."}), 503, "failed"),
        (json_answer(200, {"error": {"message": "Out of luck.", "code": 500}}), 500, "failed"),
        (json_answer(200, {"object": "list"}), 502, "failed"),
        (Answer(200, (("content-type", "text/html"),), b"<html>"), 502, "failed"),
        (CUT, 502, "failed"),
    ],
    ids=["400", "429", "401", "503", "error with 200", "no data", "html", "cut"],
)
async def test_embeddings_that_fail_are_told_with_their_status_and_cost_nothing(
    name: str, said: Any, status: int, outcome: str
) -> None:
    host = EMBEDDING_HOSTS[name]
    async with (
        ScriptedProvider([said]) as provider,
        gateway(providers={"mock": definition(provider, host)}) as running,
    ):
        client, told = await answered(running.port, model=f"mock/{host.model}")
        found = await settled(running, client.id)
    assert client.status == status, told
    assert "provider-key" not in json.dumps(told)
    assert client.headers.get("retry-after") == ("7" if status == 429 else None)
    assert (found["outcome"], found["total_cost"]) == (outcome, 0)


async def test_embeddings_cut_in_their_middle_are_no_answer() -> None:
    body = b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,'
    script = [Answer(200, (("content-type", "application/json"),)), body, CUT]
    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": definition(provider, OPENAI)}) as running,
    ):
        client, told = await answered(running.port)
        found = await settled(running, client.id)
    assert (client.status, told["error"]["type"]) == (502, "server_error")
    assert (found["outcome"], found["total_cost"]) == ("failed", 0)


async def test_embeddings_fail_over_to_the_next_candidate() -> None:
    host = EMBEDDING_HOSTS["cohere"]
    served = [
        {"provider": "none", "id": "claude-x"},
        {"provider": "full", "id": "e"},
        {"provider": "good", "id": "embed-v4.0"},
    ]
    async with (
        ScriptedProvider([json_answer(429, {"message": "Slow down."})]) as full,
        ScriptedProvider(host.plays(embed)) as good,
        gateway(
            providers={
                "none": full.definition(wire="anthropic"),
                "full": full.definition(),
                "good": definition(good, host),
            },
            models={"acme/embed": {"served_by": served}},
        ) as running,
    ):
        client, told = await answered(running.port, model="acme/embed", input=["a"])
        found = await settled(running, client.id)
        assert len(full.calls) == len(good.calls) == 1
    assert (client.status, told["model"], told["provider"]) == (200, "acme/embed", "good")
    assert told["data"][0]["embedding"] == embed("a")
    assert (found["provider_name"], found["outcome"]) == ("good", "completed")
    assert failed_attempts(found) == ["none: unsupported (400)", "full: rate_limit_exceeded (429)"]


# ---- a client that leaves


async def leave(running: RunningGateway, provider: ScriptedProvider, fields: dict[str, Any]) -> str:
    """Ask, and leave when the provider has the request."""
    body = json.dumps({"model": "mock/e", "input": "Hi", **fields}).encode()
    client = await send(running.port, "POST", PATHS[0], body, "content-type: application/json")
    await within(provider.called())
    client.reset()
    (id,) = await entries(running)
    return id


async def test_embeddings_nobody_waits_for_are_read_to_their_end_and_billed() -> None:
    go = asyncio.Event()

    def script(call: Call) -> Script:
        return [Wait(go), *OPENAI.plays(embed)(call)]

    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": definition(provider, OPENAI)}) as running,
    ):
        id = await leave(running, provider, {})
        (exchange,) = running.context.registry.running()
        async with asyncio.timeout(5):
            while exchange.state.phase.name != "DRAINING":  # type: ignore[attr-defined]
                await asyncio.sleep(0.005)
        go.set()
        found = await settled(running, id)
    assert (found["outcome"], found["tokens_prompt"]) == ("drained", 7)
    assert found["total_cost"] == pytest.approx(14e-6)


async def test_embeddings_in_several_answers_end_with_the_one_at_hand_when_nobody_waits() -> None:
    # All others were asked for too, at the operator's cost.
    host, go = EMBEDDING_HOSTS["titan"], asyncio.Event()

    def script(call: Call) -> Script:
        return [*([Wait(go)] if len(provider.calls) == 2 else []), *host.plays(embed)(call)]

    async with (
        ScriptedProvider(script) as provider,
        gateway(providers={"mock": definition(provider, host)}) as running,
    ):
        body = json.dumps({"model": f"mock/{host.model}", "input": ["a"] * 5}).encode()
        client = await send(running.port, "POST", PATHS[0], body, "content-type: application/json")
        await within(provider.called(2))
        client.reset()
        (exchange,) = running.context.registry.running()
        async with asyncio.timeout(5):
            while exchange.state.phase.name != "DRAINING":  # type: ignore[attr-defined]
                await asyncio.sleep(0.005)
        go.set()
        found = await settled(running)
        assert len(provider.calls) == 2
    assert found["outcome"] == "cancelled"
    assert found["on_disconnect"].endswith("cut short: what is left was not asked for")
    assert found["tokens_prompt"] == 14
    assert found["total_cost"] == pytest.approx(28e-6)


@pytest.mark.parametrize(
    ("said", "sent", "dropped"),
    [
        ({"task_type": "RETRIEVAL_QUERY"}, "search_query", []),
        ({"taskType": "CLUSTERING", "input_type": "classification"}, "classification", []),
        ({"task_type": "SEMANTIC_SIMILARITY"}, "search_document", ["task_type"]),
        ({"task_type": []}, "search_document", ["task_type"]),
    ],
)
async def test_embeddings_of_cohere_are_for_the_task_that_googles_clients_name(
    said: Any, sent: str, dropped: Any
) -> None:
    host = EMBEDDING_HOSTS["cohere"]
    async with (
        ScriptedProvider(host.plays(embed)) as provider,
        gateway(providers={"mock": definition(provider, host)}) as running,
    ):
        client, _ = await answered(running.port, model=f"mock/{host.model}", **said)
        found = await settled(running, client.id)
    assert provider.calls[0].json["input_type"] == sent
    assert found["dropped_parameters"] == dropped
