"""Schemas within what providers take: an object at the root of a tool's, and no more strict ones than are compiled."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infron.catalog.definitions import Provider
from infron.request import Outgoing
from infron.wires import PROVIDER_WIRES
from infron.wires.openai import chat as openai_chat
from infron.wires.schemas import rooted

X, Y = {"x": {"type": "string"}}, {"y": {"type": "integer"}}
MODELS = {"anthropic": "claude-sonnet-5", "bedrock": "zai.glm-5", "gemini": "gemini-3.1-pro", "cohere": "command-a"}


def sent(wire: str, model: str, tools: list[dict[str, Any]]) -> tuple[Any, Outgoing]:
    asked = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    asked["tools"] = [{"type": "function", "function": tool} for tool in tools]
    row = Provider(id="mock", name="Mock", wire=wire)
    outgoing = PROVIDER_WIRES[wire].encode_request(openai_chat.parse(json.dumps(asked).encode(), []), row, model, False)
    return json.loads(outgoing.body), outgoing


def schema_in(wire: str, body: Any) -> Any:
    match wire:
        case "anthropic":
            return body["tools"][0]["input_schema"]
        case "bedrock":
            return body["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"]
        case "gemini":
            return body["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"]
    return body["tools"][0]["function"]["parameters"]


ROOTS: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "no type": ({"properties": X}, X, []),
    "$schema alone": ({"$schema": "http://json-schema.org/draft-07/schema#"}, {}, []),
    "type as a list": ({"type": ["object", "null"], "properties": X, "required": ["x"]}, X, ["x"]),
    "anyOf": ({"anyOf": [{"type": "object", "properties": X}, {"type": "object", "properties": Y}]}, {**X, **Y}, []),
    "oneOf with what all require": (
        {"oneOf": [{"properties": {**X, **Y}, "required": ["x", "y"]}, {"properties": X, "required": ["x"]}]},
        {**X, **Y},
        ["x"],
    ),
    "one of two members": (
        {"type": "object", "properties": {**X, **Y}, "anyOf": [{"required": ["x"]}, {"required": ["y"]}]},
        {**X, **Y},
        [],
    ),
    "allOf": ({"allOf": [{"properties": X, "required": ["x"]}, {"properties": Y}]}, {**X, **Y}, ["x"]),
    "a reference": ({"$ref": "#/$defs/T", "$defs": {"T": {"type": "object", "properties": X}}}, X, []),
    "a reference to itself": ({"$ref": "#"}, {}, []),
}


@pytest.mark.parametrize("wire", MODELS)
@pytest.mark.parametrize("root", ROOTS)
def test_schema_of_a_tool_has_an_object_at_its_root(wire: str, root: str) -> None:
    # Converse refused roots without `type: object`, Anthropic alternatives there, and with them the whole request.
    given, properties, required = ROOTS[root]
    body, _ = sent(wire, MODELS[wire], [{"name": "f", "parameters": given}])
    schema = schema_in(wire, body)
    assert schema["type"] == "object"
    assert schema["properties"] == properties
    assert schema.get("required", []) == required
    assert not schema.keys() & {"anyOf", "oneOf", "allOf", "$ref"}


def test_schema_that_has_an_object_at_its_root_stays() -> None:
    schema = {"type": "object", "properties": {"n": {"anyOf": [{"type": "integer", "enum": [1, 2]}, {"type": "null"}]}}}
    assert rooted(schema) is schema


def test_schema_of_endless_alternatives_is_looked_into_for_a_bounded_time() -> None:
    rooted({"anyOf": [{"$ref": "#"}] * 1000})


def strict(n: int, required: bool = True, union: bool = False) -> list[dict[str, Any]]:
    kind = {"type": ["string", "null"]} if union else {"type": "string"}
    schema = {"type": "object", "properties": {"x": kind, "y": kind}, "required": ["x", "y"] if required else []}
    return [{"name": f"t{place}", "strict": True, "parameters": schema} for place in range(n)]


@pytest.mark.parametrize(
    ("wire", "model"), [("anthropic", "claude-sonnet-5"), ("bedrock", "anthropic.claude-opus-4-5")]
)
@pytest.mark.parametrize(
    ("tools", "kept"),
    [(strict(20), 20), (strict(48), 20), (strict(15, required=False), 12), (strict(9, union=True), 8)],
)
def test_strict_tools_beyond_what_claude_compiles_go_out_without(
    wire: str, model: str, tools: list[dict[str, Any]], kept: int
) -> None:
    # Agent frameworks set `strict` on every tool, and each turn was refused.
    body, outgoing = sent(wire, model, tools)
    listed = body["tools"] if wire == "anthropic" else [tool["toolSpec"] for tool in body["toolConfig"]["tools"]]
    assert len(listed) == len(tools)
    assert sum(tool.get("strict", False) for tool in listed) == kept
    assert ("tools.strict" in outgoing.dropped) == (kept < len(tools))


FORMATS = [{"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("choice", ["auto", "none"])
@pytest.mark.parametrize(
    ("model", "both"), [("gemini-2.5-flash", False), ("gemini-2.5-pro", False), ("gemini-3.1-pro", True)]
)
def test_json_beside_tools_is_asked_for_in_words_where_gemini_refuses_both(
    model: str, both: bool, choice: str, format: dict[str, Any]
) -> None:
    # Models before Gemini 3 refuse functions beside an answer of JSON's type: each such request was a 400.
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": X}}}]
    asked = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "tools": tools, "tool_choice": choice}
    request = openai_chat.parse(json.dumps({**asked, "response_format": format}).encode(), [])
    outgoing = PROVIDER_WIRES["gemini"].encode_request(request, Provider(id="m", name="M", wire="gemini"), model, False)
    body = json.loads(outgoing.body)
    held = body.get("generationConfig", {}).get("responseMimeType") == "application/json"
    assert (held, "tools" in body) == ((True, True) if both else (choice == "none", choice != "none"))
    assert ("response_format" in outgoing.dropped) == (not held)
    assert held or "JSON" in body["systemInstruction"]["parts"][-1]["text"]
