from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambry.blob import ChunkRef, Composite
from ambry.errors import DataCorrupt, FormatUnknown
from ambry.format import composite as composite_format

ID_A, ID_B = b"a" * 36, b"b" * 36
SAMPLE = Composite(total_size=0x0304, chunks=(ChunkRef(ID_A, 0x0300, b"d" * 16), ChunkRef(ID_B, 4, b"e" * 16)))
GOLDEN = (
    "0001"
    + "0000"
    + "00000002"
    + "0000000000000304"
    + "61" * 36
    + "00000300"
    + "64" * 16
    + "62" * 36
    + "00000004"
    + "65" * 16
)

chunks = st.lists(
    st.builds(
        ChunkRef,
        st.binary(min_size=36, max_size=36),
        st.integers(0, 0xFFFFFFFF),
        st.binary(min_size=16, max_size=16),
    ),
    max_size=20,
)


def test_the_bytes_of_a_composite_never_change() -> None:
    assert composite_format.encode(SAMPLE).hex() == GOLDEN
    assert composite_format.decode(bytes.fromhex(GOLDEN)) == SAMPLE


@given(chunks)
@settings(derandomize=True)
def test_a_composite_survives_its_bytes(refs: list[ChunkRef]) -> None:
    made = Composite(total_size=sum(ref.size for ref in refs), chunks=tuple(refs))
    assert composite_format.decode(memoryview(composite_format.encode(made))) == made


@pytest.mark.parametrize("cut", range(len(GOLDEN) // 2))
def test_a_cut_composite_is_refused(cut: int) -> None:
    with pytest.raises(DataCorrupt):
        composite_format.decode(bytes.fromhex(GOLDEN)[:cut])


def test_a_composite_with_bytes_behind_it_is_refused() -> None:
    with pytest.raises(DataCorrupt):
        composite_format.decode(bytes.fromhex(GOLDEN) + b"x")


def test_sizes_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(DataCorrupt, match="add up"):
        composite_format.decode(composite_format.encode(Composite(total_size=1, chunks=SAMPLE.chunks)))


def test_a_count_that_lies_allocates_nothing() -> None:
    lying = bytearray.fromhex(GOLDEN)
    lying[4:8] = b"\xff\xff\xff\xff"
    with pytest.raises(DataCorrupt):
        composite_format.decode(lying)


@pytest.mark.parametrize("place", range(4))
def test_a_composite_of_a_later_release_is_refused_clearly(place: int) -> None:
    """Its version and its features."""
    newer = bytearray.fromhex(GOLDEN)
    newer[place] ^= 2
    with pytest.raises(FormatUnknown, match="upgrade"):
        composite_format.decode(newer)
