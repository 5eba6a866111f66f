from __future__ import annotations

import asyncio
import gc
import weakref
from itertools import combinations

import pytest

from ambry.blob import NEVER_MS, BlobProperties, BlobState
from ambry.checksum import block_checks, digest
from ambry.errors import InsufficientStorage, InternalError, QuorumNotReached, ReplicaUnavailable
from ambry.format.properties import encode_properties
from ambry.format.record import RecordKind
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages.blobs import PutRequest, UpdateRequest
from frontend.router.quorum_write import Confirmed, ReplicaWrite, Unconfirmed, WriteOutcome, write_persistently
from tests.support.fake_cluster import FakeCluster, make_cluster, some_id, some_request
from tests.support.fake_peers import fails, held, lost, silent, slow
from tests.support.virtual_loop import settle, virtual_time

BODY = b"0123456789" * 1000
ID = some_id()


async def write(cluster: FakeCluster, *, geo: bool = False, timeout_s: float = 5.0) -> list[Frame]:
    """The replies of those that confirmed. Raises what the user would be told."""
    return told(await start(cluster, geo=geo, timeout_s=timeout_s))


def told(outcome: WriteOutcome) -> list[Frame]:
    if isinstance(outcome, Confirmed):
        return outcome.replies
    raise outcome.error


def start(cluster: FakeCluster, *, geo: bool = False, timeout_s: float = 5.0) -> asyncio.Future[WriteOutcome]:
    return write_of(cluster, geo=geo, timeout_s=timeout_s).start()


def write_of(cluster: FakeCluster, *, geo: bool = False, timeout_s: float = 5.0) -> ReplicaWrite:
    properties = encode_properties(BlobProperties(size=len(BODY), digest=digest(BODY)))
    return ReplicaWrite(
        some_request(timeout_s=timeout_s),
        cluster.context.replicas[0],
        overdue=cluster.context.silences,
        type=MessageType.PUT,
        message=PutRequest("r", ID.raw, RecordKind.BLOB, 1, NEVER_MS, properties, b"", digest(BODY), True),
        body=BODY,
        checks=block_checks(BODY),
        geo=geo,
    )


def now() -> float:
    return asyncio.get_running_loop().time()


@virtual_time
async def test_two_of_three_are_enough_and_the_slow_third_still_gets_its_copy() -> None:
    cluster = make_cluster()
    cluster.peer(2).script(slow(3.0))
    replies = await write(cluster)
    assert len(replies) == 2
    assert now() < 1.0
    assert ID.raw not in cluster.peer(2).records
    await asyncio.sleep(3.1)
    assert cluster.peer(2).records[ID.raw].payload == BODY


@pytest.mark.parametrize("bad", [[1], [2], [3], [1, 2], [1, 3], [2, 3], [1, 2, 3]])
@pytest.mark.parametrize("how", ["refused", "lost", "silent", "not connected"])
@virtual_time
async def test_a_write_succeeds_exactly_when_two_confirm(bad: list[int], how: str) -> None:
    cluster = make_cluster()
    for number in bad:
        peer = cluster.peer(number)
        if how == "not connected":
            peer.connected = False
        else:
            peer.script({"refused": fails(ReplicaUnavailable("fenced")), "lost": lost(), "silent": silent()}[how])
    if len(bad) < 2:
        assert len(await write(cluster)) == 2
        assert sum(ID.raw in peer.records for peer in cluster.pool) == 2
        return
    with pytest.raises(QuorumNotReached) as caught:
        await write(cluster)
    assert sum(f"dc1-n{number}:" in caught.value.message for number in bad) == 2, "who failed, and nobody else"
    assert caught.value.message.count("dc1-n") == 2, (
        "each once; it was `dc1-n1: dc1-n1 (127.0.0.1:6670) is not connected`"
    )
    assert "may or may not have happened" in caught.value.message
    assert now() == pytest.approx(5.0 if how == "silent" else 0.0, abs=0.01)


@virtual_time
async def test_a_failure_is_known_as_soon_as_the_target_is_out_of_reach() -> None:
    cluster = make_cluster()
    cluster.peer(1).script(slow(4.0))
    for number in (2, 3):
        cluster.peer(number).script(fails(ReplicaUnavailable("fenced"), delay_s=1.0))
    with pytest.raises(QuorumNotReached):
        await write(cluster)
    assert now() == pytest.approx(1.0, abs=0.01)


@virtual_time
async def test_one_full_disk_is_borne_and_two_are_no_room() -> None:
    cluster = make_cluster()
    cluster.peer(1).script(fails(InsufficientStorage("disk full")))
    assert len(await write(cluster)) == 2
    cluster.peer(3).script(fails(InsufficientStorage("disk full")))
    with pytest.raises(InsufficientStorage, match="partition 0 has no room"):
        await write(cluster)


@virtual_time
async def test_other_refusals_are_a_missing_quorum_whatever_they_say() -> None:
    cluster = make_cluster()
    for number in (1, 2):
        cluster.peer(number).script(fails(InternalError("a bug over there")))
    with pytest.raises(QuorumNotReached, match="a bug over there"):
        await write(cluster)


