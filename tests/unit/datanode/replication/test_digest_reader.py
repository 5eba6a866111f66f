"""How a node answers those who compare with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.errors import ReplicaUnavailable
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.replication import DigestsReply, DigestsRequest, EntriesReply, EntriesRequest
from datanode.store.ranges import BEHIND_ALL, FIRST_KEY
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.samples import DELETED, PARTITION, blob_id


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[DirectNode]:
    cluster = DirectCluster(tmp_path, cluster_map(1))
    await cluster.start()
    yield cluster["a1"]
    await cluster.stop()


async def digests(node: DirectNode, *, fresh: bool) -> DigestsReply:
    request = DigestsRequest(PARTITION, FIRST_KEY, BEHIND_ALL, 0, 10, fresh)
    message, _, _ = await node.ask(MessageType.DIGESTS, request)
    assert isinstance(message, DigestsReply)
    return message


async def entries(node: DirectNode, low: bytes, limit: int) -> EntriesReply:
    message, _, _ = await node.ask(MessageType.ENTRIES, EntriesRequest(PARTITION, low, BEHIND_ALL, limit))
    assert isinstance(message, EntriesReply)
    return message


async def test_digests_are_of_the_last_checkpoint_or_of_now(node: DirectNode) -> None:
    await node.put(blob_id(1), b"a")
    assert (await digests(node, fresh=False)).ranges[0].blobs == 0
    answer = await digests(node, fresh=True)
    assert (answer.ranges[0].blobs, answer.lsn) == (1, node.replica.store.end_lsn)
    await node.put(blob_id(2), b"b")
    assert (await digests(node, fresh=False)).lsn < node.replica.store.end_lsn


async def test_entries_come_in_pages_with_the_deleted_ones(node: DirectNode) -> None:
    for number in range(1, 6):
        await node.put(blob_id(number), b"a")
    await node.update(blob_id(2), DELETED)
    await digests(node, fresh=True)
    first = await entries(node, FIRST_KEY, 3)
    assert [change.id for change in first.entries] == [blob_id(1), blob_id(2), blob_id(3)]
    assert first.entries[1].state == DELETED
    second = await entries(node, first.next, 3)
    assert ([change.id for change in second.entries], second.next) == ([blob_id(4), blob_id(5)], b"")


async def test_a_replica_that_does_not_know_what_it_missed_tells_nothing(node: DirectNode) -> None:
    node.replica.store.vouched = False
    with pytest.raises(ReplicaUnavailable):
        await digests(node, fresh=False)
    with pytest.raises(ReplicaUnavailable):
        await entries(node, FIRST_KEY, 3)
