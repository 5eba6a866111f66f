"""An index that knows more than its log has is noticed at the start, as where a node was copied file by file while it ran.

It opened as if it were whole: blobs were told to be here whose records were zeros, and peers learned of it one read at a time.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from datanode.store.blob_store import BlobStore
from datanode.store.files import OsFiles
from datanode.store.opening.shortfall import shortfall
from datanode.store.segment import segment_name
from tests.support.samples import (
    DELETED,
    append,
    blob_id,
    checkpoint,
    content,
    open_replica,
    put_record,
    stop_cleanly,
    update_record,
)

SIZE = 3_000


def put_some(store: BlobStore, first: int, count: int) -> None:
    for number in range(first, first + count):
        append(store, put_record(blob_id(number), content(number, SIZE)))


def running(place: Path) -> BlobStore:
    """A replica that serves, and has ten blobs."""
    store = open_replica(OsFiles(), place)
    put_some(store, 1, 10)
    store.serving = True
    checkpoint(store)
    return store


def copy_log(store: BlobStore, copy: Path) -> None:
    shutil.copytree(store.directory, copy, ignore=shutil.ignore_patterns("index", "lock"))


def copy_index(store: BlobStore, copy: Path) -> None:
    shutil.copytree(store.directory / "index", copy / "index")


def more_blobs(store: BlobStore) -> None:
    put_some(store, 11, 5)


def one_delete(store: BlobStore) -> None:
    append(store, update_record(blob_id(3), DELETED))


def so_many_that_a_segment_is_full(store: BlobStore) -> None:
    put_some(store, 11, 30)
    assert store.segment_count() > 1


@pytest.mark.parametrize("meanwhile", [more_blobs, one_delete, so_many_that_a_segment_is_full])
@pytest.mark.parametrize("clean", [False, True], ids=["it ran on", "it was stopped before its index was copied"])
def test_what_came_between_copying_log_and_index_is_noticed(tmp_path: Path, meanwhile: object, clean: bool) -> None:
    store, copy = running(tmp_path / "r"), tmp_path / "copy"
    copy_log(store, copy)
    assert callable(meanwhile)
    meanwhile(store)
    end_lsn = store.end_lsn
    (stop_cleanly if clean else checkpoint)(store)
    copy_index(store, copy)
    copied = open_replica(OsFiles(), copy, seed=2)
    assert copied.opened.rebuilt
    assert not copied.serving
    assert "its index was lost" in copied.put_back, "what its log lacks may be a delete"
    assert all((entry := copied.lookup(blob_id(number))) and entry.present for number in range(1, 11))
    assert all(copied.lookup(blob_id(number)) is None for number in range(11, 41))
    (lsn,) = append(copied, put_record(blob_id(50), b"x"))
    assert lsn >= end_lsn, "no LSN is given again"
    copied.close()
    copied = open_replica(OsFiles(), copy, seed=3)
    assert copied.put_back
    copied.close()


@pytest.mark.parametrize("kept", [8, 200, 2_000, SIZE])
def test_a_record_that_was_copied_in_part_is_noticed(tmp_path: Path, kept: int) -> None:
    store = running(tmp_path / "r")
    entry = store.lookup(blob_id(10))
    assert entry is not None
    store.close()
    with (tmp_path / "r" / segment_name(1)).open("r+b") as file:
        file.seek(entry.offset + kept)
        file.write(bytes(entry.size - kept))
    store = open_replica(OsFiles(), tmp_path / "r", seed=2)
    assert store.opened.rebuilt
    assert store.put_back
    store.close()


@pytest.mark.parametrize("at", [20, 500, SIZE - 10])
def test_damage_of_the_last_record_is_damage_like_any_other(tmp_path: Path, at: int) -> None:
    """A flipped bit does not cost the index, which still tells of everything else."""
    store = running(tmp_path / "r")
    entry = store.lookup(blob_id(10))
    assert entry is not None
    store.close()
    with (tmp_path / "r" / segment_name(1)).open("r+b") as file:
        file.seek(entry.offset + at)
        byte = file.read(1)
        file.seek(entry.offset + at)
        file.write(bytes([byte[0] ^ 1]))
    store = open_replica(OsFiles(), tmp_path / "r", seed=2)
    assert (store.opened.rebuilt, store.put_back, store.serving) == (False, "", True)
    store.close()


@pytest.mark.parametrize("clean", [False, True])
def test_an_index_of_this_log_is_none(tmp_path: Path, clean: bool) -> None:
    store = running(tmp_path / "r")
    for step in (one_delete, so_many_that_a_segment_is_full, lambda _store: None):
        step(store)
        (stop_cleanly if clean else checkpoint)(store)
        store.close()
        store = open_replica(OsFiles(), tmp_path / "r", seed=2)
        assert shortfall(store._log, store.index) is None
        assert (store.opened.rebuilt, store.put_back) == (False, "")
    store.close()
