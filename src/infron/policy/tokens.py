"""Counting tokens ourselves, for answers that ended before their provider said what they used. See docs/tokens.md.

It never counts on anyone's behalf while an answer streams: it takes milliseconds, so it belongs on a thread.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec
import toktok  # type: ignore[import-untyped]

from infron.catalog.definitions import Provider


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
        (r"gpt-4|gpt-3|gpt-35", "gpt-4"),
        (r"mi(ni)?stral|magistral|mixtral|codestral|devstral|pixtral", "mistral"),
        (r"glm", "glm"),
        (r"kimi|moonshot", "kimi"),
        (r"gemma|gemini", "gemma"),
        (r"claude-(instant|[123]|4|(opus|sonnet|haiku)-4([-.][0-6])?(?=$|[^\d.-]|-\D|[-@]\d{6}))", "claude-4.6"),
        (r"claude", "claude"),
    )
)

# OpenAI documents these for its chat models; other families' templates are about as long.
_PER_MESSAGE, _PER_NAME, _PER_ANSWER = 3, 1, 3
# A picture in low detail at OpenAI. What a larger one, sound or a file costs cannot be told from here.
_IMAGE_LOW_DETAIL = 85
_TEXT_MEMBERS = ("text", "refusal", "thinking", "input_text", "output_text")
# A tuple: what a request gives as a type need not be hashable.
_MEDIA_TYPES = ("image_url", "input_image", "image", "input_audio", "audio", "video_url", "file", "document")


def family_of(provider: Provider, provider_model: str) -> str:
    """The tokenizer family of a model: what its provider's row says, else what its name tells."""
    if provider.tokenizer:
        return provider.tokenizer if provider.tokenizer in FAMILIES else "other"
    name = provider_model[:200].lower()
    return next((family for pattern, family in _PATTERNS if pattern.search(name)), "other")


def count_text(text: str, family: str) -> int:
    """The tokens of a text. Safe on any thread, linear in its length; exact for the OpenAI families, else a ratio."""
    return _count([text], family)


def count_prompt(messages: object, tools: object, family: str) -> int:
    """The tokens of a chat request, as decoded JSON: its text, the template around it, its tools.

    Media are never counted as text. A picture counts as one in low detail, other media as nothing: where
    `uncounted_media` finds any, this is a lower bound.
    """
    texts: list[str] = []
    extra = _PER_ANSWER
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, dict):
            continue
        extra += _PER_MESSAGE + (_PER_NAME if message.get("name") else 0)
        texts.extend(value for name in ("role", "name") if isinstance(value := message.get(name), str))
        texts.extend(_thoughts(message))
        for part in _parts(message.get("content")):
            texts.extend(value for name in _TEXT_MEMBERS if isinstance(value := part.get(name), str))
            extra += _IMAGE_LOW_DETAIL if part.get("type") in ("image_url", "input_image", "image") else 0
        calls = message.get("tool_calls")
        for call in [*(calls if isinstance(calls, list) else ()), {"function": message.get("function_call")}]:
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict):
                texts.extend(v for name in ("name", "arguments") if isinstance(v := function.get(name), str))
    if isinstance(tools, list) and tools:
        texts.append(msgspec.json.encode(tools).decode())
    return extra + _count(texts, family)


def _thoughts(message: dict[str, Any]) -> list[str]:
    """The thoughts that are given back to a model: told in parts, or in one string, or in both alike."""
    details = message.get("reasoning_details")
    parts = [part for part in details if isinstance(part, dict)] if isinstance(details, list) else []
    told = [text for part in parts for name in ("text", "summary") if isinstance(text := part.get(name), str)]
    plain = (message.get("reasoning_content"), message.get("reasoning"))
    return told or [text for text in plain if isinstance(text, str)][:1]


def uncounted_media(messages: object) -> bool:
    """Whether a chat request holds media of which `count_prompt` cannot know the tokens."""
    return any(
        part.get("type") in _MEDIA_TYPES and _detail(part) != "low"
        for message in (messages if isinstance(messages, list) else ())
        if isinstance(message, dict)
        for part in _parts(message.get("content"))
    )


def _parts(content: object) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def _detail(part: dict[str, Any]) -> object:
    image = part.get("image_url")
    return image.get("detail") if isinstance(image, dict) else part.get("detail")


def _count(texts: list[str], family: str) -> int:
    vocabulary, ratio = FAMILIES.get(family, FAMILIES["other"])
    try:
        counts = toktok.batch_count(texts, vocabulary, threads=1)
    except UnicodeEncodeError:  # lone surrogates are no text
        counts = toktok.batch_count([_clean(text) for text in texts], vocabulary, threads=1)
    return int(sum(counts) * ratio + 500) // 1_000


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
