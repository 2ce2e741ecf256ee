"""Requests to Gemini's `streamGenerateContent`, of the Gemini API and of Vertex AI: a conversation in its words.

It never knows the answer, and never looks into a picture, a document or a signature.
Facts: Google's API reference and Gen AI SDKs (to 2026-10), requests recorded in Vercel's AI SDK (2026-08).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from infron.catalog.definitions import Provider
from infron.conversation import (
    GEMINI,
    Conversation,
    Media,
    Message,
    Part,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    system_of,
)
from infron.request import Outgoing, Request
from infron.wires import lenient_json
from infron.wires.gemini import own_request
from infron.wires.gemini.addressed import TIERS, addressed
from infron.wires.gemini.client_request import NAME
from infron.wires.gemini.models import Generation, generation_of, thinking_config
from infron.wires.gemini.thinking import UNSIGNED
from infron.wires.json_answer import JSON_ONLY
from infron.wires.json_steps import written
from infron.wires.media import mime_of_data, mime_of_name
from infron.wires.naming import ANY_ID, Names
from infron.wires.request_fields import unsupported
from infron.wires.schemas import for_gemini, rooted
from infron.wires.session import Rules, fit

_encode = msgspec.json.Encoder().encode

# name on the chat wire -> name in `generationConfig`
_CONFIG = {
    "frequency_penalty": "frequencyPenalty",
    "n": "candidateCount",
    "presence_penalty": "presencePenalty",
    "seed": "seed",
    "temperature": "temperature",
    "top_k": "topK",
    "top_p": "topP",
}
_IMAGE_CONFIG = {"aspect_ratio": "aspectRatio", "image_size": "imageSize"}
_PENALTIES = frozenset(("frequency_penalty", "presence_penalty"))
# Fields that Gemini knows and the chat wire does not, under both names that callers use.
_NATIVE = {
    "cachedContent": "cachedContent",
    "cached_content": "cachedContent",
    "labels": "labels",
    "safetySettings": "safetySettings",
    "safety_settings": "safetySettings",
    "store": "store",  # whether Google keeps the request
}
TAKES = frozenset(
    (
        *_CONFIG,
        *_NATIVE,
        "generationConfig",
        "image_config",
        "max_tokens",
        "modalities",
        "reasoning",
        "response_format",
        "service_tier",
        "stop",
        "toolConfig",
        "tool_choice",
        "tools",
    )
)
_USUAL = ("auto", "default", "standard")

_ALL_MEDIA = frozenset(("audio", "document", "image", "video"))

RULES = Rules(
    # Google, reference of FunctionDeclaration: as Vertex AI has it, which takes less than the Gemini API.
    names=Names("A-Za-z0-9_.:-", 64, first="A-Za-z_"),
    ids=ANY_ID,
    results=_ALL_MEDIA,
    made=_ALL_MEDIA,
    thinking=lambda thought: thought.format == GEMINI and bool(thought.data or thought.signature),
    opens="user",
    prefill=False,  # "Please ensure that multiturn requests end with a user role or a function response."
)


def encode_request(request: Request, provider: Provider, provider_model: str, ask_usage: bool) -> Outgoing:
    """The request as Gemini takes it; that it streams is said by the path, and usage comes unasked.

    An own id may be the name alone or its whole path (`models/…`, `tunedModels/…`).
    Raises InvalidRequest and Unsupported, which name the place.
    """
    generation, vertex = generation_of(provider_model), provider.quirks.request.vertex
    if request.api == NAME:
        return own_request.outgoing(request, provider, provider_model)
    conversation, names = fit(request.conversation, RULES)
    tier = conversation.fields.get("service_tier")
    asked = TIERS.get(tier) if isinstance(tier, str) else None
    takes = TAKES - _refused(generation, vertex) - (set() if asked or tier in _USUAL else {"service_tier"})
    if _asks_json(conversation, generation):
        takes -= {"response_format"}
    body = encode(conversation, generation, vertex)
    if asked and not vertex:
        body["serviceTier"] = asked
    wanted = body.get("generationConfig", {}).get("candidateCount")
    sent = addressed(
        written(body, request.size), provider, provider_model, tier=asked if vertex else None, wanted=wanted
    )
    return replace(sent, dropped=conversation.left_out(takes), names=names)


def _leaves_tools(conversation: Conversation, generation: Generation) -> bool:
    """Whether tools that are not to be called give way to JSON."""
    both = conversation.response_format is not None and not generation.json_beside_tools
    return both and conversation.tool_choice == "none"


def _asks_json(conversation: Conversation, generation: Generation) -> bool:
    """Whether JSON can only be asked for, in words: models before Gemini 3 refuse to be held to it beside tools."""
    both = conversation.response_format is not None and bool(conversation.tools)
    return both and not generation.json_beside_tools and conversation.tool_choice != "none"


def _refused(generation: Generation, vertex: bool) -> frozenset[str]:
    refused = {"store"} if vertex else {"labels"}
    if generation.penalties == "no" or (generation.penalties == "vertex" and not vertex):
        refused |= _PENALTIES
    if not generation.several:
        refused.add("n")
    if generation.thinking == "none":
        refused.add("reasoning")
    return frozenset(refused)


def encode(conversation: Conversation, generation: Generation, vertex: bool) -> dict[str, Any]:
    """A conversation as Gemini's request. Raises Unsupported for what it cannot carry, and names the place."""
    fields = conversation.fields
    refused = _refused(generation, vertex)
    body: dict[str, Any] = {"contents": _contents(conversation.messages, generation, vertex)}
    system = [{"text": part.text} for part in system_of(conversation.messages) if part.text]
    wanted = conversation.response_format
    if wanted is not None and _asks_json(conversation, generation):
        shape = (
            "" if wanted.schema is None else f" It must be valid by this JSON Schema: {_encode(wanted.schema).decode()}"
        )
        system.append({"text": f"Unless you call a function: {JSON_ONLY}{shape}"})
    if system:
        # Where there is no such place, or nothing else is said, it is what the user says first.
        if generation.system and body["contents"]:
            body["systemInstruction"] = {"parts": system}
        else:
            body["contents"] = _put_first(system, body["contents"])
    config = _generation_config(conversation, generation, refused)
    given = fields.get("generationConfig")
    if isinstance(given, dict):
        config.update(given)
    if config:
        body["generationConfig"] = config
    _add_tools(conversation, generation, vertex, body)
    for name, own in _NATIVE.items():
        if fields.get(name) is not None and name not in refused:
            body.setdefault(own, fields[name])
    return body


