"""A request for a stream as one for a whole answer: by a field of the body, or by another address.

It never knows which hosts and models refuse to stream.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from infron.catalog.definitions import Provider
from infron.request import Outgoing
from infron.wires.json_steps import written

_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_JSON = ("accept", "application/json")


def by_member(outgoing: Outgoing, provider: Provider, provider_model: str) -> Outgoing:
    """With `stream` false, and nothing about a stream."""
    fields: dict[str, Any] = _fields(outgoing.body)
    fields["stream"] = False
    fields.pop("stream_options", None)
    return replace(outgoing, body=written(fields, len(outgoing.body)), headers=(*outgoing.headers, _JSON))


def by_address(outgoing: Outgoing, provider: Provider, provider_model: str, streams: str, whole: str) -> Outgoing:
    """To the address that says `whole` where that of streams says `streams`."""
    path = outgoing.url or provider.chat_path.replace("{model}", quote(provider_model, safe=""))
    return replace(outgoing, url=path.replace(streams, whole), headers=(*outgoing.headers, _JSON))
