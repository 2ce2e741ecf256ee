"""Our own count: exact where it can be, linear on hostile text, and never fooled by media."""

from __future__ import annotations

import base64
import string
import threading
import time
from random import Random
from typing import Any

import pytest
from asking import HI, asking
from hypothesis import given
from hypothesis import strategies as st

from infron.catalog.definitions import Provider
from infron.catalog.load import load_catalog
from infron.policy.tokens import FAMILIES, count_prompt, count_raw, count_text, family_of
from infron.wires import PROVIDER_WIRES

CATALOG = load_catalog(environ={}, wires=PROVIDER_WIRES)
PLAIN = Provider(id="plain", name="Plain")


@pytest.mark.parametrize(
    ("text", "o200k", "cl100k"),
    [
        ("", 0, 0),
        ("hello world", 2, 2),
        ("tiktoken is great!", 6, 6),
        ("antidisestablishmentarianism", 6, 6),
        ("2 + 2 = 4", 7, 7),
        ("お誕生日おめでとう", 8, 9),
        ("<|endoftext|>", 7, 7),
    ],
)
def test_openai_families_are_counted_exactly(text: str, o200k: int, cl100k: int) -> None:
    assert (count_text(text, "gpt"), count_text(text, "gpt-4")) == (o200k, cl100k)


def test_other_families_are_a_ratio_of_it() -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 100
    exact = count_text(text, "gpt")
    for family, (vocabulary, ratio) in FAMILIES.items():
        if vocabulary == "o200k_base":
            assert count_text(text, family) == (exact * ratio + 500) // 1000
    assert count_text(text, "claude") > exact
    assert count_text(text, "no such family") == count_text(text, "other")


def hostile(size: int) -> dict[str, str]:
    random = Random(7)
    return {
        "one letter": "a" * size,
        "spaces": " " * size,
        "line feeds": "\n" * size,
        "a space at the end": " " * (size - 1) + "a",
        "random letters": "".join(random.choices(string.ascii_letters, k=size)),
        "digits": "".join(random.choices(string.digits, k=size)),
        "emoji": "".join(random.choices("😀🧠👩‍👧🔥🏳️‍🌈", k=size // 4)),
        "combining marks": "e" + "\u0301" * (size // 2),
        "punctuation": "".join(random.choices(string.punctuation, k=size)),
        "special tokens": "<|endoftext|>" * (size // 13),
    }


def test_a_megabyte_of_hostile_text_takes_linear_time() -> None:
    """Byte-pair encoders have been quadratic in a run without word ends: minutes for 1 MB, not milliseconds."""
    for name, text in hostile(1_000_000).items():
        started = time.perf_counter()
        assert count_text(text, "gpt") > 0
        assert time.perf_counter() - started < 3, name


@given(st.text(max_size=200), st.sampled_from([*FAMILIES, "unknown"]))
def test_any_text_can_be_counted(text: str, family: str) -> None:
    assert count_text(text, family) <= 4 * len(text.encode("utf-8", "replace")) + 1


def test_lone_surrogates_are_counted_not_refused() -> None:
    assert count_text("ok \ud800 \udfff", "gpt") > 0
    assert count_raw({"messages": [{"role": "user", "content": "\ud800"}]}, "gpt") > 0


def counted(*messages: dict[str, Any], **fields: Any) -> int:
    return count_prompt(asking(messages=list(messages) or [HI], **fields).conversation, "gpt")


def text(*texts: str) -> int:
    return sum(count_text(text, "gpt") for text in texts)


def test_a_prompt_is_its_text_and_the_template_around_it() -> None:
    """Three tokens a message, one for a name, three for the answer, as OpenAI documents it for its chat models."""
    system = {"role": "system", "content": "You are a helpful assistant."}
    said = text("system", "You are a helpful assistant.", "user", "ann", "hello world")
    assert counted(system, {"role": "user", "name": "ann", "content": "hello world"}) == said + 3 + 3 + 1 + 3


def test_tools_and_tool_calls_are_counted() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'}}
    plain, answer = counted({"role": "assistant", "content": None}), {"role": "assistant", "content": None}
    assert counted({**answer, "tool_calls": [call]}) - plain == text("get_weather", '{"city":"Oslo"}')
    result = {"role": "tool", "tool_call_id": "call_1", "content": "It rains."}
    both = counted({**answer, "tool_calls": [call]}, result)
    assert both - counted({**answer, "tool_calls": [call]}) == 3 + text("tool", "It rains.")
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    assert counted(tools=tools) > counted() + 10
    assert counted(tools=[{"type": "web_search", "filters": {"allowed_domains": ["a.example"]}}]) > counted() + 10


TEXT = "data:text/plain;base64,"
PDF = "data:application/pdf;base64," + "JVBERi0" * 50_000


def test_all_text_that_goes_to_the_provider_is_counted() -> None:
    words = "Once upon a time there was a very long prompt. " * 50
    most = text(words)
    schema = {"type": "object", "description": words}
    document = base64.b64encode(words.encode()).decode()
    for fields in (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}},
        {"prediction": {"type": "content", "content": words}},
        {"documents": [{"data": {"text": words}}]},
        {"x_vendor": words},
        {"x_vendor": {words: 1}},
        {"x_vendor": {"data": words.replace(" ", "\n")}},
        {"documents": ["data: " + words]},
        {"documents": [words.replace(" ", "_")]},  # which is all the same to a model that reads it
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "file", "file": {"file_data": TEXT + document}}],
                }
            ]
        },
    ):
        assert count_prompt(asking(**fields).conversation, "gpt") >= most, fields
    for fields in ({"user": words}, {"metadata": {"note": words}}):
        assert count_prompt(asking(**fields).conversation, "gpt") == counted()


