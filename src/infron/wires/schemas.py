"""JSON Schemas within what a model can be held to.

It never checks a value against a schema, and never changes the one that it is given.

Sources: Anthropic, "Structured outputs", JSON Schema limitations (its SDKs rewrite schemas in the same way); Google's
API reference of `Schema`.
"""

from __future__ import annotations

from typing import Any

import msgspec

NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}  # of a tool, where it must have a schema

# ---- Claude

# Members that are passed on as they are, or whose value holds schemas. Everything else goes into the description.
_PLAIN = frozenset(("$ref", "const", "default", "description", "enum", "required", "title", "type"))
_MAPS = frozenset(("$defs", "definitions", "properties"))
_LISTS = {"allOf": "allOf", "anyOf": "anyOf", "oneOf": "anyOf"}
_ONLY: dict[str, tuple[Any, ...]] = {  # that are passed on with these values alone
    "format": ("date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"),
    "minItems": (0, 1),
}


def for_claude(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` within what Claude is held to: objects are closed, limits become words in the description."""
    result: dict[str, Any] = {}
    words: dict[str, Any] = {}
    for name, value in schema.items():
        if name in _MAPS and isinstance(value, dict):
            result[name] = {key: _inner(inner) for key, inner in value.items()}
        elif name in _LISTS and isinstance(value, list):
            result[_LISTS[name]] = [_inner(inner) for inner in value]
        elif name == "items":
            result[name] = _inner(value)
        elif name in _PLAIN or value in _ONLY.get(name, ()):
            result[name] = value
        elif name not in ("$schema", "$id", "additionalProperties", "strict"):
            words[name] = value
    kinds = schema.get("type")
    if kinds == "object" or (isinstance(kinds, list) and "object" in kinds) or "properties" in schema:
        result["additionalProperties"] = False
    if words:
        said = ", ".join(f"{name}: {msgspec.json.encode(value).decode()}" for name, value in words.items())
        before = schema.get("description")
        result["description"] = f"{before}\n\n{{{said}}}" if isinstance(before, str) and before else f"{{{said}}}"
    return result


def _inner(schema: Any) -> Any:
    return for_claude(schema) if isinstance(schema, dict) else schema


# ---- Gemini

_NAMED = ("properties", "$defs", "definitions", "patternProperties")  # name -> schema
_INNER = ("items", "additionalProperties", "not", "anyOf", "oneOf", "allOf", "prefixItems")


def for_gemini(schema: Any) -> Any:
    """`schema` without `const`, which Gemini does not know: it is an `enum` of one."""
    if isinstance(schema, list):
        return [for_gemini(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "const":
            out.setdefault("enum", [value])
        elif name in _NAMED and isinstance(value, dict):
            out[name] = {inner: for_gemini(item) for inner, item in value.items()}
        else:
            out[name] = for_gemini(value) if name in _INNER else value
    return out
