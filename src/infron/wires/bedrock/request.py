"""Requests on Amazon Bedrock's Converse wire: the parameters of an answer; its messages are in `bedrock_messages`.

It never knows who the caller is, never fetches what a URL names, and never signs anything. Source: the service model
`bedrock-runtime` (2023-09-30) of the AWS SDKs; for the models' own parameters see `bedrock_models`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from infron.catalog.definitions import Provider
from infron.conversation import Conversation, NativeTool, Reasoning, Tool
from infron.errors import Unsupported
from infron.request import Outgoing, Request
from infron.wires.anthropic.messages import calls_without_thinking
from infron.wires.anthropic.models import budget_of, effort_of, most_tokens
from infron.wires.bedrock.messages import cache_point, messages_of, replayable, system_of
from infron.wires.bedrock.models import Traits, takes_beta, traits_of
from infron.wires.json_answer import ANSWER_BY_TOOL, ANSWER_TOOL, JSON_ONLY
from infron.wires.json_steps import written
from infron.wires.naming import Ids, Names
from infron.wires.schemas import StrictBudget, for_claude, rooted
from infron.wires.session import Rules, fit

# Fields of Converse's own request that the caller may send by their own names.
_NATIVE = (
    "additionalModelResponseFieldPaths",
    "guardrailConfig",
    "performanceConfig",
    "projectIdentifier",
    "promptVariables",
    "requestMetadata",
    "serviceTier",
)
_MERGED = ("additionalModelRequestFields", "inferenceConfig", "outputConfig")  # the same, beside what we put there
TAKES = frozenset(
    (
        *_NATIVE,
        *_MERGED,
        "betas",
        "max_tokens",
        "parallel_tool_calls",
        "reasoning",
        "response_format",
        "service_tier",
        "stop",
        "temperature",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    )
)

_encode = msgspec.json.Encoder().encode


def encode_request(request: Request, provider: Provider, provider_model: str, ask_usage: bool) -> Outgoing:
    """The request for ConverseStream; the model is in the URL, and usage comes unasked.

    Raises Unsupported for content that Converse cannot carry.
    """
    asked, names = fit(request.conversation, rules_of(provider_model, _thinks(request.conversation)))
    body, not_taken = encode(asked, provider_model)
    inner = sorted(name for name in not_taken if "." in name)
    return Outgoing(body=written(body, request.size), dropped=(*asked.left_out(TAKES - not_taken), *inner), names=names)


# Of the service model: ToolSpecification's name, ToolUseBlock's id. Mistral's template wants ids of nine characters.
_RULES = Rules(
    names=Names("A-Za-z0-9_-", 64),
    ids=Ids(r"[A-Za-z0-9_.:-]{1,64}"),
    results=frozenset(("image", "document", "video")),
    thinking=replayable,
    blank=False,
    thinking_last=False,
    opens="user",
)
_MISTRAL_RULES = replace(_RULES, ids=Ids(r"[A-Za-z0-9]{9}", 9))


def rules_of(provider_model: str, thinks: bool = False) -> Rules:
    """`thinks`: thinking is asked for; Claude never goes on from the beginning of an answer then."""
    traits = traits_of(provider_model)
    if traits.family == "mistral":
        return _MISTRAL_RULES
    goes_on = traits.family != "claude" or (traits.claude.prefill and not thinks)
    return _RULES if goes_on else replace(_RULES, prefill=False)


def encode(conversation: Conversation, provider_model: str) -> tuple[dict[str, Any], frozenset[str]]:
    """Converse's request, and those of TAKES that this model does not."""
    return _Encoding(conversation, provider_model).body()


