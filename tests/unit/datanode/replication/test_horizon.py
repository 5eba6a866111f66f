"""What tombstones wait for: the peer that is furthest behind, how many it keeps, and since when it is silent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.service.metrics import registry
from datanode.config import CompactionSection
from datanode.replication.horizon import Horizon
from datanode.store.index import FindToken
from tests.support.direct_node import DirectCluster, cluster_map
from tests.support.samples import DELETED, PARTITION, blob_id, content

DAY_S = 86_400
DOOMED = range(1, 21)
LATER = range(100, 150)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[DirectCluster]:
    """Tombstones stay for two days."""
    section = CompactionSection(deleted_retention_s=DAY_S, tombstone_retention_s=2 * DAY_S, dead_share_min=0.05)
    cluster = DirectCluster(tmp_path, cluster_map(3), sections={"compaction": section})
    await cluster.start()
    yield cluster
    await cluster.stop()


async def days_pass(cluster: DirectCluster) -> None:
    """Three of them; everybody who is up hears the others, makes it durable, and compacts."""
    for days in (1.5, 1.5, 0):
        cluster.clock.advance(days * DAY_S)
        for _ in range(2):
            await cluster.settle(rounds=2)
            for node in cluster.running.values():
                await node.parts.checkpointer.checkpoint(node.replica)
        for node in cluster.running.values():
            while await node.parts.compactor.compact(node.replica):
                pass


def metric(peer: str) -> float | None:
    return registry.get_sample_value("ambry_datanode_tombstones_waiting", {"peer": peer})


async def test_a_silent_peer_is_named_with_the_tombstones_that_it_keeps(cluster: DirectCluster) -> None:
    node, silent = cluster["a1"], cluster["a3"]
    for number in DOOMED:
        await node.put(blob_id(number), content(number, 3_000))
    await days_pass(cluster)
    assert node.parts.horizon.waiting_for("a3") == 0
    await silent.kill()
    for number in DOOMED:
        await node.update(blob_id(number), DELETED)
    for number in LATER:
        await node.put(blob_id(number), content(number, 3_000))
    await days_pass(cluster)
    horizon = node.parts.horizon
    assert all(node.state(blob_id(number)) == DELETED for number in DOOMED)
    assert horizon.waiting_for("a3") == node.replica.store.compaction.waiting == len(DOOMED)
    assert horizon.waiting_for("a2") == 0
    assert horizon.last(node.replica) == ["a3"]
    page = horizon.describe(node.replica)
    assert page["a3"]["seen_lsn"] < page["a2"]["seen_lsn"]
    assert page["a3"]["asked_s"] >= 3 * DAY_S
    assert page["a2"]["asked_s"] < DAY_S
    await silent.start()
    await days_pass(cluster)
    assert all(node.state(blob_id(number)) is None for number in DOOMED)
    assert [horizon.waiting_for(peer) for peer in ("a2", "a3")] == [0, 0]
    assert horizon.describe(node.replica)["a3"]["asked_s"] < DAY_S


async def test_after_a_start_everybody_is_waited_for_who_was_not_heard(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    await node.put(blob_id(1), b"x")
    await cluster.settle()
    await node.kill()
    await node.start()
    horizon = node.parts.horizon
    assert (horizon.lsn(node.replica), horizon.last(node.replica)) == (0, ["a2", "a3"])
    token = FindToken(node.replica.store.incarnation, 500)
    horizon.note("a2", PARTITION, token)
    assert (horizon.lsn(node.replica), horizon.last(node.replica)) == (0, ["a3"])
    horizon.note("a3", PARTITION, FindToken(b"another log.....", 900))
    assert horizon.lsn(node.replica) == 0, "that says nothing of ours"
    horizon.note("a3", PARTITION, token)
    assert (horizon.lsn(node.replica), horizon.last(node.replica)) == (500, ["a2", "a3"])


async def test_the_metric_has_a_row_for_every_peer_that_shares_something(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    node.replica.store.compaction.waiting = 7
    # The nodes of this cluster share one registry: the last to begin has its rows there.
    last = Horizon(node.parts.replicas, [node.replica.partition], own_name="a1", clock=node.clock)
    last.note("a2", PARTITION, FindToken(node.replica.store.incarnation, 500))
    assert (metric("a2"), metric("a3")) == (0, 7)
