"""What a put that failed may have left is forgotten, though replicas are away when it fails.

Once every replica was told once, and where none heard it the record became a blob that nobody was told of.
"""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from ambry.blob import NEVER_MS, BlobState
from ambry.errors import QuorumNotReached
from ambry.ids import BlobId, IdKind
from ambry.protocol.frame import MessageType
from frontend.router import discards
from tests.support.fake_cluster import CHUNK, FakeCluster, make_cluster, some_id
from tests.support.fake_peers import lost, silent
from tests.support.virtual_loop import settle, virtual_time

DELETED = BlobState(0, True, NEVER_MS)


async def put_that_fails(cluster: FakeCluster) -> BlobId:
    """Replica 1 took it, which nobody heard, as nobody hears the discard. Returns its id."""
    for peer in cluster.peers():
        peer.script(lost(applies=peer is cluster.peer(1)), type=MessageType.PUT)
        peer.script(lost(), type=MessageType.UPDATE)
    with pytest.raises(QuorumNotReached):
        await cluster.put(b"hello")
    await settle()
    assert len(cluster.peer(1).visible()) == 1
    (raw,) = cluster.peer(1).visible()
    return BlobId(raw)


def cluster_of(*replicas: int) -> FakeCluster:
    return make_cluster((replicas,), put_attempts=1)


def back(cluster: FakeCluster, *numbers: int) -> None:
    """These answer again, which pings have found out."""
    for number in numbers:
        cluster.peer(number).heal()
        cluster.peer(number).health.record_probe(True)


def who_heard(cluster: FakeCluster, blob_id: BlobId) -> list[str]:
    known = {peer.node.name: peer.records.get(blob_id.raw) for peer in cluster.pool}
    return [name for name, stored in known.items() if stored is not None and stored.state == DELETED]


@virtual_time
async def test_what_nobody_heard_is_said_again_when_somebody_can_hear_it() -> None:
    cluster = cluster_of(3)
    blob_id = await put_that_fails(cluster)
    assert cluster.context.discards.waiting == 1
    await asyncio.sleep(3_600)
    assert who_heard(cluster, blob_id) == []
    back(cluster, 2, 3)
    await asyncio.sleep(discards.RETRY_S + discards.TICK_S)
    assert who_heard(cluster, blob_id) == ["dc1-n2", "dc1-n3"], "it comes to the first from them"
    assert cluster.context.discards.waiting == 0
    calls = len(cluster.pool.calls(MessageType.UPDATE))
    await asyncio.sleep(600)
    assert len(cluster.pool.calls(MessageType.UPDATE)) == calls


@virtual_time
async def test_one_replica_alone_is_not_enough_since_it_may_be_lost() -> None:
    cluster = cluster_of(3)
    blob_id = await put_that_fails(cluster)
    back(cluster, 2)
    await asyncio.sleep(60)
    assert who_heard(cluster, blob_id) == ["dc1-n2"]
    assert len([call for call in cluster.pool.calls(MessageType.UPDATE) if call.peer == "dc1-n2"]) == 2, (
        "not told twice"
    )
    back(cluster, 1)
    await asyncio.sleep(60)
    assert who_heard(cluster, blob_id) == ["dc1-n1", "dc1-n2"]
    assert cluster.context.discards.waiting == 0


@virtual_time
async def test_where_this_datacenter_is_out_of_reach_another_is_told() -> None:
    cluster = cluster_of(3, 3)
    blob_id = await put_that_fails(cluster)
    await asyncio.sleep(2 * discards.RETRY_S)
    assert set(who_heard(cluster, blob_id)) == {"dc2-n1", "dc2-n2", "dc2-n3"}
    assert cluster.context.discards.waiting == 0


