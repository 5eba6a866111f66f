"""Which segments count, by what stands in a directory: adopted, set aside, unreadable, missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ambry.format.segment import SegmentHeader
from datanode.store.compaction import receipt
from datanode.store.log import Log
from datanode.store.opening.inventory import Inventory, name_holes, take_inventory
from datanode.store.opening.strays import SET_ASIDE_NAME
from datanode.store.segment import Segment, segment_name
from tests.support.fake_files import FakeFiles
from tests.support.samples import PARTITION, SEGMENT_SIZE

OURS = b"i" * 16


class Shelf:
    """A directory with some planned segments in it, and a log to adopt them."""

    def __init__(self, root: Path) -> None:
        self.disk = FakeFiles(root)
        self.root = root
        self.log = Log(self.disk, root, partition=PARTITION, incarnation=b"i" * 16, segment_size_bytes=SEGMENT_SIZE)

    def put(
        self,
        number: int,
        base: int,
        end: int,
        *,
        generation: int = 0,
        sealed: bool = True,
        partition: int = PARTITION,
        incarnation: bytes = OURS,
    ) -> Segment:
        header = SegmentHeader(
            partition=partition,
            incarnation=incarnation,
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
        return segment

    def take(self) -> Inventory:
        return take_inventory(self.disk, self.root, self.log, PARTITION, incarnations=[OURS])

    def aside(self) -> list[str]:
        place = self.root / SET_ASIDE_NAME
        return self.disk.list_directory(place) if self.disk.exists(place) else []


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


@pytest.mark.parametrize("foreign", [{"partition": 8}, {"incarnation": b"x" * 16}])
@pytest.mark.parametrize(("base", "end", "generation"), [(100, 200, 0), (0, 300, 0), (50, 150, 7), (0, 200, 1)])
def test_a_segment_that_is_not_of_this_log_is_set_aside(
    shelf: Shelf, foreign: dict[str, Any], base: int, end: int, generation: int
) -> None:
    """One with overlapping LSNs and a higher generation made two of ours be deleted: 34 of 49 blobs were left."""
    shelf.put(1, 0, 100)
    shelf.put(2, 100, 200, sealed=False)
    shelf.put(9, base, end, generation=generation, **foreign)
    assert shelf.take() == Inventory(set_aside=["set-aside/00000009.segment.1"])
    assert [segment.number for segment in shelf.log.in_order()] == [1, 2]
    assert shelf.aside() == ["00000009.segment.1"]
    assert shelf.log.plan_segment(0, 0).number == 10, "its number is not given again"


def test_one_that_was_put_in_the_place_of_ours_leaves_a_hole_that_is_named(shelf: Shelf) -> None:
    shelf.put(1, 0, 100)
    shelf.put(2, 100, 200, incarnation=b"x" * 16)
    shelf.put(3, 200, 300, sealed=False)
    shelf.take()
    assert name_holes(shelf.log) == "100 to 200 (behind 00000001.segment, in front of 00000003.segment)"


def test_two_of_our_own_that_no_compaction_explains_cost_neither(shelf: Shelf) -> None:
    """A file of an older day, put back into a directory that has gone on."""
    shelf.put(1, 0, 100)
    shelf.put(4, 0, 200, generation=1)
    shelf.put(5, 200, 300, sealed=False)
    inventory = shelf.take()
    assert (inventory.set_aside, inventory.replaced, inventory.ambiguous) == (
        ["set-aside/00000001.segment.1"],
        {},
        True,
    )
    assert [segment.number for segment in shelf.log.in_order()] == [4, 5]


def test_of_two_copies_of_a_segment_the_first_counts_and_the_other_is_kept(shelf: Shelf) -> None:
    for number in (1, 6):
        shelf.put(number, 0, 100)
    shelf.put(2, 100, 200, sealed=False)
    assert shelf.take().set_aside == ["set-aside/00000006.segment.1"]
    assert [segment.number for segment in shelf.log.in_order()] == [1, 2]


def test_a_receipt_of_other_files_proves_nothing(shelf: Shelf) -> None:
    """The numbers are right, and the old segment is another one."""
    strangers = Shelf(shelf.root / "elsewhere")
    shelf.disk.make_directory(shelf.root / "elsewhere")
    output = shelf.put(4, 0, 200, generation=1)
    strangers.disk.make_directory(strangers.root)
    receipt.write(shelf.disk, shelf.root, output, [strangers.put(1, 0, 150)])
    shelf.put(1, 0, 100)
    shelf.put(5, 200, 300, sealed=False)
    inventory = shelf.take()
    assert (inventory.set_aside, inventory.replaced) == (["set-aside/00000001.segment.1"], {})


def test_without_an_identity_the_segments_say_whose_log_it_is(shelf: Shelf) -> None:
    shelf.put(1, 0, 100, incarnation=b"x" * 16)
    inventory = take_inventory(shelf.disk, shelf.root, shelf.log, PARTITION, incarnations=None)
    assert (inventory.set_aside, list(shelf.log.segments)) == ([], [1])


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
    made = {
        number: shelf.put(number, base, end, generation=generation, sealed=number != segments[-1][0] or generation > 0)
        for number, base, end, generation in segments
    }
    for number in kept:
        if made[number].header.generation:
            receipt.write(shelf.disk, shelf.root, made[number], [made[number] for number in replaced])
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
