"""How much Claude shall think, in the words of the generation that is asked.

It never knows who asks, nor in which API.
"""

from __future__ import annotations

from typing import Any

from infron.conversation import Reasoning
from infron.wires.anthropic.models import Generation, budget_of


def as_reasoning(native: dict[str, Any], takes: Generation) -> Reasoning | None:
    """The caller's own `thinking` in neutral words, where this generation does not take it as it is."""
    type, budget = native.get("type"), native.get("budget_tokens")
    hidden = native.get("display") == "omitted"
    if type == "enabled" and (budget is None or takes.thinking in ("none", "adaptive")):
        return Reasoning(exclude=hidden)
    if type == "adaptive" and takes.thinking in ("none", "budget"):
        return Reasoning(exclude=hidden)
    if type == "disabled" and takes.off not in ("", "disabled"):
        return Reasoning(effort="none")
    return None


def thinking_of(wanted: Reasoning, whole: int, takes: Generation) -> tuple[dict[str, Any], int]:
    """`thinking`, and `max_tokens`: `whole` or more."""
    display = "omitted" if wanted.exclude else "summarized"
    if takes.thinking == "adaptive" or (takes.thinking == "both" and wanted.max_tokens is None):
        return {"type": "adaptive", "display": display}, whole
    budget, whole = budget_of(wanted, whole, takes)
    return {"type": "enabled", "budget_tokens": budget} | ({"display": display} if wanted.exclude else {}), whole
