"""Server-sent events, both directions: bytes to events and events to bytes, by the WHATWG HTML standard, section 9.2.

It never knows what the data of an event means, and never reads from a connection.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec import Struct

from infron.errors import ProviderUnavailable

MAX_FRAME_BYTES = 16 << 20
# To a client; without the charset some libraries read a stream as Latin-1.
MEDIA_TYPE = b"text/event-stream; charset=utf-8"
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"
_DATA = len(b"data: ")
LF, CR = 10, 13  # looking for a number is several times faster than for bytes


class Event(Struct, gc=False):
    """One dispatched event, or one comment (then `comment` is its text and the rest is empty).

    `data`: the data lines joined with LF, still UTF-8 bytes. `event`: its name, "" if none was given.
    `id`: the last event id at that moment, "" if none. `retry`: milliseconds, on the event that carried it.
    `stray`: `data` is a line that begins with `{` and so is no field at all: some hosts write errors like this.
    """

    data: bytes = b""
    event: str = ""
    id: str = ""
    retry: int | None = None
    comment: bytes | None = None
    stray: bool = False


def plain(data: bytes, max_frame_bytes: int = MAX_FRAME_BYTES) -> list[bytes] | None:
    """The data of the events in `data`, if that is nothing but whole events of one data line each; else None.

    It is what nearly every provider sends nearly always, and needs no Decoder as long as one would be `clean`.
    """
    if not (data.startswith(b"data: ") and data.endswith(b"\n\n") and len(data) <= max_frame_bytes) or CR in data:
        return None
    if data.find(LF) == len(data) - 2:
        return [data[6:-2]]
    parts = data[6:-2].split(b"\n\ndata: ")
    return None if LF in b"".join(parts) else parts


class Decoder:
    """Feed it the bytes of a stream as they come; it gives the events that they complete.

    Linear in the number of bytes however they are split. The data lines of an unfinished event (a line end counted
    for each) and the line under way may together have `max_frame_bytes` and the six of `data: `; above that it raises
    ProviderUnavailable, from then on at every call. `whole`: says of a data line that opens an event whether it is an
    event by itself, for hosts that forget the blank line; without it only blank lines end events, as the standard asks.
    """

    _broken = False
    _held = 0  # bytes in the data lines, a line end counted for each
    _name = _id = _last_id = ""
    _retry: int | None = None
    _after_cr = False  # an LF that comes next belongs to the line end already taken
    _start: bytes | None = b""  # the first bytes, until it is known whether they are a BOM
    clean = True  # nothing at all is held: the next bytes begin an event

    def __init__(
        self,
        max_frame_bytes: int = MAX_FRAME_BYTES,
        whole: Callable[[bytes], bool] | None = None,
        *,
        begun: bool = False,
    ) -> None:
        """`begun`: what came before in this stream was `plain`."""
        self._max = max_frame_bytes
        self._whole = whole
        if begun:
            self._start = None
        self._begun = bytearray()  # what has come of the line that has not ended yet
        self._data: list[bytes] = []

    def skip(self) -> None:
        """Whole events were taken from the stream without it, while it was `clean`."""
        self._start = None

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes, comments and stray lines among them, in order."""
        plain_ones = plain(data, self._max) if self.clean else None
        if plain_ones is not None:
            self._start = None
            return [Event(part, "", self._last_id) for part in plain_ones]
        if self.clean and data.startswith(b"event: ") and data.endswith(b"\n\n") and len(data) <= self._max:
            self._start = None
            parts = data[7:-2].split(b"\n\nevent: ")
            if data.count(b"\n") == 3 * len(parts) and CR not in data:
                pairs = [part.partition(b"\ndata: ") for part in parts]
                if all(found for _, found, _ in pairs):
                    return [Event(value, _name(name), self._last_id) for name, _, value in pairs]
        return self._feed_lines(data)

    def close(self) -> list[Event]:
        """The stream has ended: the event that lacked its blank line, if any, with what there is of its last line.

        The standard discards it. It is given nevertheless, since hosts forget the last blank line; whoever takes it
        must see for himself whether it is complete. Call it once, after the last `feed`.
        """
        events: list[Event] = []
        if self._start:
            self._begun += self._start
        if self._begun:
            self._line(bytes(self._begun), events)
            self._begun.clear()
        self._dispatch(events)
        return events

    def _feed_lines(self, data: bytes) -> list[Event]:
        if self._broken:
            raise self._too_large()
        if self._start is not None:
            data = self._start + data
            if len(data) < 3 and _BOM.startswith(data):
                self._start, self.clean = data, not data
                return []
            self._start = None
            data = data.removeprefix(_BOM)
        if not data:
            return []
        if self._after_cr and data[:1] == b"\n":
            data = data[1:]
        self._after_cr = data[-1:] == b"\r"
        events: list[Event] = []
        *lines, rest = _LINE_END.split(data)
        for line in lines:
            if self._begun:
                self._begun += line
                line = bytes(self._begun)
                self._begun.clear()
            self._line(line, events)
        if rest:
            self._begun += rest
            self._check(len(self._begun))
        waiting = self._begun or self._data or self._name or self._after_cr or self._retry is not None
        self.clean = not waiting and self._id == self._last_id
        return events

    def _check(self, size: int) -> None:
        """Refuse a line of `size` bytes on top of the data that is held."""
        if self._held + size > self._max + _DATA:
            self._broken, self.clean = True, False
            self._begun.clear()
            self._data.clear()
            raise self._too_large()

    def _too_large(self) -> ProviderUnavailable:
        return ProviderUnavailable(f"The stream held a frame of more than {self._max:,} bytes.")

    def _line(self, line: bytes, events: list[Event]) -> None:
        if not line:
            self._dispatch(events)
            return
        self._check(len(line))
        field, colon, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            if self._whole is not None and not self._data and self._whole(value):
                events.append(Event(value, self._name, self._id, self._retry))
                self._last_id, self._retry = self._id, None
                return
            self._data.append(value)
            self._held += len(value) + 1
        elif colon and not field:
            events.append(Event(comment=value))
        elif field == b"event":
            self._name = _name(value)
        elif field == b"id":
            if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
        elif field == b"retry":
            if value.isdigit() and len(value) < 16:
                self._retry = int(value)
        elif line[:1] == b"{":
            events.append(Event(data=line, stray=True))

    def _dispatch(self, events: list[Event]) -> None:
        self._last_id = self._id
        if self._data:
            events.append(Event(b"\n".join(self._data), self._name, self._last_id, self._retry))
            self._data.clear()
            self._held = 0
        self._name = ""
        self._retry = None


def _name(value: bytes) -> str:
    return value.decode("utf-8", "replace")


# Line ends of Unicode, at which naive line splitters break a JSON string.
_LINE_ENDS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


def unbroken(text: bytes) -> bytes:
    """JSON in UTF-8, with the line ends of Unicode in its strings escaped."""
    if text.isascii():
        return text
    characters = text.decode()  # one is found there much faster than its bytes are in bytes
    if "\u2028" in characters or "\u2029" in characters or "\x85" in characters:
        for raw, escaped in _LINE_ENDS:
            text = text.replace(raw, escaped)
    return text


def encode(data: bytes, event: str = "") -> bytes:
    """One event. `data` may hold line ends of any kind; each becomes a data line of its own."""
    head = b"event: " + event.encode() + b"\n" if event else b""
    if LF in data or CR in data:
        return head + b"".join(b"data: " + line + b"\n" for line in _LINE_END.split(data)) + b"\n"
    return b"%bdata: %b\n\n" % (head, data)


def comment(text: str) -> bytes:
    """A comment, which every client must ignore. `text` is one line."""
    return b": " + text.encode() + b"\n\n"
