"""Google's `Schema`, a dialect of OpenAPI 3.0, as JSON Schema.

It never checks a value against a schema, and never changes the one that it is given.

Source: Google's API reference of `Schema` (to 2026-10).
"""

from __future__ import annotations

from typing import Any

from infron.wires.gemini.words import camel

_DEEPEST = 64  # a schema inside another; JSON does not come deeper
_NUMBERS = frozenset(("maxItems", "maxLength", "maxProperties", "minItems", "minLength", "minProperties"))
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_OWN = frozenset(("nullable", "propertyOrdering"))  # fields that JSON Schema says otherwise, or not at all
_SAID = {"ref": "$ref", "defs": "$defs"}


def json_schema(schema: Any, depth: int = 0) -> Any:
    """The same in JSON Schema: types in lower case, numbers that are no strings, null as a type."""
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return schema
    given = {camel(name): value for name, value in schema.items()}
    out: dict[str, Any] = {}
    for name, value in given.items():
        if name in _OWN or value is None:
            continue
        if name == "type":
            if value != "TYPE_UNSPECIFIED":
                out["type"] = value.lower() if isinstance(value, str) else value
        elif name in ("properties", "defs", "$defs") and isinstance(value, dict):
            out[_SAID.get(name, name)] = {key: json_schema(inner, depth + 1) for key, inner in value.items()}
        elif name in _LISTS and isinstance(value, list):
            out[name] = [json_schema(inner, depth + 1) for inner in value]
        elif name in ("items", "additionalProperties"):
            out[name] = json_schema(value, depth + 1)
        elif name in _NUMBERS and isinstance(value, str) and value.isascii() and value.isdigit():
            out[name] = int(value)
        elif name == "example":
            out["examples"] = [value]
        else:
            out[_SAID.get(name, name)] = value
    return _nullable(out) if given.get("nullable") is True else out


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    if isinstance(kind, str) and kind != "null":
        schema["type"] = [kind, "null"]
    elif kind is None and isinstance(schema.get("anyOf"), list):
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]
    return schema
