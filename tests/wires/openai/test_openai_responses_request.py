"""Requests to hosts of OpenAI's Responses API: a client's own as it came, and those of other APIs written anew."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from asking import asking

from infron.catalog.definitions import Provider
from infron.catalog.load import Catalog, load_catalog
from infron.conversation import GEMINI_CALL, ToolCall
from infron.errors import Unsupported
from infron.events import Billed, Finished, ToolCallDelta, ToolCallStarted, Verbatim
from infron.money import Usage
from infron.request import Outgoing
from infron.testing import speak
from infron.wires import PROVIDER_WIRES
from infron.wires.openai.responses import Accumulator, Decoder, Encoder, parse
from infron.wires.openai.responses.reasoning import OPENAI, sealed
from infron.wires.openai.responses.request import encode_request
from infron.wires.pairing import NOT_RUN, answered_before


def host(**fields: Any) -> Provider:
    return msgspec.convert({"id": "mock", "name": "Mock", "wire": "openai-responses", **fields}, Provider)


def sent(outgoing: Outgoing) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(outgoing.body)
    return read


# ---- a client of the same API


def as_it_came(body: bytes, **fields: Any) -> Outgoing:
    return encode_request(parse(body, []), host(**fields), "own-id", False)


def test_request_of_the_same_api_goes_on_byte_for_byte() -> None:
    body = (
        b'{"model": "up/m", "input": [{"role":"user", "content":[{"type":"input_text","text":"H\\u00f6her"}]}], '
        b'"tools": [{"type": "web_search", "filters": {"a":  1}}, {"type":"mcp","server_label":"x"},'
        b'{"type":"custom","name":"p"}], "include":["x"], "temperature": 1.50, "x_vendor": {"a":1.0}, "store": false}'
    )
    outgoing = as_it_came(body)
    assert outgoing.dropped == ()
    for name, raw in msgspec.json.decode(body, type=dict[str, msgspec.Raw]).items():
        if name != "model":
            assert b'"%b":%b' % (name.encode(), bytes(raw)) in outgoing.body
    assert (sent(outgoing)["model"], sent(outgoing)["stream"]) == ("own-id", True)


def test_request_of_the_same_api_is_changed_as_the_definition_says() -> None:
    quirks = {
        "request": {"drop": ["store"], "rename": {"user": "safety_identifier"}, "defaults": {"truncation": "auto"}}
    }
    outgoing = as_it_came(b'{"model":"m","input":"Hi","store":true,"user":"ann"}', quirks=quirks)
    assert outgoing.dropped == ("store",)
    assert sent(outgoing) == {
        "model": "own-id",
        "input": "Hi",
        "stream": True,
        "safety_identifier": "ann",
        "truncation": "auto",
    }


def test_reasoning_of_other_models_stays_out_of_a_request_of_the_same_api() -> None:
    """OpenAI cannot decrypt it, and refuses the session."""
    ours = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": sealed("x", "signed", "")}
    unsealed = {"type": "reasoning", "id": "rs_0123456789abcdef012300", "summary": []}
    own = {"type": "reasoning", "id": "rs_" + "0" * 48, "summary": []}
    encrypted = {"type": "reasoning", "summary": [], "encrypted_content": "gAAAAA"}
    outgoing = as_it_came(json.dumps({"model": "m", "input": [ours, unsealed, own, encrypted]}).encode())
    assert sent(outgoing)["input"] == [own, encrypted]
    assert outgoing.dropped == ("messages.thinking",)


def test_calls_of_a_request_of_the_same_api_have_ids_of_their_own() -> None:
    def turn(text: str) -> list[Any]:
        call = {"type": "function_call", "call_id": "call_0", "name": "f", "arguments": "{}"}
        return [call, {"type": "function_call_output", "call_id": "call_0", "output": text}]

    items = sent(as_it_came(json.dumps({"model": "m", "input": [*turn("a"), *turn("b")]}).encode()))["input"]
    ids = [item["call_id"] for item in items]
    assert ids[0] == ids[1] == "call_0"
    assert ids[2] == ids[3] != "call_0"
    assert items[3]["output"] == "b"


# ---- clients of other APIs


FORMAT = {"name": "n", "schema": {"type": "object"}}


def written(api: str = "openai-chat", /, **fields: Any) -> dict[str, Any]:
    return sent(encode_request(asking(api, **fields), host(), "own-id", False))


def test_chat_request_is_written_as_items() -> None:
    calls = [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]
    body = written(
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "Look."},
                {"type": "image_url", "image_url": {"url": "https://a.b/c.png", "detail": "low"}},
            ]},
            {"role": "assistant", "content": "I call.", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "call_1", "content": "42"},
        ],
        max_tokens=5,
        temperature=0.5,
        reasoning_effort="low",
        verbosity="high",
        user="ann",
        response_format={"type": "json_schema", "json_schema": {**FORMAT, "strict": True}},
    )  # fmt: skip
    assert body["input"] == [
        {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Be brief."}]},
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "Look."},
            {"type": "input_image", "image_url": "https://a.b/c.png", "detail": "low"},
        ]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I call."}]},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"a": 1}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "42"},
    ]  # fmt: skip
    assert body["text"] == {
        "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": False},
        "verbosity": "high",
    }
    assert body["reasoning"] == {"effort": "low", "summary": "auto"}
    assert body["include"] == ["reasoning.encrypted_content"]
    assert (body["max_output_tokens"], body["temperature"], body["user"]) == (16, 0.5, "ann")
    assert (body["store"], body["stream"]) == (False, True)


def test_tools_of_a_chat_request_are_flat_and_strict_only_where_they_say_so() -> None:
    functions = [{"name": "f", "parameters": {"type": "object"}}, {"name": "g", "strict": True}]
    body = written(
        tools=[*({"type": "function", "function": function} for function in functions), {"type": "web_search"}],
        tool_choice={"type": "function", "function": {"name": "f"}},
        parallel_tool_calls=False,
    )
    f, g, search = body["tools"]
    assert (f["type"], f["name"], f["strict"], g["strict"]) == ("function", "f", False, True)
    assert g["parameters"]["type"] == "object"
    assert search == {"type": "web_search"}
    assert body["tool_choice"] == {"type": "function", "name": "f"}
    assert body["parallel_tool_calls"] is False


def test_tool_of_another_providers_own_is_refused() -> None:
    with pytest.raises(Unsupported, match=r"tools\[0\]"):
        written("anthropic", max_tokens=5, tools=[{"type": "web_search_20250305", "name": "web_search"}])


def test_reasoning_goes_back_to_openai_with_what_it_encrypted() -> None:
    details = [
        {"type": "reasoning.summary", "summary": "Hm.", "format": OPENAI, "id": "rs_1", "index": 0},
        {"type": "reasoning.encrypted", "data": "gAAA", "format": OPENAI, "id": "rs_1", "index": 0},
    ]
    said = {"role": "assistant", "content": "Yes.", "reasoning_details": details}
    first = written(messages=[{"role": "user", "content": "Hi"}, said, {"role": "user", "content": "Go on."}])["input"][
        1
    ]
    assert (first["type"], first["id"], first["encrypted_content"]) == ("reasoning", "rs_1", "gAAA")


def test_what_this_api_does_not_know_is_left_out_by_name() -> None:
    outgoing = encode_request(asking(stop=["a"], seed=7, logit_bias={"1": 2}, top_k=3), host(), "m", False)
    assert outgoing.dropped == ("logit_bias", "seed", "stop", "top_k")
    assert not sent(outgoing).keys() & {"stop", "seed", "logit_bias", "top_k"}


def test_several_answers_to_one_request_are_refused() -> None:
    with pytest.raises(Unsupported, match="`n`"):
        written(n=2)


# ---- hosts of chat completions that speak it too


@pytest.fixture
def catalog() -> Catalog:
    return load_catalog({}, {}, {}, wires=PROVIDER_WIRES)


@pytest.mark.parametrize("id", ["openai", "azure", "openrouter", "xai", "groq"])
def test_provider_that_speaks_this_api_too_is_asked_in_it_by_clients_of_it(catalog: Catalog, id: str) -> None:
    own = catalog.providers[id]
    asked = catalog.speaking(own, "openai-responses", frozenset({"function"}))
    assert (own.wire, own.chat_path) == ("openai-chat", "/chat/completions")
    assert (asked.wire, asked.chat_path, asked.usage) == ("openai-responses", "/responses", "always")
    assert (asked.base_url, asked.auth, asked.on_disconnect) == (own.base_url, own.auth, own.on_disconnect)
    assert catalog.speaking(own, "anthropic", frozenset()) is own


def test_provider_that_knows_not_all_tools_of_this_api_is_asked_in_its_own(catalog: Catalog) -> None:
    """Codex's custom tools are refused there, and work as functions."""
    groq = catalog.providers["groq"]
    request = parse(b'{"model":"m","input":"Hi","tools":[{"type":"custom","name":"p"}]}', [])
    assert catalog.speaking(groq, request.api, request.kinds) is groq
    lite = parse(b'{"model":"m","input":[{"type":"additional_tools","role":"developer","tools":[]}]}', [])
    assert catalog.speaking(groq, lite.api, lite.kinds) is groq


