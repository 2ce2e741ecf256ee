"""Counting the tokens of a request of Gemini's API that is not sent, at Google.

It never counts anything itself. Sources: the references of the Gemini API (`models.countTokens`) and of
Vertex AI (`countTokens`).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from infron.catalog.definitions import Provider
from infron.request import Outgoing, Request
from infron.wires.gemini.client_request import NAME
from infron.wires.gemini.request import encode_request
from infron.wires.gemini.words import camel
from infron.wires.json_steps import written

_AT_VERTEX = frozenset(("contents", "generationConfig", "systemInstruction", "tools"))  # all that it counts by
_JSON = ("accept", "application/json")
_ANSWERS, _COUNTS = ":streamGenerateContent", ":countTokens"

_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def count_request(request: Request, provider: Provider, provider_model: str) -> Outgoing | None:
    """The question to a host, beside the address where it answers; None for one that does not count. Raises as
    `encode_request` does.
    """
    if provider.wire != NAME or _ANSWERS not in provider.chat_path:
        return None
    outgoing = encode_request(request, provider, provider_model, False)
    body: dict[str, Any] = _fields(outgoing.body)
    if provider.quirks.request.vertex:
        body = {name: raw for name, raw in body.items() if camel(name) in _AT_VERTEX}
    else:
        named = provider_model if "/" in provider_model else f"models/{provider_model}"
        body = {"generateContentRequest": {"model": named, **body}}
    path = outgoing.url or provider.chat_path.replace("{model}", quote(provider_model, safe=""))
    url = path.partition(_ANSWERS)[0] + _COUNTS
    return replace(outgoing, body=written(body, len(outgoing.body)), url=url, headers=(*outgoing.headers, _JSON))


def is_count(body: bytes) -> bool:
    """Whether this is what a host answers with that counts."""
    try:
        return type(msgspec.json.decode(body)["totalTokens"]) is int
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return False


def count_answer(tokens: int) -> bytes:
    """The same of a count that is ours."""
    return _encode({"totalTokens": tokens, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}]})
