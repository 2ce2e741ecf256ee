"""A request of a client of Gemini's API, as Google itself takes it: byte for byte, but for what it would refuse.

It never turns the request into a conversation: what nobody here knows goes on as it came. What other models thought
stays out; a call that another model made, or whose signature was lost, is marked as Google documents it; Vertex AI
knows no ids of calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from infron.catalog.definitions import Provider
from infron.request import Outgoing, Request
from infron.wires.gemini.addressed import TIERS, addressed
from infron.wires.gemini.client_request import generation_config
from infron.wires.gemini.models import generation_of
from infron.wires.gemini.thinking import SEALED, UNSIGNED, is_sealed
from infron.wires.gemini.words import camel
from infron.wires.json_guard import fields_of, items_of
from infron.wires.json_steps import written
from infron.wires.lenient_json import dicts_in
from infron.wires.media import mime_of_data
from infron.wires.request_fields import arguments_of
from infron.wires.schemas import rooted
from infron.wires.session import as_object

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_NULL = Raw(b"null")
_CALLS = ("functionCall", "functionResponse")


def outgoing(request: Request, provider: Provider, provider_model: str) -> Outgoing:
    """What to send. Raises InvalidRequest where `generationConfig` is no object."""
    generation, vertex = generation_of(provider_model), provider.quirks.request.vertex
    lost: set[str] = set()
    body: dict[str, Any] = {name: raw for name, raw in request.fields.items() if name != "model"}
    contents = body["contents"]
    seen = bytes(memoryview(contents))
    calls = b"functionCall" in seen or b"function_call" in seen
    media = b"inlineData" in seen or b"inline_data" in seen
    if media or calls or SEALED in seen:
        fitted = _contents(contents, lost, UNSIGNED if generation.signed else "", vertex)
        body["contents"] = list(fitted)
    if "tools" in body and (tools := _rooted(body["tools"])) is not None:
        body["tools"] = tools
    tier = TIERS.get(request.service_tier or "") if vertex else None
    if vertex:  # a header says it there
        body = {name: raw for name, raw in body.items() if camel(name) != "serviceTier"}
    wanted = generation_config(request.fields)[1].get("candidateCount")
    data = written(body, request.size)
    return replace(addressed(data, provider, provider_model, tier=tier, wanted=wanted), dropped=tuple(sorted(lost)))


def _rooted(tools: Raw) -> Any:
    """The tools with an object at the root of each JSON Schema of arguments; None where it is there."""
    seen = bytes(memoryview(tools))
    if b"JsonSchema" not in seen and b"json_schema" not in seen:
        return None
    listed, changed = _decode(tools), False
    for tool in dicts_in({"tools": listed}, "tools"):
        for name in [own for own in tool if camel(own) == "functionDeclarations"]:
            for function in dicts_in(tool, name):
                for own in [own for own in function if camel(own) == "parametersJsonSchema"]:
                    schema = function[own]
                    if isinstance(schema, dict) and (whole := rooted(schema)) is not schema:
                        function[own], changed = whole, True
    return listed if changed else None


def _contents(contents: Raw, lost: set[str], unsigned: str, vertex: bool) -> Iterator[Any]:
    """The contents; those that need no change byte for byte. `unsigned`: "" where calls need no signature."""
    items = items_of(contents) if bytes(memoryview(contents)[:1]) == b"[" else [contents]
    due = bool(unsigned)  # the next call is the first of its answer
    for item in items:
        if not _is_object(item):
            yield item
            continue
        content = fields_of(item)
        parts = content.get("parts", _NULL)
        model = content.get("role") == Raw(b'"model"')
        if not model:
            due = bool(unsigned)
        if bytes(memoryview(parts)[:1]) != b"[":
            yield item
            continue
        told, changed = [], False
        for raw in items_of(parts):
            part = fields_of(raw) if _is_object(raw) else {}
            kinds = {camel(name): name for name in part}
            fitted = _relabelled(_unsealed(part, kinds, lost), kinds)
            if "functionCall" in kinds:
                fitted = _with_arguments(fitted, kinds["functionCall"])
            if vertex:
                fitted = _without_id(fitted, kinds)
            if model and "functionCall" in kinds and due:
                due = False
                if not any(camel(name) == "thoughtSignature" for name in fitted):
                    fitted = {**fitted, "thoughtSignature": unsigned}
            changed = changed or fitted is not part
            if fitted is part or fitted:  # a part that held nothing else is left out
                told.append(raw if fitted is part else fitted)
        if not changed:
            yield item
        elif told:
            yield {**content, "parts": told}


def _is_object(raw: Raw) -> bool:
    return bytes(memoryview(raw)[:1]) == b"{"


def _unsealed(part: dict[str, Any], kinds: dict[str, str], lost: set[str]) -> dict[str, Any]:
    """The part without what another model thought; nothing where it held nothing else."""
    name = kinds.get("thoughtSignature", "")
    signature = _decode(part[name]) if name else None
    if not isinstance(signature, str) or not is_sealed(signature):
        return part
    lost.add("contents.thoughtSignature")
    rest = {own: raw for own, raw in part.items() if own != name}
    return {} if rest == {"text": Raw(b'""')} else rest


def _with_arguments(part: dict[str, Any], name: str) -> dict[str, Any]:
    """A call whose arguments are an object: what a model wrote wrongly, and its client gave back, is wrapped in one."""
    raw = part.get(name, _NULL)
    call = fields_of(raw) if _is_object(raw) else {}
    given = call.get("args", _NULL)
    if not call or "args" not in call or _is_object(given):
        return part
    told = {**call, "args": Raw(as_object(arguments_of(_decode(given))).encode())}
    return {**part, name: Raw(_encode(told))}


def _relabelled(part: dict[str, Any], kinds: dict[str, str]) -> dict[str, Any]:
    """The part with an image called what its bytes show."""
    name = kinds.get("inlineData", "")
    if not _is_object(part.get(name, _NULL)):
        return part
    blob = fields_of(part[name])
    labels = {camel(own): own for own in blob}
    data, label = blob.get("data", _NULL), labels.get("mimeType", "mimeType")
    shown = mime_of_data(bytes(memoryview(data)[1:25]).decode("latin-1").translate(_STANDARD))
    if not shown.startswith("image/") or blob.get(label) == Raw(_encode(shown)):
        return part
    return {**part, name: {**blob, label: shown}}


_STANDARD = str.maketrans("-_", "+/")


def _without_id(part: dict[str, Any], kinds: dict[str, str]) -> dict[str, Any]:
    for kind in _CALLS:
        name = kinds.get(kind, "")
        raw = part.get(name, _NULL)
        if _is_object(raw) and "id" in (inner := fields_of(raw)):
            return {**part, name: {own: value for own, value in inner.items() if own != "id"}}
    return part
