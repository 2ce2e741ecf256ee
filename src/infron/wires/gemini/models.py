"""What each generation of Gemini takes: thinking, penalties, several answers, signatures, a system instruction.

It never knows a request: it is asked for a model, and answers with one row of one table.

Sources: Google's pages on thinking, thought signatures and the migration to Gemini 4 (to 2026-11), recorded answers in
Vercel's AI SDK (2026-09 to 2026-10). What a model is not known to refuse it is asked for.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from infron.conversation import Reasoning


class Generation(Struct, frozen=True, kw_only=True):
    """`thinking`: it is steered by a `budget` of tokens, by a `level`, by `either` of them but not both, or not at all.

    `lowest`: the level nearest to no thinking · `off`, `least`, `most`: the budget that is nearest to none, and the
    bounds of others · `penalties`: whether presence and frequency penalties are taken, or at Vertex AI only ·
    `several`: more than one answer can be asked for · `signed`: a call of a function in the history needs a thought
    signature · `system`: it takes a system instruction · `media_results`: the result of a function may hold media ·
    `json_beside_tools`: an answer can be held to JSON where there are tools.
    """

    thinking: Literal["none", "budget", "level", "either"] = "level"
    lowest: Literal["minimal", "low"] = "low"
    off: int = 0
    least: int = 0
    most: int = 24_576
    penalties: Literal["yes", "vertex", "no"] = "yes"
    several: bool = True
    signed: bool = True
    system: bool = True
    media_results: bool = True
    json_beside_tools: bool = True


NEWEST = Generation(penalties="no", several=False)

_3_7 = Generation(thinking="either")
_3 = replace(_3_7, lowest="minimal")
_IMAGE = replace(_3, thinking="none", signed=False)
_2_5 = Generation(thinking="budget", penalties="vertex", signed=False, media_results=False, json_beside_tools=False)
_2 = replace(_2_5, thinking="none", penalties="yes")
GEMMA = replace(_2, system=False)

# The version that it holds from, a word that must be in the name, and what holds: the first that fits. Without a
# version, as in gemini-flash-latest, a name means the newest.
_TABLE: tuple[tuple[tuple[int, int], str, Generation], ...] = (
    ((4, 0), "", NEWEST),
    ((3, 0), "-image", _IMAGE),
    ((3, 0), "-pro", _3_7),
    ((3, 0), "-lite", _3),
    ((3, 7), "", _3_7),
    ((3, 0), "", _3),
    ((2, 5), "-image", _2),
    ((2, 5), "-tts", _2),
    ((2, 5), "-pro", replace(_2_5, off=128, least=128, most=32_768)),
    ((2, 5), "-lite", replace(_2_5, least=512)),
    ((2, 5), "", _2_5),
    ((0, 0), "", _2),
)
_VERSION = re.compile(r"gemini-(\d{1,3})(?:\.(\d{1,3}))?(?=[-.@]|$)")


@lru_cache(1024)
def generation_of(provider_model: str) -> Generation:
    """`provider_model`: Google's id of the model, with or without the path before its name."""
    name = provider_model.rpartition("/")[2].lower()
    if name.startswith(("gemma", "medgemma", "learnlm")):
        return GEMMA
    if name.startswith("gemini-pro") and not name.endswith("-latest"):
        return _2
    found = _VERSION.match(name)
    if found is None:
        return NEWEST
    version = int(found[1]), int(found[2] or 0)
    return next(generation for since, word, generation in _TABLE if version >= since and word in name)


# Budgets by effort are those of Google's own chat endpoint; `xhigh` and `max` are all that the model has.
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576}
_LEVELS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


def thinking_config(reasoning: Reasoning, generation: Generation) -> dict[str, Any]:
    """`thinkingConfig`: how much to think, and whether to tell; {} where the model has no such wishes."""
    if generation.thinking == "none":
        return {}
    effort, tokens = reasoning.effort, reasoning.max_tokens
    off = effort == "none" or tokens == 0
    config: dict[str, Any] = {} if off or reasoning.exclude else {"includeThoughts": True}
    if generation.thinking == "budget":
        if off:
            config["thinkingBudget"] = generation.off
        elif tokens is None and effort is not None:
            tokens = _BUDGETS.get(effort, generation.most)
        if tokens and not off:
            config["thinkingBudget"] = max(generation.least, min(tokens, generation.most))
    elif off:
        config["thinkingLevel"] = generation.lowest
    elif tokens is not None and generation.thinking == "either":
        config["thinkingBudget"] = tokens
    elif tokens is not None:
        config["thinkingLevel"] = "low" if tokens <= 2048 else "medium" if tokens <= 16_384 else "high"
    elif effort is not None:
        config["thinkingLevel"] = _LEVELS.get(effort, generation.lowest)
    return config