def test_further_wire_of_a_definition_can_be_switched_off() -> None:
    off = {"openai": {"also": {"openai-responses": {"path": ""}}}}
    catalog = load_catalog(off, {}, {}, wires=PROVIDER_WIRES)
    own = catalog.providers["openai"]
    assert catalog.speaking(own, "openai-responses", frozenset()) is own


# ---- what is left of a session


def items_sent(*items: Any, **fields: Any) -> tuple[list[Any], tuple[str, ...]]:
    body = {"model": "m", "input": list(items), **fields}
    outgoing = as_it_came(json.dumps(body).encode())
    return sent(outgoing)["input"], outgoing.dropped


def called(id: str, type: str = "function_call", **more: Any) -> dict[str, Any]:
    return {"type": type, "call_id": id, "name": "f", "arguments": "{}", **more}


def output(id: str, type: str = "function_call_output") -> dict[str, Any]:
    return {"type": type, "call_id": id, "output": "r"}


ASKED = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}


@pytest.mark.parametrize("type", ["function_call", "custom_tool_call"])
def test_call_without_an_output_gets_one_that_says_so(type: str) -> None:
    # "No tool output found for function call a."
    made = {"type": f"{type}_output", "call_id": "a", "output": NOT_RUN}
    found = items_sent(ASKED, called("a", type), called("b"), output("b"), ASKED)
    assert found == ([ASKED, called("a", type), called("b"), made, output("b"), ASKED], ("messages.tool_calls",))
    assert items_sent(ASKED, called("a", type))[0] == [ASKED, called("a", type), made]
    right = [ASKED, called("a", type), called("b"), output("b"), output("a", f"{type}_output")]
    assert items_sent(*right) == (right, ())


