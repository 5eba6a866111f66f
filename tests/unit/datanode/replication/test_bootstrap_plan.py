"""When a replica is copied whole, from whom, and in which order: tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.protocol.messages.segments import RecordOffer, SegmentOffer
from datanode.replication.bootstrap_plan import (
    GAP_BYTES,
    PIECE_BYTES,
    CopyVerdict,
    Decision,
    Share,
    Source,
    behind_bytes,
    decide_copy,
    rotated,
    samples,
    spans,
)
from tests.support.samples import ALIVE, blob_id

MIN = 100
FOLLOW = Decision(verdict=CopyVerdict.FOLLOW)
WAIT = Decision(verdict=CopyVerdict.WAIT)


def source(name: str, behind: int, *, near: bool = True, answered: bool = True, gives: bool = True) -> Source:
    return Source(name=name, near=near, answered=answered, gives=gives, behind_bytes=behind)


def copy(*names: str) -> Decision:
    return Decision(verdict=CopyVerdict.COPY, sources=names)


A, B, LITTLE = source("a", 500), source("b", 900), source("l", 99)
FAR, SILENT, OLD = source("f", 5_000, near=False), source("s", 0, answered=False), source("o", 800, gives=False)


@pytest.mark.parametrize(
    ("peers", "waited", "designated", "decision"),
    [
        ([], True, True, FOLLOW),
        ([LITTLE], True, True, FOLLOW),
        ([OLD], True, True, FOLLOW),
        ([SILENT], True, True, FOLLOW),
        ([A, LITTLE], False, False, copy("a")),
        ([A, B], False, False, copy("b", "a")),
        ([A, B, FAR], True, True, copy("b", "a")),
        ([A, SILENT], False, False, WAIT),
        ([A, SILENT], True, False, copy("a")),
        ([LITTLE, SILENT], False, False, FOLLOW),
        ([LITTLE, FAR], True, True, copy("f")),
        ([LITTLE, FAR], True, False, FOLLOW),
        ([FAR, SILENT], False, True, WAIT),
        ([FAR, SILENT], False, False, FOLLOW),
        ([source(name, 200) for name in "edcba"], True, False, copy("a", "b", "c")),
    ],
)
def test_who_is_copied_from(peers: list[Source], waited: bool, designated: bool, decision: Decision) -> None:
    assert decide_copy(peers, behind_bytes_min=MIN, waited=waited, designated=designated) == decision


@pytest.mark.parametrize(
    ("next_lsn", "covered", "own_end", "followed", "behind"),
    [
        (0, 0, 0, False, 1_000),
        (0, 0, 700, False, 300),
        (0, 0, 2_000, False, 0),
        (10, 0, 700, False, 300),
        (400, 0, 700, True, 600),
        (400, 900, 0, True, 100),
        (400, 900, 0, False, 100),
        (1_000, 0, 0, True, 0),
    ],
)
def test_how_much_may_be_missing(next_lsn: int, covered: int, own_end: int, followed: bool, behind: int) -> None:
    found = behind_bytes(next_lsn=next_lsn, covered_lsn=covered, end_lsn=1_000, own_end_lsn=own_end, followed=followed)
    assert found == behind


def offers(*sizes: int) -> list[SegmentOffer]:
    return [SegmentOffer(number, 0, 0, size, 0) for number, size in enumerate(sizes, start=1)]


@pytest.mark.parametrize(
    ("sizes", "share", "numbers"),
    [
        ((10, 10, 10, 10), Share(0, 2), [1, 2, 3, 4]),
        ((10, 10, 10, 10), Share(1, 2), [3, 4, 1, 2]),
        ((10, 10, 10, 10), Share(2, 3), [4, 1, 2, 3]),
        ((70, 10, 10, 10), Share(1, 2), [2, 3, 4, 1]),
        ((10,), Share(1, 2), [1]),
        ((), Share(1, 2), []),
    ],
)
def test_each_peer_begins_at_a_place_of_its_own_and_goes_round(
    sizes: tuple[int, ...], share: Share, numbers: list[int]
) -> None:
    assert [offer.number for offer in rotated(offers(*sizes), share)] == numbers


def test_looks_into_a_segment_are_spread_over_it() -> None:
    places = samples(64 << 20)
    assert all(place % 8 == 0 for place in places)
    assert places[0] > 6 << 20
    assert places[-1] > 56 << 20
    assert places == sorted(set(places))


def at(offset: int, size: int) -> RecordOffer:
    return RecordOffer(blob_id(offset), offset, size, ALIVE, 0)


def test_records_that_follow_each_other_are_fetched_at_once() -> None:
    records = [at(128, 400), at(528, 400), at(928 + GAP_BYTES, 400), at(1_329 + 2 * GAP_BYTES, 8)]
    found = spans(records)
    bounds = [(span.start, span.end) for span in found]
    assert bounds == [
        (128, 1_328 + GAP_BYTES),
        (1_329 + 2 * GAP_BYTES, 1_337 + 2 * GAP_BYTES),
    ]
    assert [len(span.records) for span in found] == [3, 1]


@given(st.lists(st.tuples(st.integers(0, 200_000), st.integers(88, 12 << 20)), max_size=60))
def test_every_record_is_in_one_piece_and_pieces_are_bounded(shape: list[tuple[int, int]]) -> None:
    records: list[RecordOffer] = []
    offset = 128
    for gap, size in shape:
        offset += gap
        records.append(at(offset, size))
        offset += size
    found = spans(records)
    assert [record for span in found for record in span.records] == records
    for span in found:
        assert span.start == span.records[0].offset
        assert span.end == span.records[-1].offset + span.records[-1].size
        assert span.size <= PIECE_BYTES or len(span.records) == 1
