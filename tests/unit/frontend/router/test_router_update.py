"""Delete, undelete and time to live, also where one replica has not heard of the last change."""

from __future__ import annotations

import asyncio
from itertools import permutations

import pytest

from ambry.blob import NEVER_MS, BlobState
from ambry.errors import BlobDeleted, BlobExpired, BlobGone, BlobNotFound, NotDeleted, QuorumNotReached, Unavailable
from ambry.ids import BlobId, IdKind
from ambry.protocol.frame import MessageType
from datanode.config import CompactionSection
from frontend.router import update
from frontend.router.quorum_read import read_head
from tests.support.fake_cluster import CHUNK, FakeCluster, make_cluster, some_id, some_request
from tests.support.fake_peers import fails, lost, silent
from tests.support.virtual_loop import settle, virtual_time

NOW = 1_700_000_000_000
LATER = NOW + 1_000_000
LATEST = NOW + 9_000_000

ALIVE, DELETED = BlobState(0, False, NEVER_MS), BlobState(0, True, NEVER_MS)
AGAIN, DELETED_AGAIN = BlobState(1, False, NEVER_MS), BlobState(1, True, NEVER_MS)


async def made(*states: BlobState, expires_at_ms: int = NEVER_MS) -> tuple[FakeCluster, BlobId]:
    """A blob on three replicas that know these states of it."""
    cluster = make_cluster()
    blob_id = (await cluster.put(b"hello", expires_at_ms=expires_at_ms)).id
    await settle()
    for peer, state in zip(cluster.pool, states, strict=False):
        peer.learn(blob_id.raw, state)
    cluster.pool.journal.clear()
    return cluster, blob_id


def states(cluster: FakeCluster, blob_id: BlobId) -> list[BlobState]:
    return [peer.records[blob_id.raw].state for peer in cluster.pool]


async def delete(cluster: FakeCluster, blob_id: BlobId) -> None:
    await update.delete(some_request(), cluster.context, blob_id)
    await settle()


async def undelete(cluster: FakeCluster, blob_id: BlobId) -> None:
    await update.undelete(some_request(), cluster.context, blob_id)
    await settle()


async def extend(cluster: FakeCluster, blob_id: BlobId, expires_at_ms: int) -> BlobState:
    head = await update.extend_ttl(some_request(), cluster.context, blob_id, expires_at_ms)
    await settle()
    return head.state


@virtual_time
async def test_delete_undelete_delete_counts_lives_and_is_read_back() -> None:
    cluster, blob_id = await made()
    for life in range(3):
        await delete(cluster, blob_id)
        await delete(cluster, blob_id)
        assert states(cluster, blob_id) == [BlobState(life, True, NEVER_MS)] * 3
        with pytest.raises(BlobDeleted):
            await cluster.read(blob_id)
        await undelete(cluster, blob_id)
        assert states(cluster, blob_id) == [BlobState(life + 1, False, NEVER_MS)] * 3
        assert await cluster.read(blob_id) == b"hello"
        with pytest.raises(NotDeleted):
            await undelete(cluster, blob_id)


@pytest.mark.parametrize("order", list(dict.fromkeys(permutations([DELETED, AGAIN, AGAIN]))))
@virtual_time
async def test_a_delete_that_reads_a_replica_which_missed_the_undelete_still_deletes(
    order: tuple[BlobState, ...],
) -> None:
    """Once this wrote the old life's tombstone, which the undelete outranks, and answered 202 for a living blob."""
    for seed in range(12):
        cluster, blob_id = await made(*order)
        cluster.context.random_source.seed(seed)
        await delete(cluster, blob_id)
        assert states(cluster, blob_id) == [DELETED_AGAIN] * 3