def _put_first(parts: list[dict[str, Any]], contents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if contents and contents[0]["role"] == "user":
        return [{"role": "user", "parts": [*parts, *contents[0]["parts"]]}, *contents[1:]]
    return [{"role": "user", "parts": parts}, *contents]


# ---- how the answer shall be


def _generation_config(conversation: Conversation, generation: Generation, refused: frozenset[str]) -> dict[str, Any]:
    fields = conversation.fields
    config = {own: fields[name] for name, own in _CONFIG.items() if name not in refused and name in fields}
    if config.get("candidateCount") == 1:
        del config["candidateCount"]
    if conversation.max_tokens is not None:
        config["maxOutputTokens"] = conversation.max_tokens
    if conversation.stop:
        config["stopSequences"] = conversation.stop
    wanted = conversation.response_format
    if wanted is not None and not _asks_json(conversation, generation):
        config["responseMimeType"] = "application/json"
        if wanted.schema is not None:
            config["responseJsonSchema"] = for_gemini(wanted.schema)
    modalities = fields.get("modalities")
    if isinstance(modalities, list) and modalities != ["text"]:
        config["responseModalities"] = [str(modality).upper() for modality in modalities]
    image = fields.get("image_config")
    if isinstance(image, dict):
        config["imageConfig"] = {_IMAGE_CONFIG.get(name, name): value for name, value in image.items()}
    thinking = thinking_config(conversation.reasoning, generation) if conversation.reasoning is not None else {}
    if thinking:
        config["thinkingConfig"] = thinking
    return config


# ---- tools

# Tools of Google's own, in the two spellings of its JSON.
_OWN_TOOLS = frozenset(
    (
        "codeExecution",
        "code_execution",
        "computerUse",
        "computer_use",
        "enterpriseWebSearch",
        "enterprise_web_search",
        "fileSearch",
        "file_search",
        "functionDeclarations",
        "googleMaps",
        "googleSearch",
        "googleSearchRetrieval",
        "google_maps",
        "google_search",
        "retrieval",
        "urlContext",
        "url_context",
    )
)


def _add_tools(conversation: Conversation, generation: Generation, vertex: bool, body: dict[str, Any]) -> None:
    if _leaves_tools(conversation, generation):
        return
    functions: list[Tool] = []
    tools: list[dict[str, Any]] = []
    for index, tool in enumerate(conversation.tools):
        if isinstance(tool, Tool):
            functions.append(tool)
        elif _OWN_TOOLS.isdisjoint(tool.raw):
            raise unsupported(f"tools[{index}]", "is neither a function nor a tool of Google's own")
        else:
            tools.append(tool.raw)
    config: dict[str, Any] = {}
    if functions:
        calling = _calling(conversation, functions, generation)
        if calling:
            config["functionCallingConfig"] = calling
        if tools and generation.signed and not vertex:
            config["includeServerSideToolInvocations"] = True  # without it the two cannot be mixed
        tools.append({"functionDeclarations": [_declaration(tool) for tool in functions]})
    if tools:
        body["tools"] = tools
    given = conversation.fields.get("toolConfig")
    if isinstance(given, dict):
        # What streams arguments in pieces is left out with the rest: which function, says `tool_choice`.
        config.update({name: value for name, value in given.items() if name != "functionCallingConfig"})
    if config:
        body["toolConfig"] = config


def _calling(conversation: Conversation, functions: list[Tool], generation: Generation) -> dict[str, Any]:
    choice = conversation.tool_choice
    if choice == "tool":
        return {"mode": "ANY", "allowedFunctionNames": [conversation.tool_name]}
    if choice == "required":  # VALIDATED would let the model answer in words
        return {"mode": "ANY"}
    if choice == "none":
        return {"mode": "NONE"}
    if generation.thinking != "none" and any(tool.strict for tool in functions):
        return {"mode": "VALIDATED"}
    return {"mode": "AUTO"} if choice == "auto" else {}


def _declaration(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    schema = tool.schema
    if schema and not (schema.get("type") == "object" and not schema.get("properties") and "$ref" not in schema):
        function["parametersJsonSchema"] = rooted(schema)
    return function


# ---- what was said


def _contents(messages: Iterable[Message], generation: Generation, vertex: bool) -> list[dict[str, Any]]:
    """Turns that alternate; the results of functions come first in theirs."""
    contents: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        place = f"messages[{index}]"
        if message.role == "system":
            continue
        if message.role == "assistant":
            role, parts = "model", _answer(message.parts, place, generation, vertex)
        else:
            role = "user"
            parts = [own for part in message.parts for own in _said(part, place, generation, vertex)]
        if not parts:
            continue
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": role, "parts": parts})
    for content in contents:
        if content["role"] == "user":
            content["parts"].sort(key=lambda part: "functionResponse" not in part)
        elif generation.signed:
            _sign(content["parts"])
    return contents


def _said(part: Part, place: str, generation: Generation, vertex: bool) -> Iterable[dict[str, Any]]:
    if isinstance(part, ToolResult):
        yield from _result(part, place, generation, vertex)
    elif isinstance(part, Media):
        yield _media(part, place)
    elif isinstance(part, Text):
        if part.text:  # Vertex AI refuses an empty one
            yield {"text": part.text}
    else:
        raise unsupported(place, "holds what only an answer can hold")


def _answer(parts: tuple[Part, ...], place: str, generation: Generation, vertex: bool) -> list[dict[str, Any]]:
    """An earlier answer, in its order.

    A signature that came with no words of its own was on the last piece of what was said. Where it stands before all of
    that, its place is not known: it goes behind the content.
    """
    out: list[dict[str, Any]] = []
    held: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, Thinking):
            mark = part.data or part.signature
            if part.text:
                out.append({"text": part.text, "thought": True, "thoughtSignature": mark})
            else:
                said = any("thought" not in before for before in out)
                (out if said else held).append({"text": "", "thoughtSignature": mark})
        elif isinstance(part, ToolCall):
            out += held
            held = []
            out.append(_call(part, vertex))
        else:
            out.extend(_said(part, place, generation, vertex))
    return [*out, *held]


def _call(call: ToolCall, vertex: bool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": call.name, "args": Raw(call.arguments.encode())}
    if not vertex and call.id:
        function["id"] = call.id
    return {"functionCall": function, **({"thoughtSignature": call.signature} if call.signature else {})}


def _sign(parts: list[dict[str, Any]]) -> None:
    """The first call of an answer must have a signature, those beside it need not: HTTP 400 without."""
    first = next((part for part in parts if "functionCall" in part), None)
    if first is not None:
        first.setdefault("thoughtSignature", UNSIGNED)


def _result(result: ToolResult, place: str, generation: Generation, vertex: bool) -> Iterable[dict[str, Any]]:
    if not result.name:
        raise unsupported(place, "answers a tool call that is not in the history, so that it has no name")
    response: dict[str, Any] = {"name": result.name}
    if not vertex and result.call_id:
        response["id"] = result.call_id
    text = "\n".join(part.text for part in result.parts if isinstance(part, Text))
    response["response"] = _response(text, result.failed)
    media = [_media(part, place) for part in result.parts if isinstance(part, Media)]
    inside = [part for part in media if generation.media_results and "inlineData" in part]
    if inside:
        response["parts"] = inside
    yield {"functionResponse": response}
    yield from (part for part in media if part not in inside)


def _response(text: str, failed: bool) -> Any:
    """An object as it is; anything else under the name that Google gives to an output, or an error.

    A schema is no such object: in `$ref` Google sees a reference of its own.
    """
    value = None if failed else lenient_json.object_in(text)
    if value is None or ("$" in text and _refers(lenient_json.value_of(text.encode()))):
        return {"error" if failed else "output": text}
    return value


def _refers(value: Any) -> bool:
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            if any(name.startswith("$") for name in item):
                return True
            left.extend(item.values())
        elif isinstance(item, list):
            left.extend(item)
    return False


# ---- media

_FILES = "https://generativelanguage.googleapis.com/v1beta/"
# The type must be said. Where nobody did, and the name tells nothing: what is likeliest.
_LIKELIEST = {"audio": "audio/wav", "document": "application/pdf", "image": "image/jpeg", "video": "video/mp4"}


def _media(part: Media, place: str) -> dict[str, Any]:
    if part.text:
        return {"text": part.text}
    mime = (
        mime_of_data(part.data)
        or part.mime
        or mime_of_name(part.name or part.url.partition("?")[0])
        or _LIKELIEST[part.kind]
    )
    if part.data:
        return {"inlineData": {"mimeType": mime, "data": part.data}}
    uri = part.url or part.file_id
    if uri.startswith("files/"):
        uri = _FILES + uri
    if "://" not in uri:
        raise unsupported(place, "names a file that is not kept at Google (files/… or a URI)")
    return {"fileData": {"mimeType": mime, "fileUri": uri}}
