"""The copy of a compaction over damaged inputs: nothing is lost that the index knows, and nothing damaged is spread."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ambry.checksum import Buffer
from ambry.format.record import RecordKind
from datanode.store.compaction import copy as copying
from datanode.store.compaction.copy import DamagedInput
from datanode.store.scan import FoundRecord
from datanode.store.segment import Segment
from tests.support.copy_bench import EXPIRED, SIZE, UNDELETED, UPDATED, CopyBench, kept
from tests.support.samples import (
    DELETED,
    append,
    blob_id,
    checkpoint,
    content,
    open_replica,
    put_record,
    read_all,
    update_record,
)

GENERATIONS = pytest.mark.parametrize("generation", [0, 1])


@pytest.fixture
def bench(tmp_path: Path) -> CopyBench:
    return CopyBench(tmp_path)


# --- damaged bytes that are needed ---


@GENERATIONS
@pytest.mark.parametrize("blob", [1, 3, 6])
def test_bytes_that_the_index_points_to_are_repaired_first(bench: CopyBench, blob: int, generation: int) -> None:
    bench.age(generation)
    before = bench.names()
    bench.damage(bench.first, blob)
    with pytest.raises(DamagedInput, match=blob_id(blob).hex()) as caught:
        bench.copy([bench.first], kept())
    assert caught.value.segment == bench.first
    assert bench.names() == before


def test_the_damaged_one_of_several_inputs_is_named(bench: CopyBench) -> None:
    bench.seal()
    numbers = bench.store.scrub.segment_numbers()[:-1]
    assert len(numbers) == 2
    entry = next(e for e in bench.store.changes_since(0, 1_000) if e.segment == numbers[1])
    bench.disk.flip(bench.path(numbers[1]), entry.offset + 300)
    with pytest.raises(DamagedInput) as caught:
        bench.copy(numbers, kept())
    assert caught.value.segment == numbers[1]


def test_bytes_that_rot_between_look_and_copy_are_not_copied(bench: CopyBench, monkeypatch: pytest.MonkeyPatch) -> None:
    real = copying.Copier._read
    target = bench.entry(3)

    def rotten(segment: Segment, found: FoundRecord, output: Segment) -> Buffer:
        if found.offset == target.offset:
            bench.disk.flip(bench.path(segment.number), found.offset + 300)
        return real(segment, found, output)

    monkeypatch.setattr(copying.Copier, "_read", staticmethod(rotten))
    with pytest.raises(DamagedInput) as caught:
        bench.copy([bench.first], kept())
    assert caught.value.segment == target.segment


def test_a_zeroed_record_of_a_segment_without_footer_is_damage_too(bench: CopyBench) -> None:
    """After an unclean stop the last segment stays unsealed: zeros at its end are no loss, those between records are."""
    append(bench.store, *(put_record(blob_id(number), content(number, SIZE)) for number in (60, 61, 62)))
    bench.disk.kill()
    bench.store.close()
    bench.store = open_replica(bench.disk, bench.directory)
    unsealed = bench.entry(61).segment
    append(bench.store, put_record(blob_id(63), b"x"))
    checkpoint(bench.store)
    assert bench.store._log.segments[unsealed].footer is None
    bench.copy([unsealed], kept()).output.close()
    bench.damage(unsealed, 61, zero=True)
    with pytest.raises(DamagedInput):
        bench.copy([unsealed], kept())


# --- damaged bytes that are not needed any more ---

PLACES = [
    pytest.param((1,), (1,), id="start"),
    pytest.param((1, 2), (1, 2), id="start, with an update of a blob that is repaired"),
    pytest.param((50, 51), (), id="two updates in the middle"),
    pytest.param((3, 51, 52, 53), (3,), id="middle, on both sides of what stays"),
    pytest.param((2, 3, 50, 51, 52, 53, 4), (2, 3, 4), id="all of the middle"),
    pytest.param((5,), (), id="a tombstone and its bytes"),
    pytest.param((6, 5), (6,), id="towards the end"),
]


@GENERATIONS
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize(("damaged", "repaired"), PLACES)
def test_a_state_that_only_the_index_knows_takes_the_place_of_damage(
    bench: CopyBench, damaged: tuple[int, ...], repaired: tuple[int, ...], zero: bool, generation: int
) -> None:
    bench.age(generation)
    if 5 in damaged:
        # Deleted, so nobody repairs it: its bytes have been given up by an earlier compaction.
        bench.compact([bench.first], kept(15))
    number = bench.first
    bench.damage(number, *damaged, zero=zero)
    bench.repair(*repaired)
    before = bench.states()
    copied = bench.compact([number], kept(15))
    lsns = [item.header.lsn for item in bench.found(copied.output.number)]
    assert lsns == sorted(set(lsns))
    assert bench.states() == {
        blob: (lsn, state, 0 if blob == blob_id(5) else size) for blob, (lsn, state, size) in before.items()
    }
    for blob in damaged:
        records = [item for item in bench.found(copied.output.number) if item.id == blob_id(blob)]
        if blob in repaired:
            assert records == [], "its latest record stands elsewhere"
        else:
            (item,) = records
            assert (item.header.kind, item.header.lsn) == (RecordKind.UPDATE, bench.entry(blob).lsn)
            assert item.header.state == bench.entry(blob).state
    bench.expect_well()


@GENERATIONS
def test_damage_at_the_very_end_of_a_sealed_segment(bench: CopyBench, generation: int) -> None:
    """Nothing follows it: only footer and header say that something was there."""
    bench.age(generation)
    number = bench.first
    last = bench.found(number)[-1]
    blob = int.from_bytes(last.id[16:22], "big")
    append(bench.store, update_record(blob_id(70), DELETED))
    bench.disk.overwrite(bench.path(number), last.offset, bytes(last.header.record_size))
    with pytest.raises(DamagedInput):
        bench.copy([number], kept())
    append(bench.store, put_record(last.id, content(blob, 6_000)))
    checkpoint(bench.store)
    bench.compact([number], kept())
    assert read_all(bench.store, last.id) == content(blob, 6_000)
    bench.expect_well()


@GENERATIONS
def test_an_update_at_the_very_end_of_a_sealed_segment_is_kept(bench: CopyBench, generation: int) -> None:
    active = bench.store._log.segments[bench.store.scrub.segment_numbers()[-1]]
    room = active.limit - active.end
    append(bench.store, put_record(blob_id(60), bytes(room - 400)), update_record(blob_id(61), UNDELETED))
    number = bench.entry(60).segment
    bench.seal()
    for _ in range(generation):
        bench.compact([number], kept())
        number = bench.entry(60).segment
    last = bench.found(number)[-1]
    assert last.id == blob_id(61)
    bench.disk.flip(bench.path(number), last.offset + 20)
    before = bench.states()
    copied = bench.compact([number], kept())
    assert bench.found(copied.output.number)[-1].header.lsn == last.header.lsn
    assert bench.states() == before
    bench.expect_well()


@GENERATIONS
def test_a_segment_of_which_nothing_is_left_leaves_its_states(bench: CopyBench, generation: int) -> None:
    bench.age(generation)
    number = bench.first
    entries = [e for e in bench.store.changes_since(0, 1_000) if e.segment == number]
    records = bench.found(number)
    for item in records:
        bench.disk.flip(bench.path(number), item.offset + 50)
    for entry in entries:
        blob = int.from_bytes(entry.id[16:22], "big")
        append(bench.store, put_record(entry.id, content(blob, entry.payload_size)))
    checkpoint(bench.store)
    before = bench.states()
    copied = bench.compact([number], kept())
    assert {item.id for item in bench.found(copied.output.number)} == {blob_id(blob) for blob in UPDATED}
    assert bench.states() == before
    bench.expect_well()


def test_a_tombstone_in_damaged_bytes_goes_when_its_time_has_come(bench: CopyBench) -> None:
    bench.compact([bench.first], kept(15))
    bench.damage(bench.first, 50, 52)
    copied = bench.compact([bench.first], kept(40))
    assert {item.id for item in copied.forgotten} == {blob_id(5), blob_id(50), blob_id(52)}
    assert bench.store.lookup(blob_id(50)) is None
    assert bench.store.lookup(blob_id(51)) is not None
    bench.expect_well()


def test_a_tombstone_in_damaged_bytes_outlives_the_bytes_of_its_blob(bench: CopyBench) -> None:
    """Without it a put record that still stands in another segment would bring the blob back."""
    append(bench.store, update_record(blob_id(4), DELETED))
    number = bench.store.scrub.segment_numbers()[-1]
    bench.seal()
    bench.damage(number, 4)
    copied = bench.compact([number], kept(40))
    assert copied.forgotten == []
    bench.rebuild()
    assert bench.entry(4).state == DELETED


@GENERATIONS
def test_damaged_bytes_of_a_dead_blob_stop_nothing(bench: CopyBench, generation: int) -> None:
    bench.age(generation)
    bench.damage(bench.first, 5)
    copied = bench.compact([bench.first], kept(15))
    assert blob_id(5) in [item.id for item in copied.dropped]
    entry = bench.entry(5)
    assert (entry.present, entry.state) == (False, DELETED)
    bench.expect_well()


def test_an_expired_blob_in_damaged_bytes_needs_no_state(bench: CopyBench) -> None:
    append(bench.store, update_record(blob_id(60), EXPIRED))
    number = bench.store.scrub.segment_numbers()[-1]
    bench.seal()
    bench.damage(number, 60)
    copied = bench.compact([number], kept(40))
    assert [item.id for item in copied.forgotten] == [blob_id(60)]
    assert bench.store.lookup(blob_id(60)) is None
    bench.expect_well()


def test_a_process_without_descriptors_has_no_damaged_input(bench: CopyBench) -> None:
    """It counted as damage, which asked for a scrub of the whole replica."""
    bench.age(0)
    bench.disk.fail("pread", errno.EMFILE, for_ever=True)
    with pytest.raises(OSError, match="Too many open files") as failed:
        bench.copy([bench.first], kept())
    assert not isinstance(failed.value, DamagedInput)