@virtual_time
async def test_what_its_own_replicas_hear_at_once_is_told_to_nobody_else() -> None:
    cluster = cluster_of(3, 3)
    for peer in cluster.peers():
        peer.script(lost(), type=MessageType.PUT)
    with pytest.raises(QuorumNotReached):
        await cluster.put(b"hello")
    await asyncio.sleep(60)
    assert {call.peer for call in cluster.pool.calls(MessageType.UPDATE)} == {"dc1-n1", "dc1-n2", "dc1-n3"}
    assert cluster.context.discards.waiting == 0


@virtual_time
async def test_replicas_that_are_away_are_not_asked() -> None:
    cluster = cluster_of(3)
    await put_that_fails(cluster)
    for peer in cluster.pool:
        peer.connected = False
    calls = len(cluster.pool.calls(MessageType.UPDATE))
    await asyncio.sleep(60)
    assert len(cluster.pool.calls(MessageType.UPDATE)) == calls


@virtual_time
async def test_chunks_of_a_large_upload_are_told_of_once() -> None:
    """They are swept, as their blob never was; thousands of them would leave no room for others."""
    cluster = cluster_of(3)
    for peer in cluster.pool:
        peer.script(lost(), type=MessageType.UPDATE)
        peer.script(lost(), type=MessageType.PUT, record_kind=2)
    with pytest.raises(QuorumNotReached):
        await cluster.put(bytes(3 * CHUNK))
    await settle()
    assert {BlobId(call.message.id).kind for call in cluster.pool.calls(MessageType.UPDATE)} == {
        IdKind.COMPOSITE,
        IdKind.CHUNK,
    }
    assert cluster.context.discards.waiting == 1


@virtual_time
async def test_they_are_bounded_in_number_and_time_and_named_when_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discards, "WAITING_MAX", 3)
    cluster = cluster_of(3)
    for peer in cluster.pool:
        peer.connected = False
    waiting = cluster.context.discards
    with capture_logs() as logs:
        for number in range(5):
            waiting.forget("r", [some_id(number)], NEVER_MS)
        assert (waiting.waiting, waiting.given_up) == (3, 2)
        await asyncio.sleep(discards.FOR_S - 10)
        assert waiting.waiting == 3
        await asyncio.sleep(20)
        assert (waiting.waiting, waiting.given_up) == (0, 5)
    named = [line["blob"] for line in logs if line["event"] == "a put that failed may stay"]
    assert named == [str(some_id(number)) for number in range(5)]


@virtual_time
async def test_nodes_that_come_back_are_not_flooded() -> None:
    cluster = cluster_of(3)
    for peer in cluster.pool:
        peer.connected = False
    for number in range(1_000):
        cluster.context.discards.forget("r", [some_id(number)], NEVER_MS)
    for peer in cluster.pool:
        peer.connected = True
    per_s: dict[int, int] = {}
    await asyncio.sleep(60)
    for call in cluster.pool.calls(MessageType.UPDATE):
        if call.peer == "dc1-n1":
            per_s[int(call.at)] = per_s.get(int(call.at), 0) + 1
    assert sum(per_s.values()) == 1_000
    assert max(per_s.values()) <= 2 * discards.PER_TICK / discards.TICK_S
    assert cluster.context.discards.waiting == 0


@pytest.mark.parametrize("reachable", [True, False])
@virtual_time
async def test_a_frontend_that_stops_tries_once_more(reachable: bool) -> None:
    cluster = cluster_of(3)
    blob_id = await put_that_fails(cluster)
    for peer in cluster.pool:
        peer.heal()
        if not reachable:
            peer.script(silent(), type=MessageType.UPDATE)
    began = asyncio.get_running_loop().time()
    with capture_logs() as logs:
        await cluster.context.discards.stop()
        assert asyncio.get_running_loop().time() - began <= discards.LAST_TRY_S
        for peer in cluster.pool:
            peer.break_connection("the frontend ends")
    named = [line["blob"] for line in logs if line["event"] == "a put that failed may stay"]
    assert named == ([] if reachable else [str(blob_id)])
    assert len(who_heard(cluster, blob_id)) == (3 if reachable else 0)
