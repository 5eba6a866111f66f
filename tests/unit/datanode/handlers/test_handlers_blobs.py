"""What a data node answers about blobs, without sockets."""

from __future__ import annotations

import asyncio
import errno

import msgspec
import pytest

from ambry.blob import NEVER_MS, BlobState, DatedState
from ambry.checksum import BLOCK_SIZE, block_checks, digest
from ambry.errors import (
    AlreadyExists,
    BlobDeleted,
    BlobNotFound,
    IndexCorrupt,
    InsufficientStorage,
    InvalidBlobId,
    InvalidRequest,
    Overloaded,
    PartitionUnknown,
    ProtocolViolation,
    ReplicaFenced,
    ReplicaUnavailable,
)
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.base import Empty, Message
from ambry.protocol.messages.blobs import GetRequest, PresenceReply, PresenceRequest, PutRequest
from datanode.config import CompactionSection
from datanode.handlers.blobs import BEHIND_MAX
from datanode.store.blob_store import StoreState
from tests.support.direct_node import Answer, DirectNode
from tests.support.eventually import eventually
from tests.support.gate import Gate
from tests.support.samples import ALIVE, DELETED, PARTITION, blob_id, content, forget, rot_index

ID = blob_id(1)
LARGE = 5 * BLOCK_SIZE + 77


@pytest.mark.parametrize("size", [0, 1, 1000, BLOCK_SIZE, LARGE])
@pytest.mark.parametrize("sync", [True, False])
async def test_what_was_put_is_got(node: DirectNode, size: int, sync: bool) -> None:
    data = content(1, size)
    request = PutRequest("r", ID, 1, 123, NEVER_MS, b"\x01\x80", b"\x01\x81\xa1k\xa1v", digest(data), sync)
    await node.ask(MessageType.PUT, request, data)
    reply, body = await node.get(ID)
    assert body == data
    assert reply == type(reply)(ALIVE, True, 1, 123, b"\x01\x80", b"\x01\x81\xa1k\xa1v", digest(data), size, 0)


async def test_a_put_is_answered_after_its_sync(node: DirectNode) -> None:
    with Gate(node.files, "fdatasync") as gate:
        data = b"x"
        put = node.send(MessageType.PUT, PutRequest("r", ID, 1, 1, NEVER_MS, b"", b"", digest(data), True), data)
        await gate.arrived.wait()
        assert not put.done
        gate.open()
        await put.wait()


@pytest.mark.parametrize("sync", [True, False])
async def test_the_same_put_again_succeeds_and_stores_nothing(node: DirectNode, sync: bool) -> None:
    await node.put(ID, b"same", sync=False)
    end = node.replica.store.end_lsn
    await node.put(ID, b"same", sync=sync)
    assert node.replica.store.end_lsn == end
    assert node.replica.store.unsynced != sync


@pytest.mark.parametrize("other", [b"diff", b"longer", b""])
async def test_another_content_under_the_same_id_is_refused(node: DirectNode, other: bytes) -> None:
    await node.put(ID, b"same")
    with pytest.raises(AlreadyExists):
        await node.put(ID, other)
    assert (await node.get(ID))[1] == b"same"


@pytest.mark.parametrize("other", [b"diff", b"longer", b""])
@pytest.mark.parametrize("in_file", [False, True], ids=["a new id", "an id that only the file could know"])
async def test_of_two_puts_of_one_id_at_once_the_first_counts(node: DirectNode, other: bytes, in_file: bool) -> None:
    """Both were acknowledged, and a read gave what the second had said: only a broken frontend sends such."""
    if in_file:
        await node.put(blob_id(2), b"x")
        await node.parts.checkpointer.checkpoint(node.replica)
        forget(node.replica.store)
    puts = [asyncio.ensure_future(node.put(ID, data)) for data in (b"same", other, b"same")]
    answers = await asyncio.gather(*puts, return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), AlreadyExists, type(None)]
    assert (await node.get(ID))[1] == b"same"


