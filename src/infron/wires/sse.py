"""Server-sent events, both directions: bytes to events and events to bytes, by the WHATWG HTML standard, section 9.2.

It never knows what the data of an event means, and never reads from a connection.
"""

from __future__ import annotations

import re

from msgspec import Struct

from infron.errors import ProviderUnavailable

MAX_FRAME_BYTES = 16 << 20
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class Event(Struct, gc=False):
    """One dispatched event, or one comment (then `comment` is its text and the rest is empty).

    `data`: the data lines joined with LF, still UTF-8 bytes. `event`: its name, "" if none was given.
    `id`: the last event id at that moment, "" if none. `retry`: milliseconds, on the event that carried it.
    """

    data: bytes = b""
    event: str = ""
    id: str = ""
    retry: int | None = None
    comment: bytes | None = None


class Decoder:
    """Feed it the bytes of a stream as they come; it gives the events that they complete.

    Linear in the number of bytes however they are split; holds at most `max_frame_bytes` of an unfinished event and
    raises ProviderUnavailable above it, from then on at every call. An unfinished event at the end is dropped, as the
    standard asks. `stray` is the first line that began with `{`: no field at all, yet some hosts write errors so.
    """

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self.stray = b""
        self._max = max_frame_bytes
        self._fragments: list[bytes] = []  # of the line that has not ended yet
        self._size = 0  # bytes held in the fragments and the data lines
        self._data: list[bytes] = []
        self._name = ""
        self._id = self._last_id = ""
        self._retry: int | None = None
        self._after_cr = False  # an LF that comes next belongs to the line end already taken
        self._start: bytes | None = b""  # the first bytes, until it is known whether they are a BOM
        self._clean = False  # nothing at all is held: the next bytes begin an event

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes, comments among them, in order."""
        # What nearly every provider sends nearly always: whole events of one data line each.
        if self._clean and data[:6] == b"data: " and data[-2:] == b"\n\n" and len(data) <= self._max:
            parts = data[6:-2].split(b"\n\ndata: ")
            if data.count(b"\n") == 2 * len(parts) and b"\r" not in data:
                return [Event(part, "", self._last_id) for part in parts]
        return self._feed_lines(data)

    def _feed_lines(self, data: bytes) -> list[Event]:
        if self._start is not None:
            data = self._start + data
            if len(data) < 3 and _BOM.startswith(data):
                self._start = data
                return []
            self._start = None
            data = data.removeprefix(_BOM)
        if not data:
            return []
        if self._after_cr and data[:1] == b"\n":
            data = data[1:]
        if data:
            self._after_cr = data[-1:] == b"\r"
        else:
            self._after_cr = False
        events: list[Event] = []
        *lines, rest = _LINE_END.split(data)
        for line in lines:
            if self._fragments:
                self._fragments.append(line)
                line = b"".join(self._fragments)
                self._fragments.clear()
            self._line(line, events)
        if rest:
            self._fragments.append(rest)
            self._grow(len(rest))
        self._clean = not (self._fragments or self._data or self._name or self._after_cr or self._retry is not None)
        return events

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > self._max:
            raise ProviderUnavailable(f"The stream held a frame of more than {self._max:,} bytes.")

    def _line(self, line: bytes, events: list[Event]) -> None:
        if not line:
            self._dispatch(events)
            return
        field, colon, value = line.partition(b":")
        if colon and not field:
            events.append(Event(comment=value.removeprefix(b" ")))
            if not self._data:
                self._size = 0
            return
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            # Fragments of this line were counted as they came; count every data line once more is harmless and simple.
            self._grow(len(value))
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")
        elif field == b"id":
            if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
        elif field == b"retry":
            if value.isdigit():
                self._retry = int(value)
        elif line[:1] == b"{" and not self.stray:
            self.stray = line

    def _dispatch(self, events: list[Event]) -> None:
        self._last_id = self._id
        if self._data:
            events.append(Event(b"\n".join(self._data), self._name, self._last_id, self._retry))
            self._data.clear()
        self._name = ""
        self._retry = None
        self._size = 0


def encode(data: bytes, event: str = "") -> bytes:
    """One event. `data` may hold line ends of any kind; each becomes a data line of its own."""
    head = b"event: " + event.encode() + b"\n" if event else b""
    if b"\n" in data or b"\r" in data:
        return head + b"".join(b"data: " + line + b"\n" for line in _LINE_END.split(data)) + b"\n"
    return b"%bdata: %b\n\n" % (head, data)


def comment(text: str) -> bytes:
    """A comment, which every client must ignore. `text` is one line."""
    return b": " + text.encode() + b"\n\n"
