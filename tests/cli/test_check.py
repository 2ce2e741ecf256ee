"""`infron check`: each mistake with its line, and what the providers say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Fake, Infron


def test_check_names_every_mistake_with_its_line(infron: Infron, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(
        '[server]\nport = 99999\nworker = 3\n\n[providers.mock]\nwire = "no-such"\nbase_url = "http://x/v1"\n'
        '\n[providers.openai]\non_disconect = "drain"\n'
    )
    code, out, _ = infron("check", "--config", "bad.toml")
    assert code == 1
    places = [line.split(":")[0] for line in out.splitlines()]
    assert places == [f"bad.toml, line {number}" for number in (2, 3, 6, 10)]
    assert "did you mean on_disconnect?" in out


def test_check_of_good_settings_says_so(infron: Infron, tmp_path: Path) -> None:
    assert infron("check") == (0, "The settings are right.\n", "")
    (tmp_path / "open.toml").write_text('[server]\nhost = "0.0.0.0"\n')
    code, out, _ = infron("check", "--config", "open.toml")
    assert code == 1
    assert "needs an API key to exist" in out


def test_check_names_what_definitions_of_the_file_wait_for(infron: Infron, tmp_path: Path) -> None:
    (tmp_path / "definitions.toml").write_text(
        '[providers.groq]\non_disconnect = "cancel"\n[providers.mine]\nwire = "openai-chat"\nbase_url = "http://h/v1"\n'
    )
    code, out, err = infron("check", "--config", "definitions.toml")
    assert (code, out) == (0, "The settings are right.\n")
    assert err == "Not usable yet: Groq needs its key: set GROQ_API_KEY, or api_key in [providers.groq].\n"


def test_check_live_looks_for_credentials_where_requests_are_signed(
    infron: Infron, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFRON_LOCAL_ENABLED", "false")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "some-project")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nowhere.json"))
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    code, out, _ = infron("check", "--live", "--json")
    found = {answer["provider"]: answer for answer in json.loads(out)["providers"]}
    assert code == 1
    assert not found["google-vertex"]["good"]
    assert "cannot be read" in found["google-vertex"]["sentence"]
    assert found["amazon-bedrock"]["good"]
    assert "only a paid request" in found["amazon-bedrock"]["sentence"]


def test_check_live_asks_every_provider_that_has_a_key(infron: Infron, tmp_path: Path, fake: Fake) -> None:
    (tmp_path / "live.toml").write_text(
        "[local]\nenabled = false\n"
        f'[providers.good]\nwire = "openai-chat"\nbase_url = "{fake.url}/v1"\napi_key = "sk-1"\n'
        '[providers.dead]\nwire = "openai-chat"\nbase_url = "http://127.0.0.1:9/v1"\napi_key = "sk-2"\n'
    )
    code, out, _ = infron("check", "--live", "--config", "live.toml", "--json")
    assert code == 1
    found = {answer["provider"]: answer for answer in json.loads(out)["providers"]}
    assert found["good"]["good"]
    assert not found["dead"]["good"]
    assert set(found) == {"good", "dead"}


def test_check_live_finds_an_address_that_lacks_its_version(infron: Infron, tmp_path: Path, fake: Fake) -> None:
    fake.missing = ("/models",)
    (tmp_path / "live.toml").write_text(
        f'[local]\nenabled = false\n[providers.own]\nwire = "openai-chat"\nbase_url = "{fake.url}"\napi_key = "sk-1"\n'
    )
    code, out, _ = infron("check", "--live", "--config", "live.toml", "--json")
    (answer,) = json.loads(out)["providers"]
    assert (code, answer["good"]) == (1, False)
    assert f"there is at {fake.url}/v1" in answer["sentence"]


def test_check_says_what_it_took_an_address_for(infron: Infron, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[providers.own]\nwire = "anthropic"\nbase_url = "http://h/anthropic"\n')
    code, _, err = infron("check", "--config", "a.toml")
    assert code == 0
    assert "taken for http://h/anthropic/v1" in err