@virtual_time
async def test_a_change_while_the_state_cannot_be_read_changes_nothing_says_so_and_leaves_time() -> None:
    cluster, blob_id = await made(AGAIN, AGAIN, AGAIN)
    for peer in cluster.pool:
        peer.script(silent(), type=MessageType.GET)
    for change in (delete, undelete):
        began = asyncio.get_running_loop().time()
        with pytest.raises(Unavailable, match="nothing was changed"):
            await change(cluster, blob_id)
        assert asyncio.get_running_loop().time() - began <= 10.1, "half of the request's time"
    assert states(cluster, blob_id) == [AGAIN] * 3
    assert cluster.pool.calls(MessageType.UPDATE) == []


@pytest.mark.parametrize("order", list(dict.fromkeys(permutations([ALIVE, DELETED, DELETED]))))
@virtual_time
async def test_an_undelete_that_reads_a_replica_which_missed_the_delete_still_undeletes(
    order: tuple[BlobState, ...],
) -> None:
    """Once this was refused with 409 for a blob that everybody else knew as deleted."""
    for seed in range(12):
        cluster, blob_id = await made(*order)
        cluster.context.random_source.seed(seed)
        await undelete(cluster, blob_id)
        assert states(cluster, blob_id) == [AGAIN] * 3


@pytest.mark.parametrize("order", list(dict.fromkeys(permutations([DELETED, DELETED_AGAIN, DELETED_AGAIN]))))
@virtual_time
async def test_an_undelete_goes_beyond_the_latest_deletion_that_any_replica_knows(
    order: tuple[BlobState, ...],
) -> None:
    for seed in range(12):
        cluster, blob_id = await made(*order)
        cluster.context.random_source.seed(seed)
        await undelete(cluster, blob_id)
        assert states(cluster, blob_id) == [BlobState(2, False, NEVER_MS)] * 3


@virtual_time
async def test_a_delete_is_acknowledged_when_two_replicas_know_the_end_of_the_latest_life() -> None:
    """One that took the delete of an earlier life confirmed it: with the other one lost, the blob was back."""
    cluster, blob_id = await made(DELETED_AGAIN, DELETED, AGAIN)
    for number in (1, 3):
        cluster.peer(number).script(lost(), type=MessageType.GET)
    cluster.peer(3).script(lost(), type=MessageType.UPDATE)
    await delete(cluster, blob_id)
    assert states(cluster, blob_id) == [DELETED_AGAIN, DELETED_AGAIN, AGAIN]


@virtual_time
async def test_an_undelete_is_acknowledged_when_two_replicas_know_the_latest_life() -> None:
    cluster, blob_id = await made(BlobState(2, False, NEVER_MS), DELETED, DELETED_AGAIN)
    for number in (1, 3):
        cluster.peer(number).script(lost(), type=MessageType.GET)
    cluster.peer(3).script(lost(), type=MessageType.UPDATE)
    await undelete(cluster, blob_id)
    assert [state.life_version for state in states(cluster, blob_id)] == [2, 2, 1]


@virtual_time
async def test_an_undelete_of_a_living_blob_changes_nothing() -> None:
    cluster, blob_id = await made()
    with pytest.raises(NotDeleted):
        await undelete(cluster, blob_id)
    assert states(cluster, blob_id) == [ALIVE] * 3


@virtual_time
async def test_a_life_only_gets_longer() -> None:
    cluster, blob_id = await made(expires_at_ms=LATER)
    assert (await extend(cluster, blob_id, LATEST)).expires_at_ms == LATEST
    assert (await extend(cluster, blob_id, LATER)).expires_at_ms == LATEST
    assert (await extend(cluster, blob_id, NEVER_MS)).expires_at_ms == NEVER_MS
    assert (await extend(cluster, blob_id, LATER)).expires_at_ms == NEVER_MS
    assert states(cluster, blob_id) == [ALIVE] * 3


@virtual_time
async def test_extending_survives_a_delete_and_an_undelete() -> None:
    cluster, blob_id = await made(expires_at_ms=LATER)
    await delete(cluster, blob_id)
    with pytest.raises(BlobDeleted):
        await extend(cluster, blob_id, LATEST)
    await undelete(cluster, blob_id)
    await extend(cluster, blob_id, LATEST)
    assert states(cluster, blob_id) == [BlobState(1, False, LATEST)] * 3


