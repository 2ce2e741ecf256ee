"""How a compressed body is read piece by piece, with a bound on what one piece may become.

It never knows where the bytes come from.
"""

from __future__ import annotations

import zlib

MAX_OUTPUT = 16 << 20  # bytes out of one piece of input: a bomb needs far more, no honest piece comes near
_MAX_MEMBERS = 64  # gzip members in one piece: each costs a new decoder and a copy of the rest
_GZIP, _ZLIB, _RAW = 31, 15, -15  # zlib's window bits, which also say which header is there


class Inflate:
    """Decodes one body, `gzip` or `deflate` (with or without zlib's header: both are sent under that name)."""

    __slots__ = ("_begun", "_bits", "_held", "_stream")

    def __init__(self, coding: str) -> None:
        """`coding`: the value of Content-Encoding. Raises ValueError if it is none of ours."""
        if coding not in ("gzip", "x-gzip", "deflate"):
            raise ValueError(f"the content coding {coding[:40]!r} was not asked for")
        self._bits = 0 if coding == "deflate" else _GZIP  # 0: not known before the first two bytes
        self._held = b""
        self._begun = False
        self._stream = zlib.decompressobj(self._bits or _ZLIB)

    def feed(self, data: bytes) -> bytes:
        """What `data` decodes to, perhaps nothing yet. Raises ValueError: damaged, or more than MAX_OUTPUT bytes."""
        if not self._bits:
            self._held = data = self._held + data
            if len(data) < 2:
                return b""
            zlib_header = data[0] & 15 == 8 and (data[0] << 8 | data[1]) % 31 == 0
            self._bits, self._held = (_ZLIB if zlib_header else _RAW), b""
            self._stream = zlib.decompressobj(self._bits)
        out: list[bytes] = []
        room, members = MAX_OUTPUT, 0
        while data:
            if self._stream.eof:  # another gzip member follows, or the padding that some tools add
                data = data.lstrip(b"\0")
                if not data:
                    break
                members += 1
                if self._bits != _GZIP or members > _MAX_MEMBERS:
                    raise ValueError("the compressed body goes on behind its end")
                self._stream = zlib.decompressobj(self._bits)
            try:
                out.append(self._stream.decompress(data, room + 1))
            except zlib.error as error:
                raise ValueError("the compressed body is damaged") from error
            self._begun = True
            room -= len(out[-1])
            if room < 0:
                raise ValueError(f"a piece of the compressed body holds more than {MAX_OUTPUT >> 20} MiB")
            data = self._stream.unused_data
        return b"".join(out)

    def close(self) -> None:
        """The body is over. Raises ValueError if its compressed form is not; a body without a byte is a whole one."""
        if self._held or (self._begun and not self._stream.eof):
            raise ValueError("the compressed body ends too early")
