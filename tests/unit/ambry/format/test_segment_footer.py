"""The footer of a sealed segment: the bytes never change, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambry.checksum import xxh64
from ambry.errors import DataCorrupt, FormatUnknown
from ambry.format import segment as segment_format
from ambry.format.segment import FOOTER_SIZE, SegmentFooter, SegmentHeader

HEADER = SegmentHeader(
    partition=7, incarnation=b"i" * 16, base_lsn=0, end_lsn=4096, capacity_bytes=4096, created_at_ms=5
)
SALT = 0x2A13617BE99D6A6D
SAMPLE = SegmentFooter(base_lsn=0x1122334455667788, end_lsn=0x1122334459667788, end_offset=0x03FFFFD0)
GOLDEN = "414d425259454e44" + "0001" + "000000000000" + "1122334455667788" + "1122334459667788" + "0000000003ffffd0"
SIZES = st.integers(0, (1 << 64) - 1)


def test_the_bytes_of_a_footer_never_change() -> None:
    image = segment_format.encode_footer(SAMPLE, SALT)
    assert image[:40].hex() == GOLDEN
    assert image.hex() == GOLDEN + "0781d967fcd3e49c"
    assert segment_format.decode_footer(bytes.fromhex(GOLDEN + "0781d967fcd3e49c"), SALT) == SAMPLE


def test_the_salt_of_a_log_never_changes() -> None:
    assert HEADER.salt == SALT


@given(st.builds(SegmentFooter, base_lsn=SIZES, end_lsn=SIZES, end_offset=SIZES), SIZES)
@settings(derandomize=True)
def test_a_footer_survives_its_bytes(footer: SegmentFooter, salt: int) -> None:
    image = segment_format.encode_footer(footer, salt)
    assert len(image) == FOOTER_SIZE
    assert segment_format.decode_footer(image, salt) == footer
    assert segment_format.decode_footer(memoryview(bytearray(image)), salt) == footer


def test_where_nothing_was_written_there_is_none() -> None:
    assert segment_format.decode_footer(bytes(FOOTER_SIZE), SALT) is None
    with pytest.raises(DataCorrupt):
        segment_format.decode_footer(b"X" * FOOTER_SIZE, SALT)


@pytest.mark.parametrize("place", range(FOOTER_SIZE))
def test_damage_anywhere_is_noticed(place: int) -> None:
    image = segment_format.encode_footer(SAMPLE, SALT)
    for bit in range(8):
        damaged = bytearray(image)
        damaged[place] ^= 1 << bit
        with pytest.raises(DataCorrupt, match=r"^the segment footer is damaged$"):
            segment_format.decode_footer(damaged, SALT)
    torn = image[:place] + bytes(FOOTER_SIZE - place)
    if place:
        with pytest.raises(DataCorrupt, match=r"^the segment footer is damaged$"):
            segment_format.decode_footer(torn, SALT)


@pytest.mark.parametrize("size", [1, 39, 40, FOOTER_SIZE - 1, FOOTER_SIZE + 1])
def test_a_footer_of_another_size_is_none_of_ours(size: int) -> None:
    image = (segment_format.encode_footer(SAMPLE, SALT) + b"x")[:size]
    with pytest.raises(DataCorrupt, match=r"^the segment footer is damaged$"):
        segment_format.decode_footer(image, SALT)


@pytest.mark.parametrize("salt", [0, SALT ^ 1, SALT + 1])
def test_the_footer_of_another_log_is_not_believed(salt: int) -> None:
    """A payload may hold the image of a footer; it cannot know the salt."""
    with pytest.raises(DataCorrupt, match=r"^the segment footer is damaged$"):
        segment_format.decode_footer(segment_format.encode_footer(SAMPLE, salt), SALT)


@pytest.mark.parametrize("place", range(7, 16))
def test_a_footer_of_a_later_release_is_refused_clearly(place: int) -> None:
    """Its magic, version, features, and what is reserved."""
    body = bytearray.fromhex(GOLDEN)
    body[place] ^= 2
    with pytest.raises(
        FormatUnknown, match=r"^segment footer version .*: written by a newer release; upgrade to read it$"
    ):
        segment_format.decode_footer(bytes(body) + xxh64(bytes(body), SALT).to_bytes(8, "big"), SALT)
