"""Which segments count, by what stands in a directory: adopted, set aside, unreadable, missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambry.errors import StoreMismatch
from ambry.format.segment import SegmentHeader
from datanode.store.log import Log
from datanode.store.opening.inventory import Inventory, name_holes, take_inventory
from datanode.store.segment import Segment, segment_name
from tests.support.fake_files import FakeFiles
from tests.support.samples import PARTITION, SEGMENT_SIZE


class Shelf:
    """A directory with some planned segments in it, and a log to adopt them."""

    def __init__(self, root: Path) -> None:
        self.disk = FakeFiles(root)
        self.root = root
        self.log = Log(self.disk, root, partition=PARTITION, incarnation=b"i" * 16, segment_size_bytes=SEGMENT_SIZE)

    def put(
        self, number: int, base: int, end: int, *, generation: int = 0, sealed: bool = True, partition: int = PARTITION
    ) -> None:
        header = SegmentHeader(
            partition=partition,
            incarnation=b"i" * 16,
            base_lsn=base,
            end_lsn=end,
            capacity_bytes=4096,
            created_at_ms=0,
            generation=generation,
        )
        segment = Segment(number, header)
        segment.create(self.disk, self.root)
        if sealed:
            segment.seal()
        segment.close()

    def take(self) -> Inventory:
        return take_inventory(self.disk, self.root, self.log, PARTITION)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_a_whole_log_is_adopted_in_the_order_of_its_lsns(shelf: Shelf) -> None:
    shelf.put(1, 0, 100)
    shelf.put(5, 100, 200, generation=2)
    shelf.put(4, 200, 300, sealed=False)
    assert shelf.take() == Inventory()
    assert [segment.number for segment in shelf.log.in_order()] == [1, 5, 4]
    assert shelf.log.holes() == []


def test_an_empty_directory_misses_nothing(shelf: Shelf) -> None:
    assert shelf.take() == Inventory()
    assert (shelf.log.segments, shelf.log.holes(), name_holes(shelf.log)) == ({}, [], "")


def test_what_was_never_finished_is_removed_and_strangers_are_left_alone(shelf: Shelf) -> None:
    shelf.put(1, 0, 100, sealed=False)
    for name in ("00000002.segment.tmp", "00000009.segment.tmp", "notes.txt", "2.segment"):
        shelf.disk.create(shelf.root / name)
    assert shelf.take() == Inventory()
    assert shelf.disk.list_directory(shelf.root) == ["00000001.segment", "2.segment", "notes.txt"]


def test_a_segment_of_another_partition_is_refused_with_its_place(shelf: Shelf) -> None:
    shelf.put(1, 0, 100)
    shelf.put(2, 100, 200, partition=8)
    with pytest.raises(StoreMismatch, match=r"00000002\.segment in .* is of partition 8"):
        shelf.take()


@pytest.mark.parametrize(
    ("segments", "kept", "replaced"),
    [
        ([(1, 0, 100, 0), (2, 100, 200, 0), (3, 200, 300, 0), (4, 0, 200, 1)], [4, 3], {1, 2}),
        ([(1, 0, 100, 0), (2, 100, 200, 0), (3, 200, 300, 0), (4, 100, 200, 1)], [1, 4, 3], {2}),
        ([(4, 0, 200, 1), (5, 0, 200, 2), (6, 200, 300, 0)], [5, 6], {4}),
        ([(2, 100, 200, 0), (4, 0, 200, 1), (6, 200, 300, 0)], [4, 6], {2}),
        ([(1, 0, 100, 0), (4, 0, 200, 1), (6, 200, 300, 0)], [4, 6], {1}),
        ([(9, 0, 100, 0), (4, 0, 100, 1), (6, 100, 200, 0)], [4, 6], {9}),
        ([(4, 0, 200, 1), (5, 200, 300, 3), (7, 0, 300, 4), (8, 300, 400, 0)], [7, 8], {4, 5}),
    ],
)
def test_where_files_cover_the_same_lsns_the_higher_generation_counts(
    shelf: Shelf, segments: list[tuple[int, int, int, int]], kept: list[int], replaced: set[int]
) -> None:
    for number, base, end, generation in segments:
        shelf.put(number, base, end, generation=generation, sealed=number != segments[-1][0] or generation > 0)
    inventory = shelf.take()
    assert [segment.number for segment in shelf.log.in_order()] == kept
    assert set(inventory.replaced) == replaced
    assert shelf.log.holes() == []
    for number, segment in inventory.replaced.items():
        assert (segment.number, segment.on_disk) == (number, True), "it is read once more, and then deleted"


@pytest.mark.parametrize(
    ("generation", "sealed", "beyond"), [(0, True, 200), (0, False, None), (1, True, 200), (1, False, 200)]
)
def test_the_end_of_the_log_takes_appends_or_is_gone(
    shelf: Shelf, generation: int, sealed: bool, beyond: int | None
) -> None:
    shelf.put(1, 0, 100)
    shelf.put(2, 100, 200, generation=generation, sealed=sealed)
    assert shelf.take().beyond == beyond


def test_numbers_and_lsns_of_an_unreadable_segment_are_not_given_again(shelf: Shelf) -> None:
    shelf.put(1, 0, 100)
    shelf.put(7, 100, 200, sealed=False)
    shelf.disk.flip(shelf.root / segment_name(7), 20)
    inventory = shelf.take()
    assert inventory.unreadable == [7]
    assert inventory.beyond == 100, "no hole explains it: it was the last one"
    assert shelf.log.plan_segment(0, 0).number == 8


def test_every_hole_is_said_with_its_neighbours(shelf: Shelf) -> None:
    for number, base, end in ((3, 50, 100), (4, 100, 200), (9, 300, 400), (12, 700, 800)):
        shelf.put(number, base, end)
    shelf.take()
    assert shelf.log.holes() == [(0, 50), (200, 300), (400, 700)]
    assert name_holes(shelf.log) == (
        "0 to 50 (at the start, in front of 00000003.segment), "
        "200 to 300 (behind 00000004.segment, in front of 00000009.segment), "
        "400 to 700 (behind 00000009.segment, in front of 00000012.segment)"
    )
