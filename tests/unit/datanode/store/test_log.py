"""The log of a replica: which LSNs its segments cover, where the next record may go, and what of it is not synced yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ambry.checksum import Buffer
from ambry.format import record as record_format
from ambry.format.segment import HEADER_SIZE
from datanode.store.files import IOV_MAX
from datanode.store.segment import segment_name
from tests.support.fake_files import FakeFile
from tests.support.log_bench import SIZE, LogBench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[LogBench]:
    made = LogBench(tmp_path)
    yield made
    made.close()


def test_holes_between_segments_are_named(bench: LogBench) -> None:
    for _ in range(4):
        bench.write(15_000)
    assert bench.log.holes() == []
    bench.log.retire([1])
    assert bench.log.holes() == [(0, SIZE)]
    bench.log.retire([3])
    assert bench.log.holes() == [(0, SIZE), (2 * SIZE, 3 * SIZE)]


def test_bytes_from_an_lsn_on_are_those_of_records(bench: LogBench) -> None:
    for _ in range(3):
        bench.write(15_000)
    first, second, third = bench.log.in_order()[:3]
    assert bench.log.bytes_from(0) == sum(segment.end_lsn - segment.base_lsn for segment in (first, second, third))
    assert bench.log.bytes_from(third.base_lsn + 100) == third.end_lsn - third.base_lsn - 100
    assert bench.log.bytes_from(third.end_lsn) == 0


def test_a_skipped_segment_leaves_its_number_and_its_lsns_alone(bench: LogBench) -> None:
    bench.log.skip(9, 1 << 32, beyond=1000)
    batch = bench.place(10)
    assert batch.places[0].segment.number == 10
    assert batch.places[0].segment.base_lsn == 1000 + (1 << 32)


def test_a_started_segment_takes_the_next_record(bench: LogBench) -> None:
    bench.log.start_segment(5)
    assert bench.disk.exists(bench.root / "00000001.segment")
    batch = bench.place(10)
    assert batch.created == []
    assert batch.places[0].lsn == HEADER_SIZE


def test_what_was_not_synced_is_remembered_until_it_is(bench: LogBench) -> None:
    bench.write(100, sync=False)
    assert bench.log.unsynced
    unsynced = list(bench.log.unsynced.values())
    bench.log.sync([item.segment for item in unsynced])
    bench.log.mark_synced(unsynced)
    assert not bench.log.unsynced
    assert ("fdatasync", "00000001.segment") in bench.disk.calls


@pytest.mark.parametrize("count", [1, IOV_MAX])
def test_a_write_that_comes_short_or_is_too_long_for_one_call_is_finished(
    bench: LogBench, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    real = FakeFile.pwritev

    def short(file: FakeFile, buffers: Sequence[Buffer], offset: int) -> int:
        assert len(buffers) <= IOV_MAX
        return real(file, [b"".join(buffers)[:5_000]], offset)

    batch = bench.place(*[9_000 // count] * count)
    monkeypatch.setattr(FakeFile, "pwritev", short)
    batch.write()
    for record, place in zip(batch.records, batch.places, strict=True):
        data = bench.disk.content(bench.root / segment_name(place.segment.number))
        found = record_format.decode(data[place.offset :], place.segment.salt)
        assert (found.id, bytes(found.payload)) == (record.id, record.payload)


def test_bytes_that_came_during_a_sync_stay_unsynced(bench: LogBench) -> None:
    bench.write(100, sync=False)
    unsynced = list(bench.log.unsynced.values())
    bench.log.sync([item.segment for item in unsynced])
    bench.write(100, sync=False)
    bench.log.mark_synced(unsynced)
    assert bench.log.unsynced