# --- geo ---

LOCAL_AND_REMOTE = ((3, 2),)


@virtual_time
async def test_without_geo_nothing_is_sent_to_another_datacenter() -> None:
    cluster = make_cluster(LOCAL_AND_REMOTE)
    await write(cluster)
    await settle()
    assert {call.peer for call in cluster.pool.journal} == {"dc1-n1", "dc1-n2", "dc1-n3"}


@virtual_time
async def test_geo_waits_for_a_remote_copy_after_the_local_ones() -> None:
    cluster = make_cluster(LOCAL_AND_REMOTE)
    for peer in cluster.peers(2):
        peer.script(slow(2.0))
    await write(cluster, geo=True)
    assert now() == pytest.approx(2.0, abs=0.01)
    assert sum(ID.raw in peer.records for peer in cluster.peers(2)) == 1


@virtual_time
async def test_geo_goes_to_the_next_remote_when_one_fails_and_asks_the_well_one_first() -> None:
    cluster = make_cluster(LOCAL_AND_REMOTE)
    cluster.peer(1, 2).script(fails(ReplicaUnavailable("fenced")))
    await write(cluster, geo=True)
    assert [call.peer for call in cluster.pool.journal if "dc2" in call.peer] == ["dc2-n1", "dc2-n2"]
    cluster = make_cluster(LOCAL_AND_REMOTE)
    cluster.peer(1, 2).well = False
    await write(cluster, geo=True)
    assert [call.peer for call in cluster.pool.journal if "dc2" in call.peer] == ["dc2-n2"]


@virtual_time
async def test_geo_never_degrades() -> None:
    for broken in (cluster_without_remote(), cluster_with_dead_remote()):
        with pytest.raises(QuorumNotReached):
            await write(broken, geo=True)
    cluster = make_cluster(LOCAL_AND_REMOTE)
    for number in (1, 2):
        cluster.peer(number).script(lost())
    with pytest.raises(QuorumNotReached):
        await write(cluster, geo=True)


def cluster_without_remote() -> FakeCluster:
    return make_cluster(((3,),))


def cluster_with_dead_remote() -> FakeCluster:
    cluster = make_cluster(LOCAL_AND_REMOTE)
    for peer in cluster.peers(2):
        peer.connected = False
    return cluster


@virtual_time
async def test_a_partition_without_a_replica_here_confirms_nothing() -> None:
    """Once such a write was done before it was sent: its target was none of none."""
    cluster = make_cluster(((0, 3),))
    with pytest.raises(QuorumNotReached, match="no replica in this datacenter"):
        await write(cluster)


# --- cancellation and late answers ---


@virtual_time
async def test_a_cancelled_write_sends_nothing_further_and_takes_late_answers() -> None:
    cluster = make_cluster(LOCAL_AND_REMOTE)
    release = asyncio.Event()
    for peer in cluster.peers(1):
        peer.script(held(release))
    cluster.peer(1, 2).script(fails(ReplicaUnavailable("fenced"), delay_s=1.0))
    task = asyncio.ensure_future(write(cluster, geo=True))
    await settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    release.set()
    await asyncio.sleep(10)
    assert "dc2-n2" not in {call.peer for call in cluster.pool.journal}
    assert all(peer.open_calls == 0 for peer in cluster.pool)


@pytest.mark.parametrize("answers", [True, False])
@virtual_time
async def test_a_cancelled_write_ends_and_is_held_by_nobody(answers: bool) -> None:
    """Once it looked after its replicas four times a second for ever, and kept its body: an upload that was broken off left its
    chunks in memory, charged to nobody."""
    cluster = make_cluster()
    for peer in cluster.pool:
        peer.script(slow(0.5) if answers else silent())
    operation = write_of(cluster)
    held = weakref.ref(operation)
    future = operation.start()
    del operation
    await asyncio.sleep(0.1)
    future.cancel()
    await asyncio.sleep(1.0 if answers else 5.5)
    del future
    await settle()
    gc.collect()
    assert held() is None


@pytest.mark.parametrize("target", [1, 2, 3])
@virtual_time
async def test_the_configured_target_is_what_counts(target: int) -> None:
    for well in (chosen for size in range(4) for chosen in combinations((1, 2, 3), size)):
        cluster = make_cluster(success_target=target)
        for number in {1, 2, 3} - set(well):
            cluster.peer(number).script(lost())
        if len(well) >= target:
            await write(cluster)
        else:
            with pytest.raises(QuorumNotReached):
                await write(cluster)


# --- patience ---


async def patient_write(cluster: FakeCluster) -> list[Frame]:
    write = ReplicaWrite(
        some_request(timeout_s=5.0),
        cluster.context.replicas[0],
        overdue=cluster.context.silences,
        type=MessageType.UPDATE,
        message=UpdateRequest("r", ID.raw, BlobState(0, True, 0), 1),
        patience_s=0.25,
    )
    return told(await write.start())


