"""Providers' errors: what becomes of every shape that was met, of status and retry-after, and what never leaks.

The bodies in `cases/errors` are what hosts were reported to send.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infron.catalog.definitions import Provider
from infron.errors import (
    DeadlineExceeded,
    InfronError,
    InvalidRequest,
    NotFound,
    PaymentRequired,
    ProviderError,
    ProviderMisconfigured,
    ProviderTimeout,
    ProviderUnavailable,
    RateLimited,
    ShuttingDown,
    Unauthenticated,
)
from infron.wires import PROVIDER_WIRES
from infron.wires.errors import error_object, message_in_stream
from infron.wires.openai.chat import parse_error, render_error

ROW = Provider(id="mock", name="Mock")

# Each: the body -> (message, code)
SHAPES: list[tuple[Any, str, str | None]] = [
    (
        {"error": {"message": "Bad n", "type": "invalid_request_error", "param": "n", "code": None}},
        "Bad n",
        "invalid_request_error",
    ),
    (
        {"error": {"message": "Too long", "type": "x", "code": "context_length_exceeded"}},
        "Too long",
        "context_length_exceeded",
    ),
    ({"error": "Just text"}, "Just text", None),
    ({"code": "Some code", "error": "xAI text"}, "xAI text", "Some code"),
    (
        {"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}, "request_id": "r"},
        "Busy",
        "overloaded_error",
    ),
    ({"message": "Cohere text", "id": "1"}, "Cohere text", None),
    ({"detail": "FastAPI text"}, "FastAPI text", None),
    ({"detail": {"message": "inner", "code": "c1"}}, "inner", "c1"),
    ({"detail": {"error": "inner"}}, "inner", None),
    ({"detail": [{"loc": ["body", "n"], "msg": "field required", "type": "missing"}]}, "field required", "missing"),
    ({"code": 4001, "reason": "BAD", "message": "novita text", "metadata": {}}, "novita text", "4001"),
    ({"success": False, "errors": [{"code": 3036, "message": "cf text"}], "result": None}, "cf text", "3036"),
    ({"fault": {"faultstring": "edge text", "detail": {"errorcode": "e"}}}, "edge text", None),
    ({"base_resp": {"status_code": 2013, "status_msg": "minimax text"}}, "minimax text", "2013"),
    ([{"error": {"code": 400, "message": "in a list", "status": "INVALID"}}], "in a list", None),
    ("a string", "a string", None),
    ({"error": {"message": "half \ud83d pair"}}, "half ? pair", None),
]


@pytest.mark.parametrize(("body", "message", "code"), SHAPES)
def test_the_message_and_the_code_are_found(body: Any, message: str, code: str | None) -> None:
    error = parse_error(400, [], json.dumps(body).encode(), ROW)
    assert isinstance(error, ProviderError)
    assert (error.message, error.status, error.provider) == (message, 400, "mock")
    assert error.metadata.get("provider_code") == code
    shown = json.loads(render_error(error))["error"]
    assert (shown["message"], shown["metadata"]["provider"], shown["metadata"]["status"]) == (message, "mock", 400)
    assert isinstance(shown["code"], str)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"upstream connect error", "upstream connect error"),
        (b"<html><h1>502</h1></html>", "Mock answered with HTTP 502 and no message."),
        (b"", "Mock answered with HTTP 502 and no message."),
        (b"{}", "Mock answered with HTTP 502 and no message."),
        (b"null", "Mock answered with HTTP 502 and no message."),
        (b'{"error":{}}', "Mock answered with HTTP 502 and no message."),
        (b'{"error":true}', "Mock answered with HTTP 502 and no message."),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"[" * 100_000, ("[" * 300)),
    ],
)
def test_a_body_that_is_no_error_object_still_gives_a_sentence(body: bytes, message: str) -> None:
    assert parse_error(502, [], body, ROW).message == message


@pytest.mark.parametrize(
    ("status", "error_type", "retry"),
    [
        (400, "invalid_request", False),
        (404, "not_found", True),
        (408, "timeout", True),
        (409, "conflict", True),
        (412, "precondition_failed", False),
        (413, "payload_too_large", False),
        (418, "invalid_request", False),
        (422, "unprocessable", False),
        (429, "rate_limit_exceeded", True),
        (500, "server", True),
        (502, "provider_unavailable", True),
        (503, "provider_overloaded", True),
        (504, "timeout", True),
        (524, "server", True),
        (529, "provider_overloaded", True),
    ],
)
def test_the_status_stays_and_names_the_type(status: int, error_type: str, retry: bool) -> None:
    error = parse_error(status, [], b'{"error":"x"}', ROW)
    assert (error.status, error.error_type, error.safe_to_retry) == (status, error_type, retry)


@pytest.mark.parametrize(
    ("body", "status", "error_type"),
    [
        (b'{"error":{"code":429,"message":"x"}}', 429, "rate_limit_exceeded"),
        (b'{"error":{"code":"503","message":"x"}}', 503, "provider_overloaded"),
        (b'{"error":{"type":"rate_limit_error","message":"x"}}', 429, "rate_limit_exceeded"),
        (b'{"error":{"code":"context_length_exceeded","message":"x"}}', 400, "context_length_exceeded"),
        (b'{"error":{"code":1305,"message":"x"}}', 502, "provider_unavailable"),
        (b'{"error":{"code":200,"message":"x"}}', 502, "provider_unavailable"),
        ('{"error":{"code":"\u00b2","message":"x"}}'.encode(), 502, "provider_unavailable"),
        (b'{"error":"x"}', 502, "provider_unavailable"),
    ],
)
def test_inside_a_stream_the_code_gives_the_status(body: bytes, status: int, error_type: str) -> None:
    error = parse_error(200, [], body, ROW)
    assert (error.status, error.error_type) == (status, error_type)


@pytest.mark.parametrize(("status", "words"), [(401, "API key"), (402, "no credit"), (403, "account")])
def test_what_the_operator_must_mend_is_our_502(status: int, words: str) -> None:
    error = parse_error(status, [], b'{"error":{"message":"Incorrect API key provided: sk-abc"}}', ROW, key="sk-abc")
    assert isinstance(error, ProviderMisconfigured)
    assert (error.status, error.should_retry, error.blame) == (502, False, "us")
    assert words in error.message
    assert b"sk-abc" not in render_error(error)
    assert isinstance(parse_error(200, [], b'{"error":{"code":401,"message":"x"}}', ROW), ProviderMisconfigured)


def test_a_refusal_by_moderation_is_the_callers() -> None:
    error = parse_error(403, [], b'{"error":{"message":"Flagged","code":"content_policy_violation"}}', ROW)
    assert (error.status, error.error_type, error.safe_to_retry) == (403, "content_policy_violation", False)
    assert parse_error(403, [], b'{"error":"Your input was flagged"}', ROW).error_type == "permission_denied"


def test_a_quota_that_is_spent_is_not_worth_a_retry() -> None:
    error = parse_error(429, [], b'{"error":{"message":"x","code":"insufficient_quota"}}', ROW)
    assert (error.status, error.should_retry) == (429, False)
    assert parse_error(429, [], b'{"error":{"message":"Slow down"}}', ROW).should_retry is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"message":"the key sk-secret-1 is bad","code":"sk-secret-1"}}',
        b'{"detail":"sk-secret-1"}',
        b"Authorization: Bearer sk-secret-1 refused",
    ],
)
@pytest.mark.parametrize("status", [200, 400, 403, 500])
def test_our_key_is_never_repeated(body: bytes, status: int) -> None:
    assert b"sk-secret-1" not in render_error(parse_error(status, [], body, ROW, key="sk-secret-1"))


@pytest.mark.parametrize("key", ["none", "EMPTY", "x", "k-1", "whatever", "", "unused"])
def test_error_keeps_its_words_where_the_key_is_a_dummy(key: str) -> None:
    # A key of `none` made "[key] of the models" of "none of the models", and `x` "te[key]t".
    said = "none of the models is EMPTY: whatever text k-1 is, x stays unused"
    body = json.dumps({"error": {"message": said, "code": "none_left"}}).encode()
    error = parse_error(500, [], body, ROW, key=key)
    assert (error.message, error.code) == (said, "none_left")


@pytest.mark.parametrize("wire", sorted(PROVIDER_WIRES))
@pytest.mark.parametrize("before", [*range(285, 300), *range(1985, 2000)])
@pytest.mark.parametrize("is_json", [True, False])
def test_error_text_is_cut_after_keys_are_masked(wire: str, before: int, is_json: bool) -> None:
    # A text was cut first, so that a key across the cut lost its end and was not found: half of it was shown.
    key = "sk-live-0123456789abcdef"
    text = f"{'.' * before}{key} and more"
    body = json.dumps({"error": {"message": text}}).encode() if is_json else text.encode()
    error = PROVIDER_WIRES[wire].parse_error(500, [], body, ROW, key, 0.0)
    assert key[:8] not in error.message


CASES = Path(__file__).parent / "cases/errors"


def cases(name: str) -> list[Any]:
    return [pytest.param(case, id=case["who"]) for case in json.loads((CASES / f"{name}.json").read_text())]


def error_of(case: dict[str, Any]) -> InfronError:
    headers = [(name.encode(), value.encode()) for name, value in case.get("headers", {}).items()]
    wire = PROVIDER_WIRES[case.get("wire", "openai-chat")]
    return wire.parse_error(case["status"], headers, json.dumps(case["body"]).encode(), ROW, "", 0.0)


@pytest.mark.parametrize("case", cases("too_long"))
def test_error_for_a_prompt_too_long_is_recognised_in_every_wording(case: dict[str, Any]) -> None:
    # Agents compact a conversation only where `code` says why it was refused; most hosts tell it in words alone.
    error = error_of(case)
    assert (error.status, error.error_type) == (400, "context_length_exceeded")
    shown = json.loads(render_error(error))["error"]
    assert (shown["code"], shown["type"]) == ("context_length_exceeded", "context_length_exceeded")
    assert (shown["param"], shown["metadata"]["status"]) == (case.get("param"), 400)
    assert not error.safe_to_retry


@pytest.mark.parametrize("case", cases("not_too_long"))
def test_error_of_another_kind_in_nearly_the_same_words_stays_what_it_is(case: dict[str, Any]) -> None:
    error = error_of(case)
    shown = json.loads(render_error(error))["error"]
    assert (error.error_type, shown["code"], shown["param"]) == (case["error_type"], case["code"], case.get("param"))
    assert shown["metadata"]["status"] == error.status == case["status"]


@pytest.mark.parametrize(
    ("error", "type", "code"),
    [
        (InvalidRequest("x"), "invalid_request_error", "invalid_request"),
        (Unauthenticated("x"), "invalid_request_error", "invalid_api_key"),
        (PaymentRequired("x"), "insufficient_quota", "insufficient_quota"),
        (NotFound("x", code="model_not_found"), "invalid_request_error", "model_not_found"),
        (RateLimited("x"), "rate_limit_exceeded", "rate_limit_exceeded"),
        (ProviderUnavailable("x"), "server_error", "provider_unavailable"),
        (ProviderMisconfigured("x"), "server_error", "provider_configuration"),
        (DeadlineExceeded("x"), "server_error", "timeout"),
    ],
)
def test_error_of_the_gateway_has_types_and_codes_of_openai(error: InfronError, type: str, code: str) -> None:
    shown = json.loads(render_error(error))["error"]
    assert (shown["type"], shown["code"], shown["metadata"]["status"]) == (type, code, error.status)
    assert shown["metadata"]["error_type"] == error.error_type


NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        ([(b"retry-after", b"7")], 7.0),
        ([(b"retry-after", b" 1.5 ")], 1.5),
        ([(b"retry-after", b"0")], 0.0),
        ([(b"retry-after-ms", b"250")], 0.25),
        ([(b"retry-after", b"7"), (b"retry-after-ms", b"250")], 0.25),
        ([(b"retry-after", b"7"), (b"retry-after-ms", b"soon")], 7.0),
        ([(b"retry-after", b"Tue, 14 Nov 2023 22:14:20 GMT")], 60.0),
        ([(b"retry-after", b"Tue, 14 Nov 2023 23:14:20 +0100")], 60.0),
        ([(b"retry-after", b"Tue, 14 Nov 2023 22:00:00 GMT")], None),
        ([(b"retry-after", b"-1")], None),
        ([(b"retry-after", b"nan")], None),
        ([(b"retry-after", b"inf")], None),
        ([(b"retry-after", b"soon")], None),
        ([(b"retry-after", b"Tue, 99 Foo 99999999 99:99:99 GMT")], None),
        ([(b"retry-after", b"\xff")], None),
        ([(b"retry-after", b"")], None),
    ],
)
def test_retry_after_is_read_in_every_form(headers: list[tuple[bytes, bytes]], seconds: float | None) -> None:
    error = parse_error(429, headers, b"{}", ROW, now=NOW)
    assert error.retry_after == seconds
    assert json.loads(render_error(error))["error"]["metadata"].get("retry_after") == seconds


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["error", "errors", "detail", "message", "code", "type", "fault", "base_resp", "status_msg"]
            ),
            inner,
        )
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    VALUES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20), st.sampled_from([200, 400, 403, 500])
)
def test_any_body_becomes_an_error_that_can_be_shown(body: bytes, status: int) -> None:
    error = parse_error(status, [(b"retry-after", body[:9])], body, ROW, key="k" * 20)
    assert error.message
    shown = json.loads(render_error(error))["error"]
    assert 400 <= shown["metadata"]["status"] < 600
    assert all(isinstance(shown[name], str) and shown[name] for name in ("code", "type", "message"))


# ---- in a stream


LISTS = {  # by what agents see that a failed stream is worth another try; of their source, 2026-11
    "pi": re.compile("server.?error|ended without|overloaded|timed? ?out", re.I),
    "Continue": re.compile("connection reset|overloaded|server_error"),
}


@pytest.mark.parametrize(
    "error",
    [
        ProviderUnavailable("mock.example closed the connection in the middle of the answer."),
        ProviderTimeout("Mock sent nothing for 120 s."),
        ProviderError("Overloaded", status=529, error_type="provider_overloaded", safe_to_retry=True),
        ShuttingDown("The gateway is shutting down."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_message_in_stream_is_in_the_words_by_which_agents_try_again(error: InfronError) -> None:
    # pi and Continue ended the turn where they try again when the bare connection is cut.
    told = error_object(error, message_in_stream(error, True))
    assert error.message in told["message"]
    assert LISTS["pi"].search(told["message"])
    assert LISTS["Continue"].search(told["message"].lower()) or told["type"] == "server_error"


@pytest.mark.parametrize(
    "error",
    [
        RateLimited("Slow down."),
        ProviderMisconfigured("Mock refused the gateway's API key.", provider_status=401),
        ProviderError("the model fell over", status=500, error_type="server", safe_to_retry=True),
    ],
    ids=lambda error: type(error).__name__,
)
def test_message_in_stream_stays_as_it_is(error: InfronError) -> None:
    assert message_in_stream(error, True) == error.message
