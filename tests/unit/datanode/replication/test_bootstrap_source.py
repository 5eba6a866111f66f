"""What a node gives to a peer that copies its segments."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.errors import DataCorrupt, Overloaded, ProtocolViolation, ReplicaUnavailable
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.segments import (
    SegmentBytesReply,
    SegmentBytesRequest,
    SegmentOffer,
    SegmentRecordsReply,
    SegmentRecordsRequest,
    SegmentsReply,
    SegmentsRequest,
)
from datanode.config import CompactionSection
from datanode.store.copies import PIN_S
from datanode.store.images import verified
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.samples import DELETED, PARTITION, blob_id, content

BLOBS = 20
DAY_S = 86_400


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[DirectNode]:
    cluster = DirectCluster(tmp_path, cluster_map(2), sections={"compaction": CompactionSection(dead_share_min=0.05)})
    await cluster.start()
    await cluster.settle()
    node = cluster["a1"]
    for number in range(BLOBS):
        await node.put(blob_id(number), content(number, 9_000))
    yield node
    await cluster.stop()


async def segments(node: DirectNode) -> list[SegmentOffer]:
    store = node.replica.store
    reply, _, _ = await node.ask(MessageType.SEGMENTS, SegmentsRequest(PARTITION, store.incarnation, 0))
    assert isinstance(reply, SegmentsReply)
    assert reply.incarnation == store.incarnation
    return reply.segments


async def records(node: DirectNode, offer: SegmentOffer, incarnation: bytes = b"") -> SegmentRecordsReply:
    incarnation = incarnation or node.replica.store.incarnation
    request = SegmentRecordsRequest(PARTITION, incarnation, offer.number, offer.generation, 128)
    reply, _, _ = await node.ask(MessageType.SEGMENT_RECORDS, request)
    assert isinstance(reply, SegmentRecordsReply)
    return reply


def bytes_request(node: DirectNode, offer: SegmentOffer, start: int, size: int) -> SegmentBytesRequest:
    return SegmentBytesRequest(PARTITION, node.replica.store.incarnation, offer.number, offer.generation, start, size)


async def test_what_is_offered_can_be_fetched_and_verified(node: DirectNode) -> None:
    taken: set[bytes] = set()
    for offer in await segments(node):
        told = await records(node, offer)
        assert told.next_offset == 0
        start = told.records[0].offset
        end = told.records[-1].offset + told.records[-1].size
        reply, body, _ = await node.ask(MessageType.SEGMENT_BYTES, bytes_request(node, offer, start, end - start))
        assert reply == SegmentBytesReply()
        found = verified(bytearray(body), start, told.records, offer.salt)
        assert not found.refused
        taken |= {image.id for image in found.images}
    assert len(taken) >= BLOBS - 7
    assert taken <= {blob_id(number) for number in range(BLOBS)}


@pytest.mark.parametrize("offset", [-8, 1 << 63])
async def test_a_place_that_no_file_has_is_refused(node: DirectNode, offset: int) -> None:
    """It was read, and told as a damage of the disk, or as an internal error."""
    (offer, *_) = await segments(node)
    with pytest.raises(ProtocolViolation):
        await node.ask(MessageType.SEGMENT_BYTES, bytes_request(node, offer, offset, 400))


async def test_a_peer_that_followed_the_log_is_told_what_lies_behind_its_place(node: DirectNode) -> None:
    all_of_them = await segments(node)
    store = node.replica.store
    request = SegmentsRequest(PARTITION, store.incarnation, all_of_them[0].end_lsn)
    reply, _, _ = await node.ask(MessageType.SEGMENTS, request)
    assert isinstance(reply, SegmentsReply)
    assert reply.segments == all_of_them[1:]
    reply, _, _ = await node.ask(MessageType.SEGMENTS, SegmentsRequest(PARTITION, b"another log 1234", 1 << 40))
    assert isinstance(reply, SegmentsReply)
    assert reply.segments == all_of_them, "a place in another log says nothing of this one"


async def test_a_segment_that_is_gone_is_an_answer(node: DirectNode) -> None:
    offer = (await segments(node))[0]
    assert (await records(node, offer, b"another log 1234")).gone
    later = SegmentOffer(offer.number, offer.generation + 1, 0, 0, 0)
    assert (await records(node, later)).gone
    reply, body, _ = await node.ask(MessageType.SEGMENT_BYTES, bytes_request(node, later, 128, 8))
    assert (reply, bytes(body)) == (SegmentBytesReply(gone=True), b"")


async def test_a_replica_that_may_have_been_put_back_gives_nothing(node: DirectNode) -> None:
    offer = (await segments(node))[0]
    node.replica.store.put_back = "somebody has seen more"
    for work in (segments(node), records(node, offer)):
        with pytest.raises(ReplicaUnavailable, match="put back"):
            await work
    with pytest.raises(ReplicaUnavailable, match="put back"):
        await node.ask(MessageType.SEGMENT_BYTES, bytes_request(node, offer, 128, 8))


async def test_what_the_disk_cannot_read_is_damage_and_what_we_lack_is_not(node: DirectNode) -> None:
    offer = (await segments(node))[0]
    with pytest.raises(DataCorrupt):
        await node.ask(MessageType.SEGMENT_BYTES, bytes_request(node, offer, 128, 1 << 20))
    copies = type(node.replica.store.copies)

    def fails(*_: object) -> None:
        raise MemoryError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copies, "look", fails)
        with pytest.raises(Overloaded):
            await records(node, offer)


async def test_what_is_being_copied_is_not_compacted(node: DirectNode) -> None:
    for number in range(BLOBS // 2):
        await node.update(blob_id(number), DELETED)
    node.clock.advance(8 * DAY_S)
    node.hear_clocks()
    await node.parts.checkpointer.checkpoint(node.replica)
    for offer in await segments(node):
        await records(node, offer)
    assert not await node.parts.compactor.compact(node.replica)
    node.clock.advance(PIN_S + 1)
    assert await node.parts.compactor.compact(node.replica), "nobody looked at it for a while"
