"""What a read that failed says of a blob depends on where its bytes stand by now."""

from __future__ import annotations

from pathlib import Path

import pytest

from datanode.store.damage import note_damaged, successor
from tests.support.fake_files import FakeFiles
from tests.support.samples import append, blob_id, checkpoint, content, forget, open_replica, put_record

ID = blob_id(1)
RECORD = put_record(ID, content(1, 500))


@pytest.mark.parametrize("known", [True, False])
def test_a_record_that_is_still_the_one_counts_as_damaged(tmp_path: Path, known: bool) -> None:
    store = open_replica(FakeFiles(tmp_path), tmp_path / "p")
    append(store, RECORD)
    entry = store.lookup(ID)
    assert entry is not None
    if not known:
        checkpoint(store)
        forget(store)
    assert successor(store, entry) is None
    assert note_damaged(store, entry)
    assert store.damaged == {ID}


def test_one_that_was_replaced_does_not(tmp_path: Path) -> None:
    store = open_replica(FakeFiles(tmp_path), tmp_path / "p")
    append(store, RECORD)
    old = store.lookup(ID)
    append(store, RECORD)
    new = store.lookup(ID)
    assert old is not None
    assert successor(store, old) == new != old
    assert not note_damaged(store, old)
    assert store.damaged == set()


def test_nor_does_one_that_is_forgotten_or_whose_bytes_are_gone(tmp_path: Path) -> None:
    store = open_replica(FakeFiles(tmp_path), tmp_path / "p")
    append(store, RECORD, put_record(blob_id(2), content(2, 500)))
    old, other = store.lookup(ID), store.lookup(blob_id(2))
    assert old is not None
    assert other is not None
    store.index.remove(ID)
    store.index.move(type(other)(other.id, other.lsn, 0, 0, 0, 0, other.state, other.changed_at_ms))
    for entry in (old, other):
        after = successor(store, entry)
        assert after is not None
        assert not after.present
        assert not note_damaged(store, entry)
