"""The copy of a compaction: whole, durable, sealed, or not there at all."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from ambry.format.record import RecordKind
from datanode.store.compaction import copy as copying
from datanode.store.compaction.copy import Copied, DamagedInput
from datanode.store.retention import Retention
from datanode.store.segment import Segment, segment_name
from tests.support.copy_bench import UPDATED, CopyBench, kept
from tests.support.pieces import all_of
from tests.support.samples import (
    ALIVE,
    blob_id,
)


@pytest.fixture
def bench(tmp_path: Path) -> CopyBench:
    return CopyBench(tmp_path)


# --- the disk fails ---


def test_an_input_that_cannot_be_read_is_damage(bench: CopyBench) -> None:
    before = bench.names()
    bench.disk.fail("pread", errno.EIO, for_ever=True, name=segment_name(bench.first))
    with pytest.raises(DamagedInput) as caught:
        bench.copy([bench.first], kept())
    assert caught.value.segment == bench.first
    assert bench.names() == before


@pytest.mark.parametrize("at", [1, 2, 3, 5])
def test_an_input_that_fails_once_on_the_way_is_damage(bench: CopyBench, at: int) -> None:
    bench.disk.fail("pread", errno.EIO, at=at, name=segment_name(bench.first))
    with pytest.raises(DamagedInput):
        bench.copy([bench.first], kept())
    bench.disk.mend()
    bench.compact([bench.first], kept())
    bench.expect_well()


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize(
    ("call", "at"), [("create", 1), ("pwritev", 1), ("pwritev", 2), ("fdatasync", 1), ("fsync", 1)]
)
def test_an_output_that_cannot_be_written_is_the_disks_error(
    bench: CopyBench, monkeypatch: pytest.MonkeyPatch, call: str, at: int, number: int
) -> None:
    monkeypatch.setattr(copying, "WRITE_BYTES", 4_000)
    monkeypatch.setattr(copying, "SYNC_BYTES", 4_000)
    before, free = bench.names(), bench.disk.free
    bench.disk.fail(call, number, at=at, name=".tmp")
    with pytest.raises(OSError) as caught:
        bench.copy([bench.first], kept())
    assert caught.value.errno == number
    assert bench.names() == before
    assert bench.disk.free >= free
    bench.disk.mend()
    bench.compact([bench.first], kept())
    bench.expect_well()


def test_a_leftover_under_the_same_name_is_replaced(bench: CopyBench) -> None:
    inputs, output = bench.store.compaction.plan_output([bench.first])
    path = copying.unfinished_path(bench.directory, output.number)
    bench.disk.create(path).pwritev([b"x" * 200_000], 0)
    copied = all_of(bench.store.compaction.copier(kept()).run(inputs, output))
    assert len(bench.disk.content(path)) == copied.bytes_written < 200_000


# --- the output ---


def test_the_output_is_durable_sealed_and_exactly_as_long_as_it_says(bench: CopyBench) -> None:
    copied = bench.copy([bench.first], kept())
    path = copying.unfinished_path(bench.directory, copied.output.number)
    whole = bench.disk.content(path)
    assert len(whole) == copied.bytes_written
    bench.disk.sync_directory(bench.directory)
    assert bench.disk.durable_content(path) == whole
    assert copied.output.footer is not None
    assert copied.output.footer.end_offset == copied.output.end == len(whole) - 48
    bench.store.compaction.put_in_place(copied)
    reopened = Segment.open(bench.disk, bench.directory, copied.output.number)
    assert reopened.footer == copied.output.footer
    assert reopened.data_size() == copied.output.end


@pytest.mark.parametrize("retention", [kept(), kept(15), kept(40)])
def test_what_compactions_leave_is_verified_whole(bench: CopyBench, retention: Retention) -> None:
    for _ in range(3):
        bench.compact([bench.first], retention)
    bench.seal()
    bench.compact(bench.store.scrub.segment_numbers()[:-1], retention)
    bench.expect_well()


@pytest.mark.parametrize("retention", [kept(), kept(15), kept(40)])
def test_records_of_a_former_incarnation_are_readable_in_the_segment_that_replaces_theirs(
    bench: CopyBench, retention: Retention
) -> None:
    """Every log has a salt of its own, made of its incarnation, under the checks of its records.

    A replica that was put back from a backup took a new incarnation; its next compactions copied old records as they stood
    into segments with the new salt, and none of them could be read any more: 16 of 16, on every replica of a datacenter.
    """
    bench.renew()
    copied = bench.compact([bench.first], retention)
    assert len({copied.output.salt, *(segment.salt for segment in copied.inputs)}) == 2
    bench.expect_well()


def test_states_that_only_the_index_knows_are_readable_after_a_new_incarnation(bench: CopyBench) -> None:
    bench.damage(bench.first, *UPDATED)
    bench.renew()
    bench.compact([bench.first], kept())
    bench.expect_well()


def test_a_long_copy_syncs_now_and_then(bench: CopyBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sync of all of it at the end would hold up those of the foreground."""
    monkeypatch.setattr(copying, "WRITE_BYTES", 8_000)
    monkeypatch.setattr(copying, "SYNC_BYTES", 16_000)
    bench.disk.calls.clear()
    copied = bench.copy([bench.first], kept())
    name = copying.unfinished_path(bench.directory, copied.output.number).name
    calls = [call for call, file in bench.disk.calls if file == name and call in ("pwritev", "fdatasync", "fsync")]
    assert calls.count("fdatasync") >= 2
    assert calls[-2:] == ["pwritev", "fsync"]
    unsynced = 0
    for call in calls:
        unsynced = unsynced + 1 if call == "pwritev" else 0
        assert unsynced <= 4
    bench.compact([bench.first], kept())
    bench.expect_well()


def test_the_caller_may_slow_it_down_and_stop_it(bench: CopyBench) -> None:
    before = bench.names()
    sizes: list[int] = []

    def run(pause: Callable[[int], None]) -> Copied:
        inputs, output = bench.store.compaction.plan_output([bench.first])
        return all_of(bench.store.compaction.copier(kept()).run(inputs, output), pause)

    run(sizes.append).output.close()
    assert sizes == [item.header.record_size for item in bench.found(bench.first)]

    class Stopped(Exception):
        pass

    def stop(_size: int) -> None:
        raise Stopped

    bench.disk.unlink(bench.directory / bench.names()[-1])
    assert bench.names() == before
    with pytest.raises(Stopped):
        run(stop)
    assert bench.names() == before


def test_a_blob_that_is_alive_is_not_taken_for_a_state(bench: CopyBench) -> None:
    """Damage between records must not make update records of blobs whose put record is copied anyway."""
    bench.damage(bench.first, 50)
    copied = bench.compact([bench.first], kept())
    kinds = {item.id: item.header.kind for item in bench.found(copied.output.number)}
    assert [kinds[blob_id(number)] for number in (1, 3, 4, 6)] == [RecordKind.BLOB] * 4
    assert [item.header.state for item in bench.found(copied.output.number) if item.id == blob_id(1)] == [ALIVE]