@pytest.mark.parametrize(("third_takes_s", "replies", "ends_at"), [(0.0, 3, 0.0), (0.2, 3, 0.2), (0.3, 2, 0.25)])
@virtual_time
async def test_a_patient_write_waits_for_a_well_third_replica_but_not_for_long(
    third_takes_s: float, replies: int, ends_at: float
) -> None:
    cluster = make_cluster()
    cluster.peer(2).script(slow(third_takes_s))
    assert len(await patient_write(cluster)) == replies
    assert now() == pytest.approx(ends_at, abs=0.01)


@pytest.mark.parametrize("harm", ["connected", "well"])
@virtual_time
async def test_patience_is_only_for_those_that_are_well_and_never_makes_a_failure_wait(harm: str) -> None:
    cluster = make_cluster()
    setattr(cluster.peer(3), harm, False)
    cluster.peer(3).script(silent())
    assert len(await patient_write(cluster)) == 2
    assert now() == pytest.approx(0, abs=0.01)
    cluster.peer(1).script(lost())
    cluster.peer(2).script(lost())
    with pytest.raises(QuorumNotReached):
        await patient_write(cluster)
    assert now() == pytest.approx(0, abs=0.01)


# --- replicas that do not answer ---


@pytest.mark.parametrize("well", [1, 2, 3])
@virtual_time
async def test_a_write_that_needs_a_suspect_replica_does_not_wait_for_it_for_long(well: int) -> None:
    """Once it waited its whole ten seconds, and was then tried again."""
    cluster = make_cluster()
    for number in {1, 2, 3} - {well}:
        cluster.peer(number).well = False
        cluster.peer(number).script(silent())
    outcome = await start(cluster, timeout_s=20.0)
    assert isinstance(outcome, Unconfirmed) and outcome.silence
    assert isinstance(outcome.error, QuorumNotReached)
    assert "may or may not have happened" in outcome.error.message
    assert outcome.error.message.count("does not answer") == 2
    assert now() == pytest.approx(1.0, abs=0.01)


@virtual_time
async def test_a_replica_that_gets_suspect_while_it_is_waited_for_is_given_up_then() -> None:
    cluster = make_cluster()
    for number in (1, 2):
        cluster.peer(number).script(silent())
    task = asyncio.ensure_future(start(cluster, timeout_s=20.0))
    await asyncio.sleep(3.0)
    for number in (1, 2):
        cluster.peer(number).health.record_probe(False)
    assert isinstance(await task, Unconfirmed)
    assert 3.0 <= now() <= 3.3


@virtual_time
async def test_a_suspect_replica_that_answers_in_time_counts() -> None:
    cluster = make_cluster()
    cluster.peer(1).script(lost())
    cluster.peer(2).well = False
    cluster.peer(2).script(slow(0.9))
    assert len(await write(cluster)) == 2


@virtual_time
async def test_a_slow_replica_that_answers_probes_is_waited_for_beside_a_suspect_one() -> None:
    """A slow disk is no silence."""
    cluster = make_cluster()
    cluster.peer(1).script(slow(4.5))
    cluster.peer(2).well = False
    cluster.peer(2).script(silent())
    assert len(await write(cluster)) == 2
    assert now() == pytest.approx(4.5, abs=0.01)


@virtual_time
async def test_geo_asks_the_next_remote_when_one_turns_out_to_be_suspect() -> None:
    cluster = make_cluster(LOCAL_AND_REMOTE)
    for number in (1, 2):
        cluster.peer(number, 2).well = False
    cluster.peer(1, 2).script(silent())
    await write(cluster, geo=True, timeout_s=20.0)
    assert now() == pytest.approx(1.0, abs=0.01)


# --- again and again ---


async def persistently(cluster: FakeCluster, timeout_s: float = 20.0) -> list[Frame]:
    request = some_request(timeout_s=timeout_s)
    return await write_persistently(
        request, lambda: write_of(cluster, timeout_s=request.left_s()), attempts=cluster.context.config.put_attempts
    )


@virtual_time
async def test_a_repeatable_write_is_repeated_while_nodes_restart() -> None:
    cluster = make_cluster()
    for number in (1, 2):
        cluster.peer(number).script(lost(), times=2)
    assert len(await persistently(cluster)) >= 2
    assert now() == pytest.approx(0.45, abs=0.01)


@virtual_time
async def test_a_repeatable_write_is_not_repeated_to_replicas_that_do_not_answer() -> None:
    """Once three rounds of ten seconds: they have it in their sockets, a second copy tells them nothing."""
    cluster = make_cluster()
    for number in (1, 2):
        cluster.peer(number).well = False
        cluster.peer(number).script(silent())
    with pytest.raises(QuorumNotReached):
        await persistently(cluster)
    assert now() == pytest.approx(1.0, abs=0.01)
    assert len(cluster.pool.journal) == 3


@pytest.mark.parametrize("silent_ones", [1, 2, 3])
@virtual_time
async def test_a_repeatable_write_ends_with_the_deadline(silent_ones: int) -> None:
    cluster = make_cluster()
    for number in (1, 2, 3):
        cluster.peer(number).script(silent() if number <= silent_ones else lost(), type=MessageType.PUT)
    with pytest.raises(QuorumNotReached):
        await persistently(cluster, timeout_s=6.0)
    assert now() <= 6.0 + 0.01
