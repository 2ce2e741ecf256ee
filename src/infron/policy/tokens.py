"""Counting tokens ourselves, for answers that ended before their provider said what they used. See docs/tokens.md.

It never counts on anyone's behalf while an answer streams: it takes milliseconds, so it belongs on a thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
import toktok  # type: ignore[import-untyped]

from infron.catalog.definitions import Provider
from infron.conversation import (
    Conversation,
    Media,
    NativeTool,
    Part,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from infron.request import Prompt


class Family(NamedTuple):
    """How a family's tokens are counted: by a vocabulary, times a ratio in thousandths."""

    vocabulary: str = "o200k_base"
    ratio: int = 1_000


# Measured by docs/tokens.py, unless docs/tokens.md says otherwise.
FAMILIES = {
    "gpt": Family(),
    "gpt-4": Family("cl100k_base"),
    "llama": Family(ratio=1_012),
    "mistral": Family(ratio=1_059),
    "deepseek": Family(ratio=1_011),
    "qwen": Family(ratio=1_076),
    "qwen-3": Family(ratio=1_051),
    "glm": Family(ratio=1_011),
    "kimi": Family(ratio=1_021),
    "gemma": Family(ratio=1_086),
    "claude": Family(ratio=1_450),
    "claude-4.6": Family(ratio=1_150),
    "smollm": Family(ratio=1_153),
    "other": Family(ratio=1_100),
}

# The first pattern found in a provider's own id of a model, in lower case, decides.
_PATTERNS = tuple(
    (re.compile(pattern), family)
    for pattern, family in (
        (r"smollm", "smollm"),
        (r"llama|euryale|lunaris|stheno|hermes-[34]|sonar", "llama"),
        (r"distill-qwen|qwq|qwen-?[12]|qwen3(?![.p]\d)", "qwen-3"),
        (r"qwen", "qwen"),
        (r"deepseek", "deepseek"),
        (r"gpt-oss|gpt-4o|gpt-4\.[1-9]|gpt-[5-9]|chatgpt|(^|/)o[1-9]", "gpt"),
        (r"gpt-4|gpt-3|gpt-35|text-embedding-", "gpt-4"),
        (r"mi(ni)?stral|magistral|mixtral|codestral|devstral|pixtral", "mistral"),
        (r"glm", "glm"),
        (r"kimi|moonshot", "kimi"),
        (r"gemma|gemini", "gemma"),
        (r"claude-(instant|[123]|4|(opus|sonnet|haiku)-4([-.][0-6])?(?=$|[^\d.-]|-\D|[-@]\d{6}))", "claude-4.6"),
        (r"claude", "claude"),
    )
)

BY_LENGTH = "length"  # a family of its own, for when there is no time to count
BYTES = "bytes"  # another: no text has more tokens than bytes
BEYOND = "beyond"  # another: how many bytes a text has beyond one for each character
_CHARACTERS = 4  # of a token, about, in English

# OpenAI documents these for its chat models; other families' templates are about as long.
_PER_MESSAGE, _PER_NAME, _PER_ANSWER = 3, 1, 3
# A picture in low detail at OpenAI. What a larger one, sound or a file costs cannot be told from here.
_IMAGE_LOW_DETAIL = 85
# Bytes in base64 as APIs hold them: in a data URL, or under one of these names. Anything else is text, spaces or not.
_DATA_URL = re.compile(r"data:[^,\s]{0,200};base64,[A-Za-z0-9+/_=-]*")
_BASE64 = re.compile(r"[A-Za-z0-9+/_=-]+")
_OF_BYTES = frozenset(("data", "file_data", "bytes", "b64_json", "blob"))
_SHORT = 256  # characters: what is no longer is counted, whatever it is
# Root fields that are no part of the prompt, and names inside of others that no model reads.
_UNSAID = frozenset(
    (
        "anthropic_version",
        "betas",
        "logit_bias",
        "metadata",
        "model",
        "prompt_cache_key",
        "safety_identifier",
        "service_tier",
        "stream_options",
        "user",
    )
)
_UNREAD = frozenset(("content", "data", "id", "input", "messages", "name", "parts", "role", "text", "type", "url"))