async def test_a_second_put_does_not_wait_for_ever_for_a_first_that_fails(node: DirectNode) -> None:
    with Gate(node.files, "pwritev") as gate:
        node.files.fail("pwritev", errno.ENOSPC)
        first = asyncio.ensure_future(node.put(ID, b"same"))
        second = asyncio.ensure_future(node.put(ID, b"same"))
        await gate.arrived.wait()
        gate.open()
        with pytest.raises(InsufficientStorage):
            await first
    await second
    assert (await node.get(ID))[1] == b"same"


async def test_puts_that_wait_for_another_are_few_and_let_go_when_nobody_waits_for_them(node: DirectNode) -> None:
    """60 of them kept their bytes, beyond all that counts bytes, while a disk hung."""

    def put() -> Answer:
        data = b"same"
        return node.send(MessageType.PUT, PutRequest("r", ID, 1, 1, NEVER_MS, b"", b"", digest(data), True), data)

    with Gate(node.files, "pwritev") as gate:
        first = put()
        await gate.arrived.wait()
        behind = [put() for _ in range(BEHIND_MAX)]
        with pytest.raises(Overloaded):
            await put().wait()
        gone = behind.pop()
        assert gone.on_abandoned is not None
        gone.on_abandoned()
        node.replica.committer.hangs = True
        with pytest.raises(Overloaded):
            await put().wait()
        node.replica.committer.hangs = False
        behind.append(put())
        gate.open()
        for answer in (first, *behind):
            await answer.wait()
    assert not gone.done


async def test_a_put_under_a_tombstone_stays_deleted(node: DirectNode) -> None:
    await node.update(ID, DELETED)
    await node.put(ID, b"late")
    assert node.state(ID) == DELETED
    reply, body = await node.get(ID)
    assert (reply.gone, reply.present, body) == (True, False, b"")


async def test_a_put_repairs_a_damaged_record(node: DirectNode) -> None:
    await node.put(ID, content(1, 1000))
    entry = node.replica.store.lookup(ID)
    assert entry is not None
    node.files.flip(node.replica.store.directory / "00000001.segment", entry.offset + 20)
    await node.put(ID, content(1, 1000))
    assert (await node.get(ID))[1] == content(1, 1000)
    assert node.replica.store.damaged == set()


@pytest.mark.parametrize(
    "change",
    [
        {"kind": 4},
        {"kind": 0},
        {"kind": 77},
        {"created_at_ms": -1},
        {"expires_at_ms": -1},
        {"expires_at_ms": 1 << 64},
        {"digest": b"short"},
        {"properties": b"p" * 70_000},
        {"id": b"short"},
    ],
    ids=lambda change: str(change)[:40],
)
async def test_a_put_that_cannot_be_stored_is_refused_and_harms_nobody(
    node: DirectNode, change: dict[str, object]
) -> None:
    """Numbers that a record has no room for used to reach the disk thread and fence the replica."""
    request: Message = PutRequest("r", ID, 1, 1, NEVER_MS, b"", b"", digest(b"x"), True)
    with pytest.raises((InvalidRequest, ProtocolViolation)):
        try:
            await node.ask(MessageType.PUT, msgspec.structs.replace(request, **change), b"x")
        except OverflowError as cause:  # a number that not even the wire can hold
            raise InvalidRequest("too large") from cause
    assert node.replica.store.state is StoreState.OPEN
    await node.put(ID, b"x")


async def test_requests_for_what_this_node_has_not(node: DirectNode) -> None:
    with pytest.raises(PartitionUnknown):
        await node.put(blob_id(1, partition=99), b"x")
    damaged = bytearray(ID)
    damaged[20] ^= 1
    for type, request in (
        (MessageType.GET, GetRequest("r", bytes(damaged), 0, 1)),
        (MessageType.PUT, PutRequest("r", bytes(damaged), 1, 1, 1, b"", b"", bytes(16), True)),
    ):
        with pytest.raises(InvalidBlobId):
            await node.ask(type, request)
    with pytest.raises(ProtocolViolation):
        await node.ask(MessageType.GET, Empty())


