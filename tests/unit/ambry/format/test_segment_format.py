from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambry.checksum import xxh64
from ambry.errors import DataCorrupt, FormatUnknown
from ambry.format import segment as segment_format
from ambry.format.segment import HEADER_SIZE, SegmentHeader

SAMPLE = SegmentHeader(
    partition=0x01020304,
    incarnation=b"i" * 16,
    base_lsn=0x1122334455667788,
    end_lsn=0x1122334459667788,
    capacity_bytes=1 << 26,
    created_at_ms=9,
    generation=3,
)
GOLDEN = (
    "414d425259534547"
    + "0001"
    + "0000"
    + "01020304"
    + "69" * 16
    + "1122334455667788"
    + "1122334459667788"
    + "0000000004000000"
    + "0000000000000009"
    + "00000003"
    + "00" * 52
)


def test_the_bytes_of_a_segment_header_never_change() -> None:
    image = segment_format.encode(SAMPLE)
    assert image[:120].hex() == GOLDEN
    assert image.hex() == GOLDEN + "d398282cc8af3ddd"
    assert segment_format.decode(image) == SAMPLE


@given(
    st.builds(
        SegmentHeader,
        partition=st.integers(0, 0xFFFFFFFF),
        incarnation=st.binary(min_size=16, max_size=16),
        base_lsn=st.integers(0, (1 << 64) - 1),
        end_lsn=st.integers(0, (1 << 64) - 1),
        generation=st.integers(0, (1 << 32) - 1),
        capacity_bytes=st.integers(0, (1 << 64) - 1),
        created_at_ms=st.integers(0, (1 << 64) - 1),
    )
)
@settings(derandomize=True)
def test_a_header_survives_its_bytes(header: SegmentHeader) -> None:
    image = segment_format.encode(header)
    assert len(image) == HEADER_SIZE
    assert segment_format.decode(image + b"records") == header


@pytest.mark.parametrize("place", range(HEADER_SIZE))
def test_damage_anywhere_is_noticed(place: int) -> None:
    image = segment_format.encode(SAMPLE)
    with pytest.raises(DataCorrupt, match=r"^the segment header is damaged$"):
        segment_format.decode(image[:place])
    for bit in range(8):
        damaged = bytearray(image)
        damaged[place] ^= 1 << bit
        with pytest.raises(DataCorrupt, match=r"^the segment header is damaged$"):
            segment_format.decode(damaged)


@pytest.mark.parametrize(
    ("place", "named"),
    [
        (8, "version 257"),
        (9, "version 0"),
        (10, "features 0x0100"),
        (11, "features 0x0001"),
        *((place, f"reserved {'00' * (place - 68)}01") for place in range(68, 120)),
    ],
)
def test_a_segment_of_a_later_release_is_refused_with_what_is_new(place: int, named: str) -> None:
    body = bytearray.fromhex(GOLDEN)
    body[place] ^= 1
    with pytest.raises(FormatUnknown, match=f"{named}.*: written by a newer release; upgrade to read it$"):
        segment_format.decode(bytes(body) + xxh64(bytes(body)).to_bytes(8, "big"))


def test_what_is_new_is_shown_to_its_last_byte_that_is_not_zero() -> None:
    body = bytearray.fromhex(GOLDEN)
    body[68:70] = b"\x20\x20"
    with pytest.raises(FormatUnknown, match="reserved 2020: "):
        segment_format.decode(bytes(body) + xxh64(bytes(body)).to_bytes(8, "big"))
