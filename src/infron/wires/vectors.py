"""Vectors as clients of embeddings read them: as numbers, or as their bytes in base64 (float32, little-endian).

It never knows whose vectors they are.
"""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

_encode = msgspec.json.Encoder().encode
_numbers = msgspec.json.Decoder(list[float]).decode
_text = msgspec.json.Decoder(str).decode


def wanted(fields: Mapping[str, Raw]) -> str:
    """`base64`, `float`, or another word of the caller's, by which vectors stay as they come."""
    said: Any = msgspec.json.decode(fields.get("encoding_format", b"null"))
    return said if isinstance(said, str) else "float"


def in_form(vector: Raw, form: str) -> Raw:
    """The vector in this form; as it is where it has that form already, or can have none of the two."""
    is_text = bytes(memoryview(vector)[:1]) == b'"'
    try:
        if form == "base64" and not is_text:
            return Raw(_encode(base64.b64encode(_bytes_of(_numbers(vector))).decode()))
        if form == "float" and is_text:
            return Raw(_encode(_numbers_of(base64.b64decode(_text(vector), validate=True))))
    except (msgspec.DecodeError, binascii.Error, ValueError, OverflowError):
        pass
    return vector


def _bytes_of(numbers: list[float]) -> bytes:
    return _little(array("f", numbers)).tobytes()


def _numbers_of(data: bytes) -> list[float]:
    numbers = array("f")
    numbers.frombytes(data)
    return _little(numbers).tolist()


def _little(numbers: array[float]) -> array[float]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
