"""Requests of clients, read, and written to the providers of every wire."""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Any

import msgspec

from fuzz.corpus import whole_of
from fuzz.promises import Case, Target, promise, valid
from infron.catalog.definitions import Provider
from infron.catalog.load import load_catalog
from infron.errors import InfronError
from infron.events import Billed, Event, Finished, Started, TextDelta, ToolCallDelta, ToolCallStarted
from infron.money import Usage
from infron.policy.routing import Candidate, check_names
from infron.request import Request
from infron.runtime.exchange.meter import Meter
from infron.wires import CLIENT_WIRES, PROVIDER_WIRES
from infron.wires.contract import ClientWire
from infron.wires.json_guard import MOST_LIGHT

MOST_GROWN = 200_000  # bytes that a provider's request may have beyond eight times those of the client's
PARTS = ("messages.", "response_format.", "tools.")  # of what is asked for, in no API's terms
PADDING = b" " * (MOST_LIGHT + 1)  # a body with that is read as a large one


def check_request(api: ClientWire, case: Case, chance: random.Random) -> None:
    request = read(api, case.data)
    if chance.random() < 0.2:
        check_large(request, read(api, PADDING + case.data))
    if request is None:
        return
    try:
        check_names(request)
    except InfronError as error:
        check_refusal(api, error)
        return
    for wire in PROVIDER_WIRES:
        provider = chance.choice(providers(wire))
        check_written(api, request, Candidate(provider, chance.choice(MODELS[wire]), "m"), chance.random() < 0.5)
    check_answered(api, request)


def read(api: ClientWire, body: bytes) -> Request | None:
    try:
        return api.parse(body, [])
    except InfronError as error:
        check_refusal(api, error)
        return None


def check_refusal(api: ClientWire, error: InfronError) -> None:
    promise(error.blame == "caller", f"the caller's fault is told as {error.blame}")
    valid(api.render_error(error), "an error")


def check_large(small: Request | None, large: Request | None) -> None:
    """Whatever is large is read in another way, and must mean the same."""
    if small is None or large is None:
        promise(large is None, "a large body is taken that is refused where it is small")
        return
    for name in Request.__struct_fields__:
        if name not in ("size", "fields"):
            promise(getattr(small, name) == getattr(large, name), f"a large body has another `{name}`")
    told = [{name: json.loads(bytes(raw)) for name, raw in request.fields.items()} for request in (small, large)]
    promise(told[0] == told[1], "a large body has other fields")


def check_written(api: ClientWire, request: Request, candidate: Candidate, ask_usage: bool) -> None:
    provider, wire = candidate.provider, candidate.provider.wire
    counted = Meter(request, candidate).guess()
    promise(counted.prompt >= 0 and counted.completion == 0, "tokens below zero")
    try:
        outgoing = PROVIDER_WIRES[wire].encode_request(request, provider, candidate.provider_model, ask_usage)
    except InfronError as error:
        check_refusal(api, error)
        return
    valid(outgoing.body, f"the body for {wire}")
    promise(len(outgoing.body) < 8 * request.size + MOST_GROWN, f"{wire}: a body that grew")
    inner = [name for name in outgoing.dropped if name not in request.fields and not name.startswith(PARTS)]
    lost = {name.partition(".")[0] for name in inner}
    promise(lost <= request.fields.keys(), f"{wire}: dropped what was not there")
    promise(outgoing.url.isascii() and outgoing.url.isprintable(), f"{wire}: a URL {outgoing.url!r}")
    promise(all(value.isprintable() for _, value in outgoing.headers), f"{wire}: a header that ends its line")


CALLS = (ToolCallStarted(0, "call_1", "look"), ToolCallDelta(0, '{"a":1}'))
ANSWER: tuple[Event, ...] = (Started("x"), TextDelta("hi"), *CALLS, Finished("tool_calls", "tool_calls"))


def check_answered(api: ClientWire, request: Request) -> None:
    """Answers repeat what was asked, in some APIs."""
    try:
        _ = request.conversation
    except InfronError:
        return
    billed = Billed(usage=Usage(prompt=1), charge=None, estimated=False, provider="mock")
    encoder, accumulator = api.Encoder("gen-1", 1, request), api.Accumulator("gen-1", 1, request)
    frames = []
    for event in ANSWER:
        frames.append(encoder.encode(event))
        accumulator.add(event)
    frames += [encoder.usage(billed), encoder.close()]
    valid(accumulator.answer(billed), "the whole answer")
    for line in b"".join(frames).split(b"\n"):
        if line.startswith(b"data: {"):
            valid(line[6:], "a frame of the answer")


@cache
def providers(wire: str) -> list[Provider]:
    """All definitions that ship, and a plain one."""
    plain = {"id": "mock", "name": "Mock", "wire": wire}
    shipped = load_catalog({}, {}, {}, wires=PROVIDER_WIRES).providers.values()
    return [msgspec.convert(plain, Provider), *(provider for provider in shipped if provider.wire == wire)]


