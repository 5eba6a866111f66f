"""What a replica must not forget, and a disk that fails to write it.

An OSError out of the identity file ended the whole answer of a peer: no other partition of that node was followed any more, and
nothing on any page said which disk it was.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.errors import InsufficientStorage, Overloaded, ReplicaUnavailable
from datanode.store.blob_store import StoreState
from tests.support.direct_node import DirectCluster, cluster_map
from tests.support.samples import PARTITION, blob_id

OTHER = 8


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[DirectCluster]:
    """Two nodes with two partitions; a1 dropped tombstones of both, and a2 has not heard of it."""
    cluster = DirectCluster(tmp_path, cluster_map(2, partitions=(PARTITION, OTHER)))
    await cluster.start()
    for number in (PARTITION, OTHER):
        cluster["a1"].parts.replicas[number].store.identity.note_purged(100)
    yield cluster
    await cluster.stop()


def end(cluster: DirectCluster, number: int) -> int:
    return cluster["a2"].parts.cursors.of(number)["a1"].end_lsn


@pytest.mark.parametrize("call", ["create", "pwritev", "fsync", "rename"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.ENOMEM])
async def test_without_room_or_descriptors_it_is_written_later(cluster: DirectCluster, call: str, number: int) -> None:
    node = cluster["a2"]
    node.files.fail(call, number, for_ever=True, name=f"{PARTITION:08d}/identity.json")
    await cluster["a1"].put(blob_id(1), b"x")
    with pytest.raises((Overloaded, InsufficientStorage), match="partition 7 is not written yet"):
        await node.pull("a1")
    assert node.holds(blob_id(1)), "it holds up nothing else of that partition"
    assert node.parts.replicas[OTHER].store.lineage.purged_lsn == 1
    store = node.replica.store
    assert store.state is StoreState.OPEN
    assert store.lineage.purged_lsn == 0
    node.files.mend()
    await node.pull("a1")
    assert store.lineage.purged_lsn == 1


@pytest.mark.parametrize("call", ["create", "pwritev", "fsync", "rename", "sync_directory"])
async def test_a_disk_that_fails_to_write_it_fences_that_replica_alone(cluster: DirectCluster, call: str) -> None:
    node = cluster["a2"]
    node.files.fail(call, errno.EIO, for_ever=True, name=f"{PARTITION:08d}")
    await node.tick("pull:a1")
    assert node.replica.store.state is StoreState.FENCED
    assert "identity" in node.replica.store.fence_reason
    other = node.parts.replicas[OTHER].store
    assert other.state is StoreState.OPEN
    assert other.lineage.purged_lsn == 1
    assert end(cluster, OTHER) == cluster["a1"].parts.replicas[OTHER].store.end_lsn


async def test_that_it_was_put_back_outlasts_a_crash_at_once(cluster: DirectCluster) -> None:
    """Only peers knew; if none of them came back, it was as if nobody ever had."""
    node = cluster["a1"]
    backup = node.backup()
    await cluster["a2"].pull("a1")
    await node.put(blob_id(1), b"x")
    await cluster["a2"].pull("a1")
    await node.put_back(backup)
    cluster["a2"].replica.store.serving = False  # so that it is no witness
    await node.tick("pull:a2")
    assert node.replica.store.put_back
    await node.kill()
    await node.start()
    assert node.replica.store.put_back
    assert not node.replica.store.authority


async def test_an_identity_is_not_written_once_its_replica_is_closed(cluster: DirectCluster) -> None:
    """A write that was late put the old identity into the directory of the replica that had taken its place."""
    node = cluster["a2"]
    store = node.replica.store
    identity = store.directory / "identity.json"
    await node.stop()
    before = node.files.content(identity)
    for change in (
        store.identity.note_sure,
        lambda: store.identity.note_purged(7),
        lambda: store.identity.note_put_back("x"),
    ):
        with pytest.raises(ReplicaUnavailable):
            change()
    assert node.files.content(identity) == before
