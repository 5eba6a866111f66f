"""Reading and writing one replica."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import msgspec
import pytest

from ambry.blob import NEVER_MS, BlobState
from ambry.checksum import BLOCK_SIZE, block_checks
from ambry.errors import DataCorrupt, InvariantBroken, ReplicaFenced
from ambry.format import record as record_format
from datanode.store.blob_store import BlobStore, StoreState
from datanode.store.index import FindToken
from tests.support.fake_files import FakeFiles
from tests.support.samples import (
    ALIVE,
    DELETED,
    append,
    blob_id,
    checkpoint,
    content,
    open_replica,
    put_record,
    read_all,
    update_record,
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


def test_what_is_not_published_is_not_visible(store: BlobStore) -> None:
    record = put_record(blob_id(1), b"x")
    batch = store.begin([record], sync=True)
    batch.place()
    batch.write()
    assert store.lookup(record.id) is None
    assert store.end_lsn == 0
    store.publish(batch)
    assert read_all(store, record.id) == b"x"
    assert store.end_lsn == batch.places[0].lsn + record.size


def test_publication_is_heard_of(store: BlobStore) -> None:
    heard: list[int] = []
    store.on_publish = lambda which: heard.append(which.end_lsn)
    append(store, put_record(blob_id(1), b"x"))
    assert heard == [store.end_lsn]


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
    whole = 80 + 36 + 2 + 8 + 200
    for place in range(whole):
        disk.flip(segment_path(store), entry.offset + place, bit=place % 8)
        with pytest.raises(DataCorrupt):
            store.read(entry, 0, 200, cached_only=place % 2 == 0)
        with pytest.raises(DataCorrupt):
            store.read_image(entry)
        disk.flip(segment_path(store), entry.offset + place, bit=place % 8)
    assert read_all(store, blob_id(1)) == data


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


def test_records_join_into_the_state_whatever_their_order(tmp_path: Path) -> None:
    states = [
        BlobState(0, False, 500),
        DELETED,
        BlobState(1, False, 500),
        BlobState(0, False, 900),
        BlobState(1, True, 1),
    ]
    source = random.Random(1)
    for run in range(10):
        store = open_replica(FakeFiles(tmp_path / str(run)), tmp_path / str(run) / "r")
        order = source.sample(states, len(states))
        put_at = source.randrange(len(order) + 1)
        for number, state in enumerate(order):
            if number == put_at:
                append(store, put_record(blob_id(1), b"x", state=BlobState(0, False, 400)))
            append(store, update_record(blob_id(1), state))
        if put_at == len(order):
            append(store, put_record(blob_id(1), b"x", state=BlobState(0, False, 400)))
        entry = store.lookup(blob_id(1))
        assert entry is not None
        assert entry.state == BlobState(1, True, NEVER_MS)
        assert entry.present
        store.close()


def test_a_tombstone_without_a_blob_is_kept(store: BlobStore) -> None:
    append(store, update_record(blob_id(1), DELETED))
    entry = store.lookup(blob_id(1))
    assert entry is not None
    assert entry.state == DELETED
    assert not entry.present
    append(store, put_record(blob_id(1), b"late"))
    entry = store.lookup(blob_id(1))
    assert entry is not None
    assert entry.state == DELETED
    assert entry.present


def test_a_good_copy_replaces_a_damaged_record(store: BlobStore, disk: FakeFiles) -> None:
    append(store, put_record(blob_id(1), b"good"))
    entry = store.lookup(blob_id(1))
    assert entry is not None
    disk.flip(segment_path(store), entry.offset + 130)
    store.damaged.add(blob_id(1))
    append(store, update_record(blob_id(1), DELETED))
    assert blob_id(1) in store.damaged, "an update repairs nothing"
    append(store, put_record(blob_id(1), b"good"))
    assert store.damaged == set()
    assert read_all(store, blob_id(1)) == b"good"


def test_changes_are_those_after_the_token(store: BlobStore) -> None:
    append(store, put_record(blob_id(1), b"x"))
    token = store.end_lsn
    append(store, put_record(blob_id(2), b"x"))
    append(store, update_record(blob_id(1), DELETED))
    assert [entry.id for entry in store.changes_since(token, 10)] == [blob_id(2), blob_id(1)]
    assert [entry.id for entry in store.changes_since(token, 1)] == [blob_id(2)]
    assert store.changes_since(store.end_lsn, 10) == []


# --- fencing and checkpoints ---


def test_a_fenced_replica_takes_nothing_and_still_reads(store: BlobStore) -> None:
    append(store, put_record(blob_id(1), b"x"))
    store.serving = True
    store.fence("test")
    store.fence("again")
    assert (store.state, store.fence_reason, store.serving) == (StoreState.FENCED, "test", False)
    with pytest.raises(ReplicaFenced, match="test"):
        store.begin([put_record(blob_id(2), b"x")], sync=True)
    assert read_all(store, blob_id(1)) == b"x"


def test_a_checkpoint_syncs_the_log_before_it_writes_the_index(store: BlobStore, disk: FakeFiles) -> None:
    append(store, put_record(blob_id(1), b"x"), sync=False)
    assert store.unsynced
    disk.fail("fdatasync", errno.EIO)
    pending = store.begin_checkpoint(clean=False, tokens={})
    with pytest.raises(OSError):
        store.write_checkpoint(pending)
    assert store.checkpoint.lsn == 0
    again = open_copy_of_index(store)
    assert again == 0, "the index must not know of what the log may not hold"


def open_copy_of_index(store: BlobStore) -> int:
    """Entries that LMDB holds, read by another eye."""
    return store._index.stored_count()


def test_a_checkpoint_covers_what_was_published_when_it_began(store: BlobStore) -> None:
    append(store, put_record(blob_id(1), b"x"))
    end = store.end_lsn
    pending = store.begin_checkpoint(clean=False, tokens={"p": FindToken(b"i" * 16, 5)})
    append(store, put_record(blob_id(2), b"y"))
    store.write_checkpoint(pending)
    store.end_checkpoint(pending)
    assert (store.checkpoint.lsn, store.checkpoint.segment, store.checkpoint.offset) == (end, 1, end)
    assert store.checkpoint.tokens == {"p": FindToken(b"i" * 16, 5)}
    assert store.recent_count == 1
    assert read_all(store, blob_id(1)) == b"x"
    assert read_all(store, blob_id(2)) == b"y"


def test_a_checkpoint_of_a_closed_replica_is_a_bug(store: BlobStore) -> None:
    store.close()
    store.close()
    with pytest.raises(InvariantBroken):
        store.begin_checkpoint(clean=True, tokens={})


def test_a_fenced_replica_is_never_cleanly_stopped(store: BlobStore) -> None:
    append(store, put_record(blob_id(1), b"x"))
    store.fence("test")
    checkpoint(store, clean=True)
    assert not store.checkpoint.clean


def test_sizes(store: BlobStore, disk: FakeFiles) -> None:
    append(store, put_record(blob_id(1), content(1, 1000)))
    assert store.segment_count() == 1
    assert store.size_bytes() == store.end_lsn
    assert store.free_bytes() == disk.free
    assert store.recent_count == 1


def test_a_put_of_a_blob_that_is_there_moves_it_to_the_end(store: BlobStore) -> None:
    append(store, put_record(blob_id(1), b"x"), put_record(blob_id(2), b"x"))
    append(store, put_record(blob_id(1), b"x", state=ALIVE))
    assert [entry.id for entry in store.changes_since(0, 10)] == [blob_id(2), blob_id(1)]


def test_a_partition_is_sealed_at_90_percent_and_unsealed_below_85(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    for size in (899, 900, 870, 850, 849, 899, 900):
        monkeypatch.setattr(store, "size_bytes", lambda size=size: size)
        told.append((store.reseal(1000), store.sealed))
    assert told == [
        (False, False),
        (True, True),
        (False, True),
        (False, True),
        (True, False),
        (False, False),
        (True, True),
    ]


def test_every_record_carries_the_whole_state_of_its_blob(store: BlobStore) -> None:
    append(store, update_record(blob_id(1), DELETED))
    batch = store.begin([put_record(blob_id(1), b"x"), put_record(blob_id(2), b"y")], sync=True)
    batch.place()
    assert [record.state for record in batch.records] == [DELETED, ALIVE]
    batch.abandon()
    several = [put_record(blob_id(3), b"z"), update_record(blob_id(3), DELETED), update_record(blob_id(3), ALIVE)]
    batch = store.begin(several, sync=True)
    batch.place()
    assert [record.state for record in batch.records] == [ALIVE, DELETED, DELETED]
