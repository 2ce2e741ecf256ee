"""One agent's session, said in each client API, sent to each provider: every request is judged by its provider's rules.

The session changes its model as it goes: Claude, Gemini, a host that numbers its calls anew. Rules without a source in
the wires are recalled, not tried.
"""

from __future__ import annotations

import base64
import json
import re
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from asking import asking

from infron.catalog.definitions import Provider
from infron.conversation import (
    CLAUDE,
    GEMINI,
    Conversation,
    Media,
    Message,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from infron.request import Request
from infron.wires import PROVIDER_WIRES
from infron.wires.anthropic.request import encode
from infron.wires.openai.chat.messages import fields_of

PICTURE = Media(kind="image", mime="image/png", data=base64.b64encode(b"\x89PNG\r\n\x1a\n...").decode())
NAME = "srv/files.read"
SESSION = Conversation(
    messages=(
        Message("system", (Text("Be brief."),)),
        Message("user", (Text("Look."),)),
        Message("assistant", (  # Claude, thinking between its calls
            Thinking(text="a", signature="s1", format=CLAUDE),
            ToolCall(id="toolu_1", name=NAME, arguments='{"b": 1.50}'),
            Thinking(text="b", signature="s2", format=CLAUDE),
            ToolCall(id="toolu_2", name="f", arguments="{}"),
        )),
        Message("tool", (
            ToolResult(call_id="toolu_1", name=NAME, parts=(Text("here"), PICTURE)),
            ToolResult(call_id="toolu_2", name="f", parts=(Text("it broke"),), failed=True),
        )),
        Message("assistant", (  # Gemini
            Thinking(text="c", signature="s3", format=GEMINI),
            Text("Once more."),
            ToolCall(id="call_0", name="f", arguments='{"x": 1}', signature="s4"),
        )),
        Message("tool", (ToolResult(call_id="call_0", name="f", parts=(Text('{"ok": true}'),)),)),
        Message("assistant", (ToolCall(id="call_0", name="f", arguments='{"x": 2}'),)),  # numbered anew
        Message("tool", (ToolResult(call_id="call_0", name="f", parts=(Text("2"),)),)),
        Message("user", (Text("Go on."),)),
    ),
    tools=(Tool(name=NAME, schema={"type": "object"}), Tool(name="f", schema={"type": "object"})),
    max_tokens=100,
)  # fmt: skip


def said(api: str) -> Request:
    if api == "anthropic":
        # Of Gemini's signatures a client of this API holds the marked form.
        text = msgspec.json.encode(encode(SESSION, "claude-opus-5").body).decode()
        body = json.loads(text.replace('"s3"', f'"{GEMINI}:s3"'))
    else:
        body = {name: msgspec.json.decode(raw) for name, raw in fields_of(SESSION).items()}
    return asking(api, **{**body, "model": "m"})


def judge_anthropic(body: dict[str, Any]) -> None:
    calls, due = [], []
    for message in body["messages"]:
        blocks = message["content"]
        answered = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        assert answered == due
        due = [block["id"] for block in blocks if block["type"] == "tool_use"]
        calls += due
        for block in blocks:
            assert block["type"] != "thinking" or block["signature"] in ("s1", "s2")
            assert block["type"] != "tool_use" or isinstance(block["input"], dict)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", id) for id in calls)
    assert len(set(calls)) == len(calls) == 4
    first = [block.get("thinking") or block["type"] for block in body["messages"][1]["content"]]
    assert first == ["a", "tool_use", "b", "tool_use"]


def judge_bedrock(body: dict[str, Any]) -> None:
    names = {tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]}
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in names)
    calls = [block["toolUse"] for message in body["messages"] for block in message["content"] if "toolUse" in block]
    assert len({call["toolUseId"] for call in calls}) == len(calls) == 4
    assert {call["name"] for call in calls} == names
    assert [next(iter(block)) for block in body["messages"][1]["content"]] == [
        "reasoningContent", "toolUse", "reasoningContent", "toolUse"
    ]  # fmt: skip


def judge_gemini(body: dict[str, Any]) -> None:
    roles = [content["role"] for content in body["contents"]]
    assert all(a != b for a, b in pairwise(roles))
    for content in body["contents"]:
        calls = [part for part in content["parts"] if "functionCall" in part]
        assert not calls or calls[0]["thoughtSignature"]
        assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}", part["functionCall"]["name"]) for part in calls)


def judge_chat(body: dict[str, Any]) -> None:
    due: list[str] = []
    for message in body["messages"]:
        if message["role"] == "tool":
            assert message["tool_call_id"] == due.pop(0)
            assert isinstance(message["content"], str) or all(part["type"] == "text" for part in message["content"])
        else:
            assert due == []
        for call in message.get("tool_calls") or ():
            due.append(call["id"])
            assert isinstance(json.loads(call["function"]["arguments"]), dict)
            assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", call["function"]["name"])
    assert PICTURE.data in json.dumps(body["messages"])


def judge_cohere(body: dict[str, Any]) -> None:
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", tool["function"]["name"]) for tool in body["tools"])


def judge_responses(body: dict[str, Any]) -> None:
    due: list[str] = []
    calls: list[str] = []
    for item in body["input"]:
        assert item["type"] != "reasoning"  # of the models here none is OpenAI's
        if item["type"] == "function_call_output":
            assert item["call_id"] == due.pop(0)
        elif item["type"] == "function_call":
            due.append(item["call_id"])
            calls.append(item["call_id"])
            assert isinstance(json.loads(item["arguments"]), dict)
            assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", item["name"])
        else:
            assert due == []
    assert len(set(calls)) == len(calls) == 4
    assert PICTURE.data in json.dumps(body["input"])


JUDGES = {
    "anthropic": judge_anthropic,
    "bedrock": judge_bedrock,
    "gemini": judge_gemini,
    "openai-chat": judge_chat,
    "cloudflare": judge_chat,
    "cohere": judge_cohere,
    "openai-responses": judge_responses,
}
MODELS = {"anthropic": "claude-opus-5", "bedrock": "us.anthropic.claude-sonnet-4-6", "gemini": "gemini-3.1-pro"}


@pytest.mark.parametrize("api", ["openai-chat", "anthropic"])
@pytest.mark.parametrize("wire", JUDGES)
def test_session_goes_on_at_every_provider_whichever_api_it_is_said_in(api: str, wire: str) -> None:
    definition = Provider(id="mock", name="Mock", wire=wire, chat_path="/models/{model}:x")
    outgoing = PROVIDER_WIRES[wire].encode_request(said(api), definition, MODELS.get(wire, "m"), False)
    JUDGES[wire](json.loads(outgoing.body))
