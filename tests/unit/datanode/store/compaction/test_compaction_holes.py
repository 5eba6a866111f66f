"""A compaction never joins segments across a hole of the log.

Its output covered the missing LSNs. So the hole was gone, and with it all that told that records were lost, maybe the only ones
of deletes: after a loss of the index they were forgotten, and nobody was asked. Interrupted, it took what only the index knew
of the hole for left out, and forgot it at once.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ambry.errors import InvariantBroken
from datanode.store.blob_store import BlobStore
from datanode.store.compaction.plan import Usage, plan, replaced
from datanode.store.index import LsnRange
from datanode.store.log import Log
from datanode.store.retention import Retention
from datanode.store.segment import segment_name
from tests.support.fake_files import FakeFiles
from tests.support.pieces import all_of
from tests.support.samples import (
    DELETED,
    SEGMENT_SIZE,
    append,
    blob_id,
    compact,
    content,
    copy_segments,
    open_replica,
    put_record,
    stop_cleanly,
    update_record,
)

SIZE = 3_000
HOLE = LsnRange(SEGMENT_SIZE, 2 * SEGMENT_SIZE)
DEAD_BYTES = Retention(now_ms=1_700_001_000_000, deleted_ms=10, tombstone_ms=1 << 50, horizon_lsn=1 << 60)
"""Bytes of deleted blobs may go, and no tombstone."""
DOOMED = range(1, 11)
DOOMED_LATER = range(101, 111)


class Bench:
    """Half of segment 1 is dead by deletes in segment 2, half of segment 3 by deletes in segment 4; then segment 2 goes.

    1 and 3 are what the planner would take, were there no hole.
    """

    def __init__(self, root: Path) -> None:
        self.disk = FakeFiles(root)
        self.directory = root / "r"
        self.store: BlobStore = open_replica(self.disk, self.directory)
        self._fill(1, 1)
        self._delete(DOOMED)
        self._fill(51, 2)
        self._fill(101, 3)
        self._delete(DOOMED_LATER)
        self._fill(151, 4)
        self._fill(201, 5)
        self.store.serving = True
        stop_cleanly(self.store)
        self.disk.remove(self.directory / segment_name(2))
        self.open()
        assert self.store.holes == [HOLE]
        assert not self.store.put_back, "the index knows every delete"

    def _fill(self, first: int, segments: int) -> None:
        number = first
        while self.store.segment_count() <= segments and number < first + 18:
            append(self.store, put_record(blob_id(number), content(number, SIZE)))
            number += 1

    def _delete(self, numbers: range) -> None:
        big = content(999, SEGMENT_SIZE // 8)
        while self.store.segment_count() < {DOOMED: 2, DOOMED_LATER: 4}[numbers]:
            append(self.store, put_record(blob_id(900 + self.store.end_lsn), big))
        append(self.store, *(update_record(blob_id(number), DELETED) for number in numbers))

    def open(self) -> BlobStore:
        self.store = open_replica(self.disk, self.directory)
        return self.store

    def plan(self) -> list[int]:
        """What the compactor would do next, since `store.segment_size_bytes` was raised."""
        usages = all_of(self.store.compaction.usages(self.store.overlay(), DEAD_BYTES))
        return plan(usages, free_bytes=1 << 40, output_bytes_max=2 * SEGMENT_SIZE, dead_share_min=0.05)

    def knows_every_delete(self) -> bool:
        entries = [self.store.lookup(blob_id(number)) for number in (*DOOMED, *DOOMED_LATER)]
        return all(entry is not None and entry.state == DELETED for entry in entries)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_hole_outlasts_every_compaction_and_the_loss_of_the_index(bench: Bench) -> None:
    rounds = 0
    while numbers := bench.plan():
        compact(bench.store, numbers, DEAD_BYTES)
        rounds += 1
    assert rounds >= 2
    stop_cleanly(bench.store)
    store = bench.open()
    assert store.holes == [HOLE]
    assert bench.knows_every_delete()
    stop_cleanly(store)
    shutil.rmtree(bench.directory / "index")
    store = bench.open()
    assert store.holes == [HOLE]
    assert store.put_back, "deletes are lost that all others may have forgotten"
    assert not store.serving


def test_an_interrupted_compaction_forgets_no_delete_that_stood_in_the_hole(bench: Bench) -> None:
    numbers = bench.plan()
    copied = copy_segments(bench.store, numbers, DEAD_BYTES)
    bench.store.compaction.put_in_place(copied)
    bench.disk.kill()
    bench.store.close()
    bench.open()
    assert bench.store.holes == [HOLE]
    assert bench.knows_every_delete()


def test_no_run_crosses_a_hole_wherever_it_is() -> None:
    usages = [Usage(number=n, used_bytes=1000, live_bytes=100, behind_hole=n == 3) for n in (1, 2, 3, 4)]
    found = plan(usages, free_bytes=10_000, output_bytes_max=1000, dead_share_min=0.25)
    assert found in ([1, 2], [3, 4])


def test_the_output_of_a_compaction_is_still_behind_the_hole(bench: Bench) -> None:
    usages = all_of(bench.store.compaction.usages(bench.store.overlay(), DEAD_BYTES))
    assert [usage.number for usage in usages if usage.behind_hole] == [3]
    copied = copy_segments(bench.store, [3, 4], DEAD_BYTES)
    after = replaced(usages, [3, 4], copied.output)
    assert [usage.number for usage in after if usage.behind_hole] == [copied.output.number]


def test_segments_on_two_sides_of_a_hole_are_refused(bench: Bench) -> None:
    log: Log = bench.store._log
    with pytest.raises(InvariantBroken, match=r"\[1, 3\]"):
        log.plan_compacted([log.segments[1], log.segments[3]], 0)