@pytest.mark.parametrize("order", list(dict.fromkeys(permutations([ALIVE, DELETED, DELETED]))))
@virtual_time
async def test_a_longer_life_for_a_deleted_blob_is_refused_even_if_one_replica_has_not_heard(
    order: tuple[BlobState, ...],
) -> None:
    """Once this was a success for a blob that nobody can read any more."""
    for seed in range(12):
        cluster, blob_id = await made(*order)
        cluster.context.random_source.seed(seed)
        with pytest.raises(BlobDeleted):
            await extend(cluster, blob_id, NEVER_MS)


@virtual_time
async def test_an_expired_blob_is_not_brought_back() -> None:
    cluster, blob_id = await made(expires_at_ms=NOW)
    with pytest.raises(BlobExpired):
        await extend(cluster, blob_id, LATEST)
    assert {state.expires_at_ms for state in states(cluster, blob_id)} == {NOW}


@virtual_time
async def test_an_update_of_what_never_was_is_404_and_records_nothing() -> None:
    cluster = make_cluster()
    blob_id = some_id()
    for change in (delete, undelete):
        with pytest.raises(BlobNotFound) as caught:
            await change(cluster, blob_id)
        assert not isinstance(caught.value, BlobGone)
    with pytest.raises(BlobNotFound):
        await extend(cluster, blob_id, LATER)
    assert all(peer.records == {} for peer in cluster.pool)


@virtual_time
async def test_a_delete_of_an_id_that_nobody_who_answers_knows_records_nothing() -> None:
    """Once it wrote a tombstone on every replica: whoever made up ids while a datacenter was away could fill the logs."""
    cluster = make_cluster(((3, 3),))
    blob_id = some_id(datacenter=2)
    for peer in cluster.peers(2):
        peer.connected = False
    with pytest.raises(Unavailable, match="nothing was changed") as caught:
        await delete(cluster, blob_id)
    assert caught.value.retriable
    assert all(peer.records == {} for peer in cluster.pool)
    for peer in cluster.peers(2):
        peer.connected = True
    with pytest.raises(BlobNotFound):
        await delete(cluster, blob_id)
    assert all(peer.records == {} for peer in cluster.pool)


@pytest.mark.parametrize("holders", [1, 2, 3])
@virtual_time
async def test_one_replica_that_knows_the_blob_is_enough_to_delete_it_while_its_origin_is_away(holders: int) -> None:
    cluster = make_cluster(((3, 3),))
    blob_id = some_id(datacenter=2)
    for peer in cluster.peers(2):
        peer.connected = False
    for number in range(1, holders + 1):
        cluster.peer(number).learn(blob_id.raw, ALIVE)
    await delete(cluster, blob_id)
    assert all(peer.records[blob_id.raw].state.deleted for peer in cluster.peers(1))
    with pytest.raises(BlobGone):
        await cluster.read(blob_id)


@virtual_time
async def test_with_two_of_three_paused_a_delete_is_answered_in_seconds_and_says_that_it_may_have_happened() -> None:
    cluster, blob_id = await made()
    for number in (1, 2):
        cluster.peer(number).script(silent())
        cluster.peer(number).health.record_probe(False)
    with pytest.raises(QuorumNotReached, match="may or may not have happened"):
        await delete(cluster, blob_id)
    assert asyncio.get_running_loop().time() <= 2.0
    cluster.peer(1).heal()
    cluster.peer(1).health.record_probe(True)
    await delete(cluster, blob_id)


# --- a head that was read already ---


@virtual_time
async def test_a_head_that_the_request_has_read_already_is_not_read_again() -> None:
    cluster, blob_id = await made(expires_at_ms=LATER)
    context, request = cluster.context, some_request()
    head = await read_head(request, context, blob_id)
    assert (await update.extend_ttl(request, context, blob_id, LATEST, head)).state.expires_at_ms == LATEST
    await update.delete(request, context, blob_id, head)
    await settle()
    assert states(cluster, blob_id) == [BlobState(0, True, LATEST)] * 3
    deleted = await read_head(request, context, blob_id, any_state=True)
    await update.undelete(request, context, blob_id, deleted)
    await settle()
    assert states(cluster, blob_id) == [BlobState(1, False, LATEST)] * 3
    assert len(cluster.pool.calls(MessageType.GET)) == 2


