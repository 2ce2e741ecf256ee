"""A client's request on Gemini's API (`generateContent`, `streamGenerateContent`) as our own.

It never knows which provider will take it. Both spellings of Google's JSON are read, `systemInstruction` and
`system_instruction`. What is kept at Google (`cachedContent`) cannot be told to anybody else, and is refused there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from infron.conversation import Conversation, NativeTool, Reasoning, ResponseFormat, Tool
from infron.request import NO_TARGET, Request, Target
from infron.wires import lenient_json
from infron.wires.body import read
from infron.wires.errors import Headers
from infron.wires.gemini.contents import messages_of, system_messages
from infron.wires.gemini.schema import json_schema
from infron.wires.gemini.words import camel, spelt
from infron.wires.request_fields import (
    count_of,
    decoded,
    object_of,
    objects_of,
    string_of,
    strings_of,
    unsupported,
    wrong,
)
from infron.wires.schemas import closed

NAME = "gemini"
WHOLE, STREAMED = "generateContent", "streamGenerateContent"
# Google's libraries for Python ask under /v1 where they are given an address, the others under /v1beta.
PATHS = tuple(f"/{version}/models/{{model:path}}:{how}" for version in ("v1beta", "v1") for how in (WHOLE, STREAMED))
NEAR = ("/v1beta",)
EVENTS, ARRAY = "sse", "array"  # forms of a stream

Values = dict[str, Any]

_NULL = Raw(b"null")
_TIERS = {"flex": "flex", "priority": "priority", "standard": "default"}


def parse(body: bytes, headers: Headers, target: Target = NO_TARGET) -> Request:
    """The request in a body that was sent to `target`, which names the model and how it is to be answered; else the
    body does. Raises InvalidRequest that names the field. `headers`: none matters.
    """
    request = read(body, NAME, conversation_of, holds="contents", model=bare(target.params.get("model", "")))
    streams = target.path.endswith(f":{STREAMED}")
    return replace(
        request,
        model=bare(request.model),
        stream=streams,
        form=ARRAY if streams and target.query.get("alt") != "sse" else EVENTS,
        include_usage=True,
        service_tier=_tier(request.fields),
    )


def parse_counted(body: bytes, target: Target) -> Request:
    """The request whose tokens are to be counted: as it would be sent, or what it says alone. Raises InvalidRequest."""
    root = lenient_json.value_of(body)
    whole = spelt(root).get("generateContentRequest") if isinstance(root, dict) else None
    return parse(msgspec.json.encode(whole) if isinstance(whole, dict) else body, [], target)


def bare(model: str) -> str:
    """A model's id without the name of Google's collection, which some libraries put before it."""
    return model.strip("/").removeprefix("models/")


def _tier(fields: Mapping[str, Raw]) -> str | None:
    raw = fields.get("serviceTier") or fields.get("service_tier") or _NULL
    tier = msgspec.json.decode(raw)
    if not isinstance(tier, str):
        return None
    name = tier.lower().removeprefix("service_tier_")
    return _TIERS.get(name, name)


def generation_config(fields: Mapping[str, Raw]) -> tuple[str, Values]:
    """(the name that the caller gave it, its fields) of `generationConfig`. Raises InvalidRequest."""
    name = "generation_config" if "generation_config" in fields else "generationConfig"
    raw = fields.get(name, _NULL)
    return name, {} if raw == _NULL else spelt(object_of(decoded(raw, name), name))


def conversation_of(fields: Mapping[str, Raw]) -> Conversation:
    """The conversation in the root fields of a request. Raises InvalidRequest that names the place, Unsupported."""
    root, config = generation_config(fields)
    values = {camel(name): decoded(raw, name) for name, raw in fields.items() if raw != _NULL}
    named = {camel(name): name for name in fields}
    if values.get("cachedContent"):
        raise unsupported("cachedContent", "is kept at Google, whose answer you do not ask for: send what it holds")
    lost: set[str] = set()
    messages = messages_of(values.get("contents"), "contents", lost)
    if "systemInstruction" in values:
        before = system_messages(values["systemInstruction"], "systemInstruction", lost)
        messages = (message for group in (before, messages) for message in group)
    tools = tuple(_tools(values.get("tools")))
    choice, name, allowed = _choice(values.get("toolConfig"))
    if allowed:
        tools = tuple(tool for tool in tools if not isinstance(tool, Tool) or tool.name in allowed)
    asked: dict[str, tuple[str, ...]] = {
        own: (named[own],) for own in ("safetySettings", "labels", "store") if own in values
    }
    if "serviceTier" in values:
        asked["service_tier"] = (named["serviceTier"],)
    if tools:
        asked["tools"] = (named["tools"],)
    if choice not in (None, "auto"):
        asked["tool_choice"] = (named["toolConfig"],)
    steering = _Steering(root, config, asked)
    return Conversation(
        messages=tuple(messages),
        tools=tools,
        tool_choice=choice,  # type: ignore[arg-type]
        tool_name=name,
        max_tokens=steering.max_tokens,
        stop=steering.stop,
        response_format=steering.format,
        reasoning=steering.reasoning,
        fields=steering.fields,
        asked=asked,
        lost=tuple(sorted(lost)),
    )


# ---- how the answer shall be

# Fields of `generationConfig` -> what the chat API calls them.
_FIELDS = {
    "candidateCount": "n",
    "frequencyPenalty": "frequency_penalty",
    "presencePenalty": "presence_penalty",
    "seed": "seed",
    "temperature": "temperature",
    "topK": "top_k",
    "topP": "top_p",
}
_IMAGE = {"aspectRatio": "aspect_ratio", "imageSize": "image_size"}
_SCHEMAS = ("responseJsonSchema", "_responseJsonSchema", "responseSchema")
_JSON = "application/json"


class _Steering:
    """What `generationConfig` says, under neutral names; `asked` gets each with the caller's own."""

    def __init__(self, root: str, config: Values, asked: dict[str, tuple[str, ...]]) -> None:
        self._root, self._asked = root, asked
        self.fields: Values = {}
        self.max_tokens = count_of(config, "maxOutputTokens", 1, f"{root}.")
        self.stop = tuple(strings_of(config.pop("stopSequences", None), f"{root}.stopSequences"))
        self.format = self._format(config)
        self.reasoning = self._reasoning(config.pop("thinkingConfig", None))
        if self.max_tokens is not None:
            self._ask("max_tokens", "maxOutputTokens")
        if self.stop:
            self._ask("stop", "stopSequences")
        self._modalities(config)
        for name, value in config.items():
            neutral = _FIELDS.get(name)
            if neutral == "n" and value == 1:
                continue
            if neutral is not None:
                self.fields[neutral] = value
            self._ask(neutral or f"gemini {name}", name)

    def _ask(self, neutral: str, own: str) -> None:
        self._asked[neutral] = (f"{self._root}.{own}",)

    def _format(self, config: Values) -> ResponseFormat | None:
        mime = config.pop("responseMimeType", None)
        given = [(name, value) for name in _SCHEMAS if (value := config.pop(name, None)) is not None]
        if mime not in (None, "text/plain", _JSON):
            self._ask("gemini responseMimeType", "responseMimeType")
            return None
        if given:
            name, schema = given[0]
            place = f"{self._root}.{name}"
            self._ask("response_format", name)
            told = object_of(schema, place)
            told = json_schema(told) if name == "responseSchema" else told
            return ResponseFormat(kind="schema", name="answer", schema=told, strict=closed(told) or None)
        if mime != _JSON:
            return None
        self._ask("response_format", "responseMimeType")
        return ResponseFormat(kind="json")

    def _reasoning(self, value: Any) -> Reasoning | None:
        """How much to think. Whether thinking is told is for the encoder, which reads the same."""
        if value is None:
            return None
        place = f"{self._root}.thinkingConfig"
        thinking = spelt(object_of(value, place))
        budget, level = thinking.get("thinkingBudget"), str(thinking.get("thinkingLevel") or "").lower()
        if budget is not None and (type(budget) is not int or budget < -1):
            raise wrong(f"{place}.thinkingBudget", "a whole number, or -1")
        told = thinking.get("includeThoughts") is True
        if not told and budget in (None, -1) and level not in _EFFORTS:
            return None
        self._ask("reasoning", "thinkingConfig")
        if budget == 0:
            return Reasoning(effort="none")
        effort: Any = level if level in _EFFORTS else None
        return Reasoning(effort=effort, max_tokens=budget if budget and budget > 0 else None)

    def _modalities(self, config: Values) -> None:
        wanted = [word.lower() for word in strings_of(config.pop("responseModalities", None), "responseModalities")]
        if wanted and wanted != ["text"]:
            self.fields["modalities"] = wanted
            self._ask("modalities", "responseModalities")
        image = config.pop("imageConfig", None)
        if image is not None:
            given = spelt(object_of(image, f"{self._root}.imageConfig"))
            self.fields["image_config"] = {_IMAGE.get(name, name): value for name, value in given.items()}
            self._ask("image_config", "imageConfig")


