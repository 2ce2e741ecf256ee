"""Signature Version 4 against the vectors that AWS publishes, a request to Bedrock, and botocore."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import quote

import pytest

from infron.runtime.credentials.sigv4 import canonical_request, sign

KEYS = {"access_key": "AKIDEXAMPLE", "secret_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}  # AWS's own examples
SUITE = {**KEYS, "region": "us-east-1", "service": "service", "now": datetime(2015, 8, 30, 12, 36, tzinfo=UTC)}
HOST = "https://example.amazonaws.com"
FORM = "application/x-www-form-urlencoded"
UNRESERVED = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
VANILLA = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
POSTED = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"

# The AWS Signature Version 4 test suite: name -> method, path and query, headers, body, signature.
PUBLISHED: dict[str, tuple[str, str, list[tuple[str, str]], bytes, str]] = {
    "get-header-key-duplicate": (
        "GET", "/", [("My-Header1", "value2"), ("My-Header1", "value2"), ("My-Header1", "value1")], b"",
        "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
    ),
    "get-header-value-order": (
        "GET", "/", [("My-Header1", value) for value in ("value4", "value1", "value3", "value2")], b"",
        "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
    ),
    "get-header-value-trim": (
        "GET", "/", [("My-Header1", " value1"), ("My-Header2", ' "a   b   c"')], b"",
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    "get-unreserved": (
        "GET", f"/{UNRESERVED}", [], b"", "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    ),
    "get-vanilla": ("GET", "/", [], b"", VANILLA),
    "get-vanilla-empty-query-key": (
        "GET", "/?Param1=value1", [], b"", "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
    ),
    "get-vanilla-query-order-key": (
        "GET", "/?Param1=value2&Param1=Value1", [], b"",
        "eedbc4e291e521cf13422ffca22be7d2eb8146eecf653089df300a15b2382bd1",
    ),
    "get-vanilla-query-order-key-case": (
        "GET", "/?Param2=value2&Param1=value1", [], b"",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    "get-vanilla-query-order-value": (
        "GET", "/?Param1=value2&Param1=value1", [], b"",
        "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694",
    ),
    "get-vanilla-query-unreserved": (
        "GET", f"/?{UNRESERVED}={UNRESERVED}", [], b"",
        "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
    ),
    "get-vanilla-utf8-query": (
        "GET", "/?ሴ=bar", [], b"", "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
    ),
    "post-header-key-sort": (
        "POST", "/", [("My-Header1", "value1")], b"",
        "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
    ),
    "post-header-value-case": (
        "POST", "/", [("My-Header1", "VALUE1")], b"",
        "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
    ),
    "post-vanilla": ("POST", "/", [], b"", POSTED),
    "post-vanilla-query": (
        "POST", "/?Param1=value1", [], b"", "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
    ),
    "post-x-www-form-urlencoded": (
        "POST", "/", [("Content-Type", FORM)], b"Param1=value1",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
    "post-x-www-form-urlencoded-parameters": (
        "POST", "/", [("Content-Type", f"{FORM}; charset=utf8")], b"Param1=value1",
        "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe",
    ),
    "normalize-path/get-relative": ("GET", "/example/..", [], b"", VANILLA),
    "normalize-path/get-relative-relative": ("GET", "/example1/example2/../..", [], b"", VANILLA),
    "normalize-path/get-slash": ("GET", "//", [], b"", VANILLA),
    "normalize-path/get-slash-dot-slash": ("GET", "/./", [], b"", VANILLA),
    "normalize-path/get-slash-pointless-dot": (
        "GET", "/./example", [], b"", "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5",
    ),
    "normalize-path/get-slashes": (
        "GET", "//example//", [], b"", "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84",
    ),
    "normalize-path/get-space": (
        "GET", "/example space/", [], b"", "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
    ),
    "post-sts-header-after": ("POST", "/", [], b"", POSTED),
}  # fmt: skip
STS_TOKEN = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthA"
    "x7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d"
    "+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)


def signature_of(headers: list[tuple[str, str]]) -> str:
    return dict(headers)["Authorization"].rpartition("Signature=")[2]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_vectors_hold(name: str):
    method, path, headers, body, signature = PUBLISHED[name]
    assert signature_of(sign(method, HOST + path, headers, body, **SUITE)) == signature


def test_the_published_vector_with_a_session_token_holds():
    headers = sign("POST", HOST, [], b"", **SUITE, session_token=STS_TOKEN)
    assert [name for name, _ in headers] == ["X-Amz-Date", "X-Amz-Security-Token", "Authorization"]
    assert signature_of(headers) == "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"
    assert "SignedHeaders=host;x-amz-date;x-amz-security-token," in headers[-1][1]


URL = "https://bedrock-runtime.us-east-1.amazonaws.com/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/converse-stream"
BODY = b'{"messages":[{"role":"user","content":[{"text":"hi"}]}]}'
JSON = [("content-type", "application/json")]
BEDROCK = {**KEYS, "region": "us-east-1", "service": "bedrock", "now": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)}


@pytest.mark.parametrize(
    ("token", "signature"),
    [
        ("", "b73f82636f473c1d498ed955c5e8b0aff2ec73442729e55b257b98136b306ddb"),
        ("SESSIONTOKENEXAMPLE", "683dd38e0b02a512512c44400bf26ff50d32a3f3b1b16f73f6ec9b9e7bc1db4c"),
    ],
)
def test_a_request_to_bedrock_is_signed_as_the_sdk_signs_it(token: str, signature: str):
    assert signature_of(sign("POST", URL, JSON, BODY, **BEDROCK, session_token=token)) == signature


def test_the_path_is_encoded_once_more_except_for_s3():
    asked, names = canonical_request("POST", URL, [*JSON, ("X-Amz-Date", "20260102T030405Z")], BODY, "bedrock")
    assert asked.split("\n")[1] == "/model/us.anthropic.claude-haiku-4-5-20251001-v1%253A0/converse-stream"
    assert hashlib.sha256(asked.encode()).hexdigest() == (
        "961c585c1b890254a491652fb1f64022c7abf974fc3d25881cd39d23551bfcb3"
    )
    assert names == "content-type;host;x-amz-date"
    asked, _ = canonical_request("GET", "https://b.s3.amazonaws.com/a%3Ab//../c", [], b"", "s3")
    assert asked.split("\n")[1] == "/a%3Ab//../c"


def test_a_time_may_be_unix_seconds_or_of_another_zone():
    seconds = BEDROCK["now"].timestamp()
    elsewhere = BEDROCK["now"].astimezone(timezone(timedelta(hours=-7)))
    first = sign("POST", URL, JSON, BODY, **BEDROCK)
    assert sign("POST", URL, JSON, BODY, **{**BEDROCK, "now": seconds}) == first
    assert sign("POST", URL, JSON, BODY, **{**BEDROCK, "now": elsewhere}) == first


def test_a_usual_port_is_no_part_of_the_host_and_another_is():
    assert sign("POST", URL.replace(".com/", ".com:443/"), JSON, BODY, **BEDROCK) == sign(
        "POST", URL, JSON, BODY, **BEDROCK
    )
    asked, _ = canonical_request("POST", "http://127.0.0.1:9901/model/x", [], b"", "bedrock")
    assert "\nhost:127.0.0.1:9901\n" in asked


@pytest.mark.parametrize("token", ["", "TOKEN/+=="])
@pytest.mark.parametrize(
    "model",
    [
        "amazon.nova-pro-v1:0",
        "openai.gpt-oss-120b-1:0",
        "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/a1b2c3",
    ],
)
def test_botocore_signs_the_same(model: str, token: str, monkeypatch: pytest.MonkeyPatch):
    auth = pytest.importorskip("botocore.auth")
    awsrequest = pytest.importorskip("botocore.awsrequest")
    credentials = pytest.importorskip("botocore.credentials")
    now = datetime(2026, 11, 23, 23, 59, 59, tzinfo=UTC)
    monkeypatch.setattr(auth, "get_current_datetime", lambda *_, **__: now)
    url = f"https://bedrock-runtime.eu-central-1.amazonaws.com/model/{quote(model, safe='')}/converse-stream"
    request = awsrequest.AWSRequest("POST", url, headers=dict(JSON), data=BODY)
    keys = credentials.Credentials(KEYS["access_key"], KEYS["secret_key"], token or None)
    auth.SigV4Auth(keys, "bedrock", "eu-central-1").add_auth(request)
    ours = sign("POST", url, JSON, BODY, **KEYS, session_token=token, region="eu-central-1", service="bedrock", now=now)
    assert ours == [(name, request.headers[name]) for name, _ in ours]
