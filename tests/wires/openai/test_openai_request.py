"""Requests: what a client may send, what is refused and how that is told, what each provider gets."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infron.catalog.definitions import Provider
from infron.errors import InfronError, InvalidRequest
from infron.request import Request
from infron.wires.openai.chat import encode_request, parse, render_error

MESSAGES = b'"messages":[{"role":"user","content":"Hi"}]'


def parsed(data: bytes) -> Request:
    return parse(data, [])


def body(fields: bytes = b"") -> bytes:
    return b'{"model":"a/b",' + MESSAGES + (b"," + fields if fields else b"") + b"}"


def test_a_plain_request_is_read() -> None:
    request = parsed(body(b'"stream":true,"user":"u","session_id":"s","service_tier":"flex"'))
    assert (request.model, request.stream, request.include_usage) == ("a/b", True, None)
    assert (request.user, request.session_id, request.service_tier) == ("u", "s", "flex")
    assert not parsed(body()).stream
    assert not parsed(body(b'"stream":null')).stream


@pytest.mark.parametrize("size", [0, 70_000])
def test_null_fields_are_absent(size: int) -> None:
    # LlamaIndex sends nine of them; hosts that know a field refuse null for it.
    request = parsed(body(b'"stop":null,"tools":null,"user":null,"x_note": "null %b"' % (b"x" * size)))
    assert request.fields.keys() == {"model", "messages", "x_note"}


@pytest.mark.parametrize("asked", [b'"stream_options":{"include_usage":true}', b'"usage":{"include":true}'])
def test_usage_is_asked_for_in_either_way(asked: bytes) -> None:
    assert parsed(body(asked)).include_usage is True
    assert parsed(body(asked.replace(b"true", b"false"))).include_usage is False
    assert parsed(body(asked.replace(b"true", b"null"))).include_usage is None
    assert parsed(body(asked.replace(b"true", b'"yes"'))).include_usage is None


def test_preferences_and_fallbacks_are_read() -> None:
    request = parsed(
        body(b'"models":["x/y"],"provider":{"order":["a"],"only":["b"],"ignore":["c"],"allow_fallbacks":false}')
    )
    assert request.models == ("x/y",)
    chosen = request.preferences
    assert (chosen.order, chosen.only, chosen.ignore, chosen.allow_fallbacks) == (("a",), ("b",), ("c",), False)
    assert not chosen.require_parameters
    assert parsed(body(b'"provider":{"require_parameters":true}')).preferences.require_parameters
    assert parsed(body(b'"fallback_models":["x/y"]')).models == ("x/y",)


# ---- what is refused: body -> (a part of the message, the param)

DEEP = b'"x":' + b"[" * 250 + b"]" * 250
REFUSED: dict[str, tuple[bytes, str, str | None]] = {
    "nothing": (b"", "line 1, column 1", None),
    "invalid JSON": (b'{"model":"a/b",\n "messages": [}', "line 2, column 15", None),
    "cut JSON": (b'{"model":"a/b"', "line 1, column", None),
    "two values": (b"{} {}", "line 1, column 4", None),
    "single quotes": (b"{'model':'a'}", "line 1, column 2", None),
    "a control character in a string": (body(b'"x":"a\nb"'), "line 1, column", None),
    "not UTF-8": (body(b'"x":"\xff"'), "not UTF-8", None),
    "UTF-16": ("{}".encode("utf-16"), "not UTF-8", None),
    "an array": (b"[]", "JSON object", None),
    "a string": (b'"a"', "JSON object", None),
    "null": (b"null", "JSON object", None),
    "NaN": (body(b'"temperature":NaN'), "NaN", None),
    "Infinity": (body(b'"temperature":-Infinity'), "-Infinity", None),
    "a number of thousands of digits": (body(b'"seed":' + b"9" * 5000), "thousands of digits", None),
    "a field twice": (body(b'"model":"c/d"'), "`model` twice", "model"),
    "a field twice, deep inside": (body(b'"x":[{"y":{"z":1,"z":2}}]'), "`z` twice", "z"),
    "a field twice under two spellings": (body(b'"x":{"a":1,"\\u0061":2}'), "`a` twice", "a"),
    "a field twice whose name no encoder takes": (body(b'"x":{"\\ud800":1,"\\ud800":2}'), "twice", "?"),
    "too deep": (body(DEEP), "nested too deeply", None),
    "far too deep": (body(b'"x":' + b"[" * 30_000), "nested too deeply", None),
    "far too many": (body(b'"x":' + b"[" * 200_000), "too many arrays", None),
    "too deep in objects": (body(b'"x":' + b'{"a":' * 250 + b"1" + b"}" * 250), "nested too deeply", None),
    "no model": (b"{" + MESSAGES + b"}", "`model` is missing", "model"),
    "a null model": (b'{"model":null,' + MESSAGES + b"}", "`model` is missing", "model"),
    "a model that is a number": (b'{"model":7,' + MESSAGES + b"}", "`model` must be a string", "model"),
    "an empty model": (b'{"model":"",' + MESSAGES + b"}", "`model` is empty", "model"),
    "no messages": (b'{"model":"a/b"}', "`messages` is missing", "messages"),
    "messages that are a string": (b'{"model":"a/b","messages":"Hi"}', "`messages` must be an array", "messages"),
    "empty messages": (b'{"model":"a/b","messages":[]}', "`messages` is empty", "messages"),
    "a message that is a string": (b'{"model":"a/b","messages":["Hi"]}', "must be an object", "messages[0]"),
    "a message without a role": (
        b'{"model":"a/b","messages":[{"role":"user"},{"content":"Hi"}]}',
        "must be a string such as user",
        "messages[1].role",
    ),
    "content that is a number": (
        b'{"model":"a/b","messages":[{"role":"user","content":7}]}',
        "string or an array",
        "messages[0].content",
    ),
    "stream as a word": (body(b'"stream":"true"'), "`stream` must be true or false", "stream"),
    "stream as a number": (body(b'"stream":1'), "`stream` must be true or false", "stream"),
    "stream_options as an array": (body(b'"stream_options":[]'), "must be an object", "stream_options"),
    "tools as an object": (body(b'"tools":{}'), "`tools` must be an array", "tools"),
    "usage as a flag": (body(b'"usage":true'), "`usage` must be an object", "usage"),
    "provider as a name": (body(b'"provider":"openai"'), "`provider` must be an object", "provider"),
    "order as a name": (body(b'"provider":{"order":"openai"}'), "array of strings", "provider.order"),
    "models as a name": (body(b'"models":"x/y"'), "array of strings", "models"),
    "models that are numbers": (body(b'"models":[1]'), "array of strings", "models"),
    "user as a number": (body(b'"user":1'), "`user` must be a string", "user"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_with_its_place(name: str) -> None:
    data, words, param = REFUSED[name]
    with pytest.raises(InvalidRequest) as refused:
        parsed(data)
    assert words in refused.value.message
    assert refused.value.param == param
    error = json.loads(render_error(refused.value))["error"]
    assert (error["code"], error["type"], error["param"]) == ("invalid_request", "invalid_request_error", param)


def test_two_hundred_levels_are_not_too_deep() -> None:
    parsed(body(b'"x":' + b"[" * 199 + b"]" * 199))
    parsed(body(b'"x":[' + b"[]," * 500 + b"[]]"))  # many are not deep


def test_a_surrogate_pair_is_a_character() -> None:
    assert bytes(parsed(body(b'"x":"\\ud83d\\ude42"')).fields["x"]) == b'"\\ud83d\\ude42"'


@pytest.mark.parametrize(
    ("body_fields", "told", "repaired"),
    [
        (b'"x":"a\\ud83d"', {"x": "a\ufffd"}, ("x.surrogates",)),
        (b'"\\uDC00":1', {"\ufffd": 1}, ("\ufffd.surrogates",)),
        (b'"x":["\\ude42\\ud83d"],"y":"\\ud83d\\ude42"', {"x": ["\ufffd\ufffd"], "y": "🙂"}, ("x.surrogates",)),
    ],
)
def test_half_of_a_surrogate_pair_becomes_a_replacement_character_and_is_named(
    body_fields: bytes, told: dict[str, Any], repaired: tuple[str, ...]
) -> None:
    request = parsed(body(body_fields))
    assert {name: json.loads(bytes(request.fields[name])) for name in told} == told
    assert request.repaired == repaired
    json.loads(encode_request(request, Provider(id="mock", name="Mock"), "own-id", False).body)


@settings(deadline=None)
@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_garbage_is_refused_with_our_error_only(data: bytes) -> None:
    for whole in (data, body(b'"x":' + data), b'{"model":"a","messages":' + data + b"}"):
        try:
            parsed(whole)
        except InfronError as error:
            render_error(error)


# ---- what a provider gets

PLAIN: dict[str, Any] = {"id": "mock", "name": "Mock", "usage": "ask"}


def row(**fields: Any) -> Provider:
    return msgspec.convert({**PLAIN, **fields}, Provider)


def sent(fields: bytes, provider: Provider, ask_usage: bool = True) -> dict[str, msgspec.Raw]:
    data = encode_request(parsed(body(fields)), provider, "own-id", ask_usage).body
    return msgspec.json.decode(data, type=dict[str, msgspec.Raw])


def test_gateway_fields_are_consumed_and_all_others_sent_on_byte_for_byte() -> None:
    ours = (
        b'"provider":{},"models":["x"],"fallback_models":["x"],"fallback_rules":{},"usage":{"include":true},"plugins":[],'
        b'"session_id":"s","route":"fallback","transforms":[],"preset":"p","trace":{},"debug":{},"stop_server_tools_when":1'
    )
    theirs = {
        "temperature": b"1.10",
        "seed": b"12345678901234567890123",
        "top_p": b"1e-3",
        "x_text": '"\u00fc \\u00fc \U0001f642 \\ud83d\\ude42 \\/"'.encode(),
        "x_deep": b'{ "b" : [1.0, -0, null] , "a":{}}',
        "user": b'"u"',
    }
    fields = b",".join(b'"%b":%b' % (name.encode(), value) for name, value in theirs.items())
    found = {name: bytes(raw) for name, raw in sent(ours + b"," + fields, row()).items()}
    assert found == {
        "model": b'"own-id"',
        "messages": MESSAGES.removeprefix(b'"messages":'),
        "stream": b"true",
        "stream_options": b'{"include_usage":true}',
        **theirs,
    }


def test_messages_stay_byte_for_byte_where_the_row_changes_none_of_them() -> None:
    messages = (
        '[{"role": "user","content" : "\\u00fc\u00fc", "x":1.10},{"role":"user","content":[{"type":"text"}]}]'.encode()
    )
    request = parsed(b'{"model":"a/b","messages":' + messages + b"}")
    data = encode_request(request, row(quirks={"message": {"roles": {"developer": "system"}}}), "own-id", True).body
    for kept in ('"\\u00fc\u00fc"'.encode(), b"1.10", b'[{"type":"text"}]'):
        assert kept in data


@pytest.mark.parametrize(
    ("usage", "ask", "given", "expected"),
    [
        ("ask", True, b"", {"include_usage": True}),
        ("ask", True, b'"stream_options":null', {"include_usage": True}),
        ("ask", True, b'"stream_options":{"include_usage":false,"a":1}', {"a": 1, "include_usage": True}),
        ("try", False, b"", None),
        ("try", False, b'"stream_options":{"include_usage":true,"a":1}', None),
        ("always", False, b'"stream_options":{"include_usage":true}', None),
        ("always", False, b'"stream_options":{"include_usage":true,"a":1}', {"a": 1}),
        ("never", False, b'"stream_options":{"include_usage":true,"a":1}', None),
    ],
)
def test_stream_options_are_merged(usage: str, ask: bool, given: bytes, expected: Any) -> None:
    found = sent(given, row(usage=usage), ask).get("stream_options")
    assert (found and json.loads(bytes(found))) == expected


def test_a_rows_own_stream_options_go_with_ours_and_the_callers_win() -> None:
    provider = row(quirks={"request": {"stream_options": {"include_obfuscation": False}}})
    merged = sent(b"", provider)["stream_options"]
    assert json.loads(bytes(merged)) == {"include_obfuscation": False, "include_usage": True}
    merged = sent(b'"stream_options":{"include_obfuscation":true}', provider)["stream_options"]
    assert json.loads(bytes(merged)) == {"include_obfuscation": True, "include_usage": True}
    assert "stream_options" not in sent(b"", provider, ask_usage=False)


STRICT = {"type": "object", "strict": 1}  # no flag here
# Each: the quirks -> the fields given -> the fields sent, beside model, messages and the streaming ones.
ROOT: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({}, {"max_tokens": 5, "max_completion_tokens": 6}, {"max_tokens": 5, "max_completion_tokens": 6}),
    ({"max_tokens": "max_tokens"}, {"max_completion_tokens": 6}, {"max_tokens": 6}),
    ({"max_tokens": "max_tokens"}, {"max_tokens": 5}, {"max_tokens": 5}),
    ({"max_tokens": "max_tokens"}, {"max_tokens": 5, "max_completion_tokens": 6}, {"max_tokens": 5}),
    ({"max_tokens": "max_tokens"}, {"max_tokens": None, "max_completion_tokens": 6}, {"max_tokens": 6}),
    ({"max_tokens": "max_completion_tokens"}, {"max_tokens": 5}, {"max_completion_tokens": 5}),
    ({"rename": {"seed": "random_seed"}}, {"seed": 1}, {"random_seed": 1}),
    ({"rename": {"seed": "random_seed"}}, {"seed": 1, "random_seed": 2}, {"random_seed": 2}),
    ({"drop": ["top_p"]}, {"top_p": 0.5, "n": 1}, {"n": 1}),
    ({"defaults": {"max_tokens": 9}}, {}, {"max_tokens": 9}),
    ({"defaults": {"max_tokens": 9}}, {"max_tokens": 5}, {"max_tokens": 5}),
    ({"defaults": {"max_tokens": 9}, "max_tokens": "max_tokens"}, {"max_completion_tokens": 5}, {"max_tokens": 5}),
    ({"only": ["model", "messages", "stream", "stream_options", "n"]}, {"n": 1, "logit_bias": {}}, {"n": 1}),
    ({"integer_logprobs": True}, {"logprobs": True, "top_logprobs": 5}, {"logprobs": 5}),
    ({"integer_logprobs": True}, {"logprobs": True}, {"logprobs": 1}),
    ({"integer_logprobs": True}, {"logprobs": True, "top_logprobs": 0}, {"logprobs": 1}),
    ({"integer_logprobs": True}, {"logprobs": False, "top_logprobs": 5}, {}),
    ({"integer_logprobs": True}, {"top_logprobs": 5}, {}),
    ({"integer_logprobs": True}, {"logprobs": 3}, {"logprobs": 3}),
    ({"integer_logprobs": True}, {"n": 1}, {"n": 1}),
    (
        {"strip_tool": ["strict"]},
        {
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "f", "strict": True, "parameters": {"type": "object", "strict": 1}},
                }
            ]
        },
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": STRICT}}]},
    ),
    ({"strip_tool": ["strict"]}, {"tools": [{"type": "web"}, 7]}, {"tools": [{"type": "web"}, 7]}),
    ({"strip_tool": ["strict"]}, {"tools": None}, {}),
]
SCHEMA = {"type": "json_schema", "json_schema": {}}
# Each: the quirks -> the fields given -> whether a stream is asked for.
STREAMED: list[tuple[dict[str, str], dict[str, Any], bool]] = [
    ({"tools": ""}, {"tools": [{"type": "function"}]}, False),
    ({"tools": ""}, {"tools": []}, True),
    ({"tools": ""}, {"tools": None}, True),
    ({"tools": ""}, {}, True),
    ({"response_format": "json_schema"}, {"response_format": SCHEMA}, False),
    ({"response_format": "json_schema"}, {"response_format": {"type": "json_object"}}, True),
    ({"response_format": "json_schema"}, {"response_format": "json_schema"}, True),
    ({"tools": "", "response_format": "json_schema"}, {"response_format": SCHEMA}, False),
]


@pytest.mark.parametrize(("whole_for", "given", "streamed"), STREAMED)
def test_a_whole_answer_is_asked_for_beside_what_is_not_streamed(
    whole_for: dict[str, str], given: dict[str, Any], streamed: bool
) -> None:
    found = sent(json.dumps(given)[1:-1].encode(), row(quirks={"request": {"whole_for": whole_for}}))
    assert bytes(found["stream"]) == (b"true" if streamed else b"false")
    assert ("stream_options" in found) == streamed


@pytest.mark.parametrize(("quirks", "given", "expected"), ROOT)
def test_a_quirk_changes_root_members(quirks: dict[str, Any], given: dict[str, Any], expected: dict[str, Any]) -> None:
    fields = json.dumps(given)[1:-1].encode()
    found = {name: json.loads(bytes(raw)) for name, raw in sent(fields, row(quirks={"request": quirks})).items()}
    own = {"model": "own-id", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    assert found == {**own, "stream_options": {"include_usage": True}, **expected}


# Each: the quirks -> the fields given -> the names of those that are sent in no form.
LEFT_OUT: list[tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = [
    ({}, {"x_vendor": 1, "stream_options": {"a": 1}, "session_id": "s"}, ()),
    ({"drop": ["top_p", "n"]}, {"top_p": 0.5, "n": 2, "seed": 1}, ("n", "top_p")),
    ({"drop": ["n"]}, {"n": 1}, ()),
    ({"drop": ["top_p"]}, {"top_p": None}, ()),
    ({"only": ["model", "messages", "stream"]}, {"x": 1, "stream_options": {"a": 1}, "models": ["a/b"]}, ("x",)),
    ({"max_tokens": "max_tokens"}, {"max_completion_tokens": 6}, ()),
    ({"max_tokens": "max_tokens"}, {"max_tokens": 5, "max_completion_tokens": 6}, ()),
    ({"max_tokens": "max_tokens", "drop": ["max_tokens"]}, {"max_completion_tokens": 6}, ("max_completion_tokens",)),
    ({"rename": {"seed": "random_seed"}}, {"seed": 1}, ()),
    (
        {"rename": {"seed": "random_seed"}, "only": ["model", "messages", "stream"]},
        {"seed": 1, "random_seed": None},
        ("seed",),
    ),
    ({"integer_logprobs": True}, {"logprobs": True, "top_logprobs": 5}, ()),
    ({"integer_logprobs": True}, {"logprobs": False}, ()),
    ({"integer_logprobs": True}, {"logprobs": "yes", "top_logprobs": 5}, ("logprobs", "top_logprobs")),
]


@pytest.mark.parametrize(("quirks", "given", "expected"), LEFT_OUT)
def test_what_a_row_lets_go_is_named(quirks: dict[str, Any], given: dict[str, Any], expected: tuple[str, ...]) -> None:
    request = parsed(body(json.dumps(given)[1:-1].encode()))
    assert encode_request(request, row(quirks={"request": quirks}, usage="always"), "own-id", False).dropped == expected


TEXTS = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
IMAGE = {"type": "image_url", "image_url": {"url": "data:"}}
CALL = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
# Each: the quirks -> a message -> the message sent.
MESSAGE: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({"roles": {"developer": "system"}}, {"role": "developer", "content": "x"}, {"role": "system", "content": "x"}),
    ({"roles": {"developer": "system"}}, {"role": "user", "content": "x"}, {"role": "user", "content": "x"}),
    ({}, {"role": "developer", "content": "x"}, {"role": "developer", "content": "x"}),
    ({"strip": ["name"]}, {"role": "user", "content": "x", "name": "n"}, {"role": "user", "content": "x"}),
    (
        {"strip": ["cache_control"]},
        {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {}}], "cache_control": {}},
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
    ),
    ({"strip": ["x"]}, {"role": "user", "content": ["a", 7]}, {"role": "user", "content": ["a", 7]}),
    (
        {"only": {"user": ["role", "content"]}},
        {"role": "user", "content": "x", "name": "n"},
        {"role": "user", "content": "x"},
    ),
    (
        {"only": {"user": ["role", "content"]}},
        {"role": "assistant", "content": "x", "name": "n"},
        {"role": "assistant", "content": "x", "name": "n"},
    ),
    (
        {"only": {"system": ["role", "content"]}, "roles": {"developer": "system"}},
        {"role": "developer", "content": "x", "name": "n"},
        {"role": "system", "content": "x"},
    ),
    ({"plain_content": True}, {"role": "user", "content": TEXTS}, {"role": "user", "content": "a\nb"}),
    ({"plain_content": True}, {"role": "user", "content": []}, {"role": "user", "content": ""}),
    ({"plain_content": True}, {"role": "assistant", "content": None}, {"role": "assistant", "content": ""}),
    ({"plain_content": True}, {"role": "assistant"}, {"role": "assistant"}),
    (
        {"plain_content": True},
        {"role": "user", "content": [*TEXTS, IMAGE]},
        {"role": "user", "content": [*TEXTS, IMAGE]},
    ),
    ({"plain_content": True}, {"role": "user", "content": ["a", 7]}, {"role": "user", "content": ["a", 7]}),
    ({}, {"role": "assistant", "content": "x", "tool_calls": None}, {"role": "assistant", "content": "x"}),
    ({}, {"role": "assistant", "content": "x", "tool_calls": []}, {"role": "assistant", "content": "x"}),
    ({"tool_id_length": 9}, {"role": "assistant", "tool_calls": [7]}, {"role": "assistant", "tool_calls": [7]}),
    (
        {"tool_id_length": 9},
        {"role": "assistant", "tool_calls": [{"id": "abcDEF123", **CALL}]},
        {"role": "assistant", "tool_calls": [{"id": "abcDEF123", **CALL}]},
    ),
]


def message_sent(message: dict[str, Any], quirks: dict[str, Any]) -> Any:
    return messages_sent([message], quirks)[0]


def messages_sent(messages: list[dict[str, Any]], quirks: dict[str, Any]) -> Any:
    request = parsed(json.dumps({"model": "a/b", "messages": messages}).encode())
    return json.loads(encode_request(request, row(quirks={"message": quirks}), "own-id", True).body)["messages"]


@pytest.mark.parametrize(("quirks", "given", "expected"), MESSAGE)
def test_a_quirk_changes_a_message(quirks: dict[str, Any], given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert message_sent(given, quirks) == expected


def test_tool_call_ids_become_short_and_stay_the_same_for_the_same_call() -> None:
    quirks = {"tool_id_length": 9}
    calls = [{"id": "call_8fa0e1-long", **CALL}, {"id": "call_other", **CALL}]
    result = {"role": "tool", "tool_call_id": "call_8fa0e1-long", "content": "x"}
    said, answer, _ = messages_sent([{"role": "assistant", "tool_calls": calls}, result], quirks)
    first, second = said["tool_calls"]
    assert answer["tool_call_id"] == first["id"]
    assert first["id"] != second["id"]
    for id in (first["id"], second["id"]):
        assert len(id) == 9
        assert id.isascii()
        assert id.isalnum()
    assert {**first, "id": None} == {"id": None, **CALL}