def test_output_without_a_call_becomes_text() -> None:
    # "No tool call found for function call output with call_id x."
    text = [{"type": "input_text", "text": said} for said in (answered_before(""), "r")]
    assert items_sent(ASKED, output("x"))[0] == [ASKED, {"type": "message", "role": "user", "content": text}]
    assert items_sent({"type": "item_reference", "id": "fc_1"}, output("x"))[0][1] == output("x")


def test_call_signed_by_another_model_goes_out_without_its_signature() -> None:
    signed = called("a", extra_content={"google": {"thought_signature": "s"}})
    assert items_sent(ASKED, signed, output("a"))[0] == [ASKED, called("a"), output("a")]
    thought = {"type": "reasoning", "id": "x", "summary": [], "encrypted_content": sealed(GEMINI_CALL, "", "s")}
    assert items_sent(ASKED, thought, called("a"), output("a"))[0] == [ASKED, called("a"), output("a")]


@pytest.mark.parametrize("include", [[], ["reasoning.encrypted_content"]])
def test_signature_of_a_call_comes_back_through_the_responses_api(include: list[str]) -> None:
    accumulator = Accumulator("gen-1", 1, asking("openai-responses", input="Hi", include=include))
    accumulator.add(ToolCallStarted(0, "a", "f", "sig"))
    accumulator.add(ToolCallDelta(0, "{}"))
    accumulator.add(Finished("tool_calls"))
    items = json.loads(accumulator.answer(Billed(usage=Usage(), charge=None, estimated=False, provider="p")))["output"]
    again = parse(json.dumps({"model": "m", "input": [ASKED, *items, output("a")]}).encode(), [])
    (call,) = again.conversation.messages[1].parts
    assert isinstance(call, ToolCall)
    assert call.signature == "sig"


