"""Rows whose requests are signed, or carry a token that is fetched first: what the provider sees, and what fails."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from rawclient import ask, close_all, failed_attempts, receipt

from infron.catalog.load import load_catalog
from infron.runtime import process as gateway
from infron.runtime.credentials import sigv4
from infron.runtime.workers.sockets import listen
from infron.settings import Config
from infron.testing import Answer, RunningGateway, ScriptedProvider, speak
from infron.wires import PROVIDER_WIRES


@contextlib.asynccontextmanager
async def running(folder: Path, **providers: dict[str, Any]) -> AsyncIterator[RunningGateway]:
    """A gateway that finds credentials in this process's environment, as a real one does."""
    url = f"sqlite:///{folder / 'infron.db'}"
    config = msgspec.convert({"providers": providers, "ledger": {"url": url}, "local": {"enabled": False}}, Config)
    rows = load_catalog(config.providers, config.models, os.environ, wires=PROVIDER_WIRES)
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    try:
        async with gateway.running(config, rows, listener, None) as context:
            try:
                yield RunningGateway(f"http://127.0.0.1:{port}", port, context)
            finally:
                close_all()
    finally:
        listener.close()


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment without anybody's credentials."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "VERTEXAI_"))]:
        monkeypatch.delenv(name)
    return monkeypatch


async def test_a_request_to_bedrock_is_signed_for_the_very_address_it_goes_to(
    clean: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clean.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    clean.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-operator")
    clean.setenv("AWS_SESSION_TOKEN", "session")
    clean.setenv("AWS_REGION", "eu-north-1")
    voice = speak("bedrock")
    async with (
        ScriptedProvider(voice.plays(voice.answer("Signed"))) as provider,
        running(tmp_path, bedrock={"base_url": f"http://127.0.0.1:{provider.port}"}) as here,
    ):
        client = await (await ask(here.port, model="bedrock/eu.anthropic.claude-sonnet-4-5:0")).head()
        await client.rest()
        assert client.words() == "Signed"
        (call,) = provider.calls
        assert call.path == "/model/eu.anthropic.claude-sonnet-4-5%3A0/converse-stream"
        sent = call.headers
        assert sent["x-amz-security-token"] == "session"
        scope = re.search(r"Credential=AKIDEXAMPLE/\d{8}/eu-north-1/bedrock/aws4_request", sent["authorization"])
        assert scope
        again = sigv4.sign(
            "POST",
            f"http://127.0.0.1:{provider.port}{call.path}",
            [("content-type", "application/json")],
            call.body,
            access_key="AKIDEXAMPLE",
            secret_key="secret-of-the-operator",
            session_token="session",
            region="eu-north-1",
            service="bedrock",
            now=datetime.strptime(sent["x-amz-date"], "%Y%m%dT%H%M%S%z"),
        )
        assert {name.lower(): value for name, value in again}["authorization"] == sent["authorization"]
        assert "secret-of-the-operator" not in json.dumps(sent)


async def test_a_request_to_vertex_carries_a_token_that_is_fetched_once(
    clean: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    told = json.dumps({"access_token": "token-1", "expires_in": 3600, "token_type": "Bearer"}).encode()
    voice = speak("gemini")
    async with (
        ScriptedProvider([Answer(200, (("content-type", "application/json"),), told)]) as tokens,
        ScriptedProvider(voice.plays(voice.answer("Known"))) as provider,
    ):
        file = tmp_path / "account.json"
        file.write_text(
            json.dumps(
                {
                    "type": "service_account",
                    "project_id": "acme",
                    "private_key_id": "k",
                    "private_key": pem,
                    "client_email": "gateway@acme.example",
                    "token_uri": f"http://127.0.0.1:{tokens.port}/token",
                }
            )
        )
        clean.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        base = f"http://127.0.0.1:{provider.port}/v1/projects/acme/locations/global/publishers/google"
        async with running(tmp_path, **{"google-vertex": {"base_url": base}}) as here:
            for _ in range(2):
                client = await (await ask(here.port, model="google-vertex/gemini-2.5-flash")).head()
                await client.rest()
                assert client.words() == "Known"
        assert [call.headers["authorization"] for call in provider.calls] == ["Bearer token-1"] * 2
        assert provider.calls[0].path.endswith(
            "/publishers/google/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
        )
        assert len(tokens.calls) == 1


async def test_credentials_that_cannot_be_had_are_the_operators_to_mend_and_another_provider_is_tried(
    clean: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clean.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nowhere.json"))
    clean.setenv("GOOGLE_CLOUD_PROJECT", "acme")
    voice = speak("openai-chat")
    async with (
        ScriptedProvider(voice.plays(voice.answer("Instead"))) as provider,
        running(tmp_path, mock=provider.definition()) as here,
    ):
        client = await (await ask(here.port, model="google-vertex/gemini-2.5-flash")).head()
        error = await client.error()
        assert client.status == 502
        assert error["metadata"]["error_type"] == "provider_configuration"
        assert error["metadata"]["provider"] == "google-vertex"
        client = await ask(here.port, model="google-vertex/gemini-2.5-flash", models=["mock/any"])
        await client.head()
        await client.rest()
        assert client.words() == "Instead"
        found = await receipt(here.port, client.id)
        assert failed_attempts(found) == ["google-vertex: provider_configuration (502)"]
