"""A fresh replica in the place of one that must be rebuilt, and every crash on the way."""

from __future__ import annotations

import errno
import os
import random
from functools import partial
from pathlib import Path

import pytest

from ambry.blob import BlobState
from datanode.store.blob_store import BlobStore
from datanode.store.opening import start_over
from datanode.store.opening.start_over import StartOver, finish, kept
from datanode.store.segment import segment_name
from tests.support.fake_files import FakeFiles
from tests.support.samples import (
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

LONGER = BlobState(1, False, 1 << 50)


class Bench:
    """A replica with blobs 1 and 2 from before its last opening, and 11, 12 and changes since."""

    def __init__(self, root: Path) -> None:
        self.disk = FakeFiles(root)
        self.directory = root / "r"
        store = open_replica(self.disk, self.directory)
        for number in (1, 2, 3):
            append(store, put_record(blob_id(number), content(number, 2000)))
        checkpoint(store, clean=True)
        store.close()
        self.store = open_replica(self.disk, self.directory, seed=2)
        for number in (11, 12):
            append(self.store, put_record(blob_id(number), content(number, 2000)))
        append(self.store, update_record(blob_id(2), DELETED), update_record(blob_id(12), LONGER))
        self.before = self.store.incarnation

    def build(self) -> None:
        self.store.leave()
        opens = partial(open_replica, self.disk, seed=3)
        change = StartOver(self.disk, self.store, keep_lsn=self.store.lineage.begin_lsn, open_fresh=opens)
        change.prepare()
        self.store.close()
        self.carry_out = change.carry_out

    def open(self) -> BlobStore:
        self.store = open_replica(self.disk, self.directory, seed=4)
        return self.store


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_fresh_one_has_what_came_in_since_the_opening_and_nothing_older(bench: Bench) -> None:
    bench.build()
    bench.carry_out()
    aside = bench.directory.with_name(f"r.set-aside-{bench.before.hex()}")
    assert "00000001.segment" in bench.disk.list_directory(aside)
    store = bench.open()
    assert store.lookup(blob_id(1)) is None
    for number in (11, 12):
        assert read_all(store, blob_id(number)) == content(number, 2000)
    deleted, longer = store.lookup(blob_id(2)), store.lookup(blob_id(12))
    assert deleted is not None
    assert (deleted.present, deleted.state) == (False, DELETED)
    assert longer is not None
    assert longer.state.life_version == 1
    assert store.incarnation != bench.before
    assert store.lineage.knows(bench.before), "peers that followed it start over, and think nothing of it"
    assert store.lineage.purged_lsn == 1, "whoever missed tombstones must not believe that it has all"
    assert not store.serving
    store.close()


def test_the_fresh_log_drops_no_tombstones_at_the_lsns_of_the_old_one(bench: Bench) -> None:
    """It kept the old LSN, and its own log ended long before: whoever had followed all of that and was restarted was taken for
    one that had missed tombstones, and a healthy replica was set aside at its every start."""
    bench.store.identity.note_purged(1 << 40)
    bench.build()
    bench.carry_out()
    store = bench.open()
    assert store.lineage.purged_lsn == 1
    store.close()


def test_a_record_that_cannot_be_read_keeps_its_state_and_does_not_stop_the_others(bench: Bench) -> None:
    """One damaged record kept the replica from being rebuilt, and left it unavailable."""
    entry = bench.store.lookup(blob_id(12))
    assert entry is not None
    bench.disk.flip(bench.directory / segment_name(entry.segment), entry.offset + entry.size - 100)
    bench.build()
    bench.carry_out()
    store = bench.open()
    assert read_all(store, blob_id(11)) == content(11, 2000)
    rotten = store.lookup(blob_id(12))
    assert rotten is not None
    assert (rotten.present, rotten.state.life_version) == (False, 1)
    store.close()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM])
def test_a_record_that_cannot_be_read_for_now_is_not_given_up(bench: Bench, number: int) -> None:
    bench.store.leave()
    bench.disk.fail("pread", number, for_ever=True, name=".segment")
    with pytest.raises(OSError, match=os.strerror(number)):
        list(kept(bench.store, bench.store.lineage.begin_lsn))
    bench.disk.mend()
    bench.store.close()


def test_what_is_taken_over_is_in_memory_a_little_at_a_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred chunks of 4 MiB were read before the first was written."""
    monkeypatch.setattr(start_over, "PAGE_BYTES", 1000)
    records = kept(bench.store, bench.store.lineage.begin_lsn)
    assert max(sum(len(record.payload) for record in page) for page in start_over.pages(records)) == 2000
    bench.store.close()


@pytest.mark.parametrize("step", ["build", "first rename", "second rename"])
def test_a_crash_leaves_the_old_one_or_the_fresh_one(bench: Bench, step: str) -> None:
    bench.build()
    old = "r"
    if step != "build":
        old = f"r.set-aside-{bench.before.hex()}"
        bench.disk.rename(bench.directory, bench.directory.with_name(old))
    if step == "second rename":
        finish(bench.disk, bench.directory)
    bench.disk.crash(random.Random(1))
    store = bench.open()
    assert (store.incarnation == bench.before) is (old == "r")
    assert read_all(store, blob_id(11)) == content(11, 2000)
    assert (store.lookup(blob_id(1)) is None) is (old != "r")
    store.close()


def test_what_an_earlier_try_left_is_made_anew(bench: Bench) -> None:
    bench.build()
    bench.disk.crash(random.Random(2))
    bench.open()
    append(bench.store, put_record(blob_id(13), content(13, 2000)))
    bench.build()
    bench.carry_out()
    store = bench.open()
    assert read_all(store, blob_id(13)) == content(13, 2000)
    store.close()


def test_an_unfinished_try_is_deleted_by_the_next_opening(bench: Bench) -> None:
    """It stayed beside a replica that needed it no more, with copies of blobs that were deleted since."""
    bench.build()
    bench.disk.crash(random.Random(2))
    fresh = bench.directory.with_name("r.fresh")
    assert "00000001.segment" in bench.disk.list_directory(fresh)
    bench.open().close()
    assert bench.disk.list_directory(fresh) in ([], ["index"])
    assert bench.store.incarnation == bench.before


def test_a_fresh_one_of_another_day_does_not_take_the_place_of_one_that_was_wiped(bench: Bench) -> None:
    """Without the directory that was set aside for it nobody knows how old it is: it revived what was deleted since."""
    bench.build()
    bench.disk.rename(bench.directory, bench.directory.with_name("moved away by an operator"))
    store = bench.open()
    assert store.lookup(blob_id(11)) is None
    assert not store.lineage.knows(bench.before)
    aside = [name for name in bench.disk.list_directory(bench.directory.parent) if "set-aside-fresh-" in name]
    assert len(aside) == 1, "and nothing is deleted unseen"
    store.close()
