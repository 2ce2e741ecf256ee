"""Counting the tokens of a Messages request that is not sent, at a host of this API.

It never counts anything itself.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from infron.catalog.definitions import Provider
from infron.request import Outgoing, Request
from infron.wires.anthropic.client_request import NAME
from infron.wires.anthropic.request import encode_request
from infron.wires.json_steps import written

PATH = "/messages/count_tokens"

# Of a Messages request, what changes no count: it is refused there.
_UNCOUNTED = frozenset(
    (
        "container",
        "max_tokens",
        "metadata",
        "service_tier",
        "stop_sequences",
        "stream",
        "temperature",
        "top_k",
        "top_p",
    )
)
_JSON = ("accept", "application/json")

_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def count_request(request: Request, provider: Provider, provider_model: str) -> Outgoing | None:
    """The question to a host, below the path where it takes messages; None for one that does not count. Raises as
    `encode_request` does.
    """
    if provider.wire != NAME or "{" in provider.chat_path:
        return None
    outgoing = encode_request(request, provider, provider_model, False)
    fields: dict[str, Any] = {name: raw for name, raw in _fields(outgoing.body).items() if name not in _UNCOUNTED}
    body = written(fields, len(outgoing.body))
    url = f"{provider.chat_path.partition('?')[0]}/count_tokens"
    return replace(outgoing, body=body, url=url, headers=(*outgoing.headers, _JSON))


def is_count(body: bytes) -> bool:
    """Whether this is what a host answers with that counts."""
    try:
        return type(msgspec.json.decode(body)["input_tokens"]) is int
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return False


def count_answer(tokens: int) -> bytes:
    """The same of a count that is ours."""
    return _encode({"input_tokens": tokens})
