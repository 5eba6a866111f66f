"""Which records one read brings: those that lie near to each other, within bounds."""

from __future__ import annotations

from datanode.store.entry import IndexEntry
from datanode.store.neighbours import GAP_BYTES_MAX, RECORD_BYTES_MAX, RUN_BYTES_MAX, runs_of, span_of
from tests.support.samples import ALIVE, blob_id


def entry(number: int, offset: int, size: int = 100, *, segment: int = 1) -> IndexEntry:
    return IndexEntry(blob_id(number), 0, segment, offset, size, size - 90, ALIVE, 0)


def runs(*entries: IndexEntry) -> list[list[int]]:
    return [[each.offset for each in run] for run in runs_of(entries)]


def test_neighbours_are_one_run_in_any_order_and_small_gaps_are_read_over() -> None:
    assert runs(entry(1, 300), entry(2, 100), entry(3, 200)) == [[100, 200, 300]]
    assert runs(entry(1, 100), entry(2, 200 + GAP_BYTES_MAX)) == [[100, 200 + GAP_BYTES_MAX]]
    assert runs(entry(1, 100), entry(2, 201 + GAP_BYTES_MAX)) == [[100], [201 + GAP_BYTES_MAX]]


def test_those_of_other_segments_and_large_ones_are_no_neighbours() -> None:
    assert runs(entry(1, 100), entry(2, 200, segment=2)) == [[100], [200]]
    assert runs(entry(1, 100), entry(2, 200, RECORD_BYTES_MAX + 1), entry(3, 201 + RECORD_BYTES_MAX)) == [
        [100],
        [200, 201 + RECORD_BYTES_MAX],
    ]
    assert runs() == []


def test_a_run_has_a_bound() -> None:
    many = [entry(number, number * 4_096, 4_096) for number in range(100)]
    found = list(runs_of(many))
    assert [each for run in found for each in run] == many
    assert [span_of(run) for run in found] == [RUN_BYTES_MAX, 36 * 4_096]
