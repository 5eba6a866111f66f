"""Reading records: ranges, what is verified, and what is never served."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ambry.checksum import BLOCK_SIZE, block_checks
from ambry.errors import DataCorrupt
from ambry.format import record as record_format
from datanode.store.blob_store import BlobStore
from tests.support.fake_files import FakeFiles
from tests.support.samples import (
    append,
    blob_id,
    content,
    open_replica,
    put_record,
    read_all,
)

LARGE = 3 * BLOCK_SIZE + 1000


@pytest.fixture
def disk(tmp_path: Path) -> FakeFiles:
    return FakeFiles(tmp_path)


@pytest.fixture
def store(disk: FakeFiles, tmp_path: Path) -> BlobStore:
    return open_replica(disk, tmp_path / "r", segment_size_bytes=1 << 20)


def segment_path(store: BlobStore, number: int = 1) -> Path:
    return store.directory / f"{number:08d}.segment"


RANGES = [
    (0, LARGE),
    (0, 1),
    (0, 0),
    (LARGE, LARGE),
    (70_000, 70_000),
    (BLOCK_SIZE - 1, BLOCK_SIZE + 1),
    (BLOCK_SIZE, 2 * BLOCK_SIZE),
    (3 * BLOCK_SIZE, LARGE),
    (LARGE - 1, LARGE),
    (1, LARGE - 1),
]


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize(("first", "end"), RANGES)
def test_a_range_read_covers_the_range_with_whole_verified_blocks(
    store: BlobStore, first: int, end: int, cached: bool
) -> None:
    data = content(1, LARGE)
    append(store, put_record(blob_id(1), data, properties=b"\x01\x80", metadata=b"\x01\x81\xa1k\xa1v"))
    entry = store.lookup(blob_id(1))
    assert entry is not None
    payload = store.read(entry, first, end, cached_only=cached)
    assert payload is not None
    got = bytes(payload.data)
    assert payload.start % BLOCK_SIZE == 0
    if first == end:
        assert got == b""
    else:
        assert payload.start <= first
        assert payload.start + len(got) >= end
        assert len(got) <= -(-end // BLOCK_SIZE) * BLOCK_SIZE - first // BLOCK_SIZE * BLOCK_SIZE
    assert got == data[payload.start : payload.start + len(got)]
    assert bytes(payload.checks) == block_checks(got)
    assert payload.head.id == blob_id(1)
    assert bytes(payload.head.metadata) == b"\x01\x81\xa1k\xa1v"


@pytest.mark.parametrize(("first", "end"), [span for span in RANGES if span[0] < span[1]])
def test_where_the_blocks_of_a_range_stand_is_told_and_only_the_head_is_read(
    store: BlobStore, disk: FakeFiles, first: int, end: int
) -> None:
    append(store, put_record(blob_id(1), content(1, LARGE), metadata=b"\x01\x81\xa1k\xa1v"))
    entry = store.lookup(blob_id(1))
    assert entry is not None
    read = store.read(entry, first, end, cached_only=True)
    located = store.locate(entry, first, end)
    assert read is not None
    assert located is not None
    got = bytearray(located.size)
    assert located.file.pread(got, located.offset) == located.size
    assert got == read.data
    assert (located.start, bytes(located.checks), located.head) == (read.start, bytes(read.checks), read.head)
    disk.cache_cold = True
    assert store.locate(entry, first, end) is None


def test_a_damaged_head_is_noticed_where_the_blocks_are_only_located(store: BlobStore, disk: FakeFiles) -> None:
    append(store, put_record(blob_id(1), content(1, LARGE)))
    entry = store.lookup(blob_id(1))
    assert entry is not None
    disk.flip(segment_path(store), entry.offset + 100)
    with pytest.raises(DataCorrupt):
        store.locate(entry, 0, LARGE)


def test_a_small_range_reads_only_its_blocks(store: BlobStore, disk: FakeFiles) -> None:
    """And so does not notice damage elsewhere; Ambry reads, and fails, the whole chunk."""
    data = content(1, LARGE)
    append(store, put_record(blob_id(1), data))
    entry = store.lookup(blob_id(1))
    assert entry is not None
    disk.flip(segment_path(store), entry.offset + entry.size - 200)  # the last block
    payload = store.read(entry, 10, 20, cached_only=False)
    assert payload is not None
    assert bytes(payload.data) == data[:BLOCK_SIZE]
    with pytest.raises(DataCorrupt):
        store.read(entry, LARGE - 1, LARGE, cached_only=False)
    with pytest.raises(DataCorrupt):
        store.read(entry, 0, LARGE, cached_only=False)


def test_a_range_from_the_disk_asks_for_head_and_blocks_at_once(store: BlobStore, disk: FakeFiles) -> None:
    """One after the other they took the time of two reads: 0.7 of what the disk gives."""
    append(store, put_record(blob_id(1), content(1, LARGE), properties=b"\x01\x80"))
    entry = store.lookup(blob_id(1))
    assert entry is not None
    head = entry.size - LARGE
    told: list[object] = []
    disk.before = lambda call, _path: told.append((call, len(disk.hints)))
    assert store.read(entry, LARGE - 1, LARGE, cached_only=False) is not None
    assert disk.hints == [(segment_path(store), entry.offset, head)]
    assert told == [("pread", 1), ("pread", 1)]


@pytest.mark.parametrize(("first", "end"), [(0, LARGE), (0, 1), (5, BLOCK_SIZE + 1), (0, 0), (LARGE, LARGE)])
def test_a_range_that_begins_with_the_payload_is_one_read(
    store: BlobStore, disk: FakeFiles, first: int, end: int
) -> None:
    append(store, put_record(blob_id(1), content(1, LARGE)))
    entry = store.lookup(blob_id(1))
    assert entry is not None
    disk.calls.clear()
    assert store.read(entry, first, end, cached_only=False) is not None
    assert [call for call, _ in disk.calls] == ["pread"]
    assert disk.hints == []


def test_a_read_that_must_not_wait_asks_the_disk_for_nothing(store: BlobStore, disk: FakeFiles) -> None:
    append(store, put_record(blob_id(1), content(1, LARGE)))
    entry = store.lookup(blob_id(1))
    assert entry is not None
    assert store.read(entry, LARGE - 1, LARGE, cached_only=True) is not None
    assert disk.hints == []


def test_an_index_that_has_other_sizes_than_the_record_is_not_followed(store: BlobStore) -> None:
    """The sizes in the entry say where the payload stands, so the head must agree with them."""
    append(store, put_record(blob_id(1), content(1, LARGE)))
    entry = store.lookup(blob_id(1))
    assert entry is not None
    for wrong in (
        msgspec.structs.replace(entry, size=entry.size + 8),
        msgspec.structs.replace(entry, size=entry.size - 8),
        msgspec.structs.replace(entry, payload_size=LARGE - 8),
    ):
        for first, end in ((0, 100), (70_000, 70_001), (0, 0)):
            with pytest.raises(DataCorrupt):
                store.read(wrong, first, end, cached_only=False)


def test_a_cold_cache_is_said_and_not_waited_for(store: BlobStore, disk: FakeFiles) -> None:
    append(store, put_record(blob_id(1), content(1, LARGE)))
    entry = store.lookup(blob_id(1))
    assert entry is not None
    disk.cache_cold = True
    for first, end in ((0, 1), (0, LARGE), (0, 0)):
        assert store.read(entry, first, end, cached_only=True) is None
    assert read_all(store, blob_id(1)) == content(1, LARGE)


def test_no_flipped_bit_of_a_record_is_ever_served(tmp_path: Path) -> None:
    data = content(1, 200)
    disk = FakeFiles(tmp_path)
    store = open_replica(disk, tmp_path / "r")
    record = put_record(blob_id(1), data)
    append(store, record)
    entry = store.lookup(blob_id(1))
    assert entry is not None
    for place in range(entry.size):
        disk.flip(segment_path(store), entry.offset + place, bit=place % 8)
        with pytest.raises(DataCorrupt):
            store.read(entry, 0, 200, cached_only=place % 2 == 0)
        with pytest.raises(DataCorrupt):
            store.read_image(entry)
        disk.flip(segment_path(store), entry.offset + place, bit=place % 8)
    assert read_all(store, blob_id(1)) == data


@pytest.mark.parametrize("other", [1, 2])
@pytest.mark.parametrize("cached", [True, False])
def test_a_block_in_the_wrong_place_is_caught(store: BlobStore, disk: FakeFiles, other: int, cached: bool) -> None:
    """A block of the same record, or of another, where a disk wrote it by mistake: right in itself, and not what was asked."""
    append(store, put_record(blob_id(1), content(1, LARGE)), put_record(blob_id(2), content(2, LARGE)))
    entry = store.lookup(blob_id(1))
    assert entry is not None
    start = entry.offset + entry.size - LARGE
    disk.overwrite(segment_path(store), start + BLOCK_SIZE, content(other, LARGE)[2 * BLOCK_SIZE : 3 * BLOCK_SIZE])
    for first, end in ((BLOCK_SIZE, BLOCK_SIZE + 1), (0, LARGE), (0, BLOCK_SIZE + 1)):
        with pytest.raises(DataCorrupt, match="a block of the payload fails"):
            store.read(entry, first, end, cached_only=cached)
    payload = store.read(entry, 2 * BLOCK_SIZE, LARGE, cached_only=cached)
    assert payload is not None
    assert bytes(payload.data) == content(1, LARGE)[2 * BLOCK_SIZE :]


def test_a_right_checksum_on_the_wrong_record_is_caught(store: BlobStore) -> None:
    import msgspec

    append(store, put_record(blob_id(1), b"one"), put_record(blob_id(2), b"two"))
    one, two = store.lookup(blob_id(1)), store.lookup(blob_id(2))
    assert one is not None
    assert two is not None
    swapped = msgspec.structs.replace(one, offset=two.offset)
    for call in (lambda: store.read(swapped, 0, 3, cached_only=False), lambda: store.read_image(swapped)):
        with pytest.raises(DataCorrupt, match="another blob"):
            call()


def test_bytes_that_are_gone_are_corrupt(store: BlobStore, disk: FakeFiles) -> None:
    append(store, put_record(blob_id(1), content(1, 1000)))
    entry = store.lookup(blob_id(1))
    assert entry is not None
    disk.cut(segment_path(store), entry.offset + 500)
    with pytest.raises(DataCorrupt, match="gone"):
        store.read(entry, 0, 1000, cached_only=False)
    with pytest.raises(DataCorrupt, match="segment is missing"):
        store.read(msgspec.structs.replace(entry, id=blob_id(2), segment=99), 0, 1000, cached_only=False)


def test_an_image_is_the_record_as_it_stands_in_the_log(store: BlobStore) -> None:
    record = put_record(blob_id(1), content(1, 1000), metadata=b"\x01\x80")
    append(store, record)
    entry = store.lookup(blob_id(1))
    assert entry is not None
    image = store.read_image(entry)
    found = record_format.decode(image)
    assert len(image) == entry.size
    assert (found.id, bytes(found.payload), bytes(found.metadata)) == (record.id, record.payload, b"\x01\x80")


# --- states ---
