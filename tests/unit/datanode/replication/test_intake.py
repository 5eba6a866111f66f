"""Getting blobs from peers: verified, with the joined state, durable, and each once."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import cast

import msgspec
import pytest

from ambry.blob import NEVER_MS, BlobState, DatedState
from ambry.checksum import BLOCK_SIZE, block_checks
from ambry.errors import FormatUnknown, PeerConnectionLost, ReplicaFenced
from ambry.format import record as record_format
from ambry.network.pool import Peer
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.replication import FetchReply, FetchRequest
from datanode.replication import intake as module
from datanode.replication.intake import Intake
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.gate import Gate
from tests.support.later_release import FEATURES, MEANINGS, Change, as_later
from tests.support.samples import ALIVE, DELETED, PARTITION, blob_id, content, put_record, update_record

ID = blob_id(1)
LATER = BlobState(0, False, NEVER_MS)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[DirectCluster]:
    made = DirectCluster(tmp_path, cluster_map(3))
    await made.start()
    yield made
    await made.stop()


def intake_of(node: DirectNode, *, fetch_bytes_max: int = 1 << 20) -> Intake:
    return Intake(certain_retention=node.parts.clocks.certain_retention, fetch_bytes_max=fetch_bytes_max, timeout_s=5.0)


async def fetch(intake: Intake, node: DirectNode, source: str, *ids: bytes, state: BlobState = ALIVE) -> set[bytes]:
    return await intake.fetch(node.replica, cast(Peer, node.peers[source]), dict.fromkeys(ids, DatedState(state)))


def rewrite(change: Callable[[FetchReply, bytes], tuple[FetchReply, bytes]]) -> Callable[[int, Frame], Frame]:
    """Tamper with the answers to fetches."""

    def tamper(type: int, frame: Frame) -> Frame:
        if type != MessageType.FETCH:
            return frame
        reply, body = change(messages.decode(frame.header, FetchReply), bytes(frame.body))
        return msgspec.structs.replace(frame, header=messages.encode(reply), body=body, checks=block_checks(body))

    return tamper


async def test_blobs_are_here_and_durable_when_fetch_returns(cluster: DirectCluster) -> None:
    giver, taker = cluster["a1"], cluster["a2"]
    for number in range(1, 6):
        await giver.put(blob_id(number), content(number, 3000))
    ids = [blob_id(number) for number in range(1, 6)]
    assert await fetch(intake_of(taker, fetch_bytes_max=7000), taker, "a1", *ids) == set()
    assert len([asked for asked in taker.peers["a1"].asked if isinstance(asked, FetchRequest)]) == 3
    await taker.power_cut(1)
    await taker.start()
    for number in range(1, 6):
        assert (await taker.get(blob_id(number), any_state=True))[1] == content(number, 3000)


async def test_a_fetched_record_carries_the_joined_state(cluster: DirectCluster) -> None:
    giver, taker = cluster["a1"], cluster["a2"]
    await giver.put(ID, b"x", state=BlobState(0, False, 500))
    assert await fetch(intake_of(taker), taker, "a1", ID, state=BlobState(2, False, 900)) == set()
    assert taker.state(ID) == BlobState(2, False, 900)
    assert taker.replica.store.end_lsn > 0


async def test_what_a_peer_does_not_have_is_said(cluster: DirectCluster) -> None:
    giver, taker = cluster["a1"], cluster["a2"]
    await giver.put(ID, b"x")
    assert await fetch(intake_of(taker), taker, "a1", blob_id(2), ID, blob_id(3)) == {blob_id(2), blob_id(3)}
    assert taker.holds(ID)


async def test_a_corrupt_answer_is_rejected_and_speaks_against_the_peer(cluster: DirectCluster) -> None:
    giver, taker = cluster["a1"], cluster["a2"]
    for number in (1, 2, 3):
        await giver.put(blob_id(number), content(number, 1000))

    def damage(reply: FetchReply, body: bytes) -> tuple[FetchReply, bytes]:
        # Whatever comes first is damaged on the way, in its payload.
        return reply, body[:500] + bytes([body[500] ^ 1]) + body[501:]

    peer = taker.peers["a1"]
    peer.tamper = rewrite(damage)
    assert await fetch(intake_of(taker), taker, "a1", blob_id(1), blob_id(2), blob_id(3)) == {blob_id(1)}
    assert not taker.holds(blob_id(1))
    assert taker.holds(blob_id(2))
    assert taker.holds(blob_id(3))
    for _ in range(3):
        await fetch(intake_of(taker), taker, "a1", blob_id(1))
    assert not peer.health.well


@pytest.mark.parametrize(
    "change",
    [
        lambda reply, body: (FetchReply([], []), b""),
        lambda reply, body: (FetchReply([0], []), b""),
        lambda reply, body: (FetchReply([len(body) // 2], []), body),
        lambda reply, body: (FetchReply([len(body)], []), body[:-100]),
        lambda reply, body: (FetchReply([len(body) - 50, 50], []), body),
        # Another blob than was asked for, whole and right in itself.
        lambda reply, body: (FetchReply([136], []), record_format.encode(put_record(blob_id(9), b"x"), 64)),
        # The right blob, but no bytes of it.
        lambda reply, body: (FetchReply([128], []), record_format.encode(update_record(ID, ALIVE), 64)),
    ],
)
async def test_an_answer_that_makes_no_sense_brings_nothing(
    cluster: DirectCluster, change: Callable[[FetchReply, bytes], tuple[FetchReply, bytes]]
) -> None:
    giver, taker = cluster["a1"], cluster["a2"]
    await giver.put(ID, content(1, 1000))
    taker.peers["a1"].tamper = rewrite(change)
    assert await fetch(intake_of(taker), taker, "a1", ID) == {ID}
    assert not taker.holds(ID)
    assert taker.replica.store.end_lsn == 0


def as_if_later(change: Change) -> Callable[[FetchReply, bytes], tuple[FetchReply, bytes]]:
    """Whatever comes first was written by a later release."""

    def rewritten(reply: FetchReply, body: bytes) -> tuple[FetchReply, bytes]:
        first = reply.sizes[0]
        return reply, as_later(body[:first], 0, **change) + body[first:]

    return rewritten


@pytest.mark.parametrize("change", MEANINGS)
async def test_a_record_of_a_later_release_is_not_taken_and_holds_up_no_other(
    cluster: DirectCluster, change: Change
) -> None:
    """It ended the whole fetch, so a single one kept everything behind it from ever coming."""
    giver, taker = cluster["a1"], cluster["a2"]
    for number in (1, 2, 3):
        await giver.put(blob_id(number), content(number, 1000))
    peer = taker.peers["a1"]
    peer.tamper = rewrite(as_if_later(change))
    assert await fetch(intake_of(taker), taker, "a1", blob_id(1), blob_id(2), blob_id(3)) == {blob_id(1)}
    assert [taker.holds(blob_id(number)) for number in (1, 2, 3)] == [False, True, True]
    for _ in range(5):
        await fetch(intake_of(taker), taker, "a1", blob_id(1))
    assert peer.health.well


@pytest.mark.parametrize("change", FEATURES)
async def test_a_payload_of_a_later_release_is_replicated_and_not_served(
    cluster: DirectCluster, change: Change
) -> None:
    """So a blob has all its copies while a cluster is being upgraded."""
    giver, taker = cluster["a1"], cluster["a2"]
    await giver.put(ID, content(1, 1000))
    taker.peers["a1"].tamper = rewrite(as_if_later(change))
    assert await fetch(intake_of(taker), taker, "a1", ID, state=BlobState(0, False, 900)) == set()
    with pytest.raises(FormatUnknown, match=f"features {change['features']:#06x}"):
        await taker.get(ID)
    third = cluster["a3"]
    assert await fetch(intake_of(third), third, "a2", ID) == set()
    with pytest.raises(FormatUnknown):
        await third.get(ID)
    store = third.replica.store
    entry = store.lookup(ID)
    assert entry is not None
    record = record_format.decode(store.read_image(entry))
    assert (record.features, bytes(record.payload)) == (change["features"], content(1, 1000))


async def test_the_tags_of_an_encrypted_payload_come_along(cluster: DirectCluster) -> None:
    giver, taker = cluster["a1"], cluster["a2"]
    data = content(1, 3 * BLOCK_SIZE + 5)
    await giver.put(ID, data)
    tags = content(2, 4 * 16)

    def sealed(_reply: FetchReply, body: bytes) -> tuple[FetchReply, bytes]:
        record = msgspec.structs.replace(record_format.decode(body), features=1, tag_size=16, tags=tags)
        image = record_format.encode(record, 64)
        return FetchReply([len(image)], []), image

    taker.peers["a1"].tamper = rewrite(sealed)
    assert await fetch(intake_of(taker), taker, "a1", ID) == set()
    await taker.power_cut(1)
    await taker.start()
    reply = await taker.get(ID, BLOCK_SIZE, 2 * BLOCK_SIZE, any_state=True)
    assert reply is not None  # as it is stored: whoever asked opens it
    entry = taker.replica.store.lookup(ID)
    assert entry is not None
    record = record_format.decode(taker.replica.store.read_image(entry))
    assert (record.tag_size, bytes(record.tags), bytes(record.payload)) == (16, tags, data)


async def test_a_peer_that_is_away_is_an_error_and_leaves_nothing_behind(cluster: DirectCluster) -> None:
    giver, taker = cluster["a1"], cluster["a2"]
    await giver.put(ID, b"x")
    intake = intake_of(taker)
    taker.peers["a1"].reachable = False
    with pytest.raises(PeerConnectionLost):
        await fetch(intake, taker, "a1", ID)
    taker.peers["a1"].reachable = True
    assert await fetch(intake, taker, "a1", ID) == set()


async def test_a_blob_is_fetched_once_however_many_ask(cluster: DirectCluster) -> None:
    for name in ("a1", "a2"):
        await cluster[name].put(ID, content(1, 1000))
    taker = cluster["a3"]
    intake = intake_of(taker)
    with Gate(taker.files, "pwritev", name=".segment") as gate:
        first = asyncio.ensure_future(fetch(intake, taker, "a1", ID))
        await gate.arrived.wait()
        second = asyncio.ensure_future(fetch(intake, taker, "a2", ID))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not second.done()
        gate.open()
        assert (await first, await second) == (set(), set())
    assert taker.peers["a2"].asked in ([], [FetchRequest(PARTITION, [], 1 << 20)])


@pytest.mark.parametrize("state", [BlobState(0, False, NEVER_MS), BlobState(1, False, 5), BlobState(0, True, 5)])
async def test_a_state_is_not_lost_when_another_peer_s_copy_came_first(
    cluster: DirectCluster, state: BlobState
) -> None:
    """The second asker waited for the first one's copy and found the blob here; what its own peer knew of the state, the new
    life or the longer time to live, was dropped although the cursor moved on."""
    for name in ("a1", "a2"):
        await cluster[name].put(ID, content(1, 1000), state=BlobState(0, False, 5))
    taker = cluster["a3"]
    intake = intake_of(taker)
    with Gate(taker.files, "pwritev", name=".segment") as gate:
        first = asyncio.ensure_future(fetch(intake, taker, "a1", ID, state=BlobState(0, False, 5)))
        await gate.arrived.wait()
        second = asyncio.ensure_future(fetch(intake, taker, "a2", ID, state=state))
        for _ in range(5):
            await asyncio.sleep(0)
        gate.open()
        assert (await first, await second) == (set(), set())
    assert taker.state(ID) == BlobState(state.life_version, state.deleted, state.expires_at_ms)


async def test_whoever_waited_for_a_fetch_that_failed_is_told(cluster: DirectCluster) -> None:
    await cluster["a1"].put(ID, content(1, 1000))
    taker = cluster["a3"]
    intake = intake_of(taker)
    arrived, go_on = asyncio.Event(), asyncio.Event()
    ask = taker.peers["a1"].request

    async def slow(type: int, message: messages.Message, *, timeout_s: float) -> Frame:
        arrived.set()
        await go_on.wait()
        raise PeerConnectionLost("gone meanwhile")

    taker.peers["a1"].request = slow  # type: ignore[method-assign]
    first = asyncio.ensure_future(fetch(intake, taker, "a1", ID))
    await arrived.wait()
    second = asyncio.ensure_future(fetch(intake, taker, "a2", ID))
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(PeerConnectionLost):
        await first
    assert await second == {ID}
    taker.peers["a1"].request = ask  # type: ignore[method-assign]


async def test_a_cancelled_fetch_frees_the_blob_for_the_next(cluster: DirectCluster) -> None:
    await cluster["a1"].put(ID, content(1, 1000))
    taker = cluster["a2"]
    intake = intake_of(taker)
    with Gate(taker.files, "pwritev", name=".segment") as gate:
        task = asyncio.ensure_future(fetch(intake, taker, "a1", ID))
        await gate.arrived.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        gate.open()
    await taker.replica.committer.wait_idle()
    assert taker.holds(ID), "what was on its way is kept"
    assert await fetch(intake, taker, "a1", ID) == set()


async def test_what_cannot_be_written_is_an_error(cluster: DirectCluster) -> None:
    giver, taker = cluster["a1"], cluster["a2"]
    await giver.put(ID, b"x")
    taker.files.fail("fdatasync", errno.EIO)
    with pytest.raises(ReplicaFenced):
        await fetch(intake_of(taker), taker, "a1", ID)
    with pytest.raises(ReplicaFenced):
        await intake_of(taker).merge(taker.replica, ID, DatedState(DELETED))


async def test_a_full_write_queue_is_waited_for(cluster: DirectCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OVERLOAD_WAIT_S", 0.001)
    monkeypatch.setattr(module, "OVERLOAD_TRIES", 10_000)
    taker = cluster["a2"]
    writes = taker.parts.writes
    writes.pending_bytes = writes.pending_bytes_max
    merging = asyncio.ensure_future(intake_of(taker).merge(taker.replica, ID, DatedState(DELETED)))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not merging.done()
    writes.pending_bytes = 0
    await asyncio.wait_for(merging, 60)
    assert taker.state(ID) == DELETED


@pytest.mark.parametrize(
    ("state", "present", "damaged", "wanted", "settled"),
    [
        (None, False, False, ALIVE, False),
        (ALIVE, True, False, ALIVE, True),
        (ALIVE, True, False, BlobState(), True),
        (ALIVE, True, True, BlobState(), False),
        (ALIVE, False, False, ALIVE, False),
        (DELETED, False, False, ALIVE, True),
        (DELETED, False, False, BlobState(1, False, 0), False),
        (ALIVE, True, False, BlobState(1, False, 0), True),
        (ALIVE, False, False, DELETED, True),
    ],
)
async def test_whether_a_blob_needs_fetching(
    cluster: DirectCluster, state: BlobState | None, present: bool, damaged: bool, wanted: BlobState, settled: bool
) -> None:
    """A tombstone used to count as all there is to know, also when an undelete was wanted."""
    node = cluster["a1"]
    if present:
        await node.put(ID, b"x")
    if state is not None:
        await intake_of(node).merge(node.replica, ID, DatedState(state, node.clock.wall_ms()))
    if damaged:
        node.replica.store.damaged.add(ID)
    assert await intake_of(node).settle(node.replica, ID, DatedState(wanted)) is settled
    if settled and state is not None:
        from ambry.blob import join

        assert node.state(ID) == join(state, wanted)
