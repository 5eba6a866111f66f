"""A replica whose first segment holds a bit of everything, for tests that copy it."""

from __future__ import annotations

import random
from pathlib import Path

from ambry.blob import NEVER_MS, BlobState
from ambry.format.segment import HEADER_SIZE
from datanode.store.blob_store import BlobStore
from datanode.store.compaction.copy import Copied
from datanode.store.entry import IndexEntry
from datanode.store.inspection import Inspection
from datanode.store.retention import Retention
from datanode.store.scan import FoundRecord, SegmentScan
from datanode.store.segment import segment_name
from datanode.store.verification import find_problems
from tests.support.fake_files import FakeFiles
from tests.support.samples import (
    DELETED,
    append,
    blob_id,
    checkpoint,
    compact,
    content,
    copy_segments,
    open_replica,
    put_record,
    read_all,
    stop_cleanly,
    update_record,
)

WRITTEN = 1_700_000_000_000
EXPIRED = BlobState(0, False, WRITTEN + 5)
UNDELETED = BlobState(1, False, NEVER_MS)
SIZE = 2_000
UPDATED = {
    52: BlobState(2, True, NEVER_MS),
    50: DELETED,
    53: BlobState(0, False, WRITTEN + 1_000_000),
    51: UNDELETED,
}
"""Blobs that only ever got an update here: the state stands in one record, and nowhere else but in the index."""
State = tuple[int, BlobState, int]


def kept(now: int = 5, *, tombstone: int = 30) -> Retention:
    return Retention(now_ms=WRITTEN + now, deleted_ms=10, tombstone_ms=tombstone, horizon_lsn=1 << 60)


class CopyBench:
    """The first segment holds blobs 1 to 6, an update of blob 2, those of UPDATED in between, and a tombstone of blob 5."""

    def __init__(self, root: Path) -> None:
        self.disk = FakeFiles(root)
        self.directory = root / "r"
        self.store: BlobStore = open_replica(self.disk, self.directory)
        for number in (1, 2, 3):
            append(self.store, put_record(blob_id(number), content(number, SIZE)))
        append(self.store, update_record(blob_id(2), UNDELETED))
        append(self.store, *(update_record(blob_id(number), state) for number, state in UPDATED.items()))
        for number in (4, 5, 6):
            append(self.store, put_record(blob_id(number), content(number, SIZE)))
        append(self.store, update_record(blob_id(5), DELETED))
        self.seal()

    def seal(self) -> None:
        """Fill the last segment until another is begun, and checkpoint."""
        count = self.store.segment_count()
        number = 900 + 100 * count
        while self.store.segment_count() == count:
            append(self.store, put_record(blob_id(number), content(number, 6_000)))
            number += 1
        checkpoint(self.store)

    @property
    def first(self) -> int:
        return self.store.scrub.segment_numbers()[0]

    def path(self, number: int) -> Path:
        return self.directory / segment_name(number)

    def entry(self, number: int) -> IndexEntry:
        entry = self.store.lookup(blob_id(number))
        if entry is None:
            raise LookupError(number)
        return entry

    def found(self, number: int) -> list[FoundRecord]:
        """The records of a segment."""
        segment = self.store.scrub.target(number)
        assert segment is not None
        items = SegmentScan(segment.file, segment.header, size=segment.data_size()).run(HEADER_SIZE)
        return [item for item in items if isinstance(item, FoundRecord)]

    def damage(self, number: int, *blobs: int, zero: bool = False) -> None:
        """Damage every record of some blobs in a segment."""
        hit = [item for item in self.found(number) if item.id in map(blob_id, blobs)]
        assert {item.id for item in hit} == set(map(blob_id, blobs))
        for item in hit:
            if zero:
                self.disk.overwrite(self.path(number), item.offset, bytes(item.header.record_size))
            else:
                self.disk.flip(self.path(number), item.offset + 50, 3)

    def repair(self, *blobs: int) -> None:
        """As the healer does it: good copies are appended."""
        for number in blobs:
            append(self.store, put_record(blob_id(number), content(number, SIZE)))
        checkpoint(self.store)

    def states(self) -> dict[bytes, State]:
        return {e.id: (e.lsn, e.state, e.payload_size) for e in self.store.changes_since(0, 10_000)}

    def copy(self, numbers: list[int], retention: Retention) -> Copied:
        return copy_segments(self.store, numbers, retention)

    def compact(self, numbers: list[int], retention: Retention) -> Copied:
        return compact(self.store, numbers, retention)

    def rebuild(self) -> None:
        self.store.close()
        self.store = open_replica(self.disk, self.directory, rebuild=True)

    def renew(self) -> None:
        """Give it a new incarnation, as is done to a replica that was put back from a backup."""
        self.store.close()
        self.store.identity.renew(random.Random(7))
        self.store = open_replica(self.disk, self.directory)

    def expect_well(self) -> None:
        """The files are whole, and the index is what the log alone says."""
        for number in (1, 2, 3, 4, 6):
            assert read_all(self.store, blob_id(number)) == content(number, SIZE)
        before = self.states()
        self.rebuild()
        assert self.states() == before
        assert self.store.opened.gaps == 0
        for number in (1, 2, 3, 4, 6):
            assert read_all(self.store, blob_id(number)) == content(number, SIZE)
        stop_cleanly(self.store)
        assert list(find_problems(Inspection(self.disk, self.directory))) == []

    def names(self) -> list[str]:
        return [name for name in self.disk.list_directory(self.directory) if "segment" in name]

    def age(self, generation: int) -> None:
        """Make the first segment one of this generation, with the same records in it."""
        for _ in range(generation):
            self.compact([self.first], kept())
        inputs, _ = self.store.compaction.plan_output([self.first])
        if [segment.header.generation for segment in inputs] != [generation] or len(self.found(self.first)) < 12:
            raise AssertionError("the first segment is not what it should be")
