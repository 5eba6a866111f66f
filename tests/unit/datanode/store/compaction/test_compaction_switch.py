"""The switch to a compacted segment, and every way to be interrupted on the way there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ambry.blob import NEVER_MS, BlobState
from ambry.errors import DataCorrupt
from datanode.store.blob_store import BlobStore
from datanode.store.compaction.copy import Copied
from datanode.store.retention import Retention
from tests.support.fake_files import FakeFiles
from tests.support.pieces import all_of
from tests.support.samples import (
    DELETED,
    append,
    blob_id,
    checkpoint,
    content,
    hold,
    open_replica,
    put_record,
    read_all,
    update_record,
)

WRITTEN = 1_700_000_000_000
KEPT = Retention(now_ms=WRITTEN + 1_000_000, deleted_ms=10, tombstone_ms=30, horizon_lsn=1 << 60)
EXPIRED = BlobState(0, False, WRITTEN + 5)
UNDELETED = BlobState(1, False, NEVER_MS)
LIVE = (*range(1, 20, 3), 21, 22)
DEAD = range(2, 20, 3)
GONE = range(3, 20, 3)


class Bench:
    def __init__(self, root: Path) -> None:
        self.disk = FakeFiles(root)
        self.directory = root / "r"
        self.store: BlobStore = open_replica(self.disk, self.directory)
        for number in range(1, 20):
            state = EXPIRED if number in GONE else BlobState(0, False, NEVER_MS)
            append(self.store, put_record(blob_id(number), content(number, 9_000), state=state))
        append(self.store, *(update_record(blob_id(number), DELETED) for number in DEAD))
        append(self.store, *(put_record(blob_id(number), content(number, 50_000)) for number in (21, 22)))
        checkpoint(self.store)
        self.numbers = self.store.scrub.segment_numbers()[:-1]
        assert len(self.numbers) >= 3

    def copy(self) -> Copied:
        inputs, output = self.store.compaction.plan_output(self.numbers)
        return all_of(self.store.compaction.copier(KEPT).run(inputs, output))

    def switch(self, copied: Copied) -> None:
        assert self.store.compaction.may_switch(copied, KEPT)
        self.store.compaction.put_in_place(copied)
        self.store.compaction.begin_switch(copied)
        here = hold(self.store, copied)
        assert self.store.compaction.switch_dropped(copied.dropped, KEPT, here) == []
        self.store.compaction.switch_forgotten(copied.forgotten, here)
        half = len(copied.moved) // 2
        self.store.compaction.switch_moved(copied, copied.moved[:half], here)
        self.check()
        self.store.compaction.switch_moved(copied, copied.moved[half:], here)

    def end(self) -> None:
        checkpoint(self.store)
        self.store.compaction.delete_files(self.store.compaction.retire(self.numbers))

    def compact(self) -> None:
        copied = self.copy()
        self.switch(copied)
        self.end()

    def reopen(self, *, rebuild: bool = False) -> None:
        self.store.close()
        if rebuild:
            shutil.rmtree(self.directory / "index")
        self.store = open_replica(self.disk, self.directory)
        assert self.store.opened.rebuilt is rebuild

    def check(self) -> None:
        for number in LIVE:
            entry = self.store.lookup(blob_id(number))
            assert entry is not None, number
            assert not entry.state.deleted
            size = 50_000 if number in (21, 22) else 9_000
            assert read_all(self.store, blob_id(number)) == content(number, size)
        for number in DEAD:
            entry = self.store.lookup(blob_id(number))
            assert entry is None or entry.state.deleted, f"{number} came back"
        for number in GONE:
            entry = self.store.lookup(blob_id(number))
            assert entry is None or entry.state.expired(KEPT.now_ms), f"{number} came back"

    def check_rebuilt(self) -> None:
        def known() -> dict[bytes, tuple[BlobState, bool, int]]:
            listed = self.store.changes_since(0, 1_000)
            return {e.id: (e.state, e.present, e.lsn) for e in listed if not e.state.expired(KEPT.now_ms)}

        self.check()
        before = known()
        self.reopen(rebuild=True)
        self.check()
        assert known() == before
        names = [name for name in self.disk.list_directory(self.directory) if ".segment" in name]
        assert len(names) == self.store.segment_count(), "nothing is left lying about"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_everything_reads_right_at_every_step(bench: Bench) -> None:
    before = bench.store.size_bytes()
    order = [(e.lsn, e.id) for e in bench.store.changes_since(0, 1_000) if not e.state.expired(KEPT.now_ms)]
    copied = bench.copy()
    bench.check()
    bench.switch(copied)
    bench.check()
    assert [(e.lsn, e.id) for e in bench.store.changes_since(0, 1_000)] == order
    bench.end()
    bench.check()
    assert [(e.lsn, e.id) for e in bench.store.changes_since(0, 1_000)] == order
    assert bench.store.size_bytes() < before
    bench.check_rebuilt()


def test_a_reader_that_looked_up_the_old_place_finds_the_new_one(bench: Bench) -> None:
    """A read waits for a disk thread; the segment may be gone by then. It used to count as damage."""
    before = {number: bench.store.lookup(blob_id(number)) for number in (1, 2)}
    bench.compact()
    entry, dead = before[1], before[2]
    assert entry is not None
    assert dead is not None
    payload = bench.store.read(entry, 0, entry.payload_size, cached_only=False)
    assert payload is not None
    assert bytes(payload.data) == content(1, 9_000)
    assert len(bench.store.read_image(entry)) == entry.size
    with pytest.raises(DataCorrupt, match="missing"):
        bench.store.read(dead, 0, 1, cached_only=False)


def test_compacting_again_and_again_brings_nothing_back(bench: Bench) -> None:
    for round_ in range(4):
        bench.numbers = bench.store.scrub.segment_numbers()[:-1]
        bench.compact()
        bench.check_rebuilt()
        append(bench.store, put_record(blob_id(40 + round_), content(40 + round_, 60_000)))
        checkpoint(bench.store)


def test_a_blob_that_came_back_to_life_stops_it(bench: Bench) -> None:
    copied = bench.copy()
    assert bench.store.compaction.may_switch(copied, KEPT)
    append(bench.store, update_record(blob_id(2), UNDELETED))
    assert not bench.store.compaction.may_switch(copied, KEPT)
    bench.store.compaction.give_up(copied)
    assert read_all(bench.store, blob_id(2)) == content(2, 9_000)
    bench.reopen(rebuild=True)
    assert read_all(bench.store, blob_id(2)) == content(2, 9_000)


def test_a_blob_that_came_back_to_life_before_a_crash_is_kept(bench: Bench) -> None:
    bench.copy()
    append(bench.store, update_record(blob_id(2), UNDELETED))
    bench.disk.kill()
    bench.reopen()
    assert read_all(bench.store, blob_id(2)) == content(2, 9_000)


@pytest.mark.parametrize("rebuild", [False, True])
@pytest.mark.parametrize("step", ["renamed", "half switched", "switched", "checkpointed", "half deleted", "other half"])
def test_an_interrupted_compaction_is_resolved_at_the_next_start(bench: Bench, step: str, rebuild: bool) -> None:
    copied = bench.copy()
    compaction = bench.store.compaction
    compaction.put_in_place(copied)
    if step != "renamed":
        compaction.begin_switch(copied)
        here = hold(bench.store, copied)
        compaction.switch_dropped(copied.dropped, KEPT, here)
        compaction.switch_forgotten(copied.forgotten, here)
        half = len(copied.moved) // 2 if step == "half switched" else None
        compaction.switch_moved(copied, copied.moved[:half], here)
    if step not in ("renamed", "switched"):
        checkpoint(bench.store)
    half = len(bench.numbers) // 2
    if step == "half deleted":
        compaction.delete_files(compaction.retire(bench.numbers[:half]))
    if step == "other half":
        compaction.delete_files(compaction.retire(bench.numbers[half:]))
    bench.disk.kill()
    bench.reopen(rebuild=rebuild)
    bench.check_rebuilt()