@virtual_time
async def test_a_head_that_is_out_of_date_misleads_no_change() -> None:
    cluster, blob_id = await made(ALIVE, ALIVE, ALIVE)
    head = await read_head(some_request(), cluster.context, blob_id)
    await delete(cluster, blob_id)
    await undelete(cluster, blob_id)
    await update.delete(some_request(), cluster.context, blob_id, head)
    await settle()
    assert states(cluster, blob_id) == [DELETED_AGAIN] * 3


# --- replicas that fail ---


@pytest.mark.parametrize("bad", [1, 2, 3])
@virtual_time
async def test_an_update_needs_two_replicas(bad: int) -> None:
    cluster, blob_id = await made()
    for number in range(1, bad + 1):
        cluster.peer(number).script(lost(), type=MessageType.UPDATE)
    if bad == 1:
        await delete(cluster, blob_id)
        assert sum(state.deleted for state in states(cluster, blob_id)) == 2
    else:
        with pytest.raises(QuorumNotReached):
            await delete(cluster, blob_id)


@virtual_time
async def test_an_update_in_a_datacenter_without_a_replica_is_never_a_success() -> None:
    """Once a delete was answered 202 here and told nobody."""
    cluster = make_cluster(((0, 3),))
    blob_id = some_id(datacenter=2)
    for peer in cluster.peers(2):
        peer.learn(blob_id.raw, AGAIN)
    with pytest.raises(Unavailable):
        await delete(cluster, blob_id)


@virtual_time
async def test_updates_of_a_large_blob_touch_its_own_record_alone() -> None:
    cluster = make_cluster()
    blob_id = (await cluster.put(bytes(3 * CHUNK), expires_at_ms=LATER)).id
    assert blob_id.kind is IdKind.COMPOSITE
    await settle()
    await extend(cluster, blob_id, LATEST)
    await delete(cluster, blob_id)
    await undelete(cluster, blob_id)
    assert {call.message.id for call in cluster.pool.calls(MessageType.UPDATE)} == {blob_id.raw}
    assert await cluster.read(blob_id) == bytes(3 * CHUNK)


@virtual_time
async def test_an_update_outlives_the_moment_in_which_two_nodes_restart() -> None:
    cluster, blob_id = await made()
    for number in (1, 2):
        cluster.peer(number).script(lost(), type=MessageType.UPDATE, times=1)
    await delete(cluster, blob_id)
    assert states(cluster, blob_id) == [DELETED] * 3


@virtual_time
async def test_an_undelete_that_the_replicas_refuse_as_too_late_is_gone_not_unavailable() -> None:
    """It is not tried again: it never becomes possible."""
    cluster, blob_id = await made(DELETED, DELETED, DELETED)
    for peer in cluster.pool:
        peer.script(fails(BlobDeleted("too late to undelete it")), type=MessageType.UPDATE)
    with pytest.raises(BlobDeleted, match="too late"):
        await undelete(cluster, blob_id)
    assert states(cluster, blob_id) == [DELETED] * 3


@virtual_time
@pytest.mark.parametrize("accepting", [0, 1, 2])
async def test_an_undelete_that_one_replica_accepted_is_never_told_as_refused(accepting: int) -> None:
    """It was answered 410, and a moment later the blob was back everywhere: what one replica accepts, the others take from it.

    That one was in doubt about its clock, so nothing was over for it; a clock that is a little behind does the same.
    """
    cluster, blob_id = await made(DELETED, DELETED, DELETED)
    refusing = [peer for number, peer in enumerate(cluster.pool) if number != accepting]
    for peer in refusing:
        peer.script(fails(BlobDeleted("too late to undelete it")), type=MessageType.UPDATE)
    with pytest.raises(QuorumNotReached, match="may or may not have happened"):
        await undelete(cluster, blob_id)
    assert not states(cluster, blob_id)[accepting].deleted


