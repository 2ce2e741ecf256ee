"""Errors of Google's APIs as ours: google.rpc.Status, whose details say how long to wait.

It never decides what is done about an error, and never lets a key through.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
from msgspec import Struct

from infron.catalog import Provider
from infron.errors import InfronError, ProviderError, ProviderUnavailable
from infron.wires import loose, openai_errors

Headers = list[tuple[bytes, bytes]]  # names in lower case


class _Detail(Struct, gc=False):
    retryDelay: Any = None


class _Error(Struct, gc=False):
    status: Any = None
    details: list[_Detail] | None = None


class _Body(Struct, gc=False):
    error: _Error | None = None


_bodies = msgspec.json.Decoder(_Body | list[_Body])


def parse_error(
    status: int, headers: Headers, body: bytes, provider: Provider, key: str = "", now: float = 0.0
) -> InfronError:
    """Google's error as ours (google.rpc.Status): how long to wait stands in its details, not in a header."""
    error = openai_errors.parse_error(status, headers, body, provider, key, now)
    try:
        found = loose.decode(body, _bodies)
    except ProviderUnavailable:
        return error
    said = (found[0] if found else None) if isinstance(found, list) else found
    if said is None or said.error is None:
        return error
    if error.retry_after is None:
        delays = (_seconds(detail.retryDelay) for detail in said.error.details or ())
        error.retry_after = next((delay for delay in delays if delay is not None), None)
    if isinstance(error, ProviderError) and isinstance(said.error.status, str) and said.error.status.isascii():
        error.metadata.setdefault("provider_code", said.error.status[:100])
    return error


def _seconds(duration: Any) -> float | None:
    """A duration of protobuf's JSON, as in "34.4s"."""
    if not isinstance(duration, str) or not duration.endswith("s"):
        return None
    try:
        seconds = float(duration[:-1])
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
