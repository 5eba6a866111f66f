"""What a node says became of blobs: sure only where it can be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.blob import NEVER_MS, BlobState, DatedState
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.upkeep import Fate, FatesReply, FatesRequest
from datanode.config import CompactionSection
from datanode.store.blob_store import BlobStore
from datanode.upkeep.fates import KnownFate
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
    await node.parts.intake.merge(node.replica, STATE_ID, DatedState(BlobState(0, False, NEVER_MS)))
    await made.settle()
    node.replica.store.damaged.add(DAMAGED_ID)
    assert node.replica.store.serving
    yield made
    await made.stop()


@pytest.fixture
def node(cluster: DirectCluster) -> DirectNode:
    return cluster["a1"]


async def fates(node: DirectNode, *ids: bytes) -> dict[bytes, KnownFate]:
    answer, _, _ = await node.ask(MessageType.FATES, FatesRequest(list(ids)))
    assert isinstance(answer, FatesReply)
    return {
        raw_id: KnownFate(fate, since_ms)
        for raw_id, fate, since_ms in zip(ids, answer.fates, answer.since_ms, strict=True)
    }


async def test_a_replica_without_authority_never_says_absent(node: DirectNode) -> None:
    assert await fates(node, UNKNOWN_ID) == {UNKNOWN_ID: KnownFate(Fate.ABSENT)}
    node.replica.store.serving = False
    assert await fates(node, UNKNOWN_ID, ALIVE_ID) == {
        UNKNOWN_ID: KnownFate(Fate.UNSURE),
        ALIVE_ID: KnownFate(Fate.ALIVE),
    }


async def test_a_partition_that_is_not_here_is_unsure(node: DirectNode) -> None:
    stranger = blob_id(1, partition=99)
    garbage = bytes(36)
    assert await fates(node, stranger, garbage) == {
        stranger: KnownFate(Fate.UNSURE),
        garbage: KnownFate(Fate.UNSURE),
    }


async def test_a_deleted_blob_is_dead_only_when_no_undelete_can_bring_it_back(node: DirectNode) -> None:
    died = node.clock.wall_ms()
    assert await fates(node, DELETED_ID) == {DELETED_ID: KnownFate(Fate.ALIVE)}
    node.clock.advance(RETENTION_S - 1)
    assert await fates(node, DELETED_ID) == {DELETED_ID: KnownFate(Fate.ALIVE)}
    node.clock.advance(1)
    assert await fates(node, DELETED_ID, ALIVE_ID, UNKNOWN_ID) == {
        DELETED_ID: KnownFate(Fate.DEAD, died),
        ALIVE_ID: KnownFate(Fate.ALIVE),
        UNKNOWN_ID: KnownFate(Fate.ABSENT),
    }


async def test_an_expired_blob_died_when_it_expired(node: DirectNode) -> None:
    expired = node.clock.wall_ms() + 1_000
    node.clock.advance(RETENTION_S)
    assert await fates(node, EXPIRED_ID) == {EXPIRED_ID: KnownFate(Fate.ALIVE)}
    node.clock.advance(1)
    assert await fates(node, EXPIRED_ID) == {EXPIRED_ID: KnownFate(Fate.DEAD, expired)}


def rebuilt(node: DirectNode, before: BlobStore) -> bool:
    replica = node.parts.replicas.get(PARTITION)
    return replica is not None and replica.store is not before


async def test_an_index_that_turns_out_damaged_is_rebuilt(node: DirectNode) -> None:
    store = node.replica.store
    await node.parts.checkpointer.checkpoint(node.replica)
    rot_index(store, ALIVE_ID)
    assert await fates(node, ALIVE_ID) == {ALIVE_ID: KnownFate(Fate.UNSURE)}
    await eventually(lambda: rebuilt(node, store))
    assert node.replica.store.opened.rebuilt
    assert await fates(node, ALIVE_ID) == {ALIVE_ID: KnownFate(Fate.ALIVE)}