MODELS = {
    "openai-chat": ("gpt-5.2", "o3", "x/deepseek-reasoner", "mistral-large-latest", "kimi-k2", "sonar"),
    "anthropic": ("claude-opus-4-5", "claude-sonnet-5-5", "claude-3-5-haiku-20241022"),
    "bedrock": ("us.anthropic.claude-opus-4-5-20251101-v1:0", "amazon.nova-2-lite-v1:0", "openai.gpt-oss-120b-1:0"),
    "cloudflare": ("@cf/meta/llama-3.1-8b-instruct",),
    "cohere": ("command-a-03-2025",),
    "openai-responses": ("gpt-5.2",),
    "openai-completions": ("davinci-002",),
    "openai-embeddings": ("text-embedding-3-small",),
    "cohere-embeddings": ("embed-v4.0",),
    "gemini-embeddings": ("gemini-embedding-001",),
    "vertex-embeddings": ("gemini-embedding-001", "text-embedding-005"),
    "bedrock-embeddings": (
        "amazon.titan-embed-text-v2:0",
        "cohere.embed-v4:0",
        "amazon.nova-2-multimodal-embeddings-v1:0",
    ),
    "gemini": ("gemini-3-pro-preview", "gemini-2.5-flash", "gemma-3-27b-it"),
    "replicate": ("openai/gpt-5", "meta/meta-llama-3-70b-instruct", "deployments/a/b"),
}
SCHEMA = {"type": "object", "properties": {"a": {"const": 1, "format": "date"}}, "anyOf": [{"items": {}}], "$defs": {}}
TOOL = {"name": "look", "description": "Look.", "parameters": SCHEMA}
CALL = {"id": "call 1", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}
FILE = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}
SOUND = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
SAYS = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
DETAIL = {"type": "reasoning.text", "text": "hm", "signature": "c2ln", "format": "anthropic-claude-v1", "index": 0}
CHAT = {
    "model": "a/b",
    "stream": True,
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [SAYS, PICTURE, FILE, SOUND]},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_details": [DETAIL]},
        {"role": "tool", "tool_call_id": "call 1", "content": '{"b":2}'},
        {"role": "user", "content": "Go on.", "name": "ann"},
    ],
    "tools": [{"type": "function", "function": {**TOOL, "strict": True}}],
    "tool_choice": {"type": "function", "function": {"name": "look"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
    "reasoning": {"effort": "high"}, "max_tokens": 100, "stop": ["a"], "temperature": 0.5, "top_p": 0.9, "top_k": 3,
    "parallel_tool_calls": False, "n": 1, "seed": 7, "metadata": {"a": "b"}, "user": "ann", "service_tier": "flex",
    "provider": {"order": ["x"]}, "stream_options": {"include_usage": True}, "logit_bias": {}, "betas": ["x"],
    "thinking": {"type": "enabled", "budget_tokens": 2000}, "input": {}, "documents": [], "generationConfig": {},
}  # fmt: skip
BLOCK = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "2"}], "is_error": True}
MESSAGES = {
    "model": "a/b", "max_tokens": 100, "stream": True, "system": [{"type": "text", "text": "Be brief."}],
    "messages": [
        {"role": "user", "content": [
            SAYS, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
            {"type": "document", "title": "a", "source": {"type": "text", "media_type": "text/plain", "data": "x"}},
        ]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"}, {"type": "redacted_thinking", "data": "AA=="},
            {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"a": 1}},
        ]},
        {"role": "user", "content": [BLOCK, {"type": "text", "text": "Go on."}]},
    ],
    "tools": [{"name": "look", "input_schema": SCHEMA}, {"type": "web_search_20250305", "name": "web_search"}],
    "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": SCHEMA}},
    "stop_sequences": ["a"], "temperature": 1, "metadata": {"user_id": "ann"}, "service_tier": "auto",
}  # fmt: skip
FUNCTION = {"type": "function", "name": "look", "description": "Look.", "parameters": SCHEMA, "strict": False}
CUSTOM = {"type": "custom", "name": "patch", "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"}}
RESPONSES = {
    "model": "a/b", "stream": True, "instructions": "Be brief.", "store": False, "include": ["x"],
    "input": [
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "hi"},
            {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"},
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
        ]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}],
         "encrypted_content": "c2ln"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "ok", "annotations": []}]},
        {"type": "function_call", "call_id": "call 1", "name": "look", "arguments": '{"a":1}', "namespace": "n"},
        {"type": "function_call_output", "call_id": "call 1", "output": [{"type": "input_text", "text": "2"}]},
        {"type": "custom_tool_call", "call_id": "call 2", "name": "patch", "input": "x"},
        {"type": "custom_tool_call_output", "call_id": "call 2", "output": "done", "status": "incomplete"},
        {"type": "additional_tools", "tools": [FUNCTION]}, {"type": "web_search_call", "id": "ws_1"},
    ],
    "tools": [FUNCTION, CUSTOM, {"type": "namespace", "name": "n", "tools": [FUNCTION]}, {"type": "web_search"}],
    "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "look"}]},
    "text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}, "verbosity": "low"},
    "reasoning": {"effort": "high", "summary": "auto"}, "max_output_tokens": 100, "temperature": 0.5, "top_p": 0.9,
    "parallel_tool_calls": False, "metadata": {"a": "b"}, "user": "ann", "service_tier": "flex", "truncation": "auto",
    "prompt_cache_key": "x", "safety_identifier": "x", "top_logprobs": 0, "max_tool_calls": 3,
    "provider": {"order": ["x"]}, "models": ["c/d"],
}  # fmt: skip
CONTENTS = {
    "model": "a/b", "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "contents": [
        {"role": "user", "parts": [{"text": "hi"}, {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
                                   {"file_data": {"mime_type": "video/mp4", "file_uri": "https://x/y"}}]},
        {"role": "model", "parts": [
            {"text": "hm", "thought": True}, {"text": "ok", "thoughtSignature": "c2ln"},
            {"functionCall": {"id": "call 1", "name": "look", "args": {"a": 1}}, "thoughtSignature": "c2ln"},
            {"executableCode": {"language": "PYTHON", "code": "1"}}, {"codeExecutionResult": {"output": "1"}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "look", "response": {"output": "2"}}}]},
    ],
    "tools": [{"functionDeclarations": [{"name": "look", "parameters": {"type": "OBJECT", "properties": {
        "a": {"type": "STRING", "nullable": True, "minLength": "1"}}}}, {"name": "b", "parametersJsonSchema": SCHEMA}]},
        {"googleSearch": {}}],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["look", "b"]}},
    "generationConfig": {"temperature": 1, "topK": 3, "maxOutputTokens": 9, "stopSequences": ["a"], "candidateCount": 2,
        "responseMimeType": "application/json", "responseSchema": {"type": "OBJECT"}, "responseModalities": ["TEXT"],
        "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 100}, "speechConfig": {}},
    "safetySettings": [], "labels": {"a": "b"}, "serviceTier": "flex", "cachedContent": "",
}  # fmt: skip
OLLAMA = {
    "model": "a/b", "stream": True, "keep_alive": "5m", "think": "high", "format": SCHEMA,
    "messages": [
        {"role": "user", "content": "hi", "images": ["iVBORw0KGgo="]},
        {"role": "assistant", "content": "ok", "thinking": "hm", "tool_calls": [{"function": {
            "name": "look", "arguments": {"a": 1}}}]},
        {"role": "tool", "tool_name": "look", "content": "2"},
    ],
    "tools": [{"type": "function", "function": TOOL}],
    "options": {"temperature": 1, "num_predict": 9, "num_ctx": 4096, "stop": ["a"], "top_k": 3, "repeat_penalty": 1.1},
}  # fmt: skip
SIMPLE = {"model": "a/b", "input": "Hi", "instructions": [{"role": "user", "content": "x"}], "tool_choice": "required"}
COMPLETE = {"model": "a/b", "prompt": "Hi", "max_tokens": 9, "stop": ["x"], "n": 1, "seed": 1, "stream_options": {}}
EMBED = {"model": "a/b", "input": ["Hi", "Ho"], "encoding_format": "base64", "dimensions": 256, "user": "ann"}
BODIES: dict[str, tuple[Any, ...]] = {
    "openai-chat": (CHAT,), "anthropic": (MESSAGES,), "openai-responses": (RESPONSES, SIMPLE),
    "openai-completions": (COMPLETE, {**COMPLETE, "prompt": [1, 2], "echo": True, "logprobs": 1, "stream": True}),
    "openai-embeddings": (EMBED, {**EMBED, "input": "Hi"}, {**EMBED, "input": [1, 2]}, {**EMBED, "input": [[1], [2]]}),
    "gemini": (CONTENTS,), "ollama": (OLLAMA,),
    "gemini-embeddings": ({"model": "a/b", "content": {"parts": [{"text": "Hi"}]}, "task_type": "CLUSTERING"},),
    "ollama-embeddings": ({"model": "a/b", "input": ["Hi", "Ho"], "truncate": True, "options": {"num_ctx": 9}},),
}  # fmt: skip


def targets() -> dict[str, Target]:
    found: dict[str, Target] = {}
    for name, api in CLIENT_WIRES.items():
        corpus = [Case(name, json.dumps(body).encode(), {}) for body in BODIES.get(name, BODIES["openai-chat"])]
        check = lambda case, chance, api=api: check_request(api, case, chance)  # noqa: E731
        found[f"{name} requests"] = Target(corpus, whole_of, check)
    return found
