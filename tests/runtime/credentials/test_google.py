"""Google's credentials, against a token endpoint on loopback: what is asked, how long an answer serves, what fails."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from infron.errors import InfronError, ProviderMisconfigured, ProviderUnavailable
from infron.runtime.credentials import google
from infron.runtime.credentials.google import AHEAD_SECONDS, GoogleTokens, Token, token_of
from infron.runtime.credentials.renewal import RETRY_SECONDS

Reply = tuple[int, Any]


class Endpoint:
    """Answers with the next of `replies`, with the last one for ever. `asked`: (method, path, headers, body)."""

    def __init__(self) -> None:
        self.replies: list[Reply] = [(200, {"access_token": "t-1", "expires_in": 3600, "token_type": "Bearer"})]
        self.asked: list[tuple[str, str, dict[str, str], str]] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                size = int(self.headers.get("content-length", 0))
                named = {name.lower(): value for name, value in self.headers.items()}
                endpoint.asked.append((self.command, self.path, named, self.rfile.read(size).decode()))
                status, body = endpoint.replies.pop(0) if len(endpoint.replies) > 1 else endpoint.replies[0]
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = answer

            def log_message(self, format: str, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    found = Endpoint()
    thread = threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()


def written(folder: Path, fields: dict[str, Any]) -> dict[str, str]:
    """The environment in which this file of credentials is named."""
    file = folder / "credentials.json"
    file.write_text(json.dumps(fields))
    return {"GOOGLE_APPLICATION_CREDENTIALS": str(file)}


def service_account(folder: Path, endpoint: Endpoint, **more: Any) -> dict[str, str]:
    fields = {
        "type": "service_account",
        "project_id": "p-1",
        "private_key_id": "kid-1",
        "private_key": PEM,
        "client_email": "robot@p-1.example",
        "token_uri": f"http://{endpoint.address}/token",
    }
    return written(folder, {**fields, **more})


def unpacked(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


# ---- what is asked


def test_a_service_account_signs_a_claim_for_the_scope_of_the_cloud(tmp_path: Path, endpoint: Endpoint) -> None:
    token = token_of(service_account(tmp_path, endpoint))
    assert token.value == "t-1"
    assert 3590 < token.seconds <= 3600
    assert token.quota_project == ""
    ((method, path, _, body),) = endpoint.asked
    assert (method, path) == ("POST", "/token")
    form = parse_qs(body)
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    head, claims, signature = form["assertion"][0].split(".")
    KEY.public_key().verify(unpacked(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
    assert json.loads(unpacked(head)) == {"alg": "RS256", "typ": "JWT", "kid": "kid-1"}
    told = json.loads(unpacked(claims))
    assert told["iss"] == "robot@p-1.example"
    assert told["scope"] == "https://www.googleapis.com/auth/cloud-platform"
    assert told["exp"] - told["iat"] == 3600


def test_gcloud_s_login_is_found_and_names_whose_quota_is_used(
    tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"client_id": "c", "client_secret": "s", "refresh_token": "r", "quota_project_id": "quota-1"}
    folder = tmp_path / ".config" / "gcloud"
    folder.mkdir(parents=True)
    (folder / "application_default_credentials.json").write_text(json.dumps({"type": "authorized_user", **fields}))
    import google.oauth2.credentials

    monkeypatch.setattr(google.oauth2.credentials, "_GOOGLE_OAUTH2_TOKEN_ENDPOINT", f"http://{endpoint.address}/t")
    token = token_of({"HOME": str(tmp_path)})
    assert (token.value, token.quota_project) == ("t-1", "quota-1")
    form = parse_qs(endpoint.asked[0][3])
    assert (form["grant_type"], form["refresh_token"]) == (["refresh_token"], ["r"])


def test_a_workload_identity_is_exchanged_for_a_token(tmp_path: Path, endpoint: Endpoint) -> None:
    (tmp_path / "subject").write_text("subject-token")
    fields = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/a/providers/b",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {"file": str(tmp_path / "subject")},
    }
    environ = written(tmp_path, {**fields, "token_url": f"http://{endpoint.address}/sts"})
    assert token_of(environ).value == "t-1"
    assert parse_qs(endpoint.asked[0][3])["subject_token"] == ["subject-token"]


def test_the_machine_s_own_account_is_asked_where_no_file_is(tmp_path: Path, endpoint: Endpoint) -> None:
    token = token_of({"HOME": str(tmp_path), "GCE_METADATA_HOST": endpoint.address})
    assert (token.value, token.seconds) == ("t-1", 3600)
    ((method, path, headers, _),) = endpoint.asked
    assert (method, path) == ("GET", "/computeMetadata/v1/instance/service-accounts/default/token")
    assert headers["metadata-flavor"] == "Google"


def test_neither_the_library_nor_its_transports_are_loaded_before_a_file_is_read() -> None:
    script = (
        "import sys, infron.runtime.credentials.google; "
        "print([m for m in sys.modules if m.startswith(('google', 'requests'))])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout == b"[]\n"


# ---- what fails, and who must act


def failure(environ: dict[str, str]) -> InfronError:
    with pytest.raises(InfronError) as failed:
        token_of(environ)
    assert PEM.splitlines()[1] not in failed.value.message
    assert failed.value.message.endswith(".")
    return failed.value


def test_refused_credentials_are_the_operator_s_to_mend(tmp_path: Path, endpoint: Endpoint) -> None:
    endpoint.replies = [(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})]
    error = failure(service_account(tmp_path, endpoint))
    assert isinstance(error, ProviderMisconfigured)
    assert "invalid_grant: Invalid JWT Signature." in error.message
    assert str(tmp_path) not in error.message


@pytest.mark.parametrize("reply", [(502, b"<html>Bad Gateway</html>"), (200, {"access_token": "a b\r\n"})])
def test_an_endpoint_that_fails_may_be_asked_again(tmp_path: Path, endpoint: Endpoint, reply: Reply) -> None:
    endpoint.replies = [reply]
    error = failure(service_account(tmp_path, endpoint))
    assert isinstance(error, ProviderUnavailable)
    assert "html" not in error.message


def test_an_endpoint_that_cannot_be_reached_may_be_asked_again(tmp_path: Path, endpoint: Endpoint) -> None:
    nowhere = service_account(tmp_path, endpoint, token_uri="http://127.0.0.1:1/token")
    assert isinstance(failure(nowhere), ProviderUnavailable)
    other = service_account(tmp_path, endpoint, token_uri="file:///etc/passwd")
    assert isinstance(failure(other), ProviderUnavailable)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read"),
        ("{", "no JSON of credentials"),
        ("[]", "no JSON of credentials"),
        ('{"type": "pigeon"}', "no JSON of credentials"),
        ('{"type": "service_account", "private_key": "x"}', "cannot be used"),
        ('{"type": "authorized_user", "client_id": "c"}', "cannot be used"),
        ('{"type": "impersonated_service_account"}', "cannot be used"),
        ('{"type": "external_account", "credential_source": {"executable": {}}}', "cannot be used"),
        (
            '{"type": "external_account", "subject_token_type": "urn:ietf:params:aws:token-type:aws4_request"}',
            "cannot be used",
        ),
    ],
)
def test_a_file_that_holds_no_credentials_is_named_but_not_told(tmp_path: Path, content: str | None, told: str) -> None:
    file = tmp_path / "a.json"
    if content is not None:
        file.write_text(content)
    error = failure({"GOOGLE_APPLICATION_CREDENTIALS": str(file)})
    assert isinstance(error, ProviderMisconfigured)
    assert told in error.message
    assert "GOOGLE_APPLICATION_CREDENTIALS" in error.message


def test_a_missing_library_is_asked_for(tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.oauth2.service_account", None)
    error = failure(service_account(tmp_path, endpoint))
    assert isinstance(error, ProviderMisconfigured)
    assert "infron[google]" in error.message


def test_no_credentials_at_all_are_said_with_what_to_set(tmp_path: Path) -> None:
    for environ in ({"NO_GCE_CHECK": "true"}, {"GCE_METADATA_HOST": "127.0.0.1:1"}):
        error = failure({"HOME": str(tmp_path), **environ})
        assert isinstance(error, ProviderMisconfigured)
        assert "set GOOGLE_APPLICATION_CREDENTIALS" in error.message


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ((404, b""), ProviderMisconfigured),
        ((503, b""), ProviderUnavailable),
        ((200, b"<html>"), ProviderUnavailable),
        ((200, {"access_token": "t"}), ProviderUnavailable),
        ((200, []), ProviderUnavailable),
    ],
)
def test_a_machine_without_a_token_is_told(
    tmp_path: Path, endpoint: Endpoint, reply: Reply, kind: type[InfronError]
) -> None:
    endpoint.replies = [reply]
    assert isinstance(failure({"HOME": str(tmp_path), "GCE_METADATA_HOST": endpoint.address}), kind)


# ---- how long a token serves


class Source:
    """A clock and a source of tokens t-1, t-2 … of an hour each; it answers when it may, in a thread."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.calls = 0
        self.error: InfronError | None = None
        self.may_answer = threading.Event()
        self.may_answer.set()

    def clock(self) -> float:
        return self.now

    def fetch(self) -> Token:
        self.calls += 1
        assert self.may_answer.wait(5)
        if self.error is not None:
            raise self.error
        return Token(f"t-{self.calls}", 3600.0, "quota-1")


