"""Credentials of AWS: found in the environment or by botocore in a thread, renewed ahead of time, once for all."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infron.errors import ProviderMisconfigured
from infron.runtime.credentials import sigv4
from infron.runtime.credentials.aws import GOOD_SECONDS, LOOK_SECONDS, AwsSigner, Credentials, region_of
from infron.runtime.credentials.renewal import RETRY_SECONDS

URL = "https://bedrock-runtime.eu-central-1.amazonaws.com/model/amazon.nova-lite-v1%3A0/converse-stream"
NOW = 1_700_000_000.0
KEYS = {"AWS_ACCESS_KEY_ID": "access-of-the-environment", "AWS_SECRET_ACCESS_KEY": "secret-of-the-environment"}
needs_botocore = pytest.mark.skipif(importlib.util.find_spec("botocore") is None, reason="botocore is not installed")


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Chain:
    """A chain that gives a new credential each time it is walked, and may be held up or fail."""

    def __init__(self, region: str = "us-west-2") -> None:
        self.walks = 0
        self.threads: set[int] = set()
        self.go = threading.Event()
        self.go.set()
        self.failing = False
        self.region = region

    def __call__(self) -> tuple[Credentials, str] | None:
        self.walks += 1
        self.threads.add(threading.get_ident())
        assert self.go.wait(5)
        if self.failing:
            raise ProviderMisconfigured("There is nothing.")
        return Credentials(f"access-{self.walks}", "secret", "token"), self.region


def signer(chain: Chain, clock: Clock | None = None, region: str = "us-east-1") -> AwsSigner:
    return AwsSigner(region, environ={}, find=lambda: chain, clock=clock or Clock())


def access_of(headers: list[tuple[str, str]] | None) -> str:
    assert headers is not None
    return dict(headers)["Authorization"].partition("Credential=")[2].partition("/")[0]


async def idle(aws: AwsSigner) -> None:
    while aws._renewal.under_way:
        await asyncio.sleep(0)


# ---- the environment


async def test_keys_in_the_environment_sign_at_once():
    aws = AwsSigner(environ={**KEYS, "AWS_SESSION_TOKEN": "token-of-the-environment"})
    headers = aws.headers("POST", URL, b"{}", NOW)
    assert headers == sigv4.sign(
        "POST",
        URL,
        [("content-type", "application/json")],
        b"{}",
        access_key=KEYS["AWS_ACCESS_KEY_ID"],
        secret_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        session_token="token-of-the-environment",
        region="eu-central-1",
        service="bedrock",
        now=NOW,
    )


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("bedrock-runtime.us-east-1.amazonaws.com", "us-east-1"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("bedrock-runtime.ap-southeast-2.api.aws", "ap-southeast-2"),
        ("vpce-0a1b-2c3d.bedrock-runtime.eu-west-3.vpce.amazonaws.com", "eu-west-3"),
        ("bedrock-runtime.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("bedrock.internal.example.com", ""),
        ("127.0.0.1:9901", ""),
    ],
)
def test_the_region_is_that_of_the_host(host: str, region: str):
    assert region_of(f"https://{host}/model/x/converse-stream") == region


@pytest.mark.parametrize(
    ("given", "environ", "region"),
    [
        ("sa-east-1", {"AWS_REGION": "us-east-2"}, "sa-east-1"),
        ("", {"AWS_REGION": "us-east-2", "AWS_DEFAULT_REGION": "us-west-1"}, "us-east-2"),
        ("", {"AWS_DEFAULT_REGION": "us-west-1"}, "us-west-1"),
    ],
)
async def test_a_host_without_a_region_takes_the_one_that_is_set(given: str, environ: dict[str, str], region: str):
    headers = AwsSigner(given, environ={**KEYS, **environ}).headers("POST", "http://127.0.0.1:9/model", b"", NOW)
    assert headers is not None
    assert f"/{region}/bedrock/aws4_request" in dict(headers)["Authorization"]


async def test_without_any_region_nothing_is_signed_and_the_reason_is_told():
    aws = AwsSigner(environ=KEYS)
    assert aws.headers("POST", "http://127.0.0.1:9/model", b"", NOW) is None
    with pytest.raises(ProviderMisconfigured, match="set AWS_REGION"):
        await aws.refresh()


async def test_no_region_has_to_be_set_where_the_host_names_one():
    aws = AwsSigner(environ={}, find=lambda: Chain(""), clock=Clock())
    assert aws.headers("POST", URL, b"", NOW) is None
    await aws.refresh()
    assert access_of(aws.headers("POST", URL, b"", NOW)) == "access-1"


async def test_only_a_post_has_a_type_of_content_to_sign():
    aws = AwsSigner(environ=KEYS)
    for method, names in (("POST", "content-type;host;x-amz-date"), ("GET", "host;x-amz-date")):
        headers = aws.headers(method, URL, b"", NOW)
        assert headers is not None
        assert f"SignedHeaders={names}," in dict(headers)["Authorization"]


async def test_half_a_key_pair_is_none():
    aws = AwsSigner(environ={"AWS_ACCESS_KEY_ID": "a"}, find=lambda: Chain())
    assert aws.headers("POST", URL, b"", NOW) is None


def test_credentials_are_never_shown():
    assert "secret" not in repr(Credentials("access", "secret", "token"))


# ---- the chain


async def test_the_chain_is_walked_in_a_thread_once_for_all_who_wait():
    chain = Chain()
    aws = signer(chain)
    assert aws.headers("POST", URL, b"", NOW) is None
    chain.go.clear()
    waiting = [asyncio.create_task(aws.refresh()) for _ in range(20)]
    await asyncio.sleep(0)  # the loop goes on while the chain is held up
    chain.go.set()
    await asyncio.gather(*waiting)
    assert chain.walks == 1
    assert threading.get_ident() not in chain.threads
    assert access_of(aws.headers("POST", URL, b"", NOW)) == "access-1"


async def test_one_who_leaves_does_not_end_the_walk_of_the_others():
    chain = Chain()
    aws = signer(chain)
    chain.go.clear()
    leaving, staying = asyncio.create_task(aws.refresh()), asyncio.create_task(aws.refresh())
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.sleep(0)
    chain.go.set()
    await staying
    assert leaving.cancelled()
    assert chain.walks == 1


async def test_credentials_are_renewed_ahead_of_time_while_the_old_ones_sign():
    chain, clock = Chain(), Clock()
    aws = signer(chain, clock)
    await aws.refresh()
    clock.now += LOOK_SECONDS
    assert access_of(aws.headers("POST", URL, b"", NOW)) == "access-1"
    assert not aws._renewal.under_way
    clock.now += 1
    assert [access_of(aws.headers("POST", URL, b"", NOW)) for _ in range(3)] == ["access-1"] * 3
    await idle(aws)
    assert access_of(aws.headers("POST", URL, b"", NOW)) == "access-2"
    assert chain.walks == 2


async def test_a_renewal_that_fails_leaves_the_old_credentials_until_they_are_stale():
    chain, clock = Chain(), Clock()
    aws = signer(chain, clock)
    await aws.refresh()
    chain.failing = True
    clock.now += GOOD_SECONDS
    assert access_of(aws.headers("POST", URL, b"", NOW)) == "access-1"
    await idle(aws)
    assert chain.walks == 2
    assert access_of(aws.headers("POST", URL, b"", NOW)) == "access-1"
    assert not aws._renewal.under_way, "it was walked again at once"
    clock.now += 1
    assert aws.headers("POST", URL, b"", NOW) is None
    with pytest.raises(ProviderMisconfigured):
        await aws.refresh()


async def test_a_chain_that_failed_is_not_walked_again_at_once():
    chain, clock = Chain(), Clock()
    chain.failing = True
    aws = signer(chain, clock)
    for _ in range(3):
        with pytest.raises(ProviderMisconfigured, match="There is nothing"):
            await aws.refresh()
    assert chain.walks == 1
    clock.now += RETRY_SECONDS
    chain.failing = False
    await aws.refresh()
    assert access_of(aws.headers("POST", URL, b"", NOW)) == "access-2"


async def test_a_chain_that_ends_without_credentials_says_what_to_set():
    aws = AwsSigner("us-east-1", environ={}, find=lambda: lambda: None)
    with pytest.raises(ProviderMisconfigured, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        await aws.refresh()


async def test_the_region_of_the_profile_serves_where_no_other_is_known():
    aws = AwsSigner(environ={}, find=lambda: Chain("ca-central-1"), clock=Clock())
    await aws.refresh()
    headers = aws.headers("POST", "http://127.0.0.1:9/model", b"", NOW)
    assert headers is not None
    assert "/ca-central-1/bedrock/" in dict(headers)["Authorization"]


async def test_without_botocore_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    with pytest.raises(ProviderMisconfigured, match=r"pip install 'infron\[aws\]'"):
        await AwsSigner("us-east-1", environ={}).refresh()


# ---- botocore itself


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without credentials: no variables, no files, no instance to ask."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@needs_botocore
async def test_botocore_finds_a_profile_and_its_region(nowhere: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_PROFILE", "work")
    (nowhere / "credentials").write_text(
        "[work]\naws_access_key_id = access-of-the-profile\naws_secret_access_key = secret-of-the-profile\n"
    )
    (nowhere / "config").write_text("[profile work]\nregion = eu-north-1\n")
    aws = AwsSigner()
    await aws.refresh()
    headers = aws.headers("POST", "http://127.0.0.1:9/model", b"", NOW)
    assert access_of(headers) == "access-of-the-profile"
    assert headers is not None
    assert "/eu-north-1/" in dict(headers)["Authorization"]


@needs_botocore
async def test_a_profile_that_is_not_there_is_told_without_its_name(nowhere: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_PROFILE", "of-somebody")
    with pytest.raises(ProviderMisconfigured, match="ProfileNotFound") as caught:
        await AwsSigner("us-east-1").refresh()
    assert "of-somebody" not in caught.value.message


@needs_botocore
async def test_where_botocore_finds_nothing_it_is_said_what_to_set(nowhere: Path):
    with pytest.raises(ProviderMisconfigured, match="set AWS_ACCESS_KEY_ID"):
        await AwsSigner("us-east-1").refresh()


class Container(ThreadingHTTPServer):
    """What hands credentials to a container: each time others, which expire after `minutes`."""

    minutes = 60.0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = 0


class Handler(BaseHTTPRequestHandler):
    server: Container

    def do_GET(self) -> None:
        self.server.asked += 1
        expires = datetime.now(UTC) + timedelta(minutes=self.server.minutes)
        body = json.dumps(
            {
                "AccessKeyId": f"access-of-the-container-{self.server.asked}",
                "SecretAccessKey": "secret",
                "Token": "token",
                "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        ).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def container(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Container]:
    server = Container()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{server.server_port}/creds")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@needs_botocore
async def test_a_containers_credentials_are_fetched_once_and_again_before_they_expire(container: Container):
    clock = Clock()
    aws = AwsSigner("us-east-1", clock=clock)
    await aws.refresh()
    headers = aws.headers("POST", URL, b"", NOW)
    assert access_of(headers) == "access-of-the-container-1"
    assert headers is not None
    assert dict(headers)["X-Amz-Security-Token"] == "token"
    await aws.refresh()
    assert container.asked == 1


@needs_botocore
async def test_a_containers_credentials_about_to_expire_are_fetched_anew(container: Container):
    container.minutes = 12.0  # within the quarter of an hour before the end
    aws = AwsSigner("us-east-1", clock=Clock())
    await aws.refresh()
    await aws.refresh()
    assert access_of(aws.headers("POST", URL, b"", NOW)) == f"access-of-the-container-{container.asked}"
    assert container.asked >= 2
