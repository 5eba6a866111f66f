"""Reads of many blobs at once tell what a get would tell, and nothing that would have to be waited for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.blob import BlobState
from ambry.checksum import digest
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.blobs import GetsReply, GetsRequest, WantedBytes
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.fake_files import FakeFile
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
    for got, asked in zip(reply.got, wanted, strict=True):
        if got is None:
            found.append(None)
            continue
        assert got.reply.present and not got.reply.gone
        assert got.reply.start == min(asked.first, got.reply.payload_size)
        found.append(bytes(body[got.at : got.at + got.size]))
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


async def test_neighbours_are_brought_by_one_read_and_each_is_verified(
    node: DirectNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [0, 1, 4096, 4096, 9_000, 4096, 4096]
    for number, size in enumerate(sizes, start=100):
        await node.put(blob_id(number), content(number, size))
    store = node.replica.store
    entry = store.index.get(blob_id(103))
    assert entry is not None
    reads: list[int] = []
    cached = FakeFile.pread_cached

    def pread_cached(file: FakeFile, buffer: bytearray | memoryview, offset: int) -> int:
        reads.append(offset)
        return cached(file, buffer, offset)

    monkeypatch.setattr(FakeFile, "pread_cached", pread_cached)
    wanted = [WantedBytes(blob_id(number), 0, 1 << 16) for number in reversed(range(100, 107))]
    whole = [content(number, size) for number, size in enumerate(sizes, start=100)][::-1]
    assert await gets(node, *wanted) == whole
    assert len(reads) == 1
    assert await gets(node, *wanted, room=sum(sizes)) == whole, "what is brought with more than fits is read for itself"
    store._log.segments[entry.segment].file.pwritev([b"?"], entry.offset + entry.size - 5)
    assert await gets(node, *wanted) == [*whole[:3], None, *whole[4:]]
    assert blob_id(103) in store.damaged


async def test_neighbours_of_which_some_are_not_in_memory_are_told_one_by_one(
    node: DirectNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100, 104):
        await node.put(blob_id(number), content(number, 4096))
    monkeypatch.setattr(node.replica.store, "read_run", lambda *_: None)
    wanted = [WantedBytes(blob_id(number), 0, 1 << 16) for number in range(100, 104)]
    assert await gets(node, *wanted) == [content(number, 4096) for number in range(100, 104)]