@pytest.fixture
def source() -> Source:
    return Source()


def tokens_of(source: Source, **environ: str) -> GoogleTokens:
    return GoogleTokens(environ, source.fetch, source.clock)


def told(tokens: GoogleTokens, now: float) -> str | None:
    found = tokens.headers("POST", "https://h/", b"", now)
    return None if found is None else found[0][1]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_token_serves_until_its_end(source: Source) -> None:
    tokens = tokens_of(source)
    assert told(tokens, 1000) is None
    await tokens.refresh()
    assert told(tokens, 1000) == "Bearer t-1"
    assert told(tokens, 4600 - AHEAD_SECONDS - 1) == "Bearer t-1"
    assert source.calls == 1
    assert told(tokens, 4600) is None


async def test_it_is_renewed_ahead_of_its_end_while_it_still_serves(source: Source) -> None:
    tokens = tokens_of(source)
    await tokens.refresh()
    source.now = 4600 - AHEAD_SECONDS
    source.may_answer.clear()
    for _ in range(5):
        assert told(tokens, source.now) == "Bearer t-1"
        await asyncio.sleep(0)
    source.may_answer.set()
    await until(lambda: told(tokens, source.now) == "Bearer t-2")
    assert source.calls == 2
    assert told(tokens, 4700) == "Bearer t-2"


