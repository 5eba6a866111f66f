"""Placing and writing records: LSNs, roll-over, what is taken back and what is synced."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ambry.format import record as record_format
from ambry.format.segment import FOOTER_SIZE, HEADER_SIZE, SegmentFooter, decode_footer
from datanode.store.log import Log, Placement
from datanode.store.segment import Segment
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
        found = record_format.decode(data[at:], log.segments[1].salt)
        assert (found.id, bytes(found.payload)) == (record.id, record.payload)
        assert record_format.decode_header(data[at:], log.segments[1].salt).lsn == where.lsn
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
        data = disk.content(tmp_path / f"{where.segment.number:08d}.segment")
        found = record_format.decode(data[where.offset :], where.segment.salt)
        assert found.id in {record.id for record in placement.records}


def test_a_record_that_fills_a_segment_to_the_last_byte_stays_in_it(log: Log) -> None:
    overhead = put_record(blob_id(1), b"x" * 8).size - 8
    placement = place(log, SIZE - HEADER_SIZE - FOOTER_SIZE - overhead, 0)
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
    # The one that was created is empty, and what comes next goes beyond it; the other never was.
    assert log.segments[2].end == HEADER_SIZE
    again = place(log, 100, 16_000, 16_000)
    write(log, again)
    assert [where.segment.number for where in again.places] == [1, 3, 4]
    assert again.places[0].offset == end
    assert again.places[1].segment.base_lsn == log.segments[2].header.end_lsn
    assert log.holes() == []


def test_a_number_that_a_compaction_took_meanwhile_is_not_given_again(log: Log, disk: FakeFiles) -> None:
    write(log, place(log, 15_000))
    placement = place(log, 15_000)
    taken = log.plan_compacted([log.segments[1]], 5).number
    disk.fail("create", errno.ENOSPC)
    with pytest.raises(OSError):
        log.create_segments(placement)
    log.abandon(placement)
    again = place(log, 15_000)
    assert again.created[0].number not in (1, taken)
    assert again.created[0].base_lsn == log.segments[1].header.end_lsn


def test_a_replica_whose_first_segment_could_not_be_created_begins_as_if_nothing_had_been(
    log: Log, disk: FakeFiles
) -> None:
    placement = place(log, 100, 16_000)
    disk.fail("create", errno.ENOSPC)
    with pytest.raises(OSError):
        log.create_segments(placement)
    log.abandon(placement)
    assert log.active is None
    assert log.segments == {}
    again = place(log, 100)
    write(log, again)
    assert (again.places[0].segment.number, again.places[0].lsn) == (1, HEADER_SIZE)
    assert log.holes() == []


def test_room_that_was_left_behind_a_placement_is_not_given_back_with_it(log: Log, disk: FakeFiles) -> None:
    """Room was left behind a placement on its way: to go back to where it began would give that room away."""
    write(log, place(log, 15_000))
    placement = place(log, 15_000)
    log.skip(9, 1 << 32)
    disk.fail("create", errno.ENOSPC)
    with pytest.raises(OSError):
        log.create_segments(placement)
    log.abandon(placement)
    again = place(log, 15_000).created[0]
    assert (again.number, again.base_lsn) == (10, 2 * SIZE + (1 << 32))


def test_a_filled_segment_gets_a_footer_that_says_where_its_records_end(
    log: Log, disk: FakeFiles, tmp_path: Path
) -> None:
    write(log, place(log, 9_000, 9_000))
    first, second = log.segments[1], log.segments[2]
    image = disk.content(tmp_path / "00000001.segment")[-FOOTER_SIZE:]
    assert decode_footer(image, first.salt) == SegmentFooter(base_lsn=0, end_lsn=first.end, end_offset=first.end)
    assert disk.content(tmp_path / "00000002.segment")[-FOOTER_SIZE:] == bytes(FOOTER_SIZE)
    assert Segment.open(disk, tmp_path, 1).data_size() == first.end
    assert Segment.open(disk, tmp_path, 2).data_size() == SIZE - FOOTER_SIZE
    assert second.footer is None


def test_holes_between_segments_are_named(log: Log) -> None:
    for _ in range(4):
        write(log, place(log, 15_000))
    assert log.holes() == []
    log.retire([1])
    assert log.holes() == [(0, SIZE)]
    log.retire([3])
    assert log.holes() == [(0, SIZE), (2 * SIZE, 3 * SIZE)]


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
        ("pwritev", "00000001.segment"),
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
    write(log, place(log, 15_900, sync=True))  # in another segment; the footer of the first is synced with it
    assert not log.unsynced


@pytest.mark.parametrize("call", ["pwritev", "fdatasync"])
def test_after_a_failed_write_or_sync_nothing_of_this_log_counts_as_synced(
    log: Log, disk: FakeFiles, call: str
) -> None:
    """A checkpoint on another thread used to sync the same segment with success, without the bytes that had been dropped."""
    write(log, place(log, 100, sync=False))
    unsynced = log.unsynced_segments()
    placement = place(log, 100, 15_000)
    log.create_segments(placement)
    disk.fail(call, errno.EIO)
    with pytest.raises(OSError):
        log.write(placement)
    disk.calls.clear()
    with pytest.raises(OSError, match="an earlier write or sync of this log failed"):
        log.sync(unsynced)
    with pytest.raises(OSError, match="an earlier write or sync of this log failed"):
        log.write(place(log, 100))
    assert "fdatasync" not in [name for name, _ in disk.calls]
    assert log.unsynced
