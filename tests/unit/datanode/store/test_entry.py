from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambry.blob import NEVER_MS, BlobState, DatedState
from ambry.errors import IndexCorrupt
from ambry.ids import BlobId, IdKind
from datanode.store import entry as entry_format
from datanode.store.entry import VALUE_SIZE, IndexEntry

U32 = st.integers(0, 0xFFFFFFFF)
ids = st.builds(
    BlobId.make,
    kind=st.sampled_from(IdKind),
    datacenter=st.integers(0, 0xFFFF),
    account=U32,
    container=U32,
    partition=st.just(7),
    uuid=st.binary(min_size=16, max_size=16),
)
entries = st.builds(
    IndexEntry,
    ids.map(lambda blob_id: blob_id.raw),
    st.integers(0, (1 << 63) - 1),
    U32,
    U32,
    U32,
    U32,
    st.builds(BlobState, U32, st.booleans(), st.integers(0, NEVER_MS)),
    st.integers(0, (1 << 48) - 1),
    st.booleans(),
)
ID = BlobId.make(kind=IdKind.CHUNK, datacenter=1, account=2, container=3, partition=7, uuid=b"u" * 16).raw
SAMPLE = IndexEntry(ID, 0x11, 0x22, 0x33, 0x44, 0x55, BlobState(0x66, True, 0x77), 0x88, True)
GOLDEN = (
    "01" + "03" + "010200010000000200000003" + "0000000000000011" + "00000022" + "00000033" + "00000044" + "00000055"
    "00000066" + "0000000000000077" + "000000000088" + "56a69d08"
)


def test_the_bytes_of_an_entry_never_change() -> None:
    assert entry_format.encode(SAMPLE).hex() == GOLDEN


@given(entries)
@settings(derandomize=True)
def test_an_entry_survives_its_bytes(entry: IndexEntry) -> None:
    value = entry_format.encode(entry)
    assert len(value) == VALUE_SIZE
    assert entry_format.decode(entry.id[16:32], value, 7) == entry
    assert entry.present == (entry.segment != 0)


@pytest.mark.parametrize("place", range(VALUE_SIZE))
def test_a_flipped_bit_anywhere_is_noticed(place: int) -> None:
    value = entry_format.encode(SAMPLE)
    for bit in range(8):
        damaged = bytearray(value)
        damaged[place] ^= 1 << bit
        with pytest.raises(IndexCorrupt):
            entry_format.decode(ID[16:32], bytes(damaged), 7)
    with pytest.raises(IndexCorrupt):
        entry_format.decode(ID[16:32], value[:place], 7)


def test_an_entry_under_the_wrong_key_is_noticed() -> None:
    with pytest.raises(IndexCorrupt):
        entry_format.decode(b"v" * 16, entry_format.encode(SAMPLE), 7)


@pytest.mark.parametrize(
    ("start", "named"),
    [(b"\0", "version 0"), (b"\2", "version 2"), (b"\1\4", "flags 0x04"), (b"\1\x83", "flags 0x83")],
)
def test_what_is_not_known_is_corrupt_so_that_it_is_rebuilt(start: bytes, named: str) -> None:
    """An index is made of the log: one of a later release is made again, and not guessed at."""
    from ambry.checksum import xxh64

    value = start + entry_format.encode(SAMPLE)[len(start) : 56]
    check = (xxh64(ID[16:32] + value) & 0xFFFFFFFF).to_bytes(4, "big")
    with pytest.raises(IndexCorrupt, match=named):
        entry_format.decode(ID[16:32], value + check, 7)


def test_a_damaged_entry_is_named_by_its_key_and_partition() -> None:
    value = entry_format.encode(SAMPLE)
    reason = f"^the index entry of {'75' * 16} in partition 7 fails its checksum$"
    with pytest.raises(IndexCorrupt, match=reason):
        entry_format.decode(ID[16:32], value[:-1], 7)
    with pytest.raises(IndexCorrupt, match=reason):
        entry_format.decode(ID[16:32], b"\2" + value[1:], 7)


def test_an_entry_is_of_a_blob_that_was_never_repaired_unless_it_says_so() -> None:
    assert not IndexEntry(ID, 0x11, 0x22, 0x33, 0x44, 0x55, BlobState(), 0x88).repaired


def test_an_entry_is_replaced_and_never_changed() -> None:
    """Entries are shared by the index, the checkpoint on its way and whoever reads."""
    for field in SAMPLE.__struct_fields__:
        with pytest.raises(AttributeError, match="immutable"):
            setattr(SAMPLE, field, getattr(SAMPLE, field))


def test_an_entry_gives_its_state_with_its_time() -> None:
    assert SAMPLE.dated == DatedState(BlobState(0x66, True, 0x77), 0x88)


def test_only_what_is_deleted_has_a_time_of_its_delete() -> None:
    assert SAMPLE.deleted_at_ms == SAMPLE.changed_at_ms
    alive = msgspec.structs.replace(SAMPLE, state=BlobState(0x66, False, 0x77))
    assert alive.deleted_at_ms == 0
