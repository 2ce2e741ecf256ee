"""What each generation of Claude takes: sampling, thinking, forced tools, prefill, schemas, the longest answer.

It never knows a request: it is asked for a model, and answers with one row of one table, or with what follows from it.

Sources: Anthropic's pages on thinking, effort, structured outputs and mid-conversation system messages, the migration
guides of 4.6 to 5.5 and "What's new in Claude Fable 5.2" (to 2026-11), and live probes of others (2026-09-29).
Other clouds put something before and behind the same names.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from infron.conversation import Effort, Reasoning


class Generation(Struct, frozen=True, kw_only=True):
    """`sampling`: whether `temperature` and `top_p` may both be sent, one of them, or neither (then no `top_k`).

    `thinking`: with a `budget` of tokens, `adaptive` (with an effort), `both`, or `none` at all · `off`: the type of
    `thinking` that stops it, "" where it is off unless asked for, `low` where nothing but the lowest effort is left ·
    `efforts`: what `output_config.effort` may be · `forced`: whether a tool can be forced: `yes`, not while thinking
    (`unthinking`), `no` · `prefill`: the last message may be the beginning of the answer · `schema`: it has
    `output_config.format` · `system`: a system message may stand between the turns · `max_output`: most tokens of an
    answer.
    """

    sampling: Literal["all", "one", "none"] = "none"
    thinking: Literal["none", "budget", "both", "adaptive"] = "adaptive"
    off: Literal["", "disabled", "between_tools", "low"] = "low"
    efforts: tuple[Effort, ...] = ("low", "medium", "high", "xhigh", "max")
    forced: Literal["yes", "unthinking", "no"] = "no"
    prefill: bool = False
    schema: bool = True
    system: bool = True
    max_output: int = 128_000


NEWEST = Generation()

_5 = Generation(off="disabled", forced="yes")
_4_8 = replace(_5, off="", forced="unthinking")
_4_6 = replace(_4_8, sampling="one", thinking="both", efforts=("low", "medium", "high", "max"), system=False)
_4_5 = replace(_4_6, thinking="budget", efforts=(), prefill=True, max_output=64_000)
_4 = replace(_4_5, schema=False, max_output=32_000)
_3 = replace(_4, sampling="all", thinking="none", forced="yes", max_output=4_096)

# Family, the version that it holds from, and what holds; of a family the newest first. Families not named: NEWEST.
_TABLE: tuple[tuple[str, tuple[int, int], Generation], ...] = (
    ("opus", (5, 5), NEWEST),
    ("opus", (5, 0), _5),
    ("opus", (4, 8), _4_8),
    ("opus", (4, 7), replace(_4_8, system=False)),
    ("opus", (4, 6), _4_6),
    ("opus", (4, 5), _4_5),
    ("opus", (4, 1), replace(_4, schema=True)),
    ("opus", (4, 0), _4),
    ("opus", (0, 0), _3),
    ("sonnet", (5, 5), replace(NEWEST, off="between_tools")),
    ("sonnet", (5, 0), replace(_5, system=False)),
    ("sonnet", (4, 6), replace(_4_6, max_output=64_000)),
    ("sonnet", (4, 5), _4_5),
    ("sonnet", (4, 0), replace(_4, max_output=64_000)),
    ("sonnet", (3, 7), replace(_4, sampling="all", max_output=64_000)),
    ("sonnet", (3, 5), replace(_3, max_output=8_192)),
    ("sonnet", (0, 0), _3),
    ("haiku", (5, 5), _5),
    ("haiku", (4, 5), _4_5),
    ("haiku", (3, 5), replace(_3, max_output=8_192)),
    ("haiku", (0, 0), _3),
    ("fable", (5, 1), NEWEST),
    ("fable", (5, 0), replace(NEWEST, forced="yes")),
    ("mythos", (5, 1), NEWEST),
    ("mythos", (5, 0), replace(NEWEST, forced="yes")),
)
# claude-opus-4-5-20251101, anthropic.claude-sonnet-4-6-v1:0, claude-haiku-5.5@20261007, claude-3-5-haiku-20241022
_NAME = re.compile(r"claude-(?:(\d)(?:[-.](\d))?-)?([a-z]+)(?:-(\d{1,2})(?!\d)(?:[-.](\d{1,2})(?!\d))?)?")

_OLDEST = re.compile(r"claude-(v?[12]\b|instant)")


@lru_cache(maxsize=1024)  # names come from callers
def generation_of(model: str) -> Generation:
    """What this model takes. A name that is not known is one of the newest generation."""
    if _OLDEST.search(model.lower()):
        return _3
    found = _NAME.search(model.lower())
    if found is None:
        return NEWEST
    family = found[3]
    version = (int(found[1] or found[4] or 99), int(found[2] or found[5] or 0))
    return next((row for name, since, row in _TABLE if name == family and version >= since), NEWEST)


def is_claude(model: str) -> bool:
    """Whether the name is one of Claude's: other models are served in this API, too, and their names tell nothing."""
    return "claude" in model.lower()


def most_tokens(wanted: int | None, takes: Generation) -> int:
    """Of an answer: models that are known to be short refuse more than they have; those to come are not known."""
    if wanted is None:
        return takes.max_output
    return wanted if takes.max_output >= NEWEST.max_output else min(wanted, takes.max_output)


# Of the tokens of the whole answer, in percent, as OpenRouter shares them out.
_SHARES = {"minimal": 10, "low": 20, "medium": 50, "high": 80, "xhigh": 95, "max": 95}
_LEAST_BUDGET = 1024
_NEAREST: dict[str, Effort] = {"minimal": "low", "xhigh": "high", "max": "high"}


def budget_of(wanted: Reasoning, whole: int, takes: Generation) -> tuple[int, int]:
    """Tokens to think with, and those of the whole answer, `whole` or more: the first are a part of the second, and
    must leave something for what is said.
    """
    budget = max(wanted.max_tokens or whole * _SHARES[wanted.effort or "medium"] // 100, _LEAST_BUDGET)
    if budget >= whole:
        whole = min(budget + whole, takes.max_output)
    return min(budget, whole - 1), whole


def effort_of(effort: Effort, takes: Generation) -> Effort:
    """The effort that this model knows and that is nearest."""
    return effort if effort in takes.efforts else _NEAREST[effort]
