"""How a candidate is asked: in its wire, with or without the question for token counts, and what is left out for it.

It never sends anything.
"""

from __future__ import annotations

from enum import IntEnum, auto

import msgspec
from msgspec.structs import replace

from infron.errors import Unsupported
from infron.request import Outgoing, Request
from infron.runtime.exchange.answer import USAGE_FIELD
from infron.runtime.exchange.providers import ProviderHandle


class Question(IntEnum):
    """How a request asks for token counts, where that has to be asked for."""

    WHOLE = auto()  # with what the caller says of its own under that name
    OURS = auto()  # without that
    NONE = auto()  # not at all


WHOLE, UNASKED = Question.WHOLE, Question.NONE


def less_than(question: Question, asked: Request) -> Question:
    """How to ask the same candidate again, which has refused this request, it seems because of how it asks.

    What the caller says of its own under that name goes first. So the next refusal is our question's alone.
    """
    return Question.OURS if question is WHOLE and _says_more(asked) else UNASKED


def put(
    question: Question, asked: Request, handle: ProviderHandle, provider_model: str, *, asks_usage: bool
) -> Outgoing:
    """The request in the candidate's wire; `dropped` names all that is left out. Raises InfronError."""
    own: tuple[str, ...] = ()
    if question is not WHOLE and USAGE_FIELD in asked.fields:
        own = (USAGE_FIELD,) if _says_more(asked) else ()
        fields = {name: value for name, value in asked.fields.items() if name != USAGE_FIELD}
        asked = replace(asked, fields=fields)
    outgoing = handle.wire.encode_request(asked, handle.provider, provider_model, asks_usage)
    if not (outgoing.dropped or own or asked.mended):
        return outgoing
    names = (*outgoing.dropped, *own)
    parameters = [name for name in names if "." not in name]  # others are parts of what is said
    if parameters and asked.preferences.require_parameters:
        shown = ", ".join(f"`{name}`" for name in parameters)
        provider = handle.provider
        what = f"{provider.name} cannot take {shown} for this model, and `provider.require_parameters` is set."
        raise Unsupported(what, param=parameters[0], provider=provider.id)
    return replace(outgoing, dropped=(*names, *asked.mended))


def _says_more(asked: Request) -> bool:
    """Whether the caller says anything of its own where token counts are asked for."""
    raw = asked.fields.get(USAGE_FIELD)
    options = None if raw is None else msgspec.json.decode(raw)
    return isinstance(options, dict) and bool(options.keys() - {"include_usage"})
