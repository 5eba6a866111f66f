"""Ranges that lie near each other are asked for as one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from ambry import ByteRange, RangeNotSatisfiable
from ambry.client.coalescing import Cutting, coalesced, cut_out
from tests.support.clusters import seed_of
from tests.support.content import content
from tests.support.named_frontend import LosingLink, named_frontend
from tests.support.twins import Twins


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


class CountingLink(LosingLink):
    """Counts the bytes of answers."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.came = 0
        self.alter = self._count

    def _count(self, data: bytes) -> bytes:
        self.came += len(data)
        return data


@pytest.fixture
def link(tmp_path: Path) -> Iterator[CountingLink]:
    with named_frontend(tmp_path / "meta.sqlite") as url, CountingLink(url) as made:
        yield made


def joined(ranges: list[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    """What has to come, by looking at every byte."""
    wanted = sorted({byte for start, stop in ranges for byte in range(start, stop)})
    spans: list[tuple[int, int]] = []
    for byte in wanted:
        if spans and byte - spans[-1][1] <= gap:
            spans[-1] = (spans[-1][0], byte + 1)
        else:
            spans.append((byte, byte + 1))
    return spans


def test_no_byte_comes_twice_and_none_for_nothing(link: CountingLink, twins: Twins) -> None:
    source = random.Random(seed_of("bytes of ranges"))
    data = content(21, 2_000_000)
    client = twins.connect(link.url)
    blob = client.put(data).id
    for gap in (0, 100, 64 << 10):
        middles = [source.randrange(len(data)) for _ in range(4)]
        ranges = []
        for _ in range(60):
            start = min(len(data) - 1, max(0, source.choice(middles) + source.randrange(-9_000, 9_000)))
            ranges.append((start, min(len(data), start + source.randrange(1, 3_000))))
        link.came, before = 0, len(link.seen)
        assert client.get_ranges(blob, ranges, coalesce=gap) == [data[start:stop] for start, stop in ranges]
        spans = joined(ranges, gap)
        size = sum(stop - start for start, stop in spans)
        # Beside the bytes there are heads: of the answer, and of each span in it.
        assert size <= link.came <= size + 1_000 * (1 + len(spans)), (gap, size, len(spans))
        assert len(link.seen) == before + 1