def test_strict_ones_with_open_schemas_are_not_strict_and_named() -> None:
    schema = {"type": "object", "properties": {"a": {}}}
    tool = {"type": "function", "function": {"name": "f", "strict": True, "parameters": schema}}
    outgoing = encode_request(asking(tools=[tool]), host(), "own-id", False)
    assert sent(outgoing)["tools"][0]["strict"] is False
    assert outgoing.dropped == ("tools.strict",)


# ---- tools


def test_own_function_of_the_responses_api_is_brought_within_what_openai_takes() -> None:
    # "Invalid 'tools[0].name'", "schema must have type 'object' and not have 'anyOf' at the top level"
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    tools = [
        {"type": "function", "name": "srv/f", "parameters": {"anyOf": [schema]}, "strict": False},
        {"type": "function", "name": "g", "parameters": schema, "strict": True},
        {"type": "namespace", "name": "a/b", "tools": []},
        {"type": "web_search"},
    ]
    call = {**called("a"), "name": "srv/f"}
    choice = {"type": "function", "name": "srv/f"}
    body = {"model": "m", "input": [ASKED, call, output("a")], "tools": tools, "tool_choice": choice}
    outgoing = as_it_came(json.dumps(body).encode())
    found = sent(outgoing)
    assert found["tools"][0]["parameters"]["type"] == "object"
    assert "a" in found["tools"][0]["parameters"]["properties"]
    assert found["tools"][1] == {**tools[1], "strict": False}
    assert found["tools"][2:] == tools[2:]
    assert [found["tools"][0]["name"], found["input"][1]["name"], found["tool_choice"]["name"]] == ["srv_f"] * 3
    assert (outgoing.names, outgoing.dropped) == ({"srv_f": "srv/f"}, ("tools.strict",))


def test_own_function_of_the_responses_api_is_called_back_by_its_name() -> None:
    voice = speak("openai-responses")
    stream = voice.start() + voice.tool_call("srv_f", "{}") + voice.finish("tool_calls")
    decoder = Decoder(host(), 1 << 20, "", True)
    decoder.rename({"srv_f": "srv/f"})
    encoder = Encoder("gen-1", 1, asking("openai-responses", input="Hi"))
    events = [event for event in [*decoder.feed(stream), *decoder.close()] if isinstance(event, Verbatim)]
    told = b"".join(encoder.encode(event) for event in events)
    assert b"srv_f" not in told
    assert told.count(b'"name":"srv/f"') >= 3


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ('{"x": 1', r'{"arguments":"{\"x\": 1"}'),
        ("", "{}"),
        ({"x": 1}, '{"x":1}'),
        (None, "{}"),
        ('{"x": 1}', '{"x": 1}'),
    ],
)
def test_own_call_whose_arguments_are_no_object_has_them_in_one(given: Any, told: str) -> None:
    """A call that was cut stays in a session; hosts that render it refused every later request."""
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": given}
    said = [{"role": "user", "content": "Hi"}, call, {"type": "function_call_output", "call_id": "c1", "output": "r"}]
    body = sent(as_it_came(json.dumps({"model": "m", "input": said}).encode()))
    assert body["input"] == [said[0], {**call, "arguments": told}, said[2]]