async def test_a_failed_write_is_an_error_and_then_a_fence(node: DirectNode) -> None:
    await node.put(ID, b"x")
    node.files.fail("fdatasync", errno.EIO)
    with pytest.raises(ReplicaFenced):
        await node.put(blob_id(2), b"y")
    for call in (node.put(blob_id(3), b"z"), node.update(ID, DELETED)):
        with pytest.raises(ReplicaFenced):
            await call
    assert (await node.get(ID))[1] == b"x"
    with pytest.raises(ReplicaUnavailable):  # not "not found": it has no authority any more
        await node.get(blob_id(2))


@pytest.mark.parametrize("cold", [False, True])
@pytest.mark.parametrize(
    ("first", "end"),
    [
        (0, 0),
        (0, 1),
        (BLOCK_SIZE, BLOCK_SIZE + 1),
        (LARGE - 1, 1 << 40),
        (0, 1 << 40),
        (LARGE, 1 << 40),
        (1 << 40, 1 << 41),
    ],
)
async def test_a_range_comes_in_whole_checked_blocks(node: DirectNode, first: int, end: int, cold: bool) -> None:
    data = content(1, LARGE)
    await node.put(ID, data)
    node.files.cache_cold = cold
    message, body, checks = await node.ask(MessageType.GET, GetRequest("r", ID, first, end))
    reply = message
    assert isinstance(reply, type((await node.get(ID))[0]))
    assert bytes(body) == data[reply.start : reply.start + len(body)]
    assert checks is not None
    assert bytes(checks) == block_checks(bytes(body))
    assert reply.payload_size == LARGE
    wanted = range(min(first, LARGE), min(end, LARGE))
    if wanted:
        assert reply.start <= wanted.start
        assert reply.start + len(body) >= wanted.stop
    else:
        assert len(body) == 0


@pytest.mark.parametrize(("first", "end"), [(-1, 5), (5, 4)])
async def test_a_range_that_is_none_is_refused(node: DirectNode, first: int, end: int) -> None:
    await node.put(ID, b"x" * 10)
    with pytest.raises(InvalidRequest):
        await node.get(ID, first, end)


async def test_absence_is_said_only_with_authority(node: DirectNode) -> None:
    with pytest.raises(BlobNotFound):
        await node.get(ID)
    node.replica.store.serving = False
    with pytest.raises(ReplicaUnavailable, match="caught up"):
        await node.get(ID)


async def test_deleted_and_expired_blobs_are_gone_unless_asked_for_all_the_same(node: DirectNode) -> None:
    soon = node.clock.wall_ms() + 1000
    await node.put(ID, b"x", state=BlobState(0, False, soon))
    assert (await node.get(ID))[1] == b"x"
    node.clock.advance(1)
    reply, body = await node.get(ID)
    assert (reply.gone, reply.present, body) == (True, False, b"")
    reply, body = await node.get(ID, any_state=True)
    assert (reply.present, body, reply.state.expires_at_ms) == (True, b"x", soon)
    assert await node.update(ID, BlobState(0, False, NEVER_MS)) == ALIVE
    assert (await node.get(ID))[1] == b"x"
    await node.update(ID, DELETED)
    reply, body = await node.get(ID)
    assert (reply.gone, reply.state, body) == (True, DELETED, b"")
    assert (await node.get(ID, any_state=True))[1] == b"x"


async def test_a_state_without_bytes_is_not_an_absence(node: DirectNode) -> None:
    await node.parts.intake.merge(node.replica, ID, DatedState(ALIVE, node.clock.wall_ms()))
    reply, body = await node.get(ID)
    assert (reply.present, reply.gone, reply.state, body) == (False, False, ALIVE, b"")


async def test_a_rotten_index_entry_makes_the_index_be_rebuilt(node: DirectNode) -> None:
    await node.put(ID, b"x")
    before = node.replica
    await node.parts.checkpointer.checkpoint(before)
    rot_index(before.store, ID)
    with pytest.raises(IndexCorrupt):
        await node.get(ID)
    await eventually(lambda: node.parts.replicas.get(PARTITION) not in (None, before))
    assert (await node.get(ID))[1] == b"x"


