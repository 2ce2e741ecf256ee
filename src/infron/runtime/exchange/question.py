"""How a candidate is asked: in its wire, with or without the question for token counts, for a stream or a whole answer,
and what is left out for it.

It never sends anything.
"""

from __future__ import annotations

from enum import IntEnum, auto

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from infron.errors import Unsupported
from infron.request import Outgoing, Request
from infron.runtime.exchange.answer import USAGE_FIELD
from infron.runtime.exchange.providers import ProviderHandle


class Counts(IntEnum):
    """How a request asks for token counts, where that has to be asked for."""

    WHOLE = auto()  # with what the caller says of its own under that name
    OURS = auto()  # without that
    NONE = auto()  # not at all


class Question(Struct, frozen=True):
    """`streams`: it asks for a stream."""

    counts: Counts = Counts.WHOLE
    streams: bool = True

    @property
    def asks_usage(self) -> bool:
        """Whether it asks for token counts, where that has to be asked for."""
        return self.counts is not _NONE


FIRST = Question()
_WHOLE, _NONE = Counts.WHOLE, Counts.NONE  # an enum's member costs as much as a call to look up


def first_of(asked: Request, handle: ProviderHandle, provider_model: str, now: float) -> Question:
    """How a candidate is asked first. `now`: seconds of any one clock."""
    if not handle.streams(provider_model, _shape(asked), now):
        return Question(streams=False)
    return FIRST


def less_than(question: Question, asked: Request, *, refuses_stream: bool) -> Question:
    """How to ask the same candidate again, which has refused this request, it seems because of how it asks.

    What the caller says of its own where token counts are asked for goes first. So the next refusal is our question's
    alone.
    """
    if refuses_stream:
        return replace(question, streams=False)
    says_more = question.counts is _WHOLE and _says_more(asked)
    return replace(question, counts=Counts.OURS if says_more else Counts.NONE)


def learn(question: Question, asked: Request, handle: ProviderHandle, provider_model: str, now: float) -> None:
    """A request that was put so is served: what was refused before need not be asked for again, for a while.

    What one caller sends must not take the stream from others. So it is learned of requests of the same kind, and not
    from one that says more of a stream than others do.
    """
    if not question.streams:
        if not _says_more(asked):
            handle.learn_no_stream(provider_model, _shape(asked), now)
    elif question.counts is _NONE:
        handle.learn_refusal(provider_model, now)


def put(
    question: Question, asked: Request, handle: ProviderHandle, provider_model: str, *, asks_usage: bool
) -> Outgoing:
    """The request in the candidate's wire; `dropped` names all that is left out. Raises InfronError."""
    own: tuple[str, ...] = ()
    provider = handle.provider
    if question.counts is not _WHOLE and USAGE_FIELD in asked.fields:
        own = (USAGE_FIELD,) if _says_more(asked) else ()
        fields = {name: value for name, value in asked.fields.items() if name != USAGE_FIELD}
        asked = replace(asked, fields=fields)
    outgoing = handle.wire.encode_request(asked, provider, provider_model, asks_usage)
    if not question.streams and handle.wire.whole_request is not None:
        outgoing = handle.wire.whole_request(outgoing, provider, provider_model)
    if not (outgoing.dropped or own or asked.repaired):
        return outgoing
    names = (*outgoing.dropped, *own)
    parameters = [name for name in names if "." not in name]  # others are parts of what is said
    if parameters and asked.preferences.require_parameters:
        shown = ", ".join(f"`{name}`" for name in parameters)
        what = f"{provider.name} cannot take {shown} for this model, and `provider.require_parameters` is set."
        raise Unsupported(what, param=parameters[0], provider=provider.id)
    return replace(outgoing, dropped=(*names, *asked.repaired))


def _says_more(asked: Request) -> bool:
    """Whether the caller says anything of its own where token counts are asked for."""
    raw = asked.fields.get(USAGE_FIELD)
    options = None if raw is None else msgspec.json.decode(raw)
    return isinstance(options, dict) and bool(options.keys() - {"include_usage"})


MOST_TOLD = 16 << 10  # bytes of a field whose value is looked at
_TELLING = ("audio", "modalities")  # fields whose values decide whether there is a stream


def _shape(asked: Request) -> int:
    """What a host may not stream: the fields that are there, and of some what they say."""
    fields = asked.fields
    small = {name: raw for name, raw in fields.items() if len(memoryview(raw)) <= MOST_TOLD}
    kind = msgspec.json.decode(small.get("response_format", b"null"))
    told = tuple(bytes(small[name]) for name in _TELLING if name in small)
    return hash((frozenset(fields), told, kind.get("type") if isinstance(kind, dict) else None))
