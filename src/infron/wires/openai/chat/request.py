"""Requests on the OpenAI chat wire: a client's body to a Request, and a Request to the body for one provider.

It never knows who the caller is, and never chooses the provider.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw

from infron.catalog.definitions import MessageQuirks, Provider, RequestQuirks
from infron.request import Outgoing, Request
from infron.wires.body import read
from infron.wires.errors import Headers
from infron.wires.json_guard import LARGE, written
from infron.wires.openai.chat.messages import asked_in, conversation_of, fields_of, neutral

NAME = "openai-chat"
PATHS = ("/v1/chat/completions",)

_encode = msgspec.json.Encoder().encode
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_objects = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_items = msgspec.json.Decoder(list[Raw]).decode
_NULL = Raw(b"null")


# ---- a client's body


def parse(body: bytes, headers: Headers) -> Request:
    """The request in a body. Raises InvalidRequest. `headers`: none matters; a client's are never passed on."""
    return read(body, NAME, conversation_of)


# ---- a provider's body


_PLAIN = MessageQuirks()


def encode_request(request: Request, provider: Provider, provider_model: str, ask_usage: bool) -> Outgoing:
    """The body for one provider, in the names that its row says it takes, the rest byte for byte.

    It asks for a stream, but beside what the row says that there is none for.
    `dropped`: what is asked for and goes on in no form.
    """
    quirks, messages = provider.quirks.request, provider.quirks.message
    given = fields_for(request)
    fields: dict[str, Any] = dict(given)
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
    body = written(fields) if request.size > LARGE else _encode(fields)
    return Outgoing(body=body, dropped=_dropped(request, given, fields, quirks), choices=_choices(fields))


def _choices(fields: dict[str, Any]) -> int:
    """How many answers are asked for."""
    wanted = fields.get("n")
    if isinstance(wanted, Raw):
        wanted = msgspec.json.decode(wanted)
    return wanted if type(wanted) is int and wanted > 1 else 1


def fields_for(request: Request) -> dict[str, Raw]:
    """The root members of a chat request: the client's own, or written from what it says in another API."""
    return request.fields if request.api == NAME else fields_of(request.conversation)


def _dropped(request: Request, given: dict[str, Raw], sent: dict[str, Any], quirks: RequestQuirks) -> tuple[str, ...]:
    if given.keys() <= sent.keys() and request.api == NAME:
        return ()
    other = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}.get(quirks.max_tokens)
    carried: set[str] = set()
    for name in given:
        under = quirks.max_tokens if name == other else name
        under = quirks.rename.get(under, under)
        if quirks.integer_logprobs and name == "top_logprobs":
            under = "logprobs"
        if under in sent:
            carried.add(name)
    asked = asked_in({name: msgspec.json.decode(raw) for name, raw in given.items() if name not in carried})
    lost = asked.keys() - {neutral(name) for name in carried}
    if request.api == NAME:
        return tuple(sorted(name for wish in lost for name in asked[wish]))
    return request.conversation.left_out({neutral(name) for name in given} - lost)


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
