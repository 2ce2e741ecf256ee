"""What the models behind Converse take: one API for all of them, but not the same parameters.

It never knows a request. A model is known by its own id (`us.anthropic.claude-opus-4-7`, `openai.gpt-oss-120b-1:0`,
an ARN that holds such an id); one that tells nothing, such as the ARN of an application's profile, is of no family,
and gets only what Converse itself defines. Sources: the AWS documentation, and what the service was seen to refuse
(to 2026-09); what Claude takes is what it takes elsewhere, and stands in `anthropic_models`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from msgspec import Struct

from infron.wires.anthropic.models import NEWEST, Generation, generation_of

Family = Literal["", "claude", "nova", "nova2", "gpt-oss", "gpt", "deepseek", "mistral", "open"]

# Part of the id -> family; the first that is found. "open": open weights that take a JSON Schema for the answer.
_FAMILIES: tuple[tuple[str, Family], ...] = (
    ("anthropic.claude", "claude"),
    ("amazon.nova-2", "nova2"),
    ("amazon.nova", "nova"),
    ("openai.gpt-oss", "gpt-oss"),
    ("openai.gpt", "gpt"),
    ("deepseek.v3", "deepseek"),
    ("mistral.", "mistral"),
    ("google.gemma", "open"),
    ("minimax.", "open"),
    ("moonshot", "open"),
    ("nvidia.", "open"),
    ("qwen.", "open"),
    ("zai.", "open"),
)
_NO_SAMPLING: frozenset[str] = frozenset()
_SAMPLING = frozenset(("temperature", "top_p"))
_ALL_SAMPLING = _SAMPLING | {"top_k"}


class Traits(Struct, frozen=True, kw_only=True):
    """`sampling`: which of temperature, top_p and top_k it takes; `one_sampling`: of the first two only one at a time.

    `stop`: stop sequences are taken. `claude`: its generation, where it is one. `strict`: tools may be strict.
    `schema`: the answer can be held to a JSON Schema; `answers_by_tool`: or else made JSON by a tool that is forced.
    `caches`: cache points are taken, `caches_tools`: among tools too, `hour`: and kept for an hour.
    """

    family: Family = ""
    sampling: frozenset[str] = _SAMPLING
    one_sampling: bool = False
    stop: bool = True
    claude: Generation = NEWEST
    strict: bool = False
    schema: bool = False
    answers_by_tool: bool = False
    caches: bool = False
    caches_tools: bool = False
    hour: bool = False


@lru_cache(maxsize=1024)  # ids come from callers
def traits_of(provider_model: str) -> Traits:
    """What this model takes."""
    family: Family = next((family for part, family in _FAMILIES if part in provider_model), "")
    if family == "claude":
        return _claude(provider_model)
    if family in ("nova", "nova2"):
        return Traits(family=family, sampling=_ALL_SAMPLING, answers_by_tool=True, caches=True)
    if family in ("gpt", "gpt-oss"):
        return Traits(family=family, sampling=_NO_SAMPLING if family == "gpt" else _SAMPLING, stop=False, schema=True)
    # Nothing is known of a model without a family, so a cache point that the caller sets is his to answer for.
    return Traits(family=family, schema=family != "", caches=family == "", caches_tools=family == "", hour=family == "")


def _claude(provider_model: str) -> Traits:
    takes = generation_of(provider_model)
    # Bedrock checks requests against a copy of its own, which refuses schemas and strict tools from 4.7 on.
    recent = takes.schema and "opus-4-1" not in provider_model
    held = recent and takes.thinking != "adaptive"
    caches = takes.thinking != "none" or "claude-3-5" in provider_model
    return Traits(
        family="claude",
        sampling=_NO_SAMPLING if takes.sampling == "none" else _ALL_SAMPLING,
        one_sampling=takes.sampling == "one",
        claude=takes,
        strict=held,
        schema=held,
        answers_by_tool=takes.forced != "no",
        caches=caches,
        caches_tools=caches,
        hour=recent,
    )


# Betas of Anthropic's own API -> the models that know them here, by a part of the id. Others are refused as invalid, so
# that only these go on. RECALLED of the AWS documentation ("anthropic_beta", to 2026); none was tried.
_BETAS: dict[str, tuple[str, ...]] = {
    "context-1m-2025-08-07": ("claude-sonnet-4", "claude-opus-4-6"),
    "interleaved-thinking-2025-05-14": ("claude-sonnet-4", "claude-opus-4", "claude-haiku-4-5"),
    "output-128k-2025-02-19": ("claude-3-7-sonnet",),
    "token-efficient-tools-2025-02-19": ("claude-3-7-sonnet",),
}


def takes_beta(beta: str, provider_model: str, traits: Traits) -> bool:
    """Whether Claude takes it in the body (`anthropic_beta`), as Converse has no header of that kind."""
    return traits.family == "claude" and any(part in provider_model for part in _BETAS.get(beta, ()))
