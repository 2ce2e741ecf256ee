"""The lists of models that providers give, in all their shapes, made into definitions of models.

It never asks for a list, and never knows which of its models are good for what, unless the list says so.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from infron.catalog.definitions import Model, Offer
from infron.wires.usage import tokens

MOST_MODELS = 5_000
MOST_ID = 400  # characters
MOST_NAME = 200


class _Entry(Struct, gc=False):
    """A model of OpenAI's list, of Anthropic's, Gemini's, Cohere's, and what hosts of the chat API add to theirs."""

    id: Any = None
    name: Any = None
    display_name: Any = None
    displayName: Any = None
    description: Any = None
    created: Any = None
    created_at: Any = None
    context_length: Any = None
    context_window: Any = None
    context_size: Any = None
    max_context_length: Any = None
    max_model_len: Any = None
    max_input_tokens: Any = None
    inputTokenLimit: Any = None
    max_output_tokens: Any = None
    max_completion_tokens: Any = None
    outputTokenLimit: Any = None
    top_provider: Any = None
    architecture: Any = None
    type: Any = None
    capabilities: Any = None
    endpoints: Any = None
    supportedGenerationMethods: Any = None


class _List(Struct, gc=False):
    data: list[Any] | None = None
    models: list[Any] | None = None
    result: list[Any] | None = None


_lists = msgspec.json.Decoder(_List | list[Any])
_CONTEXT = ("context_length", "context_window", "context_size", "max_context_length", "max_model_len",
            "max_input_tokens", "inputTokenLimit")  # fmt: skip
_OUTPUT = ("max_output_tokens", "max_completion_tokens", "outputTokenLimit")
_CHAT_TYPES = frozenset(("model", "chat", "language", "code", "text", "llm", "vlm", "text-generation"))
_KINDS = ("text", "image", "audio", "video", "file")


def models_of(body: bytes, provider: str) -> list[Model]:
    """The models of a list, each once, under the ids by which they are asked for here. Raises ValueError for no list.

    Those are left out of which it says that they do not chat.
    """
    try:
        found = _lists.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("no list of models") from None
    entries = found if isinstance(found, list) else found.data or found.models or found.result or []
    models: dict[str, Model] = {}
    for value in entries[:MOST_MODELS]:
        model = _model(value, provider)
        if model is not None:
            models.setdefault(model.id, model)
    return list(models.values())


def _model(value: Any, provider: str) -> Model | None:
    if isinstance(value, str):
        value = {"id": value}
    try:
        entry = msgspec.convert(value, _Entry)
    except msgspec.ValidationError:
        return None
    id = entry.id if isinstance(entry.id, str) else entry.name
    if not isinstance(id, str) or not _chats(entry):
        return None
    id = id.removeprefix("models/")
    if not id or len(id) > MOST_ID or not id.isprintable() or id != id.strip():
        return None
    names = (entry.display_name, entry.displayName, entry.name)
    name = next((name for name in names if isinstance(name, str) and name.isprintable() and name), id)
    top = entry.top_provider if isinstance(entry.top_provider, dict) else {}
    input, output = _modalities(entry.architecture)
    return Model(
        id=f"{provider}/{id}",
        name=name[:MOST_NAME],
        served_by=[Offer(provider=provider, id=id)],
        context_length=_first(getattr(entry, field) for field in _CONTEXT) or tokens(top.get("context_length")),
        max_output=_first(getattr(entry, field) for field in _OUTPUT) or tokens(top.get("max_completion_tokens")),
        input=input,
        output=output,
        released=_date(entry.created if entry.created is not None else entry.created_at),
        description=entry.description[:2_000] if isinstance(entry.description, str) else "",
    )


def _chats(entry: _Entry) -> bool:
    """Whether a model can be asked for an answer, as far as its list says."""
    if isinstance(entry.type, str) and entry.type not in _CHAT_TYPES:
        return False
    if isinstance(entry.endpoints, list) and entry.endpoints and "chat" not in entry.endpoints:
        return False
    methods = entry.supportedGenerationMethods
    if isinstance(methods, list) and "generateContent" not in methods:
        return False
    return not (isinstance(entry.capabilities, dict) and entry.capabilities.get("completion_chat") is False)


def _modalities(architecture: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    told = architecture if isinstance(architecture, dict) else {}
    sides = (told.get("input_modalities"), told.get("output_modalities"))
    found = [tuple(kind for kind in _KINDS if isinstance(side, list) and kind in side) for side in sides]
    return found[0] or ("text",), found[1] or ("text",)


def _first(values: Iterable[Any]) -> int | None:
    return next((count for value in values if (count := tokens(value))), None)


def _date(value: Any) -> datetime.date | None:
    """The day of a moment in unix seconds or in ISO 8601; hosts that do not know it say 0."""
    try:
        if isinstance(value, str):
            return datetime.date.fromisoformat(value[:10])
        return datetime.datetime.fromtimestamp(value, datetime.UTC).date() if type(value) is int and value else None
    except (ValueError, OverflowError, OSError):
        return None
