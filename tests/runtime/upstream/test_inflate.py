"""Decoding compressed bodies piece by piece."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infron.runtime.upstream.inflate import MAX_OUTPUT, Inflate


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "deflate, raw": raw_deflate,
}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(CODINGS)), st.binary(max_size=3000), st.lists(st.integers(0, 3200), max_size=8))
def test_however_a_body_is_cut_it_decodes_to_itself(coding: str, body: bytes, cuts: list[int]) -> None:
    data = CODINGS[coding](body)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    inflate = Inflate(coding.partition(",")[0])
    out = b"".join(inflate.feed(data[a:b]) for a, b in pairwise(edges))
    inflate.close()
    assert out == body


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["gzip", "deflate"]), st.lists(st.binary(max_size=40), max_size=10))
def test_garbage_raises_value_errors_only(coding: str, pieces: list[bytes]) -> None:
    inflate = Inflate(coding)
    try:
        for piece in pieces:
            inflate.feed(piece)
        inflate.close()
    except ValueError:
        pass


def test_a_frame_that_was_flushed_comes_out_at_once() -> None:
    stream, inflate = zlib.compressobj(wbits=31), Inflate("gzip")
    for number in range(5):
        frame = b"data: %d\n\n" % number
        assert inflate.feed(stream.compress(frame) + stream.flush(zlib.Z_SYNC_FLUSH)) == frame


@pytest.mark.parametrize(("size", "passes"), [(MAX_OUTPUT, True), (MAX_OUTPUT + 1, False)])
def test_one_piece_may_become_so_much_and_no_more(size: int, passes: bool) -> None:
    inflate = Inflate("gzip")
    if passes:
        assert len(inflate.feed(gzip.compress(bytes(size)))) == size
    else:
        with pytest.raises(ValueError, match="more than 16 MiB"):
            inflate.feed(gzip.compress(bytes(size)))


def test_many_members_in_one_piece_are_refused() -> None:
    with pytest.raises(ValueError, match="goes on behind its end"):
        Inflate("gzip").feed(gzip.compress(b"") * 1000)


def test_zeros_behind_a_gzip_body_are_padding() -> None:
    inflate = Inflate("gzip")
    assert inflate.feed(gzip.compress(b"x") + bytes(100)) + inflate.feed(bytes(5)) == b"x"
    inflate.close()


def test_a_body_without_a_byte_is_complete_and_one_with_half_a_header_is_not() -> None:
    Inflate("gzip").close()
    Inflate("deflate").close()
    half = Inflate("deflate")
    half.feed(b"\x78")
    with pytest.raises(ValueError, match="too early"):
        half.close()
