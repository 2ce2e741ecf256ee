"""Requests on the OpenAI chat wire: a client's body to a Request, and a Request to the body for one provider.

It never knows who the caller is, and never chooses the provider.
"""

from __future__ import annotations

import hashlib
import json
import string
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from infron.catalog.definitions import MessageQuirks, Provider, RequestQuirks
from infron.errors import InvalidRequest
from infron.request import NO_WISHES, Outgoing, Preferences, Request
from infron.wires.errors import Headers
from infron.wires.openai.chat.messages import left_out

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
NAME = "openai-chat"
PATHS = ("/v1/chat/completions",)
MAX_DEPTH = 200  # of arrays and objects inside each other
_TOO_DEEP = f"The body is nested too deeply: more than {MAX_DEPTH} arrays and objects."

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_objects = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_items = msgspec.json.Decoder(list[Raw]).decode
_NULL = Raw(b"null")


# ---- a client's body


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


def parse(body: bytes, headers: Headers) -> Request:
    """The request in a body. Raises InvalidRequest that names the field or the place in the JSON.

    `headers`: none matters; a client's are never passed on.
    """
    values = _json_object(body)
    try:
        given = _body(body)
    except msgspec.DecodeError as error:
        _explain(values)
        raise InvalidRequest(f"The body is not a chat request: {error}.") from None
    if not given.model or not given.messages:
        _explain(values)
    fields = _members(body)
    for name in fields.keys() & GATEWAY_FIELDS:
        del fields[name]
    options, usage = given.stream_options or _NOTHING, given.usage or _NOTHING
    return Request(
        api=NAME,
        model=given.model,
        stream=given.stream or False,
        include_usage=options.get("include_usage") is True or usage.get("include") is True,
        fields=fields,
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
    if "\\u" in text:
        _refuse_surrogates(values)
    return values


def _deeper_than(value: Any, depth: int) -> bool:
    level = [value]
    while level and depth:
        inner = (item.values() if isinstance(item, dict) else item for item in level)
        level = [item for items in inner for item in items if isinstance(item, dict | list)]
        depth -= 1
    return bool(level)


def _refuse_surrogates(values: Any) -> None:
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidRequest("The body holds half of a surrogate pair (\\ud800-\\udfff) in a string.") from None


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


# ---- a provider's body


_PLAIN = MessageQuirks()


def encode_request(request: Request, provider: Provider, provider_model: str, ask_usage: bool) -> Outgoing:
    """The body for one provider, in the names that its row says it takes, the rest byte for byte.

    It asks for a stream, but beside what the row says that there is none for.
    `dropped`: the root members that the row lets go on in no form, by the rules of `left_out`.
    """
    quirks, messages = provider.quirks.request, provider.quirks.message
    fields: dict[str, Any] = dict(request.fields)
    fields["model"] = provider_model
    fields["stream"] = True
    _set_stream_options(fields, provider, ask_usage)
    if quirks.max_tokens:
        other = "max_tokens" if quirks.max_tokens == "max_completion_tokens" else "max_completion_tokens"
        _rename(fields, other, quirks.max_tokens)
    if quirks.rename:
        for old, new in quirks.rename.items():
            _rename(fields, old, new)
    if quirks.integer_logprobs:
        _set_integer_logprobs(fields)
    for name in quirks.drop:
        fields.pop(name, None)
    if quirks.defaults:
        fields = {**quirks.defaults, **fields}
    if quirks.whole_for and any(_is_given(fields, name, kind) for name, kind in quirks.whole_for.items()):
        fields["stream"] = False
        fields.pop("stream_options", None)
    if quirks.only:
        fields = {name: value for name, value in fields.items() if name in quirks.only}
    if messages != _PLAIN:
        fields["messages"] = [_message(message, messages) for message in _objects(fields["messages"])]
    if quirks.strip_tool and fields.get("tools", _NULL) != _NULL:
        fields["tools"] = [_tool(tool, quirks.strip_tool) for tool in _items(fields["tools"])]
    return Outgoing(body=_encode(fields), dropped=_dropped(request, fields, quirks))


def _dropped(request: Request, sent: dict[str, Any], quirks: RequestQuirks) -> tuple[str, ...]:
    if request.fields.keys() <= sent.keys():
        return ()
    other = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}.get(quirks.max_tokens)
    carried: set[str] = set()
    for name in request.fields:
        under = quirks.max_tokens if name == other else name
        under = quirks.rename.get(under, under)
        if quirks.integer_logprobs and name == "top_logprobs":
            under = "logprobs"
        if under in sent:
            carried.add(name)
    return left_out(request, frozenset(carried))


