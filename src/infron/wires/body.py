"""A client's body: its JSON, read strictly, the fields that are the gateway's own, and the root members that go on.

It never knows which client API it is of, but that its conversation stands in `messages`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from infron.conversation import Conversation
from infron.errors import InvalidRequest
from infron.request import NO_WISHES, Preferences, Request

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
MAX_DEPTH = 200  # of arrays and objects inside each other
_TOO_DEEP = f"The body is nested too deeply: more than {MAX_DEPTH} arrays and objects."

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_members = msgspec.json.Decoder(dict[str, Raw]).decode


class _Message(Struct, gc=False):
    role: str
    content: str | list[Any] | None = None


class _Body(Struct, gc=False):
    """The root members that the gateway itself looks at."""

    model: str
    messages: list[_Message]
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


_body = msgspec.json.Decoder(_Body).decode
_NOTHING: dict[str, Any] = {}


def read(body: bytes, api: str, conversation_of: Callable[[Mapping[str, Raw]], Conversation]) -> Request:
    """The request in a body of this API. Raises InvalidRequest that names the field or the place in the JSON.

    Its fields are the root members byte for byte, but for halves of surrogate pairs, which no provider can be sent:
    they are U+FFFD, and `mended` names the members that held some (`messages.surrogates`).
    """
    values = _json_object(body)
    mended: tuple[str, ...] = ()
    if b"\\u" in body and (clean := _without_surrogates(values)):
        body, mended = clean
    try:
        given = _body(body)
    except msgspec.DecodeError as error:
        _explain(values)
        raise InvalidRequest(f"The body is not a request of this API: {error}.") from None
    if not given.model or not given.messages:
        _explain(values)
    fields = _members(body)
    for name in fields.keys() & GATEWAY_FIELDS:
        del fields[name]
    options, usage = given.stream_options or _NOTHING, given.usage or _NOTHING
    return Request(
        api=api,
        model=given.model,
        stream=given.stream or False,
        include_usage=options.get("include_usage") is True or usage.get("include") is True,
        fields=fields,
        conversation_of=conversation_of,
        mended=mended,
        models=tuple(given.models or given.fallback_models or ()),
        preferences=_preferences(given.provider) if given.provider else NO_WISHES,
        user=given.user,
        session_id=given.session_id,
        service_tier=given.service_tier,
    )


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


def _explain(values: dict[str, Any]) -> None:
    """Raise InvalidRequest for the first member that is not what it must be."""
    for name, kind in _KINDS.items():
        value = values.get(name)
        if value is not None and not isinstance(value, kind):
            raise InvalidRequest(f"`{name}` must be {_NAMES[kind]}.", param=name)
        if value is None and name in ("model", "messages"):
            raise InvalidRequest(f"`{name}` is missing.", param=name)
    if not values["model"]:
        raise InvalidRequest("`model` is empty; name a model, for example one of GET /v1/models.", param="model")
    _check_messages(values["messages"])
    _strings(values, "models")
    _strings(values, "fallback_models")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        name = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        name = name[:100].encode("utf-8", "replace").decode()
        raise InvalidRequest(f"The body names `{name}` twice in one object; send it once.", param=name)
    return members


def _no_constant(name: str) -> Any:
    raise InvalidRequest(f"The body holds {name}, which is not JSON; send a number or null.")


_strict = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constant).decode


def _json_object(body: bytes) -> dict[str, Any]:
    """The body's members. A body that comes out the same when it is written anew, as that of most libraries does, is
    faultless; of any other one the slower reader says what is wrong, and where.
    """
    try:
        values = _decode(body)
        if isinstance(values, dict) and _encode(values) == body and body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
            return values
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    return _strict_object(body)


def _strict_object(body: bytes) -> dict[str, Any]:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The body is not UTF-8 (byte {error.start}); send JSON in UTF-8.") from None
    try:
        values = _strict(text)
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"The body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except ValueError:  # Python reads no integer of more than 4,300 digits
        raise InvalidRequest("The body holds a number of thousands of digits.") from None
    except RecursionError:
        raise InvalidRequest(_TOO_DEEP) from None
    if not isinstance(values, dict):
        raise InvalidRequest("The body must be a JSON object.")
    if text.count("[") + text.count("{") > MAX_DEPTH and _deeper_than(values, MAX_DEPTH):
        raise InvalidRequest(_TOO_DEEP)
    return values


def _deeper_than(value: Any, depth: int) -> bool:
    level = [value]
    while level and depth:
        inner = (item.values() if isinstance(item, dict) else item for item in level)
        level = [item for items in inner for item in items if isinstance(item, dict | list)]
        depth -= 1
    return bool(level)


def _without_surrogates(values: dict[str, Any]) -> tuple[bytes, tuple[str, ...]] | None:
    """The body with U+FFFD for each half of a surrogate pair, and the root members that held some; None without any."""
    clean: dict[str, Raw] = {}
    mended: list[str] = []
    for name, value in values.items():
        text = json.dumps(value, ensure_ascii=False)
        kept, told = _replaced(name), _replaced(text)
        clean[kept] = Raw(told.encode())
        if (kept, told) != (name, text):
            mended.append(f"{kept}.surrogates")
    return (_encode(clean), tuple(mended)) if mended else None


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


def _check_messages(messages: list[Any]) -> None:
    if not messages:
        raise InvalidRequest("`messages` is empty; send at least one message.", param="messages")
    for index, message in enumerate(messages):
        place = f"messages[{index}]"
        if not isinstance(message, dict):
            raise InvalidRequest(f"`{place}` must be an object.", param=place)
        if not isinstance(message.get("role"), str):
            raise InvalidRequest(f"`{place}.role` must be a string such as user.", param=f"{place}.role")
        if not isinstance(message.get("content"), str | list | None):
            raise InvalidRequest(f"`{place}.content` must be a string or an array of parts.", param=f"{place}.content")
