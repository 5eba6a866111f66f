"""Reads of one record against peers that really store: whom they ask, whom they believe."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ambry.blob import BlobState
from ambry.errors import (
    AmbryError,
    BlobDeleted,
    BlobExpired,
    BlobNotFound,
    DataCorrupt,
    Unavailable,
)
from ambry.ids import BlobId, IdKind
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.blobs import GetReply
from frontend.router.get import open_blob
from frontend.router.quorum_read import Fetch, read_head
from frontend.router.replicas import in_order
from frontend.router.update import delete
from tests.support.content import content
from tests.support.fake_cluster import CHUNK, FakeCluster, changed, make_cluster, some_id, some_request
from tests.support.fake_peers import Fault, absent, corrupt, cut_short, fails, lost, silent, slow
from tests.support.virtual_loop import settle, virtual_time

WORLD = ((3, 3, 3),)
HEDGE_S = 0.25


def now() -> float:
    return asyncio.get_running_loop().time()


def asked(cluster: FakeCluster) -> list[str]:
    return [call.peer for call in cluster.pool.calls(MessageType.GET)]


def spread(cluster: FakeCluster, datacenters: tuple[int, ...] = (1, 2, 3)) -> None:
    """What replication does: every peer of these datacenters gets every record that anybody has."""
    for source in list(cluster.pool):
        for raw, known in list(source.records.items()):
            for peer in cluster.pool:
                if peer.node.datacenter_id in datacenters and known.put is not None:
                    peer.records.setdefault(raw, changed_copy(known))


def changed_copy(known: Any) -> Any:
    return type(known)(state=known.state, put=known.put, payload=known.payload)


def foreign(cluster: FakeCluster, blob_id: BlobId, origin: int) -> BlobId:
    """The same blob as if it came from another datacenter: its records go there and nowhere else."""
    moved = BlobId.make(
        kind=blob_id.kind,
        datacenter=origin,
        account=blob_id.account,
        container=blob_id.container,
        partition=blob_id.partition,
        uuid=blob_id.key,
    )
    known = next(peer.records[blob_id.raw] for peer in cluster.pool if blob_id.raw in peer.records)
    for peer in cluster.pool:
        peer.forget(blob_id.raw)
    for peer in cluster.peers(origin):
        peer.records[moved.raw] = changed_copy(known)
    return moved


async def made(body: bytes, replicas: Any = ((3,),), **options: Any) -> tuple[FakeCluster, BlobId]:
    cluster = make_cluster(replicas, **options)
    result = await cluster.put(body)
    await settle()
    cluster.pool.journal.clear()
    return cluster, result.id


# --- whom it asks ---


@virtual_time
async def test_one_well_local_replica_is_asked_and_nobody_else() -> None:
    for seed in range(20):
        cluster, blob_id = await made(b"hello", WORLD, seed=seed)
        assert await cluster.read(blob_id) == b"hello"
        assert len(asked(cluster)) == 1 and asked(cluster)[0].startswith("dc1")


@virtual_time
async def test_all_local_replicas_share_the_reads() -> None:
    cluster, blob_id = await made(b"hello", WORLD)
    for _ in range(60):
        await cluster.read(blob_id)
    assert {name: asked(cluster).count(name) > 8 for name in set(asked(cluster))} == {
        "dc1-n1": True,
        "dc1-n2": True,
        "dc1-n3": True,
    }


@virtual_time
async def test_a_blob_of_another_origin_is_looked_for_here_then_there_then_elsewhere() -> None:
    cluster, blob_id = await made(b"hello", WORLD)
    blob_id = foreign(cluster, blob_id, 3)
    for peer in cluster.peers(3):
        peer.script(lost())
    with pytest.raises(Unavailable):
        await cluster.read(blob_id)
    assert [name[:3] for name in asked(cluster)] == ["dc1"] * 3 + ["dc3"] * 3 + ["dc2"] * 3
    cluster.pool.journal.clear()
    for peer in cluster.peers(3):
        peer.heal()
    assert await cluster.read(blob_id) == b"hello"
    assert [name[:3] for name in asked(cluster)] == ["dc1"] * 3 + ["dc3"]


@virtual_time
async def test_an_unwell_replica_is_asked_after_its_siblings_and_before_the_other_datacenters() -> None:
    for seed in range(10):
        cluster, blob_id = await made(b"hello", WORLD, seed=seed)
        cluster.peer(2).well = False
        for number in (1, 3):
            cluster.peer(number).script(lost())
        assert await cluster.read(blob_id) == b"hello"
        assert len(asked(cluster)) == 3
        assert asked(cluster)[2] == "dc1-n2"


@virtual_time
async def test_a_silent_replica_holds_nobody_up_longer_than_the_hedge() -> None:
    cluster, blob_id = await made(b"hello", WORLD)
    names = ["dc1-n1", "dc1-n2", "dc1-n3"]
    for name in names[:2]:
        cluster.pool[name].script(silent())
    for _ in range(20):
        before, calls = now(), len(asked(cluster))
        assert await cluster.read(blob_id) == b"hello"
        count = len(asked(cluster)) - calls
        assert now() - before == pytest.approx((count - 1) * HEDGE_S, abs=0.01)
        for peer in cluster.pool:
            peer.health.record_probe(True)
    assert max(asked(cluster).count(name) for name in names) > 5


@virtual_time
async def test_the_slow_answer_still_counts_when_it_is_the_first_good_one() -> None:
    cluster, blob_id = await made(b"hello", ((2,),))
    first, second = cluster.peers()
    for peer in (first, second):
        peer.script(slow(0.4))
    assert await cluster.read(blob_id) == b"hello"
    assert now() == pytest.approx(0.4, abs=0.01)
    assert len(asked(cluster)) == 2


@virtual_time
async def test_who_was_asked_too_and_came_second_is_told_that_nobody_waits() -> None:
    """The slower one read its bytes and sent them, for nobody."""
    cluster, blob_id = await made(b"hello", ((2,),))
    for peer in cluster.peers():
        peer.script(slow(3.0), times=1)
    assert await cluster.read(blob_id) == b"hello"
    assert now() == pytest.approx(3.0, abs=0.01)
    first, second = (cluster.pool[name] for name in asked(cluster))
    assert (len(first.given_up), len(second.given_up)) == (0, 1)
    assert [peer.open_calls for peer in cluster.pool] == [0, 0]


@pytest.mark.parametrize("reading", ["the head", "the first bytes", "what is to change"])
@virtual_time
async def test_a_read_whose_task_is_cancelled_is_given_up_everywhere(reading: str) -> None:
    """Only chunks read ahead were: the replicas read and sent the head and the first bytes to nobody."""
    cluster, blob_id = await made(b"hello", ((2,),))
    for peer in cluster.peers():
        peer.script(silent())
    reads: dict[str, Callable[[], Awaitable[object]]] = {
        "the head": lambda: read_head(cluster.request(), cluster.context, blob_id),
        "the first bytes": lambda: open_blob(cluster.request(), cluster.context, blob_id, wanted=None),
        "what is to change": lambda: delete(cluster.request(), cluster.context, blob_id),
    }
    task = asyncio.ensure_future(reads[reading]())
    await asyncio.sleep(2 * HEDGE_S)
    assert len(asked(cluster)) == 2
    task.cancel()
    await settle()
    assert [len(peer.given_up) for peer in cluster.pool] == [1, 1]
    assert cluster.context.reading.budget.free == cluster.context.reading.budget.size


@virtual_time
async def test_after_an_answer_nobody_further_is_asked() -> None:
    cluster, blob_id = await made(b"hello", WORLD)
    await cluster.read(blob_id)
    await asyncio.sleep(30)
    assert len(asked(cluster)) == 1


@virtual_time
async def test_the_deadline_holds_over_all_replicas_together() -> None:
    cluster, blob_id = await made(b"hello", WORLD, request_timeout_ms=2000)
    for peer in cluster.pool:
        peer.script(silent())
    with pytest.raises(Unavailable, match="did not answer in time") as caught:
        await cluster.read(blob_id)
    assert not isinstance(caught.value, BlobNotFound)
    assert now() == pytest.approx(2.0, abs=0.1)


async def paused(cluster: FakeCluster, numbers: tuple[int, ...], *, noticed: bool) -> None:
    """Peers of the first datacenter that stop answering; `noticed` when probes have missed them already."""
    for number in numbers:
        cluster.peer(number).script(silent())
        cluster.peer(number).health.record_probe(not noticed)


async def ends_in(cluster: FakeCluster, blob_id: BlobId) -> tuple[type[AmbryError] | None, float]:
    """How a read ends, and after how many seconds."""
    began = now()
    try:
        await cluster.read(blob_id)
    except AmbryError as error:
        return type(error), now() - began
    return None, now() - began


@pytest.mark.parametrize("well", [1, 2, 3])
@virtual_time
async def test_with_two_of_three_suspect_every_answer_comes_within_two_seconds(well: int) -> None:
    """Once each of these waited ten seconds for replicas that answer nothing."""
    others = tuple({1, 2, 3} - {well})
    cluster, blob_id = await made(b"hello")
    await paused(cluster, others, noticed=True)
    assert await ends_in(cluster, blob_id) == (None, 0.0)
    unknown, seconds = await ends_in(cluster, some_id(7))
    assert unknown is Unavailable and seconds <= 2.0
    cluster.peer(well).learn(blob_id.raw, BlobState(0, True, 0))
    deleted, seconds = await ends_in(cluster, blob_id)
    assert deleted is BlobDeleted and seconds <= 2.0, "nobody who answers knows better"


@virtual_time
async def test_a_replica_that_gets_suspect_while_it_is_waited_for_is_given_up_then() -> None:
    cluster = make_cluster()
    await paused(cluster, (1, 2), noticed=False)
    reading = asyncio.create_task(ends_in(cluster, some_id()))
    await asyncio.sleep(3.0)
    await paused(cluster, (1, 2), noticed=True)
    error, seconds = await reading
    assert error is Unavailable
    assert 3.0 <= seconds <= 3.5


@virtual_time
async def test_a_suspect_replica_is_given_a_moment_and_believed_when_it_answers_in_it() -> None:
    cluster = make_cluster()
    for number in (1, 2):
        cluster.peer(number).well = False
        cluster.peer(number).script(slow(0.9))
    assert (await ends_in(cluster, some_id()))[0] is BlobNotFound, "the quorum counts, whoever is in it"


@virtual_time
async def test_a_slow_replica_that_answers_probes_is_waited_for() -> None:
    cluster = make_cluster()
    await paused(cluster, (1,), noticed=True)
    cluster.peer(2).script(slow(8.0))
    error, seconds = await ends_in(cluster, some_id())
    assert error is BlobNotFound
    assert seconds >= 8.0


@virtual_time
async def test_a_read_that_is_given_a_share_of_the_time_ends_with_it() -> None:
    cluster = make_cluster()
    for peer in cluster.pool:
        peer.script(silent())
    with pytest.raises(Unavailable):
        await Fetch(some_request(), cluster.context, some_id(), first=0, end=0, share=0.25).start()
    assert now() == pytest.approx(5.0, abs=0.01)


# --- whom it believes ---


@pytest.mark.parametrize(
    "fault", [corrupt(), cut_short(), cut_short(1 << 20), fails(DataCorrupt("bad block")), lost(), absent()]
)
@pytest.mark.parametrize("size", [1, 100, CHUNK])
@virtual_time
async def test_a_bad_answer_goes_to_the_next_replica(fault: Fault, size: int) -> None:
    body = content(1, size)
    for good in (1, 2, 3):
        cluster, blob_id = await made(body)
        for number in {1, 2, 3} - {good}:
            cluster.peer(number).script(fault)
        if fault.error is not None and isinstance(fault.error, BlobNotFound):
            continue
        for seed in range(3):
            cluster.context.random_source.seed(seed)
            assert await cluster.read(blob_id) == body


@virtual_time
async def test_a_body_from_the_wrong_place_is_refused() -> None:
    cluster, blob_id = await made(content(1, 3 * CHUNK), chunk_size_bytes=4 * CHUNK)

    def shifted(message: Any, body: bytes) -> tuple[Any, bytes]:
        assert isinstance(message, GetReply)
        return changed(message, start=message.start + 1), body

    for peer in cluster.pool:
        peer.script(Fault(change=shifted))
    with pytest.raises(Unavailable, match="asked for bytes"):
        await cluster.read(blob_id)


@virtual_time
async def test_who_sent_a_damaged_body_is_asked_again_to_verify_it_and_then_the_next_one() -> None:
    """A node sends what it has not verified. Asked to, it finds the damage and repairs it (decision 33)."""
    cluster, blob_id = await made(b"hello")
    assert await cluster.read(blob_id) == b"hello"
    first = asked(cluster)[0]
    cluster.pool.journal.clear()
    bad = next(peer for peer in cluster.pool if peer.node.name == first)
    bad.script(corrupt(), times=1)
    bad.script(fails(DataCorrupt("bad block")))
    for seed in range(30):
        cluster.context.random_source.seed(seed)
        assert await cluster.read(blob_id) == b"hello"
        calls = [(call.peer == first, call.message.unchecked) for call in cluster.pool.calls(MessageType.GET)]
        if calls[0][0]:
            assert calls == [(True, True), (True, False), (False, False)]
            return
        cluster.pool.journal.clear()
    raise AssertionError("it was never asked first")


@virtual_time
async def test_a_body_that_was_damaged_on_its_way_is_sent_again() -> None:
    cluster, blob_id = await made(b"hello")
    for peer in cluster.pool:
        peer.script(corrupt(), times=1)
    assert await cluster.read(blob_id) == b"hello"
    calls = cluster.pool.calls(MessageType.GET)
    assert [call.message.unchecked for call in calls] == [True, False]
    assert len({call.peer for call in calls}) == 1


@virtual_time
async def test_each_of_two_that_sent_damaged_bodies_is_asked_again_to_verify_them() -> None:
    """Of two that were asked at a time only the first was: the damage of the other one was not found."""
    cluster, blob_id = await made(b"hello")
    until = asyncio.Event()
    for peer in cluster.pool:
        peer.script(Fault(corrupt=True, until=until), times=1)
    reading = asyncio.ensure_future(cluster.read(blob_id))
    await asyncio.sleep(5)
    assert len(cluster.pool.calls(MessageType.GET)) == 3
    for peer in cluster.pool:
        peer.script(fails(DataCorrupt("bad block")))
    until.set()
    with pytest.raises(Unavailable, match="bad block"):
        await reading
    verified = [call.peer for call in cluster.pool.calls(MessageType.GET) if not call.message.unchecked]
    assert sorted(verified) == sorted(peer.node.name for peer in cluster.pool)


@virtual_time
async def test_all_copies_corrupt_is_unavailable_and_never_not_found() -> None:
    cluster, blob_id = await made(b"hello", WORLD)
    spread(cluster)
    for peer in cluster.pool:
        peer.script(fails(DataCorrupt("bad block")))
    with pytest.raises(Unavailable) as caught:
        await cluster.read(blob_id)
    assert caught.value.retriable and "bad block" in caught.value.message


@virtual_time
async def test_two_local_copies_corrupt_the_other_datacenter_serves() -> None:
    cluster, blob_id = await made(b"hello", WORLD)
    spread(cluster, (1, 2))
    for peer in cluster.peers(1):
        peer.script(corrupt())
    assert await cluster.read(blob_id) == b"hello"


# --- 404, 410, 503 ---


@virtual_time
async def test_404_needs_two_local_replicas_that_have_the_authority() -> None:
    cluster = make_cluster(WORLD)
    with pytest.raises(BlobNotFound) as caught:
        await cluster.read(some_id())
    assert type(caught.value) is BlobNotFound
    assert len(asked(cluster)) == 2
    cluster.peer(1).serving = False
    with pytest.raises(BlobNotFound):
        await cluster.read(some_id())
    cluster.peer(2).serving = False
    with pytest.raises(Unavailable):
        await cluster.read(some_id())


@pytest.mark.parametrize("reachable", [0, 1, 2, 3])
@virtual_time
async def test_404_of_a_foreign_blob_needs_its_origin(reachable: int) -> None:
    cluster = make_cluster(WORLD)
    for number in range(reachable + 1, 4):
        cluster.peer(number, 2).connected = False
    with pytest.raises(BlobNotFound if reachable >= 2 else Unavailable):
        await cluster.read(some_id(datacenter=2))


@virtual_time
async def test_a_foreign_partition_of_which_neither_we_nor_the_origin_hold_a_replica_is_never_404() -> None:
    cluster = make_cluster(((0, 0, 3), (3, 3, 3)))
    for peer in cluster.peers(3):
        peer.connected = False
    with pytest.raises(Unavailable):
        await cluster.read(some_id(datacenter=2))


@virtual_time
async def test_a_partition_that_the_layout_lacks_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="not in this frontend's layout"):
        await make_cluster().read(some_id(partition=99))


@virtual_time
async def test_gone_needs_two_and_a_living_answer_beats_one_stale_deletion() -> None:
    for stale in (1, 2, 3):
        cluster, blob_id = await made(b"hello")
        cluster.peer(stale).learn(blob_id.raw, BlobState(0, True, 0))
        others = [peer for peer in cluster.pool if peer is not cluster.peer(stale)]
        for peer in others:
            peer.learn(blob_id.raw, BlobState(1, False, 0))
        for _ in range(8):
            assert await cluster.read(blob_id) == b"hello"


@pytest.mark.parametrize("knows", [(1, 2), (1, 3), (2, 3), (1, 2, 3)])
@virtual_time
async def test_a_deleted_blob_is_410_once_one_of_them_was_heard_first(knows: tuple[int, ...]) -> None:
    cluster, blob_id = await made(b"hello")
    for number in knows:
        cluster.peer(number).learn(blob_id.raw, BlobState(0, True, 0))
    outcomes: set[str] = set()
    for _ in range(12):
        try:
            await cluster.read(blob_id)
            outcomes.add("read")
        except BlobDeleted:
            outcomes.add("deleted")
    assert outcomes == ({"deleted"} if len(knows) == 3 else {"deleted", "read"})
    assert await cluster.read(blob_id, any_state=True) == b"hello"


@virtual_time
async def test_a_living_answer_does_not_count_after_a_deletion_of_the_same_life_was_heard() -> None:
    cluster, blob_id = await made(b"hello")
    cluster.peer(1).learn(blob_id.raw, BlobState(0, True, 0))
    for number in (2, 3):
        cluster.peer(number).well = False
    with pytest.raises(BlobDeleted):
        await cluster.read(blob_id)
    assert asked(cluster)[0] == "dc1-n1" and len(asked(cluster)) == 2


@virtual_time
async def test_an_expired_blob_is_410_and_a_longer_life_known_elsewhere_is_200() -> None:
    cluster = make_cluster()
    result = await cluster.put(b"hello", expires_at_ms=1_700_000_000_000)
    await settle()
    with pytest.raises(BlobExpired):
        await cluster.read(result.id)
    for number in (2, 3):
        cluster.peer(number).learn(result.id.raw, BlobState(0, False, 1_800_000_000_000))
    for _ in range(8):
        assert await cluster.read(result.id) == b"hello"


@virtual_time
async def test_a_record_of_which_only_the_state_is_known_cannot_be_read_and_is_no_bug() -> None:
    """Once this was a 500: the empty head was decoded."""
    cluster = make_cluster()
    blob_id = some_id()
    for peer in cluster.pool:
        peer.learn(blob_id.raw, BlobState(0, True, 0))
    for kind in (IdKind.SIMPLE, IdKind.COMPOSITE):
        blob_id = some_id(kind=kind)
        for peer in cluster.pool:
            peer.learn(blob_id.raw, BlobState(0, True, 0))
        with pytest.raises(Unavailable, match="only its state is known"):
            await cluster.read(blob_id, any_state=True)
        with pytest.raises(Unavailable, match="only its state is known"):
            await read_head(some_request(), cluster.context, blob_id, any_state=True)
        with pytest.raises(BlobDeleted):
            await cluster.read(blob_id)


def test_replicas_are_asked_nearest_first_and_the_well_ones_of_each_distance_before_the_others() -> None:
    cluster = make_cluster(((3, 2, 2),))
    cluster.peer(2).well = False
    cluster.peer(1, 3).connected = False
    source = random.Random(1)
    seen: set[tuple[str, ...]] = set()
    for _ in range(200):
        order = in_order(cluster.context.replicas[0], own=1, origin=3, source=source)
        names = [each.replica.node.name for each in order]
        assert [each.datacenter_id for each in order] == [1, 1, 1, 3, 3, 2, 2]
        assert names[2] == "dc1-n2"
        assert names[3:5] == ["dc3-n2", "dc3-n1"]
        assert sorted(names) == sorted(node.name for node in cluster.context.map.partitions[0].replicas)
        seen.add(tuple(names))
    assert len(seen) == 4, "the well ones of a datacenter take turns"
