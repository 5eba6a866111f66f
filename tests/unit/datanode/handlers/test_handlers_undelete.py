"""Whether a replica takes an undelete: by the time of the delete that it undoes, and only where the bytes are.

Past the seven days one that had been wiped or had missed the delete took what the others refused. The state came to all of
them, and nobody had the bytes (docs/decisions/0022-an-undelete-tells-what-it-undoes.md).
"""

from __future__ import annotations

import pytest

from ambry.blob import NEVER_MS, BlobState
from ambry.errors import BlobDeleted, ReplicaUnavailable
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.blobs import UpdateReply, UpdateRequest
from datanode.config import CompactionSection
from tests.support.direct_node import DirectNode
from tests.support.samples import ALIVE, DELETED, blob_id, forget

ID, OTHER = blob_id(1), blob_id(2)
RETENTION_S = CompactionSection().deleted_retention_s
BACK = BlobState(1, False, NEVER_MS)
BACK_AGAIN = BlobState(2, False, NEVER_MS)
DELETED_AGAIN = BlobState(1, True, NEVER_MS)

places = pytest.mark.parametrize("stored", [False, True], ids=["in memory", "in the index's file"])


async def goes_to_the_file(node: DirectNode, stored: bool) -> None:
    if stored:
        await node.parts.checkpointer.checkpoint(node.replica)
        forget(node.replica.store)


async def told(node: DirectNode, state: BlobState) -> UpdateReply:
    reply, _, _ = await node.ask(MessageType.UPDATE, UpdateRequest("r", ID, state, node.clock.wall_ms()))
    assert isinstance(reply, UpdateReply)
    return reply


@places
async def test_who_missed_the_delete_goes_by_its_time(node: DirectNode, stored: bool) -> None:
    for raw_id in (ID, OTHER):
        await node.put(raw_id, b"x")
    deleted_at_ms = node.clock.wall_ms()
    node.clock.advance(RETENTION_S - 1)
    await goes_to_the_file(node, stored)
    assert await node.update(ID, BACK, deleted_at_ms=deleted_at_ms) == BACK
    node.clock.advance(1)
    with pytest.raises(BlobDeleted, match="too late"):
        await node.update(OTHER, BACK, deleted_at_ms=deleted_at_ms)
    assert node.state(OTHER) == ALIVE


@places
async def test_the_later_of_two_deletes_counts(node: DirectNode, stored: bool) -> None:
    """Another replica knows a later one; replication would bring it, and the bytes stay as long as that says."""
    await node.put(ID, b"x")
    await node.update(ID, DELETED)
    node.clock.advance(RETENTION_S - 1)
    later_ms = node.clock.wall_ms()
    node.clock.advance(1)
    await goes_to_the_file(node, stored)
    with pytest.raises(BlobDeleted):
        await node.update(ID, BACK)
    assert await node.update(ID, BACK_AGAIN, deleted_at_ms=later_ms) == BACK_AGAIN


@places
@pytest.mark.parametrize("known", [None, DELETED], ids=["it knows nothing", "it knows the delete"])
async def test_who_does_not_have_the_bytes_brings_nothing_back(
    node: DirectNode, known: BlobState | None, stored: bool
) -> None:
    """It could not keep others from dropping them when the seven days are over."""
    if known is not None:
        await node.update(ID, known)
    await goes_to_the_file(node, stored)
    with pytest.raises(ReplicaUnavailable, match="does not have the bytes"):
        await node.update(ID, BACK, deleted_at_ms=node.clock.wall_ms())
    assert node.state(ID) == known
    await node.put(ID, b"x")
    assert await node.update(ID, BACK, deleted_at_ms=node.clock.wall_ms()) == BACK


async def test_a_damaged_copy_brings_nothing_back(node: DirectNode) -> None:
    await node.put(ID, b"x")
    await node.update(ID, DELETED)
    node.replica.store.damaged.add(ID)
    with pytest.raises(ReplicaUnavailable):
        await node.update(ID, BACK, deleted_at_ms=node.clock.wall_ms())
    assert node.state(ID) == DELETED


@places
async def test_who_does_not_have_the_bytes_lets_nothing_live_longer(node: DirectNode, stored: bool) -> None:
    """It confirmed that, and those that have the bytes, cut off, dropped them when the old time was over."""
    soon = BlobState(0, False, node.clock.wall_ms() + 1_000)
    later = BlobState(0, False, node.clock.wall_ms() + 2_000)
    await goes_to_the_file(node, stored)
    with pytest.raises(ReplicaUnavailable, match="does not have the bytes"):
        await node.update(ID, later)
    assert node.state(ID) is None
    await node.put(ID, b"x", state=soon)
    await goes_to_the_file(node, stored)
    assert await node.update(ID, later) == later
    node.replica.store.damaged.add(ID)
    with pytest.raises(ReplicaUnavailable):
        await node.update(ID, ALIVE)
    assert await node.update(ID, later) == later, "it promises nothing that it did not before"
    assert await node.update(ID, DELETED) == DELETED, "a delete needs no bytes"


@pytest.mark.parametrize("known", [None, DELETED], ids=["it knows nothing", "it knows the delete"])
async def test_too_late_is_said_where_the_bytes_are_gone_too(node: DirectNode, known: BlobState | None) -> None:
    deleted_at_ms = node.clock.wall_ms()
    if known is not None:
        await node.update(ID, known)
    node.clock.advance(RETENTION_S)
    with pytest.raises(BlobDeleted):
        await node.update(ID, BACK, deleted_at_ms=deleted_at_ms)


async def test_what_is_undeleted_already_is_confirmed_however_late(node: DirectNode) -> None:
    await node.put(ID, b"x")
    await node.update(ID, DELETED)
    deleted_at_ms = node.clock.wall_ms()
    assert await node.update(ID, BACK, deleted_at_ms=deleted_at_ms) == BACK
    node.clock.advance(RETENTION_S)
    end = node.replica.store.end_lsn
    assert await node.update(ID, BACK, deleted_at_ms=deleted_at_ms) == BACK
    assert node.replica.store.end_lsn == end


async def test_an_undelete_under_a_later_delete_is_told_of_that(node: DirectNode) -> None:
    await node.update(ID, DELETED_AGAIN)
    assert await node.update(ID, BACK, deleted_at_ms=node.clock.wall_ms()) == DELETED_AGAIN


@places
async def test_answers_say_when_it_was_deleted(node: DirectNode, stored: bool) -> None:
    await node.put(ID, b"x")
    assert await told(node, ALIVE) == UpdateReply(ALIVE, 0)
    assert (await node.get(ID))[0].deleted_at_ms == 0
    first_ms = node.clock.wall_ms()
    assert await told(node, DELETED) == UpdateReply(DELETED, first_ms)
    await goes_to_the_file(node, stored)
    node.clock.advance(100)
    for state in (DELETED, ALIVE):  # they change nothing, neither the time
        assert await told(node, state) == UpdateReply(DELETED, first_ms)
    for any_state in (False, True):
        assert (await node.get(ID, any_state=any_state))[0].deleted_at_ms == first_ms
    assert await told(node, DELETED_AGAIN) == UpdateReply(DELETED_AGAIN, node.clock.wall_ms())
    node.clock.advance(1)
    assert await told(node, BACK_AGAIN) == UpdateReply(BACK_AGAIN, 0)
