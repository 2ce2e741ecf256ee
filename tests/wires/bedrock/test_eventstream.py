"""The framing of Amazon's event streams: published frames, every type of header, any split, both checksums."""

from __future__ import annotations

import itertools
import struct
from uuid import UUID
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infron.errors import ProviderUnavailable
from infron.wires.bedrock.eventstream import Decoder, Message, Timestamp, Value, encode, headers_of

# Two frames that the SDK's own decoder takes.
EVENT = bytes.fromhex(
    "0000009f00000057c37babff0b3a6576656e742d74797065070011636f6e74656e74426c6f636b44656c74610d3a636f6e74656e742d7479706507"
    "00106170706c69636174696f6e2f6a736f6e0d3a6d6573736167652d747970650700056576656e747b22636f6e74656e74426c6f636b496e646578"
    "223a302c2264656c7461223a7b2274657874223a224869227d2c2270223a2261626364227df2ace5ff"
)
EXCEPTION = bytes.fromhex(
    "0000008800000061de0175f40f3a657863657074696f6e2d747970650700137468726f74746c696e67457863657074696f6e0d3a636f6e74656e74"
    "2d747970650700106170706c69636174696f6e2f6a736f6e0d3a6d6573736167652d74797065070009657863657074696f6e7b226d657373616765"
    "223a22736c6f7720646f776e227d832ee072"
)

names = st.text(min_size=1, max_size=12).filter(lambda name: len(name.encode()) < 256)
values: st.SearchStrategy[Value] = st.one_of(
    st.booleans(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.binary(max_size=40),
    st.text(max_size=20),
    st.builds(Timestamp, st.integers(-(1 << 63), (1 << 63) - 1)),
    st.uuids(),
)
messages = st.lists(st.tuples(st.dictionaries(names, values, max_size=4), st.binary(max_size=60)), max_size=5)


def decoded(pieces: list[bytes], most: int = 1 << 20) -> list[tuple[dict[str, Value], bytes]]:
    decoder = Decoder(most)
    found = [message for piece in pieces for message in decoder.feed(piece)]
    assert decoder.broken is None
    return [(headers_of(message.head), message.payload) for message in found]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def test_frames_of_the_service_are_read():
    event, exception = decoded([EVENT + EXCEPTION])
    assert event == (
        {":event-type": "contentBlockDelta", ":content-type": "application/json", ":message-type": "event"},
        b'{"contentBlockIndex":0,"delta":{"text":"Hi"},"p":"abcd"}',
    )
    assert exception[0][":exception-type"] == "throttlingException"
    assert exception[1] == b'{"message":"slow down"}'


def test_our_frames_are_those_of_the_service():
    assert b"".join(encode(headers, payload) for headers, payload in decoded([EVENT + EXCEPTION])) == EVENT + EXCEPTION


@given(messages=messages, places=st.lists(st.integers(0, 1 << 16), max_size=8))
def test_what_was_encoded_is_decoded_however_it_is_cut(
    messages: list[tuple[dict[str, Value], bytes]], places: list[int]
) -> None:
    data = b"".join(encode(headers, payload) for headers, payload in messages)
    found = decoded(cut(data, places))
    assert found == messages
    # True equals 1, and so would hide a header of the wrong type.
    assert [[type(v) for v in headers.values()] for headers, _ in found] == [
        [type(v) for v in headers.values()] for headers, _ in messages
    ]


@given(pieces=st.lists(st.binary(max_size=60), max_size=8))
def test_garbage_is_told_and_never_raises(pieces: list[bytes]) -> None:
    decoder = Decoder(1 << 16)
    for piece in pieces:
        for message in decoder.feed(piece):
            assert isinstance(message, Message)


@given(head=st.binary(max_size=80))
def test_garbage_among_headers_raises_only_our_error(head: bytes) -> None:
    try:
        headers = headers_of(head)
    except ProviderUnavailable:
        return
    assert all(isinstance(name, str) for name in headers)


def header(kind: int, raw: bytes) -> bytes:
    return b"\x01h" + bytes([kind]) + raw


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (header(0, b""), True),
        (header(1, b""), False),
        (header(2, b"\xff"), -1),
        (header(3, b"\x01\x00"), 256),
        (header(4, b"\x80\x00\x00\x00"), -(1 << 31)),
        (header(5, b"\x00" * 7 + b"\x07"), 7),
        (header(6, b"\x00\x03\x00\xff\x01"), b"\x00\xff\x01"),
        (header(7, b"\x00\x03\xe2\x82\xac"), "€"),
        (header(8, b"\x00\x00\x01\x8b\xcf\xe5\x68\x00"), Timestamp(1_700_000_000_000)),
        (header(9, bytes(range(16))), UUID("00010203-0405-0607-0809-0a0b0c0d0e0f")),
    ],
)
def test_each_type_of_header_is_read(raw: bytes, value: Value):
    assert headers_of(raw) == {"h": value}


