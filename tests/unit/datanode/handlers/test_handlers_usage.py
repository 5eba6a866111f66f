"""How a node tells what containers have in a replica."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.blob import BlobState
from ambry.errors import ReplicaUnavailable
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.upkeep import UsageReply, UsageRequest, UsageRow
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.samples import DELETED, PARTITION, blob_id

CONTAINER = bytes([0, 0, 0, 2, 0, 0, 0, 3])
DAY_MS = 86_400_000


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[DirectNode]:
    cluster = DirectCluster(tmp_path, cluster_map(1))
    await cluster.start()
    yield cluster["a1"]
    await cluster.stop()


async def usage(node: DirectNode, now_ms: int) -> UsageReply:
    message, _, _ = await node.ask(MessageType.USAGE, UsageRequest(PARTITION, now_ms))
    assert isinstance(message, UsageReply)
    return message


async def test_what_was_put_deleted_and_has_expired_is_told_as_of_the_last_checkpoint(node: DirectNode) -> None:
    now_ms = node.clock.wall_ms()
    await node.put(blob_id(now_ms), b"12345")
    await node.put(blob_id(now_ms + 1), b"123")
    await node.put(blob_id(now_ms + 2), b"1", state=BlobState(0, False, now_ms + DAY_MS))
    await node.update(blob_id(now_ms + 1), DELETED)
    assert (await usage(node, now_ms)).containers == []
    await node.parts.checkpointer.checkpoint(node.replica)
    told = await usage(node, now_ms)
    assert (told.containers, told.whole, told.after) == ([UsageRow(CONTAINER, 2, 6, 1, 3)], True, b"")
    assert (await usage(node, now_ms + 2 * DAY_MS)).containers == [UsageRow(CONTAINER, 1, 5, 2, 4)]


async def test_a_replica_that_does_not_know_what_it_missed_tells_nothing(node: DirectNode) -> None:
    node.replica.store.vouched = False
    with pytest.raises(ReplicaUnavailable):
        await usage(node, 0)
