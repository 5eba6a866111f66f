"""Placing and writing records: LSNs, roll-over, what is taken back and what is synced."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ambry.format import record as record_format
from ambry.format.segment import HEADER_SIZE
from datanode.store.log import Log, Placement
from tests.support.fake_files import FakeFiles
from tests.support.samples import blob_id, content, put_record

SIZE = 16 << 10


@pytest.fixture
def disk(tmp_path: Path) -> FakeFiles:
    return FakeFiles(tmp_path)


@pytest.fixture
def log(disk: FakeFiles, tmp_path: Path) -> Log:
    return Log(disk, tmp_path, partition=7, incarnation=b"i" * 16, segment_size_bytes=SIZE)


def place(log: Log, *sizes: int, sync: bool = True) -> Placement:
    records = [put_record(blob_id(number), content(number, size)) for number, size in enumerate(sizes)]
    return log.place(records, sync=sync, now_ms=5)


def write(log: Log, placement: Placement) -> None:
    log.create_segments(placement)
    log.write(placement)
    log.finish(placement)


def test_records_lie_back_to_back_and_are_found_where_they_were_placed(
    log: Log, disk: FakeFiles, tmp_path: Path
) -> None:
    placement = place(log, 0, 1, 700, 3)
    write(log, placement)
    data = disk.content(tmp_path / "00000001.segment")
    at = HEADER_SIZE
    for record, where in zip(placement.records, placement.places, strict=True):
        assert (where.offset, where.lsn) == (at, at)
        found = record_format.decode(data[at:])
        assert (found.id, bytes(found.payload)) == (record.id, record.payload)
        assert record_format.decode_header(data[at:]).lsn == where.lsn
        at += record.size
    assert data[at:] == bytes(SIZE - at)
    assert log.size_bytes() == at


def test_a_record_that_does_not_fit_opens_the_next_segment(log: Log, disk: FakeFiles, tmp_path: Path) -> None:
    placement = place(log, 9_000, 5_000, 6_000, 100)
    write(log, placement)
    assert [where.segment.number for where in placement.places] == [1, 1, 2, 2]
    first, second = log.segments[1], log.segments[2]
    assert second.base_lsn == first.base_lsn + SIZE
    assert placement.places[2].lsn == SIZE + HEADER_SIZE
    assert log.active is second
    for where in placement.places:
        found = record_format.decode(disk.content(tmp_path / f"{where.segment.number:08d}.segment")[where.offset :])
        assert found.id in {record.id for record in placement.records}


def test_a_record_that_fills_a_segment_to_the_last_byte_stays_in_it(log: Log) -> None:
    overhead = put_record(blob_id(1), b"x" * 8).size - 8
    placement = place(log, SIZE - HEADER_SIZE - overhead, 0)
    assert placement.places[0].segment.room == 0
    assert [where.segment.number for where in placement.places] == [1, 2]


def test_a_record_larger_than_a_segment_gets_one_of_its_own(log: Log) -> None:
    placement = place(log, 100, 3 * SIZE, 100)
    write(log, placement)
    assert [where.segment.number for where in placement.places] == [1, 2, 3]
    assert log.segments[2].header.capacity_bytes > 3 * SIZE
    assert log.segments[3].base_lsn == log.segments[2].base_lsn + log.segments[2].header.capacity_bytes


def test_lsns_only_grow_and_never_touch(log: Log) -> None:
    last = 0
    for _ in range(50):
        placement = place(log, 3_000, 1, 900)
        write(log, placement)
        for record, where in zip(placement.records, placement.places, strict=True):
            assert where.lsn >= last
            last = where.lsn + record.size


def test_what_could_not_be_created_is_taken_back(log: Log, disk: FakeFiles) -> None:
    write(log, place(log, 100))
    active = log.active
    assert active is not None
    end = active.end
    placement = place(log, 100, 16_000, 16_000)
    assert len(placement.created) == 2
    disk.fail("allocate", errno.ENOSPC, at=2)
    with pytest.raises(OSError):
        log.create_segments(placement)
    log.abandon(placement)
    assert log.active is active
    assert active.end == end
    # The one that was created is empty; what comes next goes beyond both of them.
    assert log.segments[2].end == HEADER_SIZE
    again = place(log, 100, 16_000, 16_000)
    write(log, again)
    assert [where.segment.number for where in again.places] == [1, 4, 5]
    assert again.places[0].offset == end
    assert again.places[1].segment.base_lsn >= log.segments[2].base_lsn + 2 * SIZE


def test_a_skipped_segment_leaves_its_number_and_its_lsns_alone(log: Log) -> None:
    log.skip(9, 1 << 32, beyond=1000)
    placement = place(log, 10)
    assert placement.places[0].segment.number == 10
    assert placement.places[0].segment.base_lsn == 1000 + (1 << 32)


def test_a_started_segment_takes_the_next_record(log: Log, disk: FakeFiles, tmp_path: Path) -> None:
    log.start_segment(5)
    assert disk.exists(tmp_path / "00000001.segment")
    placement = place(log, 10)
    assert placement.created == []
    assert placement.places[0].lsn == HEADER_SIZE


def test_a_batch_syncs_each_segment_it_wrote_once_after_all_writes(log: Log, disk: FakeFiles) -> None:
    placement = place(log, 9_000, 9_000)
    log.create_segments(placement)
    disk.calls.clear()
    log.write(placement)
    assert disk.calls == [
        ("pwritev", "00000001.segment"),
        ("pwritev", "00000002.segment"),
        ("fdatasync", "00000001.segment"),
        ("fdatasync", "00000002.segment"),
    ]


def test_what_was_not_synced_is_remembered_until_it_is(log: Log, disk: FakeFiles) -> None:
    write(log, place(log, 100, sync=False))
    assert log.unsynced
    unsynced = log.unsynced_segments()
    log.sync(unsynced)
    log.mark_synced(unsynced)
    assert not log.unsynced
    assert ("fdatasync", "00000001.segment") in disk.calls


def test_bytes_that_came_during_a_sync_stay_unsynced(log: Log) -> None:
    write(log, place(log, 100, sync=False))
    unsynced = log.unsynced_segments()
    log.sync(unsynced)
    write(log, place(log, 100, sync=False))
    log.mark_synced(unsynced)
    assert log.unsynced


def test_a_synced_batch_covers_what_lay_unsynced_in_its_segment(log: Log) -> None:
    write(log, place(log, 100, sync=False))
    write(log, place(log, 100, sync=True))
    assert not log.unsynced
    write(log, place(log, 100, sync=False))
    write(log, place(log, 15_900, sync=True))  # in another segment
    assert set(log.unsynced_segments()) == {1}