async def test_all_who_wait_share_one_renewal_and_one_who_leaves_does_not_end_it(source: Source) -> None:
    tokens = tokens_of(source)
    source.may_answer.clear()
    waiting = [asyncio.create_task(tokens.refresh()) for _ in range(10)]
    await until(lambda: source.calls == 1)
    waiting[0].cancel()
    source.may_answer.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [result for result in results if result is not None] == [results[0]]
    assert isinstance(results[0], asyncio.CancelledError)
    assert (source.calls, told(tokens, 1000)) == (1, "Bearer t-1")


async def test_a_renewal_that_fails_keeps_the_old_token_and_is_tried_again(source: Source) -> None:
    tokens = tokens_of(source)
    await tokens.refresh()
    source.now, source.error = 4400.0, ProviderUnavailable("down")
    assert told(tokens, source.now) == "Bearer t-1"
    await until(lambda: not tokens._renewal.under_way)
    assert told(tokens, source.now + RETRY_SECONDS - 1) == "Bearer t-1"
    assert source.calls == 2
    source.now, source.error = source.now + RETRY_SECONDS, None
    assert told(tokens, source.now) == "Bearer t-1"
    await until(lambda: told(tokens, source.now) == "Bearer t-3")


async def test_a_failure_is_told_to_all_and_remembered_for_a_moment(source: Source) -> None:
    tokens = tokens_of(source)
    source.error = ProviderMisconfigured("no credentials")
    for _ in range(3):
        with pytest.raises(ProviderMisconfigured, match="no credentials"):
            await tokens.refresh()
    assert source.calls == 1
    source.now, source.error = source.now + RETRY_SECONDS, None
    await tokens.refresh()
    assert told(tokens, source.now) == "Bearer t-2"


async def test_whose_quota_is_used_is_a_header_and_the_environment_says_it_better(source: Source) -> None:
    for environ, project in (({}, "quota-1"), ({"GOOGLE_CLOUD_QUOTA_PROJECT": "mine"}, "mine")):
        tokens = tokens_of(source, **environ)
        await tokens.refresh()
        found = tokens.headers("POST", "https://h/", b"", 1000)
        assert found is not None
        assert found[1:] == [("x-goog-user-project", project)]
    tokens = tokens_of(source, GOOGLE_CLOUD_QUOTA_PROJECT="a\r\nb")
    await tokens.refresh()
    assert len(tokens.headers("POST", "https://h/", b"", 1000) or []) == 1


async def test_the_chain_is_walked_with_the_environment_that_was_given(tmp_path: Path, endpoint: Endpoint) -> None:
    tokens = GoogleTokens(service_account(tmp_path, endpoint))
    await tokens.refresh()
    assert told(tokens, google.time.time()) == "Bearer t-1"


def test_a_token_does_not_show_itself() -> None:
    assert "secret" not in f"{Token('secret', 1.0)!r}"
