"""JSON Schemas within what a model can be held to.

It never checks a value against a schema, and never changes the one that it is given.

Sources: Anthropic, "Structured outputs", JSON Schema limitations (its SDKs rewrite schemas in the same way); Google's
API reference of `Schema`.
"""

from __future__ import annotations

from typing import Any

import msgspec

NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}  # of a tool, where it must have a schema

# ---- the root of a tool's schema

_COMPOSED = ("allOf", "anyOf", "oneOf")
NOT_AT_THE_ROOT = frozenset((*_COMPOSED, "$ref", "not", "enum", "const", "if", "then", "else"))
_DEEPEST = 8  # references and alternatives inside each other that are followed
_MOST = 1000  # of them in one schema


def rooted(schema: dict[str, Any] | None) -> dict[str, Any]:
    """`schema` with an object at its root, as Anthropic, Bedrock and Google want the arguments of a tool; one that has
    it stays as it is. Of alternatives all properties are kept, and what holds between them becomes words.
    """
    if schema is None:
        return NO_ARGUMENTS
    if schema.get("type") == "object" and not schema.keys() & NOT_AT_THE_ROOT:
        return schema
    properties, required = _merged(schema, schema, 0, [_MOST])
    root = {name: value for name, value in schema.items() if name not in NOT_AT_THE_ROOT}
    root |= {"type": "object", "properties": properties}
    if required:
        root["required"] = required
    lost = {name: schema[name] for name in schema if name in NOT_AT_THE_ROOT and name not in ("allOf", "$ref")}
    if lost:
        before, words = schema.get("description"), msgspec.json.encode(lost).decode()[:2000]
        root["description"] = f"{before}\n\n{words}" if isinstance(before, str) and before else words
    return root


def _merged(schema: Any, whole: dict[str, Any], depth: int, left: list[int]) -> tuple[dict[str, Any], list[str]]:
    """All properties of a schema and its alternatives, and those that each of them requires. `left`: how many more
    schemas are looked into.
    """
    if not isinstance(schema, dict) or depth > _DEEPEST or not left[0]:
        return {}, []
    left[0] -= 1
    given, needed = schema.get("properties"), schema.get("required")
    properties: dict[str, Any] = dict(given) if isinstance(given, dict) else {}
    required: list[str] = [name for name in needed if isinstance(name, str)] if isinstance(needed, list) else []
    parts = [_target(schema.get("$ref"), whole)] if "$ref" in schema else []
    both = [*parts, *(schema["allOf"] if isinstance(schema.get("allOf"), list) else [])]
    for inner, names in (_merged(part, whole, depth + 1, left) for part in both):
        properties |= {name: value for name, value in inner.items() if name not in properties}
        required += [name for name in names if name not in required]
    for kind in ("anyOf", "oneOf"):
        alternatives = schema.get(kind)
        found = (
            [_merged(part, whole, depth + 1, left) for part in alternatives] if isinstance(alternatives, list) else []
        )
        for inner, _ in found:
            for name, value in inner.items():
                known = properties.get(name)
                properties[name] = value if known is None or known == value else {"anyOf": [known, value]}
        everywhere = set.intersection(*(set(names) for _, names in found)) if found else set()
        required += [name for name in sorted(everywhere) if name not in required]
    return properties, required


def _target(reference: Any, whole: dict[str, Any]) -> Any:
    """What a reference inside the schema names."""
    found: Any = whole
    for name in reference.removeprefix("#").strip("/").split("/") if isinstance(reference, str) else ():
        found = found.get(name) if isinstance(found, dict) else None
    return found


# ---- OpenAI


def closed(schema: Any) -> bool:
    """Whether OpenAI holds an answer strictly to this: every property of an object is required, and no further one is
    allowed. Source: OpenAI, "Structured outputs", supported schemas.
    """
    left = [schema]
    while left:
        item = left.pop()
        if isinstance(item, list):
            left.extend(item)
        if not isinstance(item, dict):
            continue
        properties, required = item.get("properties"), item.get("required")
        if isinstance(properties, dict) or item.get("type") == "object":
            names = set(properties) if isinstance(properties, dict) else set()
            listed = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
            if item.get("additionalProperties") is not False or names != listed:
                return False
        for name, value in item.items():
            if name in _MAPS and isinstance(value, dict):
                left.extend(value.values())
            elif name not in ("const", "default", "enum", "examples"):
                left.append(value)
    return isinstance(schema, dict)


# ---- Claude


class StrictBudget:
    """What Claude compiles into one grammar: over any of these limits it refuses the whole request.

    Source: Anthropic's page on structured outputs and what it answers (20 strict tools, 24 optional parameters, 16
    parameters of several types; to 2026-08). Counted over all strict schemas of a request, however deep.
    """

    def __init__(self) -> None:
        self._tools, self._optional, self._unions = 20, 24, 16

    def take(self, schema: dict[str, Any], tools: int = 1) -> bool:
        """Whether a further strict schema still fits; it is counted if so."""
        optional, unions = _cost_of(schema)
        if tools > self._tools or optional > self._optional or unions > self._unions:
            return False
        self._tools, self._optional, self._unions = (
            self._tools - tools,
            self._optional - optional,
            self._unions - unions,
        )
        return True


def _cost_of(schema: Any) -> tuple[int, int]:
    """Optional parameters, and those of several types."""
    if isinstance(schema, list):
        costs = [_cost_of(item) for item in schema]
    elif isinstance(schema, dict):
        properties, required = schema.get("properties"), schema.get("required")
        names = set(properties) if isinstance(properties, dict) else set()
        optional = len(names - set(required if isinstance(required, list) else ()))
        several = isinstance(schema.get("type"), list) or "anyOf" in schema or "oneOf" in schema
        inner = [value for key, value in schema.items() if key not in ("enum", "const", "default", "examples")]
        costs = [(optional, int(several)), *(_cost_of(list(v.values()) if k else v) for k, v in _inside(schema, inner))]
    else:
        return 0, 0
    return sum(cost[0] for cost in costs), sum(cost[1] for cost in costs)


def _inside(schema: dict[str, Any], values: list[Any]) -> list[tuple[bool, Any]]:
    """The schemas in the fields of one, each with whether it is a table of schemas by name."""
    tables = [schema[name] for name in _MAPS if isinstance(schema.get(name), dict)]
    return [(any(value is table for table in tables), value) for value in values if isinstance(value, dict | list)]


# Fields that are passed on as they are, or whose value holds schemas. Everything else goes into the description.
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