def family_of(provider: Provider, provider_model: str) -> str:
    """The tokenizer family of a model: what its provider's definition says, else what its name tells."""
    if provider.tokenizer:
        return provider.tokenizer if provider.tokenizer in FAMILIES else "other"
    name = provider_model[:200].lower()
    return next((family for pattern, family in _PATTERNS if pattern.search(name)), "other")


def count_text(text: str, family: str) -> int:
    """The tokens of a text. Safe on any thread, linear in its length; exact for the OpenAI families, else a ratio."""
    return _count([text], family)


def weight_of(text: str, family: str) -> int:
    """The same in thousandths of a token, so that pieces of a text add up."""
    return _weight([text], family)


def by_length(characters: int) -> int:
    """About how many tokens so many characters are, for when there is no time to count."""
    return characters // _CHARACTERS


def count_prompt(asked: Conversation, family: str) -> int:
    """The tokens of a request: all text that goes to the provider, and the template around it.

    Media are never counted as text. A picture counts as one in low detail, other media as nothing: beside these it is a
    lower bound.
    """
    texts: list[str] = []
    extra = _PER_ANSWER
    for message in asked.messages:
        extra += _PER_MESSAGE + (_PER_NAME if message.name else 0)
        texts += (message.role, message.name)
        for part in message.parts:
            for inner in (part, *part.parts) if isinstance(part, ToolResult) else (part,):
                texts.extend(_texts(inner))
                extra += _IMAGE_LOW_DETAIL if isinstance(inner, Media) and inner.kind == "image" else 0
    texts.extend(map(_tool, asked.tools))
    wanted = asked.response_format
    if wanted is not None and wanted.schema is not None:
        texts += (wanted.name, _json(wanted.schema))
    for name, value in asked.fields.items():
        if name not in _UNSAID:
            texts.extend(_strings(value))
    return extra + _count(texts, family)


def count_given(given: Prompt, family: str) -> int:
    """The tokens of what is given without any template around it."""
    return given.tokens + _count(given.texts, family)


def count_raw(fields: Mapping[str, Any], family: str) -> int:
    """The tokens of a request that is no conversation that we know: of every string in its decoded root fields."""
    texts = [text for name, value in fields.items() if name not in _UNSAID for text in _strings(value)]
    return _PER_ANSWER + _count(texts, family)


def _texts(part: Part) -> Iterable[str]:
    match part:
        case Text(text) | Media(text=text) | Thinking(text=text):
            yield text
        case ToolCall():
            yield part.name
            yield part.arguments


def _tool(tool: Tool | NativeTool) -> str:
    if isinstance(tool, NativeTool):
        return _json(tool.raw)
    return _json({"name": tool.name, "description": tool.description, "parameters": tool.schema})


def _strings(value: Any) -> Iterable[str]:
    """All strings in decoded JSON, the names of fields too, but the bytes of media."""
    left = [("", value)]
    while left:
        name, item = left.pop()
        if isinstance(item, str):
            if not _is_bytes(name, item):
                yield item
        elif isinstance(item, dict):
            yield from item.keys() - _UNREAD
            left.extend(item.items())
        elif isinstance(item, list):
            left.extend((name, inner) for inner in item)


def _is_bytes(name: str, text: str) -> bool:
    if len(text) <= _SHORT:
        return False
    if text[:5].lower() == "data:":
        return _DATA_URL.fullmatch(text) is not None
    return name in _OF_BYTES and _BASE64.fullmatch(text) is not None


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _count(texts: list[str], family: str) -> int:
    if family == BY_LENGTH:
        return by_length(sum(map(len, texts)))
    if family == BYTES:
        return sum(len(text) if text.isascii() else len(text.encode("utf-8", "replace")) for text in texts)
    if family == BEYOND:
        return sum(0 if text.isascii() else len(text.encode("utf-8", "replace")) - len(text) for text in texts)
    return (_weight(texts, family) + 500) // 1_000


def _weight(texts: list[str], family: str) -> int:
    vocabulary, ratio = FAMILIES.get(family, FAMILIES["other"])
    try:
        counts = toktok.batch_count(texts, vocabulary, threads=1)
    except UnicodeEncodeError:  # lone surrogates are no text
        counts = toktok.batch_count([_clean(text) for text in texts], vocabulary, threads=1)
    return int(sum(counts)) * ratio


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
