"""JSON that a strict decoder refuses though every browser reads it: halves of surrogate pairs, bytes that are no UTF-8.

It never knows what the JSON means.
"""

from __future__ import annotations

import json
from typing import TypeVar

import msgspec

from infron.errors import ProviderUnavailable

Kind = TypeVar("Kind")

# What msgspec raises; a ValidationError is a DecodeError too.
BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode(payload: bytes, decoder: msgspec.json.Decoder[Kind]) -> Kind | None:
    """The value in `payload`, with U+FFFD for what no encoder could write again; None where it is of another shape.

    Raises ProviderUnavailable, without a provider, for what is no JSON at all.
    """
    try:
        return decoder.decode(payload)
    except BROKEN:
        try:
            return decoder.decode(_mended(payload))
        except msgspec.ValidationError:
            return None
        except (*BROKEN, ValueError):
            raise ProviderUnavailable("This is not JSON.") from None


def _mended(payload: bytes) -> bytes:
    value = json.loads(payload.decode("utf-8", "replace"))
    text = json.dumps(value, ensure_ascii=False)
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
