"""A batch: the places of its records, roll-over, what it writes and syncs, and what is taken back."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from ambry.errors import InsufficientStorage
from ambry.format import record as record_format
from ambry.format.segment import FOOTER_SIZE, HEADER_SIZE, SegmentFooter, decode_footer
from datanode.store.batch import Batch
from datanode.store.segment import Segment
from tests.support.log_bench import SIZE, LogBench
from tests.support.samples import DELETED, blob_id, put_record, update_record


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[LogBench]:
    made = LogBench(tmp_path)
    yield made
    made.close()


def test_records_lie_back_to_back_and_are_found_where_they_were_placed(bench: LogBench) -> None:
    batch = bench.write(0, 1, 700, 3)
    data = bench.disk.content(bench.root / "00000001.segment")
    at = HEADER_SIZE
    for record, where in zip(batch.records, batch.places, strict=True):
        assert (where.offset, where.lsn) == (at, at)
        found = record_format.decode(data[at:], bench.log.segments[1].salt)
        assert (found.id, bytes(found.payload)) == (record.id, record.payload)
        assert record_format.decode_header(data[at:], bench.log.segments[1].salt).lsn == where.lsn
        at += record.size
    assert data[at:] == bytes(SIZE - at)
    assert bench.log.size_bytes() == at


def test_a_record_that_does_not_fit_opens_the_next_segment(bench: LogBench) -> None:
    batch = bench.write(9_000, 5_000, 6_000, 100)
    assert [where.segment.number for where in batch.places] == [1, 1, 2, 2]
    first, second = bench.log.segments[1], bench.log.segments[2]
    assert second.base_lsn == first.base_lsn + SIZE
    assert batch.places[2].lsn == SIZE + HEADER_SIZE
    assert bench.log.active is second
    for where in batch.places:
        data = bench.disk.content(bench.root / f"{where.segment.number:08d}.segment")
        found = record_format.decode(data[where.offset :], where.segment.salt)
        assert found.id in {record.id for record in batch.records}


def test_a_record_that_fills_a_segment_to_the_last_byte_stays_in_it(bench: LogBench) -> None:
    overhead = put_record(blob_id(1), b"x" * 8).size - 8
    batch = bench.place(SIZE - HEADER_SIZE - FOOTER_SIZE - overhead, 0)
    assert batch.places[0].segment.end == batch.places[0].segment.limit
    assert [where.segment.number for where in batch.places] == [1, 2]


def test_a_record_larger_than_a_segment_gets_one_of_its_own(bench: LogBench) -> None:
    batch = bench.write(100, 3 * SIZE, 100)
    assert [where.segment.number for where in batch.places] == [1, 2, 3]
    assert bench.log.segments[2].header.capacity_bytes > 3 * SIZE
    assert (
        bench.log.segments[3].base_lsn == bench.log.segments[2].base_lsn + bench.log.segments[2].header.capacity_bytes
    )


def test_lsns_only_grow_and_never_touch(bench: LogBench) -> None:
    last = 0
    for _ in range(50):
        batch = bench.write(3_000, 1, 900)
        for record, where in zip(batch.records, batch.places, strict=True):
            assert where.lsn >= last
            last = where.lsn + record.size


def test_what_could_not_be_created_is_taken_back(bench: LogBench) -> None:
    bench.write(100)
    active = bench.log.active
    assert active is not None
    end = active.end
    batch = bench.place(100, 16_000, 16_000)
    assert len(batch.created) == 2
    bench.disk.fail("allocate", errno.ENOSPC, at=2)
    with pytest.raises(InsufficientStorage):
        batch.write()
    assert not batch.begun
    batch.abandon()
    assert bench.log.active is active
    assert active.end == end
    # The one that was created is empty, and what comes next goes beyond it; the other never was.
    assert bench.log.segments[2].end == HEADER_SIZE
    again = bench.write(100, 16_000, 16_000)
    assert [where.segment.number for where in again.places] == [1, 3, 4]
    assert again.places[0].offset == end
    assert again.places[1].segment.base_lsn == bench.log.segments[2].header.end_lsn
    assert bench.log.holes() == []


def test_a_number_that_a_compaction_took_meanwhile_is_not_given_again(bench: LogBench) -> None:
    bench.write(15_000)
    batch = bench.place(15_000)
    taken = bench.log.plan_compacted([bench.log.segments[1]], 5).number
    bench.disk.fail("create", errno.ENOSPC)
    with pytest.raises(InsufficientStorage):
        batch.write()
    assert not batch.begun
    batch.abandon()
    again = bench.place(15_000)
    assert again.created[0].number not in (1, taken)
    assert again.created[0].base_lsn == bench.log.segments[1].header.end_lsn


def test_a_replica_whose_first_segment_could_not_be_created_begins_as_if_nothing_had_been(bench: LogBench) -> None:
    batch = bench.place(100, 16_000)
    bench.disk.fail("create", errno.ENOSPC)
    with pytest.raises(InsufficientStorage):
        batch.write()
    assert not batch.begun
    batch.abandon()
    assert bench.log.active is None
    assert bench.log.segments == {}
    again = bench.write(100)
    assert (again.places[0].segment.number, again.places[0].lsn) == (1, HEADER_SIZE)
    assert bench.log.holes() == []


def test_room_that_was_left_behind_a_batch_is_not_given_back_with_it(bench: LogBench) -> None:
    """Room was left behind a batch on its way: to go back to where it began would give that room away."""
    bench.write(15_000)
    batch = bench.place(15_000)
    bench.log.skip(9, 1 << 32)
    bench.disk.fail("create", errno.ENOSPC)
    with pytest.raises(InsufficientStorage):
        batch.write()
    assert not batch.begun
    batch.abandon()
    again = bench.place(15_000).created[0]
    assert (again.number, again.base_lsn) == (10, 2 * SIZE + (1 << 32))


def test_a_filled_segment_gets_a_footer_that_says_where_its_records_end(bench: LogBench) -> None:
    bench.write(9_000, 9_000)
    first, second = bench.log.segments[1], bench.log.segments[2]
    image = bench.disk.content(bench.root / "00000001.segment")[-FOOTER_SIZE:]
    assert decode_footer(image, first.salt) == SegmentFooter(base_lsn=0, end_lsn=first.end, end_offset=first.end)
    assert bench.disk.content(bench.root / "00000002.segment")[-FOOTER_SIZE:] == bytes(FOOTER_SIZE)
    assert Segment.open(bench.disk, bench.root, 1).data_size() == first.end
    assert Segment.open(bench.disk, bench.root, 2).data_size() == SIZE - FOOTER_SIZE
    assert second.footer is None


def test_a_batch_syncs_each_segment_it_wrote_once_after_all_writes(bench: LogBench) -> None:
    batch = bench.place(9_000, 9_000)
    batch.write()
    calls = [call for call in bench.disk.calls if call[1].endswith(".segment") and call[0] in ("pwritev", "fdatasync")]
    assert calls == [
        ("pwritev", "00000001.segment"),
        ("pwritev", "00000002.segment"),
        ("pwritev", "00000001.segment"),
        ("fdatasync", "00000001.segment"),
        ("fdatasync", "00000002.segment"),
    ]


def test_a_synced_batch_covers_what_lay_unsynced_in_its_segment(bench: LogBench) -> None:
    bench.write(100, sync=False)
    bench.write(100, sync=True)
    assert not bench.log.unsynced
    bench.write(100, sync=False)
    bench.write(15_900, sync=True)  # in another segment; the footer of the first is synced with it
    assert not bench.log.unsynced


@pytest.mark.parametrize("call", ["pwritev", "fdatasync"])
def test_after_a_failed_write_or_sync_nothing_of_this_log_counts_as_synced(bench: LogBench, call: str) -> None:
    """A checkpoint on another thread used to sync the same segment with success, without the bytes that had been dropped."""
    bench.write(100, sync=False)
    unsynced = list(bench.log.unsynced.values())
    batch = bench.place(100, 15_000)
    bench.disk.fail(call, errno.EIO)
    with pytest.raises(OSError):
        batch.write()
    bench.disk.calls.clear()
    with pytest.raises(OSError, match="an earlier write or sync of this log failed"):
        bench.log.sync([item.segment for item in unsynced])
    with pytest.raises(OSError, match="an earlier write or sync of this log failed"):
        bench.place(100).write()
    assert "fdatasync" not in [name for name, _ in bench.disk.calls]
    assert bench.log.unsynced


def test_what_was_unsynced_in_other_segments_is_synced_with_it_each_once(bench: LogBench) -> None:
    """The segment that a batch wrote to used to be synced twice when it held un-synced bytes already."""
    bench.write(9_000, 9_000, sync=False)
    bench.disk.calls.clear()
    bench.write(100)
    assert [name for call, name in bench.disk.calls if call == "fdatasync"] == ["00000002.segment", "00000001.segment"]
    assert not bench.log.unsynced


def test_a_batch_without_records_syncs_what_came_before(bench: LogBench) -> None:
    bench.write(100, sync=False)
    bench.write()
    assert ("fdatasync", "00000001.segment") in bench.disk.calls
    assert not bench.log.unsynced


def test_a_batch_that_broke_off_on_its_way_to_its_places_can_be_taken_back(
    bench: LogBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.write(9_000)
    active = bench.log.active
    assert active is not None
    end = active.end
    records = [put_record(blob_id(number), bytes(4_000)) for number in range(3)]
    batch = Batch(bench.log, bench.index, records, sync=True, now_ms=5)
    with monkeypatch.context() as patch:
        patch.setattr(bench.log, "plan_segment", lambda _size, _now_ms: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            batch.place()
    assert active.end != end
    batch.abandon()
    assert (bench.log.active, active.end) == (active, end)


@pytest.mark.parametrize("kind", ["put", "update"])
def test_the_reserve_is_for_updates(bench: LogBench, kind: str) -> None:
    bench.disk.free = 2 * SIZE - 1
    record = put_record(blob_id(1), b"x") if kind == "put" else update_record(blob_id(1), DELETED)
    batch = Batch(bench.log, bench.index, [record], sync=True, now_ms=5)
    batch.place()
    if kind == "put":
        with pytest.raises(InsufficientStorage, match="kept for deletes"):
            batch.write(reserve_bytes=SIZE)
        assert not batch.begun
        bench.disk.free += 1
    batch.write(reserve_bytes=SIZE)


def test_a_disk_that_fails_at_a_new_segment_says_so_and_nothing_was_begun(bench: LogBench) -> None:
    batch = bench.place(100)
    bench.disk.fail("fsync", errno.EIO)
    with pytest.raises(OSError, match="Input/output") as failed:
        batch.write()
    assert not isinstance(failed.value, InsufficientStorage)
    assert not batch.begun
