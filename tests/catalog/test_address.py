"""Base addresses with and without the version of their API, and with what every request adds once more."""

from __future__ import annotations

from pathlib import Path

import pytest

from infron.catalog.address import repaired
from infron.catalog.endpoint import ProviderEndpoint
from infron.catalog.load import load_catalog
from infron.wires import PROVIDER_WIRES


@pytest.mark.parametrize(
    ("wire", "base", "chat_url"),
    [
        # As in ANTHROPIC_BASE_URL, to which Anthropic's own clients add /v1/messages.
        ("anthropic", "https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
        ("anthropic", "https://api.z.ai/api/anthropic/", "https://api.z.ai/api/anthropic/v1/messages"),
        ("anthropic", "https://api.anthropic.com/v1/", "https://api.anthropic.com/v1/messages"),
        ("anthropic", "https://api.anthropic.com/v1/messages", "https://api.anthropic.com/v1/messages"),
        ("gemini", "https://g.example", "https://g.example/v1beta/models/{model}:streamGenerateContent?alt=sse"),
        ("gemini", "https://g.example/v1", "https://g.example/v1/models/{model}:streamGenerateContent?alt=sse"),
        (
            "gemini",
            "https://g.example/v1/projects/p/locations/l/publishers/google",
            "https://g.example/v1/projects/p/locations/l/publishers/google"
            "/models/{model}:streamGenerateContent?alt=sse",
        ),
        ("cohere", "https://api.cohere.com/v2", "https://api.cohere.com/v2/chat"),
        ("cohere", "https://api.cohere.com", "https://api.cohere.com/v2/chat"),
        ("replicate", "https://api.replicate.com", "https://api.replicate.com/v1/models/{model}/predictions"),
        ("openai-chat", "http://h/v1/chat/completions", "http://h/v1/chat/completions"),
        ("openai-chat", "http://h", "http://h/chat/completions"),  # some hosts have no version
        ("openai-chat", "http://h/api/paas/v4", "http://h/api/paas/v4/chat/completions"),
    ],
)
def test_address_is_the_one_that_the_clients_of_its_api_use(wire: str, base: str, chat_url: str) -> None:
    catalog = load_catalog({"x": {"wire": wire, "base_url": base}}, environ={}, wires=PROVIDER_WIRES)
    found = catalog.usable(catalog.providers["x"])
    assert isinstance(found, ProviderEndpoint)
    assert found.chat_url == chat_url


def test_address_that_was_mended_is_told(tmp_path: Path) -> None:
    file = tmp_path / "infron.toml"
    file.write_text('[providers.x]\nwire = "anthropic"\nbase_url = "https://h/anthropic"\n')
    catalog = load_catalog(
        {"x": {"wire": "anthropic", "base_url": "https://h/anthropic"}}, environ={}, wires=PROVIDER_WIRES, path=file
    )
    (note,) = catalog.notes
    assert note.startswith(f"{file}, line 3: providers.x.base_url: taken for https://h/anthropic/v1: /v1 was added")


def test_address_stays_as_it_is_where_its_path_is_stated_too() -> None:
    assert repaired("http://h", "/v1/messages", "/v1") == ("http://h", "")
    assert repaired("http://h/v1", "/messages", "/v1") == ("http://h/v1", "")


def test_addresses_that_ship_need_no_mending() -> None:
    for provider in load_catalog(environ={}, wires=PROVIDER_WIRES).providers.values():
        if provider.base_url:
            found = repaired(provider.base_url, provider.chat_path, provider.version_path)
            assert found == (provider.base_url, ""), provider.id
