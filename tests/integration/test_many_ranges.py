"""Every size at which something changes, whole and by 200 random ranges each, at both datacenters."""

from __future__ import annotations

import random

import pytest

from ambry import AmbryClient
from tests.support.clusters import seed_of
from tests.support.content import content
from tests.support.waiting import eventually

MIB = 1 << 20
SIZES = [0, 1, 65_535, 65_536, 65_537, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 50_000_001]
RANGES = 200


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_whole_and_by_many_ranges_at_both_datacenters(dc1: str, dc2: str, size: int) -> None:
    seed = seed_of(f"ranges of {size} bytes")
    body = content(seed, size)
    chance = random.Random(seed)
    with AmbryClient(endpoints=[dc1]) as here, AmbryClient(endpoints=[dc2]) as there:
        blob = here.put(body)
        eventually(lambda: there.exists(blob.id), "the blob is known at the other datacenter")
        for client in (here, there):
            assert client.get_bytes(blob.id) == body
            for _ in range(RANGES if size else 0):
                first = chance.randrange(size)
                end = chance.randint(first + 1, min(size, first + chance.choice((1, 1000, 70_000, 9 * MIB))))
                assert client.get_bytes(blob.id, range=(first, end)) == body[first:end], (first, end)
