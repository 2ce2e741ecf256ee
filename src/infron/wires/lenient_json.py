"""JSON that others wrote, read as far as it can be: raw control characters, halves of surrogate
pairs, bytes that are no UTF-8, NaN, wrong types.

It never knows what the JSON means.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from infron.errors import ProviderUnavailable

Kind = TypeVar("Kind")

# What msgspec raises; a ValidationError is a DecodeError too.
BROKEN = (msgspec.DecodeError, UnicodeError, RecursionError)

_any: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_members = msgspec.json.Decoder(dict[str, Raw]).decode


def decode(payload: bytes, decoder: msgspec.json.Decoder[Kind]) -> Kind | None:
    """The value in `payload`, with U+FFFD for what no encoder could write again; None where it is of another shape.

    Raises ProviderUnavailable, without a provider, for what is no JSON at all.
    """
    try:
        return decoder.decode(payload)
    except BROKEN:
        clean = mended(payload)
        try:
            return decoder.decode(clean)
        except msgspec.ValidationError:
            return None
        except BROKEN:
            raise ProviderUnavailable("This is not JSON.") from None


def mended(payload: bytes) -> bytes:
    """The same JSON as every encoder and decoder takes it. Raises ProviderUnavailable, without a provider, for none."""
    try:
        value = json.loads(payload.decode("utf-8", "replace"), strict=False, parse_constant=_null)
    except (ValueError, RecursionError):
        raise ProviderUnavailable("This is not JSON.") from None
    text = json.dumps(value, ensure_ascii=False)
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def _null(constant: str) -> None:
    """NaN and the infinities, which are no JSON."""


def value_of(payload: bytes) -> Any:
    """The value in `payload`; None where it is no JSON."""
    try:
        return decode(payload, _any)
    except ProviderUnavailable:
        return None


def members_in(text: str) -> dict[str, Raw] | None:
    """The members of the JSON object that the text is, each byte for byte; None where it is none."""
    try:
        return _members(text)
    except BROKEN:
        return None


def object_in(text: str) -> Raw | None:
    """The text byte for byte, if it is a JSON object."""
    return None if members_in(text) is None else Raw(text.encode())


def first_value(text: bytes) -> bytes | None:
    """The JSON value at the beginning of `text`, None while it is not complete."""
    whole = text.decode("utf-8", "replace")
    try:
        _, end = json.JSONDecoder().raw_decode(whole)
    except (ValueError, RecursionError):
        return None
    return whole[:end].encode()


def string_in(values: Mapping[str, Any], name: str) -> str:
    """A member that is a string; "" where there is none."""
    value = values.get(name)
    return value if isinstance(value, str) else ""


def dict_in(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A member that is an object; an empty one where there is none."""
    value = values.get(name)
    return value if isinstance(value, dict) else {}


def dicts_in(values: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects in a member that is a list."""
    value = values.get(name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