@virtual_time
async def test_an_undelete_that_one_replica_accepted_succeeds_when_the_others_heard_of_it() -> None:
    cluster, blob_id = await made(DELETED, DELETED, DELETED)
    for number in (2, 3):
        cluster.peer(number).script(fails(BlobDeleted("too late to undelete it")), type=MessageType.UPDATE, times=1)
    await undelete(cluster, blob_id)
    assert not any(state.deleted for state in states(cluster, blob_id))


@virtual_time
async def test_an_undelete_is_refused_while_a_node_is_away_too() -> None:
    cluster, blob_id = await made(DELETED, DELETED, DELETED)
    cluster.peer(1).script(lost(), type=MessageType.UPDATE)
    for number in (2, 3):
        cluster.peer(number).script(fails(BlobDeleted("too late to undelete it")), type=MessageType.UPDATE)
    with pytest.raises(BlobDeleted, match="too late"):
        await undelete(cluster, blob_id)


def undeletes(cluster: FakeCluster) -> set[tuple[BlobState, int]]:
    """What replicas were told: the new state, and when the delete was made that is undone."""
    return {(call.message.state, call.message.deleted_at_ms) for call in cluster.pool.calls(MessageType.UPDATE)}


@virtual_time
async def test_an_undelete_tells_every_replica_when_the_delete_was_made() -> None:
    """One that had missed it, or had been wiped, could not know that it came too late."""
    cluster, blob_id = await made()
    await delete(cluster, blob_id)
    deleted_at_ms = cluster.context.clock.wall_ms()
    cluster.context.clock.advance(60)  # type: ignore[attr-defined]
    cluster.pool.journal.clear()
    await undelete(cluster, blob_id)
    assert undeletes(cluster) == {(AGAIN, deleted_at_ms)}


@virtual_time
async def test_the_time_is_that_of_the_latest_delete_that_a_replica_tells_of() -> None:
    cluster, blob_id = await made(ALIVE, DELETED, DELETED)
    for number in (2, 3):
        cluster.peer(number).records[blob_id.raw].changed_at_ms = NOW + number
    for peer in cluster.pool:
        if peer is not cluster.peer(1):
            peer.script(lost(), type=MessageType.GET)  # the one that missed it is read
    await undelete(cluster, blob_id)
    assert undeletes(cluster) == {(ALIVE, 0), (AGAIN, NOW + 3)}


@pytest.mark.parametrize("ignorant", ["missed the delete", "was wiped"])
@virtual_time
async def test_an_undelete_that_is_too_late_is_too_late_everywhere(ignorant: str) -> None:
    """It was 503, and the blob came back on all replicas, where nobody had its bytes any more."""
    cluster, blob_id = await made()
    for number in (2, 3):
        cluster.peer(number).learn(blob_id.raw, DELETED)
    if ignorant == "was wiped":
        cluster.peer(1).forget(blob_id.raw)
    cluster.context.clock.advance(CompactionSection().deleted_retention_s)  # type: ignore[attr-defined]
    for seed in range(6):
        cluster.context.random_source.seed(seed)
        with pytest.raises(BlobDeleted):
            await undelete(cluster, blob_id)
    known = cluster.peer(1).records.get(blob_id.raw)
    assert (known.state if known is not None else None) == (None if ignorant == "was wiped" else ALIVE)


@virtual_time
async def test_one_replica_whose_clock_is_ahead_does_not_refuse_for_all() -> None:
    cluster, blob_id = await made(DELETED, DELETED, DELETED)
    cluster.peer(1).script(fails(BlobDeleted("too late to undelete it")), type=MessageType.UPDATE)
    await undelete(cluster, blob_id)
    assert await cluster.read(blob_id) == b"hello"