def _set_stream_options(fields: dict[str, Any], provider: Provider, ask_usage: bool) -> None:
    raw = fields.pop("stream_options", _NULL)
    options: dict[str, Any] = {} if raw == _NULL else dict(_members(raw))
    options.pop("include_usage", None)
    if ask_usage:
        options["include_usage"] = True
    # A row that has to be asked and is not asked now has refused the field.
    if options and (ask_usage or provider.usage == "always"):
        fields["stream_options"] = {**provider.quirks.request.stream_options, **options}


def _rename(fields: dict[str, Any], old: str, new: str) -> None:
    """Send `old` as `new`; where both are given `new` stands, unless it is null."""
    value = fields.pop(old, None)
    if value is not None and fields.get(new, _NULL) == _NULL:
        fields[new] = value


def _is_given(fields: dict[str, Any], name: str, kind: str) -> bool:
    """Whether a member says anything, and, unless `kind` is empty, is an object of this `type`."""
    value = fields.get(name)
    if isinstance(value, Raw):
        value = msgspec.json.decode(value)
    return (isinstance(value, dict) and value.get("type") == kind) if kind else bool(value)


def _set_integer_logprobs(fields: dict[str, Any]) -> None:
    wanted, top = bytes(fields.pop("logprobs", _NULL)), bytes(fields.pop("top_logprobs", _NULL))
    if wanted == b"true":
        fields["logprobs"] = 1 if top in (b"null", b"0") else Raw(top)
    elif wanted[:1].isdigit():
        fields["logprobs"] = Raw(wanted)


def _message(message: dict[str, Raw], quirks: MessageQuirks) -> dict[str, Any]:
    kept: dict[str, Any] = {name: raw for name, raw in message.items() if name not in quirks.strip}
    if quirks.roles or quirks.only:
        given = msgspec.json.decode(message["role"], type=str)
        role = quirks.roles.get(given, given)
        if role != given:
            kept["role"] = role
        if role in quirks.only:
            kept = {name: raw for name, raw in kept.items() if name in quirks.only[role]}
    if quirks.strip and bytes(kept.get("content", b""))[:1] == b"[":
        kept["content"] = _parts(kept["content"], quirks.strip)
    if quirks.plain_content and "content" in kept:
        kept["content"] = _plain(kept["content"])
    if quirks.tool_id_length:
        if "tool_call_id" in kept:
            kept["tool_call_id"] = _tool_id(kept["tool_call_id"], quirks.tool_id_length)
        if kept.get("tool_calls", _NULL) != _NULL:
            kept["tool_calls"] = _tool_calls(kept["tool_calls"], quirks.tool_id_length)
    return kept


def _parts(raw: Raw, names: Iterable[str]) -> Any:
    try:
        parts = _objects(raw)
    except msgspec.ValidationError:
        return raw
    if not any(name in part for part in parts for name in names):
        return raw
    return Raw(_encode([{name: value for name, value in part.items() if name not in names} for part in parts]))


def _plain(raw: Raw) -> Any:
    content = bytes(raw)
    if content == b"null":
        return ""
    if content[:1] != b"[":
        return raw
    parts = msgspec.json.decode(content)
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    strings = [text for text in texts if isinstance(text, str)]
    return "\n".join(strings) if len(strings) == len(parts) else raw


def _tool_calls(raw: Raw, length: int) -> Any:
    try:
        calls: list[dict[str, Any]] = list(_objects(raw))
    except msgspec.ValidationError:
        return raw  # the provider says best what is wrong with it
    for call in calls:
        if "id" in call:
            call["id"] = _tool_id(call["id"], length)
    return calls


_ALPHABET = string.ascii_letters + string.digits


def _tool_id(raw: Raw, length: int) -> Any:
    """An id of `length` letters and digits, always the same for the same one; one that is so already stays."""
    value = msgspec.json.decode(raw)
    if not isinstance(value, str) or (len(value) == length and value.isascii() and value.isalnum()):
        return raw
    number = int.from_bytes(hashlib.sha256(value.encode()).digest())
    return "".join(_ALPHABET[number // 62**place % 62] for place in range(length))


def _tool(raw: Raw, names: Iterable[str]) -> Any:
    try:
        tool: dict[str, Any] = _members(raw)
        tool["function"] = {name: value for name, value in _members(tool["function"]).items() if name not in names}
    except (msgspec.ValidationError, KeyError):
        return raw
    return tool
