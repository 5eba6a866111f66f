"""Reading a segment again: no flipped bit of a record stays hidden, and nothing that is well is reported."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ambry.errors import IndexCorrupt, ReplicaUnavailable
from ambry.format.segment import HEADER_SIZE
from datanode.store.blob_store import BlobStore
from datanode.store.entry import IndexEntry
from datanode.store.retention import Retention
from datanode.store.scrub import SegmentFindings, scrub_segment
from tests.support.fake_files import FakeFiles
from tests.support.pieces import all_of
from tests.support.samples import DELETED, append, blob_id, content, open_replica, put_record, update_record


@pytest.fixture
def disk(tmp_path: Path) -> FakeFiles:
    return FakeFiles(tmp_path)


@pytest.fixture
def store(disk: FakeFiles, tmp_path: Path) -> BlobStore:
    return open_replica(disk, tmp_path / "r")


KEEP = Retention(now_ms=0, deleted_ms=10, tombstone_ms=30, horizon_lsn=0)


def path(store: BlobStore) -> Path:
    return store.directory / "00000001.segment"


def scrub(store: BlobStore, number: int = 1) -> SegmentFindings:
    segment = store.scrub.target(number)
    assert segment is not None
    return all_of(scrub_segment(segment, store.lookup, KEEP))


def entry_of(store: BlobStore, number: int) -> IndexEntry:
    entry = store.lookup(blob_id(number))
    assert entry is not None
    return entry


def fill(store: BlobStore, *sizes: int) -> None:
    for number, size in enumerate(sizes, start=1):
        append(store, put_record(blob_id(number), content(number, size)))


def test_every_flipped_bit_of_a_record_is_found(disk: FakeFiles, store: BlobStore) -> None:
    """Exhaustive: padding too, which nothing but `ambry store verify` used to look at."""
    append(
        store, put_record(blob_id(1), content(1, 5)), put_record(blob_id(2), b""), update_record(blob_id(1), DELETED)
    )
    clean = scrub(store)
    assert (clean.gaps, clean.records, clean.indexed, clean.unknown) == ([], 3, 2, 0)
    for offset in range(HEADER_SIZE, store.end_lsn):
        for bit in range(8):
            disk.flip(path(store), offset, bit)
            found = scrub(store)
            disk.flip(path(store), offset, bit)
            ((start, end),) = found.gaps
            assert start <= offset < end, (offset, bit)
            assert found.records == 2, "a damaged record hides only itself"


@pytest.mark.parametrize("keep", [0, HEADER_SIZE, HEADER_SIZE + 3, 500, -8, -1])
def test_a_truncated_segment_is_found(disk: FakeFiles, store: BlobStore, keep: int) -> None:
    fill(store, 500, 500)
    size = keep if keep >= 0 else store.end_lsn + keep
    disk.cut(path(store), size)
    assert scrub(store).gaps[-1] == (size, store.end_lsn)


def test_a_zeroed_record_in_the_middle_is_found(disk: FakeFiles, store: BlobStore) -> None:
    fill(store, 200, 200, 200)
    entry = entry_of(store, 2)
    disk.overwrite(path(store), entry.offset, bytes(entry.size))
    assert scrub(store).gaps == [(entry.offset, entry.offset + entry.size)]


def test_a_zeroed_last_record_is_missed_by_the_scan_and_seen_in_the_index(disk: FakeFiles, store: BlobStore) -> None:
    fill(store, 200, 200)
    entry = entry_of(store, 2)
    disk.overwrite(path(store), entry.offset, bytes(entry.size))
    assert scrub(store).indexed == 1
    survey = all_of(store.scrub.survey(store.overlay(), 0))
    assert (survey.present, survey.absent) == ({1: 2}, [])
    assert all_of(store.scrub.unreadable([entry_of(store, 1), entry], whole=False)) == [entry]


def test_eio_makes_the_rest_suspect(disk: FakeFiles, store: BlobStore) -> None:
    fill(store, 500, 500)
    disk.fail("pread", errno.EIO, for_ever=True, name="segment")
    found = scrub(store)
    assert found.gaps == [(0, store.end_lsn)]


def test_a_damaged_index_is_not_taken_for_a_damaged_segment(store: BlobStore) -> None:
    """IndexCorrupt is an OSError."""
    fill(store, 10, 10)
    segment = store.scrub.target(1)
    assert segment is not None

    def corrupt(_id: bytes) -> IndexEntry | None:
        raise IndexCorrupt("rotten")

    with pytest.raises(IndexCorrupt):
        all_of(scrub_segment(segment, corrupt, KEEP))


@pytest.mark.parametrize("written", [False, True])
def test_a_batch_on_its_way_over_two_segments_is_no_finding(store: BlobStore, written: bool) -> None:
    """Its first record lies in a segment that is not the active one any more, and is not published yet."""
    fill(store, 30_000)
    records = [put_record(blob_id(number), content(number, 20_000)) for number in (5, 6)]
    batch = store.begin(records, sync=True)
    batch.place()
    assert [place.segment.number for place in batch.places] == [1, 2]
    if written:
        batch.write()
    found = scrub(store)
    assert (found.gaps, found.unknown, found.records) == ([], 0, 1)


def test_stopping_is_no_damage(store: BlobStore) -> None:
    """ "Stopping" was an OSError, as everything that is unavailable: the rest of the segment used to count as damaged."""
    fill(store, 10, 10)
    segment = store.scrub.target(1)
    assert segment is not None

    def stopping(_size: int) -> None:
        raise ReplicaUnavailable("stopping")

    with pytest.raises(ReplicaUnavailable):
        all_of(scrub_segment(segment, store.lookup, KEEP), stopping)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_process_without_descriptors_is_no_damage(store: BlobStore, disk: FakeFiles, number: int) -> None:
    """The rest of the segment counted as damaged, and every blob in it that could not be opened either."""
    fill(store, 10, 10)
    segment = store.scrub.target(1)
    assert segment is not None
    disk.fail("pread", number, for_ever=True)
    with pytest.raises(OSError):
        all_of(scrub_segment(segment, store.lookup, KEEP))
    entries = all_of(store.scrub.entries_where(store.overlay(), lambda _entry: True))
    with pytest.raises(OSError):
        all_of(store.scrub.unreadable(entries, whole=True))
    disk.mend()
    assert scrub(store).gaps == []