def test_text_without_spaces_is_text() -> None:
    # Taken for base64 it was free to whoever left before the end of the answer.
    story = "昔々あるところにお爺さんとお婆さんがいました。" * 200
    for fields in ({"documents": [story]}, {"documents": [{"data": {"text": story}}]}):
        assert count_prompt(asking(**fields).conversation, "gpt") >= text(story)


def test_messages_api_counts_as_the_chat_api_does() -> None:
    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "world"}, HI]
    messages = asking("anthropic", system="Be brief.", messages=turns, max_tokens=5)
    assert count_prompt(messages.conversation, "gpt") == counted({"role": "system", "content": "Be brief."}, *turns)


def picture() -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBORw0KGgo" * 20_000}}


def test_media_are_never_counted_as_their_base64_text() -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "UklGR" * 50_000, "format": "wav"}}
    file = {
        "type": "file",
        "file": {"filename": "a.pdf", "file_data": PDF},
    }
    bare = counted({"role": "user", "content": [{"type": "text", "text": "see"}]})
    for part, most in ((picture(), 85), (sound, 0), (file, 0)):
        message = {"role": "user", "content": [{"type": "text", "text": "see"}, part]}
        assert counted(message) == bare + most
        assert count_raw({"messages": [message]}, "gpt") < bare + 20


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=4))
def test_no_request_can_break_the_count(fields: dict[str, Any]) -> None:
    assert count_raw(fields, "gpt") >= 3


def test_a_request_that_is_no_conversation_is_counted_by_its_strings() -> None:
    words = "Once upon a time there was a very long prompt. " * 50
    assert count_raw(
        {"messages": [{"role": "user", "content": [{"type": "hologram", "words": [words]}]}]}, "gpt"
    ) >= text(words)


def test_counting_is_safe_on_several_threads_at_once() -> None:
    text, counts = "counting on threads " * 2_000, []
    threads = [threading.Thread(target=lambda: counts.append(count_text(text, "gpt"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [count_text(text, "gpt")] * 8


@pytest.mark.parametrize(
    ("provider_model", "family"),
    [
        ("gpt-6.1-sol", "gpt"),
        ("o3-mini", "gpt"),
        ("accounts/fireworks/models/gpt-oss-120b", "gpt"),
        ("gpt-35-turbo", "gpt-4"),
        ("gpt-4-turbo", "gpt-4"),
        ("gpt-4.1-mini", "gpt"),
        ("deepseek-ai/DeepSeek-V4-Flash-0731", "deepseek"),
        ("deepseek-r1-distill-llama-70b", "llama"),
        ("@cf/deepseek-ai/deepseek-r1-distill-qwen-32b", "qwen-3"),
        ("Qwen/Qwen3-32B-TEE", "qwen-3"),
        ("accounts/fireworks/models/qwen3p8-max", "qwen"),
        ("qwen3.7-plus", "qwen"),
        ("mistral-large-2512", "mistral"),
        ("ministral-8b-2512", "mistral"),
        ("zai-org/GLM-5.3", "glm"),
        ("moonshotai/kimi-k3", "kimi"),
        ("google/gemma-4-31B-it", "gemma"),
        ("claude-haiku-4-5", "claude-4.6"),
        ("claude-opus-4-20250514", "claude-4.6"),
        ("claude-opus-4-7", "claude"),
        ("claude-sonnet-5", "claude"),
        ("grok-4.7", "other"),
        ("x" * 100_000, "other"),
    ],
)
def test_a_models_name_tells_its_family(provider_model: str, family: str) -> None:
    assert family_of(PLAIN, provider_model) == family
    assert family in FAMILIES


def test_a_row_may_name_the_family() -> None:
    assert family_of(CATALOG.providers["local"], "anything.gguf") == "smollm"
    assert family_of(Provider(id="p", name="P", tokenizer="no such family"), "gpt-4o") == "other"


def test_thoughts_that_are_given_back_are_counted_once_however_they_are_told() -> None:
    said = {"role": "assistant", "content": "Yes."}
    thinking = "First I look at the sky, then at the clock."
    parts = [{"type": "reasoning.text", "text": thinking, "signature": "x" * 500}, {"type": "reasoning.encrypted"}]
    plain = counted({**said, "reasoning": thinking})
    assert plain == counted({**said, "reasoning_content": thinking})
    assert plain == counted({**said, "reasoning_details": parts})
    assert plain == counted({**said, "reasoning": thinking, "reasoning_details": parts})
    assert plain == counted(said) + text(thinking)
