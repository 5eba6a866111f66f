"""A node at rest costs the same, however many partitions it has.

History: every worker went through all replicas on a timer, the healer five times a second. 1,000 partitions in which nothing
happened took 2.2 to 3.3 % of a core on every node.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from datanode.config import CompactionSection
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.samples import PARTITION, blob_id

OURS = f"{Path(__file__).parents[3]}/datanode/"
MINUTES = 11
"""So that all that is due within ten minutes of an opening was done, and what comes after it again and again shows."""


@contextmanager
def counted_lines() -> Iterator[Counter[str]]:
    """How often lines of the data node's code ran on this thread, by function: no loop over all replicas escapes that."""
    lines: Counter[str] = Counter()

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        if event == "line":
            lines[f"{frame.f_code.co_filename.removeprefix(OURS)}:{frame.f_code.co_qualname}"] += 1
        return trace

    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(None)


async def run_a_minute(cluster: DirectCluster, node: DirectNode) -> None:
    """Every worker of a node, every ten seconds."""
    for _ in range(6):
        cluster.clock.advance(10.0)
        for name, tick in node.ticks.items():
            if name != "room":
                await tick()


async def lines_of_a_minute_at_rest(root: Path, partitions: int) -> Counter[str]:
    root.mkdir()
    numbers = tuple(range(PARTITION, PARTITION + partitions))
    cluster = DirectCluster(root, cluster_map(2, partitions=numbers), sections={"compaction": CompactionSection()})
    await cluster.start()
    await cluster.settle()
    for _ in range(MINUTES):
        for name in ("a1", "a2"):
            await run_a_minute(cluster, cluster[name])
    with counted_lines() as lines:
        await run_a_minute(cluster, cluster["a1"])
    await cluster.stop()
    return lines


async def test_a_minute_at_rest_costs_the_same_with_many_partitions(tmp_path: Path) -> None:
    few = await lines_of_a_minute_at_rest(tmp_path / "few", 3)
    many = await lines_of_a_minute_at_rest(tmp_path / "many", 15)
    grew = {name: (few[name], count) for name, count in many.items() if count > few[name]}
    assert grew == {}


async def lines_of_one_receipt(root: Path) -> float:
    """Per put that reached both replicas by itself: what one of them runs to tell the other of it, and to be told."""
    count = 40
    numbers = tuple(range(PARTITION, PARTITION + count))
    cluster = DirectCluster(root, cluster_map(2, partitions=numbers))
    await cluster.start()
    await cluster.settle()
    for round in range(2):  # the first answers still tell who has authority
        for node in cluster.nodes.values():
            for number in numbers:
                await node.put(blob_id(2 * number + round, partition=number), b"x")
        with counted_lines() as lines:
            await cluster["a1"].tick("pull:a2")
    await cluster.stop()
    return lines.total() / count


async def test_a_put_that_reached_all_replicas_costs_their_followers_next_to_nothing(tmp_path: Path) -> None:
    """Each of them tells all others of it. What an answer decides was looked at again for each: 341 lines, now 255."""
    assert await lines_of_one_receipt(tmp_path) < 290
