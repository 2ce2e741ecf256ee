"""Server-sent events by the WHATWG rules, however the bytes are cut."""

from __future__ import annotations

import itertools
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infron.errors import ProviderUnavailable
from infron.wires import sse

M = sse.Event


def comment(text: bytes) -> sse.Event:
    return M(comment=text)


def fed(pieces: list[bytes], decoder: sse.Decoder | None = None) -> list[sse.Event]:
    decoder = decoder or sse.Decoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


def one_by_one(stream: bytes) -> list[bytes]:
    return [stream[i : i + 1] for i in range(len(stream))]


def cut_at(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(edges)]


# Each: the rule -> (the stream, the events).
RULES: dict[str, tuple[bytes, list[sse.Event]]] = {
    "a blank line dispatches": (b"data: a\n\ndata: b\n\n", [M(b"a"), M(b"b")]),
    "CR LF ends lines": (b"data: a\r\n\r\ndata: b\r\n\r\n", [M(b"a"), M(b"b")]),
    "a lone CR ends lines": (b"data: a\r\rdata: b\r\r", [M(b"a"), M(b"b")]),
    "line ends may be mixed": (b"data: a\r\n\ndata: b\n\r\ndata: c\r\n\r", [M(b"a"), M(b"b"), M(b"c")]),
    "one BOM at the start is dropped": (b"\xef\xbb\xbfdata: a\n\n", [M(b"a")]),
    "a second BOM is part of the field name": (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", [M(b"b")]),
    "a BOM later on is part of the field name": (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [M(b"a")]),
    "bytes that only begin like a BOM stay": (b"\xef\xbbdata: a\ndata: b\n\n", [M(b"b")]),
    "one leading space of a value is dropped": (b"data:  a\n\ndata:b\n\n", [M(b" a"), M(b"b")]),
    "a tab is not a space": (b"data:\ta\n\n", [M(b"\ta")]),
    "only the first colon separates": (b"data: a:b: c\n\n", [M(b"a:b: c")]),
    "data lines join with LF": (b"data: a\ndata: b\n\n", [M(b"a\nb")]),
    "data without a value is an empty string": (b"data\n\n", [M(b"")]),
    "data with a colon only is an empty string": (b"data:\n\n", [M(b"")]),
    "two empty data lines are one LF": (b"data\ndata\n\n", [M(b"\n")]),
    "field names are case-sensitive": (b"Data: a\nDATA: b\n\n", []),
    "a field name with a space before it is unknown": (b" data: a\n\n", []),
    "unknown fields are ignored": (b"foo: bar\ndata: a\nbaz\n\n", [M(b"a")]),
    "a comment is told and changes nothing": (b": hello\ndata: a\n\n", [comment(b"hello"), M(b"a")]),
    "a comment may stand between data lines": (b"data: a\n:x\ndata: b\n\n", [comment(b"x"), M(b"a\nb")]),
    "a comment may be empty": (b":\n\n", [comment(b"")]),
    "a comment may hold NUL": (b":a\0b\n\n", [comment(b"a\0b")]),
    "an event has a name": (b"event: ping\ndata: a\n\n", [M(b"a", "ping")]),
    "the name is for one event": (b"event: ping\ndata: a\n\ndata: b\n\n", [M(b"a", "ping"), M(b"b")]),
    "the last name wins": (b"event: x\nevent: y\ndata: a\n\n", [M(b"a", "y")]),
    "an empty name is no name": (b"event: x\nevent:\ndata: a\n\n", [M(b"a")]),
    "without data nothing is dispatched and the name is forgotten": (b"event: ping\n\ndata: a\n\n", [M(b"a")]),
    "the id lasts": (b"id: 1\ndata: a\n\ndata: b\n\n", [M(b"a", "", "1"), M(b"b", "", "1")]),
    "an id after the data is of the same event": (b"data: a\nid: 1\n\n", [M(b"a", "", "1")]),
    "an id without data is of the next event": (b"id: 1\n\ndata: a\n\n", [M(b"a", "", "1")]),
    "an id with NUL is ignored": (b"id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n", [M(b"a", "", "1"), M(b"b", "", "1")]),
    "an empty id clears it": (b"id: 1\ndata: a\n\nid\ndata: b\n\n", [M(b"a", "", "1"), M(b"b")]),
    "retry is milliseconds": (b"retry: 1500\ndata: a\n\n", [M(b"a", retry=1500)]),
    "retry with anything but digits is ignored": (b"retry: 1.5\nretry: -1\nretry:\nretry: x\ndata: a\n\n", [M(b"a")]),
    "the last event without a blank line is discarded": (b"data: a\n\ndata: b\n", [M(b"a")]),
    "a discarded event keeps its id to itself": (b"data: a\n\nid: 9\ndata: b", [M(b"a")]),
    "many blank lines are one": (b"\n\n\ndata: a\n\n\n\n\n", [M(b"a")]),
    "line ends of Unicode are text": ("data: a\u2028b\u0085c\n\n".encode(), [M("a\u2028b\u0085c".encode())]),
    "VT and FF are text": (b"data: a\x0bb\x0cc\n\n", [M(b"a\x0bb\x0cc")]),
    "invalid UTF-8 in a name becomes U+FFFD": (b"event: \xff\ndata: \xff\n\n", [M(b"\xff", "\ufffd")]),
    "a line that begins with a brace is told as stray": (
        b'data: a\n{"error": 1}\n\n',
        [M(data=b'{"error": 1}', stray=True), M(b"a")],
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_holds_however_the_bytes_are_cut(rule: str) -> None:
    stream, events = RULES[rule]
    assert fed([stream]) == events
    assert fed(one_by_one(stream)) == events
    for place in range(len(stream) + 1):
        assert fed([stream[:place], b"", stream[place:]]) == events
    chance = random.Random(rule)
    for _ in range(20):
        assert fed(cut_at(stream, [chance.randrange(1000) for _ in range(4)])) == events


FIELDS = st.sampled_from([b"data", b"event", b"id", b"retry", b"", b"x", b"{", b"\xef\xbb\xbf", b"data: {", b"\0"])
COLONS = st.sampled_from([b"", b":", b": ", b":  "])
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n", b"\n\n"])
LINES = st.tuples(FIELDS, COLONS, st.binary(max_size=6), ENDS).map(b"".join)
STREAMS = st.lists(LINES, max_size=12).map(b"".join)


@settings(deadline=None)
@given(STREAMS, st.lists(st.integers(0, 10_000), max_size=8))
def test_any_stream_gives_the_same_events_whole_and_in_pieces(stream: bytes, places: list[int]) -> None:
    events = fed([stream])
    assert fed(cut_at(stream, places)) == events
    assert fed(one_by_one(stream)) == events


@settings(deadline=None)
@given(st.lists(st.binary(max_size=20), max_size=6), st.lists(st.integers(0, 10_000), max_size=8))
def test_what_is_encoded_is_what_is_decoded_with_each_line_end_as_lf(texts: list[bytes], places: list[int]) -> None:
    stream = b"".join(sse.encode(text) for text in texts)
    expected = [M(re.sub(rb"\r\n|\r", b"\n", text)) for text in texts]
    assert fed(cut_at(stream, places)) == expected


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), min_size=1, max_size=9))
def test_a_name_and_a_comment_come_back(text: str) -> None:
    assert fed([sse.comment(text)]) == [comment(text.encode())]
    name = text.lstrip(" ") or "x"
    assert fed([sse.encode(b"a", name)]) == [M(b"a", name)]


