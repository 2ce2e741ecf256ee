"""Lists of models as providers give them, and what no list of models is."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infron.catalog.definitions import Model
from infron.wires.model_list import MOST_MODELS, models_of


def read(value: Any) -> list[Model]:
    return models_of(json.dumps(value).encode(), "p")


def facts(model: Model) -> tuple[str, str, int | None, int | None]:
    return model.id, model.name, model.context_length, model.max_output


LISTS: dict[str, tuple[Any, list[tuple[str, str, int | None, int | None]]]] = {
    "OpenAI": (
        {"object": "list", "data": [{"id": "gpt-x", "object": "model", "created": 1, "owned_by": "openai"}]},
        [("p/gpt-x", "gpt-x", None, None)],
    ),
    "vLLM": ({"data": [{"id": "org/llama", "max_model_len": 8192}]}, [("p/org/llama", "org/llama", 8192, None)]),
    "Groq": (
        {"data": [{"id": "q", "context_window": 131072, "max_completion_tokens": 32768}]},
        [("p/q", "q", 131072, 32768)],
    ),
    "Together": (
        [
            {"id": "a", "type": "chat", "display_name": "A", "context_length": 9},
            {"id": "b", "type": "image"},
            {"id": "c", "type": "embedding"},
        ],
        [("p/a", "A", 9, None)],
    ),
    "OpenRouter": (
        {
            "data": [
                {
                    "id": "x/y:free",
                    "name": "X: Y",
                    "context_length": None,
                    "top_provider": {"context_length": 5, "max_completion_tokens": 4},
                    "architecture": {"input_modalities": ["image", "text"], "output_modalities": ["text"]},
                }
            ]
        },
        [("p/x/y:free", "X: Y", 5, 4)],
    ),
    "Mistral": (
        {
            "data": [
                {"id": "m", "max_context_length": 7, "capabilities": {"completion_chat": True}},
                {"id": "ocr", "capabilities": {"completion_chat": False}},
            ]
        },
        [("p/m", "m", 7, None)],
    ),
    "Anthropic": (
        {
            "data": [
                {"type": "model", "id": "claude-x", "display_name": "Claude X", "created_at": "2026-01-02T00:00:00Z"}
            ],
            "has_more": False,
        },
        [("p/claude-x", "Claude X", None, None)],
    ),
    "Gemini": (
        {
            "models": [
                {
                    "name": "models/gemini-x",
                    "displayName": "Gemini X",
                    "inputTokenLimit": 1000,
                    "outputTokenLimit": 100,
                    "supportedGenerationMethods": ["generateContent"],
                },
                {"name": "models/embedding-x", "supportedGenerationMethods": ["embedContent"]},
            ]
        },
        [("p/gemini-x", "Gemini X", 1000, 100)],
    ),
    "Cohere": (
        {
            "models": [
                {"name": "command-x", "endpoints": ["chat", "generate"], "context_length": 3},
                {"name": "rerank-x", "endpoints": ["rerank"]},
            ]
        },
        [("p/command-x", "command-x", 3, None)],
    ),
    "names alone": ({"models": ["a", "b", "a"]}, [("p/a", "a", None, None), ("p/b", "b", None, None)]),
    "nothing": ({"object": "list", "data": []}, []),
    "null": ({"data": None}, []),
    "entries of wrong types": (
        {"data": [None, 7, {"id": 7}, {"id": ""}, {"id": "a\u001bb"}, {"id": "x" * 401}, {"id": " a"}, {"id": "ok"}]},
        [("p/ok", "ok", None, None)],
    ),
    "counts of wrong types": (
        {"data": [{"id": "a", "context_length": "9", "max_model_len": 8.0, "created": "soon", "description": 7}]},
        [("p/a", "a", 8, None)],
    ),
}


@pytest.mark.parametrize(("body", "expected"), LISTS.values(), ids=LISTS)
def test_list_of_models_is_read_in_each_shape(body: Any, expected: list[Any]) -> None:
    assert [facts(model) for model in read(body)] == expected


def test_model_of_a_list_is_served_by_its_provider_under_its_own_id() -> None:
    (model,) = read({"models": [{"name": "models/gemini-x", "displayName": "X"}]})
    assert [(offer.provider, offer.id) for offer in model.served_by] == [("p", "gemini-x")]


@pytest.mark.parametrize(
    ("created", "date"),
    [(1735689600, datetime.date(2025, 1, 1)), (0, None), (10**20, None), ("2026-03-04", datetime.date(2026, 3, 4)),
     ("x", None), (None, None), (True, None)],
)  # fmt: skip
def test_model_of_a_list_has_the_day_of_its_release_if_it_is_told(created: Any, date: datetime.date | None) -> None:
    (model,) = read({"data": [{"id": "a", "created": created}]})
    assert model.released == date


@pytest.mark.parametrize("body", [b"", b"<html>", b'"data"', b"7", b'{"data":7}', b"[" * 100_000, b"\xff"])
def test_what_is_no_list_of_models_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="no list"):
        models_of(body, "p")


def test_list_of_models_is_bounded() -> None:
    assert len(read([str(number) for number in range(MOST_MODELS + 5)])) == MOST_MODELS


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["data", "id", "name", "type", "created", "architecture", "x"]), inner)
        ),
        max_leaves=8,
    )
)
def test_no_list_breaks_the_reader(value: Any) -> None:
    try:
        models = read(value)
    except ValueError:
        return
    assert all(model.id.startswith("p/") for model in models)
