"""What a node says of blobs without reading their bytes: sure only where it can be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.blob import NEVER_MS, BlobState
from ambry.errors import BlobDeleted, PartitionUnknown
from ambry.protocol.messages.upkeep import Fate, FatesReply
from datanode.config import CompactionSection
from datanode.store.blob_store import BlobStore
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.eventually import eventually
from tests.support.samples import DELETED, PARTITION, blob_id, content, rot_index

RETENTION_S = CompactionSection().deleted_retention_s
ALIVE_ID, DELETED_ID, DAMAGED_ID, STATE_ID, UNKNOWN_ID, EXPIRED_ID = (blob_id(number) for number in range(1, 7))


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[DirectCluster]:
    made = DirectCluster(tmp_path, cluster_map(2))
    await made.start()
    node = made["a1"]
    now = made.clock.wall_ms()
    for raw_id in (ALIVE_ID, DELETED_ID, DAMAGED_ID):
        await node.put(raw_id, content(1, 100))
    await node.put(EXPIRED_ID, b"x", state=BlobState(0, False, now + 1_000))
    await node.update(DELETED_ID, DELETED)
    await node.parts.intake.merge(node.replica, STATE_ID, BlobState(0, False, NEVER_MS))
    await made.settle()
    node.replica.store.damaged.add(DAMAGED_ID)
    assert node.replica.store.serving
    yield made
    await made.stop()


@pytest.fixture
def node(cluster: DirectCluster) -> DirectNode:
    return cluster["a1"]


async def test_presence_is_said_only_where_it_is_certain(node: DirectNode) -> None:
    queries = node.parts.queries
    assert [queries.presence(raw_id) for raw_id in (ALIVE_ID, DELETED_ID, DAMAGED_ID, STATE_ID, UNKNOWN_ID)] == [
        "present",
        "deleted",
        "unsure",
        "unsure",
        "absent",
    ]


async def test_a_replica_without_authority_never_says_absent(node: DirectNode) -> None:
    node.replica.store.serving = False
    assert node.parts.queries.presence(UNKNOWN_ID) == "unsure"
    assert node.parts.queries.presence(ALIVE_ID) == "present"
    assert node.parts.queries.fates([UNKNOWN_ID, ALIVE_ID]) == FatesReply([Fate.UNSURE, Fate.ALIVE], [0, 0])


async def test_a_partition_that_is_not_here_is_unsure(node: DirectNode) -> None:
    stranger = blob_id(1, partition=99)
    assert node.parts.queries.presence(stranger) == "unsure"
    assert node.parts.queries.fates([stranger, b"garbage of an id"]) == FatesReply([Fate.UNSURE] * 2, [0, 0])
    with pytest.raises(PartitionUnknown):
        node.parts.queries.replica_of(stranger)


async def test_a_deleted_blob_is_dead_only_when_no_undelete_can_bring_it_back(node: DirectNode) -> None:
    died = node.clock.wall_ms()
    assert node.parts.queries.fates([DELETED_ID]) == FatesReply([Fate.ALIVE], [0])
    node.clock.advance(RETENTION_S - 1)
    assert node.parts.queries.fates([DELETED_ID]) == FatesReply([Fate.ALIVE], [0])
    node.clock.advance(1)
    assert node.parts.queries.fates([DELETED_ID, ALIVE_ID, UNKNOWN_ID]) == FatesReply(
        [Fate.DEAD, Fate.ALIVE, Fate.ABSENT], [died, 0, 0]
    )


async def test_an_expired_blob_died_when_it_expired(node: DirectNode) -> None:
    expired = node.clock.wall_ms() + 1_000
    node.clock.advance(RETENTION_S)
    assert node.parts.queries.fates([EXPIRED_ID]) == FatesReply([Fate.ALIVE], [0])
    node.clock.advance(1)
    assert node.parts.queries.fates([EXPIRED_ID]) == FatesReply([Fate.DEAD], [expired])


async def test_an_undelete_is_refused_when_compaction_may_have_been_there(node: DirectNode) -> None:
    entry = node.replica.store.lookup(DELETED_ID)
    assert entry is not None
    node.clock.advance(RETENTION_S - 1)
    node.parts.queries.refuse_late_undelete(entry)
    node.clock.advance(1)
    with pytest.raises(BlobDeleted, match=f"more than {RETENTION_S} s ago: too late"):
        node.parts.queries.refuse_late_undelete(entry)


def rebuilt(node: DirectNode, before: BlobStore) -> bool:
    replica = node.parts.replicas.get(PARTITION)
    return replica is not None and replica.store is not before


async def test_an_index_that_turns_out_damaged_is_rebuilt(node: DirectNode) -> None:
    store = node.replica.store
    await node.parts.checkpointer.checkpoint(node.replica)
    rot_index(store, ALIVE_ID)
    assert node.parts.queries.presence(ALIVE_ID) == "unsure"
    assert node.parts.queries.fates([ALIVE_ID]) == FatesReply([Fate.UNSURE], [0])
    await eventually(lambda: rebuilt(node, store))
    assert node.replica.store is not store
    assert node.replica.store.opened.rebuilt
    assert node.parts.queries.presence(ALIVE_ID) == "present"