def test_what_is_encoded_is_one_data_line_and_a_blank_line() -> None:
    assert sse.encode(b'{"a":1}') == b'data: {"a":1}\n\n'
    assert sse.encode(b"a\r\nb", "x") == b"event: x\ndata: a\ndata: b\n\n"
    assert sse.comment("Infron AI PROCESSING") == b": Infron AI PROCESSING\n\n"


# ---- at the end of the stream


@pytest.mark.parametrize(
    ("stream", "left"),
    [
        (b"data: a\n\n", []),
        (b"data: a\n\ndata: b\n", [M(b"b")]),
        (b"data: a\n\ndata: b", [M(b"b")]),
        (b"data: a\n\nevent: e\ndata: b\ndata: c", [M(b"b\nc", "e")]),
        (b"data: a\n\n: com", [comment(b"com")]),
        (b"data: a\n\ndat", []),
        (b'data: a\n\n{"error"', [M(data=b'{"error"', stray=True)]),
        (b"\xef", []),
    ],
)
def test_closing_gives_what_lacked_its_blank_line(stream: bytes, left: list[sse.Event]) -> None:
    for pieces in ([stream], one_by_one(stream)):
        decoder = sse.Decoder()
        fed(pieces, decoder)
        assert decoder.close() == left


# ---- hosts that forget the blank line


