"""The JSON Schema that Claude can be held to: what it cannot becomes words in the description.

It never checks a value against a schema, and never changes the one that it is given.

Source: Anthropic, "Structured outputs", JSON Schema limitations; its SDKs rewrite schemas in the same way.
"""

from __future__ import annotations

from typing import Any

import msgspec

# Members that are passed on as they are, or whose value holds schemas. Everything else goes into the description.
_PLAIN = frozenset(("$ref", "const", "default", "description", "enum", "required", "title", "type"))
_MAPS = frozenset(("$defs", "definitions", "properties"))
_LISTS = {"allOf": "allOf", "anyOf": "anyOf", "oneOf": "anyOf"}
_FORMATS = frozenset(
    ("date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid")
)  # fmt: skip


def constrained(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` within what the model is held to: objects are closed, limits become words."""
    result: dict[str, Any] = {}
    words: dict[str, Any] = {}
    for name, value in schema.items():
        if name in _MAPS and isinstance(value, dict):
            result[name] = {key: _inner(inner) for key, inner in value.items()}
        elif name in _LISTS and isinstance(value, list):
            result[_LISTS[name]] = [_inner(inner) for inner in value]
        elif name == "items":
            result[name] = _inner(value)
        elif name in _PLAIN or (name == "format" and value in _FORMATS) or (name == "minItems" and value in (0, 1)):
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
    return constrained(schema) if isinstance(schema, dict) else schema
