"""Requests on the OpenAI chat wire: a client's body to a Request, and a Request to the body for one provider.

It never knows who the caller is, and never chooses the provider.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from infron.catalog.definitions import Provider, RequestQuirks
from infron.conversation import Conversation
from infron.request import NO_TARGET, Outgoing, Request, Target
from infron.wires import session
from infron.wires.body import read
from infron.wires.errors import Headers
from infron.wires.json_steps import written
from infron.wires.media import relabelled
from infron.wires.openai.chat import history
from infron.wires.openai.chat.messages import asked_in, conversation_of, fields_of, neutral
from infron.wires.openai.chat.tools import fit_format, fit_tools

NAME = "openai-chat"
PATHS = ("/v1/chat/completions",)
NEAR = ("",)

_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_objects = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_items = msgspec.json.Decoder(list[Raw]).decode
_NULL = Raw(b"null")


# ---- a client's body


def parse(body: bytes, headers: Headers, target: Target = NO_TARGET) -> Request:
    """The request in a body. Raises InvalidRequest. `headers`: none matters; a client's are never passed on."""
    return read(body, NAME, conversation_of)


# ---- a provider's body


def encode_request(
    request: Request,
    provider: Provider,
    provider_model: str,
    ask_usage: bool,
    adapt: Callable[[dict[str, Raw]], dict[str, Raw]] = lambda fields: fields,
) -> Outgoing:
    """The body for one provider, in the names that its row says it takes, the rest byte for byte.

    It asks for a stream, but beside what the row says that there is none for. `dropped`: what is asked for and goes on
    in no form. `adapt`: what a wire that is nearly this one has to change in the root fields first.
    """
    quirks = provider.quirks.request
    names: dict[str, str] = {}
    asked: Conversation | None = None
    if request.api == NAME:
        given = adapt(request.fields)
    else:
        asked, names = session.fit(request.conversation, history.rules_of(provider.quirks.message))
        given = adapt(fields_of(asked))
    fields: dict[str, Any] = dict(given)
    fields["model"] = provider_model
    fields["stream"] = True
    unheld: set[str] = set()
    fit_format(fields, quirks, unheld)
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
    fit_tools(fields, quirks, unheld)
    if asked is None and (messages := relabelled(bytes(memoryview(fields["messages"])))) is not None:
        fields["messages"] = Raw(messages)
    renamed, unsaid = history.fit(fields, provider.quirks.message)
    names |= renamed
    unheld |= unsaid
    body = written(fields, request.size)
    lost = {} if given.keys() <= fields.keys() else _lost(given, fields, quirks)
    if asked is None:
        dropped = tuple(sorted(name for names in lost.values() for name in names)) if lost else ()
    else:
        dropped = asked.left_out({neutral(name) for name in given} - lost.keys())
    if unheld:
        told = unheld if asked is None else {_in_words_of(asked, name) for name in unheld}
        dropped = tuple(sorted({*dropped, *told}))
    return Outgoing(body=body, dropped=dropped, choices=_choices(fields["n"]) if "n" in fields else 1, names=names)


def _in_words_of(asked: Conversation, name: str) -> str:
    """What is left out of a field (`response_format.strict`), under the name that the caller's own API has for it."""
    root, dot, rest = name.partition(".")
    names = asked.asked.get(root)
    return f"{names[0]}{dot}{rest}" if names else name


def _choices(wanted: Any) -> int:
    """How many answers are asked for."""
    if isinstance(wanted, Raw):
        wanted = msgspec.json.decode(wanted)
    return wanted if type(wanted) is int and wanted > 1 else 1


def _lost(given: dict[str, Raw], sent: dict[str, Any], quirks: RequestQuirks) -> dict[str, tuple[str, ...]]:
    """The wishes among these fields that go on in no form, by neutral name."""
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
    taken = {neutral(name) for name in carried}
    return {wish: names for wish, names in asked.items() if wish not in taken}


def _set_stream_options(fields: dict[str, Any], provider: Provider, ask_usage: bool) -> None:
    raw = fields.pop("stream_options", None)
    options: dict[str, Any] = {} if raw is None or raw == _NULL else dict(_fields(raw))
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
    """Whether a field says anything, and, unless `kind` is empty, is an object of this `type`."""
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
