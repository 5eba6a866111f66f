"""Segments that somebody removed (F38): what is missing is said exactly, and nothing is made up for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from datanode.store.opening import inventory
from datanode.store.opening import steps as opening
from datanode.store.retention import Retention
from datanode.store.segment import segment_name
from tests.support.captured_log import Events, capture_log, said
from tests.support.fake_files import FakeFiles
from tests.support.four_segments import COUNT, SIZE, TOKENS, FourSegments
from tests.support.pieces import all_of
from tests.support.samples import SEGMENT_SIZE, append, blob_id, checkpoint, content, open_replica, put_record, read_all

RETENTION = Retention(now_ms=1_700_001_000_000, deleted_ms=10, tombstone_ms=30, horizon_lsn=1 << 60)


@pytest.fixture
def bench(tmp_path: Path) -> FourSegments:
    return FourSegments(tmp_path)


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    return capture_log(monkeypatch, inventory, opening)


# --- a segment that somebody removed ---

REMOVED = [
    (1, (0, SEGMENT_SIZE), "0 to 65536 (at the start, in front of 00000002.segment)"),
    (2, (SEGMENT_SIZE, 2 * SEGMENT_SIZE), "65536 to 131072 (behind 00000001.segment, in front of 00000003.segment)"),
    (
        3,
        (2 * SEGMENT_SIZE, 3 * SEGMENT_SIZE),
        "131072 to 196608 (behind 00000002.segment, in front of 00000004.segment)",
    ),
]


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize(("number", "hole", "sentence"), REMOVED)
def test_a_removed_segment_is_named_and_only_its_bytes_are_missing(
    bench: FourSegments, events: Events, number: int, hole: tuple[int, int], sentence: str, clean: bool
) -> None:
    if clean:
        bench.stop()
    else:
        checkpoint(bench.store, tokens=TOKENS)
        append(bench.store, put_record(blob_id(901), b"behind the checkpoint"))
        bench.kill()
    bench.disk.remove(bench.path(number))
    store = bench.open()
    assert store.holes == [hole]
    assert [item["lsns"] for item in said(events, "segments are missing")] == [sentence]
    assert said(events, "segments are missing")[0]["log_level"] == "error"
    assert not store.serving
    assert store.checkpoint.tokens == {}
    assert store.checkpoint.holes == [hole]
    bench.expect_without(number)
    bench.expect_new_lsns()
    assert said(events, "the end of the log is missing") == []


@pytest.mark.parametrize(("number", "hole", "sentence"), REMOVED)
def test_a_known_hole_costs_nothing_again(
    bench: FourSegments, events: Events, number: int, hole: tuple[int, int], sentence: str
) -> None:
    bench.stop()
    bench.disk.remove(bench.path(number))
    bench.open()
    lost = [blob for blob, segment in bench.where.items() if segment == number]
    for blob in lost[:3]:
        append(bench.store, put_record(blob_id(blob), content(blob, SIZE)))
        bench.where[blob] = bench.place(blob)
    events.clear()
    for clean in (True, False, True):
        bench.store.serving = True
        checkpoint(bench.store, clean=clean, tokens=TOKENS)
        bench.kill()
        store = bench.open()
        assert store.serving
        assert store.checkpoint.tokens == TOKENS
        assert store.holes == store.checkpoint.holes == [hole]
        bench.expect_without(number)
    assert said(events, "segments are missing") == []
    bench.expect_new_lsns()


def test_a_hole_that_was_never_filled_leaves_it_without_authority(bench: FourSegments) -> None:
    """The hole is known at the next start: that alone must not give the authority back."""
    bench.stop()
    bench.disk.remove(bench.path(2))
    bench.open()
    for _ in range(2):
        bench.kill()
        store = bench.open()
        assert not store.serving
        assert store.checkpoint.tokens == {}
        bench.expect_without(2)


def test_a_second_hole_is_news_again(bench: FourSegments, events: Events) -> None:
    bench.stop()
    bench.disk.remove(bench.path(1))
    bench.open()
    bench.regain_authority()
    bench.disk.remove(bench.path(3))
    events.clear()
    store = bench.open()
    assert store.holes == [(0, SEGMENT_SIZE), (2 * SEGMENT_SIZE, 3 * SEGMENT_SIZE)]
    assert len(said(events, "segments are missing")) == 1
    assert not store.serving
    assert store.checkpoint.tokens == {}
    bench.expect_without(1, 3)


def test_the_last_segment_removed_behind_a_checkpoint_that_covers_it(bench: FourSegments, events: Events) -> None:
    bench.stop()
    bench.disk.remove(bench.path(4))
    store = bench.open()
    ((start, end),) = store.holes
    assert start == 3 * SEGMENT_SIZE
    assert end > bench.end, "what its file held is within the hole"
    (line,) = said(events, "the end of the log is missing")
    assert line["lsns"] == f"{start} to {end} (behind 00000003.segment, in front of 00000005.segment)"
    assert not store.serving
    assert store.checkpoint.tokens == {}
    for number, segment in bench.where.items():
        if segment < 4:
            assert read_all(store, blob_id(number)) == content(number, SIZE)
    bench.expect_new_lsns()
    events.clear()
    bench.regain_authority()
    store = bench.open()
    assert store.serving
    assert store.holes == [(start, end)]
    assert store.checkpoint.tokens == TOKENS
    assert said(events, "the end of the log is missing") == []


def test_the_last_segment_removed_before_a_checkpoint_knew_of_it(tmp_path: Path, events: Events) -> None:
    """Nothing but the footer of the segment before it tells: all of it came behind the checkpoint."""
    disk, directory = FakeFiles(tmp_path), tmp_path / "r"
    store = open_replica(disk, directory)
    store.serving = True
    append(store, put_record(blob_id(1), content(1, SIZE)))
    checkpoint(store, tokens=TOKENS)
    number = 2
    while store.segment_count() < 3:
        append(store, put_record(blob_id(number), content(number, SIZE)))
        number += 1
    end = store.end_lsn
    disk.kill()
    store.close()
    disk.remove(directory / segment_name(3))
    store = open_replica(disk, directory)
    assert not store.serving
    assert store.checkpoint.tokens == {}
    ((start, stop),) = store.holes
    assert (start, stop >= end) == (2 * SEGMENT_SIZE, True)
    assert len(said(events, "the end of the log is missing")) == 1
    (lsn,) = append(store, put_record(blob_id(900), b"new"))
    assert lsn >= end
    for blob in range(1, number - 1):
        assert read_all(store, blob_id(blob)) == content(blob, SIZE)


def test_a_removed_segment_that_no_checkpoint_knew_of_costs_the_authority(tmp_path: Path, events: Events) -> None:
    """The index has nothing in it: only the hole between its neighbours tells."""
    disk, directory = FakeFiles(tmp_path), tmp_path / "r"
    store = open_replica(disk, directory)
    store.serving = True
    checkpoint(store, tokens=TOKENS)
    append(store, *(put_record(blob_id(number), content(number, SIZE)) for number in range(1, 60)))
    assert store.segment_count() == 3
    disk.kill()
    store.close()
    disk.remove(directory / segment_name(2))
    store = open_replica(disk, directory)
    assert store.holes == [(SEGMENT_SIZE, 2 * SEGMENT_SIZE)]
    assert not store.serving
    assert store.checkpoint.tokens == {}


@pytest.mark.parametrize("starts", [1, 2])
def test_a_removed_end_and_a_crash_before_the_first_append_bring_no_lsn_back(bench: FourSegments, starts: int) -> None:
    bench.stop()
    bench.disk.remove(bench.path(4))
    for _ in range(starts):
        bench.open()
        bench.kill()
    bench.open()
    bench.expect_new_lsns()


@pytest.mark.parametrize("removed", [(1, 2, 3, 4), (2, 3, 4), (1, 4), (1, 2, 3)])
def test_several_segments_removed_at_once(bench: FourSegments, removed: tuple[int, ...]) -> None:
    bench.stop()
    for number in removed:
        bench.disk.remove(bench.path(number))
    store = bench.open()
    assert not store.serving
    assert store.checkpoint.tokens == {}
    missing = [range(start, end) for start, end in store.holes]
    for number in range(1, 5):
        inside = [(number - 1) * SEGMENT_SIZE in hole for hole in missing]
        assert any(inside) is (number in removed), number
    bench.expect_new_lsns()
    for blob, segment in bench.where.items():
        if segment not in removed:
            assert read_all(store, blob_id(blob)) == content(blob, SIZE)
    bench.regain_authority()
    assert bench.open().serving


def test_an_index_that_has_to_be_rebuilt_as_well_still_names_the_hole(bench: FourSegments, events: Events) -> None:
    bench.stop()
    bench.disk.remove(bench.path(2))
    (bench.directory / "index" / "data.mdb").unlink()
    store = bench.open()
    assert store.holes == [(SEGMENT_SIZE, 2 * SEGMENT_SIZE)]
    assert len(said(events, "segments are missing")) == 1
    assert not store.serving
    for number, segment in bench.where.items():
        if segment != 2:
            assert read_all(store, blob_id(number)) == content(number, SIZE)
    bench.expect_new_lsns()


def test_a_log_without_holes_says_nothing(bench: FourSegments, events: Events) -> None:
    bench.stop()
    store = bench.open()
    assert (store.holes, store.unreadable, store.serving) == ([], [], True)
    bench.expect_without()
    assert [item["event"] for item in events] == ["replica open"]


def test_a_checkpoint_in_the_removed_segment_does_not_make_more_of_the_loss(tmp_path: Path, events: Events) -> None:
    disk, directory = FakeFiles(tmp_path), tmp_path / "r"
    store = open_replica(disk, directory)
    number = 1
    for count in (2, 4):
        while store.segment_count() < count:
            append(store, put_record(blob_id(number), content(number, SIZE)))
            number += 1
        if count == 2:
            checkpoint(store)
    disk.kill()
    store.close()
    disk.remove(directory / segment_name(2))
    store = open_replica(disk, directory)
    assert not store.serving
    assert store.holes == [(SEGMENT_SIZE, 2 * SEGMENT_SIZE)]
    assert said(events, "the end of the log is missing") == []


# --- what only looks like it ---


def test_a_compaction_that_was_interrupted_is_neither_hole_nor_loss(bench: FourSegments, events: Events) -> None:
    checkpoint(bench.store)
    numbers = bench.store.scrub.segment_numbers()[:-1]
    inputs, output = bench.store.compaction.plan_output(numbers)
    copied = all_of(bench.store.compaction.copier(RETENTION).run(inputs, output))
    bench.store.compaction.put_in_place(copied)
    checkpoint(bench.store, tokens=TOKENS)
    bench.kill()
    store = bench.open()
    assert [item["left"] for item in said(events, "compaction was interrupted")] == numbers
    assert (store.holes, store.serving, store.checkpoint.tokens) == ([], True, TOKENS)
    for number in numbers:
        assert not bench.disk.exists(bench.path(number))
    for blob in range(1, COUNT + 1):
        if blob % 10 != 1:
            assert read_all(store, blob_id(blob)) == content(blob, SIZE)
