"""A client's body: its JSON, read strictly, the fields that are the gateway's own, and the root fields that go on.

It never knows which client API it is of, but for the name of the field that holds what is said.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct, ValidationError, convert

from infron.conversation import Conversation
from infron.errors import InvalidRequest
from infron.request import NO_WISHES, Preferences, Request
from infron.wires.json_guard import (
    LARGE,
    fields_of,
    is_light,
    items_of,
    large_fields,
    may_hold_halves,
    strict,
    without_halves,
)
from infron.wires.lenient_json import BOM

# Fields of the gateway itself: consumed by name, never sent to a provider.
GATEWAY_FIELDS = frozenset(
    (
        "debug",
        "fallback_models",
        "fallback_rules",
        "models",
        "plugins",
        "preset",
        "provider",
        "route",
        "session_id",
        "stop_server_tools_when",
        "trace",
        "transforms",
        "usage",
    )
)

_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode


class _Message(Struct, gc=False):
    role: str
    content: str | list[Any] | None = None


class _Body(Struct, gc=False):
    """The root fields that the gateway itself looks at."""

    model: str
    messages: list[_Message] | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None
    provider: dict[str, Any] | None = None
    models: list[str] | None = None
    fallback_models: list[str] | None = None
    tools: list[Any] | None = None
    user: str | None = None
    session_id: str | None = None
    service_tier: str | None = None


_NOTHING: dict[str, Any] = {}
_NULL = Raw(b"null")


def read(
    body: bytes,
    api: str,
    conversation_of: Callable[[Mapping[str, Raw]], Conversation],
    *,
    holds: str = "messages",
    numbers: bool = False,
    model: str = "",
) -> Request:
    """The request in a body of this API. Raises InvalidRequest that names the field or the place in the JSON.

    `holds`: the field that must be there, for it holds what is said. `numbers`: that may be given in tokens.
    `model`: where another place names it.
    Its fields are the root fields byte for byte, but for halves of surrogate pairs, which no provider can be sent:
    they are U+FFFD, and `repaired` names the fields that held some (`messages.surrogates`).
    """
    if body.startswith(BOM):  # which some editors and shells put before all that they write
        body = body[len(BOM) :]
    named = {"model": model} if model else _NOTHING
    read_root = _read_small if is_light(body) else _read_large
    fields, given, repaired = read_root(body, holds, numbers, named)
    if _NULL in fields.values():  # the same as absent, but hosts refuse it
        fields = {name: raw for name, raw in fields.items() if raw != _NULL}
    if not GATEWAY_FIELDS.isdisjoint(fields):
        for name in fields.keys() & GATEWAY_FIELDS:
            del fields[name]
    return Request(
        api=api,
        model=given.model,
        stream=given.stream or False,
        include_usage=_include_usage(given.stream_options, given.usage),
        fields=fields,
        conversation_of=conversation_of,
        size=len(body),
        repaired=tuple([f"{name}.surrogates" for name in repaired]) if repaired else (),
        models=tuple(given.models or given.fallback_models or ()),
        preferences=_preferences(given.provider) if given.provider else NO_WISHES,
        user=given.user,
        session_id=given.session_id,
        service_tier=given.service_tier,
    )


def _include_usage(options: dict[str, Any] | None, usage: dict[str, Any] | None) -> bool | None:
    """What OpenAI's field and OpenRouter's say: whichever asks is heard, then whichever declines."""
    if options is None and usage is None:
        return None
    said = ((options or _NOTHING).get("include_usage"), (usage or _NOTHING).get("include"))
    answers = [value for value in said if value.__class__ is bool]
    return any(answers) if answers else None


def _read_small(
    body: bytes, holds: str, numbers: bool, named: dict[str, str]
) -> tuple[dict[str, Raw], _Body, Iterable[str]]:
    """The root fields, what the gateway looks at of them, and the names of those that were repaired."""
    values = strict(body)
    if not isinstance(values, dict):
        raise InvalidRequest("The body must be a JSON object.")
    repaired: tuple[str, ...] = ()
    if may_hold_halves(body) and (clean := _without_surrogates(values)):
        body, repaired = clean
        values = msgspec.json.decode(body)
    return _fields(body), _checked({**values, **named} if named else values, holds), repaired


def _read_large(
    body: bytes, holds: str, numbers: bool, named: dict[str, str]
) -> tuple[dict[str, Raw], _Body, Iterable[str]]:
    """The same of a body of which nothing large is to be built: its large fields are looked at from outside."""
    body, repaired = without_halves(body, numbers=numbers)
    fields = large_fields(body, numbers=numbers)
    looked_at: dict[str, Any] = {}
    for name in {*_KINDS, holds, "models", "fallback_models"}:
        if (raw := fields.get(name)) is None:
            continue
        size = len(memoryview(raw))
        kind = bytes(memoryview(raw)[:1])
        if name in (holds, "tools") and kind == b"[":
            looked_at[name] = [_ANY_MESSAGE]
        elif name == holds and kind == b'"':
            looked_at[name] = "any text"
        elif size > LARGE:
            raise InvalidRequest(f"`{name}` is too large: {size:,} bytes.", param=name)
        else:
            looked_at[name] = msgspec.json.decode(raw)
    given = _checked({**looked_at, **named}, holds)
    if holds == "messages":
        _check_large_messages(fields[holds])
    return fields, given, repaired


_ANY_MESSAGE = {"role": "user"}


def _checked(values: dict[str, Any], holds: str) -> _Body:
    try:
        given = convert(values, _Body)
    except ValidationError as error:
        _explain(values, holds)
        raise InvalidRequest(f"The body is not a request of this API: {error}.") from None
    if not given.model or not values.get(holds):
        _explain(values, holds)
    return given


_KINDS: dict[str, type] = {
    "model": str,
    "messages": list,
    "tools": list,
    "stream": bool,
    "stream_options": dict,
    "usage": dict,
    "provider": dict,
    "user": str,
    "session_id": str,
    "service_tier": str,
}
_NAMES = {str: "a string", list: "an array", dict: "an object", bool: "true or false"}


def _explain(values: dict[str, Any], holds: str) -> None:
    """Raise InvalidRequest for the first field that is not what it must be."""
    for name, kind in _KINDS.items():
        value = values.get(name)
        if value is not None and not isinstance(value, kind):
            raise InvalidRequest(f"`{name}` must be {_NAMES[kind]}.", param=name)
        if value is None and name in ("model", holds):
            raise InvalidRequest(f"`{name}` is missing.", param=name)
    if not values["model"]:
        raise InvalidRequest("`model` is empty; name a model, for example one of GET /v1/models.", param="model")
    if holds == "messages":
        _check_messages(values["messages"])
    elif not values.get(holds):
        raise InvalidRequest(f"`{holds}` is missing or empty.", param=holds)
    _strings(values, "models")
    _strings(values, "fallback_models")


def _without_surrogates(values: dict[str, Any]) -> tuple[bytes, tuple[str, ...]] | None:
    """The body with U+FFFD for each half of a surrogate pair, and the root fields that held some; None without any."""
    clean: dict[str, Raw] = {}
    repaired: list[str] = []
    for name, value in values.items():
        text = json.dumps(value, ensure_ascii=False)
        kept, told = _replaced(name), _replaced(text)
        clean[kept] = Raw(told.encode())
        if (kept, told) != (name, text):
            repaired.append(kept)
    return (_encode(clean), tuple(repaired)) if repaired else None


def _replaced(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _strings(values: dict[str, Any], name: str, inside: str = "") -> tuple[str, ...]:
    value = values.get(name)
    if not value:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidRequest(f"`{inside}{name}` must be an array of strings.", param=inside + name)
    return tuple(value)


def _preferences(values: dict[str, Any]) -> Preferences:
    return Preferences(
        order=_strings(values, "order", "provider."),
        only=_strings(values, "only", "provider."),
        ignore=_strings(values, "ignore", "provider."),
        allow_fallbacks=values.get("allow_fallbacks") is not False,
        require_parameters=values.get("require_parameters") is True,
    )


def _check_messages(messages: list[Any], first: int = 0) -> None:
    if not messages:
        raise InvalidRequest("`messages` is empty; send at least one message.", param="messages")
    for index, message in enumerate(messages, first):
        place = f"messages[{index}]"
        if not isinstance(message, dict):
            raise InvalidRequest(f"`{place}` must be an object.", param=place)
        if not isinstance(message.get("role"), str):
            raise InvalidRequest(f"`{place}.role` must be a string such as user.", param=f"{place}.role")
        if not isinstance(message.get("content"), str | list | None):
            raise InvalidRequest(f"`{place}.content` must be a string or an array of parts.", param=f"{place}.content")


def _check_large_messages(messages: Raw) -> None:
    items = items_of(messages)
    if not items:
        _check_messages([])
    for index, item in enumerate(items):
        message: Any = None
        if bytes(memoryview(item)[:1]) == b"{":
            fields = fields_of(item)
            message = {name: _stand_in(fields[name]) for name in ("role", "content") if name in fields}
        _check_messages([message], index)


def _stand_in(value: Raw) -> Any:
    """A value of the same kind."""
    return {b'"': "", b"[": [], b"{": {}, b"n": None}.get(bytes(memoryview(value)[:1]), 0)
