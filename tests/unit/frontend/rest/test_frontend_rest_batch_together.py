"""Which parts of a batch one download brings."""

from __future__ import annotations

from collections import deque

import pytest

from ambry.ids import BlobId, IdKind
from frontend.rest.batch_large import take_together
from frontend.rest.batch_parts import Unit
from frontend.router.values import RangeSpec
from tests.support.samples import blob_id

BLOB, OTHER = (BlobId(blob_id(number, kind=IdKind.COMPOSITE)) for number in (1, 2))
SMALL = BlobId(blob_id(1))
FIRST, SECOND = RangeSpec(0, 9), RangeSpec(20, 29)


def unit(index: int, blob: BlobId | None, wanted: RangeSpec | None, *, as_everybody: bool = False) -> Unit:
    return Unit(index=index, text=str(blob), id=blob, wanted=wanted, as_everybody=as_everybody)


def taken(*units: Unit) -> list[list[int]]:
    """The indexes of those that are taken together, until none is left."""
    waiting, found = deque(units), []
    while waiting:
        found.append([each.index for each in take_together(waiting)])
    return found


def test_ranges_of_one_blob_that_follow_each_other_are_one_download() -> None:
    ranges = [unit(0, BLOB, FIRST), unit(1, BLOB, SECOND), unit(2, OTHER, FIRST), unit(3, BLOB, FIRST)]
    assert taken(*ranges) == [[0, 1], [2], [3]]


@pytest.mark.parametrize("first", [False, True])
def test_what_a_key_may_read_is_not_brought_with_what_only_everybody_may(first: bool) -> None:
    """One download asks once whether it may go on: of a container that becomes private meanwhile, either all of both would
    come, or nothing of what the key may read, as the first of them was asked for."""
    units = [unit(number, BLOB, FIRST, as_everybody=first == (number < 2)) for number in range(4)]
    assert taken(*units) == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ((SMALL, FIRST), (SMALL, SECOND)),
        ((BLOB, None), (BLOB, FIRST)),
        ((BLOB, FIRST), (BLOB, None)),
        ((None, FIRST),) * 2,
    ],
)
def test_a_small_blob_a_whole_one_and_what_was_not_found_come_alone(
    one: tuple[BlobId | None, RangeSpec | None], two: tuple[BlobId | None, RangeSpec | None]
) -> None:
    assert taken(unit(0, *one), unit(1, *two)) == [[0], [1]]
