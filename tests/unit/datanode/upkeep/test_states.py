"""What the metrics say of the replicas of a node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.service.metrics import Gauge
from datanode import metrics
from datanode.upkeep.states import STATES, counts
from tests.support.lone_bench import LoneBench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[LoneBench]:
    made = LoneBench(tmp_path)
    yield made
    await made.tear_down()


def exposed(family: Gauge) -> dict[str, float]:
    """The values of a gauge as a scrape finds them, by the label, or by nothing."""
    (found,) = family.collect()
    return {sample.labels.get("state", ""): sample.value for sample in found.samples}


async def test_every_replica_is_in_one_state(bench: LoneBench) -> None:
    bench.replicas.expect(bench.parts.map.partitions_of("n"))
    assert counts(bench.replicas)["opening"] == 2
    await bench.open()
    assert counts(bench.replicas) == dict.fromkeys(STATES, 0) | {"unsure": 2}, "nobody has vouched for them yet"
    bench.replicas[7].store.serving = bench.replicas[7].store.vouched = True
    bench.replicas[8].store.fence("a sync failed")
    assert exposed(metrics.REPLICAS) == dict.fromkeys(STATES, 0.0) | {"open": 1.0, "fenced": 1.0}


async def test_the_scrub_that_is_the_longest_ago_counts(bench: LoneBench) -> None:
    await bench.open()
    bench.clock.advance(100)
    await bench.parts.scrubber.scrub(bench.replicas[7])
    assert exposed(metrics.SCRUB_AGE) == {"": 100.0}
    bench.clock.advance(86_400)
    await bench.parts.scrubber.tick()
    assert exposed(metrics.SCRUB_AGE) == {"": 0.0}
