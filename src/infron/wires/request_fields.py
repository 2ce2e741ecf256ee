"""Fields of a caller's request, each read with the place that an error names.

It never knows which wire the request is of, nor what a field means; only marks of the cache are the same on all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from infron.conversation import Cache
from infron.errors import InvalidRequest, Unsupported
from infron.wires import lenient_json
from infron.wires.json_steps import value_in

_encode = msgspec.json.Encoder().encode


def wrong(place: str, wanted: str) -> InvalidRequest:
    return InvalidRequest(f"`{place}` must be {wanted}.", param=place)


def unsupported(place: str, why: str) -> Unsupported:
    return Unsupported(f"`{place}` {why}.", param=place)


def decoded(raw: Raw, name: str) -> Any:
    try:
        return value_in(raw)
    except lenient_json.BROKEN:
        raise InvalidRequest(f"`{name}` is not valid JSON.", param=name) from None


def list_of(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise wrong(place, "an array")
    return value


def object_of(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong(place, "an object")
    return value


def arguments_of(value: Any) -> str:
    """The arguments of a call, in an API in which they are an object. What a model wrote wrongly, and a client gave
    back as it was, is no reason to refuse a session: it is told to hosts as they take it.
    """
    if value is None:
        return "{}"
    return value if isinstance(value, str) else _encode(value).decode()


def objects_of(value: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of an array, each with its place; null is an empty one."""
    for index, item in enumerate([] if value is None else list_of(value, place)):
        inner = f"{place}[{index}]"
        yield inner, object_of(item, inner)


def strings_of(value: Any, place: str) -> list[str]:
    """An array of strings; null is an empty one."""
    items = [] if value is None else list_of(value, place)
    if not all(isinstance(item, str) for item in items):
        raise wrong(place, "an array of strings")
    return items


def string_of(values: Mapping[str, Any], name: str, place: str, required: bool = False) -> str:
    """A string field; null is absent, and absent is "" unless it is `required`."""
    value = values.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str):
        raise wrong(f"{place}.{name}", "a string")
    return value


def count_of(values: dict[str, Any], name: str, least: int, place: str = "") -> int | None:
    """A whole number, taken out of the fields."""
    value = values.pop(name, None)
    if value is None:
        return None
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole or value < least:
        raise wrong(place + name, f"a whole number of at least {least}")
    return int(value)


# ---- marks of the cache


def cache_of(values: Mapping[str, Any], place: str) -> Cache:
    value = values.get("cache_control")
    if value is None:
        return ""
    place += ".cache_control"
    control = object_of(value, place)
    if control.get("type") != "ephemeral":
        raise wrong(f"{place}.type", "ephemeral")
    ttl: Cache = control.get("ttl") or "5m"
    if ttl not in ("5m", "1h"):
        raise wrong(f"{place}.ttl", "5m or 1h")
    return ttl


def cache_control(cache: Cache) -> dict[str, Any]:
    """The field `cache_control`, or none."""
    if not cache:
        return {}
    return {"cache_control": {"type": "ephemeral"} if cache == "5m" else {"type": "ephemeral", "ttl": cache}}
