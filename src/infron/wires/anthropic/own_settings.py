"""What a request of a client of this API asks beside its messages, as the generation that is asked takes it.

It never reads what is said, nor tools' schemas. Clients are written for the models of their day and ask others in the
same words: what this model takes stays as it came, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw

from infron.conversation import Reasoning
from infron.wires.anthropic.models import Generation, effort_of, most_tokens
from infron.wires.anthropic.own_history import Message
from infron.wires.anthropic.thinking import as_reasoning, thinking_of
from infron.wires.json_answer import JSON_ONLY

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_NULL = Raw(b"null")
_LEAST_TOP_P = 0.95  # while thinking
_LEAST_BUDGET = 1024
_EFFORTS = ("minimal", "low", "medium", "high", "xhigh", "max")
# Betas with which a model takes more than its generation does.
_LONG, _EFFORT = "output-128k", "effort-"


def fit_settings(
    fields: dict[str, Any], takes: Generation, betas: list[str], messages: Iterable[Message], lost: set[str]
) -> str:
    """Put right in `fields` what the model would refuse; what is lost is named in `lost`. A text for the system prompt
    comes back where the answer's form can be asked for in words alone; else "".
    """
    given = {name: _decode(fields[name]) for name in _NAMES if name in fields}
    value = {name: given[name] for name in given if given[name] is not None}
    if not value:
        return ""
    told = dict(value)
    _limit(told, takes, betas, lost)
    _think(told, takes, messages, lost)
    _force(told, takes, lost)
    _sample(told, takes, lost)
    words = _hold(told, takes, betas, lost)
    if "thinking" in lost and isinstance(edits := told.get("context_management"), dict) and not _thinks(told):
        told["context_management"] = {**edits, "edits": [edit for edit in edits.get("edits") or () if _keeps(edit)]}
    for name in value:
        if name not in told:
            del fields[name]
        elif told[name] != value[name]:
            fields[name] = Raw(_encode(told[name]))
    for name in told.keys() - value.keys():
        fields[name] = Raw(_encode(told[name]))
    return words


_NAMES = (
    "context_management",
    "max_tokens",
    "output_config",
    "temperature",
    "thinking",
    "tool_choice",
    "top_k",
    "top_p",
)


def _keeps(edit: Any) -> bool:
    """Whether this is no edit of thinking, which the API refuses where there is none (RECALLED of public reports)."""
    return not (isinstance(edit, dict) and str(edit.get("type")).startswith("clear_thinking"))


def _limit(told: dict[str, Any], takes: Generation, betas: list[str], lost: set[str]) -> None:
    wanted = told.get("max_tokens")
    if not isinstance(wanted, int) or any(beta.startswith(_LONG) for beta in betas):
        return
    told["max_tokens"] = most_tokens(wanted, takes)
    if told["max_tokens"] != wanted:
        lost.add("max_tokens")


def _thinks(told: dict[str, Any]) -> bool:
    thinking = told.get("thinking")
    return isinstance(thinking, dict) and thinking.get("type") not in (None, "disabled", "between_tools")


def _think(told: dict[str, Any], takes: Generation, messages: Iterable[Message], lost: set[str]) -> None:
    native, whole = told.get("thinking"), told.get("max_tokens")
    if isinstance(native, dict):
        wanted = as_reasoning(native, takes)
        if wanted is not None:
            del told["thinking"]
            if wanted.effort == "none" and takes.off != "low":
                told["thinking"] = {"type": takes.off}
            elif wanted.effort == "none" or takes.thinking == "none":  # it always thinks, or never
                lost.add("thinking")
                if wanted.effort == "none":
                    _put_effort(told, "low")
            else:
                wanted = Reasoning(effort=_asked_effort(told), exclude=wanted.exclude)
                limit = whole if isinstance(whole, int) else takes.max_output
                told["thinking"], limit = thinking_of(wanted, limit, takes)
                if isinstance(whole, int):
                    told["max_tokens"] = limit
        elif native.get("type") == "enabled" and "max_tokens" in lost and isinstance(whole, int):
            budget = native.get("budget_tokens")
            if isinstance(budget, int) and _LEAST_BUDGET < whole <= budget:
                told["thinking"] = {**native, "budget_tokens": whole - 1}
    by_budget = _thinks(told) and told["thinking"].get("type") == "enabled"
    if by_budget and takes.thinking == "budget" and _goes_on_unthinking(messages):
        del told["thinking"]
        lost.add("thinking")


def _asked_effort(told: dict[str, Any]) -> Any:
    output = told.get("output_config")
    effort = output.get("effort") if isinstance(output, dict) else None
    return effort if effort in _EFFORTS else None


def _put_effort(told: dict[str, Any], effort: str) -> None:
    output = told.get("output_config")
    told["output_config"] = {**(output if isinstance(output, dict) else {}), "effort": effort}


def _goes_on_unthinking(messages: Iterable[Message]) -> bool:
    """Whether the model is to go on after calls of its own before which no thinking stands."""
    last = [message for message in messages if message.role == "assistant"][-1:]
    blocks = last[0].blocks if last else []
    called = any(block.kind.type == "tool_use" for block in blocks)
    return called and blocks[0].kind.type not in ("thinking", "redacted_thinking")


def _force(told: dict[str, Any], takes: Generation, lost: set[str]) -> None:
    choice = told.get("tool_choice")
    if not isinstance(choice, dict) or choice.get("type") not in ("any", "tool"):
        return
    if takes.forced == "no":
        told["tool_choice"] = {"type": "auto"} | {name: choice[name] for name in (_PARALLEL,) if name in choice}
        lost.add("tool_choice")
    elif takes.forced == "unthinking" and _thinks(told):
        del told["thinking"]
        lost.add("thinking")


_PARALLEL = "disable_parallel_tool_use"


def _sample(told: dict[str, Any], takes: Generation, lost: set[str]) -> None:
    refused = set()
    if takes.sampling == "none":
        refused = {"temperature", "top_p", "top_k"}
    elif _thinks(told):
        top_p = told.get("top_p", 1)
        refused = {"top_k"} | ({"temperature"} if told.get("temperature", 1) != 1 else set())
        refused |= {"top_p"} if not isinstance(top_p, int | float) or top_p < _LEAST_TOP_P else set()
    if takes.sampling == "one" and "temperature" in told.keys() - refused:
        refused.add("top_p")
    for name in refused & told.keys():
        del told[name]
        lost.add(name)


def _hold(told: dict[str, Any], takes: Generation, betas: list[str], lost: set[str]) -> str:
    """`output_config` as this model knows it."""
    output = told.get("output_config")
    if not isinstance(output, dict):
        return ""
    kept, words = dict(output), ""
    effort = kept.get("effort")
    if effort in _EFFORTS and effort not in takes.efforts:
        if takes.efforts:
            kept["effort"] = effort_of(effort, takes)
        elif not any(beta.startswith(_EFFORT) for beta in betas):
            del kept["effort"]
            lost.add("output_config.effort")
    form = kept.get("format")
    if form is not None and not takes.schema:
        del kept["format"]
        lost.add("output_config.format")
        schema = form.get("schema") if isinstance(form, dict) else None
        held = f" It must be valid by this JSON Schema:\n{_encode(schema).decode()}" if isinstance(schema, dict) else ""
        words = JSON_ONLY + held
    if kept:
        told["output_config"] = kept
    else:
        del told["output_config"]
    return words
