"""What providers refuse of a session: each rule a small function that names its source, by wire.

RECALLED: known from general knowledge or from reports, not found in a provider's own pages; no provider was asked.
A rule returns what is wrong, or None. `judged` gives what a host would say to a body, or None where it takes it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

Body = dict[str, Any]
Rule = Callable[[Body], str | None]


def judged(wire: str, body: Body) -> str | None:
    return next((found for rule in RULES[wire] if (found := rule(body))), None)


def _pairs(turns: list[tuple[bool, list[str], list[str]]]) -> str | None:
    """Of turns (the model's?, ids of calls, ids of results): each call is answered in the turn behind it."""
    due: list[str] = []
    for model, calls, results in turns:
        if model:
            if due:
                return f"calls without results: {due}"
            due = calls
        elif sorted(results) != sorted(due):
            return f"results {results} for calls {due}"
        else:
            due = []
    return f"calls without results: {due}" if due else None


def _wrong_image(mime: str, data: str) -> bool:
    return not base64.b64decode(data).startswith({"image/png": b"\x89PNG", "image/jpeg": b"\xff\xd8\xff"}[mime])


def _bad_root(schema: Any) -> bool:
    closed_out = {"anyOf", "oneOf", "allOf", "$ref", "enum", "not"}
    return not isinstance(schema, dict) or schema.get("type") != "object" or bool(schema.keys() & closed_out)


# ---- Anthropic: API reference of Messages, and what its errors say


def _blocks(body: Body) -> Iterator[tuple[str, Body]]:
    for message in body["messages"]:
        for block in message["content"] if isinstance(message["content"], list) else ():
            yield message["role"], block
            if block["type"] == "tool_result" and isinstance(block.get("content"), list):
                yield from (("result", inner) for inner in block["content"])


def anthropic_messages(body: Body) -> str | None:
    """`messages.N.x: Extra inputs are not permitted`; roles; no message is empty; the first one is the user's."""
    for message in body["messages"]:
        if message.keys() != {"role", "content"} or message["role"] not in ("user", "assistant"):
            return f"Extra inputs are not permitted: {sorted(message)}"
        if not message["content"]:
            return "all messages must have non-empty content"
    return None if body["messages"][0]["role"] == "user" else "first message must use the user role"


def anthropic_pairs(body: Body) -> str | None:
    """`tool_use` ids were found without `tool_result` blocks immediately after; results come first; roles merge."""
    turns: list[tuple[bool, list[str], list[str]]] = []
    for message in body["messages"]:
        blocks = message["content"] if isinstance(message["content"], list) else []
        kinds = [block["type"] for block in blocks]
        calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        if kinds[: len(results)] != ["tool_result"] * len(results):
            return "tool_result blocks must come first"
        model = message["role"] == "assistant"
        if turns and turns[-1][0] == model:
            turns[-1] = (model, turns[-1][1] + calls, turns[-1][2] + results)
        else:
            turns.append((model, calls, results))
    ids = [id for _, calls, _ in turns for id in calls]
    if len(set(ids)) < len(ids) or not all(re.fullmatch(r"[A-Za-z0-9_-]+", id) for id in ids):
        return "tool_use ids must be unique, and match ^[a-zA-Z0-9_-]+$"
    return _pairs(turns)


def anthropic_blocks(body: Body) -> str | None:
    for _, block in _blocks(body):
        if block["type"] == "text" and not block["text"].strip():
            return "text content blocks must contain non-whitespace text"
        if block["type"] == "tool_use" and not isinstance(block["input"], dict):
            return "input: Input should be a valid dictionary"
        if block["type"] == "image" and _wrong_image(block["source"]["media_type"], block["source"]["data"]):
            return "The image was specified using another media type"
    return None


def anthropic_thoughts(body: Body) -> str | None:
    """Invalid `signature` in `thinking` block; the final block in an assistant message cannot be `thinking`."""
    for message in body["messages"]:
        blocks = message["content"] if message["role"] == "assistant" else []
        for block in blocks:
            if block["type"] == "redacted_thinking" or (
                block["type"] == "thinking" and not block["signature"].startswith("claude-")
            ):
                return "Invalid `signature` in `thinking` block"
        if blocks and blocks[-1]["type"] == "thinking":
            return "The final block in an assistant message cannot be `thinking`"
    return None


def anthropic_tools(body: Body) -> str | None:
    """Names ^[a-zA-Z0-9_-]{1,128}$ and unique; no anyOf at the root; at most 20 strict tools."""
    tools = body.get("tools", [])
    names = [tool["name"] for tool in tools]
    if len(set(names)) < len(names) or not all(re.fullmatch(r"[A-Za-z0-9_-]{1,128}", name) for name in names):
        return "tools: names"
    if any(_bad_root(tool["input_schema"]) for tool in tools):
        return "input_schema does not support oneOf, allOf, or anyOf at the top level"
    return "Too many strict tools" if sum(tool.get("strict", False) for tool in tools) > 20 else None


def anthropic_marks(body: Body) -> str | None:
    marks = json.dumps(body).count('"cache_control"')
    return f"A maximum of 4 blocks with cache_control may be provided. Found {marks}." if marks > 4 else None


# ---- Bedrock: service model bedrock-runtime of the AWS SDKs; ValidationExceptions in reports


def bedrock_turns(body: Body) -> str | None:
    """A conversation must start with a user message, and alternate; RECALLED for models other than Claude."""
    roles = [message["role"] for message in body["messages"]]
    if roles[0] != "user" or any(a == b for a, b in pairwise(roles)):
        return "A conversation must alternate between user and assistant roles."
    return "content is empty" if not all(message["content"] for message in body["messages"]) else None


def bedrock_pairs(body: Body) -> str | None:
    turns = []
    for message in body["messages"]:
        calls = [block["toolUse"] for block in message["content"] if "toolUse" in block]
        results = [block["toolResult"]["toolUseId"] for block in message["content"] if "toolResult" in block]
        if not all(re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", call["toolUseId"]) for call in calls):
            return "toolUseId"
        if not all(isinstance(call["input"], dict) for call in calls):
            return "input must be a JSON object"
        if (calls or results) and "toolConfig" not in body:
            return "The toolConfig field must be defined when using toolUse and toolResult content blocks."
        turns.append((message["role"] == "assistant", [call["toolUseId"] for call in calls], results))
    ids = [id for _, calls, _ in turns for id in calls]
    return "toolUseId values must be unique" if len(set(ids)) < len(ids) else _pairs(turns)


def bedrock_blocks(body: Body) -> str | None:
    for message in body["messages"]:
        for block in message["content"]:
            if "text" in block and not block["text"].strip():
                return "The text field in the ContentBlock object is blank."
            thought = block.get("reasoningContent", {}).get("reasoningText")
            if thought and not thought["signature"].startswith("claude-"):
                return "Invalid `signature` in `thinking` block"
    return None


def bedrock_tools(body: Body) -> str | None:
    for tool in (tool["toolSpec"] for tool in body.get("toolConfig", {}).get("tools", []) if "toolSpec" in tool):
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", tool["name"]) or _bad_root(tool["inputSchema"]["json"]):
            return f"toolSpec {tool['name']}"
    return None


# ---- Gemini: Google's API reference and page on thought signatures; errors in reports

UNSIGNED = "skip_thought_signature_validator"


def gemini_turns(body: Body) -> str | None:
    """ "Please ensure that multiturn requests alternate between user and model", and end with the user: RECALLED for
    newer models (github.com/crewAIInc/crewAI/pull/6973).
    """
    roles = [content["role"] for content in body["contents"]]
    if roles[0] != "user" or roles[-1] != "user" or any(a == b for a, b in pairwise(roles)):
        return f"Please ensure that multiturn requests alternate: {roles}"
    return None


def gemini_pairs(body: Body) -> str | None:
    """The number of function response parts is equal to that of function call parts of the function call turn."""
    for before, content in pairwise([{"parts": []}, *body["contents"], {"parts": []}]):
        calls = [part["functionCall"]["name"] for part in before["parts"] if "functionCall" in part]
        results = [part["functionResponse"]["name"] for part in content["parts"] if "functionResponse" in part]
        if calls != results:
            return f"function responses {results} for calls {calls}"
        for response in (part["functionResponse"] for part in content["parts"] if "functionResponse" in part):
            if (
                not isinstance(response["response"], dict)
                or "$ref" in json.dumps(response["response"]).split('"output"')[0]
            ):
                return "response"
    return None


def gemini_signatures(body: Body) -> str | None:
    """Function call is missing a thought_signature: the first call of each turn needs one, its own where it has one."""
    for content in body["contents"]:
        calls = [part for part in content["parts"] if "functionCall" in part]
        if calls:
            own = calls[0]["functionCall"]["args"].get("signed_as", UNSIGNED)
            if calls[0].get("thoughtSignature") != own:
                return f"thought_signature {calls[0].get('thoughtSignature')} instead of {own}"
    return None


def gemini_tools(body: Body) -> str | None:
    names = [f["name"] for tool in body.get("tools", []) for f in tool.get("functionDeclarations", [])]
    if not all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}", name) for name in names):
        return "Invalid function name"
    return "Duplicate function declaration" if len(set(names)) < len(names) else None


# ---- OpenAI's chat completions: API reference, and what its errors say; hosts of the same API


def chat_pairs(body: Body) -> str | None:
    """An assistant message with tool_calls must be followed by tool messages responding to each tool_call_id."""
    due: list[str] = []
    for message in body["messages"]:
        if message["role"] == "tool":
            if message["tool_call_id"] not in due:
                return "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'"
            due.remove(message["tool_call_id"])
        elif due:
            return f"tool_call_ids did not have response messages: {due}"
        due += [call["id"] for call in message.get("tool_calls") or ()]
    return f"tool_call_ids did not have response messages: {due}" if due else None


def chat_contents(body: Body) -> str | None:
    """Only the user shows images; null content beside calls alone; no empty tool_calls."""
    for message in body["messages"]:
        role, content = message["role"], message.get("content")
        if content is None and not message.get("tool_calls"):
            return "Invalid value for 'content': expected a string, got null."
        if "tool_calls" in message and not message["tool_calls"]:
            return "[] is too short - 'messages.tool_calls'"
        kinds = {part["type"] for part in content} if isinstance(content, list) else set()
        if not kinds <= ({"text", "image_url"} if role == "user" else {"text"}):
            return f"Invalid content type {sorted(kinds)} of {role}"
    return None


def chat_calls(body: Body) -> str | None:
    for call in (call for message in body["messages"] for call in message.get("tool_calls") or ()):
        if not isinstance(json.loads(call["function"]["arguments"]), dict):
            return "arguments"
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", call["function"]["name"]):
            return "Invalid 'messages.tool_calls.function.name'"
    return None


def chat_tools(body: Body) -> str | None:
    for tool in body.get("tools", []):
        if _bad_root(tool["function"].get("parameters", {"type": "object"})):
            return "schema must have type 'object' and not have 'oneOf'/'anyOf'/'allOf' at the top level"
    return None


def openai_strict(body: Body) -> str | None:
    """'required' is required to be supplied and to be an array including every key in properties."""
    for tool in body.get("tools", []):
        function = tool["function"]
        schema = function.get("parameters", {})
        names = set(schema.get("properties", {}))
        if function.get("strict") and (
            schema.get("additionalProperties") is not False or names != set(schema["required"])
        ):
            return f"Invalid schema for function '{function['name']}'"
    return None


def fields_of(**known: str) -> Rule:
    """Of messages, by role."""

    def rule(body: Body) -> str | None:
        for message in body["messages"]:
            if more := message.keys() - {"role", "content"} - set(known[message["role"]].split()):
                return f"{message['role']}: Extra inputs are not permitted: {sorted(more)}"
        return None

    return rule


def deepseek_thoughts(body: Body) -> str | None:
    """The reasoning_content in the thinking mode must be passed back to the API (DeepSeek API documentation, V4)."""
    said = [message for message in body["messages"] if message["role"] == "assistant"]
    return (
        None
        if all(isinstance(m.get("reasoning_content"), str) for m in said)
        else "reasoning_content must be passed back"
    )


def mistral_order(body: Body) -> str | None:
    """Unexpected role 'user' after role 'tool' (mistralai/mistral-common, MistralRequestValidator)."""
    after = {"system": "user assistant system", "user": "assistant system user", "tool": "assistant tool",
             "assistant": "assistant user tool"}  # fmt: skip
    for before, message in pairwise(body["messages"]):
        if message["role"] not in after[before["role"]].split():
            return f"Unexpected role '{message['role']}' after role '{before['role']}'"
    return None


def mistral_ids(body: Body) -> str | None:
    ids = [call["id"] for message in body["messages"] for call in message.get("tool_calls") or ()]
    return None if all(re.fullmatch("[A-Za-z0-9]{9}", id) for id in ids) else "Tool call id has to be a-z, A-Z, 0-9"


# ---- OpenAI's Responses


def responses_items(body: Body) -> str | None:
    """No tool output found for function call; no tool call found for output; unknown parameters."""
    calls = [item["call_id"] for item in body["input"] if item.get("type") == "function_call"]
    outputs = [item["call_id"] for item in body["input"] if item.get("type") == "function_call_output"]
    if sorted(calls) != sorted(outputs):
        return f"outputs {outputs} for calls {calls}"
    known = {"type", "id", "call_id", "name", "arguments", "status", "output", "role", "content", "summary", "phase",
             "encrypted_content", "namespace"}  # fmt: skip
    for item in body["input"]:
        if more := item.keys() - known:
            return f"Unknown parameter: {sorted(more)}"
        if item.get("type") == "reasoning" and not item["encrypted_content"].startswith("openai-"):
            return "The encrypted content could not be verified."
    return None


def responses_tools(body: Body) -> str | None:
    """Invalid 'tools[0].name': string does not match pattern '^[a-zA-Z0-9_-]+$'; roots as in chat completions."""
    functions = [tool for tool in body.get("tools", []) if tool["type"] == "function"]
    if any(_bad_root(tool["parameters"]) for tool in functions):
        return "Invalid schema for function"
    named = [*functions, *(item for item in body["input"] if item.get("type") == "function_call")]
    return None if all(re.fullmatch("[A-Za-z0-9_-]{1,64}", each["name"]) for each in named) else "Invalid 'tools.name'"


# ---- Cohere: OpenAPI description; github.com/oracle/langchain-oracle/issues/10


def cohere_tools(body: Body) -> str | None:
    for tool in body.get("tools", []):
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", tool["function"]["name"]) or _bad_root(
            tool["function"]["parameters"]
        ):
            return "invalid tool"
    return None


