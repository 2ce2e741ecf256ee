"""The commands of the catalogue."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from commands import Infron, Terminal


def test_providers_say_what_they_need_and_which_are_ready(infron: Infron, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {one["id"]: one for one in json.loads(infron("providers", "--json")[1])}
    assert not found["openai"]["usable"]
    assert "OPENAI_API_KEY" in found["openai"]["why_not"]
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    shown = infron("providers")[1]
    assert "sk-secret" not in shown
    assert "set CLOUDFLARE_ACCOUNT_ID, CLOUDFLARE_API_KEY" in shown
    assert "set YI_API_KEY (uncertain)" in shown
    (line,) = [line for line in shown.splitlines() if line.startswith("openai ")]
    assert "ready" in line


def test_providers_say_in_a_word_or_two_what_a_disconnect_stops(infron: Infron) -> None:
    lines = {line.split()[0]: line for line in infron("providers")[1].splitlines() if line}
    for id, words in {
        "openai": "cancel work, bill OpenRouter 2026-08-22",
        "groq": "drain nothing OpenRouter 2026-08-22",
        "novita": "drain work Novita changelog 2026-03-27",
        "zai": "drain unknown",
        "replicate": "call work, bill Replicate documentation",
    }.items():
        assert words in " ".join(lines[id].split())


def test_providers_on_a_narrow_terminal_have_whole_names_and_fewer_columns(
    terminal: Callable[..., Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    person = terminal("providers")
    lines = re.sub(r"\x1b\[[0-9;]*m|\r", "", person.until("from where.")).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("google-ai-studio  gemini       drain") for line in lines)
    assert not any("known from" in line for line in lines)
    assert person.process.wait(10) == 0


def test_probe_refuses_to_disconnect_after_the_end_before_it_costs_anything(infron: Infron) -> None:
    code, out, err = infron("providers", "probe", "openai", "--after", "400")
    assert (code, out) == (1, "")
    assert "raise --max-tokens" in err


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("opnai", "Did you mean `openai`?"),
        ("openai", "needs its key: set OPENAI_API_KEY, or api_key in [providers.openai]."),
        ("bedrock", "credentials: set AWS_BEARER_TOKEN_BEDROCK or AWS_ACCESS_KEY_ID or AWS_PROFILE, or api_key in"),
        ("azure", "needs AZURE_RESOURCE_NAME in the environment, or base_url in [providers.azure]; and its key: set"),
        ("octoai", "is closed since 2024-10-31. What took its place: NVIDIA NIM."),
    ],
)
def test_probe_says_what_a_provider_lacks(infron: Infron, name: str, sentence: str) -> None:
    code, out, err = infron("providers", "probe", name)
    assert (code, out) == (1, "")
    assert sentence in err


@pytest.mark.parametrize("name", ["stops_work", "stops_billing", "reports_partial_usage"])
def test_providers_say_what_a_disconnect_does_and_from_where_that_is_known(infron: Infron, name: str) -> None:
    for one in json.loads(infron("providers", "--json")[1]):
        assert one[name]["value"] in ("yes", "no", "unknown")
        assert one[name]["value"] == "unknown" or (one[name]["source"] and one[name]["date"])
        assert one["on_disconnect"] in ("cancel", "drain", "call")
        assert one["wire"]


def test_providers_that_are_closed_say_since_when_and_from_where_that_is_known(infron: Infron) -> None:
    found = {one["id"]: one for one in json.loads(infron("providers", "--json")[1])}
    closed = {id for id, one in found.items() if one["status"] == "closed"}
    never = {"lynn", "reflection"}
    assert never < closed
    for one in (found[id] for id in closed):
        assert not one["usable"]
        assert one["notes"] in one["why_not"]
        assert one["source"]
        assert one["since"] or one["id"] in never
    assert all("never had a public API" in found[id]["why_not"] for id in never)
    line = next(line for line in infron("providers")[1].splitlines() if line.startswith("octoai "))
    assert "closed" in line
    assert "2024-10-31" in line


def test_models_are_those_that_can_be_asked_and_all_with_all(infron: Infron, monkeypatch: pytest.MonkeyPatch) -> None:
    few = json.loads(infron("models", "--json")[1])
    every = json.loads(infron("models", "--all", "--json")[1])
    assert all(model["id"].startswith("local/") for model in few)
    assert len(every) > 60
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    code, out, err = infron("models")
    assert code == 0
    assert "openai/" in out
    assert "--all" in err
