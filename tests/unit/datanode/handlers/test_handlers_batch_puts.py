"""Puts of many blobs at once: each is stored or refused for itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.blob import NEVER_MS
from ambry.checksum import digest
from ambry.errors import AlreadyExists, InsufficientStorage, InvalidRequest, PartitionUnknown
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.blobs import NewBlob, PutsReply, PutsRequest, WantedBytes
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.samples import PARTITION, blob_id, content, forget
from tests.unit.datanode.handlers.test_handlers_batch_gets import gets

SIZE = 70_000


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[DirectNode]:
    made = DirectCluster(tmp_path, cluster_map(1, partitions=(PARTITION,)))
    await made.start()
    node = made["a1"]
    for number in (1, 2):
        await node.put(blob_id(number), content(number, SIZE))
    yield node
    await made.stop()


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
