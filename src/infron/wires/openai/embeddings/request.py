"""Requests for embeddings: a client's body to a Request, and a Request to the body for one host of this API.

It never looks into the inputs but to count them: what they may be, each host says itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from infron.catalog.definitions import Provider
from infron.conversation import Conversation
from infron.errors import Unsupported
from infron.request import NO_TARGET, Outgoing, Prompt, Request, Target
from infron.wires.body import read
from infron.wires.errors import Headers
from infron.wires.json_steps import value_in, written
from infron.wires.request_fields import decoded
from infron.wires.request_quirks import fitted

NAME = "openai-embeddings"
PATHS = ("/v1/embeddings",)
NEAR = PATHS

_FIELDS = frozenset(("dimensions", "encoding_format", "input", "model", "user"))
_OF_STREAMS = ("stream", "stream_options")


def parse(body: bytes, headers: Headers, target: Target = NO_TARGET) -> Request:
    """The request in a body; its answer comes whole, whatever that says. Raises InvalidRequest. `headers`: none
    matters.
    """
    request = read(body, NAME, no_conversation, holds="input", numbers=True)
    fields = {name: raw for name, raw in request.fields.items() if name not in _OF_STREAMS}
    return replace(request, stream=False, fields=fields, include_usage=True, prompt_of=_prompt_of)


def asked_by_another(
    request: Request, fields: Mapping[str, Any], *, dialect: str, form: str, left: Iterable[str]
) -> Request:
    """What a client of another API wants, in the fields of this one. `left`: names of what cannot be told here."""
    return replace(
        request,
        api=NAME,
        dialect=dialect,
        form=form,
        stream=False,
        include_usage=True,
        fields={name: Raw(written(value, request.size)) for name, value in fields.items()},
        prompt_of=_prompt_of,
        repaired=(*request.repaired, *sorted(left)),
    )


def said_of(fields: Mapping[str, Raw]) -> dict[str, Any]:
    """What the caller says, but for what is ours to do: the model, and the form of the vectors."""
    said = {name: decoded(raw, name) for name, raw in fields.items() if name not in ("encoding_format", "model")}
    return {name: value for name, value in said.items() if value is not None}


def no_conversation(fields: Mapping[str, Raw]) -> Conversation:
    raise Unsupported("This provider gives no embeddings here: ask for a model of another one.", param="model")


def _prompt_of(fields: Mapping[str, Raw]) -> Prompt:
    """All that is embedded: texts, also those in parts, and tokens."""
    texts: list[str] = []
    tokens = 0
    left: list[Any] = [value_in(fields["input"])]
    while left:
        item = left.pop()
        if isinstance(item, str):
            texts.append(item)
        elif isinstance(item, int):
            tokens += 1
        elif isinstance(item, list):
            left.extend(item)
        elif isinstance(item, dict):
            left.extend(item[name] for name in ("content", "text") if name in item)
    return Prompt(texts, tokens)


def encode_request(request: Request, provider: Provider, provider_model: str, ask_usage: bool) -> Outgoing:
    """The body for one host: what came, but for the model and what its definition says. Raises Unsupported."""
    if request.api != NAME:
        raise Unsupported(f"{provider.name} gives embeddings only.", param="model")
    fields, dropped = fitted(request.fields, provider.quirks.request)
    if request.dialect:  # what was said in another API is known to its hosts alone
        dropped = (*dropped, *sorted(fields.keys() - _FIELDS))
        fields = {name: raw for name, raw in fields.items() if name in _FIELDS}
    return Outgoing(body=written({**fields, "model": provider_model}, request.size), dropped=dropped)