def braces(line: bytes) -> bool:
    return line[:1] == b"{" and line[-1:] == b"}"


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: {1}\ndata: {2}\n", [M(b"{1}"), M(b"{2}")]),
        (b"data: {1}\n\ndata: {2}\n\n", [M(b"{1}"), M(b"{2}")]),
        (b"data: {1\ndata: 2}\n\n", [M(b"{1\n2}")]),
        (b"data: {\ndata: {2}\ndata: }\n\n", [M(b"{\n{2}\n}")]),
        (b"event: e\ndata: {1}\n\ndata: {2}\n", [M(b"{1}", "e"), M(b"{2}")]),
        (b"id: 1\ndata: {1}\nretry: 5\ndata: {2}\n", [M(b"{1}", "", "1"), M(b"{2}", "", "1", 5)]),
    ],
)
def test_a_data_line_that_is_whole_by_itself_waits_for_no_blank_line(stream: bytes, events: list[sse.Event]) -> None:
    for pieces in ([stream], one_by_one(stream), [stream[:9], stream[9:]]):
        assert fed(pieces, sse.Decoder(whole=braces)) == events


# ---- bounds


def refused(pieces: list[bytes], limit: int) -> bool:
    decoder = sse.Decoder(limit)
    try:
        fed(pieces, decoder)
    except ProviderUnavailable:
        with pytest.raises(ProviderUnavailable):
            decoder.feed(b"data: a\n\n")
        return True
    return False


LIMIT = 100


@pytest.mark.parametrize(
    ("stream", "too_large"),
    [
        (b"data: " + b"x" * 100 + b"\n\n", False),
        (b"data: " + b"x" * 101 + b"\n\n", True),
        (b"data: " + b"x" * 49 + b"\ndata: " + b"x" * 50 + b"\n\n", False),
        (b"data: " + b"x" * 49 + b"\ndata: " + b"x" * 51 + b"\n\n", True),
        (b"data\n" * 103 + b"\n", False),
        (b"data\n" * 104 + b"\n", True),
        (b"x" * 106, False),
        (b"x" * 107, True),
        (b": " + b"c" * 104 + b"\n", False),
        (b": " + b"c" * 105 + b"\n", True),
        (b": " + b"c" * 90 + b"\n\n", False),
        ((b": " + b"c" * 90 + b"\n\n") * 50, False),
        ((b"data: " + b"x" * 100 + b"\n\n") * 50, False),
        ((b"data: x\n" + b": " + b"c" * 90 + b"\n") * 5, False),
    ],
)
def test_the_bound_is_the_same_however_the_bytes_are_cut(stream: bytes, too_large: bool) -> None:
    assert refused([stream], LIMIT) is too_large
    assert refused(one_by_one(stream), LIMIT) is too_large
    assert refused([stream[i : i + 7] for i in range(0, len(stream), 7)], LIMIT) is too_large


def test_a_line_of_more_than_half_the_bound_passes_in_pieces() -> None:
    # Fragments and the line that they make were both counted: 9 MiB broke a bound of 16 MiB.
    line = b"data: " + b"x" * (9 << 20) + b"\n\n"
    pieces = [line[i : i + (64 << 10)] for i in range(0, len(line), 64 << 10)]
    assert [len(event.data) for event in fed(pieces)] == [9 << 20]


def test_no_byte_of_a_long_line_fed_singly_is_searched_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    split: list[int] = []
    pattern = sse._LINE_END

    class Spy:
        def split(self, data: bytes) -> list[bytes]:
            split.append(len(data))
            return pattern.split(data)

    monkeypatch.setattr(sse, "_LINE_END", Spy())
    decoder = sse.Decoder()
    line = b"data: " + b"x" * (1 << 17) + b"\n\n"
    events = fed(one_by_one(line), decoder)
    assert [len(event.data) for event in events] == [1 << 17]
    assert sum(split) == len(line)
