"""A request's body as it was meant: its pieces put together and, where it was compressed, decoded within its limit.

It never knows what a body means, and never runs on the loop where it may take long: a thread calls it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any

from infron.errors import InvalidRequest, PayloadTooLarge, UnsupportedMediaType
from infron.runtime.upstream.inflate import Inflate

try:
    zstd: Any = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
except ImportError:  # a platform without a wheel
    zstd = None

try:
    brotli: Any = import_module("brotli")
    brotli.Decompressor.can_accept_more_data  # before 1.2 one byte could become gigabytes at once  # noqa: B018
except (ImportError, AttributeError):  # the extra `brotli` is not installed
    brotli = None

CODINGS: tuple[str, ...] = ("gzip", "deflate", *(("zstd",) if zstd else ()), *(("br",) if brotli else ()))
_NAMES: dict[bytes, str] = {**{name.encode(): name for name in CODINGS}, b"x-gzip": "gzip", b"identity": "", b"": ""}
_STEP_BYTES = 1 << 20  # decoded at a time
_SLICE_BYTES = 8 << 10  # of input at a time: not even a bomb makes more than 8 MiB of it
_WINDOW_LOG = 23  # RFC 9659: 8 MiB, which is what a decoder holds
_BROKEN = (ValueError, EOFError, *((zstd.ZstdError,) if zstd else ()), *((brotli.error,) if brotli else ()))


def coding_of(value: bytes) -> str:
    """The coding that a Content-Encoding names, empty for none. Raises UnsupportedMediaType."""
    coding = _NAMES.get(value.strip().lower())
    if coding is None:
        raise UnsupportedMediaType(
            f"The content encoding `{value[:40].decode('latin-1')}` is not understood: send the body as it is, or "
            f"encoded as one of {', '.join(CODINGS)}.",
            headers={"Accept-Encoding": ", ".join(CODINGS)},
        )
    return coding


def whole(pieces: list[bytes], coding: str, limit: int) -> bytes:
    """The body that these pieces make. `limit`: bytes that it may have decoded.

    Raises InvalidRequest where it is not what `coding` says, PayloadTooLarge where it is larger.
    """
    if not coding:
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
    decoded: list[bytes] = []
    size = 0
    try:
        for piece in _DECODED.get(coding, _inflated)(_slices(pieces), coding):
            decoded.append(piece)
            size += len(piece)
            if size > limit:
                raise PayloadTooLarge(f"The body is larger than {limit:,} bytes when it is decoded.")
    except _BROKEN:
        raise InvalidRequest(f"The body is not valid {coding}, which its Content-Encoding names.") from None
    return b"".join(decoded)


def _slices(pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        for start in range(0, len(piece), _SLICE_BYTES):
            yield piece[start : start + _SLICE_BYTES]


def _inflated(pieces: Iterable[bytes], coding: str) -> Iterator[bytes]:
    decoder = Inflate(coding)
    for piece in pieces:
        yield decoder.feed(piece)
    decoder.close()


def _unzstd(pieces: Iterable[bytes], coding: str) -> Iterator[bytes]:
    options = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
    decoder = zstd.ZstdDecompressor(options=options)
    begun = False
    for piece in pieces:
        data = piece
        while data or not (decoder.needs_input or decoder.eof):
            if decoder.eof:  # another frame follows
                decoder, begun = zstd.ZstdDecompressor(options=options), False
            yield decoder.decompress(data, _STEP_BYTES)
            begun = True
            data = decoder.unused_data if decoder.eof else b""
    if begun and not decoder.eof:
        raise EOFError


def _unbrotli(pieces: Iterable[bytes], coding: str) -> Iterator[bytes]:
    decoder = brotli.Decompressor()
    begun = False
    for piece in pieces:
        data = piece
        while data or not (decoder.can_accept_more_data() or decoder.is_finished()):
            yield decoder.process(data, output_buffer_limit=_STEP_BYTES)
            begun, data = True, b""
    if begun and not decoder.is_finished():
        raise EOFError


_DECODED = {"zstd": _unzstd, "br": _unbrotli}
