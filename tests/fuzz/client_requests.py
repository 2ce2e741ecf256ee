"""Requests of clients, read, and written to the providers of every wire."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import msgspec

from fuzz.corpus import whole_of
from fuzz.promises import Case, Target, promise, valid
from infron.catalog.definitions import Provider
from infron.errors import InfronError
from infron.wires import PROVIDER_WIRES, anthropic
from infron.wires.openai import chat as openai_chat


def check_request(parse: Callable[[bytes], Any], case: Case, chance: random.Random) -> None:
    try:
        request = parse(case.data)
    except InfronError as error:
        promise(error.blame == "caller", f"the caller's fault is told as {error.blame}")
        valid(openai_chat.render_error(error), "an error")
        return
    for wire, module in PROVIDER_WIRES.items():
        quirks = {"request": {"vertex": chance.random() < 0.5}} if wire == "gemini" else {}
        row = msgspec.convert({"id": "mock", "name": "Mock", "wire": wire, "quirks": quirks}, Provider)
        try:
            outgoing = module.encode_request(request, row, chance.choice(MODELS[wire]), chance.random() < 0.5)
        except InfronError as error:
            promise(error.blame == "caller", f"{wire}: the caller's fault is told as {error.blame}")
            valid(openai_chat.render_error(error), "an error")
            continue
        valid(outgoing.body, f"the body for {wire}")
        lost = {name.partition(".")[0] for name in outgoing.dropped}
        promise(lost <= request.fields.keys(), f"{wire}: dropped what was not there")
        promise(outgoing.url.isascii() and outgoing.url.isprintable(), f"{wire}: a URL {outgoing.url!r}")
        promise(all(value.isprintable() for _, value in outgoing.headers), f"{wire}: a header that ends its line")


MODELS = {
    "openai-chat": ("gpt-5.2",),
    "anthropic": ("claude-opus-4-5", "claude-sonnet-5-5", "claude-3-5-haiku-20241022"),
    "bedrock": ("us.anthropic.claude-opus-4-5-20251101-v1:0", "amazon.nova-2-lite-v1:0", "openai.gpt-oss-120b-1:0"),
    "cloudflare": ("@cf/meta/llama-3.1-8b-instruct",),
    "cohere": ("command-a-03-2025",),
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


def targets() -> dict[str, Target]:
    bodies = {
        "chat requests": (CHAT, lambda body: openai_chat.parse(body, [])),
        "messages requests": (MESSAGES, lambda body: anthropic.parse(body, [])),
    }
    found: dict[str, Target] = {}
    for name, (body, parse) in bodies.items():
        corpus = [Case(name, json.dumps(body).encode(), {})]
        found[name] = Target(corpus, whole_of, lambda case, chance, parse=parse: check_request(parse, case, chance))
    return found
