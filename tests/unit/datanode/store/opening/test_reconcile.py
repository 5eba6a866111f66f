"""An index in line with the segments that there are: what went with a file, and what a compaction put elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ambry.blob import BlobState
from datanode.store.blob_store import BlobStore
from datanode.store.opening.reconcile import forget_missing, relocate
from datanode.store.retention import Retention
from tests.support.fake_clock import SettableClock
from tests.support.fake_files import FakeFiles
from tests.support.samples import (
    ALIVE,
    DELETED,
    append,
    blob_id,
    checkpoint,
    content,
    copy_segments,
    open_replica,
    put_record,
    read_all,
    update_record,
)

NOW_MS = SettableClock().wall_ms()
EXPIRED = BlobState(0, False, NOW_MS - 1)
SIZE = 20_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[BlobStore]:
    """Blobs 1 to 9, three in each segment; 2 is deleted and 3 is expired."""
    made = open_replica(FakeFiles(tmp_path), tmp_path / "r")
    for number in range(1, 10):
        state = EXPIRED if number == 3 else ALIVE
        append(made, put_record(blob_id(number), content(number, SIZE), state=state))
    append(made, update_record(blob_id(2), DELETED))
    checkpoint(made)
    yield made
    made.close()


def test_what_lay_in_a_file_that_is_gone_leaves_its_state_and_no_bytes(store: BlobStore) -> None:
    store._log.retire([1])
    forget_missing(store._log, store.index, store.compaction)
    alive, deleted = store.lookup(blob_id(1)), store.lookup(blob_id(2))
    assert alive is not None
    assert (alive.present, alive.state) == (False, ALIVE)
    assert deleted is not None
    assert (deleted.present, deleted.state) == (False, DELETED)
    expired = store.lookup(blob_id(3))
    assert expired is not None, "which clock would say that it is over?"
    assert (expired.present, expired.state) == (False, EXPIRED)
    for number in range(4, 10):
        assert read_all(store, blob_id(number)) == content(number, SIZE)


def test_what_a_compaction_moved_is_found_in_its_new_place(store: BlobStore) -> None:
    kept = Retention(now_ms=NOW_MS, deleted_ms=1 << 40, tombstone_ms=1 << 40, horizon_lsn=0)
    copied = copy_segments(store, [1, 2], kept)
    store.compaction.put_in_place(copied)
    store.compaction.begin_switch(copied)
    store._log.retire([1, 2])
    relocate({1, 2}, [copied.output], store.index, store.compaction)
    for number in range(1, 7):
        entry = store.lookup(blob_id(number))
        assert entry is not None
        assert entry.segment == copied.output.number
        assert read_all(store, blob_id(number)) == content(number, SIZE)
    assert read_all(store, blob_id(9)) == content(9, SIZE)


def test_what_a_compaction_left_out_is_forgotten_as_it_would_have_been(store: BlobStore) -> None:
    """Its bytes first; the tombstone of blob 2 stands in the last segment, and stays."""
    gone = Retention(now_ms=NOW_MS + 100, deleted_ms=0, tombstone_ms=0, horizon_lsn=1 << 60)
    copied = copy_segments(store, [1], gone)
    store.compaction.put_in_place(copied)
    store.compaction.begin_switch(copied)
    store._log.retire([1])
    relocate({1}, [copied.output], store.index, store.compaction)
    deleted = store.lookup(blob_id(2))
    assert deleted is not None
    assert (deleted.present, deleted.state) == (False, DELETED)
    assert store.lookup(blob_id(3)) is None
    assert read_all(store, blob_id(1)) == content(1, SIZE)


def test_a_tombstone_that_a_compaction_left_out_goes_too(tmp_path: Path) -> None:
    store = open_replica(FakeFiles(tmp_path), tmp_path / "r")
    append(store, update_record(blob_id(2), DELETED))
    for number in range(4, 8):
        append(store, put_record(blob_id(number), content(number, SIZE)))
    checkpoint(store)
    gone = Retention(now_ms=NOW_MS + 100, deleted_ms=0, tombstone_ms=0, horizon_lsn=1 << 60)
    copied = copy_segments(store, [1], gone)
    assert [item.id for item in copied.forgotten] == [blob_id(2)]
    store.compaction.put_in_place(copied)
    store.compaction.begin_switch(copied)
    store._log.retire([1])
    relocate({1}, [copied.output], store.index, store.compaction)
    assert store.lookup(blob_id(2)) is None
    store.close()