def cohere_content(body: Body) -> str | None:
    """Message must have content or calls: RECALLED."""
    return None if all(m.get("content") or m.get("tool_calls") for m in body["messages"]) else "empty message"


# ---- Replicate: HTTP reference


def replicate_input(body: Body) -> str | None:
    values = body.get("input")
    return None if isinstance(values, dict) and values.get("prompt") else "input.prompt is required"


_CHAT: tuple[Rule, ...] = (chat_pairs, chat_contents, chat_calls, chat_tools)
RULES: dict[str, tuple[Rule, ...]] = {
    "anthropic": (
        anthropic_messages,
        anthropic_pairs,
        anthropic_blocks,
        anthropic_thoughts,
        anthropic_tools,
        anthropic_marks,
    ),
    "bedrock": (bedrock_turns, bedrock_pairs, bedrock_blocks, bedrock_tools),
    "gemini": (gemini_turns, gemini_pairs, gemini_signatures, gemini_tools),
    "openai-chat": _CHAT,
    "openai": (
        *_CHAT,
        openai_strict,
        fields_of(system="name", developer="name", user="name",
                  assistant="name refusal annotations audio tool_calls function_call",
                  tool="tool_call_id"),
    ),
    "deepseek": (*_CHAT, deepseek_thoughts),
    "mistral": (
        *_CHAT,
        mistral_order,
        mistral_ids,
        fields_of(system="", user="", assistant="tool_calls prefix", tool="tool_call_id name"),
    ),
    "groq": (*_CHAT, fields_of(system="", user="", assistant="reasoning tool_calls", tool="tool_call_id")),
    "cerebras": (*_CHAT, fields_of(system="", user="name", assistant="name tool_calls", tool="tool_call_id name")),
    "fireworks": (*_CHAT, fields_of(system="name", user="name", assistant="name tool_calls reasoning_content refusal "
                                    "function_call audio", tool="tool_call_id name")),
    "openai-responses": (responses_items, responses_tools),
    "cohere": (chat_pairs, cohere_tools, cohere_content),
    "cloudflare": _CHAT,
    "replicate": (replicate_input,),
}  # fmt: skip
