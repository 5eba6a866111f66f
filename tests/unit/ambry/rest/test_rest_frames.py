"""Frames: literal bytes, any cut, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import InvalidRequest
from ambry.rest.frames import HEADER_SIZE_MAX, ApiFrame, FrameReader, encode_frame

ONE = b"\x00\x00\x00\x0c\x00\x00\x00\x00\x00\x00\x00\x03a: 1\r\nb: 2\r\nxyz"


def frames(raw: bytes, *, body_size_max: int = 100) -> list[ApiFrame]:
    reader = FrameReader(body_size_max=body_size_max)
    found = list(reader.feed(raw))
    reader.close()
    return found


def test_a_frame_is_these_bytes() -> None:
    assert encode_frame({"a": "1", "b": "2"}, b"xyz") == ONE
    assert frames(ONE) == [ApiFrame({"a": "1", "b": "2"}, b"xyz")]
    assert frames(bytes(12)) == [ApiFrame({}, b"")]


@pytest.mark.parametrize("cut", range(1, len(ONE)))
def test_a_body_that_ends_inside_a_frame_was_cut_off(cut: int) -> None:
    with pytest.raises(InvalidRequest, match="cut off"):
        frames(ONE + ONE[:cut])


@given(
    st.lists(
        st.tuples(
            st.dictionaries(
                st.from_regex(r"[a-z-]{1,9}", fullmatch=True), st.from_regex(r"[!-~]{0,9}", fullmatch=True)
            ),
            st.binary(max_size=50),
        ),
        max_size=5,
    ),
    st.lists(st.integers(1, 40)),
)
def test_whatever_the_pieces_the_frames_come_out(sent: list[tuple[dict[str, str], bytes]], sizes: list[int]) -> None:
    raw = b"".join(encode_frame(headers, body) for headers, body in sent)
    reader = FrameReader(body_size_max=100)
    found: list[ApiFrame] = []
    start = 0
    for size in [*sizes, len(raw)]:
        found += reader.feed(raw[start : start + size])
        start += size
    reader.close()
    assert found == [ApiFrame(headers, body) for headers, body in sent]
    assert reader.held == 0


@pytest.mark.parametrize(
    "raw",
    [
        (HEADER_SIZE_MAX + 1).to_bytes(4) + bytes(8),
        bytes(4) + (101).to_bytes(8),
        (2).to_bytes(4) + bytes(8) + b"a:",
        (4).to_bytes(4) + bytes(8) + b"ab\r\n",
        (5).to_bytes(4) + bytes(8) + b"a :\r\n",
        (5).to_bytes(4) + bytes(8) + b"a:\n\r\n",
        (4).to_bytes(4) + bytes(8) + b":b\r\n",
        (8).to_bytes(4) + bytes(8) + b"a:\r\nA:\r\n",
        (5).to_bytes(4) + bytes(8) + b"a:\xff\r\n",
    ],
)
def test_what_is_no_frame_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        frames(raw)


def test_no_header_ends_its_line() -> None:
    for headers in ({"a": "1\r\nb: 2"}, {"a\n": "1"}, {"a": "x" * HEADER_SIZE_MAX}):
        with pytest.raises(InvalidRequest):
            encode_frame(headers, b"")
