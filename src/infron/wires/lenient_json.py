"""JSON that others wrote, read as far as it can be: control characters, NaN, halves of surrogate pairs, wrong types.

It never knows what the JSON means.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from infron.errors import ProviderUnavailable

Kind = TypeVar("Kind")

# What msgspec raises; a ValidationError is a DecodeError too.
BROKEN = (msgspec.DecodeError, UnicodeError, RecursionError)

_any: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def decode(payload: bytes, decoder: msgspec.json.Decoder[Kind]) -> Kind | None:
    """The value in `payload`, with U+FFFD for what no encoder could write again; None where it is of another shape.

    Raises ProviderUnavailable, without a provider, for what is no JSON at all.
    """
    try:
        return decoder.decode(payload)
    except BROKEN:
        text = json_in(payload)
        try:
            return decoder.decode(text)
        except BROKEN:
            return None


def json_in(payload: bytes) -> bytes:
    """What is, or was meant as, JSON, repaired. Raises ProviderUnavailable, without a provider, for what is none."""
    text = repaired(payload)
    try:
        _any.decode(text)
    except BROKEN:
        raise ProviderUnavailable("This is not JSON.") from None
    return text


BOM = b"\xef\xbb\xbf"
# A string, also one that the text ends in; what some writers take for a number, or for true, false and null; a number
# that may be too large for one; a comma with nothing behind it.
_TOKEN = re.compile(
    rb'"(?:[^"\\]|\\.)*+"?|-?\b(?:Infinity|NaN|inf|nan)\b|\b(?:None|True|False|undefined)\b'
    rb"|-?\b\d++(?:\.\d*+)?[eE]\+?\d{3,}+|-?\b\d{300,}+(?:\.\d*+)?|,(?=[ \t\r\n]*+[\]}])",
    re.DOTALL,
)
_WORDS = {b"True": b"true", b"False": b"false", b",": b""}
# In a string: a character that must be escaped, an escape, a pair of halves first.
_ODD = re.compile(
    rb"[\x00-\x1f]|\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)?", re.DOTALL
)


def in_utf8(payload: bytes) -> bytes:
    """`payload`, with U+FFFD for bytes that are no UTF-8. Of JSON that is handed on nobody else looks at all of it."""
    if not payload.isascii():
        try:
            payload.decode()
        except UnicodeDecodeError:
            return payload.decode("utf-8", "replace").encode()
    return payload


def repaired(payload: bytes) -> bytes:
    """The JSON that was meant: control characters in strings escaped, U+FFFD for bytes that are no UTF-8 and for halves
    of surrogate pairs, a backslash that escapes nothing as itself, null for NaN, infinities and numbers that no float
    can hold; no comma with nothing behind it, and no True, False and None. What is right stays as it is, byte for byte.
    It may still be no JSON.
    """
    if not payload.isascii():
        payload = payload.decode("utf-8", "replace").encode()
    return _TOKEN.sub(_repaired_token, payload.removeprefix(BOM))


def _repaired_token(match: re.Match[bytes]) -> bytes:
    token = match[0]
    if token[:1] == b'"':
        return _ODD.sub(_repaired_character, token)
    if token in _WORDS:
        return _WORDS[token]
    return token if token[-1:].isdigit() and math.isfinite(float(token)) else b"null"


def _repaired_character(match: re.Match[bytes]) -> bytes:
    found = match[0]
    if found[:1] != b"\\":
        return b"\\u%04x" % found[0]
    if len(found) == 6 and found[2:3] in b"dD" and found[3:4] in b"89abABcdefCDEF":
        return b"\\ufffd"
    return found if len(found) >= 6 or found[1:] in _ESCAPES else b"\\" + found


def objects_in(payload: bytes) -> list[bytes] | None:
    """The objects in JSON that is none itself: those of a list, or none in what says nothing. None: it says something
    else, or is no JSON.
    """
    try:
        value = _any.decode(repaired(payload))
    except BROKEN:
        return None
    items = value if isinstance(value, list) else [] if value in (None, "", False) else [value]
    return [_encode(item) for item in items] if all(isinstance(item, dict) for item in items) else None


_ESCAPES = frozenset((b'"', b"\\", b"/", b"b", b"f", b"n", b"r", b"t"))


def value_of(payload: bytes) -> Any:
    """The value in `payload`; None where it is no JSON."""
    try:
        return decode(payload, _any)
    except ProviderUnavailable:
        return None


def fields_in(text: str) -> dict[str, Raw] | None:
    """The fields of the JSON object that the text is, each byte for byte; None where it is none."""
    try:
        return _fields(text)
    except BROKEN:
        return None


def object_in(text: str) -> Raw | None:
    """The text byte for byte, if it is a JSON object."""
    return None if fields_in(text) is None else Raw(text.encode())


def first_value(text: bytes) -> bytes | None:
    """The JSON value at the beginning of `text`, None while it is not complete."""
    whole = text.decode("utf-8", "replace")
    try:
        _, end = json.JSONDecoder().raw_decode(whole)
    except (ValueError, RecursionError):
        return None
    return whole[:end].encode()


def string_in(values: Mapping[str, Any], name: str) -> str:
    """A field that is a string; "" where there is none."""
    value = values.get(name)
    return value if isinstance(value, str) else ""


def dict_in(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A field that is an object; an empty one where there is none."""
    value = values.get(name)
    return value if isinstance(value, dict) else {}


def dicts_in(values: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects in a field that is a list."""
    value = values.get(name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
