"""Segments whose header or footer is damaged (F38): named, and nothing that peers may have seen is given again."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambry.format.segment import FOOTER_SIZE
from datanode.store.opening import inventory
from datanode.store.opening import steps as opening
from tests.support.captured_log import Events, capture_log, said
from tests.support.four_segments import SIZE, TOKENS, FourSegments
from tests.support.samples import SEGMENT_SIZE, append, blob_id, checkpoint, content, open_replica, put_record, read_all


@pytest.fixture
def bench(tmp_path: Path) -> FourSegments:
    return FourSegments(tmp_path)


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    return capture_log(monkeypatch, inventory, opening)


# --- a segment that cannot be read ---


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_damaged_header_is_named_like_a_removed_file(bench: FourSegments, events: Events, number: int) -> None:
    bench.stop()
    bench.disk.flip(bench.path(number), 33)
    store = bench.open()
    assert store.unreadable == [number]
    assert store.holes[0] == ((number - 1) * SEGMENT_SIZE, number * SEGMENT_SIZE)
    assert [item["segment"] for item in said(events, "segment header damaged")] == [number]
    assert not store.serving
    assert store.checkpoint.tokens == {}
    bench.expect_without(number)
    bench.expect_new_lsns()
    bench.regain_authority()
    store = bench.open()
    assert store.serving
    assert store.unreadable == [number]
    bench.expect_without(number)


def test_a_damaged_header_in_the_middle_does_not_make_more_of_the_loss(bench: FourSegments, events: Events) -> None:
    bench.stop()
    bench.disk.flip(bench.path(2), 33)
    store = bench.open()
    assert said(events, "the end of the log is missing") == []
    assert store.holes == [(SEGMENT_SIZE, 2 * SEGMENT_SIZE)]


@pytest.mark.parametrize("clean", [True, False])
def test_a_known_damaged_header_costs_nothing_when_later_segments_are_begun(
    bench: FourSegments, events: Events, clean: bool
) -> None:
    bench.stop()
    bench.disk.flip(bench.path(2), 33)
    bench.open()
    bench.regain_authority()
    store = bench.open()
    number = 1_000
    while store.segment_count() < 6:
        append(store, put_record(blob_id(number), content(number, SIZE)))
        number += 1
    checkpoint(store, clean=clean, tokens=TOKENS)
    bench.kill()
    events.clear()
    store = bench.open()
    assert said(events, "segments are missing") == []
    assert store.serving
    assert store.checkpoint.tokens == TOKENS


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("number", [1, 4])
def test_lsns_behind_a_damaged_header_stay_given_when_its_file_is_taken_away(
    bench: FourSegments, number: int, clean: bool
) -> None:
    if clean:
        bench.stop()
    else:
        checkpoint(bench.store)
        append(bench.store, put_record(blob_id(902), b"behind the checkpoint"))
        bench.end = bench.store.end_lsn
        bench.kill()
    bench.disk.flip(bench.path(number), 33)
    store = bench.open()
    assert not store.serving
    bench.stop()
    bench.disk.remove(bench.path(number))
    store = bench.open()
    assert not store.serving
    bench.expect_new_lsns()
    for blob, segment in bench.where.items():
        if segment != number:
            assert read_all(store, blob_id(blob)) == content(blob, SIZE)


@pytest.mark.parametrize("offset", [SEGMENT_SIZE - FOOTER_SIZE + 3, SEGMENT_SIZE - 1])
def test_a_damaged_footer_loses_nothing_and_marks_its_segment(bench: FourSegments, events: Events, offset: int) -> None:
    bench.stop()
    bench.disk.flip(bench.path(2), offset)
    store = bench.open()
    assert (store.serving, store.holes, store.unreadable) == (True, [], [])
    assert store.checkpoint.tokens == TOKENS
    assert store.compaction.damaged == {2}
    assert [item["segment"] for item in said(events, "segment footer damaged")] == [2]
    bench.expect_without()
    bench.expect_new_lsns()


def test_a_damaged_footer_loses_nothing_in_a_rebuild_either(bench: FourSegments) -> None:
    bench.stop()
    bench.disk.flip(bench.path(2), SEGMENT_SIZE - 1)
    bench.store = open_replica(bench.disk, bench.directory, rebuild=True)
    assert bench.store.opened.gaps == 0
    bench.expect_without()
    assert bench.store.compaction.damaged == {2}


def test_a_footer_of_another_place_is_not_believed(bench: FourSegments) -> None:
    """It says where the records of its segment end: that of another one would hide some."""
    bench.stop()
    other = bench.disk.content(bench.path(3))[-FOOTER_SIZE:]
    bench.disk.overwrite(bench.path(2), SEGMENT_SIZE - FOOTER_SIZE, other)
    store = bench.open()
    assert store.compaction.damaged == {2}
    bench.expect_without()
