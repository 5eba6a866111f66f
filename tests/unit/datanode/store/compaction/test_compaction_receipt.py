"""What a compaction leaves as its proof of what it replaced, and when that goes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from datanode.store.blob_store import BlobStore
from datanode.store.compaction import receipt
from datanode.store.retention import Retention
from datanode.store.scan import SegmentScan
from tests.support.fake_files import FakeFiles
from tests.support.samples import (
    append,
    blob_id,
    checkpoint,
    compact,
    content,
    copy_segments,
    open_replica,
    put_record,
    read_all,
)

SIZE = 20_000
KEEP = Retention(now_ms=0, deleted_ms=10, tombstone_ms=30, horizon_lsn=0)
NUMBERS = range(1, 13)


class Bench:
    """Four segments, three blobs in each; `interrupt` stops a compaction of the first two right after it is in place."""

    def __init__(self, root: Path) -> None:
        self.disk = FakeFiles(root)
        self.directory = root / "r"
        self.store: BlobStore = open_replica(self.disk, self.directory)
        for number in NUMBERS:
            append(self.store, put_record(blob_id(number), content(number, SIZE)))
        checkpoint(self.store)

    def receipts(self) -> list[str]:
        return [name for name in self.disk.list_directory(self.directory) if name.endswith(receipt.SUFFIX)]

    def interrupt(self) -> None:
        copied = copy_segments(self.store, [1, 2], KEEP)
        self.store.compaction.put_in_place(copied)
        self.disk.crash(random.Random(1))
        self.store.close()

    def open(self) -> BlobStore:
        self.store = open_replica(self.disk, self.directory)
        return self.store

    def expect_all(self) -> None:
        for number in NUMBERS:
            assert read_all(self.store, blob_id(number)) == content(number, SIZE)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_compaction_that_ended_leaves_no_receipt(bench: Bench) -> None:
    compact(bench.store, [1, 2], KEEP)
    assert bench.receipts() == []
    bench.store.close()


def test_an_interrupted_one_is_ended_by_the_next_start(bench: Bench) -> None:
    bench.interrupt()
    assert len(bench.receipts()) == 1
    store = bench.open()
    assert bench.receipts() == []
    assert (store.segment_count(), store.set_aside) == (3, [])
    bench.expect_all()
    store.close()


def test_the_next_start_reads_only_what_replaced_something(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It read every segment that was ever compacted."""
    compact(bench.store, [3], KEEP)
    bench.interrupt()
    read: list[int] = []
    real = SegmentScan.__init__

    def noted(self: SegmentScan, file: object, header: object, **options: object) -> None:
        read.append(header.base_lsn)  # type: ignore[attr-defined]
        real(self, file, header, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(SegmentScan, "__init__", noted)
    bench.open()
    assert read.count(0) == 1, "the output of the interrupted one"
    assert len(read) == 2, "and what the last checkpoint does not cover"
    bench.expect_all()
    bench.store.close()


@pytest.mark.parametrize("damage", ["gone", "flipped"])
def test_without_its_receipt_nothing_is_deleted_and_nothing_lost(bench: Bench, damage: str) -> None:
    bench.interrupt()
    path = bench.directory / bench.receipts()[0]
    if damage == "gone":
        bench.disk.remove(path)
    else:
        bench.disk.flip(path, 20)
    store = bench.open()
    assert sorted(store.set_aside) == ["set-aside/00000001.segment.1", "set-aside/00000002.segment.1"]
    assert not store.serving
    bench.expect_all()
    store.close()


def test_a_receipt_whose_compaction_never_counted_goes(bench: Bench) -> None:
    inputs, output = bench.store.compaction.plan_output([1, 2])
    receipt.write(bench.disk, bench.directory, output, inputs)
    bench.store.close()
    bench.open()
    assert bench.receipts() == []
    bench.expect_all()
    bench.store.close()


def test_a_receipt_that_was_being_written_goes(bench: Bench) -> None:
    """A kill left it, and nobody ever deleted it."""
    bench.store.close()
    bench.disk.create(bench.directory / "00000009.replaces.tmp").close()
    bench.open()
    assert not bench.disk.exists(bench.directory / "00000009.replaces.tmp")
    bench.expect_all()
    bench.store.close()
