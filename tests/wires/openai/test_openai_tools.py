"""Tools of a chat request, and the form of its answer, within what a host takes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asking import HI, asking

from infron.catalog.definitions import Provider, Quirks, RequestQuirks
from infron.catalog.load import load_catalog
from infron.request import Outgoing
from infron.wires import PROVIDER_WIRES
from infron.wires.json_answer import JSON_ONLY
from infron.wires.openai.chat.request import encode_request

SHIPPED = load_catalog(environ={}, wires=PROVIDER_WIRES).providers
PLAIN = Provider(id="mock", name="Mock")
OPEN = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["a"]}
CLOSED = {**OPEN, "required": ["a", "b"], "additionalProperties": False}


def outgoing(provider: Provider = PLAIN, /, **fields: Any) -> Outgoing:
    return encode_request(asking(**{"messages": [HI], **fields}), provider, "m", False)


def sent(provider: Provider = PLAIN, /, **fields: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(outgoing(provider, **fields).body)
    return body


def tool(name: str = "f", parameters: Any = OPEN, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters, **more}}


def quirks(**fields: Any) -> Provider:
    return Provider(id="mock", name="Mock", quirks=Quirks(request=RequestQuirks(**fields)))


# ---- tools


@pytest.mark.parametrize("root", [
    {"anyOf": [OPEN, {"type": "object", "properties": {"c": {"type": "string"}}}]},
    {"type": "object", "oneOf": [OPEN]}, {"allOf": [OPEN]}, {"$ref": "#/$defs/T", "$defs": {"T": OPEN}},
    {"properties": OPEN["properties"]}, {"type": ["object", "null"], "properties": OPEN["properties"]}, {},
])  # fmt: skip
@pytest.mark.parametrize("strict", [True, False, None])
def test_schema_of_a_tool_has_an_object_at_its_root_at_every_host(root: dict[str, Any], strict: bool | None) -> None:
    # "schema must have type 'object' and not have 'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the top level"
    (found,) = sent(tools=[tool(parameters=root, strict=strict)])["tools"]
    parameters = found["function"]["parameters"]
    assert parameters["type"] == "object"
    assert not parameters.keys() & {"anyOf", "oneOf", "allOf", "$ref", "enum", "not"}
    assert not root or "a" in parameters["properties"]


def test_tools_that_are_right_go_on_byte_for_byte() -> None:
    request = asking(messages=[HI], tools=[tool(), tool("g", CLOSED, strict=True), {"type": "web"}, 7])
    assert bytes(request.fields["tools"]) in encode_request(request, PLAIN, "m", False).body


def test_strict_tool_with_an_open_schema_goes_out_without_at_openai() -> None:
    # "'required' is required to be supplied and to be an array including every key in properties"
    tools = [tool(strict=True), tool("g", CLOSED, strict=True)]
    found = outgoing(SHIPPED["openai"], tools=tools)
    first, second = json.loads(found.body)["tools"]
    assert "strict" not in first["function"]
    assert second == tools[1]
    assert found.dropped == ("tools.strict",)
    assert sent(tools=tools)["tools"] == tools


def test_strict_tools_are_named_where_a_host_refuses_the_word() -> None:
    for id in ("fireworks", "xai", "cerebras"):
        found = outgoing(SHIPPED[id], tools=[tool(strict=True), tool("g")])
        assert b"strict" not in found.body
        assert found.dropped == ("tools.strict",)


def test_tool_that_is_there_twice_is_sent_once() -> None:
    # "Tool names must be unique."
    found = outgoing(tools=[tool(), tool(), tool("g")])
    assert (json.loads(found.body)["tools"], found.dropped) == ([tool(), tool("g")], ())
    assert outgoing(tools=[tool(), tool(parameters=CLOSED)]).dropped == ("tools.duplicates",)


# ---- the form of the answer

JSON = {"type": "json_object"}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": OPEN}}


@pytest.mark.parametrize("id", ["groq", "friendli", "cerebras"])
@pytest.mark.parametrize("wanted", [JSON, SCHEMA])
def test_json_beside_tools_is_asked_for_in_words_where_a_host_refuses_both(id: str, wanted: dict[str, Any]) -> None:
    # "json mode cannot be combined with tool/function calling"
    found = outgoing(SHIPPED[id], tools=[tool()], response_format=wanted)
    body = json.loads(found.body)
    assert "response_format" not in body
    assert body["stream"] is True
    assert JSON_ONLY in body["messages"][0]["content"]
    assert ("required" in body["messages"][0]["content"]) == (wanted is SCHEMA)
    assert found.dropped == ("response_format",)
    assert sent(SHIPPED[id], response_format=wanted)["response_format"] == wanted
    assert sent(tools=[tool()], response_format=wanted)["response_format"] == wanted


def test_schema_is_told_in_words_where_a_host_knows_json_alone() -> None:
    # DeepSeek: "This response_format type is unavailable now"
    system = {"role": "system", "content": "S"}
    found = outgoing(SHIPPED["deepseek"], messages=[system, HI], response_format=SCHEMA)
    body = json.loads(found.body)
    assert body["response_format"] == JSON
    assert [message["role"] for message in body["messages"]] == ["system", "system", "user"]
    assert '"required":["a"]' in body["messages"][1]["content"]
    assert found.dropped == ("response_format.json_schema",)


def test_prompt_says_json_where_a_host_wants_it_to() -> None:
    host = SHIPPED["deepseek"]
    assert sent(host, response_format=JSON)["messages"][0] == {"role": "system", "content": JSON_ONLY}
    said = [{"role": "user", "content": "As JSON, please."}]
    assert sent(host, messages=said, response_format=JSON)["messages"] == said


def test_strict_answer_with_an_open_schema_is_not_strict_at_openai() -> None:
    found = outgoing(SHIPPED["openai"], response_format=SCHEMA)
    assert json.loads(found.body)["response_format"]["json_schema"] == {"name": "n", "strict": False, "schema": OPEN}
    assert found.dropped == ("response_format.strict",)
    right = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": CLOSED}}
    assert sent(SHIPPED["openai"], response_format=right)["response_format"] == right
