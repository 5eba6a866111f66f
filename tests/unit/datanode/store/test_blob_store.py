"""Reading and writing one replica."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest

from ambry.blob import NEVER_MS, BlobState
from ambry.checksum import BLOCK_SIZE
from ambry.errors import InvariantBroken, ReplicaFenced
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
    store.watchers = [lambda: heard.append(store.end_lsn)]
    append(store, put_record(blob_id(1), b"x"))
    assert heard == [store.end_lsn]


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
    return store.index.stored_count()


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