@pytest.mark.parametrize(
    "raw",
    [
        header(10, b""),
        header(7, b"\x00\x05abc"),
        header(5, b"\x00"),
        header(7, b"\x00\x01\xff"),
        b"\x05ab",
        b"\x01h",
        b"\x01h\x06\x00",
    ],
)
def test_headers_that_cannot_be_are_refused(raw: bytes):
    with pytest.raises(ProviderUnavailable, match="headers cannot be read"):
        headers_of(raw)


@pytest.mark.parametrize("place", range(len(EVENT)))
def test_one_bit_turned_over_anywhere_is_seen(place: int):
    spoilt = EVENT[:place] + bytes([EVENT[place] ^ 4]) + EVENT[place + 1 :]
    decoder = Decoder()
    # A length that grew is seen by the checksum of the beginning, before more bytes are waited for.
    assert decoder.feed(EXCEPTION + spoilt + EVENT) == Decoder().feed(EXCEPTION)
    assert decoder.broken is not None
    assert decoder.feed(EVENT) == []


def prelude(size: int, headers: int) -> bytes:
    lengths = struct.pack(">II", size, headers)
    return lengths + struct.pack(">I", crc32(lengths))


@pytest.mark.parametrize(("size", "headers"), [(0, 0), (15, 0), (16, 1), (40, 25), (100, 1 << 31)])
def test_lengths_that_cannot_be_are_refused_at_once(size: int, headers: int):
    decoder = Decoder()
    assert decoder.feed(prelude(size, headers)) == []
    assert "lengths" in str(decoder.broken)


def test_a_message_above_the_limit_is_refused_before_it_is_held():
    decoder = Decoder(100)
    assert decoder.feed(prelude(101, 0)[:11]) == []
    assert decoder.broken is None
    decoder.feed(prelude(101, 0)[11:])
    assert "more than 100 bytes" in str(decoder.broken)
    whole = encode({}, b"x" * 84)
    assert [message.payload for message in Decoder(100).feed(whole)] == [b"x" * 84]


def test_a_large_message_in_single_bytes_is_joined_once():
    """Joining at every byte would copy 20 GB here."""
    data = encode({"h": 1}, b"x" * 200_000)
    decoder = Decoder()
    found = [message for i in range(len(data)) for message in decoder.feed(data[i : i + 1])]
    assert [len(message.payload) for message in found] == [200_000]


@pytest.mark.parametrize(
    ("name", "value"), [("", 1), ("n" * 256, 1), ("n", 1 << 63), ("n", "x" * 65_536), ("n", b"x" * 65_536)]
)
def test_what_no_header_can_hold_is_not_encoded(name: str, value: Value):
    with pytest.raises(ValueError, match=r"header|bytes"):
        encode({name: value}, b"")


def test_botocore_reads_our_messages():
    eventstream = pytest.importorskip("botocore.eventstream")
    headers: dict[str, Value] = {"a": True, "b": 1, "c": 300, "d": -70_000, "e": 1 << 40, "f": b"\0\1", "g": "€"}
    buffer = eventstream.EventStreamBuffer()
    buffer.add_data(encode(headers, b"{}") + encode({}, b""))
    first, second = buffer
    assert first.headers == headers
    assert (first.payload, second.payload) == (b"{}", b"")