class _Encoding:
    """One request under way: what it says so far, and what the model does not take."""

    def __init__(self, conversation: Conversation, provider_model: str) -> None:
        self.asked = conversation
        self.model = provider_model
        self.traits: Traits = traits_of(provider_model)
        self.dropped: set[str] = set()
        self.system: list[dict[str, Any]] = []
        self.config: dict[str, Any] = {}
        self.output: dict[str, Any] = {}
        self.extra: dict[str, Any] = {}  # additionalModelRequestFields
        self.forced = conversation.tools != () and conversation.tool_choice in ("required", "tool")
        self.answer_tool: dict[str, Any] | None = None

    def body(self) -> tuple[dict[str, Any], frozenset[str]]:
        asked = self.asked
        self.system = system_of(asked.messages, self.traits)
        self._format()
        thinks = self._reasoning()
        self._sampling(thinks)
        tools = self._tools()
        self._betas()
        body: dict[str, Any] = {"messages": messages_of(asked.messages, self.traits, with_tools=tools is not None)}
        if self.system:
            body["system"] = self.system
        if tools is not None:
            body["toolConfig"] = tools
        given = asked.fields
        tier = given.get("service_tier")
        if tier in ("default", "flex", "priority", "reserved"):
            body["serviceTier"] = {"type": tier}
        elif tier != "auto":
            self.dropped.add("service_tier")
        body |= {name: given[name] for name in _NATIVE if name in given}
        for name, ours in zip(_MERGED, (self.extra, self.config, self.output), strict=True):
            theirs = given.get(name)
            if merged := {**ours, **(theirs if isinstance(theirs, dict) else {})}:
                body[name] = merged
        return body, frozenset(self.dropped)

    # ---- how the answer shall be

    def _format(self) -> None:
        """A schema: by Converse's own means, else by a tool that must be called, else by asking for it."""
        asked, traits, wanted = self.asked, self.traits, self.asked.response_format
        if wanted is None:
            return
        schema = wanted.schema if wanted.kind == "schema" else None
        if schema is None:
            self._instruct(JSON_ONLY)
        elif traits.schema:
            held = for_claude(schema) if traits.family == "claude" else schema
            named = {"name": wanted.name} if wanted.name else {}
            structure = {"jsonSchema": {"schema": _encode(held).decode(), **named}}
            self.output["textFormat"] = {"type": "json_schema", "structure": structure}
        elif traits.answers_by_tool and not self.forced and not (self._unthinking and _thinks(asked)):
            spec = {"name": ANSWER_TOOL, "description": ANSWER_BY_TOOL, "inputSchema": {"json": schema}}
            self.answer_tool = {"toolSpec": spec}
            self.forced = True
        else:
            self._instruct(f"{JSON_ONLY} It must be valid by this JSON Schema:\n{_encode(schema).decode()}")

    def _instruct(self, text: str) -> None:
        self.system.append({"text": text})

    # ---- thinking

    @property
    def _unthinking(self) -> bool:
        """Whether this model does not think where it must call a tool."""
        return self.traits.family == "claude" and self.traits.claude.forced == "unthinking"

    def _reasoning(self) -> bool:
        """Ask for thinking in the words of the model's family. Whether Claude thinks, as far as it is asked to."""
        asked, traits = self.asked.reasoning, self.traits
        if asked is None:
            return False
        if traits.family == "claude":
            return self._claude_reasoning(asked)
        effort = asked.effort
        if traits.family == "gpt" and effort is not None:
            self.extra["reasoning"] = {"effort": "low" if effort == "minimal" else effort}
        elif traits.family == "gpt-oss" and effort is not None:
            self.extra["reasoning_effort"] = _LEVELS[effort]
        elif traits.family == "deepseek" and effort not in (None, "none"):
            self.extra["reasoning_config"] = _LEVELS[effort]
        elif traits.family == "nova2" and _thinks(self.asked):
            level = _LEVELS[effort or "medium"]
            if level == "high" and self.asked.max_tokens is not None:
                level = "medium"  # with high no limit is taken, and a limit is not ours to lift
            self.extra["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": level}
        elif _thinks(self.asked):
            self.dropped.add("reasoning")
        return False

    def _claude_reasoning(self, asked: Reasoning) -> bool:
        takes = self.traits.claude
        if not _thinks(self.asked):
            if takes.off == "low":  # it always thinks, so what was asked is not quite done
                self.extra["output_config"] = {"effort": "low"}
                self.dropped.add("reasoning")
            elif takes.off:
                self.extra["thinking"] = {"type": takes.off}
            return False
        by_budget = takes.thinking == "budget" or (takes.thinking == "both" and asked.max_tokens is not None)
        # With a budget it does not go on after calls of its own before which no thinking stands either.
        lost = by_budget and calls_without_thinking(self.asked.messages)
        if takes.thinking == "none" or (self.forced and self._unthinking) or lost:
            self.dropped.add("reasoning")
            return False
        if by_budget:
            limit = most_tokens(self.asked.max_tokens or None, takes)
            budget, whole = budget_of(asked, limit, takes)
            self.extra["thinking"] = {"type": "enabled", "budget_tokens": budget}
            if whole != limit:
                self.config["maxTokens"] = whole
            return True
        # Before 4.7 thinking is shown unless it is asked not to be, from then on only where it is asked for.
        shown = "omitted" if asked.exclude else "summarized" if takes.thinking == "adaptive" else ""
        self.extra["thinking"] = {"type": "adaptive", **({"display": shown} if shown else {})}
        if asked.effort is not None:
            self.extra["output_config"] = {"effort": effort_of(asked.effort, takes)}
        return True

    def _betas(self) -> None:
        """Of the betas that the caller named in Anthropic's header those that this model takes, in the body."""
        given = self.asked.fields.get("betas")
        named = [beta for beta in given if isinstance(beta, str)] if isinstance(given, list) else []
        taken = [beta for beta in named if takes_beta(beta, self.model, self.traits)]
        if taken:
            self.extra["anthropic_beta"] = taken
        if len(taken) < len(named):
            self.dropped.add("betas")

    # ---- sampling and limits

    def _sampling(self, thinks: bool) -> None:
        asked, traits, given = self.asked, self.traits, self.asked.fields
        takes = frozenset[str]() if thinks else traits.sampling
        if self.extra.get("reasoningConfig", {}).get("maxReasoningEffort") == "high":
            takes = frozenset()
        values: dict[str, Any] = {name: given[name] for name in ("temperature", "top_p", "top_k") if name in given}
        if traits.one_sampling and values.keys() >= {"temperature", "top_p"}:
            takes -= {"top_p"}
        self.dropped |= values.keys() - takes
        for name, own in (("temperature", "temperature"), ("top_p", "topP")):
            value = values.get(name)
            if name in takes and isinstance(value, int | float):
                self.config[own] = min(max(value, 0), 1)
        if "top_k" in takes and "top_k" in values:
            place = self.extra if traits.family == "claude" else self.extra.setdefault("inferenceConfig", {})
            place["top_k" if traits.family == "claude" else "topK"] = values["top_k"]
        if asked.max_tokens is not None:
            most = most_tokens(asked.max_tokens, traits.claude) if traits.family == "claude" else asked.max_tokens
            self.config.setdefault("maxTokens", most)
            if most < asked.max_tokens:
                self.dropped.add("max_tokens")
        if asked.stop and traits.stop:
            self.config["stopSequences"] = list(asked.stop)
        elif asked.stop:
            self.dropped.add("stop")

    # ---- tools

    def _tools(self) -> dict[str, Any] | None:
        asked, traits = self.asked, self.traits
        listed: list[dict[str, Any]] = []
        budget = StrictBudget()
        for tool in asked.tools if asked.tool_choice != "none" else ():
            listed.append(_tool(tool, traits, budget, self.dropped))
            if isinstance(tool, Tool) and tool.cache and traits.caches_tools:
                listed.append(cache_point(tool.cache, traits))
        if self.answer_tool is not None:
            listed.append(self.answer_tool)
        if not listed:
            return None
        choice = self._choice(only=len(listed) == 1)
        if asked.parallel_tool_calls is not None and traits.family != "claude":
            self.dropped.add("parallel_tool_calls")
        elif asked.parallel_tool_calls is False:
            # The two places exclude each other, so the whole choice is told in Claude's own words.
            kind, value = next(iter(choice.items())) if choice else ("auto", {})
            self.extra["tool_choice"] = {"type": kind, **value, "disable_parallel_tool_use": True}
            choice = None
        return {"tools": listed, **({"toolChoice": choice} if choice else {})}

    def _choice(self, only: bool) -> dict[str, Any] | None:
        asked = self.asked
        if self.answer_tool is not None:
            return {"tool": {"name": ANSWER_TOOL}} if only else {"any": {}}
        if self.forced and self.traits.family == "claude" and self.traits.claude.forced == "no":
            self.dropped.add("tool_choice")
            return None
        if asked.tool_choice == "tool":
            return {"tool": {"name": asked.tool_name}}
        return {"any": {}} if asked.tool_choice == "required" else None


def _tool(tool: Tool | NativeTool, traits: Traits, budget: StrictBudget, dropped: set[str]) -> dict[str, Any]:
    if isinstance(tool, NativeTool):
        if tool.raw.keys() & {"systemTool", "toolSpec", "cachePoint"}:
            return tool.raw
        raise Unsupported("`tools` holds one that is neither a function nor a tool of Converse.", param="tools")
    spec: dict[str, Any] = {"name": tool.name}
    if tool.description.strip():
        spec["description"] = tool.description
    schema = rooted(tool.schema or None)
    strict = tool.strict is True and traits.strict
    if strict and not budget.take(schema):
        strict = False
        dropped.add("tools.strict")
    spec["inputSchema"] = {"json": for_claude(schema) if strict else schema}
    if strict:
        spec["strict"] = True
    return {"toolSpec": spec}


# ---- how much to think

# Where there are three levels only.
_LEVELS: dict[str | None, str] = {
    "none": "low",
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}


def _thinks(asked: Conversation) -> bool:
    """Whether thinking is asked for."""
    reasoning = asked.reasoning
    return reasoning is not None and reasoning.effort != "none" and reasoning.max_tokens != 0