async def test_updates_join(node: DirectNode) -> None:
    await node.put(ID, b"x", state=BlobState(0, False, 500))
    assert await node.update(ID, BlobState(0, False, 400)) == BlobState(0, False, 500)
    assert await node.update(ID, BlobState(0, True, 0)) == BlobState(0, True, 500)
    assert await node.update(ID, BlobState(0, False, 900)) == BlobState(0, True, 900)
    assert await node.update(ID, BlobState(1, False, 0)) == BlobState(1, False, 900)
    assert await node.update(ID, BlobState(0, True, 0)) == BlobState(1, False, 900)


async def test_an_update_that_changes_nothing_is_durable_all_the_same(node: DirectNode) -> None:
    await node.put(ID, b"x", sync=False)
    end = node.replica.store.end_lsn
    await node.update(ID, ALIVE)
    assert node.replica.store.end_lsn == end
    assert not node.replica.store.unsynced


async def test_a_tombstone_is_kept_for_a_blob_that_never_came(node: DirectNode) -> None:
    assert await node.update(ID, DELETED) == DELETED
    reply, _ = await node.get(ID)
    assert reply.gone


async def test_presence(node: DirectNode) -> None:
    await node.put(blob_id(1), b"x")
    await node.put(blob_id(2), b"x")
    await node.update(blob_id(2), DELETED)
    await node.parts.intake.merge(node.replica, blob_id(3), DatedState(ALIVE, node.clock.wall_ms()))
    await node.put(blob_id(4), b"x")
    node.replica.store.damaged.add(blob_id(4))
    ids = [*(blob_id(number) for number in range(1, 6)), blob_id(1, partition=99), b"no id at all"]
    answer, _, _ = await node.ask(MessageType.PRESENCE, PresenceRequest("r", ids))
    assert answer == PresenceReply(["present", "deleted", "unsure", "unsure", "absent", "unsure", "unsure"])
    node.replica.store.serving = False
    answer, _, _ = await node.ask(MessageType.PRESENCE, PresenceRequest("r", [blob_id(5)]))
    assert answer == PresenceReply(["unsure"])


async def test_a_sealed_partition_takes_deletes_and_no_puts(node: DirectNode) -> None:
    await node.put(ID, b"x")
    node.replica.store.sealed = True
    with pytest.raises(InsufficientStorage, match="sealed"):
        await node.put(blob_id(2), b"y")
    assert await node.update(ID, DELETED) == DELETED
    assert node.state(blob_id(2)) is None


async def test_presence_is_unsure_while_a_damaged_index_is_rebuilt(node: DirectNode) -> None:
    await node.put(ID, b"x")
    before = node.replica
    await node.parts.checkpointer.checkpoint(before)
    rot_index(before.store, ID)
    answer, _, _ = await node.ask(MessageType.PRESENCE, PresenceRequest("r", [ID]))
    assert answer == PresenceReply(["unsure"])
    await eventually(lambda: node.parts.replicas.get(PARTITION) not in (None, before))
    answer, _, _ = await node.ask(MessageType.PRESENCE, PresenceRequest("r", [ID]))
    assert answer == PresenceReply(["present"])


async def test_an_undelete_is_refused_when_compaction_may_have_been_there(node: DirectNode) -> None:
    retention_s = CompactionSection().deleted_retention_s
    await node.put(ID, b"x")
    await node.put(blob_id(2), b"x")
    await node.update(ID, DELETED)
    await node.update(blob_id(2), DELETED)
    back = BlobState(1, False, NEVER_MS)
    node.clock.advance(retention_s - 1)
    assert await node.update(ID, back) == back
    node.clock.advance(1)
    with pytest.raises(BlobDeleted, match=f"more than {retention_s} s ago: too late"):
        await node.update(blob_id(2), back)
