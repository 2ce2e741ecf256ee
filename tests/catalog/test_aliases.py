"""Other names for models: what they stand for, which are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from infron import config
from infron.catalog.aliases import Aliases
from infron.errors import ConfigError

ALIASES = Aliases(
    {
        "claude-*": "anthropic/claude-*",
        "claude-haiku-*": ["acme/small", "acme/other"],
        "gpt-5": "acme/big",
        "old/*": "new/*",
        "*-latest": "acme/newest",
    }
)


@pytest.mark.parametrize(
    ("name", "models"),
    [
        ("claude-opus-4-8", ("anthropic/claude-opus-4-8",)),
        ("claude-haiku-4-5", ("acme/small", "acme/other")),
        ("claude-", ("anthropic/claude-",)),
        ("gpt-5", ("acme/big",)),
        ("gpt-5-mini", ("gpt-5-mini",)),
        ("old/a/b", ("new/a/b",)),
        ("claude-*", ("anthropic/claude-*",)),
        ("x.y-latest", ("acme/newest",)),
        ("xay-latest\n", ("xay-latest\n",)),
        ("new/a", ("new/a",)),
    ],
)
def test_name_stands_for_its_models(name: str, models: tuple[str, ...]) -> None:
    assert ALIASES.models_of(name) == models


def test_alias_leads_to_a_model_and_no_further() -> None:
    assert Aliases({"a": "b", "b": "c"}).models_of("a") == ("b",)


def test_names_are_listed_so_that_each_can_be_asked_for() -> None:
    offered = ["anthropic/claude-opus-4.5", "anthropic/claude-x", "acme/big", "new/m"]
    listed = dict(ALIASES.listed(offered))
    assert listed == {
        "claude-opus-4.5": ("anthropic/claude-opus-4.5",),
        "claude-x": ("anthropic/claude-x",),
        "claude-haiku-*": ("acme/small", "acme/other"),
        "gpt-5": ("acme/big",),
        "old/m": ("new/m",),
        "*-latest": ("acme/newest",),
    }
    for name, models in listed.items():
        assert ALIASES.models_of(name) == models


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('"a*b*" = "x/y"', "one * only"),
        ('"a*" = "x/**"', "one * only"),
        ('a = "x/*"', "only where the name has one"),
        ("a = []", "needs the id of a model"),
        ('a = ""', "needs the id of a model"),
        ("a = 3", "aliases"),
    ],
)
def test_wrong_alias_is_refused_by_name(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "infron.toml"
    file.write_text(f"[aliases]\n{line}\n")
    with pytest.raises(ConfigError, match=said.replace("*", r"\*")):
        Aliases(config.load(file, {}).aliases)
