"""The framing `application/vnd.amazon.eventstream`, both directions: bytes to messages and messages to bytes.

It never knows what a message means, and never reads from a connection. Source: the Smithy specification of the Amazon
event stream: a prelude (two lengths and their CRC), headers, payload, and the CRC of all that, big-endian throughout.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from uuid import UUID
from zlib import crc32

from msgspec import Struct

from infron.errors import ProviderUnavailable

MEDIA_TYPE = b"application/vnd.amazon.eventstream"
MAX_MESSAGE_BYTES = 16 << 20

_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_FRAME = 16  # bytes of a message beside its headers and its payload


class Timestamp(Struct, frozen=True):
    """Milliseconds since 1970."""

    ms: int


Value = bool | int | bytes | str | Timestamp | UUID


class Message(Struct, frozen=True, gc=False):
    """`head`: the headers as they stand in the message, for `headers_of`."""

    head: bytes
    payload: bytes


class Decoder:
    """Feed it the bytes of a stream as they come; it gives the messages that they complete.

    Linear in the number of bytes however they are split. It holds at most one message, of `max_message_bytes` (or
    one read more). `broken`: why nothing more comes: a wrong checksum, a length that cannot be, a message too large.
    """

    def __init__(self, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._max = max_message_bytes
        self._pieces: list[bytes] = []  # of the message that is not complete
        self._held = 0  # bytes in them
        self._wanted = 0  # as many are worth a look
        self.broken: ProviderUnavailable | None = None

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes, in order; those before a broken one too."""
        if self.broken is not None:
            return []
        if self._pieces:
            self._pieces.append(data)
            self._held += len(data)
            if self._held < self._wanted:
                return []
            data = b"".join(self._pieces)
            self._pieces.clear()
        messages: list[Message] = []
        at, end = 0, len(data)
        wanted = _PRELUDE.size
        while end - at >= _PRELUDE.size:
            size, headers, check = _PRELUDE.unpack_from(data, at)
            begun = crc32(data[at : at + 8])
            if begun != check:
                self._break("whose beginning has a wrong checksum")
                return messages
            if size > self._max:
                self._break(f"of more than {self._max:,} bytes")
                return messages
            if headers > size - _FRAME:
                self._break("whose lengths cannot be")
                return messages
            stop = at + size
            if stop > end:
                wanted = size
                break
            if crc32(data[at + 8 : stop - 4], begun) != _CRC.unpack_from(data, stop - 4)[0]:
                self._break("with a wrong checksum")
                return messages
            body = at + 12 + headers
            messages.append(Message(data[at + 12 : body], data[body : stop - 4]))
            at = stop
        self._held = end - at
        if self._held:
            self._pieces.append(data[at:])
            self._wanted = wanted
        return messages

    def _break(self, what: str) -> None:
        self.broken = ProviderUnavailable(f"The stream held a message {what}.")


# ---- headers

_SIZES = {2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}  # type -> bytes of its value, where they are always as many
_SIZED = {6: False, 7: True}  # type -> whether it is text, where the size stands before the value


def headers_of(head: bytes) -> dict[str, Value]:
    """The headers of a message. Raises ProviderUnavailable for what is no list of headers."""
    headers: dict[str, Value] = {}
    at = 0
    try:
        while at < len(head):
            start = at + 1
            at = start + head[at]
            name, kind = head[start:at].decode(), head[at]
            at += 1
            start = at
            if kind in (0, 1):
                headers[name] = kind == 0
                continue
            if kind in _SIZED:
                start += 2
                at = start + int.from_bytes(head[at:start])
            else:
                at += _SIZES[kind]
            if at > len(head):
                raise IndexError
            headers[name] = _value(kind, head[start:at])
    except (IndexError, KeyError, UnicodeDecodeError):
        raise ProviderUnavailable("The stream held a message whose headers cannot be read.") from None
    return headers


def _value(kind: int, raw: bytes) -> Value:
    if kind in _SIZED:
        return raw.decode() if _SIZED[kind] else raw
    if kind == 9:
        return UUID(bytes=raw)
    number = int.from_bytes(raw, signed=True)
    return Timestamp(number) if kind == 8 else number


# ---- to bytes


def encode(headers: Mapping[str, Value], payload: bytes) -> bytes:
    """One message. Numbers take the smallest type that holds them. Raises ValueError for what no header can hold."""
    head = b"".join(_header(name, value) for name, value in headers.items())
    lengths = struct.pack(">II", _FRAME + len(head) + len(payload), len(head))
    message = b"%b%b%b%b" % (lengths, _CRC.pack(crc32(lengths)), head, payload)
    return message + _CRC.pack(crc32(message))


def _header(name: str, value: Value) -> bytes:
    raw = name.encode()
    if not 1 <= len(raw) <= 255:
        raise ValueError(f"the name of a header has 1 to 255 bytes, not {len(raw)}")
    return b"%c%b%b" % (len(raw), raw, _typed(value))


def _typed(value: Value) -> bytes:
    if isinstance(value, bool):
        return b"\0" if value else b"\1"
    if isinstance(value, int):
        for kind, size in ((2, 1), (3, 2), (4, 4), (5, 8)):
            if -(1 << 8 * size - 1) <= value < 1 << 8 * size - 1:
                return b"%c%b" % (kind, value.to_bytes(size, signed=True))
        raise ValueError("a number of more than 64 bits is too large for a header")
    if isinstance(value, Timestamp):
        return b"\10" + value.ms.to_bytes(8, signed=True)
    if isinstance(value, UUID):
        return b"\11" + value.bytes
    kind, raw = (7, value.encode()) if isinstance(value, str) else (6, value)
    if len(raw) > 0xFFFF:
        raise ValueError("a header holds at most 65,535 bytes")
    return b"%c%b%b" % (kind, len(raw).to_bytes(2), raw)
