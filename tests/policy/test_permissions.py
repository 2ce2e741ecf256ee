from __future__ import annotations

import pytest

from infron.policy.permissions import EVERYTHING, Permissions


@pytest.mark.parametrize(
    ("patterns", "name", "expected"),
    [
        (("openai/*",), "openai/gpt-5", True),
        (("openai/*",), "OpenAI/GPT-5", True),
        (("openai/*",), "openrouter/openai/gpt-5", False),
        (("openai/*",), "openai", False),
        (("*/llama-*",), "meta/llama-4", True),
        (("*",), "anything/at:all", True),
        (("a.b/c",), "axb/c", False),
        (("a?b",), "a?b", True),
        (("one", "two"), "two", True),
        (("one", "two"), "three", False),
        (("*" * 50 + "x",), "y" * 500, False),  # took for ever where each star tries each place
    ],
)
def test_permissions_compare_names_with_patterns(patterns: tuple[str, ...], name: str, expected: bool):
    assert Permissions(models=patterns).model(name) is expected
    assert Permissions(providers=patterns).provider(name) is expected
    assert EVERYTHING.model(name)
    assert EVERYTHING.provider(name)


def test_model_may_be_used_by_the_name_asked_or_the_one_that_this_stands_for():
    fast = Permissions(models=("fast",))
    assert fast.model("fast", "groq/llama")
    assert not fast.model("groq/llama")
    assert Permissions(models=("groq/*",)).model("fast", "groq/llama")