_EFFORTS = ("minimal", "low", "medium", "high")


# ---- tools


def _tools(value: Any) -> Iterator[Tool | NativeTool]:
    """The functions, and each tool of Google's own by itself."""
    for place, item in objects_of([value] if isinstance(value, dict) else value, "tools"):
        given = spelt(item)
        for inner, function in objects_of(given.pop("functionDeclarations", None), f"{place}.functionDeclarations"):
            yield _function(spelt(function), inner)
        for name, own in given.items():
            yield NativeTool({name: own})


def _function(given: Values, place: str) -> Tool:
    schema = given.get("parametersJsonSchema")
    if schema is None and (parameters := given.get("parameters")) is not None:
        schema = json_schema(object_of(parameters, f"{place}.parameters"))
    return Tool(
        name=string_of(given, "name", place, required=True),
        description=string_of(given, "description", place),
        schema=None if schema is None else object_of(schema, f"{place}.parametersJsonSchema"),
    )


_CHOICES = {"ANY": "required", "AUTO": "auto", "MODE_UNSPECIFIED": None, "NONE": "none", "VALIDATED": "auto"}


def _choice(value: Any) -> tuple[str | None, str, frozenset[str]]:
    """(what the model shall do about functions, which one it must call, which ones it may, or any)."""
    if value is None:
        return None, "", frozenset()
    place = "toolConfig.functionCallingConfig"
    calling = spelt(object_of(spelt(object_of(value, "toolConfig")).get("functionCallingConfig") or {}, place))
    mode = str(calling.get("mode") or "MODE_UNSPECIFIED").upper()
    if mode not in _CHOICES:
        raise wrong(f"{place}.mode", "AUTO, ANY, NONE or VALIDATED")
    allowed = strings_of(calling.get("allowedFunctionNames"), f"{place}.allowedFunctionNames")
    if mode == "ANY" and len(allowed) == 1:
        return "tool", allowed[0], frozenset()
    return _CHOICES[mode], "", frozenset(allowed) if mode in ("ANY", "VALIDATED") else frozenset()
