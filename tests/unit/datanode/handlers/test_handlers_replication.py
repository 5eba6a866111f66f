"""What a data node gives to the peers that follow it."""

from __future__ import annotations

import asyncio

import pytest

from ambry.blob import DatedState
from ambry.checksum import BLOCK_SIZE
from ambry.errors import (
    AccessDenied,
    PartitionUnknown,
    ReplicaUnavailable,
)
from ambry.format import record as record_format
from ambry.network.identity import Shown
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.replication import ChangesCursor, ChangesRequest, FetchReply, FetchRequest
from ambry.service.tls import NodeIdentity, NodeRole
from tests.support.direct_node import DirectNode
from tests.support.samples import ALIVE, PARTITION, blob_id, content

ID = blob_id(1)
LARGE = 5 * BLOCK_SIZE + 77


async def fetch(node: DirectNode, *numbers: int, bytes_max: int = 1 << 20) -> tuple[FetchReply, list[bytes]]:
    request = FetchRequest(PARTITION, [blob_id(number) for number in numbers], bytes_max)
    answer, body, _ = await node.ask(MessageType.FETCH, request)
    assert isinstance(answer, FetchReply)
    images, at = [], 0
    for size in answer.sizes:
        images.append(bytes(body[at : at + size]))
        at += size
    assert at == len(body)
    return answer, images


async def test_blobs_are_fetched_whole(node: DirectNode) -> None:
    for number in (1, 2, 3):
        await node.put(blob_id(number), content(number, 700 * number))
    answer, images = await fetch(node, 3, 9, 1)
    assert answer.missing == [blob_id(9)]
    records = [record_format.decode(image) for image in images]
    assert [(record.id, bytes(record.payload)) for record in records] == [
        (blob_id(3), content(3, 2100)),
        (blob_id(1), content(1, 700)),
    ]


async def test_a_fetch_is_bounded_but_gives_at_least_one(node: DirectNode) -> None:
    for number in (1, 2, 3):
        await node.put(blob_id(number), content(number, 1000))
    assert len((await fetch(node, 1, 2, 3, bytes_max=1))[1]) == 1
    assert len((await fetch(node, 1, 2, 3, bytes_max=2500))[1]) == 2
    assert await fetch(node) == (FetchReply([], []), [])


async def test_what_is_damaged_or_has_no_bytes_is_missing(node: DirectNode) -> None:
    await node.put(blob_id(1), content(1, 1000))
    await node.put(blob_id(2), content(2, 1000))
    await node.parts.intake.merge(node.replica, blob_id(3), DatedState(ALIVE, node.clock.wall_ms()))
    entry = node.replica.store.lookup(blob_id(1))
    assert entry is not None
    node.files.flip(node.replica.store.directory / "00000001.segment", entry.offset + 500)
    for _ in range(2):
        answer, images = await fetch(node, 1, 2, 3)
        assert answer.missing == [blob_id(1), blob_id(3)]
        assert len(images) == 1
    assert node.replica.store.damaged == {blob_id(1)}
    with pytest.raises(PartitionUnknown):
        await node.ask(MessageType.FETCH, FetchRequest(99, [], 1))


async def test_nobody_follows_in_the_name_of_another(node: DirectNode) -> None:
    """Any data node could say that another one had seen a tombstone, which was dropped then before that one had."""
    cursor = ChangesCursor(PARTITION, node.replica.store.incarnation, 0)
    shown = Shown(NodeIdentity("c", NodeRole.DATANODE, "a2"), 1)
    for name in ("a3", ""):
        with pytest.raises(AccessDenied, match="in the name of"):
            await node.ask(MessageType.CHANGES, ChangesRequest([cursor], 10, 0, 0, name), shown=shown)
    await node.ask(MessageType.CHANGES, ChangesRequest([cursor], 10, 0, 0, "a2"), shown=shown)


async def test_polls_are_answered_when_the_node_stops(node: DirectNode) -> None:
    cursor = ChangesCursor(PARTITION, node.replica.store.incarnation, node.replica.store.end_lsn)
    waiting = node.send(MessageType.CHANGES, ChangesRequest([cursor], 10, 60_000, 0))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done
    await node.parts.later.stop()
    with pytest.raises(ReplicaUnavailable, match="shutting down"):
        await waiting.wait()
