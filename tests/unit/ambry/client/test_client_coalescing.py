"""Ranges that lie near each other are asked for as one."""

from __future__ import annotations

import random

import pytest

from ambry import ByteRange, RangeNotSatisfiable
from ambry.client.coalescing import Cutting, coalesced, cut_out
from tests.support.clusters import seed_of
from tests.support.content import content


@pytest.mark.parametrize(
    ("wanted", "gap", "spans"),
    [
        ([], 10, []),
        ([(0, 5)], 10, [(0, 5)]),
        ([(0, 5), (15, 20)], 10, [(0, 20)]),
        ([(0, 5), (16, 20)], 10, [(0, 5), (16, 20)]),
        ([(16, 20), (0, 5)], 11, [(0, 20)]),
        ([(0, 100), (10, 20), (100, 110)], 0, [(0, 110)]),
        ([(0, 5), (6, 8)], 0, [(0, 5), (6, 8)]),
        ([(0, 5), (0, 5)], 0, [(0, 5)]),
        ([(0, 5), (-8, None), (5, 9), (-8, None)], 0, [(-8, None), (0, 9)]),
        ([(0, 5), (5, None), (5, 9)], 0, [(0, 9), (5, None)]),
    ],
)
def test_what_is_asked_for(wanted: list[tuple[int, int | None]], gap: int, spans: list[tuple[int, int | None]]) -> None:
    found = coalesced([ByteRange(*each) for each in wanted], gap).spans
    assert sorted((each.start, each.stop or 0) for each in found) == sorted((start, stop or 0) for start, stop in spans)


def test_every_range_is_found_in_what_came() -> None:
    source = random.Random(seed_of("coalescing"))
    for _ in range(500):
        data = content(source.randrange(1000), source.randrange(1, 300))
        wanted: list[ByteRange] = []
        for _ in range(source.randrange(12)):
            start = source.randrange(len(data))
            wanted.append(
                source.choice(
                    [
                        ByteRange(start, start + source.randrange(1, 50)),
                        ByteRange(start),
                        ByteRange(-source.randrange(1, 400)),
                    ]
                )
            )
        plan = coalesced(wanted, source.randrange(40))
        came = [data[span.start : span.stop] for span in plan.spans]
        for each, cutting in zip(wanted, plan.cuttings, strict=True):
            assert cut_out(cutting, came[cutting.span], len(data)) == data[each.start : each.stop]


def test_a_range_behind_the_end_is_refused_also_where_its_span_was_not() -> None:
    with pytest.raises(RangeNotSatisfiable) as caught:
        cut_out(Cutting(0, 100, 5), bytes(60), 60)
    assert caught.value.size == 60
    assert cut_out(Cutting(0, 55, 10), bytes(60), 60) == bytes(5)
