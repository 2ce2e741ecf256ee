"""Embeddings at hosts of other APIs than OpenAI's: what is embedded, in batches that they take, and what they answer.

It never knows which host that is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import toktok  # type: ignore[import-untyped]
from msgspec import Raw

from infron.catalog.definitions import Provider
from infron.errors import InvalidRequest, Unsupported
from infron.events import Event, UsageReported, Verbatim
from infron.request import Outgoing, Request
from infron.wires.openai.embeddings.request import NAME, said_of
from infron.wires.request_fields import count_of, list_of, object_of, string_of, wrong
from infron.wires.unstreamed import WholeDecoder
from infron.wires.usage import usage_of

MOST_INPUTS = 2048  # of one request, as at OpenAI
# The vocabulary of OpenAI's embedding models, in which libraries (LangChain) count for every model and cut long texts.
_VOCABULARY = "cl100k_base"

_encode = msgspec.json.Encoder().encode


class Asked(NamedTuple):
    """`dimensions`: of each vector. `fields`: what else the caller says, by its names."""

    texts: list[str]
    dimensions: int | None
    fields: dict[str, Any]


def asked_of(request: Request, provider: Provider) -> Asked:
    """Raises Unsupported for a request for something else, or for inputs that are no text; InvalidRequest."""
    if request.api != NAME:
        raise Unsupported(f"{provider.name} is asked for embeddings only here.", param="model", provider=provider.id)
    fields = said_of(request.fields)
    texts = list(_texts(fields.pop("input")))
    if len(texts) > MOST_INPUTS:
        raise InvalidRequest(f"`input` has {len(texts):,} items; {MOST_INPUTS:,} are the most.", param="input")
    return Asked(texts, count_of(fields, "dimensions", 1), fields)


def _texts(given: Any) -> Iterator[str]:
    """The inputs as texts, also where they are given in tokens."""
    if isinstance(given, str):
        yield given
    elif _are_tokens(items := list_of(given, "input")):
        yield _text_of(items, "input")
    else:
        for index, item in enumerate(items):
            place = f"input[{index}]"
            if isinstance(item, str):
                yield item
            elif isinstance(item, list) and _are_tokens(item):
                yield _text_of(item, place)
            elif isinstance(item, dict):
                yield _part(object_of(item, place), place)
            else:
                raise wrong(place, "a string, or an array of tokens")


def _are_tokens(items: list[Any]) -> bool:
    return bool(items) and all(type(item) is int for item in items)


def _text_of(tokens: list[int], place: str) -> str:
    tokenizer = toktok._encoding(_VOCABULARY)
    if not all(0 <= token < tokenizer.n_vocab for token in tokens):
        raise wrong(place, f"made of tokens of {_VOCABULARY}")
    text: bytes = tokenizer.decode_bytes(tokens)
    return text.decode("utf-8", "replace")


def _part(part: dict[str, Any], place: str) -> str:
    kind = part.get("type")
    if kind != "text":
        raise Unsupported(f"`{place}` is no text, which is all that this provider embeds here.", param=place)
    return string_of(part, "text", place, required=True)


def batches(texts: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(texts), most):
        yield texts[start : start + most]


def outgoing(bodies: Iterable[dict[str, Any]], dropped: Iterable[str]) -> Outgoing:
    """The first of these requests, with all others behind it."""
    first, *further = (Outgoing(body=_encode(body)) for body in bodies)
    return msgspec.structs.replace(first, further=tuple(further), dropped=tuple(sorted(dropped)))


class VectorDecoder(WholeDecoder):
    """Answers of such a host. Counts are told as they add up."""

    _told = 0  # vectors
    _prompt = 0
    _counted = True  # every answer so far said what it counts

    def _tell(self, vectors: Sequence[Raw], prompt: int | None, events: list[Event]) -> None:
        """The vectors of one answer, and the tokens that it counts."""
        if not vectors:
            raise self._broken("answered without embeddings")
        items = [{"index": place, "embedding": vector} for place, vector in enumerate(vectors, self._told)]
        self._told += len(vectors)
        events.append(Verbatim({"data": Raw(_encode(items))}, content=False, text=""))
        self._counted = self._counted and prompt is not None
        self._prompt += prompt or 0
        if self._counted:
            events.append(UsageReported(usage_of(self._prompt, 0)))
