"""Reads of many blobs at once tell what a get would tell, and nothing that would have to be waited for; puts are stored or
refused each for itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.blob import NEVER_MS, BlobState
from ambry.checksum import digest
from ambry.errors import AlreadyExists, InsufficientStorage, InvalidRequest, PartitionUnknown
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.blobs import GetsReply, GetsRequest, NewBlob, PutsReply, PutsRequest, WantedBytes
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.samples import DELETED, PARTITION, blob_id, content, forget, rot_index

OTHER = 8
SIZE = 70_000


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[DirectNode]:
    made = DirectCluster(tmp_path, cluster_map(1, partitions=(PARTITION, OTHER)))
    await made.start()
    node = made["a1"]
    for number in range(1, 5):
        await node.put(blob_id(number), content(number, SIZE))
    await node.put(blob_id(1, partition=OTHER), content(9, 10))
    await node.put(blob_id(6), b"x", state=BlobState(0, False, node.clock.wall_ms() + 1_000))
    await node.update(blob_id(4), DELETED)
    yield node
    await made.stop()


async def gets(node: DirectNode, *wanted: WantedBytes, room: int = 1 << 20) -> list[bytes | None]:
    """The bytes that are told of each, None where nothing is."""
    reply, body, _ = await node.ask(MessageType.GETS, GetsRequest("r", list(wanted), room))
    assert isinstance(reply, GetsReply)
    found: list[bytes | None] = []
    start = 0
    for got, asked in zip(reply.got, wanted, strict=True):
        if got is None:
            found.append(None)
            continue
        assert got.reply.present and not got.reply.gone
        assert got.reply.start == min(asked.first, got.reply.payload_size)
        found.append(bytes(body[start : start + got.size]))
        start += got.size
    assert start == len(body)
    return found


async def test_bytes_of_many_come_in_the_order_in_which_they_are_asked_for(node: DirectNode) -> None:
    found = await gets(
        node,
        WantedBytes(blob_id(2), 0, 10),
        WantedBytes(blob_id(1, partition=OTHER), 0, 1 << 16),
        WantedBytes(blob_id(1), 65_530, 65_540),
        WantedBytes(blob_id(2), 69_990, 80_000),
        WantedBytes(blob_id(3), 0, 0),
    )
    two = content(2, SIZE)
    assert found == [two[:10], content(9, 10), content(1, SIZE)[65_530:65_540], two[69_990:], b""]
    reply, _, _ = await node.ask(MessageType.GETS, GetsRequest("r", [WantedBytes(blob_id(3), 0, 0)], 0))
    assert isinstance(reply, GetsReply) and reply.got[0] is not None
    head = reply.got[0].reply
    assert (head.payload_size, head.digest, head.kind) == (SIZE, digest(content(3, SIZE)), 1)


async def test_of_what_is_gone_unknown_damaged_or_elsewhere_nothing_is_told(node: DirectNode) -> None:
    node.clock.advance(2)
    wanted = [
        WantedBytes(raw, 0, 1) for raw in (blob_id(4), blob_id(5), blob_id(6), blob_id(1, partition=99), bytes(36))
    ]
    assert await gets(node, *wanted, WantedBytes(blob_id(1), 5, 4), WantedBytes(blob_id(1), 0, 1)) == [
        *[None] * 6,
        content(1, SIZE)[:1],
    ]


async def test_what_does_not_fit_is_left_out(node: DirectNode) -> None:
    wanted = [WantedBytes(blob_id(number), 0, 1_000) for number in (1, 2, 3)]
    assert await gets(node, *wanted, room=2_500) == [content(1, SIZE)[:1000], content(2, SIZE)[:1000], None]


async def test_what_only_the_index_file_knows_is_told_and_a_damaged_one_keeps_none_of_another_partition(
    node: DirectNode,
) -> None:
    for replica in node.parts.replicas.all():
        await node.parts.checkpointer.checkpoint(replica)
        forget(replica.store)
    one = WantedBytes(blob_id(1), 0, 5)
    assert await gets(node, one) == [content(1, SIZE)[:5]]
    forget(node.replica.store)
    rot_index(node.replica.store, blob_id(1))
    assert await gets(node, one, WantedBytes(blob_id(1, partition=OTHER), 0, 5)) == [None, content(9, 10)[:5]]


def new(number: int, payload: bytes, *, partition: int = PARTITION) -> NewBlob:
    raw = blob_id(number, partition=partition)
    return NewBlob(raw, 5, NEVER_MS, b"\x01\x80", b"", digest(payload), len(payload))


async def puts(node: DirectNode, *blobs: tuple[NewBlob, bytes]) -> dict[int, int]:
    """The code of the error of each that was not stored, by its place."""
    request = PutsRequest("r", True, [blob for blob, _ in blobs])
    reply, _, _ = await node.ask(MessageType.PUTS, request, b"".join(payload for _, payload in blobs))
    assert isinstance(reply, PutsReply)
    return {each.place: each.code for each in reply.failed}


async def test_many_are_stored_at_once_and_read_back_verified(node: DirectNode) -> None:
    payloads = [content(number, size) for number, size in enumerate((0, 1, 4096, 70_000, 200_000))]
    assert await puts(node, *((new(100 + number, body), body) for number, body in enumerate(payloads))) == {}
    for number, body in enumerate(payloads):
        assert await gets(node, WantedBytes(blob_id(100 + number), 0, 1 << 20)) == [body]
    await node.parts.checkpointer.checkpoint(node.replica)
    forget(node.replica.store)
    assert await gets(node, WantedBytes(blob_id(103), 0, 1 << 20)) == [payloads[3]]


async def test_each_is_refused_for_itself(node: DirectNode) -> None:
    failed = await puts(
        node, (new(1, b"a"), b"a"), (new(200, b"b"), b"b"), (new(201, b"c", partition=99), b"c"), (new(202, b""), b"")
    )
    assert failed == {0: AlreadyExists.code, 2: PartitionUnknown.code}
    assert await gets(node, WantedBytes(blob_id(200), 0, 5), WantedBytes(blob_id(1), 0, 5)) == [
        b"b",
        content(1, SIZE)[:5],
    ]
    # One that only the index's file knows is found there.
    await node.parts.checkpointer.checkpoint(node.replica)
    forget(node.replica.store)
    assert await puts(node, (new(2, b"a"), b"a"), (new(203, b"b"), b"b")) == {0: AlreadyExists.code}
    with pytest.raises(InvalidRequest):
        await node.ask(MessageType.PUTS, PutsRequest("r", True, [new(300, b"abc")]), b"ab")


async def test_a_sealed_partition_takes_none_of_them(node: DirectNode) -> None:
    node.replica.store.sealed = True
    assert await puts(node, (new(200, b"a"), b"a")) == {0: InsufficientStorage.code}
