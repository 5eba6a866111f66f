"""No undelete comes too late, wherever it goes, and what one brings back has its bytes.

Past the seven days two replicas refused an undelete, and one that had been wiped or had missed the delete took it: the state
came to all of them, and the bytes were gone (docs/decisions/0022-an-undelete-tells-what-it-undoes.md).
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.blob import NEVER_MS, BlobState
from ambry.errors import BlobDeleted, QuorumNotReached
from datanode.config import CompactionSection
from datanode.replication import comparison
from frontend.router import quorum_write
from tests.support.clusters import rounds, seed_of
from tests.support.direct_frontend import DirectFrontend
from tests.support.direct_node import DirectCluster, cluster_map
from tests.support.samples import ALIVE, DELETED, blob_id, content
from tests.support.undelete_histories import RETENTION_S, SIZE, UndeleteHistory, properties_of

THREE, SIX = (3,), (3, 3)
ID = blob_id(1)


@pytest.fixture(autouse=True)
def nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what is under way between nodes, nor for nodes that restart: nothing is, and none does."""
    monkeypatch.setattr(comparison, "PATIENCE_S", 0.0)
    monkeypatch.setattr(quorum_write, "RETRY_WAIT_S", 0.0)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[DirectCluster]:
    section = CompactionSection(dead_share_min=0.05)
    cluster = DirectCluster(tmp_path, cluster_map(3), sections={"compaction": section})
    await cluster.start()
    await cluster.settle()
    yield cluster
    await cluster.stop()


async def everything_dead_goes(cluster: DirectCluster) -> None:
    for node in cluster.nodes.values():
        node.hear_clocks()
        await node.parts.checkpointer.checkpoint(node.replica)
        while await node.parts.compactor.compact(node.replica):
            pass


@pytest.mark.parametrize("ignorant", ["missed the delete", "was wiped"])
async def test_one_replica_that_knows_of_no_delete_brings_nothing_back(cluster: DirectCluster, ignorant: str) -> None:
    """The state of the blob came to all, the bytes were gone: 503 for ever."""
    frontend = DirectFrontend(cluster, datacenter_id=1, seed=1)
    for node in cluster.nodes.values():
        await node.put(ID, content(1, SIZE), properties=properties_of(content(1, SIZE)))
    frontend.peers["a3"].deaf = True
    await frontend.delete(ID)
    frontend.peers["a3"].deaf = False
    cluster.clock.advance(RETENTION_S)
    if ignorant == "was wiped":
        await cluster["a3"].wipe()
    with pytest.raises(BlobDeleted, match="too late"):
        await frontend.undelete(ID)
    await everything_dead_goes(cluster)
    await cluster.settle()
    assert {node.state(ID) for node in cluster.nodes.values()} == {DELETED}


async def test_what_an_undelete_in_the_last_minute_brings_back_has_its_bytes(cluster: DirectCluster) -> None:
    """One that had been wiped took it alone, cut off from the others until these had dropped the bytes."""
    frontend = DirectFrontend(cluster, datacenter_id=1, seed=1)
    for node in cluster.nodes.values():
        await node.put(ID, content(1, SIZE), properties=properties_of(content(1, SIZE)))
    await frontend.delete(ID)
    cluster.clock.advance(RETENTION_S - 30)
    await cluster["a3"].wipe()
    for name in ("a1", "a2"):
        frontend.peers[name].deaf = True
    with pytest.raises(QuorumNotReached):
        await frontend.undelete(ID)
    await frontend.settled()
    cluster.clock.advance(60)
    await everything_dead_goes(cluster)
    await cluster.settle()
    assert {node.state(ID) for node in cluster.nodes.values()} == {DELETED}


async def test_a_longer_life_is_confirmed_by_who_has_the_bytes(tmp_path: Path) -> None:
    """A datacenter that the blob had not reached confirmed it; the other, cut off, dropped the bytes after the old time."""
    section = CompactionSection(dead_share_min=0.05)
    cluster = DirectCluster(tmp_path, cluster_map(1, 2), sections={"compaction": section})
    await cluster.start()
    await cluster.settle()
    elsewhere = DirectFrontend(cluster, datacenter_id=2, seed=1)
    payload = content(1, SIZE)
    soon = BlobState(0, False, cluster.clock.wall_ms() + 60_000)
    await cluster["a1"].put(ID, payload, state=soon, properties=properties_of(payload))
    with pytest.raises(QuorumNotReached, match="does not have the bytes"):
        await elsewhere.extend_ttl(ID, NEVER_MS)
    await cluster.settle()
    await elsewhere.extend_ttl(ID, NEVER_MS)
    for name in ("b1", "b2"):
        cluster[name].peers["a1"].reachable = cluster["a1"].peers[name].reachable = False
    cluster.clock.advance(2 * RETENTION_S)
    await everything_dead_goes(cluster)
    for name in ("b1", "b2"):
        cluster[name].peers["a1"].reachable = cluster["a1"].peers[name].reachable = True
    await cluster.settle()
    assert all(node.holds(ID) and node.state(ID) == ALIVE for node in cluster.nodes.values())
    await cluster.stop()


async def play_some(root: Path, datacenters: tuple[int, ...], *, count: int, steps: int) -> None:
    first = seed_of(f"undeletes at {sum(datacenters)} nodes")
    revived = refused = 0
    for seed in range(first, first + count):
        directory = root / str(seed)
        directory.mkdir()
        history = UndeleteHistory(directory, seed, datacenters)
        try:
            await history.run(steps)
        except BaseException:
            print(f"history {seed}:", *history.said, sep="\n  ")
            raise
        finally:
            await history.cluster.stop()
            shutil.rmtree(directory, ignore_errors=True)
        revived += history.revived
        refused += history.refused
    print(f"{count} histories from seed {first} on: {revived} undeletes acknowledged, {refused} too late")


@pytest.mark.parametrize(("datacenters", "count"), [(THREE, 4), (SIX, 1)])
async def test_some_histories(tmp_path: Path, datacenters: tuple[int, ...], count: int) -> None:
    await play_some(tmp_path, datacenters, count=count, steps=30)


@pytest.mark.fault
@pytest.mark.parametrize(("datacenters", "count"), [(THREE, 15), (SIX, 5)])
async def test_many_histories(tmp_path: Path, datacenters: tuple[int, ...], count: int) -> None:
    await play_some(tmp_path, datacenters, count=count * rounds(10), steps=40)
